//! Alert rules of an app: which alerts take its rollouts back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::document::{self, Object, Reader};

/// What an alert causes; the most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AlertAction {
    /// Abort the app's active rollout.
    Rollback,
    /// Hold it until a person decides.
    Pause,
    /// Tell those whom the app notifies, and change nothing.
    Notify,
}

impl AlertAction {
    /// The kind of notice that [`AlertAction::Notify`] sends.
    pub const NOTICE: &str = "alerted";
}

/// One rule: every label named must be on the alert with that value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertRule {
    /// Labels and their values.
    #[serde(rename = "match")]
    pub labels: BTreeMap<String, String>,
    /// What a matching alert causes.
    #[serde(rename = "do")]
    pub action: AlertAction,
}

impl AlertRule {
    /// Whether an alert with `labels` is meant.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.labels
            .iter()
            .all(|(name, value)| labels.get(name) == Some(value))
    }

    /// The rules of an app file's `alerts`; none if they cannot be read.
    pub fn listed(alerts: &Value) -> Vec<Self> {
        document::read(alerts, |it| it.each(Self::read)).unwrap_or_default()
    }

    pub(crate) fn read(reader: &Reader<'_>) -> Option<Self> {
        let rule = reader.object(&["match", "do"])?;
        let labels = rule.required("match", |it| {
            let labels = it.entries(|name, value| Some((name.to_owned(), value.text()?)))?;
            match labels.is_empty() {
                // A rule that matches every alert would roll back on somebody else's incident.
                true => it.problem("name at least one label, e.g. { app: checkout }"),
                false => Some(labels.into_iter().collect()),
            }
        });
        let words = [
            ("rollback", AlertAction::Rollback),
            ("pause", AlertAction::Pause),
            ("notify", AlertAction::Notify),
        ];
        let action = rule.or("do", AlertAction::Rollback, |it| it.word(&words));
        Some(Self {
            labels: labels?,
            action: action?,
        })
    }

    pub(crate) fn read_all(file: &Object<'_>) -> Option<Vec<Self>> {
        file.or("alerts", Vec::new(), |it| it.each(Self::read))
    }
}
