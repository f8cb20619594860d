//! `sluice token`: API tokens.

use std::time::Duration;

use anyhow::Context as _;
use api::{CreateToken, CreatedToken, RoleWord, TokenView};
use clap::{Args, Subcommand, ValueEnum};
use secrecy::ExposeSecret as _;
use uuid::Uuid;

use super::{Session, serve};
use crate::{
    duration,
    exit::Exit,
    output::{self, clean, moment, or_dash, table},
};

/// Its verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token; its text is shown this once
    Create(CreateArgs),
    /// List tokens
    List,
    /// Make a token useless, within seconds
    Revoke(RevokeArgs),
    /// Make the first admin token, straight in the database at DATABASE_URL
    #[command(after_help = "\
For a new `sluice server`: prints the token's text once, and nothing when there is an admin token
already. `sluice up` does this by itself.

Example:
  DATABASE_URL=postgres://… sluice token bootstrap > admin-token")]
    Bootstrap,
}

/// Arguments of `token create`.
#[derive(Debug, Args)]
#[command(after_help = "\
Nobody can make a token that may do more than their own.

Examples:
  sluice token create ci --role deployer --project shop
  sluice token create jo --role approver --person --group release-managers --expires-in 30d")]
pub(crate) struct CreateArgs {
    /// What it is for; the history shows it as token:NAME
    #[arg(value_name = "NAME")]
    name: String,
    /// What it may do
    #[arg(long, value_enum)]
    role: Role,
    /// Only in this project; default: in all
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// A person holds it: only such tokens approve
    #[arg(long)]
    person: bool,
    /// A group the person is in; may be repeated
    #[arg(long = "group", value_name = "NAME", requires = "person")]
    groups: Vec<String>,
    /// How long it is good; at most 90d
    #[arg(long, value_name = "TIME", default_value = "90d", value_parser = duration::parse)]
    expires_in: Duration,
}

/// Arguments of `token revoke`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sluice token revoke ci")]
pub(crate) struct RevokeArgs {
    /// The token's id, or its name where only one good token has it
    #[arg(value_name = "ID|NAME")]
    token: String,
}

/// Roles, from the least to the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    /// Reads
    Viewer,
    /// Starts rollouts and orders them about
    Deployer,
    /// Decides on approval steps
    Approver,
    /// Applies app files, and all of the above but approving
    Operator,
    /// Everything, tokens included
    Admin,
}

impl From<Role> for RoleWord {
    fn from(role: Role) -> Self {
        match role {
            Role::Viewer => Self::Viewer,
            Role::Deployer => Self::Deployer,
            Role::Approver => Self::Approver,
            Role::Operator => Self::Operator,
            Role::Admin => Self::Admin,
        }
    }
}

/// The word for a role, as users write it.
pub(super) fn role_word(role: RoleWord) -> &'static str {
    match role {
        RoleWord::Viewer => "viewer",
        RoleWord::Deployer => "deployer",
        RoleWord::Approver => "approver",
        RoleWord::Operator => "operator",
        RoleWord::Admin => "admin",
    }
}

/// Runs a verb.
pub(crate) async fn run(session: &Session, command: TokenCommand) -> anyhow::Result<Exit> {
    match command {
        TokenCommand::Create(args) => create(session, args).await,
        TokenCommand::List => list(session).await,
        TokenCommand::Revoke(args) => revoke(session, &args).await,
        TokenCommand::Bootstrap => bootstrap().await,
    }
}

async fn create(session: &Session, args: CreateArgs) -> anyhow::Result<Exit> {
    let ask = CreateToken {
        name: args.name,
        role: args.role.into(),
        project: args.project,
        person: args.person,
        groups: args.groups,
        expires_in: Some(format!("{}s", args.expires_in.as_secs().max(1))),
    };
    let created = session.client.create_token(&ask).await?;
    session
        .output
        .show(&created, |it: &CreatedToken| it.secret.clone())?;
    let token = &created.token;
    let name = clean(&token.name);
    output::message(&format!(
        "{name} ({}), good until {}; its text is not shown again",
        role_word(token.role),
        moment(token.expires_at)
    ));
    Ok(Exit::Succeeded)
}

async fn list(session: &Session) -> anyhow::Result<Exit> {
    let page = session.client.tokens().await?;
    session.output.show(&page.items, |it| text(it))?;
    Ok(Exit::Succeeded)
}

fn text(items: &[TokenView]) -> String {
    let rows = items.iter().map(|it| {
        let role = match it.person {
            true => format!("{} (person)", role_word(it.role)),
            false => role_word(it.role).to_owned(),
        };
        let until = match it.revoked_at {
            Some(at) => format!("revoked {}", moment(at)),
            None => moment(it.expires_at),
        };
        let used = it.last_used_at.map(moment);
        let project = or_dash(it.project.as_deref());
        let groups = it.groups.join(", ");
        [
            it.name.clone(),
            role,
            project,
            groups,
            until,
            or_dash(used.as_deref()),
            it.id.to_string(),
        ]
    });
    table(
        &[
            "NAME",
            "ROLE",
            "PROJECT",
            "GROUPS",
            "GOOD UNTIL",
            "LAST USED",
            "ID",
        ],
        rows,
    )
}

async fn revoke(session: &Session, args: &RevokeArgs) -> anyhow::Result<Exit> {
    let id = match args.token.parse::<Uuid>() {
        Ok(id) => id,
        Err(_) => id_of(session, &args.token).await?,
    };
    session.client.revoke_token(id).await?;
    output::message(&format!("{} is revoked", args.token));
    Ok(Exit::Succeeded)
}

async fn id_of(session: &Session, name: &str) -> anyhow::Result<Uuid> {
    let page = session.client.tokens().await?;
    let good = page
        .items
        .iter()
        .filter(|it| it.name == name && it.revoked_at.is_none());
    let ids: Vec<Uuid> = good.map(|it| it.id).collect();
    match ids.as_slice() {
        [id] => Ok(*id),
        [] => anyhow::bail!("no good token is named \"{name}\""),
        several => anyhow::bail!(
            "{} tokens are named \"{name}\"; give the id of one (`sluice token list`)",
            several.len()
        ),
    }
}

/// Makes the first admin token and prints it; says so when there is one already.
pub(crate) async fn bootstrap() -> anyhow::Result<Exit> {
    let database = serve::database_url()?;
    let token = serve::first_admin_token(&database)
        .await
        .context("make the first admin token")?;
    match token {
        Some(token) => output::print_raw(format!("{}\n", token.expose_secret()).as_bytes())?,
        None => output::message("there is an admin token already; nothing was made"),
    }
    Ok(Exit::Succeeded)
}
