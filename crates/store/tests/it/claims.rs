//! Leases, loading and looking for work.

use std::collections::{BTreeSet, HashMap};

use futures::future::join_all;
use rollout::{Phase, Revision};
use store::{Commit, Lease, Store};
use uuid::Uuid;

use crate::support::{World, aborting, moment, next, start, succeed};

async fn renew(store: &Store, owner: Uuid) -> Vec<Lease> {
    store.renew(owner).await.unwrap()
}

fn epochs(leases: &[Lease]) -> BTreeSet<i64> {
    leases.iter().map(|it| it.epoch).collect()
}

#[tokio::test]
async fn replicas_share_the_shards_fairly_and_no_shard_has_two_owners() {
    let world = World::new().await;
    let store = &world.store;
    let owners: Vec<Uuid> = (0..3).map(|_| Uuid::now_v7()).collect();
    assert_eq!(renew(store, owners[0]).await.len(), 64);
    assert_eq!(
        epochs(&renew(store, owners[0]).await),
        [1].into(),
        "a renewal keeps the epoch"
    );
    for _ in 0..3 {
        for owner in &owners {
            renew(store, *owner).await;
        }
    }
    let mut all = Vec::new();
    for owner in &owners {
        let leases = renew(store, *owner).await;
        assert!((20..=22).contains(&leases.len()), "{}", leases.len());
        all.extend(leases);
    }
    let shards: BTreeSet<i32> = all.iter().map(|it| it.shard).collect();
    assert_eq!((all.len(), shards.len()), (64, 64));
    assert_eq!(
        epochs(&all),
        [1, 2].into(),
        "what changed hands has a new epoch"
    );

    // One says good-bye: the others need not wait for its leases to run out.
    store.release_all(owners[0]).await.unwrap();
    renew(store, owners[1]).await;
    let left = renew(store, owners[2]).await.len() + renew(store, owners[1]).await.len();
    assert_eq!(left, 64);
    store.release_all(owners[0]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_claim_at_once_never_get_the_same_shard() {
    let world = World::new().await;
    let owners: Vec<Uuid> = (0..8).map(|_| Uuid::now_v7()).collect();
    // A shard and an epoch are one lease, and one lease has one owner.
    let mut holders = HashMap::new();
    for _ in 0..5 {
        let claims = join_all(owners.iter().map(|it| renew(&world.store, *it))).await;
        for (owner, leases) in owners.iter().zip(claims) {
            for lease in leases {
                assert_eq!(holders.entry(lease).or_insert(owner), &owner, "{lease:?}");
            }
        }
    }
    let mut total = 0;
    for owner in &owners {
        let held = renew(&world.store, *owner).await.len();
        assert_eq!(held, 8);
        total += held;
    }
    assert_eq!(total, 64);
}

#[tokio::test]
async fn a_lease_that_ran_out_is_taken_with_a_new_epoch_even_by_its_owner() {
    let world = World::new().await;
    let store = &world.store;
    let app = world.pending("checkout").await.app_id;
    let owner = world.owner().await;
    world
        .sql("UPDATE shard SET expires_at = now()")
        .await
        .unwrap();
    assert!(store.load(app, owner).await.unwrap().is_none());
    assert!(store.due(owner, 10).await.unwrap().is_empty());
    assert!(store.unfinished(owner, 10).await.unwrap().is_empty());
    let again = renew(store, owner).await;
    assert_eq!((again.len(), epochs(&again)), (64, [2].into()));
    assert!(store.load(app, owner).await.unwrap().is_some());
}

#[tokio::test]
async fn a_pass_is_loaded_by_the_owner_alone_and_with_all_it_needs() {
    let world = World::new().await;
    let store = &world.store;
    let owner = world.owner().await;
    let first = world.pending("checkout").await;
    let input = store.load(first.app_id, owner).await.unwrap().unwrap();
    assert_eq!(input.current.as_ref(), Some(&first));
    assert_eq!((input.fence.epoch, input.fence.owner), (1, owner));
    assert_eq!(input.fence.shard, input.app.shard);
    assert_eq!(
        input.revisions,
        store.revisions(first.app_id, 10).await.unwrap()
    );
    succeed(store, &first).await;
    let at_rest = store.load(first.app_id, owner).await.unwrap().unwrap();
    assert_eq!(at_rest.current, None);
    assert_eq!(at_rest.app.stable, Some(Revision(1)));
    assert_eq!(at_rest.revisions.len(), 1);

    // A revision that only the state still names: it may have instances.
    let second = world.deploy(first.app_id, "v2").await;
    succeed(store, &second).await;
    let third = world.deploy(first.app_id, "v3").await;
    let mut commit = start(&third);
    commit.state.base.scales.insert(Revision(1), 2);
    store.commit(&commit).await.unwrap();
    let input = store.load(first.app_id, owner).await.unwrap().unwrap();
    let numbers: Vec<u32> = input.revisions.iter().map(|it| it.revision.0).collect();
    assert_eq!(numbers, [1, 2, 3]);
    assert_eq!(input.current.unwrap().state, commit.state);

    assert_eq!(
        store.load(first.app_id, Uuid::now_v7()).await.unwrap(),
        None
    );
    assert_eq!(store.load(Uuid::now_v7(), owner).await.unwrap(), None);
}

#[tokio::test]
async fn due_apps_are_rollbacks_then_rollouts_then_apps_at_rest() {
    let world = World::new().await;
    let store = &world.store;
    let owner = world.owner().await;
    world.app("never-deployed").await;
    succeed(store, &world.pending("at-rest").await).await;
    let later = world.pending("later").await;
    let in_a_century = Commit {
        wake_at: Some(moment(3_000_000_000)),
        ..start(&later)
    };
    store.commit(&in_a_century).await.unwrap();
    let back = world.pending("back").await;
    store.commit(&start(&back)).await.unwrap();
    let back = store.rollout(back.id).await.unwrap().unwrap();
    let abort = Commit {
        state: aborting(&back.state),
        ..next(&back, Phase::Aborting, rollout::Event::Started)
    };
    store.commit(&abort).await.unwrap();
    world.pending("fresh").await;

    let due = store.due(owner, 10).await.unwrap();
    let names: Vec<_> = due.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["back", "fresh", "later", "at-rest"]);
    assert_eq!(
        due.iter().map(|it| it.urgent).collect::<Vec<_>>(),
        [true, false, false, false]
    );
    assert_eq!(due.iter().filter(|it| it.unfinished).count(), 3);
    assert_eq!(due[2].wake_at, in_a_century.wake_at);
    assert_eq!(store.due(owner, 1).await.unwrap(), due[..1]);
    assert_eq!(store.unfinished(owner, 10).await.unwrap(), due[..2]);
    assert!(store.due(Uuid::now_v7(), 10).await.unwrap().is_empty());
}
