//! The README's tour of a Deployment, run as written: every command of it, in its order.

use std::time::Duration;

use anyhow::Context as _;
use e2e::{Cluster, binary, database::Database, server::Server, tour};
use local::{
    kubernetes::{
        ADMIN,
        gateway::{Behaviour, GatewayStub},
    },
    wait,
};

/// What the tour's user has.
const SHOP: &str = include_str!("adopt/shop.yaml");
/// How long the tour's canary takes from one thing that it shows to the next.
const REACHED_WITHIN: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tour_of_a_deployment_is_what_happens() -> anyhow::Result<()> {
    e2e::world::http()?;
    let cluster = Cluster::shared().await?;
    let namespace = cluster.namespace("readme").await?;
    let apply = ["apply", "-n", &namespace, "-f", "-"];
    cluster.kubectl(&apply, SHOP).await?;
    let status = ["rollout", "status", "deployment/checkout", "-n", &namespace];
    cluster.kubectl(&status, "").await?;
    let _gateway = GatewayStub::start(&cluster, &namespace, Behaviour::accept())?;
    let directory = tempfile::tempdir()?;
    let database = Database::shared().await?;
    let kubeconfig = cluster.kubeconfig(ADMIN)?;
    let kubeconfig = kubeconfig.to_str().context("a path that is not UTF-8")?;
    let environment = [("KUBECONFIG".to_owned(), kubeconfig.to_owned())];
    let server = Server::start_with(directory.path(), database.url(), &environment).await?;
    let token = e2e::world::first_token(database.url()).await?;
    let url = server.url();
    let environment = [
        ("KUBECONFIG", kubeconfig),
        ("SLUICE_SERVER", url.as_str()),
        ("SLUICE_TOKEN", token.as_str()),
    ];
    let told = tell(&cluster, &namespace, &environment).await;
    told.map_err(|error| anyhow::anyhow!("{error:#}\n{}", server.log_tail(40)))
}

async fn tell(
    cluster: &Cluster,
    namespace: &str,
    environment: &[(&str, &str)],
) -> anyhow::Result<()> {
    for shown in tour::tour(tour::Tour::Deployment) {
        let own = |it: &String| match it.as_str() {
            "shop" => namespace.to_owned(),
            _ => it.clone(),
        };
        let printed = match shown.program() {
            "kubectl" => {
                shows(environment, "succeeded").await?;
                let arguments: Vec<String> = shown.arguments("kubectl")?.iter().map(own).collect();
                let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
                cluster.kubectl(&arguments, "").await?
            }
            _ => {
                let arguments: Vec<String> = shown.arguments("sluice")?.iter().map(own).collect();
                match arguments.first().map(String::as_str) {
                    Some("status") => shows(environment, "step       pause 5m (3/13)").await?,
                    Some("release") => shows(environment, "succeeded").await?,
                    Some(_) | None => {}
                }
                binary::run(&arguments, environment, "")
                    .await?
                    .expect(0)?
                    .stdout
            }
        };
        shown.check(&printed.replace(namespace, "shop"))?;
    }
    Ok(())
}

/// Waits until `sluice status` shows this.
async fn shows(environment: &[(&str, &str)], what: &str) -> anyhow::Result<()> {
    wait::until(REACHED_WITHIN, what, || async {
        let ran = binary::run(&["status", "checkout"], environment, "").await;
        match ran {
            Ok(ran) if ran.stdout.contains(what) => Ok(()),
            Ok(ran) => Err(ran.stdout),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
    .map_err(Into::into)
}
