//! Why a rollout is where it is: the view's facts as sentences, and what can be done about it.

use api::{ActionView, Explanation, GateView, RevisionTraffic, RolloutView};
use jiff::Timestamp;
use rollout::{Command, Order, Outcome, Phase, Plan, State, WaitingOn, target};
use store::Rollout;

use super::detail::{self, Shown};

/// Why the rollout is where it is, told to `by`, at `now`.
pub(crate) fn explain(shown: &Shown<'_>, by: &str, now: Timestamp) -> Explanation {
    let view = detail::view(shown);
    Explanation {
        headline: headline(shown, &view),
        facts: facts(shown, &view, now),
        next: next(shown.rollout, by, now),
        actions: Vec::new(),
        rollout: view,
    }
}

fn headline(shown: &Shown<'_>, view: &RolloutView) -> String {
    let rollout = shown.rollout;
    let name = format!("{}/{} {}", rollout.project, rollout.app, rollout.candidate);
    let why = view.why.as_ref().map(|it| it.sentence.as_str());
    let because = why.map(|it| format!(", because {it}")).unwrap_or_default();
    let waits = view.waiting_on.as_ref().map(|it| it.sentence.as_str());
    let waits = waits.map(|it| format!(": {it}")).unwrap_or_default();
    match rollout.phase {
        Phase::Pending => format!("{name} has not started{waits}"),
        Phase::Progressing => format!("{name} is at {}{waits}", view.summary.step),
        Phase::Paused => format!("{name} is held at {}{waits}", view.summary.step),
        Phase::Promoting => format!("{name} goes straight to full traffic{waits}"),
        Phase::Aborting => format!("{name} is being rolled back{because}{waits}"),
        Phase::Succeeded => format!("{name} has succeeded and is stable"),
        Phase::RolledBack => format!("{name} was rolled back{because}"),
        Phase::Cancelled => format!("{name} was cancelled before it began{because}"),
    }
}

/// Most important first: the evidence of an end, who holds it, gates, instances, shares, times.
fn facts(shown: &Shown<'_>, view: &RolloutView, now: Timestamp) -> Vec<String> {
    let rollout = shown.rollout;
    let state = &rollout.state;
    let mut facts = Vec::new();
    if let Some(why) = &view.why {
        facts.push(format!("decided at {:.0}: {}", why.at, why.sentence));
    }
    if let Some(abort) = &state.abort {
        let from = rollout.plan.list(abort.from.track).get(abort.from.step);
        let title = from.map(|it| it.behavior().title());
        facts.extend(title.map(|it| format!("it stood at: {it}")));
    }
    if let Some(hold) = &state.hold {
        facts.push(format!("held by {} since {:.0}", hold.by, hold.at));
    }
    for approval in &state.approvals {
        let comment = approval.comment.as_ref();
        let said = comment.map(|it| format!(": \"{it}\"")).unwrap_or_default();
        facts.push(format!(
            "approved by {} at {:.0}{said}",
            approval.by, approval.at
        ));
    }
    if let Some(by) = &state.finish_step {
        facts.push(format!("{by} ordered the current step to end"));
    }
    facts.extend(view.gates.iter().map(gate_sentence));
    for revision in &view.traffic {
        facts.push(share_sentence(revision));
        facts.extend(
            revision
                .problems
                .iter()
                .map(|it| format!("{} {}: {it}", revision.role, revision.revision)),
        );
    }
    if let Some(seen) = super::traffic::relevant(shown) {
        facts.extend(unknown_parts(seen));
    }
    for it in &view.obstacles {
        // What could not be read is told above.
        if !facts.iter().any(|told| told.contains(&it.detail)) {
            facts.push(format!("{}: {}; it is tried again", it.part, it.detail));
        }
    }
    if !rollout.phase.is_terminal() {
        let spent = now.duration_since(state.since);
        let spent = jiff::SignedDuration::from_secs(spent.as_secs().max(0));
        facts.push(format!(
            "in this step for {spent:#}, attempt {}",
            state.cursor.attempt
        ));
    }
    facts
}

fn gate_sentence(gate: &GateView) -> String {
    let GateView {
        gate: name,
        verdict,
        measured,
        bound,
        ..
    } = gate;
    match &gate.last {
        Some(last) if gate.evidence.is_some() => {
            format!("gate {name} is {verdict}: {last}; wanted: {bound}")
        }
        Some(last) => format!(
            "gate {name}: {verdict}, last reading {last}, must be {bound} ({measured} measured)"
        ),
        None => format!("gate {name}: not measured in this step, must be {bound}"),
    }
}

fn share_sentence(it: &RevisionTraffic) -> String {
    let observed = match it.observed {
        Some(observed) => format!("{observed} % seen"),
        None => "what it gets is not known".to_owned(),
    };
    let ready = match it.ready {
        Some(ready) => format!("{ready} of {} instances ready", it.desired),
        None => format!(
            "{} instances wanted, how many are ready is not known",
            it.desired
        ),
    };
    format!(
        "{} {}: {} % of the traffic asked, {observed}; {ready}",
        it.role, it.revision, it.asked
    )
}

fn unknown_parts(seen: &crate::live::Seen) -> Vec<String> {
    let mut parts = Vec::new();
    if let rollout::Fact::Unknown { why } = &seen.observation.workload {
        parts.push(format!("the workload cannot be read: {why}"));
    }
    match &seen.observation.routes {
        rollout::Fact::Unknown { why } => {
            parts.push(format!("the router cannot be read: {why}"));
        }
        rollout::Fact::Known { value, .. } if !value.foreign.is_empty() => {
            let foreign = value.foreign.join(", ");
            parts.push(format!("backends that are not ours get traffic: {foreign}"));
        }
        rollout::Fact::Known { .. } => {}
    }
    parts
}

/// What each order would do if `by` gave it now, found by asking the core; an order that would change
/// nothing is none.
fn tried(rollout: &Rollout, by: &str, now: Timestamp) -> Vec<(Order, Result<String, String>)> {
    let (plan, state) = (&rollout.plan, &rollout.state);
    // The glass is there for whoever a window keeps waiting.
    let frozen = matches!(rollout.waiting, Some(WaitingOn::Frozen { .. }));
    let outcome = |order: Order| {
        let command = Command {
            order,
            by: by.to_owned(),
            // Breaking the glass needs one; what it says is not asked here.
            comment: Some(String::from("…")),
            from: None,
        };
        let found = match rollout::command(plan, state, &command, now) {
            Ok(Outcome::Changed(next, _)) => Ok(effect(&command.order, plan, state, &next)),
            Ok(Outcome::Unchanged) => Err("it would change nothing".to_owned()),
            Err(rejection) => Err(rejection.to_string()),
        };
        (command.order, found)
    };
    let orders = Order::OF_PEOPLE.into_iter();
    let orders = orders.filter(|it| frozen || *it != Order::BreakGlass);
    orders.map(outcome).collect()
}

/// What can be ordered now.
fn next(rollout: &Rollout, by: &str, now: Timestamp) -> Vec<String> {
    let legal = tried(rollout, by, now).into_iter();
    let legal = legal.filter_map(|(order, it)| Some(format!("{}: {}", order.word(), it.ok()?)));
    let mut next: Vec<String> = legal.collect();
    if rollout.phase == Phase::Succeeded && rollout.plan.stable.is_some() {
        next.push("undo: a new rollout straight back to the revision before".to_owned());
    }
    next
}

/// Every order as `by` could give it now; `may` says why somebody may not give one that is legal.
pub(crate) fn actions(
    rollout: &Rollout,
    by: &str,
    now: Timestamp,
    may: impl Fn(&Order) -> Option<String>,
) -> Vec<ActionView> {
    let view = |(order, found): (Order, Result<String, String>)| {
        let (word, title) = named(&order)?;
        let refused = match &found {
            Ok(_) => may(&order),
            Err(why) => Some(why.clone()),
        };
        let effect = found.map(|it| format!("It {it}.")).unwrap_or_default();
        Some(ActionView {
            order: word.to_owned(),
            title: title.to_owned(),
            effect,
            allowed: refused.is_none(),
            why_not: refused,
        })
    };
    let tried = tried(rollout, by, now).into_iter();
    tried.filter_map(view).collect()
}

/// The word that the API takes for an order of a person's, and what a button says.
fn named(order: &Order) -> Option<(&'static str, &'static str)> {
    match order {
        Order::Approve => Some(("approve", "Approve")),
        Order::Reject => Some(("reject", "Reject")),
        Order::Promote => Some(("promote", "Promote")),
        Order::PromoteFull => Some(("promoteFull", "Promote fully")),
        Order::Resume => Some(("resume", "Resume")),
        Order::Retry => Some(("retry", "Retry")),
        Order::Skip => Some(("skip", "Skip the step")),
        Order::Pause => Some(("pause", "Pause")),
        Order::Abort => Some(("abort", "Roll back")),
        Order::BreakGlass => Some(("breakGlass", "Break the glass")),
        Order::Alert { .. } | Order::Supersede { .. } => None,
    }
}

/// What an order that changes `state` into `next` comes to.
fn effect(order: &Order, plan: &Plan, state: &State, next: &State) -> String {
    let step = |state: &State, ahead: usize| {
        let steps = plan.list(state.cursor.track);
        let step = steps.get(state.cursor.step + ahead);
        step.map(|it| format!("\"{}\"", it.behavior().title()))
    };
    let here = step(state, 0).unwrap_or_else(|| "the current step".to_owned());
    let ahead = match step(state, 1) {
        Some(step) => format!("goes on with {step}"),
        None => "ends the rollout".to_owned(),
    };
    let now = target(plan, state).weight(plan.candidate);
    match order {
        Order::Promote => format!("ends {here} and {ahead}"),
        Order::Skip => format!("skips {here} and {ahead}"),
        Order::PromoteFull => format!(
            "takes {} from {now} to all of the traffic, without further gates and approvals",
            plan.candidate
        ),
        Order::Abort if next.phase == Phase::Cancelled => "cancels it before it begins".to_owned(),
        Order::Abort | Order::Reject => match plan.stable {
            Some(stable) => format!("gives all traffic back to {stable}"),
            None => format!(
                "takes all traffic from {}; nothing was there before",
                plan.candidate
            ),
        },
        Order::Pause => format!(
            "holds it with {now} on {}; gates still count",
            plan.candidate
        ),
        Order::Resume => format!("goes on with {here}, gates measured anew"),
        Order::Retry if state.phase == Phase::RolledBack => {
            "begins the rollout again from its first step".to_owned()
        }
        Order::Retry => format!("begins {here} again, gates and approvals anew"),
        Order::BreakGlass => "takes it past freeze windows; say why in a comment".to_owned(),
        Order::Approve => format!("counts as your approval of {here}"),
        Order::Alert { .. } | Order::Supersede { .. } => "takes it back".to_owned(),
    }
}
