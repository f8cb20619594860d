//! Bad days of the API server: it is restarted, or a proxy in front of it refuses and delays. A rollout
//! ends well all the same, and nobody is hammered.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use api::OrderWord;
use e2e::Cluster;
use e2e::apps::{canary, held_canary};
use local::kubernetes::faults::{Asked, Fault, FaultProxy};
use local::kubernetes::{Options, SLUICE};
use serde_json::json;

use super::shop::{Setup, Shop, V2};

/// What the log may say of it: ours, and the client library's.
const TOLD: [&str; 4] = [
    "one of its bad days",
    "API server",
    "kube_client::client::builder",
    // Where every second write is slow, what others have begun takes long too.
    "waits longer than usual",
];

/// How long a request may be under way when another one is answered that there are too many.
const UNDER_WAY: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_that_is_restarted_in_the_middle_does_no_harm() -> anyhow::Result<()> {
    let options = Options {
        gateway_api: true,
        ..Options::default()
    };
    let cluster = Arc::new(Cluster::own(options).await?);
    let mut shop = Shop::on(cluster, Setup::new(2, held_canary())).await?;
    let told = async {
        let id = shop.deploy(V2).await?.summary.id;
        shop.waits_for(id, "promotion").await?;
        let cluster = Arc::get_mut(&mut shop.cluster).context("somebody else has it")?;
        cluster.plane_mut().kill_api_server()?;
        shop.order(id, OrderWord::Promote).await?;
        shop.until(id, super::SOON, "it to be noticed", |it| {
            let waiting = it.summary.waiting.as_deref().unwrap_or_default();
            waiting.contains("API server")
        })
        .await?;
        let cluster = Arc::get_mut(&mut shop.cluster).context("somebody else has it")?;
        cluster.plane_mut().restart_api_server().await?;
        shop.ended(id, "succeeded").await
    };
    let told = told.await;
    shop.explained(told).await?;
    shop.finish(V2, &TOLD).await
}

/// Brings out [`V2`] through a proxy with these faults; the requests that this took.
async fn brought_out(
    faults: impl Fn(&Asked, &[Asked]) -> Option<Fault> + Send + Sync + 'static,
) -> anyhow::Result<Vec<Asked>> {
    let cluster = Cluster::shared().await?;
    let directory = tempfile::tempdir()?;
    let proxy = FaultProxy::start(&cluster, SLUICE, directory.path()).await?;
    let steps = json!([{"setWeight": 50}, {"pause": "200ms"}, {"setWeight": 100}]);
    let mut setup = Setup::new(2, canary(&steps));
    setup.kubeconfig = Some(proxy.kubeconfig().to_owned());
    let shop = Shop::on(cluster, setup).await?;
    proxy.fail(faults);
    let delivered = shop.delivered(V2, "succeeded").await;
    let asked = proxy.asked();
    proxy.fail(|_, _| None);
    shop.explained(delivered).await?;
    for moment in shop.moments().await? {
        shop.explained(moment.carries(2)).await?;
    }
    shop.finish(V2, &TOLD).await?;
    Ok(asked)
}

/// Each second write gets the next of these.
fn every_second_write(faults: &'static [Fault]) -> impl Fn(&Asked, &[Asked]) -> Option<Fault> {
    move |asked, before| {
        let nth = before.iter().filter(|it| it.is_write()).count();
        let odd = asked.is_write() && nth % 2 == 1;
        odd.then(|| faults.iter().cycle().nth(nth / 2).copied())?
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_fail_are_made_again_and_not_twice() -> anyhow::Result<()> {
    const FAULTS: [Fault; 3] = [Fault::Conflict, Fault::Failed, Fault::Unsaid];
    let asked = brought_out(every_second_write(&FAULTS)).await?;
    let faults = asked.iter().filter(|it| it.fault.is_some()).count();
    ensure!(faults >= FAULTS.len(), "only {faults} faults");
    bounded(&asked)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_asks_for_pauses_gets_them() -> anyhow::Result<()> {
    const PAUSE: u64 = 2;
    const FAULTS: [Fault; 1] = [Fault::TooMany { retry_after: PAUSE }];
    let asked = brought_out(every_second_write(&FAULTS)).await?;
    let refused = asked.iter().filter(|it| it.fault.is_some());
    ensure!(refused.clone().count() > 1, "only one was refused");
    for refused in refused {
        let (from, until) = (
            refused.at + UNDER_WAY,
            refused.at + Duration::from_secs(PAUSE),
        );
        let rash: Vec<_> = asked
            .iter()
            .filter(|it| it.at > from && it.at < until)
            .collect();
        ensure!(rash.is_empty(), "asked while a pause was wanted: {rash:#?}");
    }
    bounded(&asked)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_server_makes_a_slow_rollout() -> anyhow::Result<()> {
    // The last one is longer than an answer is waited for.
    const FAULTS: [Fault; 4] = [
        Fault::Late(Duration::from_millis(300)),
        Fault::Late(Duration::from_secs(1)),
        Fault::Late(Duration::from_millis(300)),
        Fault::Late(Duration::from_secs(6)),
    ];
    let asked = brought_out(every_second_write(&FAULTS)).await?;
    bounded(&asked)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_that_are_too_old_begin_anew() -> anyhow::Result<()> {
    let asked = brought_out(|asked, before| {
        let is_watch = |it: &Asked| it.target.contains("watch=1");
        let begun = before.iter().filter(|it| is_watch(it)).count();
        (is_watch(asked) && begun < 4).then_some(Fault::Expired)
    })
    .await?;
    let expired = asked.iter().filter(|it| it.fault.is_some()).count();
    ensure!(expired > 0, "no watch was begun: {asked:#?}");
    bounded(&asked)
}

/// Requests that a rollout of two steps may take on a bad day.
const MOST: usize = 80;

fn bounded(asked: &[Asked]) -> anyhow::Result<()> {
    ensure!(asked.len() <= MOST, "{} requests: {asked:#?}", asked.len());
    Ok(())
}
