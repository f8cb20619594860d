//! The server is killed with SIGKILL at each boundary of a pass, at several passes, and started
//! again: the rollout ends as it would have, the instances live on, no step is done twice.

use anyhow::{Context, ensure};
use e2e::apps::{canary, short_canary};
use e2e::deaths::{deployed, die_at};
use e2e::instances;
use e2e::invariants::{Allowed, check};
use e2e::pairs::ProcessHaProxy;
use e2e::{Pair, Setup, Version, World};
use serde_json::{Value, json};
use uuid::Uuid;

const VERSIONS: [&str; 4] = ["v2", "v3", "v4", "v5"];

/// What is rolled out while the server dies, and how that must end.
struct Story {
    strategy: Value,
    /// Whether the versions are bad, so that the gate takes each of them back.
    bad: bool,
}

impl Story {
    fn good(strategy: Value) -> Self {
        Self {
            strategy,
            bad: false,
        }
    }

    fn ends(&self) -> &'static str {
        if self.bad { "rolledBack" } else { "succeeded" }
    }

    fn version(&self, name: &'static str) -> Version {
        match self.bad {
            true => Version::bad(name),
            false => Version::good(name),
        }
    }
}

/// One rollout for each of `times`, the server dying when it comes to `point` for that time.
async fn sweep(story: Story, point: &str, times: &[u32]) -> anyhow::Result<()> {
    let pair = ProcessHaProxy;
    let mut world = World::installed(Setup::default(), &pair, &story.strategy).await?;
    let mut died = 0;
    for (name, nth) in VERSIONS.into_iter().zip(times) {
        let version = story.version(name);
        let crash_at = format!("{point}:{nth}");
        let outcome = die_once(&mut world, &pair, &version, &crash_at, story.ends()).await;
        let outcome = outcome.with_context(|| format!("killed at {crash_at}"));
        died += usize::from(world.explained(outcome).await?);
    }
    // How often a pass comes by depends on the machine, and the last number may be too high.
    ensure!(died + 1 >= times.len(), "it died only {died} times");
    let allowed = Allowed {
        errors_of: if story.bad { &VERSIONS } else { &[] },
        ..Allowed::default()
    };
    check(&mut world, &pair, allowed).await
}

async fn die_once(
    world: &mut World,
    pair: &dyn Pair,
    version: &Version,
    crash_at: &str,
    ends: &str,
) -> anyhow::Result<bool> {
    let artifact = pair.artifact(world, version).await?;
    let key = Uuid::now_v7().to_string();
    let (server, app) = world.server_and_app();
    let died = die_at(server, app, &artifact, &key, crash_at).await?;
    let before = instances::running(world.mark());
    let leaving = instances::told_to_end(&world.server.data_dir());
    world.server.start_again(&[]).await?;
    let after = instances::running(world.mark());
    let mut lost = before.iter().filter(|it| !after.contains(it));
    let orphan = lost.find(|it| !leaving.contains(&it.pid));
    ensure!(
        orphan.is_none() || !died,
        "an instance did not outlive the server: {orphan:?}"
    );
    let id = deployed(world, &artifact, &key).await?;
    world.ended(id, ends).await?;
    let again = deployed(world, &artifact, &key).await?;
    ensure!(again == id, "the key gave two rollouts: {id} and {again}");
    Ok(died)
}

macro_rules! crash_points {
    ($($name:ident: $story:expr, $point:literal at $times:expr;)+) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() -> anyhow::Result<()> {
            sweep($story, $point, &$times).await
        })+
    };
}

/// The gate takes every version back, soon.
fn bad_canary() -> Story {
    let steps = json!([{ "setWeight": 50 }, { "gate": { "for": "6s" } }]);
    Story {
        strategy: canary(&steps),
        bad: true,
    }
}

fn rolling() -> Story {
    Story::good(json!({ "rolling": { "maxSurge": 1, "maxUnavailable": 0 } }))
}

fn blue_green() -> Story {
    Story::good(json!({ "blueGreen": { "gate": { "for": "600ms" }, "bake": "300ms" } }))
}

crash_points! {
    before_load: Story::good(short_canary()), "before-load" at [3, 11, 23];
    after_observe: Story::good(short_canary()), "after-observe" at [2, 9, 19];
    before_commit: Story::good(short_canary()), "before-commit" at [1, 5, 12];
    after_commit: Story::good(short_canary()), "after-commit" at [1, 6, 13];
    after_routes: Story::good(short_canary()), "after-routes" at [3, 10, 21];
    after_ensure: Story::good(short_canary()), "after-ensure" at [2, 8, 17];
    on_the_way_back: bad_canary(), "after-commit" at [9, 11, 13];
    on_the_way_back_before_the_weights: bad_canary(), "before-commit" at [11, 13];
    blue_green_switch: blue_green(), "after-commit" at [4, 6, 8];
    rolling_batches: rolling(), "after-routes" at [7, 12];
}
