//! A hundred rollouts at once: all succeed, and no step is late. A pause says when its step should
//! end, and the history when it did.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::json;

use crate::figure::Figure;
use crate::stage::{CANDIDATE, Kind, Stage, names};

const ROLLOUTS: usize = 100;
const PAUSE: Duration = Duration::from_secs(1);
/// A timer's step that ends later than this after its time is late.
const TARGET: Duration = Duration::from_secs(1);

pub(crate) async fn measure() -> anyhow::Result<Vec<Figure>> {
    let apps = names('c', ROLLOUTS);
    let kind = Kind {
        replicas: 2,
        ready_after: "100ms",
        steps: json!([
            { "setWeight": 25 }, { "pause": "1s" },
            { "setWeight": 50 }, { "pause": "1s" },
            { "setWeight": 75 }, { "pause": "1s" },
            { "setWeight": 100 },
        ]),
        more: json!({}),
    };
    let stage = Stage::start(&apps, &kind).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let began = Instant::now();
    stage.deploy(&apps, CANDIDATE, ROLLOUTS).await?;
    stage.until("succeeded", ROLLOUTS).await?;
    let took = began.elapsed();
    let sql = "SELECT extract(epoch FROM t.at - p.at) * 1000000 FROM transition t \
               JOIN transition p ON p.rollout_id = t.rollout_id AND p.seq = t.seq - 1 \
               WHERE t.event ->> 'step' LIKE 'pause %'";
    let mut late = Vec::new();
    for line in stage.sql(sql).await?.lines() {
        let micros: f64 = line.parse().with_context(|| format!("a time: {line}"))?;
        let lasted = Duration::from_secs_f64(micros / 1_000_000.0);
        late.push(lasted.saturating_sub(PAUSE));
    }
    ensure!(late.len() == 3 * ROLLOUTS, "{} pauses ended", late.len());
    Ok(vec![
        Figure::times(
            "a step's time is over → the step is done, 100 rollouts at once, all succeeded",
            &late,
            Some(TARGET),
        ),
        Figure::value(
            "… until all 100 have succeeded (3 s of it are pauses, 1 s drains)",
            format!("{:.1} s", took.as_secs_f64()),
            "–",
            None,
        ),
    ])
}
