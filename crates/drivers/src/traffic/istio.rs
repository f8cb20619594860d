//! The `istio` router: shares of traffic as weights of a VirtualService's HTTP routes.
//!
//! - The moves are those of `traffic::kubernetes`; here is what a VirtualService says. The candidate
//!   is a destination host of its own: `<service>-candidate`, written in the form in which the user wrote
//!   the host of the Service.
//! - A DestinationRule of the user's host does not hold for the candidate's: TLS settings, outlier
//!   detection and the like need one for that host as well. A route that picks a `subset` is refused: the
//!   candidate's host does not have it.
//! - Weights are whole percent out of 100 where they can be, because older Istio wants them to add up to
//!   100; else hundredths out of 10,000.
//! - Istio says when a VirtualService is in effect only where status is enabled (`Reconciled`); without
//!   that what stands for [`TAKEN_AFTER`] counts.

use std::time::Duration;

use async_trait::async_trait;
use rollout::document::Reader;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::kubernetes::{
    acceptance::Acceptance,
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

/// When a change is taken to be in effect, where nothing says so.
pub const TAKEN_AFTER: Duration = Duration::from_secs(2);

const VIRTUAL_SERVICE: Kind = kind("v1");
const VIRTUAL_SERVICE_BETA: Kind = kind("v1beta1");

const fn kind(version: &'static str) -> Kind {
    Kind {
        group: "networking.istio.io",
        version,
        kind: "VirtualService",
        plural: "virtualservices",
        group_by: GroupBy::Name,
        claims: &["spec.http"],
        metadata_only: false,
        prune: |_| (),
    }
}

/// A destination of an HTTP route; without a weight it gets nothing, unless it is alone.
static SHAPE: Shape = Shape {
    name: "/destination/host",
    names: |entry, namespace, service| {
        let host = entry.pointer("/destination/host").and_then(Value::as_str);
        host.is_some_and(|it| is_host(it, namespace, service))
    },
    renamed: |host, service| match host.split_once('.') {
        Some((_, domain)) => format!("{service}.{domain}"),
        None => service.to_owned(),
    },
    default: 0,
    whole: |share| match share.hundredths().is_multiple_of(100) {
        true => 100,
        false => 10_000,
    },
};

/// Whether a host of a VirtualService in `namespace` is the Service `service` of it.
fn is_host(host: &str, namespace: &str, service: &str) -> bool {
    let mut labels = host.split('.');
    let domain = ["svc", "cluster", "local"];
    labels.next() == Some(service)
        && labels.next().is_none_or(|it| it == namespace)
        && labels.zip(domain).all(|(label, known)| label == known)
}

/// The settings of the `istio` router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Istio {
    /// The cluster and the namespace.
    #[serde(flatten)]
    pub place: Where,
    /// The VirtualService.
    pub virtual_service: String,
    /// The Services.
    #[serde(flatten)]
    pub services: Services,
    /// The only HTTP route that is Sluice's business, where several name the Service.
    #[serde(default)]
    pub route: Option<Rule>,
}

impl Istio {
    /// Reads `{ context, namespace, virtualService, service, candidateService, route }`, noting every
    /// problem.
    pub fn read(reader: &Reader<'_>) -> Option<Self> {
        let keys = [
            &["virtualService", "route"],
            Where::KEYS.as_slice(),
            &Services::KEYS,
        ];
        let object = reader.object(&keys.concat())?;
        let place = Where::read(&object);
        let virtual_service = object.required("virtualService", object_name);
        let services = Services::read(&object);
        let route = object.optional("route", Rule::read);
        Some(Self {
            place: place?,
            virtual_service: virtual_service?,
            services: services?,
            route: route?,
        })
    }

    fn lists(&self, object: &Object) -> Result<Lists, String> {
        let body = object.body();
        let pointers = Rule::pointers(self.route.as_ref(), &body, "/spec/http", "route");
        let lists = self.services.lists(object, &pointers, &SHAPE)?;
        if lists.is_empty() {
            let service = &self.services.service;
            return Err(format!(
                "no HTTP route of it that is concerned has the destination {service}"
            ));
        }
        let subset = lists
            .own_entries()
            .find_map(|it| it.pointer("/destination/subset"));
        match subset.and_then(Value::as_str) {
            Some(subset) => Err(format!(
                "it sends to subset {subset} of {}, which the candidate's host does not have: name the host alone",
                self.services.service
            )),
            None => Ok(lists),
        }
    }
}

/// What Istio says of the newest generation, where it says anything.
fn taken(object: &Object, lists: &Lists) -> Taken {
    let body = object.body();
    let conditions = body.pointer("/status/conditions").and_then(Value::as_array);
    let is_reconciled = |it: &&Value| it.get("type").and_then(Value::as_str) == Some("Reconciled");
    let reconciled = conditions.into_iter().flatten().find(is_reconciled);
    let Some(condition) = reconciled else {
        return Taken::After(TAKEN_AFTER, lists.state());
    };
    // A string, as protobuf writes 64 bits.
    let observed = body.pointer("/status/observedGeneration");
    let observed = observed.and_then(|it| it.as_i64().or_else(|| it.as_str()?.parse().ok()));
    let done = condition.get("status").and_then(Value::as_str) == Some("True");
    Taken::Said(
        match done && observed.is_some_and(|it| it >= object.generation) {
            true => Acceptance::Accepted,
            false => Acceptance::Waiting,
        },
    )
}

#[async_trait]
impl TwoServices for Istio {
    fn at(&self) -> &Where {
        &self.place
    }

    fn services(&self) -> &Services {
        &self.services
    }

    fn route(&self) -> (&'static str, &str) {
        (VIRTUAL_SERVICE.kind, &self.virtual_service)
    }

    async fn view(&self, place: &Place<'_>) -> Result<Box<dyn View>, DriverError> {
        let kinds = &[&VIRTUAL_SERVICE, &VIRTUAL_SERVICE_BETA];
        ListView::open(place, "Istio", kinds, &self.virtual_service, |object| {
            let lists = self.lists(object)?;
            let taken = taken(object, &lists);
            Ok((lists, taken, None))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use rollout::Weight;
    use serde_json::json;

    use super::*;

    fn object(http: &Value, status: &Value) -> Object {
        let metadata = json!({ "name": "checkout", "namespace": "shop", "uid": "u",
            "resourceVersion": "1", "generation": 3 });
        let object = json!({ "metadata": metadata, "spec": { "http": http }, "status": status });
        Object::read(&VIRTUAL_SERVICE, object).unwrap()
    }

    fn settings() -> Istio {
        let document =
            json!({ "namespace": "shop", "virtualService": "checkout", "service": "checkout" });
        rollout::document::read(&document, Istio::read).unwrap()
    }

    #[test]
    fn the_candidate_is_a_host_in_the_form_of_the_users() {
        let http = json!([
            { "name": "a", "route": [{ "destination": { "host": "checkout", "port": { "number": 80 } } }] },
            { "name": "b", "route": [{ "destination": { "host": "checkout.shop.svc.cluster.local" }, "weight": 100 }] },
            { "name": "c", "route": [{ "destination": { "host": "checkout.elsewhere" } }] },
            { "name": "d", "redirect": { "uri": "/" } },
        ]);
        let object = object(&http, &Value::Null);
        let share = |hundredths| {
            settings()
                .lists(&object)
                .unwrap()
                .share(Weight::from_hundredths(hundredths))
        };
        insta::assert_json_snapshot!((share(2500).unwrap(), share(1250).unwrap()));
    }

    #[test]
    fn a_subset_is_refused_by_name() {
        let http =
            json!([{ "route": [{ "destination": { "host": "checkout", "subset": "v1" } }] }]);
        let refused = settings().lists(&object(&http, &Value::Null));
        assert!(refused.err().is_some_and(|it| it.contains("subset v1")));
    }

    #[test]
    fn what_istio_says_counts_and_else_time_does() {
        let http = json!([{ "route": [{ "destination": { "host": "checkout" } }] }]);
        let said = |status: &Value| {
            let object = object(&http, status);
            taken(&object, &settings().lists(&object).unwrap())
        };
        let status = |generation: &Value, status: &str| json!({ "observedGeneration": generation, "conditions": [{ "type": "Reconciled", "status": status }] });
        assert!(matches!(said(&Value::Null), Taken::After(TAKEN_AFTER, _)));
        assert_eq!(
            said(&status(&json!("3"), "True")),
            Taken::Said(Acceptance::Accepted)
        );
        assert_eq!(
            said(&status(&json!(2), "True")),
            Taken::Said(Acceptance::Waiting)
        );
        assert_eq!(
            said(&status(&json!(3), "False")),
            Taken::Said(Acceptance::Waiting)
        );
    }
}
