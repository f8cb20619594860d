//! What a revision is made of: a pod template, which of its containers the artifact is for, and what
//! the ConfigMaps and Secrets held that it names.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    DriverError,
    kubernetes::{
        merge,
        references::{Copies, Reference},
        revisions::REVISION,
        template,
    },
    workload::{ResolvedArtifact, RevisionSpec},
};

/// What ConfigMaps and Secrets hold, as digests; `None`: it is not there, and need not be.
pub(super) type Digests = BTreeMap<Reference, Option<String>>;

/// Longest part of an original's name in the name of a copy.
const COPIED_NAME_MAX: usize = 240;

/// What the name ends with that pods are given instead of that of an optional object that was not
/// there when their revision was made.
const ABSENT: &str = "absent";

/// The letters of a `pod-template-hash`: no vowels, so that no words come about.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// How many letters it has.
const HASH_CHARS: usize = 10;

/// What is kept with a revision so that it can be run again exactly as it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Content {
    /// The container whose image is the artifact.
    pub(super) container: String,
    /// The Deployment's pod template as the API server gave it: a field that this program does not
    /// know is kept as well.
    pub(super) template: Value,
    /// What is held that counts into the revision; `None`: nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) configs: Option<Digests>,
}

impl Content {
    /// What was kept with `spec`.
    pub(super) fn of(spec: &RevisionSpec) -> Result<Self, DriverError> {
        let kept = spec.content.clone().unwrap_or_default();
        serde_json::from_value(kept).map_err(|_| {
            DriverError::permanent(
                format!("run {}", spec.revision),
                "it was made for another kind of workload, without a pod template: deploy its artifact again",
            )
        })
    }

    /// What was kept of `artifact`; `Err` says what to do instead.
    pub(super) fn kept(kept: &Value, artifact: &str) -> Result<Self, String> {
        serde_json::from_value(kept.clone()).map_err(|_| {
            format!("what was kept of {artifact} is no pod template: deploy it again instead")
        })
    }

    /// As it is kept.
    pub(super) fn to_value(&self) -> Value {
        json!(self)
    }

    /// The revision's artifact, with all that it takes to run it again.
    pub(super) fn resolved(&self, artifact: String) -> ResolvedArtifact {
        let digest = template::digest(&self.template);
        let digest = match &self.configs {
            Some(configs) if !configs.is_empty() => {
                template::digest_of(&json!([digest, configs]).to_string())
            }
            Some(_) | None => digest,
        };
        ResolvedArtifact {
            artifact,
            digest: Some(digest),
            content: Some(self.to_value()),
        }
    }

    /// What its pods read instead of the objects that its template names, when they are the
    /// Deployment's with this uid.
    pub(super) fn copies(&self, uid: &str) -> Copies {
        let configs = self.configs.iter().flatten();
        let copy = |(reference, digest): (&Reference, &Option<String>)| {
            let name: String = reference.name.chars().take(COPIED_NAME_MAX).collect();
            let suffix = match digest {
                Some(digest) => hash(&template::digest_of(&format!("{uid} {digest}")), 0),
                None => ABSENT.to_owned(),
            };
            (reference.clone(), format!("{name}-{suffix}"))
        };
        configs.map(copy).collect()
    }

    /// The container that `wanted` names, or else the first; an error lists what there is.
    pub(super) fn in_template(template: Value, wanted: Option<&str>) -> Result<Self, String> {
        let names: Vec<&str> = containers(&template).filter_map(name).collect();
        let found = match wanted {
            Some(wanted) => names.iter().find(|it| **it == wanted),
            None => names.first(),
        };
        let Some(container) = found.map(ToString::to_string) else {
            return Err(format!(
                "the pod template has no container \"{}\"; it has {}",
                wanted.unwrap_or_default(),
                names.join(", ")
            ));
        };
        Ok(Self {
            container,
            template,
            configs: None,
        })
    }

    /// The image of the artifact's container.
    pub(super) fn image(&self) -> Option<&str> {
        let container = containers(&self.template).find(|it| name(it) == Some(&self.container));
        container?.get("image")?.as_str()
    }

    /// The same with another image.
    pub(super) fn with_image(mut self, image: &str) -> Self {
        let all = self.template.pointer_mut("/spec/containers");
        let all = all.and_then(Value::as_array_mut).into_iter().flatten();
        for container in all {
            if name(container) == Some(&self.container)
                && let Some(fields) = container.as_object_mut()
            {
                fields.insert("image".to_owned(), json!(image));
            }
        }
        self
    }
}

/// A `pod-template-hash` from a digest; another one at each attempt.
pub(super) fn hash(digest: &str, attempt: usize) -> String {
    let digits = digest.strip_prefix("sha256:").unwrap_or(digest);
    let bytes = digits.as_bytes().chunks(2).skip(attempt);
    let letter = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).unwrap_or_default();
        let byte = u8::from_str_radix(text, 16).unwrap_or(0);
        LETTERS.get(usize::from(byte) % LETTERS.len()).copied()
    };
    let letters = bytes.filter_map(letter).map(char::from);
    letters.take(HASH_CHARS).collect()
}

fn containers(template: &Value) -> impl Iterator<Item = &Value> {
    let all = template
        .pointer("/spec/containers")
        .and_then(Value::as_array);
    all.into_iter().flatten()
}

fn name(container: &Value) -> Option<&str> {
    container.get("name")?.as_str()
}

/// A template that differs from that of another revision, which it would equal otherwise: for
/// Kubernetes two ReplicaSets with equal templates are one.
pub(super) fn marked(template: &Value, revision: rollout::Revision) -> Value {
    let mut marked = template.clone();
    let mark = json!({"metadata": {"annotations": {REVISION: revision.0.to_string()}}});
    merge(&mut marked, mark);
    marked
}
