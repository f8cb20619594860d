//! Traffic routers: what decides which revision answers a request.

pub mod gateway_api;
pub mod haproxy;
pub mod ingress_nginx;
pub mod istio;
mod kubernetes;
pub mod replica_ratio;
pub mod service_selector;
mod shares;
pub mod traefik;

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
pub(crate) use kubernetes::settings::Services;
use rollout::{
    Revision, RouteRule, Weight,
    observation::{Instance, ObservedRoutes},
};

use crate::{AppKey, Cx, DriverError};

/// The routes of an app as they must be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes {
    /// Shares by revision; they sum to all. A revision that is absent gets nothing.
    /// Empty: nothing gets traffic.
    pub weights: BTreeMap<Revision, Weight>,
    /// What reaches the candidate beside its share; only for routers that have rules.
    pub rules: Option<RulesTo>,
    /// The instances of each revision that exist, ready or not, draining ones included.
    pub instances: BTreeMap<Revision, Vec<Instance>>,
    /// Every revision that has or is about to get instances. Where instances would get traffic by
    /// merely existing (a Service selects them), the router fences those without a share off first.
    pub present: BTreeSet<Revision>,
    /// The epoch of the lease that this is written under; where the place written to can keep it, a
    /// lower one must not overwrite a higher one (invariant I7).
    pub epoch: i64,
}

/// Header and mirror routes, and the revision that they are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RulesTo {
    /// The candidate.
    pub revision: Revision,
    /// The rules by name; not empty.
    pub rules: BTreeMap<String, RouteRule>,
}

/// What a router can do; asking for more is refused when the plan is made, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Any share between 0 and 100 %, not only all or nothing.
    pub weights: bool,
    /// An instance gets no traffic before it was given some here. Where that is not so, no revision
    /// gets its first instance before [`TrafficRouter::ensure`] has succeeded with it `present`.
    pub isolates: bool,
    /// Shares between nothing and all are what the numbers of ready instances make: they follow
    /// instances that are replaced in their places.
    pub follows_instances: bool,
    /// Header and mirror routes beside the shares.
    pub rules: bool,
}

/// Gives revisions their shares of an app's traffic.
#[async_trait]
pub trait TrafficRouter: std::fmt::Debug + Send + Sync {
    /// The place in the data plane that it drives, in words: two settings with the same place drive
    /// the same routes.
    fn place(&self) -> String;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// The shares that the router's own granularity really gives for `routes`, once all ready
    /// instances take part. No I/O.
    fn given(&self, routes: &Routes) -> BTreeMap<Revision, Weight>;

    /// The routes as the data plane reports them.
    async fn observe(&self, cx: &Cx, app: &AppKey) -> Result<ObservedRoutes, DriverError>;

    /// Brings the data plane to `routes`. Where that takes several writes, the revision that gains
    /// is raised before the one that loses is lowered, so that there is always somewhere to go.
    async fn ensure(&self, cx: &Cx, app: &AppKey, routes: &Routes) -> Result<(), DriverError>;

    /// As [`Workload::release`](crate::Workload::release), of a data plane that somebody else owns.
    async fn release(
        &self,
        _cx: &Cx,
        _app: &AppKey,
        _dry: bool,
    ) -> Result<Vec<String>, DriverError> {
        Ok(Vec::new())
    }
}

crate::drivers! {
    /// The routers that an app file can name.
    TrafficConfig as TrafficRouter {
        /// HAProxy, through its runtime API.
        HaProxy(haproxy::HaProxy) = "haproxy",
        /// An HTTPRoute or GRPCRoute of the Kubernetes Gateway API.
        GatewayApi(gateway_api::GatewayApi) = "gatewayApi",
        /// All or nothing, by the selector of a Kubernetes Service.
        ServiceSelector(service_selector::ServiceSelector) = "service",
        /// By the numbers of ready pods behind a Kubernetes Service.
        ReplicaRatio(replica_ratio::ReplicaRatio) = "replicaRatio",
        /// A second Ingress with ingress-nginx's canary annotations.
        IngressNginx(ingress_nginx::IngressNginx) = "ingressNginx",
        /// A VirtualService of Istio.
        Istio(istio::Istio) = "istio",
        /// A weighted TraefikService.
        Traefik(traefik::Traefik) = "traefik",
    }
}
