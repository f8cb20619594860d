//! A Deployment with its ReplicaSets in memory, and what their controllers do.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use rollout::{Revision, observation::InstanceState};
use serde_json::{Value, json};

use super::words::{image, words};

use crate::{
    DriverError,
    kubernetes::{
        Object,
        kind::{DEPLOYMENT, REPLICA_SET},
        references::{self, Reference},
        template,
    },
    workload::{
        RevisionSpec, WorkloadConfig, WorkloadTarget,
        kubernetes::{
            Configs, Kubernetes, Named, OnCannotStart, Trigger,
            configs::Found,
            content::{Content, Digests},
            desired::{World, Write, desired},
            patch::patch,
            pods::Pod,
            view::{Deployment, SATURATION, Set},
        },
    },
};

const APP: &str = "default/web";

#[derive(Debug, Clone)]
pub(super) struct Model {
    pub(super) deployment: Value,
    pub(super) sets: Vec<Value>,
    pub(super) trigger: Trigger,
    pub(super) specs: Vec<RevisionSpec>,
    pub(super) whole: u32,
    pub(super) held: Vec<Revision>,
    /// Revisions whose pods are in use.
    pub(super) in_use: Option<Vec<Revision>>,
    pub(super) controller_sleeps: bool,
    /// What the ConfigMaps hold that count into the next revision; `None`: nothing does.
    pub(super) configs: Option<Digests>,
    pub(super) found: Found,
    version: u64,
    /// ReplicaSets that the controller has made.
    made: u32,
}

impl Model {
    /// A Deployment that Kubernetes has rolled out.
    pub(super) fn new(replicas: u32, image: &str) -> Self {
        let mut model = Self {
            deployment: json!({
                "metadata": {"name": "web", "namespace": "shop", "uid": "d", "annotations": {}},
                "spec": {
                    "replicas": replicas,
                    "selector": {"matchLabels": {"app": "web"}},
                    "strategy": {"type": "RollingUpdate"},
                    "template": template(image),
                },
            }),
            sets: Vec::new(),
            trigger: Trigger::Artifact,
            specs: Vec::new(),
            whole: replicas,
            held: Vec::new(),
            in_use: Some(Vec::new()),
            controller_sleeps: false,
            configs: None,
            found: Found::default(),
            version: 0,
            made: 0,
        };
        model.touch_deployment();
        model.control();
        model
    }

    /// A revision of the image.
    pub(super) fn know(&mut self, image: &str) {
        let content = Content {
            container: "web".to_owned(),
            template: template(image),
            configs: self.configs.clone(),
        };
        self.specs.push(RevisionSpec {
            revision: Revision(u32::try_from(self.specs.len()).unwrap() + 1),
            artifact: image.to_owned(),
            content: Some(content.to_value()),
            workload: WorkloadConfig::Kubernetes(Kubernetes {
                context: None,
                namespace: "shop".to_owned(),
                object: Named::Deployment("web".to_owned()),
                container: None,
                trigger: self.trigger,
                on_cannot_start: OnCannotStart::Rollback,
                configs: Configs::Ignore,
            }),
        });
    }

    pub(super) fn set_image(&mut self, image: &str) {
        self.deployment["spec"]["template"] = template(image);
        self.touch_deployment();
        self.control();
    }

    /// What ConfigMap `web` holds from now on; it counts into the revisions that follow.
    pub(super) fn set_config(&mut self, held: &str) {
        let reference: Reference = "ConfigMap/web".parse().unwrap();
        let digests = Digests::from([(reference, Some(held.to_owned()))]);
        self.found.live = digests.clone();
        self.configs = Some(digests);
    }

    /// The copies that the pods of each image read.
    pub(super) fn reads(&self) -> Vec<(u64, Vec<String>)> {
        let of = |set: &Value| {
            let template = &set["spec"]["template"];
            let named = references::named(template).into_keys().map(|it| it.name);
            (set["spec"]["replicas"].as_u64().unwrap(), named.collect())
        };
        self.sets.iter().map(of).collect()
    }

    /// Changes a field of the Deployment's spec, as somebody else does.
    pub(super) fn set(&mut self, field: &str, value: Value) {
        self.deployment["spec"][field] = value;
        self.touch_deployment();
        self.control();
    }

    pub(super) fn wake_controller(&mut self) {
        self.controller_sleeps = false;
        self.control();
    }

    /// Brings the target about, as passes do. The writes, in words.
    pub(super) fn hold(&mut self, scales: &[(Revision, u32)]) -> Vec<String> {
        let mut told = Vec::new();
        for _ in 0..20 {
            let writes = self.desired(scales);
            if writes.is_empty() {
                return told;
            }
            for write in writes {
                told.push(words(&write));
                self.write(write);
            }
            self.control();
        }
        panic!("no end of writes: {told:#?}\n{}", self.told());
    }

    pub(super) fn desired(&self, scales: &[(Revision, u32)]) -> Vec<Write> {
        self.try_desired(scales).unwrap()
    }

    pub(super) fn try_desired(
        &self,
        scales: &[(Revision, u32)],
    ) -> Result<Vec<Write>, DriverError> {
        let object = |kind, it: &Value| Arc::new(Object::read(kind, it.clone()).unwrap());
        let deployment = Deployment::read(object(&DEPLOYMENT, &self.deployment));
        let sets = self.sets.iter().map(|it| object(&REPLICA_SET, it));
        let sets: Vec<Set> = sets.map(|it| Set::read(it, APP)).collect();
        let pods = sets.iter().flat_map(|set| {
            (0..set.replicas).map(|it| Pod {
                name: format!("{}-{it}", set.object.name),
                uid: String::new(),
                owner: set.object.uid.clone(),
                address: None,
                state: InstanceState::Ready,
                restarts: 0,
                trouble: None,
            })
        });
        let pods: Vec<Pod> = pods.collect();
        let world = World {
            app: APP,
            trigger: self.trigger,
            deployment: &deployment,
            sets: &sets,
            pods: &pods,
            found: &self.found,
        };
        let used = |revisions: &Vec<Revision>| {
            let used = sets
                .iter()
                .filter(|it| it.revision.is_some_and(|it| revisions.contains(&it)));
            let uids: BTreeSet<&str> = used.map(Set::uid).collect();
            let pods = pods.iter().filter(|it| uids.contains(&*it.owner));
            pods.map(|it| it.name.clone()).collect()
        };
        let target = WorkloadTarget {
            scales: scales.iter().copied().collect(),
            whole: self.whole,
            held: self.held.iter().copied().collect(),
            epoch: 1,
            revisions: self.specs.clone(),
            in_use: self.in_use.as_ref().map(used),
        };
        desired(&world, &target)
    }

    fn write(&mut self, write: Write) {
        match write {
            Write::Deployment { operations, .. } => {
                patch(&mut self.deployment, &operations);
                self.touch_deployment();
            }
            Write::Create { mut manifest } => {
                manifest["metadata"]["uid"] = manifest["metadata"]["name"].clone();
                self.sets.push(manifest);
                self.touch(self.sets.len() - 1);
            }
            Write::Copy(copy) => {
                let name = &copy.name;
                let object =
                    json!({"metadata": {"name": name, "uid": name, "resourceVersion": "1"}});
                let object = Object::read(copy.of.kind.kind(), object).unwrap();
                self.found.copies.insert(copy.reference(), Arc::new(object));
            }
            Write::Forget(copy) => {
                self.found.copies.remove(&copy).unwrap();
            }
            Write::Set { name, operations } => {
                let named = |it: &Value| it["metadata"]["name"] == *name;
                let index = self.sets.iter().position(named).unwrap();
                patch(&mut self.sets[index], &operations);
                self.touch(index);
            }
        }
    }

    /// What the controllers do until they find nothing more to do.
    fn control(&mut self) {
        if self.controller_sleeps {
            return;
        }
        let spec = self.deployment["spec"].clone();
        let paused = spec["paused"] == true;
        let digest = template::digest(&spec["template"]);
        let equal = |it: &Value| template::digest(&it["spec"]["template"]) == digest;
        let mut new = self.sets.iter().position(equal);
        if new.is_none() && !paused {
            new = Some(self.make_set(&spec));
        }
        if let Some(new) = new {
            self.copy_annotations(new);
        }
        let live = spec["replicas"].clone();
        let wants = |it: &Value| it["spec"]["replicas"] != 0;
        let active: Vec<usize> = (0..self.sets.len())
            .filter(|it| wants(&self.sets[*it]))
            .collect();
        match (active.as_slice(), new) {
            (_, Some(new)) if !paused => {
                (0..self.sets.len()).for_each(|it| self.scale(it, &json!(0)));
                self.scale(new, &live);
            }
            ([], Some(only)) => self.scale(only, &live),
            ([], None) if !self.sets.is_empty() => self.scale(self.sets.len() - 1, &live),
            ([only], _) => self.scale(*only, &live),
            // It is saturated: all others are taken for old.
            (_, Some(new)) if self.is_saturated(new) => {
                let others = active.iter().filter(|it| **it != new);
                others.for_each(|it| self.scale(*it, &json!(0)));
            }
            (_, Some(_) | None) => {}
        }
        let generation = self.deployment["metadata"]["generation"].clone();
        self.deployment["status"] = json!({"observedGeneration": generation});
        for set in &mut self.sets {
            let replicas = set["spec"]["replicas"].clone();
            set["status"] = json!({
                "replicas": replicas, "readyReplicas": replicas,
                "observedGeneration": set["metadata"]["generation"],
            });
        }
    }

    fn make_set(&mut self, spec: &Value) -> usize {
        self.made += 1;
        let name = format!("web-{}", self.made);
        self.sets.push(json!({
            "metadata": {
                "name": name, "namespace": "shop", "uid": name,
                "labels": {"pod-template-hash": name}, "annotations": {},
            },
            "spec": {"replicas": 0, "template": spec["template"]},
        }));
        self.touch(self.sets.len() - 1);
        self.sets.len() - 1
    }

    fn copy_annotations(&mut self, index: usize) {
        let own = self.deployment["metadata"]["annotations"].clone();
        let set = &mut self.sets[index];
        let mut changed = false;
        for (key, value) in own.as_object().unwrap() {
            changed |= set["metadata"]["annotations"][key] != *value;
            set["metadata"]["annotations"][key] = value.clone();
        }
        if changed {
            self.touch(index);
        }
    }

    /// Scaled by the controller, which notes it.
    fn scale(&mut self, index: usize, replicas: &Value) {
        let live = self.deployment["spec"]["replicas"].to_string();
        let set = &mut self.sets[index];
        if set["spec"]["replicas"] != *replicas {
            set["spec"]["replicas"] = replicas.clone();
            set["metadata"]["annotations"][SATURATION[0]] = json!(live);
            self.touch(index);
        }
    }

    fn is_saturated(&self, index: usize) -> bool {
        let live = &self.deployment["spec"]["replicas"];
        let set = &self.sets[index];
        let noted = &set["metadata"]["annotations"][SATURATION[0]];
        set["spec"]["replicas"] == *live && *noted == json!(live.to_string())
    }

    fn touch_deployment(&mut self) {
        self.version += 1;
        let metadata = &mut self.deployment["metadata"];
        metadata["resourceVersion"] = json!(self.version.to_string());
        metadata["generation"] = json!(self.version);
    }

    fn touch(&mut self, index: usize) {
        self.version += 1;
        let metadata = &mut self.sets[index]["metadata"];
        metadata["resourceVersion"] = json!(self.version.to_string());
        metadata["generation"] = json!(self.version);
    }

    /// How many pods each image has.
    pub(super) fn pods(&self) -> Vec<(&str, u64)> {
        let pods = |it: &'_ Value| it["spec"]["replicas"].as_u64().unwrap();
        self.sets.iter().map(|it| (image(it), pods(it))).collect()
    }

    /// The end, in words.
    pub(super) fn told(&self) -> String {
        let spec = &self.deployment["spec"];
        let pods: BTreeMap<&str, u64> = self.pods().into_iter().collect();
        format!(
            "=  {} paused={} strategy={} replicas={} pods={pods:?}",
            image(&self.deployment),
            spec["paused"],
            spec["strategy"]["type"],
            spec["replicas"]
        )
    }
}

fn template(image: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{
            "name": "web", "image": image, "envFrom": [{"configMapRef": {"name": "web"}}],
        }]},
    })
}
