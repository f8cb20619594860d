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
    let place = match &it.project {
        Some(project) => format!("in project {project}"),
        None => "in all projects".to_owned(),
    };
    let groups = match it.groups.is_empty() {
        true => String::new(),
        false => format!(", member of {}", it.groups.join(", ")),
    };
    let role = role_word(it.role);
    clean(&format!(
        "{} at {base}: {role} {place}{groups}",
        it.principal
    ))
}
