//! The six rollouts, told while they happen.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context as _;
use api::{Deploy, RolloutView};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    narrator::Narrator,
    stage::{APP, PROJECT, Stage},
};

/// How a rollout should end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The new revision becomes stable.
    Succeeded,
    /// Its gate takes it back.
    GateRollback,
    /// An alert takes it back.
    AlertRollback,
}

/// One rollout of the demo as it went.
#[derive(Debug)]
pub(super) struct Chapter {
    pub(super) version: &'static str,
    pub(super) kind: &'static str,
    pub(super) wanted: Ending,
    pub(super) began: Timestamp,
    pub(super) ended: Timestamp,
    /// When somebody outside Sluice said that it is bad.
    pub(super) alerted: Option<Timestamp>,
    pub(super) rollout: RolloutView,
}

struct Script {
    version: &'static str,
    kind: &'static str,
    title: &'static str,
    flags: &'static str,
    strategy: fn() -> Value,
    wanted: Ending,
}

/// The longest a single rollout of the demo may take.
const CHAPTER_WITHIN: Duration = Duration::from_secs(60);
/// How long v4 serves at 25 % before the alert goes off.
const ALERT_AFTER: SignedDuration = SignedDuration::from_millis(1500);
/// How often the live line is drawn anew.
const DRAW_EVERY: Duration = Duration::from_millis(250);

const SCRIPTS: [Script; 6] = [
    Script {
        version: "v1",
        kind: "install",
        title: "v1 is installed",
        flags: "",
        strategy: canary,
        wanted: Ending::Succeeded,
    },
    Script {
        version: "v2",
        kind: "canary",
        title: "v2 is healthy: 5 → 25 → 50 → 100 %",
        flags: "",
        strategy: canary,
        wanted: Ending::Succeeded,
    },
    Script {
        version: "v3",
        kind: "canary",
        title: "v3 answers 20 % of its requests with 500",
        flags: "--error-ratio 0.2",
        strategy: canary,
        wanted: Ending::GateRollback,
    },
    Script {
        version: "v4",
        kind: "canary",
        title: "v4 passes its gates, but an alert fires",
        flags: "",
        strategy: canary,
        wanted: Ending::AlertRollback,
    },
    Script {
        version: "v5",
        kind: "blue-green",
        title: "v5 goes out blue-green",
        flags: "",
        strategy: blue_green,
        wanted: Ending::Succeeded,
    },
    Script {
        version: "v6",
        kind: "rolling",
        title: "v6 goes out rolling",
        flags: "",
        strategy: rolling,
        wanted: Ending::Succeeded,
    },
];

fn canary() -> Value {
    json!({ "canary": { "steps": [
        { "setWeight": 5 }, { "gate": { "for": "4s" } },
        { "setWeight": 25 }, { "gate": { "for": "3s" } },
        { "setWeight": 50 }, { "gate": { "for": "3s" } },
        { "setWeight": 100 },
    ]}})
}

fn blue_green() -> Value {
    json!({ "blueGreen": { "gate": { "for": "4s" }, "bake": "1s" } })
}

fn rolling() -> Value {
    json!({ "rolling": { "maxSurge": 1, "maxUnavailable": 0, "gate": { "for": "3s" } } })
}

/// Tells all six.
pub(super) async fn tell(stage: &Stage, narrator: &Narrator) -> anyhow::Result<Vec<Chapter>> {
    let mut chapters = Vec::new();
    for script in &SCRIPTS {
        narrator.chapter(script.title);
        let chapter = tell_one(stage, narrator, script)
            .await
            .with_context(|| format!("the rollout of {}", script.version))?;
        narrator.outcome(&chapter);
        if chapters.is_empty() {
            stage.open_the_doors()?;
        }
        chapters.push(chapter);
    }
    Ok(chapters)
}

async fn tell_one(stage: &Stage, narrator: &Narrator, script: &Script) -> anyhow::Result<Chapter> {
    let file = stage.app_file(&(script.strategy)());
    stage.client.put_app(PROJECT, APP, &file, None).await?;
    let artifact = stage.release(script.version, script.flags)?;
    let deploy = Deploy {
        artifact: Some(artifact.display().to_string()),
        comment: Some(script.title.to_owned()),
        ..Deploy::default()
    };
    let began = Timestamp::now();
    let key = Uuid::now_v7().to_string();
    let rollout = stage.client.deploy(PROJECT, APP, &deploy, &key).await?;
    let alert = script.wanted == Ending::AlertRollback;
    let followed = tokio::time::timeout(
        CHAPTER_WITHIN,
        follow(stage, narrator, rollout.summary.id, alert),
    );
    let (rollout, alerted) = followed.await.context("it took too long")??;
    Ok(Chapter {
        version: script.version,
        kind: script.kind,
        wanted: script.wanted,
        began,
        ended: rollout.summary.ended_at.unwrap_or_else(Timestamp::now),
        alerted,
        rollout,
    })
}

/// Follows a rollout to its end: every transition becomes a line, the present a live line.
async fn follow(
    stage: &Stage,
    narrator: &Narrator,
    id: Uuid,
    alert: bool,
) -> anyhow::Result<(RolloutView, Option<Timestamp>)> {
    let mut told = 0;
    let mut alerted = None;
    loop {
        let history = stage.client.history(id, None).await?;
        for transition in &history.items {
            if transition.seq > told {
                narrator.transition(transition);
                told = transition.seq;
            }
        }
        let rollout = stage.client.rollout(id).await?;
        if rollout.summary.ended_at.is_some() && told > 0 {
            let more = stage.client.history(id, None).await?.items.len() > history.items.len();
            if !more {
                narrator.done();
                return Ok((rollout, alerted));
            }
            continue;
        }
        narrator.live(&rollout, &stage.served());
        // At 25 % an alert goes off, for a reason that the gate does not see.
        let at_25 = rollout.summary.step.starts_with("gate") && rollout.step_index >= 4;
        let served_a_while = Timestamp::now().duration_since(rollout.since) >= ALERT_AFTER;
        if alert && alerted.is_none() && at_25 && served_a_while {
            alerted = Some(fire(stage, narrator).await?);
        }
        tokio::time::sleep(DRAW_EVERY).await;
    }
}

async fn fire(stage: &Stage, narrator: &Narrator) -> anyhow::Result<Timestamp> {
    let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let labels = BTreeMap::from([
        label("alertname", "PaymentsDeclined"),
        label("app", APP),
        label("severity", "critical"),
    ]);
    let summary = "the share of declined payments doubled";
    let annotations = BTreeMap::from([label("summary", summary)]);
    narrator.line("an alert is sent to Alertmanager: PaymentsDeclined, severity critical");
    let at = Timestamp::now();
    stage.alertmanager.fire(&labels, &annotations).await?;
    Ok(at)
}
