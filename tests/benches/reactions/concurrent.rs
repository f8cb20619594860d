//! Fifty rollouts at once: how late wakes arrive, by the server's own histogram.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::json;

use crate::figure::Figure;
use crate::site::{Site, names};

const ROLLOUTS: usize = 50;
const TARGET: Duration = Duration::from_millis(500);

pub(crate) async fn measure() -> anyhow::Result<Vec<Figure>> {
    let apps = names('c', ROLLOUTS);
    let site = Site::start(&apps).await?;
    let steps = json!([
        { "setWeight": 10 }, { "pause": "300ms" },
        { "setWeight": 25 }, { "pause": "300ms" },
        { "setWeight": 50 }, { "pause": "300ms" },
        { "setWeight": 75 }, { "pause": "300ms" },
        { "setWeight": 100 },
    ]);
    site.install(&apps, &steps).await?;
    let before = wakes(&site.metrics().await?);
    let began = Instant::now();
    site.deploy(&apps, "green", ROLLOUTS).await?;
    site.until("succeeded", ROLLOUTS * 2).await?;
    let took = began.elapsed();
    let after = wakes(&site.metrics().await?);
    let during: Vec<(f64, f64)> = after
        .into_iter()
        .map(|(bound, count)| {
            let earlier = before.get(&bound).copied().unwrap_or_default();
            (f64::from_bits(bound), count - earlier)
        })
        .collect();
    let count = during.last().map(|it| it.1).unwrap_or_default();
    ensure!(count > 0.0, "no wake was counted");
    let bound = |part: f64| {
        let found = during.iter().find(|(_, it)| *it >= count * part);
        let bound = found.map(|it| it.0).filter(|it| it.is_finite());
        bound.map_or(Duration::MAX, Duration::from_secs_f64)
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count"
    )]
    let samples = count as usize;
    Ok(vec![
        Figure::bounds(
            "wake → start of its pass, 50 rollouts at once, all ended",
            samples,
            [bound(0.5), bound(0.99), bound(1.0)],
            TARGET,
        ),
        Figure::value(
            "… until all 50 have succeeded (1.2 s of it are pauses)",
            format!("{:.1} s", took.as_secs_f64()),
            "–",
            None,
        ),
    ])
}

/// Cumulative counts of the wake latency's buckets over both lanes, by the bits of their bounds:
/// those of positive numbers are in the numbers' order.
fn wakes(metrics: &str) -> BTreeMap<u64, f64> {
    let mut buckets = BTreeMap::new();
    for line in metrics.lines() {
        if let Some((bound, count)) = bucket(line) {
            *buckets.entry(f64::to_bits(bound)).or_default() += count;
        }
    }
    buckets
}

fn bucket(line: &str) -> Option<(f64, f64)> {
    let labels = line.strip_prefix("sluice_wake_latency_seconds_bucket")?;
    let (_, bound) = labels.split_once("le=\"")?;
    let (bound, _) = bound.split_once('"')?;
    let bound = match bound {
        "+Inf" => f64::INFINITY,
        bound => bound.parse().ok()?,
    };
    let count = line.rsplit(' ').next()?;
    Some((bound, count.parse().ok().context("a count").ok()?))
}
