//! Sessions, sign-ins under way and ID tokens that were exchanged.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use store::{SessionOf, SessionRow, SignInRow, TokenRow};
use uuid::Uuid;

use crate::support::World;

const IDLE: Duration = Duration::from_secs(3600);

fn soon() -> Timestamp {
    Timestamp::now() + SignedDuration::from_mins(5)
}

fn session(of: SessionOf) -> SessionRow {
    SessionRow {
        id: Uuid::now_v7(),
        hash: vec![7; 32],
        of,
        name: "user:ann@example.com".to_owned(),
        groups: vec!["release-managers".to_owned()],
        source: "10.0.0.1".to_owned(),
        // As Postgres keeps it.
        expires_at: Timestamp::from_microsecond(soon().as_microsecond()).unwrap(),
    }
}

fn ann() -> SessionOf {
    SessionOf::Person {
        issuer: "https://id.example".to_owned(),
        subject: "ann".to_owned(),
    }
}

#[tokio::test]
async fn a_session_is_found_until_it_ends() {
    let world = World::new().await;
    let store = &world.store;
    let row = session(ann());
    store.insert_session(&row).await.unwrap();
    let found = store.find_session(row.id, IDLE).await.unwrap().unwrap();
    assert_eq!(found, row);
    assert!(!format!("{found:?}").contains("hash"));
    let missing = store.find_session(Uuid::now_v7(), IDLE).await.unwrap();
    assert_eq!(missing, None);
    store.end_session(row.id).await.unwrap();
    store.end_session(row.id).await.unwrap();
    assert_eq!(store.find_session(row.id, IDLE).await.unwrap(), None);

    let row = session(ann());
    store.insert_session(&row).await.unwrap();
    let ago = "UPDATE session SET seen_at = seen_at - interval '50 min'";
    world.sql(ago).await.unwrap();
    store.touch_session(row.id).await.unwrap();
    world.sql(ago).await.unwrap();
    assert!(store.find_session(row.id, IDLE).await.unwrap().is_some());
    world.sql(ago).await.unwrap();
    assert_eq!(store.find_session(row.id, IDLE).await.unwrap(), None);
}

#[tokio::test]
async fn a_session_stands_for_a_token_or_a_person() {
    let world = World::new().await;
    let store = &world.store;
    let token = TokenRow {
        id: Uuid::now_v7(),
        name: "job".to_owned(),
        hash: vec![1; 32],
        role: "deployer".to_owned(),
        project: None,
        groups: Vec::new(),
        person: false,
        created_by: "ci".to_owned(),
        expires_at: Some(soon()),
        exchanged: true,
    };
    store.insert_token(&token).await.unwrap();
    assert!(store.token_name_is_taken("job").await.unwrap());
    assert_eq!(store.list_tokens(None).await.unwrap().len(), 1);
    let row = session(SessionOf::Token(token.id));
    store.insert_session(&row).await.unwrap();
    let found = store.find_session(row.id, IDLE).await.unwrap();
    assert_eq!(found, Some(row.clone()));
    let neither = "UPDATE session SET token_id = NULL";
    world.sql(neither).await.unwrap_err();
    // A job's token is forgotten a day after its end, and its sessions with it.
    let age = "UPDATE api_token SET expires_at = expires_at - interval '30 h'";
    world.sql(age).await.unwrap();
    assert!(!store.token_name_is_taken("job").await.unwrap());
    assert_eq!(store.list_tokens(None).await.unwrap(), []);
    assert_eq!(store.sweep().await.unwrap(), 1);
    assert_eq!(store.find_session(row.id, IDLE).await.unwrap(), None);
}

#[tokio::test]
async fn a_sign_in_is_taken_once_and_in_time() {
    let world = World::new().await;
    let store = &world.store;
    let row = SignInRow {
        state: vec![1; 32],
        browser: vec![2; 32],
        nonce: "n".to_owned(),
        verifier: "v".to_owned(),
        next: "/apps".to_owned(),
        expires_at: Timestamp::from_microsecond(soon().as_microsecond()).unwrap(),
    };
    store.begin_sign_in(&row).await.unwrap();
    let taken = futures::future::join_all((0..8).map(|_| store.take_sign_in(&row.state))).await;
    let taken: Vec<_> = taken.into_iter().filter_map(Result::unwrap).collect();
    assert_eq!(taken, std::slice::from_ref(&row));
    store.begin_sign_in(&row).await.unwrap();
    let late = "UPDATE sign_in SET expires_at = clock_timestamp()";
    world.sql(late).await.unwrap();
    assert_eq!(store.take_sign_in(&row.state).await.unwrap(), None);
    assert_eq!(store.sweep().await.unwrap(), 1);
}

#[tokio::test]
async fn an_id_token_is_used_once() {
    let world = World::new().await;
    let store = &world.store;
    let uses = (0..8).map(|_| store.use_id_token("https://ci.example", "a", soon()));
    let uses = futures::future::join_all(uses).await;
    let first = uses.into_iter().filter(|it| *it.as_ref().unwrap());
    assert_eq!(first.count(), 1);
    // Two providers may give the same name to two tokens.
    assert!(
        store
            .use_id_token("https://other.example", "a", soon())
            .await
            .unwrap()
    );
}
