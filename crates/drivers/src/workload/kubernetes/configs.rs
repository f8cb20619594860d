//! What the ConfigMaps and Secrets hold that a pod template names, as digests; and the copies that
//! pods read instead.
//!
//! ```text
//!   metadata, by watches ── another version? ──> the object is read ──> its digest
//! ```
//!
//! A copy is immutable, belongs to the Deployment and is made before the first pod that reads it. So
//! what a revision's pods read is what it was made with, whatever happens to the original: no pod
//! of stable gets what only the candidate is to try, and going back goes back to the old content.
//! Of Secrets nothing but a digest under a key leaves the cluster; the key is a Secret beside the
//! Deployment.

use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::Sha256;

use super::{
    Kubernetes,
    content::{Content, Digests},
    view::Deployment,
};
use crate::{
    AppKey, DriverError,
    kubernetes::{
        Cluster, Object,
        kind::{COPIED_FOR, SECRET},
        merge,
        references::{self, ConfigKind, Reference},
        revisions::APP,
        template,
    },
    workload::RevisionSpec,
};

/// What the name of the Secret with the key ends with.
const KEY: &str = "-sluice-key";

/// Bytes of the key: as many as SHA-256 has.
const KEY_BYTES: usize = 32;

/// Which of what a pod template names counts into a revision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Configs {
    /// Nothing: pods read the objects themselves, as Kubernetes does.
    #[default]
    Ignore,
    /// ConfigMaps.
    ConfigMaps,
    /// ConfigMaps and Secrets.
    ConfigMapsAndSecrets,
}

impl Configs {
    /// The words of the settings.
    pub(super) const WORDS: [(&str, Self); 3] = [
        ("ignore", Self::Ignore),
        ("configMaps", Self::ConfigMaps),
        ("configMapsAndSecrets", Self::ConfigMapsAndSecrets),
    ];

    /// Whether it is the default, which settings do not say.
    pub(super) fn is_ignore(&self) -> bool {
        *self == Self::Ignore
    }

    fn follows(self, kind: ConfigKind) -> bool {
        match (self, kind) {
            (Self::Ignore, ConfigKind::ConfigMap | ConfigKind::Secret)
            | (Self::ConfigMaps, ConfigKind::Secret) => false,
            (Self::ConfigMaps | Self::ConfigMapsAndSecrets, ConfigKind::ConfigMap)
            | (Self::ConfigMapsAndSecrets, ConfigKind::Secret) => true,
        }
    }
}

/// The fields in which the two kinds hold what they hold.
const HELD: [&str; 3] = ["data", "binaryData", "type"];

/// A copy to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Copy {
    pub(super) of: Reference,
    pub(super) name: String,
    /// Of what it is to hold.
    pub(super) digest: String,
}

impl Copy {
    /// Its own name.
    pub(super) fn reference(&self) -> Reference {
        Reference {
            kind: self.of.kind,
            name: self.name.clone(),
        }
    }
}

/// What is known for one pass.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    /// What is held now; of what is not there, but is optional, that it is not.
    pub(super) live: Digests,
    /// The copies made for this Deployment.
    pub(super) copies: BTreeMap<Reference, Arc<Object>>,
}

/// Where they are looked for, and whose copies are made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) settings: &'a Kubernetes,
    pub(super) app: &'a AppKey,
    pub(super) cluster: &'a Cluster,
    pub(super) deployment: &'a Deployment,
}

impl Place<'_> {
    /// What counts of `template`, as it is now; `None` when nothing does.
    pub(super) async fn digests(&self, template: &Value) -> Result<Option<Digests>, DriverError> {
        let settings = self.settings.configs;
        if settings.is_ignore() {
            return Ok(None);
        }
        let mut digests = Digests::new();
        for (reference, optional) in references::named(template) {
            if !settings.follows(reference.kind) {
                continue;
            }
            let held = self.held(&reference).await?;
            // One that is not there and must be is left alone: its pods wait for it.
            if held.is_some() || optional {
                digests.insert(reference, held);
            }
        }
        Ok(Some(digests))
    }

    /// As [`Place::filled`]; `Err` also says what is not there and must be.
    pub(super) async fn filled_whole(&self, content: Content) -> Result<Content, String> {
        let content = self.filled(content).await.map_err(|it| it.to_string())?;
        let Some(configs) = &content.configs else {
            return Ok(content);
        };
        let counted = |it: &Reference| self.settings.configs.follows(it.kind);
        let named = references::named(&content.template).into_keys();
        let missing = named.filter(|it| counted(it) && !configs.contains_key(it));
        let missing: Vec<String> = missing.map(|it| it.to_string()).collect();
        match missing.is_empty() {
            true => Ok(content),
            false => Err(format!(
                "{} is not there, and the pod template of Deployment {} needs it: make it first, or mark it as optional",
                missing.join(", "),
                self.deployment.name()
            )),
        }
    }

    /// `content` with what it counts.
    pub(super) async fn filled(&self, content: Content) -> Result<Content, DriverError> {
        let configs = self.digests(&content.template).await?;
        Ok(Content { configs, ..content })
    }

    /// Checks that pods can be made again that read what the revision was made with; `Err` says why
    /// not.
    pub(super) async fn can_run(&self, content: &Content) -> Result<(), String> {
        let copies = content.copies(&self.deployment.object.uid);
        for (of, digest) in content.configs.iter().flatten() {
            let held = self.held(of).await.map_err(|it| it.to_string())?;
            let (Some(copy), true) = (copies.get(of), digest.is_some() && held != *digest) else {
                continue;
            };
            let (cluster, namespace) = (self.cluster, self.namespace());
            let found = cluster.get(self.app, of.kind.kind(), namespace, copy);
            if found.await.map_err(|it| it.to_string())?.is_none() {
                return Err(format!(
                    "{of} holds something else now, and the copy of what it held is gone with the Deployment's revision history: put the old content back, or deploy anew"
                ));
            }
        }
        Ok(())
    }

    /// What the objects hold now that count into the revisions, and the copies there are.
    pub(super) async fn find(&self, revisions: &[RevisionSpec]) -> Result<Found, DriverError> {
        let mut found = Found::default();
        for spec in revisions {
            for (reference, _) in Content::of(spec)?.configs.unwrap_or_default() {
                let held = self.held(&reference).await?;
                found.live.insert(reference, held);
            }
        }
        let mut kinds: Vec<ConfigKind> = found.live.keys().map(|it| it.kind).collect();
        kinds.dedup();
        for kind in kinds {
            let (cluster, uid) = (self.cluster, &self.deployment.object.uid);
            let copies = cluster.group(self.app, kind.kind(), self.namespace(), uid);
            let copies = copies.await?.into_iter().filter(|it| !it.deleting);
            found.copies.extend(copies.map(|object| {
                let name = object.name.clone();
                (Reference { kind, name }, object)
            }));
        }
        Ok(found)
    }

    /// Makes a copy, if its original still holds what it did.
    pub(super) async fn copy(&self, copy: &Copy, epoch: i64) -> Result<(), DriverError> {
        let kind = copy.of.kind;
        let name = &copy.of.name;
        let whole = self.cluster.read(kind.kind(), self.namespace(), name);
        let mut whole = whole.await?.unwrap_or_default();
        if self.digest(kind, &whole).await? != copy.digest {
            let operation = format!("copy {} to {}", copy.of, copy.name);
            return Err(DriverError::transient(operation, "it has just changed"));
        }
        let mut manifest = json!({
            "metadata": {
                "name": copy.name,
                "labels": {COPIED_FOR: self.deployment.object.uid},
                "annotations": {APP: self.app.to_string()},
                "ownerReferences": [self.owner()],
            },
            "immutable": true,
        });
        let held = HELD.map(|it| (it, whole.get_mut(it).map(Value::take).unwrap_or_default()));
        merge(&mut manifest, Value::from_iter(held));
        let made = self
            .cluster
            .create(kind.kind(), self.namespace(), epoch, manifest);
        made.await?;
        Ok(())
    }

    /// The digest of what an object holds; `None` when there is none. It is read once a version.
    async fn held(&self, reference: &Reference) -> Result<Option<String>, DriverError> {
        let kind = reference.kind;
        let (cluster, namespace, name) = (self.cluster, self.namespace(), &reference.name);
        let found = cluster.get(self.app, kind.kind(), namespace, name).await?;
        let Some(object) = found.filter(|it| !it.deleting) else {
            return Ok(None);
        };
        let note = format!("{reference} in {namespace} for {}", self.app);
        let known = cluster.notes().last_certain(&note);
        let known = known.as_deref().and_then(|it| it.split_once(' '));
        if let Some((_, digest)) = known.filter(|(it, _)| *it == object.resource_version) {
            return Ok(Some(digest.to_owned()));
        }
        let Some(whole) = cluster.read(kind.kind(), namespace, name).await? else {
            return Ok(None);
        };
        let digest = self.digest(kind, &whole).await?;
        let version = whole.pointer("/metadata/resourceVersion");
        let version = version.and_then(Value::as_str).unwrap_or_default();
        cluster
            .notes()
            .note_certain(&note, format!("{version} {digest}"));
        Ok(Some(digest))
    }

    async fn digest(&self, kind: ConfigKind, whole: &Value) -> Result<String, DriverError> {
        let held = HELD.map(|it| (it, whole.get(it).cloned().unwrap_or_default()));
        let text = template::text(&Value::from_iter(held));
        match kind {
            ConfigKind::ConfigMap => Ok(template::digest_of(&text)),
            ConfigKind::Secret => {
                let key = self.key().await?;
                let mut mac = Hmac::<Sha256>::new_from_slice(&key)
                    .map_err(|error| DriverError::permanent("use the key of digests", error))?;
                mac.update(text.as_bytes());
                let mac = template::hex(&mac.finalize().into_bytes());
                Ok(format!("hmac-sha256:{mac}"))
            }
        }
    }

    /// The key that Secrets are told apart under. It is made when there is none: then each counts as
    /// changed once.
    async fn key(&self) -> Result<Vec<u8>, DriverError> {
        let name = format!("{}{KEY}", self.deployment.object.name);
        let kept = self.cluster.read(&SECRET, self.namespace(), &name).await?;
        if let Some(kept) = kept {
            let text = kept.pointer("/data/key").and_then(Value::as_str);
            let key = text.and_then(|it| BASE64_STANDARD.decode(it).ok());
            return key.filter(|it| it.len() == KEY_BYTES).ok_or_else(|| {
                DriverError::permanent(
                    format!("read Secret {}/{name}", self.namespace()),
                    format!("\"key\" is not {KEY_BYTES} bytes: delete it, and a new one is made"),
                )
            });
        }
        let key: [u8; KEY_BYTES] = rand::random();
        let manifest = json!({
            "metadata": {"name": name, "ownerReferences": [self.owner()]},
            "immutable": true,
            "data": {"key": BASE64_STANDARD.encode(key)},
        });
        let made = self.cluster.create(&SECRET, self.namespace(), 0, manifest);
        made.await?;
        Ok(key.to_vec())
    }

    fn namespace(&self) -> &str {
        &self.settings.namespace
    }

    /// All goes with the Deployment, and keeps nobody from deleting it.
    fn owner(&self) -> Value {
        let object = &self.deployment.object;
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": object.name, "uid": object.uid})
    }
}
