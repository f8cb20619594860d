//! `sluice apply`: an app file goes to the server, which checks it and puts it into effect.

use std::path::PathBuf;

use api::{AppView, Found};
use clap::Args;

use super::Session;
use crate::{app_file::AppDocument, exit::Exit};

/// Its arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Every problem of the file is named with its line. Applying changes settings, not traffic: the
next `sluice deploy` goes by them.

Examples:
  sluice apply -f app.yaml
  render-app.sh | sluice apply -f -")]
pub(crate) struct ApplyArgs {
    /// The app file, YAML or JSON; - for standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// Applies the file.
pub(crate) async fn run(session: &Session, args: &ApplyArgs) -> anyhow::Result<Exit> {
    let document = AppDocument::open(&args.file)?;
    let applied = put(session, &document).await?;
    session.output.show(&applied.value, |_| text(&applied))?;
    Ok(Exit::Succeeded)
}

/// Hands an app file to the server.
pub(super) async fn put(
    session: &Session,
    document: &AppDocument,
) -> anyhow::Result<Found<AppView>> {
    let app = document.app();
    let client = &session.client;
    let applied = client
        .put_app(&app.project, &app.app, document.value(), None)
        .await;
    applied.map_err(|error| document.explain(error))
}

/// What became of it.
pub(super) fn text(applied: &Found<AppView>) -> String {
    let it = &applied.value;
    let name = format!("{}/{}", it.project, it.app);
    match (applied.created, &it.stable) {
        (true, Some(stable)) => format!(
            "{name} is known now (version {}); {} runs there already and is {}",
            it.version, stable.artifact, stable.revision
        ),
        (true, None) => format!(
            "{name} is known now (version {}); install it with `sluice deploy {name} --artifact …`",
            it.version
        ),
        (false, Some(stable)) => format!(
            "{name} is at version {}; {} runs on until the next deploy",
            it.version, stable.revision
        ),
        (false, None) => format!("{name} is at version {}", it.version),
    }
}
