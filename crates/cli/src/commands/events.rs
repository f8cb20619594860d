//! `sluice events`: follows the stream of committed transitions, across reconnects without a gap.

use std::time::{Duration, Instant};

use api::{ClientError, EventView};
use clap::Args;

use super::Session;
use crate::{
    exit::Exit,
    output::{clean, message, moment},
    target::AppName,
};

/// How long a server may be away before following is given up.
const AWAY_MAX: Duration = Duration::from_secs(120);
/// Between two attempts to connect again.
const PAUSE: Duration = Duration::from_secs(1);

/// Its arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Goes on until Ctrl-C. With -o json each event is one line.

Examples:
  sluice events
  sluice events shop/checkout
  sluice events -o json | jq 'select(.event == \"rolledBack\")'
  sluice events --since 1234        from after that event on")]
pub(crate) struct EventsArgs {
    /// Only this app's, as [project/]name
    #[arg(value_name = "APP")]
    pub(crate) app: Option<AppName>,
    /// Begin after the event with this id; default: with the next one
    #[arg(long, value_name = "ID")]
    pub(crate) since: Option<String>,
}

/// Follows the events.
pub(crate) async fn run(session: &Session, args: EventsArgs) -> anyhow::Result<Exit> {
    tokio::select! {
        ended = follow(session, &args) => ended,
        _ = tokio::signal::ctrl_c() => Ok(Exit::Succeeded),
    }
}

async fn follow(session: &Session, args: &EventsArgs) -> anyhow::Result<Exit> {
    let mut last = args.since.clone();
    let mut away: Option<Instant> = None;
    loop {
        let error = match session.client.events(last.as_deref()).await {
            Ok(mut events) => loop {
                match events.next().await {
                    Ok(Some(event)) => {
                        away = None;
                        last = Some(event.id.clone());
                        show(session, args, &event)?;
                    }
                    Ok(None) => break None,
                    Err(error) => break Some(error),
                }
            },
            Err(error) => Some(error),
        };
        let since = *away.get_or_insert_with(Instant::now);
        match error {
            Some(ClientError::Unreachable { url, detail }) if since.elapsed() < AWAY_MAX => {
                message(&format!(
                    "{url} does not answer ({detail}); connecting again"
                ));
            }
            Some(ClientError::Problem(problem))
                if problem.status >= 500 && since.elapsed() < AWAY_MAX =>
            {
                message(&format!("{problem}; connecting again"));
            }
            Some(error) => return Err(error.into()),
            None => {}
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn show(session: &Session, args: &EventsArgs, event: &EventView) -> anyhow::Result<()> {
    let meant = |it: &AppName| it.project == event.project && it.app == event.app;
    if !args.app.as_ref().is_none_or(meant) {
        return Ok(());
    }
    session.output.stream(event, |it| {
        let who = format!("{}/{} {}", it.project, it.app, it.candidate);
        let text = format!(
            "{}  {who}  {}  ({}, {})",
            moment(it.at),
            it.sentence,
            it.phase,
            it.by
        );
        clean(&text)
    })
}
