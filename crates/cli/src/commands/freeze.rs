//! `sluice freeze`: freeze windows.

use api::{FreezeOnce, FreezeRecurring, FreezeRequest, FreezeRunning, FreezeView};
use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use uuid::Uuid;

use super::Session;
use crate::{
    exit::Exit,
    output::{self, moment, or_dash, table},
    target::AppName,
};

/// Its verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum FreezeCommand {
    /// List freeze windows
    List(ListArgs),
    /// Make a freeze window
    Add(Box<AddArgs>),
    /// Take a freeze window away
    Remove(RemoveArgs),
}

/// Arguments of `freeze list`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sluice freeze list --project shop")]
pub(crate) struct ListArgs {
    /// Only windows that concern this project
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
}

/// Arguments of `freeze add`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("scope").required(true).args(["all", "project", "app"]))]
#[command(group = ArgGroup::new("when").required(true).args(["cron", "from"]))]
#[command(after_help = "\
While a window is on, no rollout starts, and one that runs holds at its step. Rollbacks, aborts and
undos go on, and alerts are heard. A window ends by the clock on the wall of its time zone, also in
the night in which clocks are set.

Examples:
  sluice freeze add weekend --project shop --cron \"0 18 * * FRI\" --for 62h \\
      --time-zone Europe/Zurich --reason \"nobody is on call\"
  sluice freeze add sale --app shop/checkout --from 2026-11-27T06:00:00Z \\
      --until 2026-12-01T06:00:00Z --running finish --reason \"Black Friday\"")]
pub(crate) struct AddArgs {
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,
    /// For all projects
    #[arg(long)]
    all: bool,
    /// For a project's apps
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// For one app, as [project/]name
    #[arg(long, value_name = "APP")]
    app: Option<AppName>,
    /// Why; whoever waits for it is told
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// When it begins, again and again: a cron pattern
    #[arg(long, value_name = "PATTERN", requires_all = ["duration", "time_zone"])]
    cron: Option<String>,
    /// How long it lasts, at most 744h
    #[arg(long = "for", id = "duration", value_name = "TIME", requires = "cron")]
    duration: Option<String>,
    /// The time zone of the pattern, e.g. Europe/Zurich
    #[arg(long, value_name = "ZONE", requires = "cron")]
    time_zone: Option<String>,
    /// When it begins, once
    #[arg(long, value_name = "MOMENT", requires = "until")]
    from: Option<Timestamp>,
    /// When it ends, at most 31 days later
    #[arg(long, value_name = "MOMENT", requires = "from")]
    until: Option<Timestamp>,
    /// What rollouts do that run when it begins
    #[arg(long, value_enum, default_value = "hold")]
    running: Running,
}

/// What rollouts do that run when a window begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Running {
    /// Hold at their step until it ends
    Hold,
    /// Finish
    Finish,
}

/// Arguments of `freeze remove`.
#[derive(Debug, Args)]
#[command(after_help = "\
What the window held goes on.

Example:
  sluice freeze remove weekend")]
pub(crate) struct RemoveArgs {
    /// The window's id, or its name where only one has it
    #[arg(value_name = "ID|NAME")]
    window: String,
}

/// Runs a verb.
pub(crate) async fn run(session: &Session, command: FreezeCommand) -> anyhow::Result<Exit> {
    match command {
        FreezeCommand::List(args) => list(session, &args).await,
        FreezeCommand::Add(args) => add(session, *args).await,
        FreezeCommand::Remove(args) => remove(session, &args).await,
    }
}

async fn list(session: &Session, args: &ListArgs) -> anyhow::Result<Exit> {
    let page = session.client.freezes(args.project.as_deref()).await?;
    session.output.show(&page.items, |it| text(it))?;
    Ok(Exit::Succeeded)
}

/// A table of windows.
pub(super) fn text(items: &[FreezeView]) -> String {
    let rows = items.iter().map(|it| {
        let scope = match (&it.project, &it.app) {
            (None, _) => "all projects".to_owned(),
            (Some(project), None) => project.clone(),
            (Some(project), Some(app)) => format!("{project}/{app}"),
        };
        let when = match (&it.recurring, &it.once) {
            (Some(it), _) => format!("{} for {}, {}", it.cron, it.duration, it.time_zone),
            (None, Some(it)) => format!("{} to {}", moment(it.from), moment(it.until)),
            (None, None) => "-".to_owned(),
        };
        let now = match (it.until, it.next) {
            (Some(until), _) => format!("on until {}", moment(until)),
            (None, Some(next)) => format!("next {}", moment(next)),
            (None, None) => "over".to_owned(),
        };
        let running = match it.running {
            FreezeRunning::Hold => "hold",
            FreezeRunning::Finish => "finish",
        };
        [
            it.name.clone(),
            scope,
            when,
            now,
            running.to_owned(),
            or_dash(Some(&it.reason)),
        ]
    });
    table(&["NAME", "FOR", "WHEN", "NOW", "RUNNING", "WHY"], rows)
}

async fn add(session: &Session, args: AddArgs) -> anyhow::Result<Exit> {
    let (project, app) = match args.app {
        Some(name) => (Some(name.project), Some(name.app)),
        None => (args.project, None),
    };
    let recurring = match (args.cron, args.duration, args.time_zone) {
        (Some(cron), Some(duration), Some(time_zone)) => Some(FreezeRecurring {
            cron,
            duration,
            time_zone,
        }),
        // clap sees to it that they come together.
        (Some(_) | None, _, _) => None,
    };
    let once = args.from.zip(args.until);
    let ask = FreezeRequest {
        name: args.name,
        project,
        app,
        reason: args.reason,
        recurring,
        once: once.map(|(from, until)| FreezeOnce { from, until }),
        running: match args.running {
            Running::Hold => FreezeRunning::Hold,
            Running::Finish => FreezeRunning::Finish,
        },
    };
    let window = session.client.add_freeze(&ask).await?;
    session
        .output
        .show(&window, |it| text(std::slice::from_ref(it)))?;
    Ok(Exit::Succeeded)
}

async fn remove(session: &Session, args: &RemoveArgs) -> anyhow::Result<Exit> {
    let id = match args.window.parse::<Uuid>() {
        Ok(id) => id,
        Err(_) => id_of(session, &args.window).await?,
    };
    session.client.remove_freeze(id).await?;
    output::message(&format!("freeze window {} is gone", args.window));
    Ok(Exit::Succeeded)
}

async fn id_of(session: &Session, name: &str) -> anyhow::Result<Uuid> {
    let page = session.client.freezes(None).await?;
    let named = page.items.iter().filter(|it| it.name == name);
    let ids: Vec<Uuid> = named.map(|it| it.id).collect();
    match ids.as_slice() {
        [id] => Ok(*id),
        [] => anyhow::bail!("no freeze window is named \"{name}\""),
        several => anyhow::bail!(
            "{} freeze windows are named \"{name}\"; give the id of one (`sluice freeze list -o json`)",
            several.len()
        ),
    }
}
