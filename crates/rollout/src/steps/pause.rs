//! Wait for a time, or until somebody promotes.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::{Behavior, Status, View, time_passed};
use crate::{plan::Plan, reason::WaitingOn, target::Target, time};

/// Wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pause {
    /// For how long; `None`: until somebody promotes.
    #[serde(rename = "for")]
    pub hold: Option<SignedDuration>,
}

impl Behavior for Pause {
    fn apply(&self, _: &Plan, _: &mut Target) {}

    fn status(&self, view: &View<'_>) -> Status {
        match self.hold {
            Some(hold) => time_passed(view, "pause", hold),
            None => Status::waiting(WaitingOn::Promotion),
        }
    }

    fn title(&self) -> String {
        match self.hold {
            Some(hold) => format!("pause {}", time::words(hold)),
            None => "pause until promoted".to_owned(),
        }
    }

    fn lasts(&self) -> SignedDuration {
        self.hold.unwrap_or_default()
    }

    fn ends_on_promote(&self) -> bool {
        true
    }
}
