//! The `service` router: everything to one revision at a time, by the selector of a Service.
//!
//! - At rest the Service has its own selector. While there are two revisions it is narrowed to the one
//!   that has the traffic, and a switch is one write: new connections go to the other revision as soon as
//!   the nodes have learnt of it, open ones stay where they are until their pods end.
//! - What it reports is who is ready behind the Service by its EndpointSlices, not what was written.
//! - With `preview` a second Service of the user's shows the revision that waits; at rest it selects
//!   what its own selector says.
//! - It knows all or nothing: for shares in between there is [`replicaRatio`](super::replica_ratio), or
//!   a router with weights.

use std::collections::BTreeMap;

use async_trait::async_trait;
use rollout::{Revision, Weight, document::Reader, observation::ObservedRoutes};
use serde::{Deserialize, Serialize};

use super::{
    Capabilities, Routes, TrafficRouter,
    kubernetes::{one::One, scene::Place, settings::Where},
};
use crate::{AppKey, Cx, DriverError};

/// The settings of the `service` router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSelector {
    /// The cluster and the namespace.
    #[serde(flatten)]
    pub place: Where,
    /// The Service.
    pub service: String,
    /// The Service that shows the revision that waits.
    #[serde(default)]
    pub preview: Option<String>,
}

impl ServiceSelector {
    /// Reads `{ context, namespace, service, preview }`, noting every problem.
    pub fn read(reader: &Reader<'_>) -> Option<Self> {
        let keys = [&["service", "preview"], Where::KEYS.as_slice()];
        let object = reader.object(&keys.concat())?;
        let place = Where::read(&object);
        let service = object.required("service", Reader::name);
        let preview = object.optional("preview", Reader::name);
        let (service, preview) = (service?, preview?);
        if preview.as_ref() == Some(&service) {
            return object.problem("\"preview\" must be another Service than \"service\"");
        }
        Some(Self {
            place: place?,
            service,
            preview,
        })
    }

    async fn one<'a>(&'a self, cx: &'a Cx, app: &'a AppKey) -> Result<One<'a>, DriverError> {
        Ok(One {
            place: Place::of(cx, app, &self.place).await?,
            service: &self.service,
            shared: false,
        })
    }
}

#[async_trait]
impl TrafficRouter for ServiceSelector {
    fn place(&self) -> String {
        self.place.place("Service", &self.service)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            weights: false,
            isolates: false,
            follows_instances: false,
            rules: false,
        }
    }

    fn given(&self, routes: &Routes) -> BTreeMap<Revision, Weight> {
        let most = routes
            .weights
            .iter()
            .filter(|(_, it)| **it > Weight::ZERO)
            .max_by_key(|(_, it)| **it);
        most.map(|(revision, _)| (*revision, Weight::ALL))
            .into_iter()
            .collect()
    }

    async fn observe(&self, cx: &Cx, app: &AppKey) -> Result<ObservedRoutes, DriverError> {
        self.one(cx, app).await?.observe(|_| Weight::ZERO).await
    }

    async fn ensure(&self, cx: &Cx, app: &AppKey, routes: &Routes) -> Result<(), DriverError> {
        let one = self.one(cx, app).await?;
        one.ensure(routes).await?;
        match &self.preview {
            Some(preview) => one.preview(preview, routes).await,
            None => Ok(()),
        }
    }

    async fn release(&self, cx: &Cx, app: &AppKey, dry: bool) -> Result<Vec<String>, DriverError> {
        let preview: Vec<&str> = self.preview.iter().map(String::as_str).collect();
        self.one(cx, app).await?.release(&preview, dry).await
    }
}
