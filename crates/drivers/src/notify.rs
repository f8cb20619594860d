//! Notifiers: what tells people and other systems about a committed transition, or that a rollout
//! waits for somebody.

mod answer;
pub mod chat;
pub mod email;
mod kinds;
pub mod kubernetes_event;
mod message;
pub mod slack;
pub mod teams;
pub mod webhook;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;

use crate::{Cx, DriverError};

/// One notice. It may arrive more than once; `id` stays the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// Stable id, the receiver's key for doubles.
    pub id: String,
    /// When the transition was committed.
    pub at: Timestamp,
    /// The type, e.g. `rollout.rolledBack`.
    pub kind: String,
    /// The body, as JSON.
    pub payload: Value,
}

/// What became of a delivery that did not fail in transit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Accepted.
    Accepted,
    /// The receiver said that it is gone for good (410): stop sending there.
    Gone,
}

/// Delivers notices.
#[async_trait]
pub trait Notifier: std::fmt::Debug + Send + Sync {
    /// Delivers one notice, once; the caller repeats it after an error.
    async fn deliver(&self, cx: &Cx, notice: &Notice) -> Result<Delivery, DriverError>;

    /// Whether it is to be told of notices of this kind. `minor`: it is about a transition that moved
    /// no traffic and that nobody ordered: instances came, a time was over.
    fn wants(&self, kind: &str, minor: bool) -> bool;
}

crate::drivers! {
    /// The notifiers that an app file can name.
    NotifierConfig as Notifier {
        /// A signed HTTP POST (Standard Webhooks).
        Webhook(webhook::Webhook) = "webhook",
        /// A message in Slack.
        Slack(slack::Slack) = "slack",
        /// A card in Microsoft Teams.
        Teams(teams::Teams) = "teams",
        /// A mail.
        Email(email::Email) = "email",
        /// An event of a Deployment in Kubernetes.
        KubernetesEvent(kubernetes_event::KubernetesEvent) = "kubernetesEvent",
    }
}
