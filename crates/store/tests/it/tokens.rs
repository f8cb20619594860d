//! API tokens.

use jiff::{SignedDuration, Timestamp};
use store::{StoreError, TokenRow};
use uuid::Uuid;

use crate::support::World;

fn token(name: &str, project: Option<&str>) -> TokenRow {
    TokenRow {
        id: Uuid::now_v7(),
        name: name.to_owned(),
        hash: vec![7; 32],
        role: "deployer".to_owned(),
        project: project.map(str::to_owned),
        groups: vec!["release-managers".to_owned()],
        person: false,
        created_by: "admin".to_owned(),
        expires_at: None,
        exchanged: false,
    }
}

#[tokio::test]
async fn a_token_is_found_until_it_is_revoked_or_expires() {
    let world = World::new().await;
    let store = &world.store;
    let ci = token("ci", Some("shop"));
    let admin = token("admin", None);
    store.insert_token(&ci).await.unwrap();
    store.insert_token(&admin).await.unwrap();
    let found = store.find_token(ci.id).await.unwrap().unwrap();
    assert_eq!(found.row, ci);
    assert!(!format!("{found:?}").contains("hash"));
    assert_eq!(store.find_token(Uuid::now_v7()).await.unwrap(), None);
    let names = async |project: Option<&str>| -> Vec<String> {
        let projects = project.map(|it| vec![it.to_owned()]);
        let list = store.list_tokens(projects.as_deref()).await.unwrap();
        list.into_iter().map(|it| it.row.name).collect()
    };
    assert_eq!(names(None).await, ["ci", "admin"]);
    assert_eq!(names(Some("shop")).await, ["ci"]);

    store.revoke_token(ci.id, "ann").await.unwrap();
    store.revoke_token(ci.id, "bob").await.unwrap();
    assert_eq!(store.find_token(ci.id).await.unwrap(), None);
    let listed = store.list_tokens(Some(&["shop".to_owned()])).await.unwrap();
    assert_eq!(listed[0].revoked_by.as_deref(), Some("ann"));
    assert!(listed[0].revoked_at.is_some());
    let unknown = store.revoke_token(Uuid::now_v7(), "ann").await;
    assert!(matches!(
        unknown,
        Err(StoreError::NotFound { what: "token" })
    ));

    for (minutes, valid) in [(-1, false), (1, true)] {
        let expires_at = Timestamp::now() + SignedDuration::from_mins(minutes);
        let token = TokenRow {
            expires_at: Some(expires_at),
            ..token("short", None)
        };
        store.insert_token(&token).await.unwrap();
        assert_eq!(store.find_token(token.id).await.unwrap().is_some(), valid);
    }
}

#[tokio::test]
async fn the_use_of_a_token_is_written_once_a_minute() {
    let world = World::new().await;
    let store = &world.store;
    let ci = token("ci", None);
    store.insert_token(&ci).await.unwrap();
    let used = async || store.find_token(ci.id).await.unwrap().unwrap().last_used_at;
    assert_eq!(used().await, None);
    store.touch_token(ci.id).await.unwrap();
    let first = used().await;
    assert!(first.is_some());
    store.touch_token(ci.id).await.unwrap();
    assert_eq!(used().await, first);
    world
        .sql("UPDATE api_token SET last_used_at = last_used_at - interval '61 s'")
        .await
        .unwrap();
    store.touch_token(ci.id).await.unwrap();
    assert!(used().await > first);
}
