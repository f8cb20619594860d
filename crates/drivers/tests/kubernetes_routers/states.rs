//! What a client would have met at every instant, told from the states that the objects were in.

use std::collections::{BTreeMap, BTreeSet};

use local::kubernetes::Recorded;
use serde_json::Value;

/// The newest state of each object, by kind and name.
pub(crate) type World = BTreeMap<(String, String), Value>;

/// Goes through all states, one write at a time.
pub(crate) fn each(events: &[Recorded], mut look: impl FnMut(u64, &World)) {
    let mut world = World::new();
    for event in events {
        let kind = event.path.rsplit('/').next().unwrap().to_owned();
        let key = (kind, event.name.clone());
        match &event.object {
            Some(object) => world.insert(key, object.clone()),
            None => world.remove(&key),
        };
        look(event.version, &world);
    }
}

/// The pods that are ready behind a Service.
pub(crate) fn pods_behind(world: &World, service: &str) -> Vec<String> {
    let slices = world
        .iter()
        .filter(|((kind, _), _)| kind == "endpointslices");
    let slices =
        slices.filter(|(_, it)| it["metadata"]["labels"]["kubernetes.io/service-name"] == service);
    let endpoints =
        slices.flat_map(|(_, it)| it["endpoints"].as_array().cloned().unwrap_or_default());
    let ready = endpoints.filter(|it| it["conditions"]["ready"] == true);
    ready
        .map(|it| it["targetRef"]["name"].as_str().unwrap().to_owned())
        .collect()
}

/// The revisions whose pods are ready behind a Service.
pub(crate) fn behind(world: &World, service: &str) -> BTreeSet<u32> {
    let revision = |name: String| {
        let hash = name.strip_prefix("checkout-hash").unwrap();
        hash.split('-').next().unwrap().parse().unwrap()
    };
    pods_behind(world, service)
        .into_iter()
        .map(revision)
        .collect()
}

/// The revisions that may get requests at a version.
fn allowed_at(allowed: &[(u64, BTreeSet<u32>)], version: u64) -> Option<&BTreeSet<u32>> {
    allowed
        .iter()
        .rfind(|(from, _)| *from <= version)
        .map(|(_, it)| it)
}

/// At every instant: who has a weight (by `weighted`, from the route) serves, and serves only
/// revisions that were asked for; so does the user's Service, for clients past the route.
pub(crate) fn check(
    events: &[Recorded],
    allowed: &[(u64, BTreeSet<u32>)],
    weighted: impl Fn(&World) -> BTreeSet<String>,
) {
    let mut states = 0;
    each(events, |version, world| {
        let Some(allowed) = allowed_at(allowed, version) else {
            return;
        };
        let mut services = weighted(world);
        services.insert("checkout".to_owned());
        for service in services {
            let behind = behind(world, &service);
            assert!(
                !behind.is_empty(),
                "at {version} nobody is behind {service}: {world:#?}"
            );
            assert!(
                behind.is_subset(allowed),
                "at {version} {behind:?} are behind {service}, {allowed:?} may be"
            );
        }
        states += 1;
    });
    assert!(states > 10, "only {states} states were looked at");
}
