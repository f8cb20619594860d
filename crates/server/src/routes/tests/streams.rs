//! Event streams: whoever listens, whenever it began, gets everything from there on, once, in order.

use api::{Client, RoleWord};
use rollout::{Event, Phase};
use tokio::task::JoinHandle;

use super::{SOON, rig::Rig};

/// The ids of what a stream tells, until it tells of the end.
fn until_the_end(client: &Client, from: Option<String>) -> JoinHandle<Vec<String>> {
    let client = client.clone();
    tokio::spawn(async move {
        let mut events = client.events(from.as_deref()).await.unwrap();
        let mut ids = Vec::new();
        loop {
            let event = events.next().await.unwrap().unwrap();
            ids.push(event.id);
            if event.event == "rolledBack" {
                return ids;
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_begin_at_any_moment_miss_nothing_and_hear_nothing_twice() {
    let rig = Rig::start().await;
    let mut rollout = rig.rollout("shop", "checkout").await;
    let viewer = rig.token("v", RoleWord::Viewer, None, &[], true).await;
    let client = rig.client(&viewer);
    let by = || "ann".to_owned();
    let mut first = client.events(None).await.unwrap();
    let mut change = async |phase, event| {
        rollout = rig.change(&rollout, phase, event, None).await;
    };
    change(Phase::Paused, Event::Paused { by: by() }).await;
    let heard = tokio::time::timeout(SOON, first.next()).await.unwrap();
    let from = heard.unwrap().unwrap().id;
    // Now nobody listens, so nobody reads: whoever comes back hears of it all the same.
    drop(first);
    change(Phase::Progressing, Event::Resumed { by: by() }).await;
    let mut streams = vec![until_the_end(&client, Some(from.clone()))];
    for number in 0..120 {
        let (phase, event) = match number % 2 {
            0 => (Phase::Paused, Event::Paused { by: by() }),
            _ => (Phase::Progressing, Event::Resumed { by: by() }),
        };
        change(phase, event).await;
        if number % 6 == 0 {
            streams.push(until_the_end(&client, None));
            streams.push(until_the_end(&client, Some(from.clone())));
        }
    }
    change(Phase::RolledBack, Event::RolledBack).await;
    let told = tokio::time::timeout(SOON, futures::future::join_all(streams)).await;
    let told: Vec<Vec<String>> = told.unwrap().into_iter().map(Result::unwrap).collect();
    let (whole, others) = told.split_first().unwrap();
    assert_eq!(whole.len(), 122);
    for ids in others {
        assert!(whole.ends_with(ids), "{ids:?} is no end of {whole:?}");
    }
    let from_the_start = others.iter().filter(|it| *it == whole).count();
    assert!(from_the_start >= 20, "{from_the_start}");
}
