//! What people and alerts may order, and whether that is legal now. The one `match` on
//! (phase, command).

mod glass;
mod order;

use jiff::Timestamp;

use crate::{
    advance::{aborted, enter, released},
    event::Event,
    plan::Plan,
    reason::Reason,
    revision::Role,
    state::{Approval, Hold, Phase, State, Track},
    steps::{Step, set_scale::SetScale},
    target::target,
};

pub use order::{Command, Order, Outcome, Rejection};

/// What `command` does to a rollout in `state`. An abort wins from every phase that has not ended.
pub fn command(
    plan: &Plan,
    state: &State,
    command: &Command,
    now: Timestamp,
) -> Result<Outcome, Rejection> {
    let go = Go {
        plan,
        state,
        command,
        now,
    };
    match state.phase {
        Phase::Pending => go.pending(),
        Phase::Progressing | Phase::Promoting => go.moving(),
        Phase::Paused => go.paused(),
        Phase::Aborting => go.aborting(),
        Phase::Succeeded | Phase::RolledBack | Phase::Cancelled => go.ended(),
    }
}

struct Go<'a> {
    plan: &'a Plan,
    state: &'a State,
    command: &'a Command,
    now: Timestamp,
}

type Answer = Result<Outcome, Rejection>;

impl Go<'_> {
    fn pending(&self) -> Answer {
        match &self.command.order {
            Order::Abort | Order::Supersede { .. } => self.cancel(),
            Order::Alert { .. } => Ok(Outcome::Unchanged),
            Order::BreakGlass => self.break_glass(),
            Order::Promote
            | Order::PromoteFull
            | Order::Pause
            | Order::Resume
            | Order::Retry
            | Order::Skip
            | Order::Approve
            | Order::Reject => {
                self.reject("it has not started: `sluice explain` says what it waits for")
            }
        }
    }

    fn moving(&self) -> Answer {
        match &self.command.order {
            Order::Alert { .. } if self.plan.is_undo() => Ok(Outcome::Unchanged),
            Order::Abort | Order::Alert { .. } | Order::Reject => self.back_or_refuse(),
            Order::Supersede { .. } => self.supersede(),
            Order::Pause => self.pause(),
            Order::Resume => Ok(Outcome::Unchanged),
            Order::Promote => self.promote(),
            Order::PromoteFull => self.promote_full(),
            Order::Retry => Ok(self.retry_step()),
            Order::Skip => self.skip(),
            Order::Approve => self.approve(),
            Order::BreakGlass => self.break_glass(),
        }
    }

    fn paused(&self) -> Answer {
        match &self.command.order {
            Order::Alert { .. } if self.plan.is_undo() => Ok(Outcome::Unchanged),
            Order::Abort | Order::Alert { .. } | Order::Reject => self.back_or_refuse(),
            Order::Supersede { .. } => self.supersede(),
            Order::BreakGlass => self.break_glass(),
            Order::Approve if self.is_frozen() => self.approve(),
            Order::Pause if self.is_frozen() => self.pause(),
            Order::Promote | Order::PromoteFull | Order::Resume | Order::Retry | Order::Skip
                if self.is_frozen() =>
            {
                self.reject_as_frozen()
            }
            Order::Pause => Ok(Outcome::Unchanged),
            Order::Resume => Ok(self.resume()),
            Order::PromoteFull => self.promote_full(),
            Order::Retry => Ok(self.retry_step()),
            Order::Promote | Order::Skip | Order::Approve => {
                self.reject("it is paused: resume it first, or promote it to full traffic")
            }
        }
    }

    fn aborting(&self) -> Answer {
        match &self.command.order {
            Order::Abort | Order::Alert { .. } | Order::Supersede { .. } => Ok(Outcome::Unchanged),
            Order::Promote
            | Order::PromoteFull
            | Order::Pause
            | Order::Resume
            | Order::Retry
            | Order::Skip
            | Order::Approve
            | Order::BreakGlass
            | Order::Reject => {
                let why = self.state.abort.as_ref().map(|it| it.reason.to_string());
                let why = why.unwrap_or_default();
                self.reject(&format!("it is being rolled back ({why}); an abort wins"))
            }
        }
    }

    fn ended(&self) -> Answer {
        match (&self.command.order, self.state.phase) {
            (Order::Retry, Phase::RolledBack) => Ok(self.retry_rollout()),
            (Order::Abort, Phase::RolledBack | Phase::Cancelled)
            | (Order::Alert { .. } | Order::Supersede { .. }, _) => Ok(Outcome::Unchanged),
            (Order::Abort, Phase::Succeeded) => {
                self.reject("it has succeeded and its old instances are gone; use undo to go back")
            }
            (
                Order::Promote
                | Order::PromoteFull
                | Order::Abort
                | Order::Pause
                | Order::Resume
                | Order::Retry
                | Order::Skip
                | Order::Approve
                | Order::BreakGlass
                | Order::Reject,
                _,
            ) => self.reject(&format!("it has ended: {}", self.state.phase)),
        }
    }

    fn reject(&self, why: &str) -> Answer {
        Err(Rejection(format!(
            "cannot {}: {why}",
            self.command.order.word()
        )))
    }

    fn changed(state: State, event: Event) -> Outcome {
        Outcome::Changed(Box::new(state), event)
    }

    fn said(&self) -> (String, Option<String>) {
        (self.command.by.clone(), self.command.comment.clone())
    }

    fn reason(&self) -> Reason {
        let (by, comment) = self.said();
        match &self.command.order {
            Order::Alert {
                name,
                detail,
                fingerprint,
            } => Reason::Alert {
                name: name.clone(),
                detail: detail.clone(),
                fingerprint: fingerprint.clone(),
            },
            Order::Supersede { revision } => Reason::Superseded {
                revision: *revision,
            },
            Order::Reject => Reason::Rejected { by, comment },
            Order::Promote
            | Order::PromoteFull
            | Order::Abort
            | Order::Pause
            | Order::Resume
            | Order::Retry
            | Order::Skip
            | Order::BreakGlass
            | Order::Approve => Reason::Person { by, comment },
        }
    }

    fn cancel(&self) -> Answer {
        let reason = self.reason();
        let mut next = self.bumped();
        next.phase = Phase::Cancelled;
        next.since = self.now;
        Ok(Self::changed(next, Event::Cancelled { reason }))
    }

    fn back(&self) -> Outcome {
        let reason = self.reason();
        let next = aborted(self.plan, self.state, reason.clone(), self.now);
        Self::changed(next, Event::AbortStarted { reason })
    }

    fn back_or_refuse(&self) -> Answer {
        if self.command.order == Order::Reject && self.approvals_needed() == 0 {
            return self.reject("the current step needs no approval; use abort");
        }
        Ok(self.back())
    }

    /// A rollout that only has the old instances left to stop is let finish, and is not held any
    /// more: going back now would start them again just to stop them once more.
    fn supersede(&self) -> Answer {
        let steps = self.plan.list(self.state.cursor.track);
        let last = self.state.cursor.step + 1 >= steps.len();
        let retiring = Step::SetScale(SetScale {
            role: Role::Stable,
            count: 0,
        });
        match last && self.current() == Some(&retiring) {
            true if self.state.phase == Phase::Paused => Ok(self.resume()),
            true => Ok(Outcome::Unchanged),
            false => Ok(self.back()),
        }
    }

    fn bumped(&self) -> State {
        let mut next = self.state.clone();
        next.generation += 1;
        next
    }

    fn pause(&self) -> Answer {
        let (by, _) = self.said();
        let mut next = self.bumped();
        // A person's hold takes over from a freeze window's, and lasts longer.
        let hold = next.hold.take().map(|it| (it.at, it.resume));
        let (at, resume) = hold.unwrap_or((self.now, self.state.phase));
        next.hold = Some(Hold {
            by: by.clone(),
            at,
            resume,
        });
        next.phase = Phase::Paused;
        // The later order counts: a step is not ended behind a hold.
        next.finish_step = None;
        Ok(Self::changed(next, Event::Paused { by }))
    }

    fn resume(&self) -> Outcome {
        let (by, _) = self.said();
        let mut next = released(self.state, self.now);
        if self.state.hold.as_ref().is_some_and(Hold::is_by_gate) {
            self.ask_anew(&mut next);
        }
        Self::changed(next, Event::Resumed { by })
    }

    /// The gate that held the rollout is asked anew: what it had measured, and what people had
    /// approved before it spoke, belongs to the attempt that ends here. A gate step gets its whole
    /// time again, or the new measurements could not suffice.
    fn ask_anew(&self, next: &mut State) {
        next.cursor.attempt += 1;
        next.approvals.clear();
        if self
            .current()
            .is_some_and(|it| it.behavior().gates().is_some())
        {
            next.since = self.now;
        }
    }

    fn current(&self) -> Option<&Step> {
        self.plan
            .list(self.state.cursor.track)
            .get(self.state.cursor.step)
    }

    fn approvals_needed(&self) -> u32 {
        self.current().map_or(0, |it| it.behavior().approvals())
    }

    fn promote(&self) -> Answer {
        let (by, comment) = self.said();
        let Some(step) = self.current() else {
            return self.reject("there is no step to end");
        };
        if step.behavior().approvals() > 0 {
            return self.reject("the current step waits for approvals: approve or skip it");
        }
        if !step.behavior().ends_on_promote() {
            let title = step.behavior().title();
            return self.reject(&format!(
                "the current step ({title}) waits for an effect, not for a person"
            ));
        }
        let mut next = self.bumped();
        next.finish_step = Some(by.clone());
        Ok(Self::changed(next, Event::Promoted { by, comment }))
    }

    fn skip(&self) -> Answer {
        let (by, comment) = self.said();
        let Some(step) = self.current() else {
            return self.reject("there is no step to skip");
        };
        if !step.behavior().ends_on_skip() {
            let title = step.behavior().title();
            return self.reject(&format!(
                "the current step ({title}) has an effect that later steps need"
            ));
        }
        let mut next = self.bumped();
        next.finish_step = Some(by.clone());
        Ok(Self::changed(next, Event::Skipped { by, comment }))
    }

    fn promote_full(&self) -> Answer {
        match (self.state.cursor.track, self.state.phase) {
            (Track::Promote, Phase::Paused) => return Ok(self.resume()),
            (Track::Promote, _) => return Ok(Outcome::Unchanged),
            (Track::Main | Track::Abort, _) => {}
        }
        let (by, comment) = self.said();
        let base = target(self.plan, self.state);
        let next = enter(self.state, Phase::Promoting, Track::Promote, base, self.now);
        Ok(Self::changed(next, Event::PromotedFully { by, comment }))
    }

    fn retry_step(&self) -> Outcome {
        let (by, comment) = self.said();
        let mut next = self.bumped();
        if let Some(hold) = next.hold.take() {
            next.phase = hold.resume;
        }
        next.cursor.attempt += 1;
        next.since = self.now;
        next.finish_step = None;
        next.approvals.clear();
        Self::changed(next, Event::Retried { by, comment })
    }

    fn retry_rollout(&self) -> Outcome {
        let (by, comment) = self.said();
        let base = self.plan.before();
        let mut next = enter(self.state, Phase::Progressing, Track::Main, base, self.now);
        next.cursor.attempt += 1;
        next.abort = None;
        next.break_glass = None;
        Self::changed(next, Event::Retried { by, comment })
    }

    fn approve(&self) -> Answer {
        let (by, comment) = self.said();
        let from = self.command.from.clone();
        if self.approvals_needed() == 0 {
            return self.reject("the current step needs no approval");
        }
        if self.state.approvals.iter().any(|it| it.by == by) {
            return Ok(Outcome::Unchanged);
        }
        let mut next = self.bumped();
        next.approvals.push(Approval {
            by: by.clone(),
            at: self.now,
            comment: comment.clone(),
            from: from.clone(),
        });
        Ok(Self::changed(next, Event::Approved { by, comment, from }))
    }
}
