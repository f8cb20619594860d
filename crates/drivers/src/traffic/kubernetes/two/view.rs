//! A route as it was read, whatever its kind.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rollout::{RouteRule, Weight};
use serde_json::Value;

use super::super::{acceptance::Acceptance, pair::Listed};
use crate::kubernetes::{Change, Kind, Object};

/// A write to a route.
#[derive(Debug)]
pub(in crate::traffic) enum Write {
    /// Change an object.
    Patch(&'static Kind, Arc<Object>, Change),
    /// Make one.
    Create(&'static Kind, Value),
    /// Delete one.
    Delete(&'static Kind, Arc<Object>),
}

/// A route as it was read.
pub(in crate::traffic) trait View: Send + Sync {
    /// What it is called, for people: `HTTPRoute shop/checkout`.
    fn name(&self) -> String;

    /// Where it names the candidate's Service.
    fn listed(&self) -> Listed;

    /// What is ours in it, to be told from what it was.
    fn state(&self) -> String;

    /// Which of the shares `asked` the candidate has, else the one that it has; `None`: rules differ.
    fn one_of(&self, asked: &[Weight]) -> Option<Weight>;

    /// How far integers may be from the share that was asked.
    fn tolerance(&self) -> Weight {
        Weight::ZERO
    }

    /// Others that get traffic beside the two.
    fn others(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether the data plane has taken it.
    fn acceptance(&self) -> Taken;

    /// The writes that give the candidate this share.
    fn share(&self, share: Weight) -> Result<Vec<Write>, String>;

    /// The header and mirror routes that stand in it, by name.
    fn rules(&self) -> BTreeMap<String, RouteRule> {
        BTreeMap::new()
    }

    /// Whether there is something of ours in it that makes no whole rule.
    fn is_spoilt(&self) -> bool {
        false
    }

    /// The writes after which exactly these stand in it.
    fn set_rules(&self, _rules: &BTreeMap<String, RouteRule>) -> Vec<Write> {
        Vec::new()
    }

    /// The writes that take the candidate out.
    fn unlist(&self) -> Vec<Write>;

    /// The writes that take everything of ours out.
    fn release(&self) -> Vec<Write>;
}

/// Whether a route was taken by the data plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::traffic) enum Taken {
    /// The data plane says so itself.
    Said(Acceptance),
    /// It says nothing: what stands for this long counts. With what tells one state from another.
    After(Duration, String),
}
