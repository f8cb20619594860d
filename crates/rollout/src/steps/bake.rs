//! Keep the old revision ready for a time after the candidate has all traffic: gates and alerts
//! still take it back within moments.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::{Behavior, Status, View, time_passed};
use crate::{plan::Plan, target::Target, time};

/// Keep the old revision ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bake {
    /// For how long.
    #[serde(rename = "for")]
    pub hold: SignedDuration,
}

impl Behavior for Bake {
    fn apply(&self, _: &Plan, _: &mut Target) {}

    fn status(&self, view: &View<'_>) -> Status {
        time_passed(view, "bake", self.hold)
    }

    fn title(&self) -> String {
        format!("bake {}", time::words(self.hold))
    }

    fn lasts(&self) -> SignedDuration {
        self.hold
    }

    fn ends_on_promote(&self) -> bool {
        true
    }
}
