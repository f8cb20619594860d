//! Rollouts as they are written, told by a StatefulSet in memory and a controller that does what the
//! documentation says of the real one, with the default `OrderedReady`.

use std::{collections::BTreeSet, sync::Arc};

use rollout::{Revision, observation::InstanceState};
use serde_json::{Value, json};

use super::{
    desired::{World, Write, desired},
    view::{History, Member, StatefulSet},
};
use crate::{
    kubernetes::{
        EPOCH, Object,
        kind::{CONTROLLER_REVISION, POD, STATEFUL_SET},
        template,
    },
    workload::{
        RevisionSpec, WorkloadTarget,
        kubernetes::{
            Configs, Kubernetes, Named, OnCannotStart, Trigger, content::Content, patch::patch,
            pods::Pod,
        },
    },
};

const APP: &str = "default/db";
const R1: Revision = Revision(1);
const R2: Revision = Revision(2);

struct Model {
    set: Value,
    history: Vec<Value>,
    /// The ControllerRevision of each pod, by ordinal; `None`: it is not there.
    pods: Vec<Option<String>>,
    specs: Vec<RevisionSpec>,
    whole: u32,
    version: u64,
}

fn template(image: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": "db"}},
        "spec": {"containers": [{"name": "db", "image": image}]},
    })
}

impl Model {
    fn new(replicas: u32) -> Self {
        let mut model = Self {
            set: json!({
                "metadata": {"name": "db", "namespace": "shop", "uid": "s", "annotations": {}},
                "spec": {
                    "replicas": replicas,
                    "selector": {"matchLabels": {"app": "db"}},
                    "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
                    "template": template("db:1"),
                },
                "status": {},
            }),
            history: Vec::new(),
            pods: Vec::new(),
            specs: Vec::new(),
            whole: replicas,
            version: 0,
        };
        model.touch();
        model.control();
        model.know("db:1");
        model.hold(&[(R1, replicas)]);
        model
    }

    fn know(&mut self, image: &str) {
        let content = Content {
            container: "db".to_owned(),
            template: template(image),
            configs: None,
        };
        self.specs.push(RevisionSpec {
            revision: Revision(u32::try_from(self.specs.len()).unwrap() + 1),
            artifact: image.to_owned(),
            content: Some(content.to_value()),
            workload: crate::WorkloadConfig::Kubernetes(Kubernetes {
                context: None,
                namespace: "shop".to_owned(),
                object: Named::StatefulSet("db".to_owned()),
                container: None,
                trigger: Trigger::Artifact,
                on_cannot_start: OnCannotStart::Rollback,
                configs: Configs::Ignore,
            }),
        });
    }

    fn touch(&mut self) {
        self.version += 1;
        self.set["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.set["metadata"]["generation"] = json!(self.version);
    }

    /// Images named `bad` never become ready.
    fn is_ready(&self, hash: &str) -> bool {
        let named = |it: &&Value| it["metadata"]["name"] == *hash;
        let history = self.history.iter().find(named).unwrap();
        !history["data"].to_string().contains("bad")
    }

    /// What its controller does until it has nothing more to do.
    fn control(&mut self) {
        let digest = template::digest(&self.set["spec"]["template"]);
        let found = self.history.iter().find(|it| it["digest"] == *digest);
        let update = match found {
            Some(found) => found["metadata"]["name"].as_str().unwrap().to_owned(),
            None => {
                let name = format!("db-{}", self.history.len() + 1);
                let annotations = self.set["metadata"]["annotations"].clone();
                self.history.push(json!({
                    "metadata": {
                        "name": name, "namespace": "shop", "uid": name, "resourceVersion": "1",
                        "labels": {"app": "db"}, "annotations": annotations,
                    },
                    "digest": digest, "data": self.set["spec"]["template"],
                }));
                name
            }
        };
        let known = self.set["status"]["currentRevision"].as_str();
        let current = known.unwrap_or(&update).to_owned();
        let partition = self.set["spec"]["updateStrategy"]["rollingUpdate"]["partition"].clone();
        let partition = match self.set["spec"]["updateStrategy"]["type"] == "OnDelete" {
            true => usize::MAX,
            false => usize::try_from(partition.as_u64().unwrap_or(0)).unwrap(),
        };
        let replicas = self.set["spec"]["replicas"].as_u64().unwrap();
        self.pods.resize(usize::try_from(replicas).unwrap(), None);
        loop {
            // In order: what is missing is made, and nothing goes on past what is not ready.
            let missing = self.pods.iter().position(Option::is_none);
            let broken = self
                .pods
                .iter()
                .position(|it| it.as_ref().is_some_and(|it| !self.is_ready(it)));
            match (missing, broken) {
                (Some(missing), broken) if broken.is_none_or(|it| missing < it) => {
                    let hash = if missing < partition {
                        &current
                    } else {
                        &update
                    };
                    self.pods[missing] = Some(hash.clone());
                }
                (_, Some(_)) => break,
                (_, None) => {
                    let old = |it: &Option<String>| it.as_ref() != Some(&update);
                    let old = self.pods.iter().rposition(old);
                    match old.filter(|it| *it >= partition) {
                        Some(old) => self.pods[old] = None,
                        None => break,
                    }
                }
            }
        }
        let all = self.pods.iter().all(|it| it.as_ref() == Some(&update));
        let current = if all { update.clone() } else { current };
        self.set["status"] = json!({
            "observedGeneration": self.set["metadata"]["generation"],
            "currentRevision": current, "updateRevision": update,
        });
    }

    fn desired(&self, scales: &[(Revision, u32)]) -> Vec<Write> {
        let object = |kind, it: &Value| Arc::new(Object::read(kind, it.clone()).unwrap());
        let set = StatefulSet::read(object(&STATEFUL_SET, &self.set));
        let history = self
            .history
            .iter()
            .map(|it| object(&CONTROLLER_REVISION, it));
        let history: Vec<History> = history.map(|it| History::read(it, APP)).collect();
        let mut members = Vec::new();
        for (ordinal, hash) in self.pods.iter().enumerate() {
            let Some(hash) = hash else { continue };
            let name = format!("db-{ordinal}");
            let pod = json!({"metadata": {
                "name": name, "uid": name, "resourceVersion": "1", "labels": {"controller-revision-hash": hash},
            }});
            let pod = object(&POD, &pod);
            let mut read = Pod::read(&pod, "db", OnCannotStart::Rollback);
            read.state = match self.is_ready(hash) {
                true => InstanceState::Ready,
                false => InstanceState::Starting,
            };
            members.push(Member::read(read, pod).unwrap());
        }
        let world = World {
            app: APP,
            set: &set,
            history: &history,
            members: &members,
        };
        let target = WorkloadTarget {
            scales: scales.iter().copied().collect(),
            whole: self.whole,
            held: BTreeSet::new(),
            epoch: 1,
            revisions: self.specs.clone(),
            in_use: Some(BTreeSet::new()),
        };
        desired(&world, &target).unwrap()
    }

    /// Brings the target about, as passes do. The writes, in words.
    fn hold(&mut self, scales: &[(Revision, u32)]) -> Vec<String> {
        let mut told = Vec::new();
        for _ in 0..40 {
            let writes = self.desired(scales);
            if writes.is_empty() {
                return told;
            }
            for write in writes {
                told.push(self.write(write));
            }
            self.control();
        }
        panic!("no end of writes: {told:#?}");
    }

    fn write(&mut self, write: Write) -> String {
        match write {
            Write::Set { operations, again } => {
                patch(&mut self.set, &operations);
                self.touch();
                let paths = operations.iter().filter(|it| it["op"] != "test");
                let paths: Vec<&str> = paths.map(|it| it["path"].as_str().unwrap()).collect();
                let partition = &self.set["spec"]["updateStrategy"]["rollingUpdate"]["partition"];
                format!("set {} -> partition {partition} {again:?}", paths.join(" "))
            }
            Write::Mark { name, operations } => {
                let named = |it: &&mut Value| it["metadata"]["name"] == *name;
                patch(self.history.iter_mut().find(named).unwrap(), &operations);
                format!("mark {name}")
            }
            Write::Remove { name } => {
                let ordinal: usize = name.rsplit_once('-').unwrap().1.parse().unwrap();
                self.pods[ordinal] = None;
                format!("delete {name}")
            }
        }
    }

    fn images(&self) -> Vec<&str> {
        let image = |hash: &String| {
            let named = |it: &&Value| it["metadata"]["name"] == **hash;
            let history = self.history.iter().find(named).unwrap();
            history["data"]["spec"]["containers"][0]["image"]
                .as_str()
                .unwrap()
        };
        self.pods
            .iter()
            .map(|it| it.as_ref().map_or("-", image))
            .collect()
    }
}

#[test]
fn a_canary_replaces_the_highest_pods_first_and_gives_everything_back() {
    let mut model = Model::new(4);
    let before = model.set["spec"].clone();
    model.know("db:2");
    model.hold(&[(R1, 3)]);
    assert_eq!(model.images(), ["db:1"; 4], "there is no candidate yet");
    let mut told = model.hold(&[(R1, 3), (R2, 1)]);
    assert_eq!(model.images(), ["db:1", "db:1", "db:1", "db:2"]);
    told.extend(model.hold(&[(R1, 1), (R2, 3)]));
    assert_eq!(model.images(), ["db:1", "db:2", "db:2", "db:2"]);
    told.extend(model.hold(&[(R2, 4)]));
    assert_eq!(model.images(), ["db:2"; 4]);
    insta::assert_snapshot!(told.join("\n"));
    assert_eq!(
        model.set["spec"]["updateStrategy"],
        before["updateStrategy"]
    );
    assert!(model.set["metadata"]["annotations"]["sluice.dev/kept"].is_null());
}

#[test]
fn a_broken_pod_does_not_keep_the_others_from_going_back() {
    let mut model = Model::new(4);
    let before = model.set["spec"].clone();
    model.know("db:bad");
    let told = model.hold(&[(R1, 2), (R2, 2)]);
    assert!(told.iter().all(|it| !it.starts_with("delete")), "{told:?}");
    assert_eq!(model.images(), ["db:1", "db:1", "db:1", "db:bad"]);
    let told = model.hold(&[(R1, 4), (R2, 2)]);
    assert!(told.contains(&"delete db-3".to_owned()), "{told:?}");
    assert_eq!(model.images(), ["db:1"; 4]);
    model.hold(&[(R1, 4)]);
    assert_eq!(model.set["spec"], before);
    assert_eq!(model.images(), ["db:1"; 4]);
}

#[test]
fn ready_pods_go_back_one_by_one_and_a_third_revision_waits_for_it() {
    let mut model = Model::new(3);
    model.know("db:2");
    model.know("db:3");
    model.hold(&[(R1, 1), (R2, 2)]);
    assert_eq!(model.images(), ["db:1", "db:2", "db:2"]);
    // Less of it, then another one at once.
    model.hold(&[(R1, 2), (R2, 1)]);
    assert_eq!(model.images(), ["db:1", "db:1", "db:2"]);
    let told = model.hold(&[(R1, 2), (Revision(3), 1)]);
    assert_eq!(model.images(), ["db:1", "db:1", "db:3"], "{told:?}");
    // Equal images are two revisions.
    model.know("db:3");
    model.hold(&[(Revision(3), 3)]);
    model.hold(&[(Revision(3), 2), (Revision(4), 1)]);
    let hashes: BTreeSet<_> = model.pods.iter().collect();
    assert_eq!(hashes.len(), 2, "{:?}", model.pods);
    model.hold(&[(Revision(3), 3)]);
    let hashes: BTreeSet<_> = model.pods.iter().collect();
    assert_eq!(hashes.len(), 1, "{:?}", model.pods);
}

#[test]
fn what_somebody_sets_otherwise_is_set_again_and_counted() {
    let mut model = Model::new(3);
    model.know("db:2");
    model.hold(&[(R1, 2), (R2, 1)]);
    model.set["spec"]["updateStrategy"] = json!({"type": "OnDelete"});
    model.touch();
    model.control();
    let told = model.hold(&[(R1, 2), (R2, 1)]);
    assert!(
        told.iter()
            .any(|it| it.contains("[\"spec.updateStrategy\"]")),
        "{told:?}"
    );
    assert_eq!(model.images(), ["db:1", "db:1", "db:2"]);
    assert_eq!(model.desired(&[(R1, 2), (R2, 1)]), Vec::new());
    // With no partition its controller takes the candidate for what is current: it becomes so.
    model.set["spec"]["updateStrategy"] = json!({"type": "RollingUpdate"});
    model.touch();
    model.control();
    assert_eq!(model.images(), ["db:2"; 3]);
    model.hold(&[(R1, 2), (R2, 1)]);
    assert_eq!(model.images(), ["db:2", "db:1", "db:1"]);
    model.hold(&[(R1, 3)]);
    assert_eq!(model.images(), ["db:1"; 3]);
}

#[test]
fn everything_is_stopped_and_started_as_the_new_one() {
    let mut model = Model::new(2);
    model.know("db:2");
    model.hold(&[]);
    assert_eq!(model.pods, Vec::new());
    model.hold(&[(R2, 2)]);
    assert_eq!(model.images(), ["db:2"; 2]);
    assert_eq!(model.set["metadata"]["annotations"][EPOCH], "1");
}
