//! Everything that one part measures on: a [`Backend`] and HAProxy with a backend an app.

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};

use anyhow::Context;
use local::part::{Part, Spec};
use local::{ports, programs, wait};
use serde_json::{Value, json};

use crate::backend::{AT_A_TIME, Backend, WITHIN};
pub(crate) use crate::backend::{PROJECT, names};
use crate::router::Router;
use crate::targets::Targets;

/// The parts, dropped in this order.
#[derive(Debug)]
pub(crate) struct Site {
    backend: Backend,
    /// HAProxy's own view.
    pub(crate) router: Router,
    _haproxy: Part,
    targets: Targets,
    socket: PathBuf,
}

impl Deref for Site {
    type Target = Backend;

    fn deref(&self) -> &Backend {
        &self.backend
    }
}

impl DerefMut for Site {
    fn deref_mut(&mut self) -> &mut Backend {
        &mut self.backend
    }
}

impl Site {
    /// Starts everything, with a backend each for `apps`.
    pub(crate) async fn start(apps: &[String]) -> anyhow::Result<Self> {
        let backend = Backend::start(Vec::new()).await?;
        let (haproxy, socket) = haproxy(backend.directory(), apps).await?;
        Ok(Self {
            backend,
            router: Router::new(&socket),
            _haproxy: haproxy,
            targets: Targets::start()?,
            socket,
        })
    }

    /// [`Site::start`], with a rollout of each app that is held at 50 %.
    pub(crate) async fn held(apps: &[String]) -> anyhow::Result<Self> {
        let site = Self::start(apps).await?;
        let steps = json!([{ "setWeight": 50 }, { "pause": {} }, { "setWeight": 100 }]);
        site.install(apps, &steps).await?;
        site.deploy(apps, "green", 8).await?;
        site.until_held(apps.len()).await?;
        Ok(site)
    }

    /// The `traffic` of an app, whose backend has its name.
    pub(crate) fn traffic(&self, app: &str) -> Value {
        json!({ "haproxy": { "socket": self.socket, "backend": app } })
    }

    /// An app of two pools, behind its backend, with these canary steps.
    pub(crate) fn app(&self, app: &str, steps: &Value) -> Value {
        json!({
            "app": app,
            "project": PROJECT,
            "workload": { "static": {
                "pools": { "blue": [self.targets.blue], "green": [self.targets.green] },
                "ready": { "path": "/ready" },
            }},
            "traffic": self.traffic(app),
            "strategy": { "canary": { "steps": steps } },
            "alerts": [{ "match": { "app": app, "severity": "critical" }, "do": "rollback" }],
            "progressDeadline": "2m",
            "drain": "1s",
        })
    }

    /// Installs `blue` in every app, and waits for it.
    pub(crate) async fn install(&self, apps: &[String], steps: &Value) -> anyhow::Result<()> {
        self.apply(apps, |app| self.app(app, steps)).await?;
        self.deploy(apps, "blue", AT_A_TIME).await?;
        self.until("succeeded", apps.len()).await
    }
}

async fn haproxy(place: &Path, apps: &[String]) -> anyhow::Result<(Part, PathBuf)> {
    let (socket, config) = (place.join("haproxy.sock"), place.join("haproxy.cfg"));
    let mut text = format!(
        "global\n    maxconn 500\n    stats socket {} mode 600 level admin\n\
         defaults\n    mode http\n    timeout connect 2s\n    timeout client 5s\n    \
         timeout server 5s\n    timeout check 2s\n",
        socket.display()
    );
    for app in apps {
        text.push_str(&format!(
            "backend {app}\n    balance roundrobin\n    option httpchk GET /health\n"
        ));
    }
    let port = ports::free_port()?;
    let first = apps.first().map_or("none", String::as_str);
    text.push_str(&format!(
        "frontend users\n    bind 127.0.0.1:{port}\n    default_backend {first}\n"
    ));
    std::fs::write(&config, text).context("write HAProxy's configuration")?;
    let spec = Spec::new(
        "HAProxy",
        programs::find("haproxy")?,
        place.join("haproxy.log"),
    )
    .arguments(["-db", "-f"])
    .arguments([&config]);
    let part = Part::start(spec).await?;
    let router = Router::new(&socket);
    wait::until_now(WITHIN, "HAProxy's socket", || {
        router
            .weights(&[])
            .map(drop)
            .map_err(|it| format!("{it:#}"))
    })
    .await?;
    Ok((part, socket))
}
