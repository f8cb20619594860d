//! Database round trips a pass, counted from Postgres' own log of statements while rollouts run.

use std::time::Duration;

use serde_json::json;

use crate::figure::Figure;
use crate::site::{Site, names};

/// Rollouts at a time; few, so that a statement's first preparation on each connection is over
/// before it is counted.
const APPS: usize = 20;
const TARGET: f64 = 3.0;
/// Texts in the statements of the loop: what a pass reads, and what it writes.
const LOAD: &str = "FROM app a JOIN shard s ON";
const COMMIT: &str = "WITH lease AS MATERIALIZED";

pub(crate) async fn measure() -> anyhow::Result<Vec<Figure>> {
    let apps = names('t', APPS);
    let site = Site::start(&apps).await?;
    let steps = json!([
        { "setWeight": 10 }, { "pause": "200ms" },
        { "setWeight": 50 }, { "pause": "200ms" },
        { "setWeight": 100 },
    ]);
    site.install(&apps, &steps).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    site.sql("ALTER SYSTEM SET log_statement = 'all'").await?;
    site.sql("SELECT pg_reload_conf()").await?;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (passes, log) = (passes(&site).await?, site.postgres_log()?.len());
    site.deploy(&apps, "green", APPS).await?;
    site.until("succeeded", APPS * 2).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let ran = self::passes(&site).await? - passes;
    let text = site.postgres_log()?;
    let statements = Statements::read(text.get(log..).unwrap_or_default());
    #[expect(clippy::cast_precision_loss, reason = "some thousand")]
    let each = |it: usize| it as f64 / ran.max(1.0);
    let (own, all) = (each(statements.passes), each(statements.all));
    eprintln!("{ran} passes, {statements:?}");
    Ok(vec![
        Figure::value(
            "database round trips a pass, its own (load and commit)",
            format!("{own:.2}"),
            "≤ 3",
            Some(own <= TARGET),
        ),
        Figure::value(
            "… with everything else that ran meanwhile: deploys, leases, notices, streams",
            format!("{all:.2}"),
            "–",
            None,
        ),
    ])
}

/// Passes that the first server has run since its start.
pub(crate) async fn passes(site: &Site) -> anyhow::Result<f64> {
    let metrics = site.metrics().await?;
    let lines = metrics
        .lines()
        .filter(|it| it.starts_with("sluice_passes_total"));
    Ok(lines
        .filter_map(|it| it.rsplit(' ').next()?.parse::<f64>().ok())
        .sum())
}

/// Statements in a piece of Postgres' log.
#[derive(Debug, Default)]
struct Statements {
    /// Those that passes make: loads and commits.
    passes: usize,
    /// All of the server's: each is a round trip.
    all: usize,
}

impl Statements {
    fn read(log: &str) -> Self {
        let mut found = Self::default();
        // A statement begins on a line of its own and may go on over many.
        for entry in log.split("LOG:  ").skip(1) {
            if entry.starts_with("execute ") || entry.starts_with("statement: ") {
                let words: Vec<&str> = entry.split_whitespace().collect();
                let text = words.join(" ");
                // What this benchmark asks, through psql.
                if text.contains("SELECT count(*) FROM rollout WHERE phase =") {
                    continue;
                }
                found.all += 1;
                let own = text.contains(LOAD) || text.contains(COMMIT);
                found.passes += usize::from(own);
            }
        }
        found
    }
}
