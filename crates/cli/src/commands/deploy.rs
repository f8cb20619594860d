//! `sluice deploy`: asks for a rollout and, if told to, waits for its end.

use std::time::Duration;

use api::{ClientError, Deploy, RolloutView};
use clap::Args;
use uuid::Uuid;

use super::Session;
use crate::{duration, exit::Exit, follow, rollout_text, target::AppName};

/// How often an unanswered request is repeated: its key makes that safe.
const ATTEMPTS: u32 = 3;

/// Its arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Without --wait it returns as soon as the rollout is accepted. With --wait the exit code says how
it ended: 0 stable, 3 rolled back or cancelled, 4 timed out, 5 a person is needed. On a terminal
it waits for that person; in a pipeline it does not.

Examples:
  sluice deploy checkout --artifact ./build/checkout-v2
  sluice deploy shop/checkout --artifact /srv/checkout/v2 --wait --timeout 30m
  sluice deploy checkout --artifact ./v2 --idempotency-key \"$CI_PIPELINE_ID\" --wait")]
pub(crate) struct DeployArgs {
    /// The app, as [project/]name
    #[arg(value_name = "APP")]
    pub(crate) app: AppName,
    /// What to roll out: a path (./x is made absolute), an image, the name of a pool
    #[arg(long, value_name = "X")]
    pub(crate) artifact: String,
    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    pub(crate) comment: Option<String>,
    /// Why freeze windows shall not hold it; needs the role operator
    #[arg(long, value_name = "REASON")]
    pub(crate) break_glass: Option<String>,
    /// Asking again with the same key gives the same rollout; default: a new one
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
    /// Whether and how long to wait.
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

/// Whether and how long to wait for a rollout's end.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct WaitArgs {
    /// Wait until it has ended, and tell how it goes
    #[arg(long)]
    pub(crate) wait: bool,
    /// How long to wait at most; the rollout itself goes on
    #[arg(long, value_name = "TIME", requires = "wait", default_value = "30m")]
    #[arg(value_parser = duration::parse)]
    pub(crate) timeout: Duration,
}

/// Asks for the rollout.
pub(crate) async fn run(session: &Session, args: DeployArgs) -> anyhow::Result<Exit> {
    let deploy = Deploy {
        artifact: Some(absolute(args.artifact)),
        comment: args.comment,
        break_glass: args.break_glass,
        ..Deploy::default()
    };
    start(session, &args.app, &deploy, args.idempotency_key, args.wait).await
}

/// `./x` and `../x` are what the caller sees there, wherever the server runs; anything else, which
/// need not be a path at all, is the server's to understand.
pub(super) fn absolute(artifact: String) -> String {
    let here = artifact.starts_with("./") || artifact.starts_with("../");
    let path = here.then(|| std::path::absolute(&artifact).ok()).flatten();
    match path.as_deref().and_then(std::path::Path::to_str) {
        Some(path) => path.to_owned(),
        None => artifact,
    }
}

/// Asks for a rollout and waits for it, or says where it can be seen.
pub(super) async fn start(
    session: &Session,
    app: &AppName,
    deploy: &Deploy,
    key: Option<String>,
    wait: WaitArgs,
) -> anyhow::Result<Exit> {
    let key = key.unwrap_or_else(|| Uuid::now_v7().to_string());
    let view = ask(session, app, deploy, &key).await?;
    if wait.wait {
        return follow::to_the_end(session, view, follow::Until::Time(wait.timeout)).await;
    }
    session.output.show(&view, |it| {
        let id = it.summary.id;
        let line = rollout_text::line(it);
        format!("{line}\nrollout {id}; watch it with `sluice status -w {app}`")
    })?;
    Ok(Exit::Succeeded)
}

async fn ask(
    session: &Session,
    app: &AppName,
    deploy: &Deploy,
    key: &str,
) -> Result<RolloutView, ClientError> {
    let mut attempt = 1;
    loop {
        let answer = session
            .client
            .deploy(&app.project, &app.app, deploy, key)
            .await;
        match answer {
            Err(ClientError::Unreachable { .. }) if attempt < ATTEMPTS => {
                tokio::time::sleep(Duration::from_millis(500) * attempt).await;
                attempt += 1;
            }
            answer => return answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_plainly_a_local_path_is_made_absolute() {
        for artifact in ["blue", "registry/shop:2", "/srv/v2", "v2", ".hidden"] {
            assert_eq!(absolute(artifact.to_owned()), artifact);
        }
        let here = std::env::current_dir().unwrap();
        let expected = here.join("build/v2").to_str().unwrap().to_owned();
        assert_eq!(absolute("./build/v2".to_owned()), expected);
    }
}
