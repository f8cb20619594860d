//! What the Gateway does with a backend that cannot serve: why weights wait for ready pods, and why
//! traffic alone does not tell whether a route is right.

use std::time::Duration;

use anyhow::ensure;
use e2e::Version;
use e2e::real_cluster::{Namespace, SOON};
use local::load::{self, Load, Log};
use local::node::gateway;
use local::wait;
use serde_json::Value;

/// Requests that are looked at.
const REQUESTS: u64 = 400;

/// A namespace whose service `v1` has a ready pod and the whole traffic.
async fn one_version(prefix: &str) -> anyhow::Result<Namespace> {
    let namespace = Namespace::new(prefix).await?;
    let image = namespace.cluster.image(&Version::good("v1")).await?;
    let objects = [
        namespace.deployment("v1", &image, 1),
        namespace.service("v1"),
        namespace.route(&[("v1", 1)]),
    ];
    namespace.apply(&objects).await?;
    namespace.rolled_out("v1").await?;
    namespace.open().await?;
    Ok(namespace)
}

/// Waits until a condition of the route, about its newest generation, has this status and reason.
async fn condition(
    namespace: &Namespace,
    kind: &str,
    status: &str,
    reason: &str,
) -> anyhow::Result<()> {
    let path = format!(
        "/apis/gateway.networking.k8s.io/v1/namespaces/{}/httproutes/shop",
        namespace.name
    );
    wait::until(SOON, &format!("{kind} {status} {reason}"), || async {
        let route = namespace.api.get(&path).await;
        let route = route.map_err(|error| error.to_string())?;
        let generation = &route["metadata"]["generation"];
        let conditions = route["status"]["parents"][0]["conditions"].as_array();
        let found = conditions.into_iter().flatten().any(|it| {
            it["type"] == kind
                && it["status"] == status
                && it["reason"] == reason
                && it["observedGeneration"] == *generation
        });
        match found {
            true => Ok(()),
            false => Err(route["status"].to_string()),
        }
    })
    .await?;
    Ok(())
}

async fn some_requests(namespace: &Namespace) -> anyhow::Result<Log> {
    let options = load::Options {
        rate_per_second: 200,
        max_requests: REQUESTS,
        max_duration: Duration::from_secs(30),
        host: Some(namespace.host()),
        ..load::Options::default()
    };
    Ok(Load::start(gateway::URL, options)?.finish().await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_without_ready_pods_fails_its_share_at_once() -> anyhow::Result<()> {
    let namespace = one_version("empty").await?;
    let image = Version::with("v2", &["--never-ready"]);
    let image = namespace.cluster.image(&image).await?;
    let objects = [
        namespace.deployment("v2", &image, 1),
        namespace.service("v2"),
        namespace.route(&[("v1", 50), ("v2", 50)]),
    ];
    namespace.apply(&objects).await?;
    let unready = |container: &Value| !container["state"]["running"].is_null();
    namespace.pod("v2", "a running pod", unready).await?;
    // The route itself is fine.
    condition(&namespace, "ResolvedRefs", "True", "ResolvedRefs").await?;
    let counts = some_requests(&namespace).await?.totals;
    let refused = counts.unversioned.errors as f64 / counts.total as f64;
    ensure!((refused - 0.5).abs() < 0.15, "{counts:?}");
    ensure!(!counts.versions.contains_key("v2"), "{counts:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_service_shows_in_the_conditions_and_not_in_the_traffic() -> anyhow::Result<()> {
    let namespace = one_version("lost").await?;
    condition(&namespace, "ResolvedRefs", "True", "ResolvedRefs").await?;
    let route = namespace.route(&[("v1", 50), ("v2", 50)]);
    namespace.apply(&[route]).await?;
    condition(&namespace, "ResolvedRefs", "False", "BackendNotFound").await?;
    let counts = some_requests(&namespace).await?.totals;
    ensure!(counts.errors() == 0 && counts.total > 0, "{counts:?}");
    Ok(())
}
