//! A line of the audit log for the wire.

use api::{AuditOutcome, AuditVerification, AuditView};
use serde_json::{Value, json};
use store::{AuditAbout, AuditChecked, AuditLine, AuditProblem};

/// A line of the log.
pub(crate) fn audit_view(line: &AuditLine) -> AuditView {
    let (outcome, sentence, detail, about) = match &line.about {
        AuditAbout::Transition { candidate, event } => (
            AuditOutcome::Done,
            event.sentence(*candidate),
            None,
            json!({ "candidate": candidate.to_string(), "event": event }),
        ),
        AuditAbout::Request {
            about,
            status,
            detail,
            ..
        } => {
            let outcome = outcome(*status);
            let said = said(&line.action, outcome, about);
            (outcome, said, detail.clone(), about.clone())
        }
    };
    AuditView {
        id: line.place.to_string(),
        at: line.at,
        who: line.who.clone(),
        from: line.source.clone(),
        action: line.action.clone(),
        outcome,
        sentence,
        project: line.project.clone(),
        app: line.app.clone(),
        rollout: line.rollout,
        detail,
        about,
    }
}

fn outcome(status: Option<u16>) -> AuditOutcome {
    match status {
        None => AuditOutcome::Unknown,
        Some(..400) => AuditOutcome::Done,
        Some(400..500) => AuditOutcome::Refused,
        Some(500..) => AuditOutcome::Failed,
    }
}

fn said(action: &str, outcome: AuditOutcome, about: &Value) -> String {
    let named = ["token", "freeze"].into_iter();
    let named = named.filter_map(|it| about.get(it)).find_map(Value::as_str);
    let what = match action {
        "app.apply" => "apply the app file",
        "app.delete" => "delete the app",
        "app.release" => match about.get("dryRun") {
            Some(Value::Bool(true)) => "look at what releasing the app would do",
            _ => "release the app",
        },
        "app.plan" => "plan a rollout",
        "project.settings" => "apply a project's settings",
        "app.calibrate" => "calibrate gates",
        "app.backtest" => "try gates on the past",
        "rollout.create" => "ask for a rollout",
        "rollout.order" => "order a rollout about",
        "rollout.approve" => "decide on an approval",
        "freeze.create" => "make a freeze window",
        "freeze.remove" => "take a freeze window away",
        "token.create" => "make a token",
        "token.revoke" => "revoke a token",
        "token.exchange" => "exchange an ID token for a token",
        "session.begin" => "sign in",
        "session.end" => "sign out",
        "hook.alertmanager" => "send alerts",
        "hook.signed" => "send a signed alert",
        "read" => "read",
        other => other,
    };
    let named = named.map_or_else(String::new, |it| format!(": {it}"));
    match outcome {
        AuditOutcome::Done => format!("{what}{named}"),
        AuditOutcome::Refused => format!("refused: {what}{named}"),
        AuditOutcome::Failed => format!("failed: {what}{named}"),
        AuditOutcome::Unknown => format!("begun, end unknown: {what}{named}"),
    }
}

/// What a check found.
pub(crate) fn audit_verification(
    found: Result<AuditChecked, AuditProblem>,
) -> Result<AuditVerification, store::StoreError> {
    match found {
        Ok(checked) => Ok(AuditVerification {
            intact: true,
            problem: None,
            sealed: checked.sealed,
            unsealed: checked.unsealed,
            head: checked.head.map(|it| it.to_string()),
        }),
        Err(AuditProblem::Store(error)) => Err(error),
        Err(problem) => Ok(AuditVerification {
            intact: false,
            problem: Some(problem.to_string()),
            sealed: 0,
            unsealed: 0,
            head: None,
        }),
    }
}
