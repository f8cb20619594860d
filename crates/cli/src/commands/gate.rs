//! `sluice gate`: gates before a rollout.

mod backtest;
mod calibrate;

use api::{GateCheck, GateOutlook, PlanRequest};
use clap::{Args, Subcommand};
use serde_json::json;

use super::Session;
use crate::{
    exit::Exit,
    output::{clean, table},
    target::AppName,
};

/// What to do with gates.
#[derive(Debug, Subcommand)]
pub(crate) enum GateCommand {
    /// Ask every gate of an app now: is there data, of both revisions, and what can be expected?
    Test(TestArgs),
    /// Try gates on stable against itself: how often would they be wrong, and what would they notice?
    Calibrate(calibrate::CalibrateArgs),
    /// Try gates, as they are now, on past rollouts: what would they have said?
    Backtest(backtest::BacktestArgs),
}

/// Arguments of `gate test`.
#[derive(Debug, Args)]
#[command(after_help = "\
Asks each gate's question once, as the app was applied. Names what is missing: series, labels,
counters that are no whole numbers. For gates that compare it says how long they will take at
each share of the plan, with the traffic that there is now.
Exit code 1 if a gate has no data.

Example:
  sluice gate test checkout")]
pub(crate) struct TestArgs {
    /// The app, as [project/]name
    #[arg(value_name = "APP")]
    app: AppName,
}

/// Runs one of them.
pub(crate) async fn run(session: &Session, command: &GateCommand) -> anyhow::Result<Exit> {
    match command {
        GateCommand::Test(args) => test(session, &args.app).await,
        GateCommand::Calibrate(args) => calibrate::run(session, args).await,
        GateCommand::Backtest(args) => backtest::run(session, args).await,
    }
}

async fn test(session: &Session, app: &AppName) -> anyhow::Result<Exit> {
    let nothing_else = PlanRequest {
        document: None,
        artifact: None,
    };
    let plan = session.client.plan(&app.project, &app.app, &nothing_else);
    let gates = plan.await?.gates;
    session
        .output
        .show(&json!({ "gates": gates }), |_| text(&gates))?;
    Ok(match gates.iter().all(|it| it.has_data) {
        true => Exit::Succeeded,
        false => Exit::Failed,
    })
}

/// Gates with what they find now, and what to expect of them.
pub(super) fn text(gates: &[GateCheck]) -> String {
    if gates.is_empty() {
        return "the app has no gates".to_owned();
    }
    let rows = gates.iter().map(|it| {
        let data = if it.has_data { "yes" } else { "no" };
        [
            it.gate.clone(),
            data.to_owned(),
            it.reading.clone(),
            it.question.clone(),
        ]
    });
    let mut blocks = vec![table(&["GATE", "DATA", "NOW", "ASKS"], rows)];
    let outlooks = gates.iter().filter(|it| !it.outlook.is_empty());
    blocks.extend(outlooks.map(|it| outlook(&clean(&it.gate), &it.outlook)));
    blocks.join("\n\n")
}

/// What to expect, a line a share.
fn outlook(gate: &str, outlook: &[GateOutlook]) -> String {
    let mut lines = Vec::new();
    if let Some(first) = outlook.first() {
        lines.push(format!(
            "What to expect of {gate} with {:.1} requests/s, {} of them bad (medians):",
            first.requests_per_second,
            percent(first.stable_rate)
        ));
    }
    lines.extend(outlook.iter().map(|it| {
        format!(
            "  at {} %: ten times as bad is taken back {}, as good as now passes {}",
            it.share,
            after(it.ten_times_after),
            after(it.passes_after)
        )
    }));
    lines.join("\n")
}

/// A rate as people say it.
fn percent(rate: f64) -> String {
    format!("{:.2} %", rate * 100.0)
}

/// A time in a unit that fits it.
fn after(seconds: Option<f64>) -> String {
    match seconds {
        None => "never".to_owned(),
        Some(it) if it < 90.0 => format!("after {it:.0} s"),
        Some(it) if it < 5400.0 => format!("after {:.0} min", it / 60.0),
        Some(it) if it < 172_800.0 => format!("after {:.0} h", it / 3600.0),
        Some(it) => format!("after {:.0} days", it / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_are_shown_with_what_to_expect() {
        let gates = [GateCheck {
            gate: "errors".to_owned(),
            question: "haproxy".to_owned(),
            reading: "stable has series: 4 of errors, 12 of requests; candidate has no series yet"
                .to_owned(),
            has_data: true,
            outlook: vec![
                GateOutlook {
                    share: 5.0,
                    requests_per_second: 98.4,
                    stable_rate: 0.001,
                    ten_times_after: Some(132.0),
                    passes_after: Some(200_000.0),
                },
                GateOutlook {
                    share: 25.0,
                    requests_per_second: 98.4,
                    stable_rate: 0.001,
                    ten_times_after: Some(31.4),
                    passes_after: None,
                },
            ],
        }];
        insta::assert_snapshot!(text(&gates));
    }
}
