//! The programs of a control plane and their command lines.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::binary::Binary;
use super::users::{ADMIN, CONTROLLER_MANAGER, SCHEDULER, Users};
use super::{Component, Options};
use crate::part::Spec;

/// What KWOK makes of nodes and pods.
const STAGES: &str = include_str!("stages.yaml");

/// Every request, once, when it is answered; a watch also when it begins.
const AUDIT_POLICY: &str = r#"{"apiVersion": "audit.k8s.io/v1", "kind": "Policy",
  "omitStages": ["RequestReceived"], "rules": [{"level": "Metadata"}]}"#;

/// Where one control plane is: its directory and its ports.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) directory: PathBuf,
    pub(super) address: IpAddr,
    pub(super) port: u16,
    pub(super) etcd_port: u16,
    pub(super) etcd_peer_port: u16,
}

impl Place {
    /// Writes the files that the programs read.
    pub(super) fn write(&self) -> std::io::Result<()> {
        std::fs::write(self.stages(), STAGES)?;
        std::fs::write(self.audit_policy(), AUDIT_POLICY)
    }

    /// The API server's base URL.
    pub(super) fn url(&self) -> String {
        format!(
            "https://{}",
            std::net::SocketAddr::new(self.address, self.port)
        )
    }

    /// The certificate that the API server makes for itself when it first starts.
    pub(super) fn authority(&self) -> PathBuf {
        self.directory.join("certificates/apiserver.crt")
    }

    pub(super) fn audit_log(&self) -> PathBuf {
        self.directory.join("audit.log")
    }

    fn audit_policy(&self) -> PathBuf {
        self.directory.join("audit-policy.json")
    }

    fn stages(&self) -> PathBuf {
        self.directory.join("stages.yaml")
    }

    fn etcd_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.etcd_port)
    }

    /// The key beside the certificate. It signs the tokens of service accounts
    /// too, which spares us to make one.
    fn key(&self) -> PathBuf {
        self.directory.join("certificates/apiserver.key")
    }

    fn arguments(&self, component: Component, users: &Users, options: &Options) -> Vec<String> {
        match component {
            Component::Etcd => self.etcd(),
            Component::ApiServer => self.api_server(users, options),
            Component::ControllerManager => vec![
                kubeconfig(users, CONTROLLER_MANAGER),
                // Without it the controllers have the manager's own few rights.
                "--use-service-account-credentials".to_owned(),
                "--leader-elect=false".to_owned(),
                "--secure-port=0".to_owned(),
                flag("service-account-private-key-file", &self.key()),
                "--horizontal-pod-autoscaler-sync-period=2s".to_owned(),
                format!("--controllers={}", options.controllers.join(",")),
            ],
            Component::Scheduler => vec![
                kubeconfig(users, SCHEDULER),
                "--leader-elect=false".to_owned(),
                "--secure-port=0".to_owned(),
            ],
            Component::Kwok => vec![
                kubeconfig(users, ADMIN),
                flag("config", &self.stages()),
                "--manage-all-nodes".to_owned(),
                "--cidr=10.244.0.0/16".to_owned(),
                "--node-ip=127.0.0.1".to_owned(),
                "--node-lease-duration-seconds=40".to_owned(),
            ],
        }
    }

    fn etcd(&self) -> Vec<String> {
        let (client, peer) = (
            self.etcd_url(),
            format!("http://127.0.0.1:{}", self.etcd_peer_port),
        );
        vec![
            flag("data-dir", &self.directory.join("etcd")),
            // The data live as long as the test.
            "--unsafe-no-fsync".to_owned(),
            "--log-level=warn".to_owned(),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
        ]
    }

    fn api_server(&self, users: &Users, options: &Options) -> Vec<String> {
        let mut arguments = vec![
            format!("--etcd-servers={}", self.etcd_url()),
            format!("--bind-address={}", self.address),
            // Without a default route it would find no address to advertise.
            format!("--advertise-address={}", self.address),
            format!("--secure-port={}", self.port),
            flag("cert-dir", &self.directory.join("certificates")),
            format!("--service-cluster-ip-range={}", options.service_range),
            // The Service `kubernetes` may not have a loopback address behind it.
            "--endpoint-reconciler-type=none".to_owned(),
            "--authorization-mode=RBAC".to_owned(),
            flag("token-auth-file", &users.tokens_path()),
            "--service-account-issuer=https://sluice.test".to_owned(),
            flag("service-account-signing-key-file", &self.key()),
            flag("service-account-key-file", &self.key()),
            flag("audit-policy-file", &self.audit_policy()),
            flag("audit-log-path", &self.audit_log()),
            // Megabytes; a log that is renamed away could not be read to its end.
            "--audit-log-maxsize=100000".to_owned(),
        ];
        if !options.runs("node-lifecycle-controller") {
            // Nobody would take the taint off again.
            arguments.push("--disable-admission-plugins=TaintNodesByCondition".to_owned());
        }
        arguments
    }

    /// What to run for a component.
    pub(super) fn spec(
        &self,
        component: Component,
        binary: &Binary,
        users: &Users,
        options: &Options,
    ) -> Spec {
        let program = match component {
            Component::Kwok => binary.kwok(),
            Component::Etcd
            | Component::ApiServer
            | Component::ControllerManager
            | Component::Scheduler => binary.path().to_owned(),
        };
        let name = component.name();
        let more = options
            .flags
            .iter()
            .filter(|(of, _)| *of == component)
            .map(|(_, flag)| flag.clone());
        Spec::new(name, program, self.directory.join(format!("{name}.log")))
            .arguments([name])
            .arguments(self.arguments(component, users, options))
            .arguments(more)
            // Whatever proxy the environment names is not for these parts.
            .environment("NO_PROXY", "*")
    }
}

fn kubeconfig(users: &Users, name: &str) -> String {
    flag("kubeconfig", &users.kubeconfig_path(name))
}

fn flag(name: &str, path: &Path) -> String {
    format!("--{name}={}", path.display())
}
