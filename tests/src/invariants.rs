//! What must hold after every scenario: Sluice's history against itself, against the front's record of
//! every request, against the users' own count, and against the instances that really run.

use std::time::Duration;

use anyhow::{Context, ensure};
use api::RolloutSummary;
use jiff::Timestamp;
use local::wait;

use crate::apps::{APP, PROJECT};
use crate::database::Database;
use crate::fronts::Record;
use crate::timeline::{Ceiling, ceilings, under_one_name};
use crate::{Pair, World, pairs};

/// How long what was told to end may take to be gone: the stop timeout and the drain.
const GONE_WITHIN: Duration = Duration::from_secs(6);

/// A busy machine, not a fault: a connection was waited for longer than the second it may take. What
/// follows from it shows in the outcome.
const BUSY_MACHINE: [&str; 2] = ["Postgres is unavailable", "works again"];

/// What a scenario is allowed to show. The default is a scenario that hurts nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Allowed<'a> {
    /// Versions whose own 5xx answers are part of the scenario.
    pub errors_of: &'a [&'a str],
    /// The router answered by itself: nobody was there to serve, as the scenario wants it.
    pub own_errors: bool,
    /// Connections were refused or cut: the router itself was away, or a serving instance was killed.
    pub cut: bool,
    /// Texts in warnings and errors of the server's log that belong to the scenario.
    pub log: &'a [&'a str],
    /// Stable's instances are not all there at the end.
    pub crippled: bool,
}

/// Stops the load and checks everything.
///
/// # Errors
/// With the first thing that does not hold.
pub async fn check(world: &mut World, pair: &dyn Pair, allowed: Allowed<'_>) -> anyhow::Result<()> {
    world.stop_load().await;
    let outcome = check_all(world, pair, allowed).await;
    world.explained(outcome.context("invariants")).await?;
    let outcome = pair.finish(world).await;
    world.explained(outcome.context("at the end")).await
}

async fn check_all(world: &World, pair: &dyn Pair, allowed: Allowed<'_>) -> anyhow::Result<()> {
    history(&world.database).await?;
    let mut all = Vec::new();
    for rollout in rollouts(world).await? {
        ensure!(
            rollout.ended_at.is_some(),
            "rollout of {} has not ended: {}",
            rollout.candidate,
            rollout.phase
        );
        let rows = world.history(rollout.id).await?;
        for (index, row) in rows.iter().enumerate() {
            ensure!(
                usize::try_from(row.seq) == Ok(index + 1),
                "history of {} has a gap at {}",
                rollout.candidate,
                row.seq
            );
        }
        let artifact = world.client.rollout(rollout.id).await?.artifact;
        let known_as = pair.front().known_as(&rollout.candidate, &artifact);
        let install = rollout.stable.is_none();
        all.extend(ceilings(&rollout.candidate, &known_as, install, &rows));
    }
    all.sort_by_key(|it| it.from);
    router(&pair.front().record(world).await?, &all, allowed)?;
    users(world, allowed)?;
    at_rest(world, pair, allowed).await?;
    let known = [allowed.log, &BUSY_MACHINE].concat();
    let complaints = world.server.complaints(&known);
    ensure!(
        complaints.is_empty(),
        "the server's log complains:\n{}",
        complaints.join("\n")
    );
    Ok(())
}

/// Every rollout of the app, oldest first.
async fn rollouts(world: &World) -> anyhow::Result<Vec<RolloutSummary>> {
    let mut all = Vec::new();
    let mut cursor = None;
    loop {
        let page = world
            .client
            .rollouts(Some(PROJECT), Some(APP), cursor.as_deref())
            .await?;
        all.extend(page.items);
        match page.next_cursor {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    all.reverse();
    Ok(all)
}

/// I5, I6: no step done twice, no gap, the chain of hashes whole, `fold(history) = state`.
///
/// # Errors
/// With the first of them that does not hold.
pub async fn history(database: &Database) -> anyhow::Result<()> {
    let checks = [
        (
            "the sequence has no gap",
            "SELECT candidate, max(seq), count(*) FROM transition GROUP BY rollout_id, candidate \
             HAVING max(seq) <> count(*) OR min(seq) <> 1",
        ),
        (
            "the last transition's state is the rollout's",
            "SELECT r.candidate, r.phase FROM rollout r WHERE r.state <> \
             (SELECT t.state FROM transition t WHERE t.rollout_id = r.id ORDER BY t.seq DESC LIMIT 1)",
        ),
        (
            "the chain of hashes is whole",
            "SELECT t.candidate, t.seq FROM transition t WHERE t.hash <> sha256(coalesce( \
             (SELECT p.hash FROM transition p WHERE p.rollout_id = t.rollout_id AND p.seq = t.seq - 1), \
             ''::bytea) || convert_to(transition_text(t), 'UTF8'))",
        ),
        (
            "no step of an attempt is done twice",
            "SELECT candidate, state -> 'cursor', count(*) FROM transition \
             WHERE event ->> 'kind' = 'stepDone' \
             GROUP BY rollout_id, candidate, state -> 'cursor' HAVING count(*) > 1",
        ),
        (
            "every transition counts the state's generation up by one",
            "SELECT t.candidate, t.seq, t.state -> 'generation' FROM transition t \
             WHERE (t.state ->> 'generation')::bigint <> t.seq - 1",
        ),
        (
            "every rollout has at most one end an attempt",
            "SELECT candidate, count(*) FROM transition \
             WHERE event ->> 'kind' IN ('succeeded', 'rolledBack', 'cancelled') \
             GROUP BY rollout_id, candidate, state -> 'cursor' -> 'attempt' HAVING count(*) > 1",
        ),
    ];
    for (rule, sql) in checks {
        let broken = database.sql(sql).await?;
        ensure!(broken.is_empty(), "history: not so: {rule}: {broken}");
    }
    Ok(())
}

/// I1, I2: the front's record of who served which request.
fn router(record: &Record, all: &[Ceiling], allowed: Allowed<'_>) -> anyhow::Result<()> {
    let own = record.requests.iter().filter(|it| it.own_error);
    let own: Vec<_> = own.filter(|it| it.by.is_none() || !allowed.cut).collect();
    ensure!(
        allowed.own_errors || own.is_empty(),
        "the router answered {} requests with an error of its own: {:?}",
        own.len(),
        own.first()
    );
    let mut names: Vec<&str> = all.iter().map(|it| it.known_as.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let own = under_one_name(all.iter().filter(|it| it.known_as == name));
        for (index, ceiling) in own.iter().enumerate() {
            let until = own.get(index + 1).map(|it| it.from);
            let until = until.or_else(|| next_of_others(all, ceiling));
            within_ceiling(record, ceiling, until)?;
        }
    }
    Ok(())
}

/// The last word about a candidate holds until the end of the record, except that one that became
/// stable has what the next rollout leaves it: 100 % is never too much.
fn next_of_others(all: &[Ceiling], last: &Ceiling) -> Option<Timestamp> {
    match last.share < 1.0 {
        true => None,
        false => all.iter().map(|it| it.from).find(|it| *it > last.from),
    }
}

fn within_ceiling(
    record: &Record,
    ceiling: &Ceiling,
    until: Option<Timestamp>,
) -> anyhow::Result<()> {
    if ceiling.share >= 1.0 {
        return Ok(());
    }
    let from = ceiling.from.checked_add(record.lag)?;
    let until = until.unwrap_or(Timestamp::MAX);
    let (mut total, mut candidate) = (0.0_f64, 0.0_f64);
    for request in &record.requests {
        if request.began < from || request.began >= until {
            continue;
        }
        total += 1.0;
        let its = request.by.as_ref() == Some(&ceiling.known_as);
        candidate += f64::from(u8::from(its));
    }
    let expected = total * ceiling.share;
    let slack = record.choice.slack(total, ceiling.share);
    ensure!(
        candidate <= expected + slack,
        "{} got {candidate} of {total} requests between {} and {until}, its share was to be {} at most",
        ceiling.revision,
        ceiling.from,
        ceiling.share
    );
    Ok(())
}

/// What the users saw.
fn users(world: &World, allowed: Allowed<'_>) -> anyhow::Result<()> {
    let Some(log) = &world.load_log else {
        return Ok(());
    };
    let totals = &log.totals;
    ensure!(totals.total > 0, "the load sent nothing");
    ensure!(
        allowed.cut || totals.transport_errors == 0,
        "{} requests got no answer: {:?}",
        totals.transport_errors,
        log.transport_errors
    );
    ensure!(
        allowed.own_errors || totals.unversioned.requests == 0,
        "{} answers did not come from the service",
        totals.unversioned.requests
    );
    for (version, counts) in &totals.versions {
        ensure!(
            counts.errors == 0 || allowed.errors_of.contains(&version.as_str()),
            "{version} answered {} of {} requests with an error",
            counts.errors,
            counts.requests
        );
    }
    Ok(())
}

/// Only stable is left: its instances run and have the weight, nobody else's.
async fn at_rest(world: &World, pair: &dyn Pair, allowed: Allowed<'_>) -> anyhow::Result<()> {
    let app = world.client.app(PROJECT, APP).await?;
    let Some(stable) = app.stable else {
        return Ok(());
    };
    let front = pair.front();
    let stable = front.known_as(&stable.revision, &stable.artifact);
    let all_stable = |seen: &[String]| {
        let strangers = seen.iter().any(|it| *it != stable);
        !strangers && (seen.len() == pairs::REPLICAS || allowed.crippled)
    };
    wait::until(
        GONE_WITHIN,
        "the router to route to stable only",
        || async {
            let serving = front.serving(world).await;
            let serving = serving.map_err(|error| format!("{error:#}"))?;
            match all_stable(&serving) {
                true => Ok(()),
                false => Err(format!("{serving:?}")),
            }
        },
    )
    .await?;
    if !pair.runs_instances() {
        return Ok(());
    }
    wait::until(GONE_WITHIN, "only stable's instances to run", || async {
        let running = pair.running(world).await;
        let running = running.map_err(|error| format!("{error:#}"))?;
        let names: Vec<String> = running.iter().map(|it| it.known_as.clone()).collect();
        match all_stable(&names) {
            true => Ok(()),
            false => Err(format!("{running:?}")),
        }
    })
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::fronts::{Choice, Request};

    fn at(millisecond: i64) -> Timestamp {
        Timestamp::from_millisecond(millisecond).unwrap()
    }

    /// One request every ten milliseconds; every `nth` goes to `r2`.
    fn record(nth: usize) -> Record {
        let by = |index: usize| match index.is_multiple_of(nth) {
            true => "r2",
            false => "r1",
        };
        let request = |index: usize| Request {
            began: at(10 * i64::try_from(index).unwrap()),
            by: Some(by(index).to_owned()),
            own_error: false,
        };
        Record {
            requests: (0..1000).map(request).collect(),
            lag: SignedDuration::from_millis(5),
            choice: Choice::Turns,
        }
    }

    fn ceiling(from: i64, share: f64) -> Ceiling {
        Ceiling {
            from: at(from),
            revision: "r2".to_owned(),
            known_as: "r2".to_owned(),
            share,
        }
    }

    #[test]
    fn a_share_above_the_ceiling_is_found() {
        let fair = router(&record(5), &[ceiling(0, 0.2)], Allowed::default());
        assert!(fair.is_ok(), "{fair:?}");
        let greedy = router(&record(4), &[ceiling(0, 0.2)], Allowed::default());
        assert!(greedy.unwrap_err().to_string().contains("0.2 at most"));
    }

    #[test]
    fn a_single_request_after_the_way_back_is_found() {
        let back = [ceiling(0, 1.0), ceiling(9_900, 0.0)];
        assert!(router(&record(2), &back, Allowed::default()).is_err());
        let mut quiet = record(2);
        let stable = Some("r1".to_owned());
        quiet
            .requests
            .retain(|it| it.began < at(9_900) || it.by == stable);
        let quiet = router(&quiet, &back, Allowed::default());
        assert!(quiet.is_ok(), "{quiet:?}");
    }

    #[test]
    fn a_router_that_picks_by_chance_gets_some_slack_but_none_after_the_way_back() {
        let chance = |nth| Record {
            choice: Choice::Chance,
            ..record(nth)
        };
        let lucky = router(&chance(4), &[ceiling(0, 0.2)], Allowed::default());
        assert!(lucky.is_ok(), "{lucky:?}");
        assert!(router(&chance(3), &[ceiling(0, 0.2)], Allowed::default()).is_err());
        assert!(router(&chance(500), &[ceiling(0, 0.0)], Allowed::default()).is_err());
    }

    #[test]
    fn an_error_of_the_routers_own_is_found() {
        let mut all = record(5);
        for request in all.requests.iter_mut().skip(500).take(1) {
            request.by = None;
            request.own_error = true;
        }
        assert!(router(&all, &[], Allowed::default()).is_err());
        let allowed = Allowed {
            own_errors: true,
            ..Allowed::default()
        };
        assert!(router(&all, &[], allowed).is_ok());
    }
}
