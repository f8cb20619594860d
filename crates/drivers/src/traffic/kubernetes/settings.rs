//! Reading what is alike in the settings of Kubernetes' routers.

use rollout::document::{Object, Reader};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::weighted::{Lists, Names, OWN_WEIGHTS, Shape};
use crate::kubernetes;

/// What the name of the candidate's Service ends with, unless it was given one.
const CANDIDATE: &str = "-candidate";

/// Highest place of a rule that can be named.
const RULE_MAX: u32 = 999;

/// Longest name of a Service.
const SERVICE_NAME_MAX: usize = 63;

/// Where objects are: a cluster and a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Where {
    /// The kubeconfig context; without one the current one, or the cluster that Sluice runs in.
    #[serde(default)]
    pub context: Option<String>,
    /// The namespace.
    pub namespace: String,
}

impl Where {
    pub(in crate::traffic) const KEYS: [&'static str; 2] = ["context", "namespace"];

    pub(in crate::traffic) fn read(object: &Object<'_>) -> Option<Self> {
        let context = object.optional("context", Reader::text);
        let namespace = object.required("namespace", Reader::name);
        Some(Self {
            context: context?,
            namespace: namespace?,
        })
    }

    /// An object here, in words.
    pub(in crate::traffic) fn place(&self, kind: &str, name: &str) -> String {
        let context = self.context.as_deref();
        let context = context.map_or_else(String::new, |it| format!(" in {it}"));
        format!("{kind} {}/{name}{context}", self.namespace)
    }
}

/// The two Services of a route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Services {
    /// The user's.
    pub service: String,
    /// The one that is made beside it; `<service>-candidate` if not given.
    #[serde(default)]
    pub candidate_service: Option<String>,
}

impl Services {
    pub(in crate::traffic) const KEYS: [&'static str; 2] = ["service", "candidateService"];

    pub(in crate::traffic) fn read(object: &Object<'_>) -> Option<Self> {
        let service = object.required("service", Reader::name);
        let candidate = object.optional("candidateService", Reader::name);
        let services = Self {
            service: service?,
            candidate_service: candidate?,
        };
        let candidate = services.candidate();
        if candidate == services.service {
            return object.problem("\"candidateService\" must be another one than \"service\"");
        }
        if candidate.len() > SERVICE_NAME_MAX {
            return object.problem(format!("\"{candidate}\" is too long for a Service: give \"candidateService\" a shorter name"));
        }
        Some(services)
    }

    pub(crate) fn candidate(&self) -> String {
        let given = self.candidate_service.clone();
        given.unwrap_or_else(|| format!("{}{CANDIDATE}", self.service))
    }

    /// The two, as an object of `route`'s namespace names them.
    pub(in crate::traffic) fn names(&self, route: &kubernetes::Object) -> Names {
        Names {
            namespace: route.namespace.clone(),
            own: self.service.clone(),
            candidate: self.candidate(),
        }
    }

    /// The lists of weighted backends at `pointers` of a route that name the user's Service.
    pub(in crate::traffic) fn lists(
        &self,
        route: &kubernetes::Object,
        pointers: &[String],
        shape: &'static Shape,
    ) -> Result<Lists, String> {
        let names = self.names(route);
        let kept = route.annotations.get(OWN_WEIGHTS).map(String::as_str);
        Lists::find(&route.body(), pointers, shape, names, kept)
    }
}

/// A rule of a route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Rule {
    /// By its place, from 0.
    Index(u32),
    /// By its name.
    Name(String),
}

impl Rule {
    pub(in crate::traffic) fn read(reader: &Reader<'_>) -> Option<Self> {
        match reader.value().is_number() {
            true => reader.whole(0, RULE_MAX).map(Self::Index),
            false => reader.text().map(Self::Name),
        }
    }

    /// The lists `list` of the rules at `rules` that are concerned: of all, without one.
    pub(in crate::traffic) fn pointers(
        one: Option<&Self>,
        body: &Value,
        rules: &str,
        list: &str,
    ) -> Vec<String> {
        let concerned = |(index, rule): &(usize, &Value)| match one {
            None => true,
            Some(Self::Index(one)) => usize::try_from(*one) == Ok(*index),
            Some(Self::Name(name)) => rule.get("name").and_then(Value::as_str) == Some(name),
        };
        let found = body.pointer(rules).and_then(Value::as_array);
        let found = found.into_iter().flatten().enumerate();
        let found = found.filter(concerned);
        found
            .map(|(index, _)| format!("{rules}/{index}/{list}"))
            .collect()
    }
}

/// The name of an object that is no Service: dots are allowed in it, too.
pub(in crate::traffic) fn object_name(reader: &Reader<'_>) -> Option<String> {
    let text = reader.text()?;
    let label = |it: &str| {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !it.is_empty() && it.chars().all(allowed) && !it.starts_with('-') && !it.ends_with('-')
    };
    if text.len() <= 253 && text.split('.').all(label) {
        return Some(text);
    }
    reader.problem(format!(
        "\"{text}\" is not the name of an object: a-z, 0-9, '-' and '.'"
    ))
}
