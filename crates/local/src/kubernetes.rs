//! A real Kubernetes control plane, on loopback: etcd, the API server, the
//! controllers, the scheduler, and nodes that are only said to be there (KWOK).
//!
//! ```text
//!   scripts/kubernetes builds one binary          binary      where it is
//!        │                                        components  its programs' command lines
//!        ├─ etcd ── API server ──> audit log      audit       who asked for what
//!        │             │  ^                       users       tokens and kubeconfigs
//!        │             │  ├─ controller manager
//!        │             │  ├─ scheduler
//!        │             │  └─ KWOK                 stages.yaml how pods become ready, or do not
//!        └─ kubectl ───┘                          kubectl, api
//!                                                 recording   every state that objects were in
//!                                                 faults      a proxy that makes its bad days
//!                                                 gateway     a stub that answers as a Gateway's controller
//! ```
//!
//! It takes about 4 s and 1 GB to start one, so that tests share it and have a
//! namespace each. What breaks it for all (`&mut self`) only its single owner can
//! do. Pods do not run anything: they have addresses and conditions.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use crate::part::{Part, Signal};
use crate::{ports, wait};

mod api;
mod audit;
mod binary;
mod components;
pub mod faults;
pub mod gateway;
mod kubectl;
mod nodes;
mod options;
mod recording;
mod users;

pub use api::{Api, ApiError, Patch};
pub use audit::{AuditLog, Entry};
pub use binary::{Binary, Missing, VARIABLE};
use components::Place;
pub use kubectl::Output;
pub use options::{CONTROLLERS, Component, Options};
pub use recording::{Recorded, Recording};
use users::Users;
pub use users::{ADMIN, SLUICE, User};

/// How long the API server may take to be ready. It takes 3 s alone on a
/// machine; other builds and tests make it several times that.
const READY_WITHIN: Duration = Duration::from_secs(90);
/// How long the controllers may take to serve a new namespace.
const NAMESPACE_WITHIN: Duration = Duration::from_secs(30);

/// A running control plane. Dropping it kills it; its data are of no further use.
#[derive(Debug)]
pub struct ControlPlane {
    // Dropped in this order: whoever loses its server last has least to log.
    clients: Vec<Part>,
    api_server: Part,
    etcd: Part,
    binary: Binary,
    place: Place,
    users: Users,
    /// Whether namespaces get the account that pods are admitted with.
    accounts: bool,
    namespaces: AtomicU32,
}

impl ControlPlane {
    /// Starts it in `directory`, which must be empty or missing. Returns when it
    /// serves, its nodes are ready and what was asked for is installed.
    ///
    /// # Errors
    /// When it was not built ([`Missing`]), or a program of it ends or is not
    /// ready in time, with the end of that program's log.
    pub async fn start(directory: &Path, options: Options) -> anyhow::Result<Self> {
        let binary = match &options.binary {
            Some(binary) => binary.clone(),
            None => Binary::find()?,
        };
        let place = place(directory, options.address)?;
        let users = Users::write(&place.directory, &options.users)?;
        let spec = |component| place.spec(component, &binary, &users, &options);
        let etcd = Part::start(spec(Component::Etcd)).await?;
        let api_server = Part::start(spec(Component::ApiServer)).await?;
        let mut plane = Self {
            clients: Vec::new(),
            api_server,
            etcd,
            binary,
            place,
            users,
            accounts: options.runs("serviceaccount-controller"),
            namespaces: AtomicU32::new(0),
        };
        plane.serve().await?;
        plane
            .users
            .write_kubeconfigs(&plane.place.url(), &plane.place.authority())?;
        for component in options.clients() {
            let spec = plane
                .place
                .spec(component, &plane.binary, &plane.users, &options);
            plane.clients.push(Part::start(spec).await?);
        }
        plane.make_nodes(options.nodes).await?;
        if options.gateway_api {
            plane.install_gateway_api().await?;
        }
        plane.nodes_are_ready(options.nodes).await?;
        Ok(plane)
    }

    /// The API server's base URL.
    pub fn url(&self) -> String {
        self.place.url()
    }

    /// The file with the certificate that the API server is known by.
    pub fn authority(&self) -> PathBuf {
        self.place.authority()
    }

    /// The port of etcd's own API, on 127.0.0.1 and without a password.
    pub fn etcd_port(&self) -> u16 {
        self.place.etcd_port
    }

    /// The binary that runs it.
    pub fn binary(&self) -> &Binary {
        &self.binary
    }

    /// The log file of one of its programs.
    pub fn log_path(&self, component: Component) -> PathBuf {
        self.place
            .directory
            .join(format!("{}.log", component.name()))
    }

    /// A user's token.
    ///
    /// # Errors
    /// When there is no such user.
    pub fn token(&self, user: &str) -> anyhow::Result<&str> {
        self.users.token(user)
    }

    /// The kubeconfig file of a user.
    ///
    /// # Errors
    /// When there is no such user.
    pub fn kubeconfig(&self, user: &str) -> anyhow::Result<PathBuf> {
        self.users.token(user)?;
        Ok(self.users.kubeconfig_path(user))
    }

    /// A client for `user` that calls itself `agent`.
    ///
    /// # Errors
    /// When there is no such user.
    pub fn api(&self, user: &str, agent: &str) -> anyhow::Result<Api> {
        self.client(user, agent, Some(api::ANSWER_WITHIN))
    }

    /// Runs kubectl as the administrator and returns what it prints.
    ///
    /// # Errors
    /// When it fails, with what it says.
    pub async fn kubectl(&self, arguments: &[&str], stdin: &str) -> anyhow::Result<String> {
        self.kubectl_as(ADMIN, arguments, stdin)
            .await?
            .success()
            .with_context(|| format!("kubectl {}", arguments.join(" ")))
    }

    /// Runs kubectl as a user. A command that fails is no error here.
    ///
    /// # Errors
    /// When there is no such user, or it does not end.
    pub async fn kubectl_as(
        &self,
        user: &str,
        arguments: &[&str],
        stdin: &str,
    ) -> anyhow::Result<Output> {
        let kubeconfig = self.kubeconfig(user)?;
        kubectl::run(
            &self.binary,
            &kubeconfig,
            &self.place.directory,
            arguments,
            stdin,
        )
        .await
    }

    /// Applies objects (YAML or JSON) on the server's side, as the administrator.
    ///
    /// # Errors
    /// When the server refuses one of them.
    pub async fn apply(&self, objects: &str) -> anyhow::Result<()> {
        let arguments = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        self.kubectl(&arguments, objects).await?;
        Ok(())
    }

    /// Makes a namespace with a name of its own that begins with `prefix`, and
    /// returns the name. It is never deleted: that takes longer than a test.
    ///
    /// # Errors
    /// When the server refuses it, or no controller serves it.
    pub async fn namespace(&self, prefix: &str) -> anyhow::Result<String> {
        let number = self.namespaces.fetch_add(1, Ordering::Relaxed);
        let name = format!("{prefix}-{number}");
        let api = self.admin()?;
        let namespace = json!({"metadata": {"name": name}});
        api.create("/api/v1/namespaces", &namespace).await?;
        if !self.accounts {
            return Ok(name);
        }
        // Without its account, the first pods would be refused and come late.
        let account = format!("/api/v1/namespaces/{name}/serviceaccounts/default");
        wait::until(NAMESPACE_WITHIN, "the account of a namespace", || {
            api.get(&account)
        })
        .await?;
        Ok(name)
    }

    /// Lets a user do this in one namespace. `rules` are a Role's, e.g.
    /// `[{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]}]`.
    ///
    /// # Errors
    /// When the server refuses it.
    pub async fn allow(&self, user: &str, namespace: &str, rules: &Value) -> anyhow::Result<()> {
        let name = user.replace(':', "-");
        let path = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}");
        let api = self.admin()?;
        let role = json!({"metadata": {"name": name}, "rules": rules});
        api.create(&format!("{path}/roles"), &role).await?;
        let binding = json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        });
        api.create(&format!("{path}/rolebindings"), &binding)
            .await?;
        Ok(())
    }

    /// A reader of every request so far and to come.
    pub fn audit_log(&self) -> AuditLog {
        AuditLog::new(&self.place.audit_log())
    }

    /// Kills the API server, as a crash would.
    ///
    /// # Errors
    /// When the process cannot be waited for.
    pub fn kill_api_server(&mut self) -> anyhow::Result<()> {
        self.api_server.kill9()?;
        Ok(())
    }

    /// Starts the API server again on its port, killing it first if it runs.
    /// Returns when it serves; the others come back by themselves.
    ///
    /// # Errors
    /// As [`ControlPlane::start`].
    pub async fn restart_api_server(&mut self) -> anyhow::Result<()> {
        self.api_server.start_again().await?;
        self.serve().await
    }

    /// Freezes the API server: connections stay open, nothing is answered.
    pub fn freeze_api_server(&mut self) {
        self.api_server.signal(Signal::STOP);
    }

    /// Lets a frozen API server go on.
    pub fn thaw_api_server(&mut self) {
        self.api_server.signal(Signal::CONT);
    }

    /// Installs the Gateway API's custom resources: GatewayClass, Gateway,
    /// HTTPRoute, GRPCRoute and ReferenceGrant.
    ///
    /// # Errors
    /// When they are not beside the binary, or the server refuses them.
    pub async fn install_gateway_api(&self) -> anyhow::Result<()> {
        let directory = self.binary.gateway_api();
        let files = directory.display().to_string();
        let apply = ["apply", "--server-side", "-f", files.as_str()];
        self.kubectl(&apply, "").await?;
        let established = [
            "wait",
            "--for=condition=Established",
            "--timeout=60s",
            "-f",
            &files,
        ];
        self.kubectl(&established, "").await?;
        Ok(())
    }

    /// A client without a limit of time is for watches.
    fn client(&self, user: &str, agent: &str, timeout: Option<Duration>) -> anyhow::Result<Api> {
        let token = self.users.token(user)?;
        Api::new(
            &self.place.url(),
            &self.place.authority(),
            token,
            agent,
            timeout,
        )
    }

    fn admin(&self) -> anyhow::Result<Api> {
        self.api(ADMIN, "local")
    }

    /// Waits until the API server is ready.
    async fn serve(&mut self) -> anyhow::Result<()> {
        let Self {
            api_server,
            etcd,
            place,
            users,
            ..
        } = self;
        let token = users.token(ADMIN)?;
        let ready = wait::until(READY_WITHIN, "the API server to be ready", || {
            let ended = etcd.check().and_then(|()| api_server.check()).err();
            let api = Api::new(
                &place.url(),
                &place.authority(),
                token,
                "local",
                Some(api::ANSWER_WITHIN),
            );
            async move {
                if let Some(ended) = ended {
                    return Ok(Err(ended));
                }
                // Its certificate is not there yet when it first starts.
                let api = api.map_err(|error| format!("{error:#}"))?;
                let answer = api.open("/readyz").await;
                answer.map(|_| Ok(())).map_err(|error| format!("{error:#}"))
            }
        });
        Ok(ready.await??)
    }
}

fn place(directory: &Path, address: IpAddr) -> anyhow::Result<Place> {
    std::fs::create_dir_all(directory)
        .with_context(|| format!("make directory {}", directory.display()))?;
    let directory = directory
        .canonicalize()
        .with_context(|| format!("find directory {}", directory.display()))?;
    let ports = ports::free_ports(3).context("find free ports for Kubernetes")?;
    let [port, etcd_port, etcd_peer_port] = ports
        .try_into()
        .map_err(|ports| anyhow::anyhow!("find three free ports: got {ports:?}"))?;
    let place = Place {
        directory,
        address,
        port,
        etcd_port,
        etcd_peer_port,
    };
    place.write().context("write the files of Kubernetes")?;
    Ok(place)
}
