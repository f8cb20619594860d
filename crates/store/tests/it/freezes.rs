//! Freeze windows: which apps see them, and that a pass begins with them.

use jiff::{SignedDuration, Timestamp};
use rollout::Running;
use store::{FreezeRow, FreezeRule, Notification, StoreError};
use uuid::Uuid;

use crate::support::{World, build, new};

fn window(name: &str, project: Option<&str>, app: Option<&str>, ends: i64) -> FreezeRow {
    let now = Timestamp::now();
    FreezeRow {
        id: Uuid::now_v7(),
        name: name.to_owned(),
        project: project.map(ToOwned::to_owned),
        app: app.map(ToOwned::to_owned),
        reason: "because".to_owned(),
        rule: FreezeRule::Once {
            from: now - SignedDuration::from_hours(2),
            until: now + SignedDuration::from_mins(ends),
        },
        running: Running::Hold,
        // As the database keeps it: to the microsecond.
        created_at: Timestamp::from_microsecond(now.as_microsecond()).unwrap(),
        created_by: "token:ann".to_owned(),
    }
}

#[tokio::test]
async fn a_window_concerns_its_scope_until_it_is_over_or_taken_away() {
    let world = World::new().await;
    let store = &world.store;
    let app = world.app("shop").await;
    let (project, name) = (app.project.as_str(), app.name.as_str());
    let owner = Uuid::now_v7();
    store.renew(owner).await.unwrap();
    store
        .create_rollout(&new(app.id, "v1"), build, None)
        .await
        .unwrap();
    let recurring = FreezeRow {
        rule: FreezeRule::Recurring {
            cron: "0 18 * * FRI".to_owned(),
            duration: SignedDuration::from_hours(62),
            time_zone: "Europe/Zurich".to_owned(),
        },
        ..window("weekend", None, None, 0)
    };
    let mut listener = store.listen().await.unwrap();
    let rows = [
        recurring,
        window("all", Some(project), None, 60),
        window("own", Some(project), Some(name), 60),
        window("others", Some("elsewhere"), None, 60),
        window("over", Some(project), None, -60),
        window("sister", Some(project), Some("sister"), 60),
    ];
    for row in &rows {
        store.add_freeze(row).await.unwrap();
    }
    let woken = listener.next().await;
    assert!(matches!(woken, Notification::Changed { app_id, .. } if app_id == app.id));
    let names = |rows: &[FreezeRow]| -> Vec<String> {
        let mut names: Vec<_> = rows.iter().map(|it| it.name.clone()).collect();
        names.sort();
        names
    };
    let found = store.freezes_of(project, name).await.unwrap();
    assert_eq!(names(&found), ["all", "own", "weekend"]);
    let loaded = store.load(app.id, owner).await.unwrap().unwrap();
    assert_eq!(names(&loaded.freezes), ["all", "own", "weekend"]);
    assert_eq!(
        store.freeze(rows[0].id).await.unwrap(),
        Some(rows[0].clone())
    );
    let own = [project.to_owned()];
    let listed = store.freezes(Some(&own)).await.unwrap();
    assert_eq!(names(&listed), ["all", "over", "own", "sister", "weekend"]);

    let twice = store
        .add_freeze(&window("own", Some(project), None, 60))
        .await;
    assert!(matches!(twice, Err(StoreError::NameTaken)), "{twice:?}");
    store.remove_freeze(rows[2].id, "token:bob").await.unwrap();
    let again = store.remove_freeze(rows[2].id, "token:bob").await;
    assert!(
        matches!(again, Err(StoreError::NotFound { .. })),
        "{again:?}"
    );
    let loaded = store.load(app.id, owner).await.unwrap().unwrap();
    assert_eq!(names(&loaded.freezes), ["all", "weekend"]);
    // Its name is free, and what it was is kept.
    store
        .add_freeze(&window("own", Some(project), None, 60))
        .await
        .unwrap();
}
