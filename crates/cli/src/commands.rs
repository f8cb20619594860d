//! The verbs, a file each or a group that belongs together.

pub(crate) mod adopt;
pub(crate) mod apply;
pub(crate) mod approve;
pub(crate) mod audit;
pub(crate) mod completions;
pub(crate) mod demo;
pub(crate) mod demo_shop;
pub(crate) mod deploy;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod freeze;
pub(crate) mod gate;
pub(crate) mod history;
pub(crate) mod list;
pub(crate) mod order;
pub(crate) mod plan;
pub(crate) mod project;
pub(crate) mod release;
pub(crate) mod schema;
pub(crate) mod serve;
pub(crate) mod status;
pub(crate) mod token;
pub(crate) mod undo;
pub(crate) mod up;
pub(crate) mod whoami;

use std::process::ExitCode;

use api::{Client, Decision, OrderWord};

use crate::{
    args::{Cli, Command},
    exit::Exit,
    output::Output,
};

/// What a verb that speaks to a server works with.
#[derive(Debug)]
pub(crate) struct Session {
    /// Speaks to the server.
    pub(crate) client: Client,
    /// Takes the results.
    pub(crate) output: Output,
}

/// Runs the command line.
pub(crate) async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let Cli {
        connection,
        output,
        command,
    } = cli;
    let exit = match command {
        Command::Demo(args) => return demo::run(args).await,
        Command::Up(args) => up::run(args).await?,
        Command::Server(args) => serve::server(args).await?,
        Command::Migrate(args) => serve::migrate(&args).await?,
        Command::DemoShop(args) => demo_shop::run(args).await?,
        Command::Schema => schema::run()?,
        Command::Completions(args) => completions::run(&args)?,
        Command::Token(token::TokenCommand::Bootstrap) => token::bootstrap().await?,
        command => {
            let client = connection.client()?;
            let session = Session {
                client,
                output: Output { format: output },
            };
            ask(&session, command).await?
        }
    };
    Ok(exit.into())
}

/// The verbs that speak to a server.
async fn ask(session: &Session, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Adopt(args) => adopt::run(session, &args).await,
        Command::Apply(args) => apply::run(session, &args).await,
        Command::Plan(args) => plan::run(session, &args).await,
        Command::Gate(command) => gate::run(session, &command).await,
        Command::Deploy(args) => deploy::run(session, args).await,
        Command::Undo(args) => undo::run(session, args).await,
        Command::Status(args) => status::run(session, &args).await,
        Command::Promote(args) => order::promote(session, args).await,
        Command::Abort(args) => order::run(session, OrderWord::Abort, args).await,
        Command::Pause(args) => order::run(session, OrderWord::Pause, args).await,
        Command::Resume(args) => order::run(session, OrderWord::Resume, args).await,
        Command::Retry(args) => order::run(session, OrderWord::Retry, args).await,
        Command::Skip(args) => order::run(session, OrderWord::Skip, args).await,
        Command::BreakGlass(args) => order::break_glass(session, args).await,
        Command::Audit(command) => audit::run(session, *command).await,
        Command::Freeze(command) => freeze::run(session, command).await,
        Command::Project(command) => project::run(session, &command).await,
        Command::Approve(args) => approve::run(session, Decision::Approve, args).await,
        Command::Reject(args) => approve::run(session, Decision::Reject, args).await,
        Command::Release(args) => release::run(session, &args).await,
        Command::History(args) => history::run(session, &args).await,
        Command::Explain(args) => explain::run(session, &args).await,
        Command::Apps(args) => list::apps(session, &args).await,
        Command::Revisions(args) => list::revisions(session, &args).await,
        Command::Events(args) => events::run(session, args).await,
        Command::Token(command) => token::run(session, command).await,
        Command::Whoami => whoami::run(session).await,
        Command::Up(_)
        | Command::Demo(_)
        | Command::Server(_)
        | Command::Migrate(_)
        | Command::DemoShop(_)
        | Command::Schema
        | Command::Completions(_) => anyhow::bail!("this verb needs no server"),
    }
}
