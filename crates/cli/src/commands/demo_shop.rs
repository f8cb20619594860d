//! `sluice demo-shop`: the demo's sample service, as instances that the `process` workload starts.
//! Not shown in the help; its port comes in `PORT`.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use local::shop::{self, Options};

use crate::{duration, exit::Exit};

/// Its arguments: what it is and how it misbehaves.
#[derive(Debug, Args)]
pub(crate) struct DemoShopArgs {
    /// The address to listen on
    #[arg(long, default_value_t = Ipv4Addr::LOCALHOST.into())]
    address: IpAddr,
    /// The port there
    #[arg(long, env = "PORT", hide_env_values = true)]
    port: u16,
    /// The app's name, a label of its metrics
    #[arg(long, default_value = "shop")]
    app: String,
    /// Its version
    #[arg(long, default_value = "v1")]
    version: String,
    /// The share of requests answered with 500, 0 to 1
    #[arg(long, default_value_t = 0.0)]
    error_ratio: f64,
    /// Fail by chance instead of in turn.
    #[arg(long)]
    random_errors: bool,
    /// Answer every request with 500 while this file exists.
    #[arg(long, value_name = "PATH")]
    fail_while: Option<PathBuf>,
    /// How long each request takes
    #[arg(long, default_value = "0s", value_parser = duration::parse_or_zero)]
    latency: Duration,
    /// How long after its start it is not ready
    #[arg(long, default_value = "0s", value_parser = duration::parse_or_zero)]
    startup_delay: Duration,
    /// Never become ready
    #[arg(long)]
    never_ready: bool,
    /// Answer every request with 500 after this time
    #[arg(long, value_parser = duration::parse_or_zero)]
    fail_after: Option<Duration>,
    /// End with an error after this time
    #[arg(long, value_parser = duration::parse_or_zero)]
    die_after: Option<Duration>,
    /// How long to go on serving after SIGTERM
    #[arg(long, default_value = "2s", value_parser = duration::parse_or_zero)]
    grace: Duration,
}

/// Serves until it is told to stop.
pub(crate) async fn run(args: DemoShopArgs) -> anyhow::Result<Exit> {
    let options = Options {
        address: args.address,
        port: args.port,
        app: args.app,
        version: args.version,
        error_ratio: args.error_ratio,
        random_errors: args.random_errors,
        fail_while: args.fail_while,
        latency: args.latency,
        startup_delay: args.startup_delay,
        never_ready: args.never_ready,
        fail_after: args.fail_after,
        die_after: args.die_after,
        grace: args.grace,
    };
    shop::serve(options).await?;
    Ok(Exit::Succeeded)
}
