//! A project's settings: versioned, and there with what is read anyway.

use serde_json::json;
use store::StoreError;

use crate::support::{World, build, new};

#[tokio::test]
async fn settings_are_kept_by_version_and_read_beside_the_rest() {
    let world = World::new().await;
    let store = &world.store;
    assert_eq!(store.project_settings("shop").await.unwrap(), None);
    let (one, two) = (json!({"notify": []}), json!({"notify": [1]}));
    let put = async |document, expected| {
        store
            .put_project_settings("shop", document, expected, "ann")
            .await
    };
    assert!(matches!(
        put(&one, Some(3)).await,
        Err(StoreError::VersionConflict { current: None })
    ));
    assert_eq!(put(&one, Some(0)).await.unwrap().version, 1);
    assert!(matches!(
        put(&two, Some(0)).await,
        Err(StoreError::VersionConflict { current: Some(1) })
    ));
    assert_eq!(put(&one, None).await.unwrap().version, 1, "unchanged");
    let kept = put(&two, Some(1)).await.unwrap();
    assert_eq!((kept.version, kept.updated_by.as_str()), (2, "ann"));
    assert_eq!(store.project_settings("shop").await.unwrap(), Some(kept));

    let app = world.app("checkout").await;
    let seen = std::sync::Mutex::new(None);
    let rollout = store
        .create_rollout(
            &new(app.id, "v1"),
            |facts| {
                *seen.lock().unwrap() = facts.project_settings.clone();
                build(facts)
            },
            None,
        )
        .await
        .unwrap();
    assert_eq!(seen.into_inner().unwrap().as_ref(), Some(&two));
    let owner = world.owner().await;
    let input = store.load(app.id, owner).await.unwrap().unwrap();
    assert_eq!(input.project_settings.as_ref(), Some(&two));
    let found = store.revision_and_settings(app.id, rollout.candidate).await;
    let (revision, settings) = found.unwrap().unwrap();
    assert_eq!(
        Some(revision),
        store.revision(app.id, rollout.candidate).await.unwrap()
    );
    assert_eq!(settings, Some(two));
}
