//! Reads what is around a Deployment, with the rights of whoever asks.

use serde_json::Value;

use super::Found;
use crate::{
    DriverError,
    kubernetes::{Cluster, Failure, RequestError},
};

/// Objects a page.
const PAGE: u32 = 500;

/// Most pages of one kind; a namespace with more is not looked through to its end.
const PAGES_MAX: usize = 20;

/// One kind of object in the namespace, or in the cluster.
struct Listed<'a> {
    plural: &'static str,
    root: &'static str,
    namespace: Option<&'a str>,
}

/// Reads everything that [`super::draft`] looks at.
///
/// # Errors
/// When the Deployment or the Services cannot be read. What else cannot be is in [`Found::unseen`].
pub async fn read(
    cluster: &Cluster,
    namespace: &str,
    deployment: &str,
) -> Result<Found, DriverError> {
    let here = |plural, root| Listed {
        plural,
        root,
        namespace: Some(namespace),
    };
    let deployments = list(cluster, &here("deployments", "/apis/apps/v1")).await?;
    let is_it = |it: &&Value| super::name(it) == deployment;
    let Some(found) = deployments.iter().find(is_it).cloned() else {
        let names: Vec<&str> = deployments.iter().map(super::name).collect();
        let detail = match names.as_slice() {
            [] => format!("namespace {namespace} has no Deployment; name another with -n"),
            names => format!(
                "there is none of that name; namespace {namespace} has {}",
                names.join(", ")
            ),
        };
        let operation = format!("read Deployment {namespace}/{deployment}");
        return Err(DriverError::permanent(operation, detail));
    };
    let services = list(cluster, &here("services", "/api/v1")).await?;
    let gateway = "/apis/gateway.networking.k8s.io/v1";
    let ingress = "/apis/networking.k8s.io/v1";
    let mut unseen = Vec::new();
    let mut optional = async |listed: Listed<'_>| match list(cluster, &listed).await {
        Ok(found) => found,
        // A cluster that does not know the kind has none of it.
        Err(error) if error.failure == Failure::NotFound => Vec::new(),
        Err(error) => {
            unseen.push(format!("{} could not be looked at: {error}", listed.plural));
            Vec::new()
        }
    };
    Ok(Found {
        namespace: namespace.to_owned(),
        deployment: found,
        deployments,
        services,
        http_routes: optional(here("httproutes", gateway)).await,
        grpc_routes: optional(here("grpcroutes", gateway)).await,
        ingresses: optional(here("ingresses", ingress)).await,
        ingress_classes: optional(Listed {
            plural: "ingressclasses",
            root: ingress,
            namespace: None,
        })
        .await,
        autoscalers: optional(here("horizontalpodautoscalers", "/apis/autoscaling/v2")).await,
        budgets: optional(here("poddisruptionbudgets", "/apis/policy/v1")).await,
        unseen,
    })
}

async fn list(cluster: &Cluster, listed: &Listed<'_>) -> Result<Vec<Value>, RequestError> {
    let Listed {
        plural,
        root,
        namespace,
    } = listed;
    let (place, path) = match namespace {
        Some(namespace) => (
            format!(" in namespace {namespace}"),
            format!("{root}/namespaces/{namespace}/{plural}"),
        ),
        None => (String::new(), format!("{root}/{plural}")),
    };
    let operation = format!("list {plural}{place}");
    let mut items = Vec::new();
    let mut from = String::new();
    for _ in 0..PAGES_MAX {
        // The token is base64 for URLs.
        let path = format!("{path}?limit={PAGE}&continue={from}");
        let answer = cluster.text(&operation, &path).await?;
        let mut page: Value = serde_json::from_str(&answer).map_err(|error| RequestError {
            operation: operation.clone(),
            failure: Failure::Unknown,
            message: format!("the answer is not JSON: {error}"),
        })?;
        if let Some(Value::Array(read)) = page.get_mut("items").map(Value::take) {
            items.extend(read);
        }
        from = super::objects::text(&page, "/metadata/continue")
            .unwrap_or_default()
            .to_owned();
        if from.is_empty() {
            break;
        }
    }
    Ok(items)
}
