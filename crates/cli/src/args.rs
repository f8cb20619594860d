//! The command line: every verb, in the order in which a newcomer meets them.

use clap::{Parser, Subcommand};

use crate::{
    commands::{
        adopt::AdoptArgs, apply::ApplyArgs, approve::DecideArgs, audit::AuditCommand,
        completions::CompletionsArgs, demo::DemoArgs, demo_shop::DemoShopArgs, deploy::DeployArgs,
        events::EventsArgs, explain::ExplainArgs, freeze::FreezeCommand, gate::GateCommand,
        history::HistoryArgs, list::AppsArgs, list::RevisionsArgs, order::BreakGlassArgs,
        order::OrderArgs, order::PromoteArgs, plan::PlanArgs, project::ProjectCommand,
        release::ReleaseArgs, serve::MigrateArgs, serve::ServerArgs, status::StatusArgs,
        token::TokenCommand, undo::UndoArgs, up::UpArgs,
    },
    connection::{COMMON, Connection},
    output::Format,
};

const ABOUT: &str = "\
Delivers new revisions of services step by step, and takes them back by itself when they are bad.";

const AFTER: &str = "\
First steps:
  sluice up                                   a server and its database, on this machine
  sluice apply -f app.yaml                    say what is delivered, where and how
  sluice plan checkout                        see what a rollout would do
  sluice deploy checkout --artifact ./v2 --wait

APP is [project/]name; without a project it is in \"default\".
Most verbs take an APP (its active or else newest rollout) or the id of a rollout.

Exit codes:
  0  done; of a rollout: the new revision is stable
  1  error
  2  wrong usage, or a file or value with problems (all of them are listed)
  3  rolled back, or cancelled
  4  timed out: the rollout goes on
  5  the rollout waits for a person

Environment:
  SLUICE_SERVER      the server's address
  SLUICE_TOKEN       the token; or SLUICE_TOKEN_FILE, a file with it
  NO_COLOR           no colour, as on anything but a terminal";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "sluice", version, about = ABOUT, after_help = AFTER)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    /// Which server.
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// How results are given: for people, or as data on stdout
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        default_value = "table",
        value_name = "FORM"
    )]
    #[arg(help_heading = COMMON)]
    pub(crate) output: Format,
    /// The verb.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a server and a managed Postgres on this machine
    Up(UpArgs),
    /// Show it all: a shop taking traffic, six rollouts, two of them bad
    Demo(DemoArgs),
    /// Write an app file for what runs already
    Adopt(AdoptArgs),
    /// Check an app file and put it into effect
    Apply(ApplyArgs),
    /// Show what a rollout would do, before any traffic moves
    Plan(PlanArgs),
    /// Ask an app's gates before a rollout
    #[command(subcommand, after_help = "Example:\n  sluice gate test checkout")]
    Gate(GateCommand),
    /// Roll out a new revision
    Deploy(DeployArgs),
    /// Show where apps or a rollout stand
    Status(StatusArgs),
    /// Be done with the step that waits, or go straight to full traffic
    Promote(PromoteArgs),
    /// Take the traffic back to the stable revision
    Abort(OrderArgs),
    /// Hold a rollout where it stands
    Pause(OrderArgs),
    /// Go on after a hold
    Resume(OrderArgs),
    /// Begin a new attempt of a rollout that was taken back
    Retry(OrderArgs),
    /// Be done with the current gate, approval, pause or bake
    Skip(OrderArgs),
    /// Agree to the approval step that a rollout waits at
    Approve(DecideArgs),
    /// Refuse it: the traffic goes back
    Reject(DecideArgs),
    /// Take a rollout past freeze windows
    BreakGlass(BreakGlassArgs),
    /// Go back to an earlier revision, straight
    Undo(UndoArgs),
    /// Give an app's objects back as they were, and forget the app
    Release(ReleaseArgs),
    /// List what happened to a rollout
    History(HistoryArgs),
    /// Say why a rollout is where it is, and what can be done
    Explain(ExplainArgs),
    /// List apps
    Apps(AppsArgs),
    /// List an app's revisions
    Revisions(RevisionsArgs),
    /// Follow what happens, across all apps
    Events(EventsArgs),
    /// Make, list and remove freeze windows, in which no rollout starts
    #[command(subcommand, after_help = "Example:\n  sluice freeze list")]
    Freeze(FreezeCommand),
    /// Show, export and verify the audit log: who did what, and who was refused
    #[command(
        subcommand,
        after_help = "Example:\n  sluice audit list --outcome refused"
    )]
    Audit(Box<AuditCommand>),
    /// Show or apply what holds for all apps of a project
    #[command(subcommand, after_help = "Example:\n  sluice project settings shop")]
    Project(ProjectCommand),
    /// Make, list and revoke API tokens
    #[command(subcommand)]
    Token(TokenCommand),
    /// Say whose token is used and what it may do
    Whoami,
    /// Run a server on the Postgres at DATABASE_URL
    Server(ServerArgs),
    /// Bring the database at DATABASE_URL up to date
    Migrate(MigrateArgs),
    /// Print the JSON Schema of the app file, for editors
    #[command(after_help = "\
Examples:
  sluice schema > sluice.schema.json
  then, as the first line of an app file, for editors with a YAML language server:
  # yaml-language-server: $schema=./sluice.schema.json")]
    Schema,
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
    /// The sample service of the demo
    #[command(hide = true, disable_version_flag = true)]
    DemoShop(DemoShopArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_teaches() {
        // Neither the width nor the environment of whoever runs the tests may show.
        let mut command = Cli::command()
            .term_width(100)
            .color(clap::ColorChoice::Never);
        command.build();
        let mut text = command.render_help().to_string();
        for sub in command
            .get_subcommands_mut()
            .filter(|it| !it.is_hide_set() && it.get_name() != "help")
        {
            let (help, name) = (sub.render_help(), sub.get_name().to_owned());
            text.push_str(&format!("\n\n===== {name} =====\n{help}"));
            for inner in sub
                .get_subcommands_mut()
                .filter(|it| it.get_name() != "help")
            {
                let help = inner.render_help();
                text.push_str(&format!(
                    "\n\n===== {name} {} =====\n{help}",
                    inner.get_name()
                ));
            }
        }
        insta::assert_snapshot!(text);
    }

    #[test]
    fn every_visible_verb_has_an_about_and_an_example() {
        let mut command = Cli::command();
        command.build();
        let plain = ["help", "whoami", "token"];
        for sub in command.get_subcommands().filter(|it| !it.is_hide_set()) {
            assert!(sub.get_about().is_some(), "{}", sub.get_name());
            let example = sub
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            let taught = example.contains("sluice ") || plain.contains(&sub.get_name());
            assert!(taught, "{} has no example", sub.get_name());
        }
    }

    #[test]
    fn verbs_are_read_as_documented() {
        let lines = [
            "sluice deploy shop/checkout --artifact ./v2 --wait --timeout 30m --comment x",
            "sluice undo checkout --to r6 --wait",
            "sluice promote checkout --full",
            "sluice adopt deployment/checkout -n shop --context prod --project shop --apply",
            "sluice adopt deploy/checkout --route httproute/shop --service checkout -f app.yaml -o json",
            "sluice plan checkout -f app.yaml --artifact ./v2",
            "sluice plan -f app.yaml",
            "sluice apply -f - -o json",
            "sluice status -w checkout",
            "sluice status",
            "sluice token create ci --role deployer --project shop --expires-in 30d",
            "sluice --server http://127.0.0.1:9 -o yaml apps",
            "sluice demo-shop --port 1 --version v2 --error-ratio 0.2 --fail-after 5s",
        ];
        for line in lines {
            let parsed = Cli::try_parse_from(line.split(' '));
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
        let wrong = [
            "sluice",
            "sluice deploy checkout",
            "sluice adopt checkout",
            "sluice adopt deployment/checkout --route service/checkout",
            "sluice deploy Check_out --artifact x",
            "sluice plan",
            "sluice undo checkout --to six",
            "sluice deploy a --artifact x --timeout 5m",
            "sluice approve checkout --step 0 --attempt 0",
        ];
        for line in wrong {
            let code = Cli::try_parse_from(line.split(' '))
                .unwrap_err()
                .exit_code();
            assert_eq!(code, 2, "{line}");
        }
    }
}
