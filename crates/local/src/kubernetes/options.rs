//! What of a control plane runs, and how.

use std::net::{IpAddr, Ipv4Addr};

use super::binary::Binary;
use super::users::User;

/// A program of the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// The database.
    Etcd,
    /// What everybody talks to.
    ApiServer,
    /// What makes ReplicaSets of Deployments and pods of ReplicaSets.
    ControllerManager,
    /// What puts pods on nodes.
    Scheduler,
    /// What plays the nodes.
    Kwok,
}

impl Component {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Kwok => "kwok",
        }
    }
}

/// The controllers that workloads, Services and namespaces need.
pub const CONTROLLERS: [&str; 12] = [
    "deployment-controller",
    "replicaset-controller",
    "statefulset-controller",
    "daemonset-controller",
    "job-controller",
    "endpointslice-controller",
    "disruption-controller",
    "horizontal-pod-autoscaler-controller",
    "garbage-collector-controller",
    "namespace-controller",
    // Makes the account that pods are admitted with.
    "serviceaccount-controller",
    // Takes the taint off nodes that are ready.
    "node-lifecycle-controller",
];

/// How to run a control plane.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its binary; the one that [`Binary::find`] finds if `None`.
    pub binary: Option<Binary>,
    /// The address that the API server listens on.
    pub address: IpAddr,
    /// The addresses of Services.
    pub service_range: String,
    /// The controllers that run; none leaves the controller manager out.
    pub controllers: Vec<String>,
    /// Whether the scheduler runs.
    pub scheduler: bool,
    /// The nodes that KWOK plays, `fake-0`, …; none leaves KWOK out.
    pub nodes: usize,
    /// Whether the Gateway API is installed.
    pub gateway_api: bool,
    /// Users beside [`ADMIN`](super::ADMIN) and [`SLUICE`](super::SLUICE).
    pub users: Vec<User>,
    /// More flags for the programs.
    pub flags: Vec<(Component, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            binary: None,
            address: Ipv4Addr::LOCALHOST.into(),
            service_range: "10.0.0.0/16".to_owned(),
            controllers: CONTROLLERS.map(str::to_owned).to_vec(),
            scheduler: true,
            nodes: 1,
            gateway_api: false,
            users: Vec::new(),
            flags: Vec::new(),
        }
    }
}

impl Options {
    /// Whether this controller runs.
    pub(super) fn runs(&self, controller: &str) -> bool {
        self.controllers.iter().any(|name| name == controller)
    }
    /// The programs that talk to the API server.
    pub(super) fn clients(&self) -> Vec<Component> {
        let wanted = [
            (!self.controllers.is_empty(), Component::ControllerManager),
            (self.scheduler, Component::Scheduler),
            (self.nodes > 0, Component::Kwok),
        ];
        wanted
            .into_iter()
            .filter_map(|(wanted, component)| wanted.then_some(component))
            .collect()
    }
}
