//! Turns what is stored and seen into what travels over the wire. Computes, decides nothing;
//! sentences are the core's own.

mod audit;
mod detail;
mod explain;
mod freeze;
mod gates;
mod traffic;

use api::{
    AppView, EventView, MeasurementView, OutcomesView, RevisionView, RoleWord, RolloutSummary,
    TokenView, TransitionView,
};
use jiff::Timestamp;
use rollout::{Revision, gate::Reading};
use store::{App, RevisionRow, StoredMeasurement, Token, TransitionRow};

pub(crate) use self::audit::{audit_verification, audit_view};
pub(crate) use self::detail::{Shown, needs_person, summary, view};
pub(crate) use self::explain::{actions, explain};
pub(crate) use self::freeze::freeze_view;

/// `r7` as the number 7; `None` for anything else.
pub(crate) fn revision(text: &str) -> Option<Revision> {
    let number = text.strip_prefix('r')?;
    let plain = !number.starts_with('0') && number.bytes().all(|it| it.is_ascii_digit());
    plain.then(|| number.parse().ok().map(Revision)).flatten()
}

/// A revision for the wire.
pub(crate) fn revision_view(row: &RevisionRow) -> RevisionView {
    RevisionView {
        revision: row.revision.to_string(),
        artifact: row.artifact.clone(),
        digest: row.digest.clone(),
        created_at: row.created_at,
        created_by: row.created_by.clone(),
    }
}

/// An app for the wire.
pub(crate) fn app_view(
    app: App,
    stable: Option<&RevisionRow>,
    rollout: Option<RolloutSummary>,
) -> AppView {
    AppView {
        project: app.project,
        app: app.name,
        document: app.document,
        version: app.version,
        stable: stable.map(revision_view),
        rollout,
        created_at: app.created_at,
        updated_at: app.updated_at,
    }
}

/// A row of the history. `plan` names the step it led to.
pub(crate) fn transition_view(row: &TransitionRow, plan: &rollout::Plan) -> TransitionView {
    TransitionView {
        seq: row.seq,
        at: row.at,
        by: row.by.clone(),
        event: row.event.word().to_owned(),
        sentence: row.event.sentence(row.candidate),
        phase: row.state.phase.word().to_owned(),
        step: self::detail::step_words(plan, &row.state),
        attempt: row.state.cursor.attempt,
        hash: row.hash.clone(),
    }
}

/// A row of the history as an event of the stream.
pub(crate) fn event_view(row: &TransitionRow) -> EventView {
    EventView {
        id: row.event_id.clone(),
        rollout: row.rollout_id,
        project: row.project.clone(),
        app: row.app.clone(),
        candidate: row.candidate.to_string(),
        at: row.at,
        by: row.by.clone(),
        event: row.event.word().to_owned(),
        sentence: row.event.sentence(row.candidate),
        phase: row.state.phase.word().to_owned(),
        seq: row.seq,
    }
}

/// One measurement.
pub(crate) fn measurement_view(row: &StoredMeasurement) -> MeasurementView {
    let reading = &row.measurement.reading;
    let value = match reading {
        Reading::Value { value } => Some(*value),
        Reading::Judged { .. }
        | Reading::Counts { .. }
        | Reading::Histograms { .. }
        | Reading::Pair { .. }
        | Reading::NoData { .. } => None,
    };
    MeasurementView {
        gate: row.gate.clone(),
        at: row.measurement.at,
        step: row.cursor.step,
        attempt: row.cursor.attempt,
        reading: reading.to_string(),
        value,
        verdict: crate::metrics::verdict_word(row.verdict).to_owned(),
        evidence: counted(reading),
    }
}

/// What was counted in a measurement alone, of both revisions.
fn counted(reading: &Reading) -> Option<serde_json::Value> {
    use serde_json::json;
    match reading {
        Reading::Counts { window } => {
            let arm = |it: analysis::Arm| json!({ "requests": it.requests, "errors": it.bad });
            Some(json!({ "candidate": arm(window.candidate), "stable": arm(window.stable) }))
        }
        Reading::Pair { window } => Some(json!({
            "candidate": { "value": window.candidate }, "stable": { "value": window.stable }
        })),
        Reading::Histograms { .. }
        | Reading::Value { .. }
        | Reading::Judged { .. }
        | Reading::NoData { .. } => None,
    }
}

/// How an app's rollouts of the last `days` went.
pub(crate) fn outcomes_view(days: u32, it: &store::Outcomes) -> OutcomesView {
    let count = |it: i64| u32::try_from(it).unwrap_or_default();
    let (rollouts, succeeded) = (count(it.rollouts), count(it.succeeded));
    let failed = count(it.rolled_back).saturating_add(count(it.undone));
    let rate = f64::from(failed) / f64::from(rollouts);
    OutcomesView {
        days,
        rollouts,
        succeeded,
        rolled_back: count(it.rolled_back),
        cancelled: count(it.cancelled),
        undone: count(it.undone),
        deployments_per_day: f64::from(succeeded) / f64::from(days.max(1)),
        change_failure_rate: (rollouts > 0).then(|| rate.min(1.0)),
        median_seconds: it.median_seconds,
        restore_seconds: it.restore_seconds,
    }
}

/// A token without its secret. A role that this version does not know may do nothing but read.
pub(crate) fn token_view(token: &Token) -> TokenView {
    let row = &token.row;
    TokenView {
        id: row.id,
        name: row.name.clone(),
        role: crate::auth::role(&row.role).unwrap_or(RoleWord::Viewer),
        project: row.project.clone(),
        person: row.person,
        groups: row.groups.clone(),
        created_by: row.created_by.clone(),
        created_at: token.created_at,
        expires_at: row.expires_at.unwrap_or(Timestamp::MAX),
        last_used_at: token.last_used_at,
        revoked_at: token.revoked_at,
    }
}

#[cfg(test)]
mod tests;
