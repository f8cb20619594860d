//! From an alert to the route: the alert is posted to the hook, and a watch says when the route gives
//! the candidate nothing any more. At least a hundred rollouts are active all the time.

use std::time::Duration;

use anyhow::Context;
use futures::future::try_join_all;
use jiff::Timestamp;
use serde_json::json;

use crate::figure::Figure;
use crate::stage::{CANDIDATE, Kind, Stage, candidates_weight, names, span};

/// Rollouts at the start; a hundred are active until the end.
const APPS: usize = 160;
/// Alerts one after another.
const ONE_BY_ONE: usize = 40;
/// Then so many at once.
const AT_ONCE: usize = 20;
/// A rollback that takes longer than this is broken, not slow.
const WITHIN: Duration = Duration::from_secs(30);
const TARGET: Duration = Duration::from_millis(250);

pub(crate) async fn measure() -> anyhow::Result<Vec<Figure>> {
    let apps = names('a', APPS);
    let kind = Kind {
        replicas: 2,
        ready_after: "0s",
        steps: json!([{ "setWeight": 50 }, { "pause": {} }, { "setWeight": 100 }]),
        more: json!({}),
    };
    let stage = Stage::start(&apps, &kind).await?;
    stage.deploy(&apps, CANDIDATE, 8).await?;
    stage.until_held(APPS).await?;
    // What the deploys have stirred up settles.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let http = reqwest::Client::new();
    let (single, rest) = apps.split_at(ONE_BY_ONE);
    let mut alone = Vec::new();
    for app in single {
        alone.extend(fire(&stage, &http, std::slice::from_ref(app)).await?);
    }
    let batch = rest.get(..AT_ONCE).context("too few apps")?;
    let together = fire(&stage, &http, batch).await?;
    let figure = |what: &str, times: &[Taken], of: fn(&Taken) -> Duration, target| {
        Figure::times(what, &times.iter().map(of).collect::<Vec<_>>(), target)
    };
    let one = "one after another, 100 rollouts active";
    Ok(vec![
        figure(
            &format!("alert accepted → route gives the candidate 0, {one}"),
            &alone,
            |it| it.weight,
            Some(TARGET),
        ),
        figure(
            &format!("alert sent → accepted, {one}"),
            &alone,
            |it| it.answer,
            None,
        ),
        figure(
            "alert accepted → route gives the candidate 0, 20 at once",
            &together,
            |it| it.weight,
            None,
        ),
    ])
}

struct Taken {
    /// From sending to the answer.
    answer: Duration,
    /// From the answer; zero if the route was faster.
    weight: Duration,
}

/// Fires one alert for each app, all at once.
async fn fire(
    stage: &Stage,
    http: &reqwest::Client,
    apps: &[String],
) -> anyhow::Result<Vec<Taken>> {
    let from = Timestamp::now();
    let posted = try_join_all(apps.iter().map(async |app| {
        let sent = Timestamp::now();
        stage.alert(http, app, 0).await?;
        anyhow::Ok((sent, Timestamp::now()))
    }))
    .await?;
    let nothing = |_: &str, route: &_| candidates_weight(route) == Some(0);
    let seen = stage.routes(apps, from, WITHIN, nothing).await?;
    let taken = posted
        .iter()
        .zip(&seen)
        .map(|((sent, answered), (_, at))| Taken {
            answer: span(*sent, *answered),
            weight: span(*answered, *at),
        });
    Ok(taken.collect())
}
