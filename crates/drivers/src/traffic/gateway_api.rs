//! The `gatewayApi` router: shares of traffic as weights of an HTTPRoute or a GRPCRoute.
//!
//! ```text
//!   HTTPRoute ─ rule ─┬─ weight ─▶ <service>            the user's, narrowed while two revisions run
//!                     ├─ weight ─▶ <service>-candidate  made by Sluice, and gone at rest
//!                     └─ weight ─▶ others               never touched
//! ```
//!
//! - The moves are those of `traffic::kubernetes`; here is what a route of the Gateway API says.
//! - In each rule that names the user's Service (or in the one that `rule` names) the two share the
//!   weight that the user gave: exactly, in hundredths of a percent, where nobody else has a weight.
//! - Weights count when every Gateway that has answered says `Accepted` and `ResolvedRefs` of the
//!   generation that holds them; until then the shares are the ones before. What a controller takes
//!   in no longer than the endpoints do is not waited for beyond that.
//! - Header and mirror routes of a rollout are rules and filters of their own (`route_rules`).
//! - `spec.rules` is one atomic list for server-side apply: Sluice changes it by JSON patches that
//!   test what they touch, and never owns it as a whole.
//! - Needs HTTPRoute v1 or v1beta1, or GRPCRoute v1.

mod route_rules;

use async_trait::async_trait;
use rollout::document::Reader;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(in crate::traffic) use self::route_rules::RouteRules;
use super::kubernetes::{
    acceptance,
    list_view::ListView,
    scene::Place,
    settings::{Rule, Services, Where, object_name},
    two::{Taken, TwoServices, View},
    weighted::{Lists, Shape},
};
use crate::{
    DriverError,
    kubernetes::{Kind, Object, kind::GroupBy},
};

/// The API group.
const GROUP: &str = "gateway.networking.k8s.io";

const HTTP_ROUTE: Kind = kind("v1", "HTTPRoute", "httproutes");
const HTTP_ROUTE_BETA: Kind = kind("v1beta1", "HTTPRoute", "httproutes");
const GRPC_ROUTE: Kind = kind("v1", "GRPCRoute", "grpcroutes");

const fn kind(version: &'static str, kind: &'static str, plural: &'static str) -> Kind {
    Kind {
        group: GROUP,
        version,
        kind,
        plural,
        group_by: GroupBy::Name,
        claims: &["spec.rules"],
        metadata_only: false,
        prune: |_| (),
    }
}

/// A backendRef; weights go up to 1,000,000.
static SHAPE: Shape = Shape {
    name: "/name",
    names: names_service,
    renamed: |_, service| service.to_owned(),
    default: 1,
    whole: |_| 10_000,
};

/// The settings of the `gatewayApi` router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayApi {
    /// The cluster and the namespace.
    #[serde(flatten)]
    pub place: Where,
    /// The route.
    #[serde(flatten)]
    pub route: RouteName,
    /// The Services.
    #[serde(flatten)]
    pub services: Services,
    /// The only rule that is Sluice's business, where several name the Service.
    #[serde(default)]
    pub rule: Option<Rule>,
}

/// A route by kind and name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RouteName {
    /// An HTTPRoute.
    HttpRoute(String),
    /// A GRPCRoute.
    GrpcRoute(String),
}

impl GatewayApi {
    /// Reads `{ context, namespace, httpRoute | grpcRoute, service, candidateService, rule }`, noting
    /// every problem.
    pub fn read(reader: &Reader<'_>) -> Option<Self> {
        let keys = [
            &["httpRoute", "grpcRoute", "rule"],
            Where::KEYS.as_slice(),
            &Services::KEYS,
        ];
        let object = reader.object(&keys.concat())?;
        let place = Where::read(&object);
        let http = object.optional("httpRoute", object_name);
        let grpc = object.optional("grpcRoute", object_name);
        let services = Services::read(&object);
        let rule = object.optional("rule", Rule::read);
        let route = match (http?, grpc?) {
            (Some(name), None) => RouteName::HttpRoute(name),
            (None, Some(name)) => RouteName::GrpcRoute(name),
            (_, _) => return object.problem("give one of httpRoute and grpcRoute"),
        };
        Some(Self {
            place: place?,
            route,
            services: services?,
            rule: rule?,
        })
    }

    fn parts(&self) -> (&'static [&'static Kind], &'static Kind, &str) {
        match &self.route {
            RouteName::HttpRoute(name) => (&[&HTTP_ROUTE, &HTTP_ROUTE_BETA], &HTTP_ROUTE, name),
            RouteName::GrpcRoute(name) => (&[&GRPC_ROUTE], &GRPC_ROUTE, name),
        }
    }

    fn route_rules(&self, object: &Object) -> RouteRules {
        let body = object.body();
        let pointers = Rule::pointers(self.rule.as_ref(), &body, "/spec/rules", "backendRefs");
        let kept = object.annotations.get(route_rules::ROUTES);
        let names = &self.services.names(object);
        RouteRules::read(&body, &pointers, names, kept.map(String::as_str))
    }

    /// The lists of backendRefs that are Sluice's business.
    fn lists(&self, object: &Object) -> Result<Lists, String> {
        let body = object.body();
        let pointers = Rule::pointers(self.rule.as_ref(), &body, "/spec/rules", "backendRefs");
        let lists = self.services.lists(object, &pointers, &SHAPE)?;
        match (lists.is_empty(), &self.rule) {
            (false, _) => Ok(lists),
            (true, None) => Err(format!(
                "none of its rules has the backend {}",
                self.services.service
            )),
            (true, Some(Rule::Index(index))) => Err(format!(
                "its rule {index} does not have the backend {}",
                self.services.service
            )),
            (true, Some(Rule::Name(name))) => Err(format!(
                "it has no rule \"{name}\" with the backend {}",
                self.services.service
            )),
        }
    }
}

/// Whether a backendRef is the Service `service` of the route's own `namespace`.
fn names_service(entry: &Value, namespace: &str, service: &str) -> bool {
    let is =
        |key, default, wanted| entry.get(key).and_then(Value::as_str).unwrap_or(default) == wanted;
    is("group", "", "")
        && is("kind", "Service", "Service")
        && is("namespace", namespace, namespace)
        && is("name", "", service)
}

#[async_trait]
impl TwoServices for GatewayApi {
    fn at(&self) -> &Where {
        &self.place
    }

    fn services(&self) -> &Services {
        &self.services
    }

    fn route(&self) -> (&'static str, &str) {
        let (_, kind, name) = self.parts();
        (kind.kind, name)
    }

    fn has_rules(&self) -> bool {
        true
    }

    async fn view(&self, place: &Place<'_>) -> Result<Box<dyn View>, DriverError> {
        let (kinds, _, name) = self.parts();
        ListView::open(place, "the Gateway API", kinds, name, |object| {
            let lists = self.lists(object)?;
            let taken = Taken::Said(acceptance::of(&object.body(), object.generation));
            Ok((lists, taken, Some(self.route_rules(object))))
        })
        .await
    }
}

#[cfg(test)]
mod tests;
