//! An event of the Deployment for each notice, so that `kubectl describe` and `kubectl events` tell what a
//! rollout did. Apps whose workload is a Deployment are told so without having to ask for it.
//!
//! - The event is named after the notice: one that is delivered again is there already.
//! - Its time is the transition's, not the delivery's.
//! - A Deployment that is gone has nobody left to be told.
//! - Each event is a write to the API server, and who looks there can count pods: a beginning, each
//!   share of the traffic, what people did and an end are told, but not each step in between.

use async_trait::async_trait;
use rollout::document::Reader;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Delivery, Notice, Notifier};
use crate::{
    AppKey, Cx, DriverError,
    kubernetes::{Event, kind::DEPLOYMENT},
    workload::kubernetes::read_name,
};

/// Characters of the Deployment's name in that of its events: with the notice's id it must be a name
/// of an object.
const NAME_CHARS: usize = 200;

/// The Deployment whose events tell of rollouts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KubernetesEvent {
    /// The kubeconfig context of its cluster; the current one, or the cluster this runs in, without.
    pub context: Option<String>,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub deployment: String,
}

impl KubernetesEvent {
    /// Reads the settings of an app file, noting every problem.
    pub fn read(reader: &Reader<'_>) -> Option<Self> {
        let object = reader.object(&["context", "namespace", "deployment"])?;
        let context = object.optional("context", Reader::text);
        let namespace = object.required("namespace", read_name);
        let deployment = object.required("deployment", read_name);
        Some(Self {
            context: context?,
            namespace: namespace?,
            deployment: deployment?,
        })
    }
}

/// `rollout.stepDone` as `RolloutStepDone`.
fn reason(kind: &str) -> String {
    let words = kind.split('.').map(|word| {
        let mut letters = word.chars();
        let first = letters.next().map(|it| it.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    });
    words.collect()
}

/// What somebody should look at.
fn is_warning(kind: &str) -> bool {
    matches!(kind, "rollout.abortStarted" | "rollout.rolledBack")
}

#[async_trait]
impl Notifier for KubernetesEvent {
    async fn deliver(&self, cx: &Cx, notice: &Notice) -> Result<Delivery, DriverError> {
        let text = |key: &str| {
            let value = notice.payload.get(key).and_then(Value::as_str);
            value.unwrap_or_default().to_owned()
        };
        let app = AppKey {
            project: text("project"),
            app: text("app"),
        };
        let cluster = cx.kubernetes.get(self.context.as_deref()).await?;
        let (namespace, name) = (&self.namespace, &self.deployment);
        let found = cluster.get(&app, &DEPLOYMENT, namespace, name).await?;
        let Some(deployment) = found else {
            return Ok(Delivery::Gone);
        };
        let base: String = name.chars().take(NAME_CHARS).collect();
        let event = Event {
            name: &format!("{}.{}", base.trim_end_matches(['.', '-']), notice.id),
            at: notice.at,
            regarding: (&DEPLOYMENT, &deployment),
            reason: &reason(&notice.kind),
            note: &text("sentence"),
            warning: is_warning(&notice.kind),
        };
        cluster.record(&event).await?;
        Ok(Delivery::Accepted)
    }

    fn wants(&self, _: &str, minor: bool) -> bool {
        !minor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_the_kind_in_camel_case() {
        assert_eq!(reason("rollout.stepDone"), "RolloutStepDone");
        assert_eq!(reason("rollout.rolledBack"), "RolloutRolledBack");
        assert!(is_warning("rollout.rolledBack") && !is_warning("rollout.succeeded"));
    }
}
