//! `sluice plan`: the dry run.

use std::path::PathBuf;

use api::{PlanRequest, PlanView};
use clap::Args;

use super::Session;
use crate::{
    app_file::AppDocument,
    exit::{Exit, Usage},
    output::{clean, table},
    target::AppName,
};

/// Its arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Shows the steps, what each would wait for, and whether every gate's query returns data now.
Nothing is changed.

Examples:
  sluice plan checkout                                  the app as it was applied
  sluice plan checkout -f app.yaml --artifact ./v2      before applying a change
  sluice plan -f app.yaml")]
pub(crate) struct PlanArgs {
    /// The app, as [project/]name; default: the one that FILE names
    #[arg(value_name = "APP", required_unless_present = "file")]
    pub(crate) app: Option<AppName>,
    /// An app file to plan with, instead of the one last applied; - for standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Check this artifact too
    #[arg(long, value_name = "X")]
    pub(crate) artifact: Option<String>,
}

/// Shows the plan.
pub(crate) async fn run(session: &Session, args: &PlanArgs) -> anyhow::Result<Exit> {
    let document = args.file.as_deref().map(AppDocument::open).transpose()?;
    let app = match (&args.app, &document) {
        (Some(app), _) => app.clone(),
        (None, Some(document)) => document.app(),
        // clap sees to it that there is one of them.
        (None, None) => return Err(Usage::error("give APP or --file")),
    };
    let request = PlanRequest {
        document: document.as_ref().map(|it| it.value().clone()),
        artifact: args.artifact.clone().map(super::deploy::absolute),
    };
    let plan = session.client.plan(&app.project, &app.app, &request).await;
    let plan = plan.map_err(|error| match &document {
        Some(document) => document.explain(error),
        None => error.into(),
    })?;
    session.output.show(&plan, |it| text(&app, it))?;
    Ok(Exit::Succeeded)
}

fn text(app: &AppName, plan: &PlanView) -> String {
    let stable = match &plan.stable {
        Some(stable) => format!("{stable} has the traffic now"),
        None => "nothing has the traffic now".to_owned(),
    };
    let (strategy, candidate) = (&plan.strategy, &plan.candidate);
    let mut blocks = vec![format!(
        "{app}: {candidate} by {strategy}, {} instances; {stable}",
        plan.replicas
    )];
    let steps = plan.steps.iter().enumerate().map(|(index, it)| {
        let gives = it
            .gives
            .map(|share| format!(" (really {share} %)"))
            .unwrap_or_default();
        [
            (index + 1).to_string(),
            format!("{}{gives}", it.title),
            it.waits_for.clone(),
        ]
    });
    blocks.push(table(&["#", "STEP", "WAITS FOR"], steps));
    if !plan.gates.is_empty() {
        blocks.push(super::gate::text(&plan.gates));
    }
    if !plan.abort.is_empty() {
        blocks.push(format!("The way back: {}", clean(&plan.abort.join(", "))));
    }
    if !plan.freezes.is_empty() {
        blocks.push(format!(
            "Freeze windows:\n{}",
            super::freeze::text(&plan.freezes)
        ));
    }
    let warnings = plan
        .warnings
        .iter()
        .map(|it| format!("Warning: {}", clean(it)));
    blocks.extend(warnings);
    blocks.join("\n\n")
}
