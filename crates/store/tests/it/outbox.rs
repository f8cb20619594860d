//! Notices: at least once, by one sender at a time, without holding anybody up.

use std::collections::BTreeSet;

use futures::future::join_all;
use jiff::Timestamp;
use store::Commit;

use crate::support::{World, claim_all, moment, next, notice, notice_to, start};

#[tokio::test]
async fn a_notice_is_repeated_until_it_is_delivered() {
    let world = World::new().await;
    let store = &world.store;
    let rollout = world.pending("checkout").await;
    let first = store.claim_notices(&[], 10).await.unwrap();
    assert_eq!((first.len(), first[0].attempts), (1, 1));
    assert_eq!(
        (first[0].rollout_id, first[0].kind.as_str()),
        (Some(rollout.id), "rollout.created")
    );
    assert_eq!(first[0].target["webhook"], "hook");
    assert!(
        store.claim_notices(&[], 10).await.unwrap().is_empty(),
        "claimed"
    );
    assert!(store.next_notice_due().await.unwrap().unwrap() > Timestamp::now());

    // The sender died: the claim ends by itself.
    world.sql("UPDATE outbox SET due_at = now()").await.unwrap();
    let id = first[0].id;
    let second = store.claim_notices(&[], 10).await.unwrap();
    assert_eq!((second[0].id, second[0].attempts), (id, 2));
    // The receiver failed.
    store
        .failed(id, "503\0", Timestamp::UNIX_EPOCH)
        .await
        .unwrap();
    assert_eq!(store.claim_notices(&[], 10).await.unwrap()[0].attempts, 3);
    store
        .failed(id, "503", moment(3_000_000_000))
        .await
        .unwrap();
    assert!(store.claim_notices(&[], 10).await.unwrap().is_empty());
    assert_eq!(store.pending_notices().await.unwrap(), 1);
    store.delivered(id).await.unwrap();
    store
        .failed(id, "late", Timestamp::UNIX_EPOCH)
        .await
        .unwrap();
    assert_eq!(store.pending_notices().await.unwrap(), 0);
    assert_eq!(store.next_notice_due().await.unwrap(), None);
    assert_eq!(
        world
            .sql("SELECT last_error, gone FROM outbox")
            .await
            .unwrap(),
        "503|f"
    );

    assert_eq!(store.sweep().await.unwrap(), 0);
    world
        .sql("UPDATE outbox SET closed_at = now() - interval '8 days'")
        .await
        .unwrap();
    assert_eq!(store.sweep().await.unwrap(), 1);
}

#[tokio::test]
async fn a_notice_that_nobody_wants_is_given_up() {
    let world = World::new().await;
    world.pending("checkout").await;
    let id = world.store.claim_notices(&[], 1).await.unwrap()[0].id;
    world.store.gone(id, "410 Gone").await.unwrap();
    assert_eq!(world.store.pending_notices().await.unwrap(), 0);
    assert_eq!(
        world
            .sql("SELECT last_error, gone FROM outbox")
            .await
            .unwrap(),
        "410 Gone|t"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn senders_share_the_notices_and_each_gets_others() {
    let world = World::new().await;
    let store = &world.store;
    let rollout = world.pending("checkout").await;
    let many = Commit {
        notices: (0..99).map(notice_to).collect(),
        ..start(&rollout)
    };
    store.commit(&many).await.unwrap();
    let claims = join_all((0..5).map(|_| store.claim_notices(&[], 20))).await;
    let ids: Vec<_> = claims
        .into_iter()
        .flat_map(Result::unwrap)
        .map(|it| it.id)
        .collect();
    let distinct: BTreeSet<_> = ids.iter().collect();
    assert_eq!(ids.len(), distinct.len(), "none was claimed twice");
    let rest = store.claim_notices(&[], 100).await.unwrap().len();
    assert_eq!(ids.len() + rest, 100, "and none was passed over for good");
}

#[tokio::test]
async fn a_sender_does_not_hold_up_commits() {
    let world = World::new().await;
    let store = &world.store;
    let rollout = world.pending("checkout").await;
    let hold = world.sql("BEGIN; SELECT FROM outbox FOR UPDATE; SELECT pg_sleep(1); COMMIT");
    let meanwhile = async {
        world.until_waits_for("PgSleep").await;
        let begun = std::time::Instant::now();
        let commit = Commit {
            notices: vec![notice("x")],
            ..next(
                &rollout,
                rollout::Phase::Progressing,
                rollout::Event::Started,
            )
        };
        store.commit(&commit).await.unwrap();
        assert_eq!(
            store.claim_notices(&[], 10).await.unwrap().len(),
            1,
            "the free one"
        );
        begun.elapsed()
    };
    let (hold, took) = tokio::join!(hold, meanwhile);
    hold.unwrap();
    assert!(took.as_millis() < 900, "{took:?}");
}

#[tokio::test]
async fn each_receiver_has_a_lane_and_each_lane_its_order() {
    let world = World::new().await;
    let store = &world.store;
    let rollout = world.pending("checkout").await;
    claim_all(store).await;
    let receivers = [1, 2, 1, 2, 1, 3];
    let commit = Commit {
        notices: receivers.map(notice_to).to_vec(),
        ..start(&rollout)
    };
    store.commit(&commit).await.unwrap();
    let to = |it: &[store::Notice]| {
        let mut to: Vec<u64> = it
            .iter()
            .map(|it| it.target["webhook"].as_u64().unwrap())
            .collect();
        to.sort_unstable();
        to
    };
    let first = store.claim_notices(&[], 2).await.unwrap();
    let rest = store
        .claim_notices(&[first[0].lane.clone(), first[1].lane.clone()], 10)
        .await;
    let rest = rest.unwrap();
    let heads: Vec<store::Notice> = first.into_iter().chain(rest).collect();
    assert_eq!(to(&heads), [1, 2, 3], "one of each");
    let busy: Vec<String> = heads.iter().map(|it| it.lane.clone()).collect();
    assert!(store.claim_notices(&busy, 10).await.unwrap().is_empty());
    let second = store.claim_notices(&[], 10).await.unwrap();
    assert_eq!(to(&second), [1, 2]);
    for later in &second {
        let head = heads.iter().find(|it| it.lane == later.lane).unwrap();
        assert!(head.id < later.id, "in the order of writing");
    }
    // The sender is at it: nobody else gets it when the claim would have run out.
    let ids: Vec<_> = heads.iter().map(|it| it.id).collect();
    world
        .sql("UPDATE outbox SET due_at = now() - interval '1 second' WHERE target ->> 'webhook' <> 'hook'")
        .await
        .unwrap();
    store.keep_claims(&ids).await.unwrap();
    assert_eq!(to(&claim_all(store).await), [1, 1, 2],);
}

#[tokio::test]
async fn a_notice_with_an_id_of_its_own_is_written_once() {
    let world = World::new().await;
    let store = &world.store;
    let rollout = world.pending("checkout").await;
    claim_all(store).await;
    let mut asks = notice("rollout.waitingForApproval");
    asks.id = Some(uuid::Uuid::from_u128(7));
    let first = Commit {
        notices: vec![asks.clone()],
        ..start(&rollout)
    };
    store.commit(&first).await.unwrap();
    let rollout = store.rollout(rollout.id).await.unwrap().unwrap();
    let again = Commit {
        notices: vec![asks, notice("x")],
        ..next(
            &rollout,
            rollout::Phase::Progressing,
            rollout::Event::Started,
        )
    };
    store.commit(&again).await.unwrap();
    let kinds: Vec<String> = claim_all(store)
        .await
        .into_iter()
        .map(|it| it.kind)
        .collect();
    assert_eq!(kinds, ["rollout.waitingForApproval", "x"]);
}
