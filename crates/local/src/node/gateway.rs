//! A real Gateway: Contour turns Gateway API objects into configuration, Envoy serves it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::{ADDRESS, condition, write};
use crate::kubernetes::{ADMIN, Api, ApiError, ControlPlane};
use crate::part::{Part, Spec};
use crate::prometheus::Targets;
use crate::{ports, wait};

/// The name of the Gateway, for the `parentRefs` of routes.
pub const NAME: &str = "gateway";
/// Its namespace.
pub const NAMESPACE: &str = "default";
/// Where users go: Contour has Envoy serve port 80 on 8080. The `Host` header says which route they
/// get.
pub const URL: &str = "http://10.88.1.1:8080";
/// Where Contour has Envoy answer with its numbers.
const METRICS: &str = "127.0.0.1:8002";
/// How long it may take until the Gateway is programmed; one to two seconds on an idle machine.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// What `scripts/gateway` has made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    directory: PathBuf,
}

/// The Gateway was not built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "find the Gateway: {} is not there; build it with `scripts/gateway` (once; several minutes)",
    path.display()
)]
pub struct Missing {
    /// Where it was looked for.
    pub path: PathBuf,
}

impl Files {
    /// What the script made last, in the user's cache directory.
    ///
    /// # Errors
    /// [`Missing`], with what builds it.
    pub fn find() -> Result<Self, Missing> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let cache = variable("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".cache")));
        Self::at(&cache.unwrap_or_default().join("sluice/gateway/current"))
    }

    fn at(path: &Path) -> Result<Self, Missing> {
        // The link may point elsewhere later: what is running stays what it is.
        path.canonicalize()
            .ok()
            .filter(|directory| directory.join("envoy").is_file())
            .map(|directory| Self { directory })
            .ok_or_else(|| Missing {
                path: path.to_owned(),
            })
    }
}

/// Envoy's numbers, for Prometheus: one series a Service, named `<namespace>_<service>_<port>`.
pub fn metrics() -> Targets {
    let path = ("__metrics_path__", "/stats/prometheus");
    Targets {
        targets: vec![METRICS.to_owned()],
        labels: [path]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
    }
}

/// A running Gateway, named `default/gateway`.
#[derive(Debug)]
pub struct Gateway {
    // Dropped in this order: users leave before the configuration goes.
    envoy: Part,
    contour: Part,
}

impl Gateway {
    /// Installs the custom resources, starts Contour and Envoy and waits until the Gateway is
    /// programmed.
    ///
    /// # Errors
    /// When a part does not start or the Gateway is not programmed in time.
    pub async fn start(place: &Path, plane: &ControlPlane, files: &Files) -> anyhow::Result<Self> {
        std::fs::create_dir_all(place)
            .with_context(|| format!("create directory {}", place.display()))?;
        let resources = files.directory.join("custom-resources");
        let resources = resources.display().to_string();
        // They are too large for a client-side apply.
        let apply = ["apply", "--server-side", "--filename", &resources];
        plane.kubectl(&apply, "").await?;
        let api = plane.api(ADMIN, "local")?;
        wait::until(
            READY_WITHIN,
            "the custom resources to be served",
            || async {
                match unserved(&api).await.map_err(|error| error.to_string())? {
                    None => Ok(()),
                    Some(kind) => Err(format!("{kind} is not")),
                }
            },
        )
        .await?;
        objects(&api).await?;
        let kubeconfig = plane.kubeconfig(ADMIN)?;
        let program = files.directory.join("contour");
        let ports = ports::free_ports(3)?;
        let [xds, health, http] = ports.as_slice() else {
            anyhow::bail!("start Contour: no ports");
        };
        let configuration = place.join("contour.json");
        let gateway =
            json!({ "gateway": { "gatewayRef": { "namespace": NAMESPACE, "name": NAME } } });
        write(&configuration, &gateway.to_string())?;
        let spec = Spec::new("contour", program.clone(), place.join("contour.log"))
            .arguments(serve(&kubeconfig, &configuration, *xds, *health, *http))
            .environment("NO_PROXY", "*");
        let contour = Part::start(spec).await?;
        let configuration = place.join("envoy.json");
        bootstrap(&program, &configuration, place, *xds).await?;
        let spec = Spec::new(
            "envoy",
            files.directory.join("envoy"),
            place.join("envoy.log"),
        )
        .arguments(["--config-path".as_ref(), configuration.as_os_str()])
        .arguments([
            "--service-cluster",
            NAMESPACE,
            "--service-node",
            super::NAME,
        ])
        // Memory shared between restarts would have a name that other runs have too.
        .arguments(["--concurrency", "1", "--disable-hot-restart"]);
        let envoy = Part::start(spec).await?;
        let mut gateway = Self { envoy, contour };
        gateway.becomes_programmed(&api).await?;
        Ok(gateway)
    }

    async fn becomes_programmed(&mut self, api: &Api) -> anyhow::Result<()> {
        let path =
            format!("/apis/gateway.networking.k8s.io/v1/namespaces/{NAMESPACE}/gateways/{NAME}");
        let ready = wait::until(READY_WITHIN, "the Gateway to be programmed", || {
            let ended = self.contour.check().and_then(|()| self.envoy.check()).err();
            let path = &path;
            async move {
                if let Some(ended) = ended {
                    return Ok(Err(ended.into()));
                }
                let gateway = api.get(path).await.map_err(|error| error.to_string())?;
                match condition(&gateway, "Programmed") {
                    Some("True") => Ok(Ok(())),
                    other => Err(format!("Programmed: {other:?}")),
                }
            }
        });
        ready.await?
    }
}

/// The first kind of custom resource that the server does not serve yet: it does some time after it
/// has taken the definition, and Contour gives up when it misses one.
async fn unserved(api: &Api) -> Result<Option<String>, ApiError> {
    let list = |of: &Value, at: &str| {
        let found = of.pointer(at).and_then(Value::as_array);
        found.cloned().unwrap_or_default()
    };
    let text = |of: &Value, at: &str| {
        let found = of.pointer(at).and_then(Value::as_str);
        found.unwrap_or_default().to_owned()
    };
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    for definition in list(&api.get(definitions).await?, "/items") {
        let group = text(&definition, "/spec/group");
        let plural = text(&definition, "/spec/names/plural");
        let versions = list(&definition, "/spec/versions");
        for version in versions
            .iter()
            .filter(|it| it.get("served") == Some(&Value::Bool(true)))
        {
            let path = format!("/apis/{group}/{}", text(version, "/name"));
            let served = match api.get(&path).await {
                Ok(served) => list(&served, "/resources"),
                Err(error) if error.status() == Some(404) => Vec::new(),
                Err(error) => return Err(error),
            };
            if !served.iter().any(|it| text(it, "/name") == plural) {
                return Ok(Some(format!("{plural} at {path}")));
            }
        }
    }
    Ok(None)
}

/// The class and the Gateway: one listener for every host, for routes of all namespaces.
async fn objects(api: &Api) -> anyhow::Result<()> {
    let group = "/apis/gateway.networking.k8s.io/v1";
    let class = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "GatewayClass",
        "metadata": { "name": "contour" },
        "spec": { "controllerName": "projectcontour.io/gateway-controller" },
    });
    let gateway = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": { "name": NAME, "namespace": NAMESPACE },
        "spec": {
            "gatewayClassName": "contour",
            "listeners": [{
                "name": "http",
                "port": 80,
                "protocol": "HTTP",
                "allowedRoutes": { "namespaces": { "from": "All" } },
            }],
        },
    });
    let paths = [
        (format!("{group}/gatewayclasses"), class),
        (format!("{group}/namespaces/{NAMESPACE}/gateways"), gateway),
    ];
    for (path, object) in paths {
        // A new kind of object is served a moment after its definition was taken.
        wait::until(
            READY_WITHIN,
            &format!("{path} to take an object"),
            || async {
                match api.create(&path, &object).await {
                    Ok(_) => Ok(Ok(())),
                    Err(error) if error.status() == Some(404) => Err(error.to_string()),
                    Err(error) => Ok(Err(error)),
                }
            },
        )
        .await??;
    }
    Ok(())
}

fn serve(kubeconfig: &Path, configuration: &Path, xds: u16, health: u16, http: u16) -> Vec<String> {
    vec![
        "serve".to_owned(),
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--config-path={}", configuration.display()),
        "--insecure".to_owned(),
        "--disable-leader-election".to_owned(),
        "--xds-address=127.0.0.1".to_owned(),
        format!("--xds-port={xds}"),
        "--health-address=127.0.0.1".to_owned(),
        format!("--health-port={health}"),
        "--http-address=127.0.0.1".to_owned(),
        format!("--http-port={http}"),
        "--debug-http-address=127.0.0.1".to_owned(),
        "--stats-address=127.0.0.1".to_owned(),
        format!("--envoy-service-http-address={ADDRESS}"),
        format!("--envoy-service-https-address={ADDRESS}"),
    ]
}

/// Writes Envoy's configuration, which says where Contour is.
async fn bootstrap(program: &Path, to: &Path, place: &Path, xds: u16) -> anyhow::Result<()> {
    let ran = tokio::process::Command::new(program)
        .arg("bootstrap")
        .arg(to)
        .args(["--xds-address=127.0.0.1", "--xds-resource-version=v3"])
        .args([
            format!("--xds-port={xds}"),
            format!("--admin-address={}", place.join("envoy.sock").display()),
            format!("--namespace={NAMESPACE}"),
        ])
        .kill_on_drop(true)
        .output()
        .await
        .context("run contour bootstrap")?;
    ensure!(
        ran.status.success(),
        "write Envoy's configuration: {}",
        String::from_utf8_lossy(&ran.stderr)
    );
    Ok(())
}
