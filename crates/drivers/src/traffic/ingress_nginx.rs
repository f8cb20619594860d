//! The `ingressNginx` router: shares of traffic by a second Ingress with canary annotations, for
//! ingress-nginx.
//!
//! ```text
//!   Ingress <name>         the user's, never touched ─────────▶ <service>
//!   Ingress <name>-canary  made by Sluice, with canary-weight ─▶ <service>-candidate
//! ```
//!
//! - The moves are those of `traffic::kubernetes`; here is what the second Ingress says. It has the
//!   hosts and paths that lead to the user's Service, the class, and the annotations that decide
//!   how a backend is talked to.
//! - Weights are whole percent out of 100 where they can be, because controllers before 1.0 know no
//!   `canary-weight-total`; else hundredths out of 10,000.
//! - ingress-nginx tells nobody what it has taken. What stands for [`TAKEN_AFTER`] counts; it usually
//!   takes well under a second.
//! - It knows one canary for each path: a second one of the user's own for the same hosts and paths is
//!   not noticed here, and one of the two does nothing.

mod second;

use std::time::Duration;

use async_trait::async_trait;
use rollout::{Weight, document::Reader};
use serde::{Deserialize, Serialize};

use self::second::Ingresses;
use super::kubernetes::{
    scene::Place,
    selection::BESIDE,
    settings::{Services, Where, object_name},
    two::{TwoServices, View},
};
use crate::{
    DriverError,
    kubernetes::{Kind, kind::GroupBy},
};

/// When a change is taken to be in effect.
pub const TAKEN_AFTER: Duration = Duration::from_secs(2);

/// The prefix of the controller's annotations, unless it was started with another.
const PREFIX: &str = "nginx.ingress.kubernetes.io";

const INGRESS: Kind = Kind {
    group: "networking.k8s.io",
    version: "v1",
    kind: "Ingress",
    plural: "ingresses",
    group_by: GroupBy::Name,
    claims: &["metadata.annotations"],
    metadata_only: false,
    prune: |_| (),
};

/// The settings of the `ingressNginx` router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IngressNginx {
    /// The cluster and the namespace.
    #[serde(flatten)]
    pub place: Where,
    /// The user's Ingress.
    pub ingress: String,
    /// The Services.
    #[serde(flatten)]
    pub services: Services,
    /// The prefix of the controller's annotations.
    #[serde(default = "prefix")]
    pub annotation_prefix: String,
}

fn prefix() -> String {
    PREFIX.to_owned()
}

impl IngressNginx {
    /// Reads `{ context, namespace, ingress, service, candidateService, annotationPrefix }`, noting
    /// every problem.
    pub fn read(reader: &Reader<'_>) -> Option<Self> {
        let keys = [
            &["ingress", "annotationPrefix"],
            Where::KEYS.as_slice(),
            &Services::KEYS,
        ];
        let object = reader.object(&keys.concat())?;
        let place = Where::read(&object);
        let ingress = object.required("ingress", object_name);
        let services = Services::read(&object);
        let prefix = object.or("annotationPrefix", prefix(), object_name);
        Some(Self {
            place: place?,
            ingress: ingress?,
            services: services?,
            annotation_prefix: prefix?,
        })
    }

    fn canary(&self) -> String {
        format!("{}-canary", self.ingress)
    }
}

#[async_trait]
impl TwoServices for IngressNginx {
    fn at(&self) -> &Where {
        &self.place
    }

    fn services(&self) -> &Services {
        &self.services
    }

    fn route(&self) -> (&'static str, &str) {
        (INGRESS.kind, &self.ingress)
    }

    async fn view(&self, place: &Place<'_>) -> Result<Box<dyn View>, DriverError> {
        let named = |name: &str| format!("use {}", place.name("Ingress", name));
        let get = |name: String| async move {
            place
                .cluster
                .get(place.app, &INGRESS, place.namespace, &name)
                .await
        };
        let own = get(self.ingress.clone()).await?;
        let own =
            own.ok_or_else(|| DriverError::permanent(named(&self.ingress), "there is none"))?;
        let canary = get(self.canary()).await?;
        if let Some(other) = &canary
            && other.annotations.get(BESIDE) != Some(&self.ingress)
        {
            let detail = "it is there and not Sluice's: two canaries of one Ingress do not work";
            return Err(DriverError::permanent(named(&self.canary()), detail));
        }
        let ingresses = Ingresses {
            settings: self.clone(),
            own,
            canary,
        };
        if ingresses.manifest(Weight::ZERO).is_none() {
            let detail = format!("no path of it leads to Service {}", self.services.service);
            return Err(DriverError::permanent(named(&self.ingress), detail));
        }
        Ok(Box::new(ingresses))
    }
}

#[cfg(test)]
mod tests;
