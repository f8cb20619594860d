//! The Gateway of the real cluster: users name a host, answers name a version. Envoy keeps no record
//! of its own here; the record is the load's.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::SignedDuration;
use local::load::{self, Outcome};
use local::node::gateway;
use local::prometheus::Targets;
use serde_json::Value;

use super::{Choice, Front, Record, Request};
use crate::World;
use crate::real_cluster::{RealCluster, version_of};

/// A route is called accepted when its controller has taken it; Envoy has it some milliseconds
/// later, on a loaded machine some hundred.
const LAG: SignedDuration = SignedDuration::from_millis(500);

/// The front of the real cluster's Gateway.
#[derive(Debug)]
pub struct GatewayFront;

impl GatewayFront {
    /// The Kubernetes namespace of a world's app.
    pub fn namespace(world: &World) -> String {
        format!("shop-{}", world.mark())
    }
}

#[async_trait]
impl Front for GatewayFront {
    fn url(&self, _: &World) -> String {
        gateway::URL.to_owned()
    }

    fn host(&self, world: &World) -> Option<String> {
        Some(format!("{}.test", Self::namespace(world)))
    }

    fn targets(&self) -> Vec<Targets> {
        vec![gateway::metrics()]
    }

    fn errors_query(&self, world: &World) -> String {
        errors_query(&Self::namespace(world))
    }

    fn known_as(&self, _: &str, artifact: &str) -> String {
        version_of(artifact).to_owned()
    }

    async fn record(&self, world: &World) -> anyhow::Result<Record> {
        let records = world.load_log.iter().flat_map(|it| &it.records);
        Ok(Record {
            requests: records.filter_map(request).collect(),
            lag: LAG,
            choice: Choice::Chance,
        })
    }

    async fn serving(&self, world: &World) -> anyhow::Result<Vec<String>> {
        serving_in(&Self::namespace(world)).await
    }
}

/// Envoy counts by `<namespace>_<service>_<port>`. The candidate's Service is called after the app's,
/// and its end tells it apart; a candidate that has everything is behind the app's own. What Envoy
/// refused because nobody was there is no error of the candidate's.
fn errors_query(namespace: &str) -> String {
    let share = |service: &str| {
        let its = format!("envoy_cluster_name=\"{namespace}_{service}_80\"");
        let rate = |counter: &str, more: &str| format!("sum(rate({counter}{{{its}{more}}}[5s]))");
        let answers = "envoy_cluster_upstream_rq_xx";
        let all = rate(answers, "");
        let nobody = rate("envoy_cluster_upstream_cx_none_healthy", "");
        let errors = rate(answers, ",envoy_response_code_class=\"5\"");
        // A class of answers is counted from its first one on: until then there is no such series.
        format!("clamp_min(({errors} or vector(0)) - {nobody}, 0) / ({all} - {nobody} > 0)")
    };
    format!("{} or {}", share("shop-candidate"), share("shop"))
}

/// A request that got no answer was seen by nobody; the users' own count has it.
fn request(record: &load::Record) -> Option<Request> {
    let own_error = match record.outcome {
        Outcome::Answered(status) => status >= 500 && record.version.is_none(),
        Outcome::Transport => return None,
    };
    Some(Request {
        began: record.at,
        by: record.version.as_deref().map(str::to_owned),
        own_error,
    })
}

/// The versions of the ready pods behind the backends that have a weight in a route of the
/// namespace.
async fn serving_in(namespace: &str) -> anyhow::Result<Vec<String>> {
    let api = RealCluster::shared().await?.api()?;
    let routes = format!("/apis/gateway.networking.k8s.io/v1/namespaces/{namespace}/httproutes");
    let routes = api.get(&routes).await?;
    let slices = format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices");
    let slices = api.get(&slices).await?;
    let pods = api
        .get(&format!("/api/v1/namespaces/{namespace}/pods"))
        .await?;
    let versions: BTreeMap<&str, &str> = items(&pods).filter_map(pod).collect();
    let backends = items(&routes)
        .flat_map(|it| list(it, "/spec/rules"))
        .flat_map(|it| list(it, "/backendRefs"))
        .filter(|it| it.get("weight").and_then(Value::as_u64) != Some(0))
        .filter_map(|it| text(it, "/name"));
    let mut serving = Vec::new();
    for backend in backends {
        let service = "/metadata/labels/kubernetes.io~1service-name";
        for slice in items(&slices).filter(|it| text(it, service) == Some(backend)) {
            let ready = list(slice, "/endpoints")
                .filter(|it| it.pointer("/conditions/ready") == Some(&Value::Bool(true)));
            let names = ready.filter_map(|it| text(it, "/targetRef/name"));
            serving.extend(
                names
                    .filter_map(|it| versions.get(it))
                    .map(|it| (*it).to_owned()),
            );
        }
    }
    Ok(serving)
}

/// A pod's name and the version of its image.
fn pod(pod: &Value) -> Option<(&str, &str)> {
    let image = text(pod, "/spec/containers/0/image")?;
    Some((text(pod, "/metadata/name")?, version_of(image)))
}

fn items(of: &Value) -> impl Iterator<Item = &Value> {
    list(of, "/items")
}

fn list<'a>(of: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    of.pointer(pointer)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn text<'a>(of: &'a Value, pointer: &str) -> Option<&'a str> {
    of.pointer(pointer).and_then(Value::as_str)
}
