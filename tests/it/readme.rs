//! The README's tour, run as written: every command of it, in its order, against real parts. What
//! it shows must be what is printed, but for numbers, times and what the README leaves out.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use e2e::{
    binary,
    instances::{MARK, kill_all},
    tour::{Tour, tour},
};
use local::{
    haproxy::{Config, HaProxy, Server},
    part::{Part, Spec},
    ports, wait,
};

/// The first step of the tour's canary that waits for a person takes seconds to reach.
const HELD_WITHIN: Duration = Duration::from_secs(30);

/// `sluice up`, stopped at the end; the shop's instances with it.
async fn up(directory: &Path, port: u16) -> anyhow::Result<Part> {
    let spec = Spec::new("sluice up", binary::sluice()?, directory.join("up.log"))
        .arguments(["up"])
        .environment("SLUICE_DATA", directory.join("data"))
        .environment("PORT", port.to_string());
    let part = Part::start(spec).await?;
    let token = directory.join("data/admin-token");
    wait::until_now(Duration::from_secs(30), "sluice up to be ready", || {
        let listening = std::net::TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port)));
        match token.exists() && listening.is_ok() {
            true => Ok(()),
            false => Err("not yet".to_owned()),
        }
    })
    .await?;
    Ok(part)
}

/// What marks the instances of this run.
fn mark(directory: &Path) -> String {
    directory
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// The shop's files, with this run's paths and ports in them.
fn copy_deploy(directory: &Path, haproxy: &HaProxy, first_port: u16) -> anyhow::Result<()> {
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy/shop");
    let target = directory.join("deploy/shop");
    fs::create_dir_all(&target)?;
    let sluice = binary::sluice()?;
    for name in ["app.yaml", "shop-v1", "shop-v2"] {
        let text = fs::read_to_string(source.join(name))?
            .replace(
                "/run/haproxy/sluice.sock",
                &haproxy.socket().display().to_string(),
            )
            .replace(
                "/etc/haproxy/haproxy.cfg",
                &haproxy.config_path().display().to_string(),
            )
            .replace(
                "from: 9101, to: 9199",
                &format!("from: {first_port}, to: {}", first_port + 40),
            )
            .replace(
                "replicas: 3",
                &format!("replicas: 3\n    env: {{ {MARK}: {} }}", mark(directory)),
            )
            .replace("exec sluice", &format!("exec {}", sluice.display()));
        fs::write(target.join(name), text)?;
        fs::set_permissions(target.join(name), fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tour_of_the_readme_is_what_happens() -> anyhow::Result<()> {
    e2e::world::http()?;
    let directory = tempfile::Builder::new()
        .prefix("sluice-e2e-readme-")
        .tempdir()?;
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711))?;
    let first_port = ports::free_port()?;
    let server = |n: u16| Server {
        name: format!("r1-{}", n + 1),
        address: SocketAddr::from(([127, 0, 0, 1], first_port + n)),
        weight: 100,
    };
    let config = Config {
        servers: (0..3).map(server).collect(),
        ..Config::default()
    };
    let haproxy = HaProxy::start(&directory.path().join("haproxy"), config).await?;
    copy_deploy(directory.path(), &haproxy, first_port)?;
    let port = ports::free_port()?;
    let mut running = up(directory.path(), port).await?;
    let told = tell(directory.path(), port).await;
    running.stop(Duration::from_secs(20)).await?;
    kill_all(&mark(directory.path()));
    told
}

async fn tell(directory: &Path, port: u16) -> anyhow::Result<()> {
    let data = directory.join("data").display().to_string();
    let server = format!("http://127.0.0.1:{port}");
    let environment = [
        ("SLUICE_DATA", data.as_str()),
        ("SLUICE_SERVER", server.as_str()),
    ];
    for shown in tour(Tour::Processes) {
        let arguments = shown.arguments("sluice")?;
        if arguments.first().is_some_and(|it| it == "status") {
            held(&environment).await?;
        }
        let files = format!("{}/deploy/", directory.display());
        let arguments: Vec<String> = arguments
            .iter()
            .map(|it| it.replace("deploy/", &files))
            .collect();
        let ran = binary::run(&arguments, &environment, "").await?.expect(0)?;
        shown.check(&ran.stdout)?;
    }
    Ok(())
}

/// Waits until the tour's rollout waits for a person.
async fn held(environment: &[(&str, &str)]) -> anyhow::Result<()> {
    wait::until(HELD_WITHIN, "the rollout to wait for a person", || async {
        let ran = binary::run(&["status", "shop"], environment, "").await;
        match ran {
            Ok(ran) if ran.stdout.contains("waits for somebody to promote it") => Ok(()),
            Ok(ran) => Err(ran.stdout),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
    .map_err(Into::into)
}
