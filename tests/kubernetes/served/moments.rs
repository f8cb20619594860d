//! What was recorded, moment by moment: after each change of any object, who had how many pods and
//! which share of the traffic.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::ensure;
use local::kubernetes::Recorded;
use serde_json::Value;

/// The objects as they were at one moment, reduced to what matters.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Moment {
    /// The change that made it so, e.g. `pods/shop-x 123`.
    pub(crate) after: String,
    /// The Deployment's `spec.replicas`.
    pub(crate) replicas: u64,
    /// Pods that the ReplicaSets of an image are to have.
    pub(crate) wanted: BTreeMap<String, u64>,
    /// Pods of an image that are there and not about to end.
    pub(crate) pods: BTreeMap<String, u64>,
    /// Those of them that are ready.
    pub(crate) ready: BTreeMap<String, u64>,
    /// The part of the traffic that reaches an image, by the route's weights and the ready endpoints
    /// behind each Service.
    pub(crate) shares: BTreeMap<String, f64>,
    /// Services that have a weight and no ready endpoint.
    pub(crate) deserted: BTreeSet<String>,
    /// Services that have a weight and endpoints of several images.
    pub(crate) mixed: BTreeSet<String>,
    /// The route's weights by Service.
    pub(crate) weights: BTreeMap<String, u64>,
    /// The epoch that each object was last written under.
    pub(crate) epochs: BTreeMap<String, i64>,
}

impl Moment {
    pub(crate) fn share(&self, image: &str) -> f64 {
        self.shares.get(image).copied().unwrap_or(0.0)
    }

    pub(crate) fn wanted_of(&self, image: &str) -> u64 {
        self.wanted.get(image).copied().unwrap_or(0)
    }

    pub(crate) fn ready_of(&self, image: &str) -> u64 {
        self.ready.get(image).copied().unwrap_or(0)
    }

    /// Each Service that gets traffic has somebody to serve it, of one revision only.
    pub(crate) fn serves(&self) -> anyhow::Result<()> {
        ensure!(
            self.deserted.is_empty() && self.mixed.is_empty() && !self.shares.is_empty(),
            "somebody gets no answer, or another's: {self:?}"
        );
        Ok(())
    }

    /// As [`Moment::serves`], and each revision has as many ready pods as its share wants of `whole`.
    pub(crate) fn carries(&self, whole: u64) -> anyhow::Result<()> {
        self.serves()?;
        for (image, share) in &self.shares {
            #[expect(clippy::cast_precision_loss, reason = "a few pods")]
            let (ready, wanted) = (self.ready_of(image) as f64, share * whole as f64);
            // Weights are whole numbers out of 10,000.
            ensure!(
                ready + 0.01 >= wanted,
                "{image} has {ready} ready pods for a share of {share} of {whole}: {self:?}"
            );
        }
        Ok(())
    }

    /// Kubernetes' two limits.
    pub(crate) fn within(&self, surge: u64, unavailable: u64) -> anyhow::Result<()> {
        let sum = |counts: &BTreeMap<String, u64>| counts.values().sum::<u64>();
        let most = self.replicas + surge;
        ensure!(
            sum(&self.wanted) <= most && sum(&self.pods) <= most,
            "more than {most} pods: {self:?}"
        );
        ensure!(
            sum(&self.ready) + unavailable >= self.replicas,
            "{unavailable} of {} ready pods may be missing: {self:?}",
            self.replicas
        );
        Ok(())
    }
}

/// The moments after version `from`. Versions of all objects count in one row.
pub(crate) fn replay(recorded: &[Recorded], from: u64) -> Vec<Moment> {
    let mut in_order: Vec<&Recorded> = recorded.iter().collect();
    in_order.sort_by_key(|it| it.version);
    let mut objects = Objects::default();
    let mut moments: Vec<Moment> = Vec::new();
    for event in in_order {
        objects.take(event);
        if event.version >= from {
            let plural = event.path.rsplit('/').next().unwrap_or_default();
            let after = format!("{plural}/{} {}", event.name, event.version);
            moments.push(objects.moment(after));
        }
    }
    moments
}

/// The objects as last seen, by collection and name.
#[derive(Debug, Default)]
struct Objects {
    now: BTreeMap<(String, String), Value>,
    /// Of every pod that was ever there: an endpoint may name one that is gone.
    images: BTreeMap<String, String>,
}

impl Objects {
    fn take(&mut self, event: &Recorded) {
        let plural = event.path.rsplit('/').next().unwrap_or_default();
        let key = (plural.to_owned(), event.name.clone());
        match &event.object {
            Some(object) => {
                if plural == "pods" {
                    let image = text(object, "/spec/containers/0/image").to_owned();
                    self.images.insert(event.name.clone(), image);
                }
                self.now.insert(key, object.clone());
            }
            None => {
                self.now.remove(&key);
            }
        }
    }

    fn of<'a>(&'a self, plural: &'a str) -> impl Iterator<Item = &'a Value> {
        let mine = self.now.iter().filter(move |((it, _), _)| it == plural);
        mine.map(|(_, object)| object)
    }

    fn moment(&self, after: String) -> Moment {
        let mut moment = Moment {
            after,
            replicas: 0,
            wanted: BTreeMap::new(),
            pods: BTreeMap::new(),
            ready: BTreeMap::new(),
            shares: BTreeMap::new(),
            deserted: BTreeSet::new(),
            mixed: BTreeSet::new(),
            weights: BTreeMap::new(),
            epochs: BTreeMap::new(),
        };
        for deployment in self.of("deployments") {
            moment.replicas = number(deployment, "/spec/replicas");
        }
        for set in self.of("replicasets") {
            let image = text(set, "/spec/template/spec/containers/0/image");
            *moment.wanted.entry(image.to_owned()).or_default() += number(set, "/spec/replicas");
        }
        for pod in self.of("pods") {
            if pod.pointer("/metadata/deletionTimestamp").is_some() {
                continue;
            }
            let image = text(pod, "/spec/containers/0/image");
            *moment.pods.entry(image.to_owned()).or_default() += 1;
            if is_ready(pod) {
                *moment.ready.entry(image.to_owned()).or_default() += 1;
            }
        }
        for ((plural, name), object) in &self.now {
            let epoch = text(object, "/metadata/annotations/sluice.dev~1epoch");
            if let Ok(epoch) = epoch.parse() {
                moment.epochs.insert(format!("{plural}/{name}"), epoch);
            }
        }
        self.traffic(&mut moment);
        moment
    }

    fn traffic(&self, moment: &mut Moment) {
        let backends = self
            .of("httproutes")
            .flat_map(|it| items(it, "/spec/rules/0/backendRefs"));
        for backend in backends {
            let weight = backend.get("weight").and_then(Value::as_u64).unwrap_or(1);
            let service = text(backend, "/name").to_owned();
            moment.weights.insert(service, weight);
        }
        let all: u64 = moment.weights.values().sum();
        for (service, weight) in moment.weights.iter().filter(|(_, it)| **it > 0) {
            let images = self.behind(service);
            let count: u64 = images.values().sum();
            match images.len() {
                0 => moment.deserted.insert(service.clone()),
                1 => false,
                _ => moment.mixed.insert(service.clone()),
            };
            for (image, endpoints) in images {
                #[expect(clippy::cast_precision_loss, reason = "weights are out of 10,000")]
                let share = (weight * endpoints) as f64 / (all * count) as f64;
                *moment.shares.entry(image).or_default() += share;
            }
        }
    }

    /// The ready endpoints of a Service by the image of their pods.
    fn behind(&self, service: &str) -> BTreeMap<String, u64> {
        let mut images = BTreeMap::new();
        let of_it =
            |it: &&Value| text(it, "/metadata/labels/kubernetes.io~1service-name") == service;
        let slices = self.of("endpointslices").filter(of_it);
        for endpoint in slices.flat_map(|it| items(it, "/endpoints")) {
            let ready = endpoint.pointer("/conditions/ready");
            let pod = text(endpoint, "/targetRef/name");
            if ready.and_then(Value::as_bool).unwrap_or(true)
                && let Some(image) = self.images.get(pod)
            {
                *images.entry(image.clone()).or_default() += 1;
            }
        }
        images
    }
}

fn is_ready(pod: &Value) -> bool {
    let mut conditions = items(pod, "/status/conditions");
    conditions.any(|it| text(it, "/type") == "Ready" && text(it, "/status") == "True")
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    let found = object.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_default()
}

fn number(object: &Value, pointer: &str) -> u64 {
    let found = object.pointer(pointer).and_then(Value::as_u64);
    found.unwrap_or_default()
}

fn items<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    let found = object.pointer(pointer).and_then(Value::as_array);
    found.into_iter().flatten()
}
