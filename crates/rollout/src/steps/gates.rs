//! Wait until gates have held for a time.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Behavior, Status, View, carriers, set_scale::instances_missing};
use crate::{
    gate::{Gate, GatePolicy, GateState, Verdict},
    observation::Fact,
    plan::Plan,
    reason::{GateWait, Reason, WaitingOn},
    revision::Role,
    target::Target,
    time,
};

/// Wait for gates; a gate that fails is acted upon at once, by [`crate::advance()`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gates {
    /// They must hold for this long.
    #[serde(rename = "for")]
    pub hold: SignedDuration,
    /// Which gates; empty: all.
    pub gates: Vec<String>,
}

/// After its time a gate may still be measured this many intervals before its policy speaks: the
/// last measurement of a step must not be lost to a slow answer.
const GRACE_INTERVALS: i32 = 2;

/// A measurement that is still needed is waited for at least this long after the one before,
/// however short the interval is: that long a metric source may take to answer on a bad day.
const ANSWER_WITHIN: SignedDuration = SignedDuration::from_secs(5);

impl Gates {
    fn chosen<'p>(&'p self, plan: &'p Plan) -> impl Iterator<Item = &'p Gate> {
        plan.gates
            .iter()
            .filter(|it| self.gates.is_empty() || self.gates.contains(&it.name))
    }

    /// What the gate's policy makes of the step, if it ends the wait.
    fn undecided(standing: &Standing<'_>) -> Option<Status> {
        let (gate, state) = (standing.gate, &standing.state);
        let detail = detail(state);
        match policy(gate, state) {
            GatePolicy::Rollback => Some(Status::Failed(Reason::GateUndecided {
                gate: gate.name.clone(),
                verdict: state.verdict,
                detail,
            })),
            GatePolicy::Pause => Some(Status::waiting(WaitingOn::Decision {
                gate: gate.name.clone(),
                verdict: state.verdict,
                detail,
            })),
            GatePolicy::Extend | GatePolicy::Promote => None,
        }
    }

    /// The gates have held; so must the instances, before later steps build on them.
    fn held(view: &View<'_>) -> Status {
        if let Fact::Unknown { why } = &view.observation.workload {
            return Status::waiting(WaitingOn::WorkloadUnknown { why: why.clone() });
        }
        let candidate = view.plan.candidate;
        let wanted = carriers(view);
        match view.observation.ready(candidate) < wanted {
            true => instances_missing(view, Role::Candidate, candidate, wanted),
            false => Status::Done,
        }
    }
}

/// What the gate's owner wants when it cannot pass. What both revisions share is waited out.
fn policy(gate: &Gate, state: &GateState) -> GatePolicy {
    match state.verdict {
        Verdict::NoData => gate.on_no_data,
        Verdict::Hold => GatePolicy::Extend,
        Verdict::Fail if gate.on_fail == GatePolicy::Promote => GatePolicy::Promote,
        Verdict::Pass | Verdict::Fail | Verdict::Inconclusive => gate.on_inconclusive,
    }
}

/// Who is heard first: a gate that asks for a rollback, then one that asks for a person.
fn precedence(policy: GatePolicy) -> u8 {
    match policy {
        GatePolicy::Rollback => 0,
        GatePolicy::Pause => 1,
        GatePolicy::Extend => 2,
        GatePolicy::Promote => 3,
    }
}

/// Whether the next measurement, after the one at `at`, can be left out. It cannot for a gate that
/// was measured less often than a pass needs (or than fits into the step's time), nor for one that
/// answers well only since the step's time was over.
fn has_had_its_say(
    gate: &Gate,
    state: &GateState,
    at: Timestamp,
    (hold, until): (SignedDuration, Timestamp),
) -> bool {
    let interval = gate.interval.as_millis().max(1);
    let fit = u32::try_from(hold.as_millis() / interval).unwrap_or(u32::MAX);
    let enough = gate.question.pass_after().min(fit.saturating_add(1));
    let good = i32::try_from(state.good_in_a_row).unwrap_or(i32::MAX);
    let good_since = time::after(at, -(gate.interval * good.saturating_sub(1).max(0)));
    state.measured >= enough && !(good > 0 && good_since >= until)
}

/// How one gate stands at a gate step whose time is over at `until`.
struct Standing<'p> {
    gate: &'p Gate,
    state: GateState,
    passed: bool,
    /// When its policy speaks, unless it passes before.
    speaks_at: Timestamp,
}

impl<'p> Standing<'p> {
    /// A pass must be of the end of the step's time, and a policy speaks on a measurement of after
    /// it: whoever was not there to measure (a restart, a lost lease) has learnt nothing, neither
    /// for nor against. One who comes back late may first measure as often as the step would have
    /// let them. When nobody measures at all the policy speaks after the progress deadline.
    fn of(gate: &'p Gate, view: &View<'_>, hold: SignedDuration) -> Self {
        let until = time::after(view.state.since, hold);
        let known = view.observation.gates.get(&gate.name);
        let mut state = known.cloned().unwrap_or_default();
        let grace = gate.interval * GRACE_INTERVALS;
        let measured_at = state.last.as_ref().map(|it| it.at);
        let old = measured_at.is_none_or(|at| time::after(at, grace) < until);
        let passed = state.verdict == Verdict::Pass && !(old && view.now >= until);
        if state.verdict == Verdict::Pass && !passed {
            state.verdict = Verdict::Inconclusive;
        }
        let patience = time::after(until, grace.max(view.plan.progress_deadline));
        let speaks_at = match measured_at {
            Some(at) if at >= until => match has_had_its_say(gate, &state, at, (hold, until)) {
                true => time::after(until, grace),
                false => time::after(at, grace.max(ANSWER_WITHIN)).min(patience),
            },
            Some(_) | None => patience,
        };
        Self {
            gate,
            state,
            passed,
            speaks_at,
        }
    }

    /// Whether its owner goes on without its pass.
    fn is_waived(&self, now: Timestamp) -> bool {
        now >= self.speaks_at && policy(self.gate, &self.state) == GatePolicy::Promote
    }

    fn wait(&self) -> GateWait {
        GateWait {
            gate: self.gate.name.clone(),
            verdict: self.state.verdict,
            detail: detail(&self.state),
        }
    }
}

impl Behavior for Gates {
    fn apply(&self, _: &Plan, _: &mut Target) {}

    fn status(&self, view: &View<'_>) -> Status {
        let until = time::after(view.state.since, self.hold);
        let mut open: Vec<Standing<'_>> = self
            .chosen(view.plan)
            .map(|gate| Standing::of(gate, view, self.hold))
            .filter(|it| !it.passed && !it.is_waived(view.now))
            .collect();
        let over = view.now >= until;
        if open.is_empty() && over {
            return Self::held(view);
        }
        open.sort_by_key(|it| precedence(policy(it.gate, &it.state)));
        let mut heard = open.iter().filter(|it| view.now >= it.speaks_at);
        if let Some(status) = heard.find_map(Self::undecided) {
            return status;
        }
        let ends = match over {
            // One that has spoken and waits on is looked at when it is measured.
            true => open
                .iter()
                .map(|it| it.speaks_at)
                .filter(|it| *it > view.now)
                .min(),
            false => Some(until),
        };
        Status::Waiting {
            on: WaitingOn::Gates {
                gates: open.iter().map(Standing::wait).collect(),
                until,
            },
            until: ends,
        }
    }

    fn lasts(&self) -> SignedDuration {
        self.hold
    }

    fn title(&self) -> String {
        match self.gates.is_empty() {
            true => format!("gate {}", time::words(self.hold)),
            false => format!("gate {} {}", self.gates.join(", "), time::words(self.hold)),
        }
    }

    fn ends_on_promote(&self) -> bool {
        true
    }

    fn gates(&self) -> Option<&[String]> {
        Some(&self.gates)
    }
}

/// The evidence, or the last reading, in words.
pub(crate) fn detail(state: &GateState) -> String {
    match (&state.evidence, &state.last) {
        (Some(evidence), _) => evidence.clone(),
        (None, Some(last)) => last.reading.to_string(),
        (None, None) => "not measured yet".to_owned(),
    }
}
