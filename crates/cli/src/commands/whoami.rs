//! `sluice whoami`: whose token is used and what it may do.

use api::Whoami;

use super::{Session, token::role_word};
use crate::{exit::Exit, output::clean};

/// Shows it.
pub(crate) async fn run(session: &Session) -> anyhow::Result<Exit> {
    let who = session.client.whoami().await?;
    let base = session.client.base();
    session.output.show(&who, |it| text(it, base))?;
    Ok(Exit::Succeeded)
}

fn text(it: &Whoami, base: &str) -> String {
    let groups = match it.groups.is_empty() {
        true => String::new(),
        false => format!(", member of {}", it.groups.join(", ")),
    };
    let roles = it.grants.iter().map(|grant| {
        let role = role_word(grant.role);
        match &grant.project {
            Some(project) => format!("{role} in project {project}"),
            None => format!("{role} in all projects"),
        }
    });
    let roles = roles.collect::<Vec<_>>().join(", ");
    clean(&format!("{} at {base}: {roles}{groups}", it.principal))
}
