//! `sluice history`: what happened to a rollout, transition by transition, or what was measured.

use api::{MeasurementView, Page, TransitionView};
use clap::Args;

use super::Session;
use crate::{
    exit::Exit,
    output::{moment, table},
    target::Target,
};

/// Most pages that are fetched: more than any rollout has, and an end if a server gives no last one.
pub(super) const PAGES_MAX: usize = 1000;

/// Its arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sluice history checkout
  sluice history checkout --measurements     what the gates saw
  sluice history checkout -o json            with the hash chain")]
pub(crate) struct HistoryArgs {
    /// An app, or the id of a rollout
    #[arg(value_name = "APP|ROLLOUT")]
    pub(crate) target: Target,
    /// Show the gates' measurements instead
    #[arg(long)]
    pub(crate) measurements: bool,
}

/// Shows the history.
pub(crate) async fn run(session: &Session, args: &HistoryArgs) -> anyhow::Result<Exit> {
    let client = &session.client;
    let id = args.target.rollout(client).await?;
    if args.measurements {
        let items = all(async |cursor| client.measurements(id, cursor).await).await?;
        session.output.show(&items, |it| measurements(it))?;
    } else {
        let items = all(async |cursor| client.history(id, cursor).await).await?;
        session.output.show(&items, |it| transitions(it))?;
    }
    Ok(Exit::Succeeded)
}

/// Every page's items.
pub(super) async fn all<T>(
    fetch: impl AsyncFn(Option<&str>) -> Result<Page<T>, api::ClientError>,
) -> anyhow::Result<Vec<T>> {
    let mut items = Vec::new();
    let mut cursor: Option<String> = None;
    for _ in 0..PAGES_MAX {
        let page = fetch(cursor.as_deref()).await?;
        items.extend(page.items);
        match page.next_cursor {
            Some(next) => cursor = Some(next),
            None => return Ok(items),
        }
    }
    anyhow::bail!("list it all: more than {PAGES_MAX} pages")
}

fn transitions(items: &[TransitionView]) -> String {
    let rows = items.iter().map(|it| {
        let step = match it.attempt {
            1 => it.step.clone(),
            attempt => format!("{} (attempt {attempt})", it.step),
        };
        let (seq, at) = (it.seq.to_string(), moment(it.at));
        [
            seq,
            at,
            it.by.clone(),
            it.phase.clone(),
            step,
            it.sentence.clone(),
        ]
    });
    table(&["#", "AT", "BY", "PHASE", "STEP", "WHAT"], rows)
}

fn measurements(items: &[MeasurementView]) -> String {
    let rows = items.iter().map(|it| {
        let step = format!("{}.{}", it.attempt, it.step + 1);
        [
            moment(it.at),
            step,
            it.gate.clone(),
            it.reading.clone(),
            it.verdict.clone(),
        ]
    });
    table(&["AT", "ATTEMPT.STEP", "GATE", "READING", "VERDICT"], rows)
}
