//! Apps and revisions.

use rollout::Revision;
use serde_json::json;
use store::{NewRevision, RolloutFilter, StoreError};

use crate::support::{World, build, new, succeed};

#[tokio::test]
async fn an_app_is_written_read_and_listed() {
    let world = World::new().await;
    let store = &world.store;
    let document = json!({"app": "checkout", "n": 1});
    let (app, created) = store
        .put_app("shop", "checkout", &document, Some(0), "ann")
        .await
        .unwrap();
    assert!(created);
    assert_eq!(
        (app.version, app.stable, &app.document),
        (1, None, &document)
    );
    assert!((0..64).contains(&app.shard));
    let found = store.get_app("shop", "checkout").await.unwrap();
    assert_eq!(found.as_ref(), Some(&app));
    assert_eq!(store.get_app("other", "checkout").await.unwrap(), None);

    store
        .put_app("bank", "a", &document, None, "ann")
        .await
        .unwrap();
    store
        .put_app("shop", "b", &document, None, "ann")
        .await
        .unwrap();
    let names = async |projects: Option<&[String]>, after, limit| -> Vec<String> {
        let list = store.list_apps(projects, after, limit).await.unwrap();
        list.into_iter().map(|it| it.app.name).collect()
    };
    assert_eq!(names(None, None, 10).await, ["a", "b", "checkout"]);
    assert_eq!(names(Some(&["shop".to_owned()]), None, 1).await, ["b"]);
    assert_eq!(names(None, Some(("shop", "b")), 10).await, ["checkout"]);
    assert!(names(Some(&[]), None, 10).await.is_empty());

    let rollout = world.deploy(app.id, "v1").await;
    let list = store.list_apps(None, Some(("shop", "b")), 1).await.unwrap();
    let active = list[0].active.as_ref().unwrap();
    assert_eq!((active.id, active.candidate), (rollout.id, Revision(1)));
    assert_eq!(active.waiting, rollout.waiting);
    assert_eq!(active.state, rollout.state);
}

#[tokio::test]
async fn an_edit_needs_the_version_it_was_made_from() {
    let world = World::new().await;
    let store = &world.store;
    let put = async |document, expected| {
        store
            .put_app("shop", "checkout", &json!(document), expected, "ann")
            .await
    };
    let conflict = |result: Result<_, StoreError>| match result {
        Err(StoreError::VersionConflict { current }) => current,
        other => panic!("{other:?}"),
    };
    assert_eq!(conflict(put("x", Some(3)).await), None);
    assert!(put("x", Some(0)).await.unwrap().1);
    assert_eq!(conflict(put("y", Some(0)).await), Some(1));
    let (app, created) = put("y", Some(1)).await.unwrap();
    assert_eq!((app.version, created), (2, false));
    assert_eq!(conflict(put("z", Some(1)).await), Some(2));
    // The same document again is no edit.
    assert_eq!(put("y", None).await.unwrap().0.version, 2);
    assert_eq!(put("z", None).await.unwrap().0.version, 3);
}

#[tokio::test]
async fn a_text_with_nul_is_refused_by_name() {
    let world = World::new().await;
    for (name, document) in [("a", json!({"a": "\0"})), ("a\0", json!({}))] {
        let put = world.store.put_app("shop", name, &document, None, "ann");
        assert!(matches!(put.await, Err(StoreError::Unstorable)), "{name:?}");
    }
}

#[tokio::test]
async fn a_deleted_app_frees_its_name_and_keeps_its_history() {
    let world = World::new().await;
    let store = &world.store;
    let app = world.app("checkout").await;
    let rollout = world.deploy(app.id, "v1").await;
    let delete = async |version| store.delete_app("shop", "checkout", version).await;
    match delete(None).await {
        Err(StoreError::RolloutActive { id }) => assert_eq!(id, rollout.id),
        other => panic!("{other:?}"),
    }
    succeed(store, &rollout).await;
    assert!(matches!(
        delete(Some(9)).await,
        Err(StoreError::VersionConflict { current: Some(1) })
    ));
    delete(Some(1)).await.unwrap();
    assert!(matches!(
        delete(None).await,
        Err(StoreError::NotFound { what: "app" })
    ));
    assert_eq!(store.get_app("shop", "checkout").await.unwrap(), None);
    let second = new(app.id, "v2");
    let deploy = store.create_rollout(&second, crate::support::build, None);
    assert!(matches!(
        deploy.await,
        Err(StoreError::NotFound { what: "app" })
    ));

    let again = world.app("checkout").await;
    assert_ne!(again.id, app.id);
    // Numbered on: what the deleted app left running is r1.
    assert_eq!(world.deploy(again.id, "v1").await.candidate, Revision(2));
    assert_eq!(store.verify_history(rollout.id).await.unwrap(), 3);
    let filter = RolloutFilter {
        app: Some("checkout".to_owned()),
        ..RolloutFilter::default()
    };
    assert_eq!(store.rollouts(&filter, None, 10).await.unwrap().len(), 2);
}

/// Steps, gates and alerts of a rollout come from its revision's app file.
#[tokio::test]
async fn the_same_artifact_under_another_app_file_is_another_revision() {
    let world = World::new().await;
    let app = world.app("checkout").await;
    let first = world.deploy(app.id, "v1").await;
    let mut edited = new(app.id, "v1");
    let NewRevision::New { document, .. } = &mut edited.revision else {
        panic!("not a new revision");
    };
    *document = json!({ "artifact": "v1", "strategy": "another" });
    let second = world.store.create_rollout(&edited, build, None).await;
    assert_ne!(second.unwrap().candidate, first.candidate);
}

#[tokio::test]
async fn revisions_are_numbered_and_the_newest_is_reused_when_it_is_the_same() {
    let world = World::new().await;
    let app = world.app("checkout").await;
    for (artifact, number) in [("v1", 1), ("v1", 1), ("v2", 2), ("v1", 3)] {
        assert_eq!(
            world.deploy(app.id, artifact).await.candidate,
            Revision(number)
        );
    }
    let store = &world.store;
    let all = store.revisions(app.id, 10).await.unwrap();
    let artifacts: Vec<_> = all.iter().map(|it| it.artifact.as_str()).collect();
    assert_eq!(artifacts, ["v1", "v2", "v1"]);
    assert_eq!(store.revisions(app.id, 1).await.unwrap(), all[..1]);
    let second = store.revision(app.id, Revision(2)).await.unwrap().unwrap();
    assert_eq!(second, all[1]);
    assert_eq!(second.document, json!({"artifact": "v2"}));
    assert_eq!(second.created_by, "token:ci");
    assert_eq!(
        store.revision(app.id, Revision(u32::MAX)).await.unwrap(),
        None
    );
}
