//! `sluice project`: what holds for all apps of a project.

use std::path::PathBuf;

use api::ProjectSettingsView;
use clap::{Args, Subcommand};

use super::Session;
use crate::{
    app_file::AppDocument,
    exit::Exit,
    output::{moment, or_dash},
};

/// Its verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum ProjectCommand {
    /// Show a project's settings, or apply them
    Settings(SettingsArgs),
}

/// Arguments of `project settings`.
#[derive(Debug, Args)]
#[command(after_help = "\
The settings have one key, `notify`: who is told about the rollouts of all apps of the project, written as
in an app file. They hold at once, for rollouts under way too.

Examples:
  sluice project settings shop
  sluice project settings shop --file settings.yaml")]
pub(crate) struct SettingsArgs {
    /// The project
    #[arg(value_name = "PROJECT")]
    project: String,
    /// The settings to apply, YAML or JSON; - for standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Runs a verb.
pub(crate) async fn run(session: &Session, command: &ProjectCommand) -> anyhow::Result<Exit> {
    match command {
        ProjectCommand::Settings(args) => settings(session, args).await,
    }
}

async fn settings(session: &Session, args: &SettingsArgs) -> anyhow::Result<Exit> {
    let client = &session.client;
    let settings = match &args.file {
        None => client.project_settings(&args.project).await?,
        Some(file) => {
            let document = AppDocument::open(file)?;
            let put = client.put_project_settings(&args.project, document.value(), None);
            put.await.map_err(|error| document.explain(error))?
        }
    };
    let text = text(&settings)?;
    session.output.show(&settings, |_| text)?;
    Ok(Exit::Succeeded)
}

fn text(settings: &ProjectSettingsView) -> anyhow::Result<String> {
    let Some(at) = settings.updated_at else {
        return Ok(format!("project {} has no settings", settings.project));
    };
    let by = or_dash(settings.updated_by.as_deref());
    let written = serde_yaml::to_string(&settings.document)?;
    Ok(format!(
        "# project {}, version {}, by {by} at {}\n{}",
        settings.project,
        settings.version,
        moment(at),
        written.trim_end()
    ))
}
