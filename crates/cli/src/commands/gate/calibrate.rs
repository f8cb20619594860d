//! `sluice gate calibrate`: gates tried on stable against itself.

use std::time::Duration;

use api::{CalibrateRequest, CalibrationView, Calibrations};
use clap::Args;

use super::{Session, after, percent};
use crate::{
    duration,
    exit::Exit,
    output::{clean, message, moment, table},
    target::AppName,
};

/// Arguments of `gate calibrate`.
#[derive(Debug, Args)]
#[command(after_help = "\
Replays each compare gate on stable's past, with one of stable's instances in the candidate's role:
nothing differs, so every rollback is a false one. Says how often that would have happened, how
rough the traffic is (φ: how much more the rate of bad requests varies than chance alone makes it;
1 is as smooth as independent requests), and the smallest regression that would be noticed at each
share of the plan. What is found is kept, and rollouts begin with it: calibrate again when traffic
has changed. Times of rollouts are left out; stable needs two instances.
Exit code 1 if a gate could not be calibrated.

Examples:
  sluice gate calibrate checkout
  sluice gate calibrate checkout --gate errors --over 7d
  sluice gate calibrate checkout --show            what was found last")]
pub(crate) struct CalibrateArgs {
    /// The app, as [project/]name
    #[arg(value_name = "APP")]
    app: AppName,
    /// Only this gate
    #[arg(long, value_name = "GATE")]
    gate: Option<String>,
    /// How much of the past
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "3d")]
    over: Duration,
    /// Show what was found last, without looking again
    #[arg(long, conflicts_with_all = ["gate", "over"])]
    show: bool,
}

/// Calibrates.
pub(super) async fn run(session: &Session, args: &CalibrateArgs) -> anyhow::Result<Exit> {
    let AppName { project, app } = &args.app;
    let found = if args.show {
        session.client.calibrations(project, app).await?
    } else {
        message("replaying the gates on stable's past; this may take some minutes");
        let ask = CalibrateRequest {
            gate: args.gate.clone(),
            over_seconds: Some(args.over.as_secs()),
        };
        session.client.calibrate(project, app, &ask).await?
    };
    session.output.show(&found, |it| text(it, args.show))?;
    Ok(match found.gates.iter().all(|it| it.problem.is_none()) {
        true => Exit::Succeeded,
        false => Exit::Failed,
    })
}

fn text(found: &Calibrations, shown: bool) -> String {
    let blocks: Vec<String> = found.gates.iter().map(block).collect();
    match (blocks.is_empty(), shown) {
        (false, _) => blocks.join("\n\n"),
        (true, true) => "no gate was calibrated yet".to_owned(),
        (true, false) => {
            "the app has no gate that can be calibrated: only compare gates".to_owned()
        }
    }
}

fn block(it: &CalibrationView) -> String {
    let gate = clean(&it.gate);
    if let Some(problem) = &it.problem {
        return format!("{gate}: not calibrated: {}", clean(problem));
    }
    let mut lines = vec![
        format!(
            "{gate}: {} to {}, {:.1} requests/s, {} of them bad",
            moment(it.from),
            moment(it.until),
            it.requests_per_second,
            percent(it.bad_rate)
        ),
        format!(
            "  of {} rollouts of nothing, {} would have been taken back ({}) and {} passed",
            it.rollouts,
            it.taken_back,
            percent(f64::from(it.taken_back) / f64::from(it.rollouts.max(1))),
            it.passed
        ),
        match it.measured {
            Some(measured) => format!(
                "  the rate of bad requests varies {measured:.1} times as much as by chance; rollouts begin with φ = {:.1}",
                it.used
            ),
            None => {
                "  too few bad requests to say how their rate varies; rollouts begin with φ = 1"
                    .to_owned()
            }
        },
    ];
    if let (Some(at), Some(by)) = (it.calibrated_at, &it.calibrated_by) {
        lines.push(format!("  calibrated {} by {}", moment(at), clean(by)));
    }
    let rows = it.notices.iter().map(|it| {
        [
            format!("{} %", it.share),
            match it.within_seconds > 0.0 {
                true => after(Some(it.within_seconds)).replace("after ", ""),
                false => "as long as it waits".to_owned(),
            },
            match it.ratio {
                Some(ratio) => format!("{ratio:.1} times stable's rate"),
                None => "nothing".to_owned(),
            },
            after(it.double_after),
        ]
    });
    if !it.notices.is_empty() {
        let head = &[
            "SHARE",
            "THERE FOR",
            "NOTICES AT LEAST",
            "TWICE AS BAD TAKEN BACK",
        ];
        lines.push(table(head, rows));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use api::NoticedView;
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn what_was_found_is_told_in_words() {
        let noticed = |share, within_seconds, ratio, double_after| NoticedView {
            share,
            within_seconds,
            ratio,
            double_after,
        };
        let found = CalibrationView {
            gate: "errors".to_owned(),
            problem: None,
            from: Timestamp::UNIX_EPOCH,
            until: Timestamp::from_second(259_200).unwrap(),
            rollouts: 288,
            taken_back: 1,
            passed: 120,
            measured: Some(1.83),
            used: 2.29,
            requests_per_second: 98.4,
            bad_rate: 0.0012,
            notices: vec![
                noticed(5.0, 120.0, Some(31.2), Some(4000.0)),
                noticed(25.0, 0.0, None, None),
            ],
            calibrated_at: Some(Timestamp::from_second(259_260).unwrap()),
            calibrated_by: Some("ann".to_owned()),
        };
        let failed = CalibrationView {
            gate: "latency".to_owned(),
            problem: Some("no requests were counted".to_owned()),
            ..found.clone()
        };
        let unknown = CalibrationView {
            measured: None,
            used: 1.0,
            notices: Vec::new(),
            calibrated_at: None,
            ..found.clone()
        };
        let found = Calibrations {
            gates: vec![found, failed, unknown],
        };
        insta::assert_snapshot!(text(&found, false));
        assert_eq!(
            text(&Calibrations::default(), true),
            "no gate was calibrated yet"
        );
    }
}
