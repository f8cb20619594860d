//! The routers of data planes that say nothing of what they have taken: `ingressNginx`, `istio` and
//! `traefik`. Their kinds are bare ones, without a schema; nobody but Sluice acts on them.

use std::collections::BTreeSet;

use local::wait;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::{
    rig::{Plane, SOON, admin},
    shop::{Shop, bare},
    states::{self, World},
};

/// Makes kinds that take anything.
async fn install(plane: &Plane) {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    INSTALLED
        .get_or_init(|| async {
            let api = admin(&plane.plane);
            for (group, version, plural, kind) in [
                ("networking.istio.io", "v1", "virtualservices", "VirtualService"),
                ("traefik.io", "v1alpha1", "traefikservices", "TraefikService"),
            ] {
                let schema = json!({ "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } });
                let crd = json!({
                    "metadata": { "name": format!("{plural}.{group}") },
                    "spec": { "group": group, "scope": "Namespaced",
                        "names": { "plural": plural, "singular": kind.to_lowercase(), "kind": kind },
                        "versions": [{ "name": version, "served": true, "storage": true, "schema": schema }] },
                });
                let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
                api.create(crds, &crd).await.unwrap();
                let path = format!("/apis/{group}/{version}/{plural}");
                wait::until(SOON, "a kind", || api.get(&path)).await.unwrap();
            }
        })
        .await;
}

/// One router and what it writes to.
struct Case {
    router: Value,
    /// The collection and the object in it that is the user's.
    path: &'static str,
    object: Value,
    /// Service and weight of the entries that a state of the world has for the app.
    weights: fn(&World) -> Vec<(String, u64)>,
}

/// Entries of the lists at `pointer` in objects of `kind`.
fn listed(world: &World, kind: &str, pointer: &str, name: &str) -> Vec<(String, u64)> {
    let objects = world.iter().filter(|((it, _), _)| it == kind);
    let entries =
        objects.flat_map(|(_, it)| it.pointer(pointer).unwrap().as_array().unwrap().clone());
    let entry = |it: Value| {
        let name = it.pointer(name).unwrap().as_str().unwrap().to_owned();
        (name, it["weight"].as_u64().unwrap_or(1))
    };
    entries.map(entry).collect()
}

fn of_ingresses(world: &World) -> Vec<(String, u64)> {
    let canary = world.get(&("ingresses".to_owned(), "checkout-canary".to_owned()));
    let annotation = |name: &str| {
        let annotations = &canary?["metadata"]["annotations"];
        annotations[format!("nginx.ingress.kubernetes.io/{name}")]
            .as_str()?
            .parse::<u64>()
            .ok()
    };
    let total = annotation("canary-weight-total").unwrap_or(100);
    let weight = annotation("canary-weight").unwrap_or_default();
    vec![
        ("checkout".to_owned(), total - weight),
        ("checkout-candidate".to_owned(), weight),
    ]
}

/// A rollout with one share in between, another that is aborted, and everything as it was.
async fn roll(case: Case) {
    let plane = Plane::shared().await;
    install(&plane).await;
    let collection = case.path;
    let mut shop = Shop::open(
        &plane,
        &[collection],
        &case.router,
        &[(collection, case.object)],
    )
    .await;
    let path = format!("{collection}/checkout");
    let before = (
        shop.get(&path).await.unwrap(),
        shop.service("checkout").await.unwrap(),
    );
    shop.settle().await;
    shop.bring(2, 3).await;
    shop.roll(&[(1, 75), (2, 25)]).await;
    shop.roll(&[(2, 100)]).await;
    shop.end(1).await;
    shop.rest().await;
    shop.bring(3, 1).await;
    shop.roll(&[(2, 60), (3, 40)]).await;
    shop.roll(&[(2, 100)]).await;
    shop.end(3).await;
    shop.rest().await;
    let after = (
        shop.get(&path).await.unwrap(),
        shop.service("checkout").await.unwrap(),
    );
    assert_eq!(bare(after.0), bare(before.0));
    assert_eq!(bare(after.1), bare(before.1));

    let events = shop.recording.so_far().await.unwrap();
    let weighted = |world: &World| -> BTreeSet<String> {
        let entries = (case.weights)(world).into_iter();
        entries
            .filter(|(name, weight)| *weight > 0 && name.starts_with("checkout"))
            .map(|(name, _)| name)
            .collect()
    };
    states::check(&events, &shop.allowed, weighted);
    let mut quarter = false;
    states::each(&events, |_, world| {
        let entries = (case.weights)(world);
        let of = |name: &str| entries.iter().find(|it| it.0 == name).map_or(0, |it| it.1);
        quarter |= of("checkout") > 0 && of("checkout") == 3 * of("checkout-candidate");
    });
    assert!(quarter, "a quarter was never written");
}

#[tokio::test(flavor = "multi_thread")]
async fn ingress_nginx_rolls_by_a_second_ingress() {
    let path = json!({ "path": "/", "pathType": "Prefix",
        "backend": { "service": { "name": "checkout", "port": { "number": 80 } } } });
    roll(Case {
        router: json!({ "ingressNginx": { "ingress": "checkout", "service": "checkout" } }),
        path: "/apis/networking.k8s.io/v1/*/ingresses",
        object: json!({ "metadata": { "name": "checkout" },
            "spec": { "ingressClassName": "nginx",
                "rules": [{ "host": "shop.example.org", "http": { "paths": [path] } }] } }),
        weights: of_ingresses,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn istio_rolls_by_a_virtual_service() {
    roll(Case {
        router: json!({ "istio": { "virtualService": "checkout", "service": "checkout" } }),
        path: "/apis/networking.istio.io/v1/*/virtualservices",
        object: json!({ "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": { "name": "checkout" },
            "spec": { "hosts": ["checkout"], "http": [{ "timeout": "5s",
                "route": [{ "destination": { "host": "checkout", "port": { "number": 80 } } }] }] } }),
        weights: |world| listed(world, "virtualservices", "/spec/http/0/route", "/destination/host"),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn traefik_rolls_by_a_traefik_service() {
    roll(Case {
        router: json!({ "traefik": { "traefikService": "checkout", "service": "checkout" } }),
        path: "/apis/traefik.io/v1alpha1/*/traefikservices",
        object: json!({ "apiVersion": "traefik.io/v1alpha1", "kind": "TraefikService",
            "metadata": { "name": "checkout" },
            "spec": { "weighted": { "services": [{ "name": "checkout", "port": 80, "weight": 1 }] } } }),
        weights: |world| listed(world, "traefikservices", "/spec/weighted/services", "/name"),
    })
    .await;
}
