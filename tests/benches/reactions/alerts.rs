//! From an alert to the weight: the alert is posted to the hook, and HAProxy's own state says when
//! the candidate has no traffic any more. At least a hundred rollouts are active all the time.

use std::time::Duration;

use anyhow::{Context, ensure};
use futures::future::try_join_all;

use crate::figure::Figure;
use crate::router::of_revision;
use crate::site::{Site, names};

/// Rollouts at the start; a hundred are active until the end.
const APPS: usize = 220;
/// Alerts one after another.
const ONE_BY_ONE: usize = 40;
/// Then alerts at once, so many times.
const AT_ONCE: usize = 20;
const BATCHES: usize = 3;
/// Then storms one after another, each a payload of so many alerts of which the last is about an app.
const STORMS: usize = 20;
const STORM: usize = 10_000;
/// A rollback that takes longer than this is broken, not slow.
const WITHIN: Duration = Duration::from_secs(20);
const TARGET: Duration = Duration::from_millis(100);

pub(crate) async fn measure() -> anyhow::Result<Vec<Figure>> {
    let apps = names('a', APPS);
    let site = Site::held(&apps).await?;
    let half = site.router.weights(&apps)?;
    ensure!(
        half.values().all(|it| of_revision(it, "r2") > 0),
        "a candidate at 50 % has no weight"
    );
    // What the deploys have stirred up settles.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let http = reqwest::Client::new();
    let (single, rest) = apps.split_at(ONE_BY_ONE);
    let mut alone = Vec::new();
    for app in single {
        alone.extend(fire(&site, &http, std::slice::from_ref(app), 1).await?);
    }
    let mut together = Vec::new();
    for batch in rest.chunks(AT_ONCE).take(BATCHES) {
        together.extend(fire(&site, &http, batch, 1).await?);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let mut storms = Vec::new();
    for app in rest.iter().skip(AT_ONCE * BATCHES).take(STORMS) {
        storms.extend(fire(&site, &http, std::slice::from_ref(app), STORM).await?);
    }
    let figure = |what: &str, times: &[Taken], of: fn(&Taken) -> Duration, target| {
        Figure::times(what, &times.iter().map(of).collect::<Vec<_>>(), target)
    };
    Ok(vec![
        figure(
            "alert sent → weight 0 on HAProxy, one after another, 100 rollouts active",
            &alone,
            |it| it.weight,
            Some(TARGET),
        ),
        figure(
            "alert sent → answered, one after another",
            &alone,
            |it| it.answer,
            None,
        ),
        figure(
            "alert sent → weight 0 on HAProxy, 20 at once, 100 rollouts active",
            &together,
            |it| it.weight,
            Some(TARGET),
        ),
        figure(
            "alert sent → answered, 20 at once",
            &together,
            |it| it.answer,
            None,
        ),
        figure(
            "storm of 10,000 alerts sent → weight 0 on HAProxy, 100 rollouts active",
            &storms,
            |it| it.weight,
            Some(TARGET),
        ),
    ])
}

/// Both times are from before the request was sent.
pub(crate) struct Taken {
    pub(crate) answer: Duration,
    pub(crate) weight: Duration,
}

/// Fires one alert for each app, all at once, each the last of so many in its payload.
pub(crate) async fn fire(
    site: &Site,
    http: &reqwest::Client,
    apps: &[String],
    alerts: usize,
) -> anyhow::Result<Vec<Taken>> {
    let (router, watched) = (site.router.clone(), apps.to_vec());
    let watching = tokio::task::spawn_blocking(move || {
        router.watch(&watched, WITHIN, |_, servers| {
            of_revision(servers, "r2") == 0
        })
    });
    // The watcher has looked once before the first alert.
    tokio::time::sleep(Duration::from_millis(5)).await;
    let posted = try_join_all(apps.iter().map(async |app| {
        let sent = site.alert(http, app, alerts - 1).await?;
        anyhow::Ok((app, sent, sent.elapsed()))
    }))
    .await?;
    let seen = watching.await.context("watch HAProxy")??;
    posted
        .into_iter()
        .map(|(app, sent, answer)| {
            let at = seen.get(app).context("a weight was not seen")?;
            let weight = at.saturating_duration_since(sent);
            Ok(Taken { answer, weight })
        })
        .collect()
}
