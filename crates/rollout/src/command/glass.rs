//! Orders and freeze windows: what a window's hold refuses, and the way past it.

use super::{Answer, Go, Outcome};
use crate::{
    event::Event,
    state::{BreakGlass, Hold},
};

impl Go<'_> {
    pub(super) fn is_frozen(&self) -> bool {
        self.state.hold.as_ref().is_some_and(Hold::is_by_freeze)
    }

    /// Refuses an order that would end a window's hold.
    pub(super) fn reject_as_frozen(&self) -> Answer {
        let by = self.state.hold.as_ref().map_or("", |it| it.by.as_str());
        self.reject(&format!(
            "it is held by {by}; it goes on by itself, or break the glass with a reason"
        ))
    }

    /// It is for this rollout alone, and for as long as it lasts: who takes it past one window does
    /// not want to be stopped by the next.
    pub(super) fn break_glass(&self) -> Answer {
        let (by, comment) = self.said();
        if self.state.break_glass.is_some() || self.plan.is_undo() {
            return Ok(Outcome::Unchanged);
        }
        let reason = comment.filter(|it| !it.trim().is_empty());
        let Some(reason) = reason else {
            return self.reject("say why, in a comment: it is kept in the history and told to all");
        };
        let mut next = self.bumped();
        next.break_glass = Some(BreakGlass {
            by: by.clone(),
            at: self.now,
            reason: reason.clone(),
        });
        Ok(Self::changed(next, Event::BrokeGlass { by, reason }))
    }
}
