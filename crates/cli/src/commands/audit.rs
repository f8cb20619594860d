//! `sluice audit`: who did what, from where, and who was refused.

use api::{AuditOutcome, AuditVerification, AuditView, Page};
use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use uuid::Uuid;

use super::Session;
use crate::{
    exit::Exit,
    output::{self, Format, moment, or_dash, table},
    target::AppName,
};

/// Lines of a page: as many as a server gives.
const PAGE: u32 = 200;

/// Its verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// List the newest lines of the audit log
    List(ListArgs),
    /// Write the whole log, or what a filter leaves of it, as JSON lines
    Export(ExportArgs),
    /// Check that nothing in the log was changed, removed or slipped in
    Verify(VerifyArgs),
}

/// Which lines.
#[derive(Debug, Args)]
struct Filter {
    /// Only about this app, as [project/]name
    #[arg(long, value_name = "APP", conflicts_with = "project")]
    app: Option<AppName>,
    /// Only of this project
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// Only about this rollout
    #[arg(long, value_name = "ID")]
    rollout: Option<Uuid>,
    /// Only of this principal, as the history shows it, e.g. token:ci
    #[arg(long, value_name = "PRINCIPAL")]
    who: Option<String>,
    /// Only this action, e.g. token.create, or all of a kind, e.g. token
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// Only what was done, or only what was refused
    #[arg(long, value_enum)]
    outcome: Option<Outcome>,
    /// Only from then on
    #[arg(long, value_name = "MOMENT")]
    since: Option<Timestamp>,
    /// Only before then
    #[arg(long, value_name = "MOMENT")]
    until: Option<Timestamp>,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Outcome {
    /// It was done
    Done,
    /// It was refused
    Refused,
}

/// Arguments of `audit list`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sluice audit list --app shop/checkout --no-steps
  sluice audit list --outcome refused --since 2026-11-01T00:00:00Z
  sluice audit list --who token:ci --action rollout")]
pub(crate) struct ListArgs {
    #[command(flatten)]
    filter: Filter,
    /// Leave out the steps that rollouts have done
    #[arg(long)]
    no_steps: bool,
    /// How many lines, 1 to 200
    #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
    limit: u32,
}

/// Arguments of `audit export`.
#[derive(Debug, Args)]
#[command(after_help = "\
Newest first, one JSON object a line. How many lines there were goes to stderr.

Example:
  sluice audit export > audit.jsonl")]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    filter: Filter,
}

/// Arguments of `audit verify`.
#[derive(Debug, Args)]
#[command(after_help = "\
Lines are sealed by a chain of hashes some seconds after they are written. Whoever could rewrite the
database could also cut off the log's end: keep the head that this prints somewhere else, and give it
the next time. Exits with 1 when something is wrong. Needs the role admin in all projects.

Examples:
  sluice audit verify
  sluice audit verify --head 1207:5f0c…")]
pub(crate) struct VerifyArgs {
    /// The head of an earlier verification, which the log must still contain
    #[arg(long, value_name = "NUMBER:HASH")]
    head: Option<String>,
}

/// Runs a verb.
pub(crate) async fn run(session: &Session, command: AuditCommand) -> anyhow::Result<Exit> {
    match command {
        AuditCommand::List(args) => list(session, &args).await,
        AuditCommand::Export(args) => export(session, &args).await,
        AuditCommand::Verify(args) => verify(session, &args).await,
    }
}

impl Filter {
    fn query(&self) -> Vec<(&'static str, String)> {
        let app = self.app.as_ref();
        let project = app.map(|it| &it.project).or(self.project.as_ref());
        let outcome = self.outcome.map(|it| match it {
            Outcome::Done => "done",
            Outcome::Refused => "refused",
        });
        let all = [
            ("project", project.cloned()),
            ("app", app.map(|it| it.app.clone())),
            ("rollout", self.rollout.map(|it| it.to_string())),
            ("who", self.who.clone()),
            ("action", self.action.clone()),
            ("outcome", outcome.map(ToOwned::to_owned)),
            ("since", self.since.map(|it| it.to_string())),
            ("until", self.until.map(|it| it.to_string())),
        ];
        let given = all.into_iter();
        given.filter_map(|(key, it)| Some((key, it?))).collect()
    }
}

async fn page(
    session: &Session,
    filter: &Filter,
    (limit, steps): (u32, bool),
    cursor: Option<String>,
) -> anyhow::Result<Page<AuditView>> {
    let mut query = filter.query();
    query.push(("limit", limit.to_string()));
    query.push(("steps", steps.to_string()));
    query.extend(cursor.map(|it| ("cursor", it)));
    Ok(session.client.audit(&query).await?)
}

async fn list(session: &Session, args: &ListArgs) -> anyhow::Result<Exit> {
    let steps = !args.no_steps;
    let page = page(session, &args.filter, (args.limit, steps), None).await?;
    session.output.show(&page.items, |it| text(it))?;
    if page.next_cursor.is_some() && session.output.format == Format::Table {
        output::message(
            "there is more: raise --limit, narrow it down, or use `sluice audit export`",
        );
    }
    Ok(Exit::Succeeded)
}

async fn export(session: &Session, args: &ExportArgs) -> anyhow::Result<Exit> {
    let lines = output::Output {
        format: Format::Json,
    };
    let (mut cursor, mut count) = (None, 0_u64);
    loop {
        let page = page(session, &args.filter, (PAGE, true), cursor).await?;
        for line in &page.items {
            lines.stream(line, |_| String::new())?;
            count += 1;
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    output::message(&format!("{count} lines"));
    Ok(Exit::Succeeded)
}

async fn verify(session: &Session, args: &VerifyArgs) -> anyhow::Result<Exit> {
    let found = session.client.verify_audit(args.head.as_deref()).await?;
    session.output.show(&found, verdict)?;
    Ok(match found.intact {
        true => Exit::Succeeded,
        false => Exit::Failed,
    })
}

fn verdict(it: &AuditVerification) -> String {
    match (&it.problem, &it.head) {
        (Some(problem), _) => format!("NOT INTACT: {problem}"),
        (None, Some(head)) => format!(
            "intact: {} lines sealed, {} too young to be; head {head}",
            it.sealed, it.unsealed
        ),
        (None, None) => format!("nothing is sealed yet; {} lines are too young", it.unsealed),
    }
}

/// A table of lines.
fn text(items: &[AuditView]) -> String {
    let rows = items.iter().map(|it| {
        let what = match (&it.project, &it.app) {
            (None, None) => "-".to_owned(),
            (project, app) => {
                let both = [project, app].into_iter().flatten();
                both.map(String::as_str).collect::<Vec<_>>().join("/")
            }
        };
        let outcome = match it.outcome {
            AuditOutcome::Done => "done",
            AuditOutcome::Refused => "refused",
            AuditOutcome::Failed => "failed",
            AuditOutcome::Unknown => "unknown",
        };
        let sentence = match &it.detail {
            Some(detail) => format!("{}: {detail}", it.sentence),
            None => it.sentence.clone(),
        };
        [
            moment(it.at),
            or_dash(it.who.as_deref()),
            or_dash(it.from.as_deref()),
            it.action.clone(),
            what,
            outcome.to_owned(),
            sentence,
        ]
    });
    let head = ["AT", "WHO", "FROM", "ACTION", "APP", "OUTCOME", "WHAT"];
    table(&head, rows)
}
