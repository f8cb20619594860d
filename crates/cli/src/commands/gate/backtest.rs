//! `sluice gate backtest`: gates tried on past rollouts.

use api::{Backtest, BacktestRequest};
use clap::Args;
use jiff::Timestamp;

use super::{Session, after};
use crate::{
    duration,
    exit::Exit,
    output::{message, moment, table},
    target::AppName,
};

/// Arguments of `gate backtest`.
#[derive(Debug, Args)]
#[command(after_help = "\
Replays the app's gates, as they are applied now, on the rollouts of a time: change a gate, apply it,
and see what it would have said of what you know the outcome of. Counts come from the metric source,
as far back as it keeps them. Gates that count can be tried: compare, latency, slo.

Examples:
  sluice gate backtest checkout                          the last 7 days
  sluice gate backtest checkout --from 30d --gate errors
  sluice gate backtest checkout --from 2026-03-01T00:00:00Z --to 2026-03-08T00:00:00Z")]
pub(crate) struct BacktestArgs {
    /// The app, as [project/]name
    #[arg(value_name = "APP")]
    app: AppName,
    /// Only this gate
    #[arg(long, value_name = "GATE")]
    gate: Option<String>,
    /// From when on: a time, or how long ago
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "7d")]
    from: Timestamp,
    /// Until when: a time, or how long ago [default: now]
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<Timestamp>,
}

/// Tries the gates.
pub(super) async fn run(session: &Session, args: &BacktestArgs) -> anyhow::Result<Exit> {
    let AppName { project, app } = &args.app;
    message("replaying the gates on past rollouts; this may take some minutes");
    let ask = BacktestRequest {
        gate: args.gate.clone(),
        from: args.from,
        to: args.to,
    };
    let found = session.client.backtest(project, app, &ask).await?;
    session.output.show(&found, text)?;
    Ok(Exit::Succeeded)
}

/// A time as RFC 3339 has it, or how long ago it was.
fn time(text: &str) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let ago = duration::parse(text).map_err(|_| {
        format!(
            "\"{text}\" is neither a time such as 2026-03-01T12:00:00Z nor how long ago, such as 7d"
        )
    })?;
    let ago = jiff::SignedDuration::try_from(ago).unwrap_or(jiff::SignedDuration::MAX);
    Timestamp::now()
        .checked_sub(ago)
        .map_err(|_| format!("\"{text}\" ago is before all time"))
}

fn text(found: &Backtest) -> String {
    if found.rollouts.is_empty() {
        return "no rollout had traffic for its candidate in that time".to_owned();
    }
    let rows = found.rollouts.iter().flat_map(|rollout| {
        rollout.gates.iter().map(|gate| {
            [
                moment(rollout.began),
                rollout.candidate.clone(),
                rollout.phase.clone(),
                gate.gate.clone(),
                match gate.after {
                    Some(_) => format!("{} {}", gate.verdict, after(gate.after)),
                    None => gate.verdict.clone(),
                },
                gate.evidence.clone(),
            ]
        })
    });
    let head = &[
        "BEGAN",
        "CANDIDATE",
        "ENDED",
        "GATE",
        "WOULD SAY",
        "BECAUSE",
    ];
    let mut text = table(head, rows);
    if found.more {
        text.push_str("\nThere were more rollouts in that time: give a shorter one to try them.");
    }
    text
}

#[cfg(test)]
mod tests {
    use api::{BacktestGate, BacktestRollout};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_gates_would_have_said_is_a_table() {
        let gate = |verdict: &str, after| BacktestGate {
            gate: "errors".to_owned(),
            verdict: verdict.to_owned(),
            after,
            measured: 12,
            evidence: "errors: candidate 9 of 1,204 requests, stable 3 of 3,600".to_owned(),
        };
        let rollout = |candidate: &str, phase: &str, gate| BacktestRollout {
            rollout: Uuid::nil(),
            candidate: candidate.to_owned(),
            phase: phase.to_owned(),
            began: Timestamp::UNIX_EPOCH,
            gates: vec![gate],
        };
        let found = Backtest {
            rollouts: vec![
                rollout("r8", "rolledBack", gate("fail", Some(31.4))),
                rollout("r7", "succeeded", gate("inconclusive", None)),
            ],
            more: true,
        };
        insta::assert_snapshot!(text(&found));
        assert!(text(&Backtest::default()).contains("no rollout"));
    }

    #[test]
    fn times_are_read_as_moments_or_as_how_long_ago() {
        assert_eq!(time("1970-01-01T00:00:00Z"), Ok(Timestamp::UNIX_EPOCH));
        let week = Timestamp::now().duration_since(time("7d").unwrap());
        assert!((week.as_secs() - 7 * 86_400).abs() < 10, "{week}");
        assert!(time("yesterday").unwrap_err().contains("2026-03-01"));
    }
}
