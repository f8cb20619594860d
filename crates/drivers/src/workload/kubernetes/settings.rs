//! The settings of the `kubernetes` workload.

use rollout::document::{Object, Reader};
use serde::{Deserialize, Serialize};

use super::configs::Configs;

/// Longest name of an object.
const NAME_CHARS_MAX: usize = 253;

/// A Deployment or StatefulSet, in place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kubernetes {
    /// The kubeconfig context of its cluster; the current one, or the cluster this runs in, without.
    pub context: Option<String>,
    /// Its namespace.
    pub namespace: String,
    /// Which object it is.
    #[serde(flatten)]
    pub object: Named,
    /// The container whose image the artifact is; the first without.
    pub container: Option<String>,
    /// What asks for a new revision.
    pub trigger: Trigger,
    /// What happens when a pod cannot start.
    pub on_cannot_start: OnCannotStart,
    /// Which of the objects that the pod template names count into a revision.
    #[serde(default, skip_serializing_if = "Configs::is_ignore")]
    pub configs: Configs,
}

/// The object whose pods are brought out, by its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Named {
    /// Two revisions run beside each other.
    Deployment(String),
    /// Each pod is replaced in its place.
    StatefulSet(String),
}

impl Named {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Deployment(name) | Self::StatefulSet(name) => name,
        }
    }

    /// As `kind` in a manifest.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Deployment(_) => "Deployment",
            Self::StatefulSet(_) => "StatefulSet",
        }
    }

    fn read(object: &Object<'_>) -> Option<Self> {
        let deployment = object.optional("deployment", read_name);
        let stateful_set = object.optional("statefulSet", read_name);
        match (deployment?, stateful_set?) {
            (Some(name), None) => Some(Self::Deployment(name)),
            (None, Some(name)) => Some(Self::StatefulSet(name)),
            (_, _) => object.problem("give one of deployment and statefulSet"),
        }
    }
}

/// What asks for a new revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Trigger {
    /// Only a deploy of an artifact.
    Artifact,
    /// An edit of the Deployment's pod template as well.
    Template,
}

/// What happens when a pod of the candidate cannot start, and Kubernetes goes on trying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OnCannotStart {
    /// The rollout goes back at once.
    Rollback,
    /// It waits, until the progress deadline.
    Wait,
}

impl Kubernetes {
    /// Reads the settings, noting every problem.
    pub fn read(reader: &Reader<'_>) -> Option<Self> {
        let object = reader.object(&[
            "context",
            "namespace",
            "deployment",
            "statefulSet",
            "container",
            "trigger",
            "onCannotStart",
            "configs",
        ])?;
        let context = object.optional("context", Reader::text);
        let namespace = object.required("namespace", read_name);
        let named = Named::read(&object);
        let container = object.optional("container", read_name);
        let triggers = [
            ("artifact", Trigger::Artifact),
            ("template", Trigger::Template),
        ];
        let trigger = object.or("trigger", Trigger::Artifact, |it| it.word(&triggers));
        let policies = [
            ("rollback", OnCannotStart::Rollback),
            ("wait", OnCannotStart::Wait),
        ];
        let policy = object.or("onCannotStart", OnCannotStart::Rollback, |it| {
            it.word(&policies)
        });
        let configs = object.or("configs", Configs::Ignore, |it| it.word(&Configs::WORDS));
        let fits = match &named {
            Some(Named::StatefulSet(_)) => is_for_deployments(&object, trigger, configs),
            Some(Named::Deployment(_)) | None => Some(()),
        };
        fits?;
        Some(Self {
            context: context?,
            namespace: namespace?,
            object: named?,
            container: container?,
            trigger: trigger?,
            on_cannot_start: policy?,
            configs: configs?,
        })
    }

    /// Where the object is.
    pub(super) fn place(&self) -> (Option<&str>, &str, &Named) {
        (self.context.as_deref(), &self.namespace, &self.object)
    }
}

/// Refuses what takes an object that can be paused.
fn is_for_deployments(
    object: &Object<'_>,
    trigger: Option<Trigger>,
    configs: Option<Configs>,
) -> Option<()> {
    let refused = |key: &str, value: &str| {
        object.problem(format!(
            "{key}: {value} takes a Deployment, a StatefulSet cannot be paused: leave {key} out"
        ))
    };
    match (trigger?, configs?) {
        (Trigger::Template, _) => refused("trigger", "template"),
        (Trigger::Artifact, Configs::ConfigMaps) => refused("configs", "configMaps"),
        (Trigger::Artifact, Configs::ConfigMapsAndSecrets) => {
            refused("configs", "configMapsAndSecrets")
        }
        (Trigger::Artifact, Configs::Ignore) => Some(()),
    }
}

/// The name of an object in Kubernetes.
pub(crate) fn read_name(reader: &Reader<'_>) -> Option<String> {
    let name = reader.text()?;
    let plain = |it: &u8| it.is_ascii_lowercase() || it.is_ascii_digit();
    let bytes = name.as_bytes();
    let well = bytes.first().is_some_and(plain)
        && bytes.last().is_some_and(plain)
        && bytes.iter().all(|it| plain(it) || b"-.".contains(it))
        && bytes.len() <= NAME_CHARS_MAX;
    match well {
        true => Some(name),
        false => reader.problem(format!(
            "\"{name}\" is not a name of an object in Kubernetes: a-z, 0-9, '-' and '.', beginning and ending with a letter or digit"
        )),
    }
}

#[cfg(test)]
mod tests {
    use rollout::document;
    use serde_json::{Value, json};

    use super::*;

    fn read(settings: &Value) -> Result<Kubernetes, Vec<String>> {
        let read = document::read(settings, Kubernetes::read);
        read.map_err(|problems| problems.into_iter().map(|it| it.detail).collect())
    }

    #[test]
    fn an_app_has_one_object_and_only_what_that_can_do() {
        let set = json!({"namespace": "shop", "statefulSet": "db"});
        assert_eq!(
            read(&set).unwrap().object,
            Named::StatefulSet("db".to_owned())
        );
        let refused = |more: Value, words: &str| {
            let mut settings = json!({"namespace": "shop"});
            crate::kubernetes::merge(&mut settings, more);
            let problems = read(&settings).unwrap_err();
            assert!(problems.iter().any(|it| it.contains(words)), "{problems:?}");
        };
        let one = "give one of deployment and statefulSet";
        refused(json!({}), one);
        refused(json!({"statefulSet": "db", "deployment": "db"}), one);
        let trigger = json!({"statefulSet": "db", "trigger": "template"});
        refused(trigger, "trigger: template takes a Deployment");
        let configs = json!({"statefulSet": "db", "configs": "configMaps"});
        refused(configs, "configs: configMaps takes a Deployment");
        let unknown = json!({"deployment": "db", "configs": "follow"});
        refused(unknown, "\"follow\"");
    }

    /// What is kept of a revision must say the same as before there were other objects.
    #[test]
    fn a_deployment_is_kept_as_it_always_was() {
        let settings = read(&json!({"namespace": "shop", "deployment": "web"})).unwrap();
        let text = serde_json::to_string(&settings).unwrap();
        let kept = r#"{"context":null,"namespace":"shop","deployment":"web","container":null,"trigger":"artifact","onCannotStart":"rollback"}"#;
        assert_eq!(text, kept);
        assert_eq!(serde_json::from_str::<Kubernetes>(kept).unwrap(), settings);
    }
}
