//! What a verb is about: an app, or one of its rollouts.

use std::{fmt, str::FromStr};

use api::Client;
use uuid::Uuid;

/// An app as `[project/]name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AppName {
    /// Its project; `default` where none is named.
    pub(crate) project: String,
    /// Its name.
    pub(crate) app: String,
}

impl fmt::Display for AppName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.project, self.app)
    }
}

impl FromStr for AppName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (project, app) = text.split_once('/').unwrap_or((DEFAULT_PROJECT, text));
        match is_name(project) && is_name(app) {
            true => Ok(Self {
                project: project.to_owned(),
                app: app.to_owned(),
            }),
            false => Err(format!(
                "\"{text}\" is not an app: [project/]name, of a-z, 0-9 and '-' each"
            )),
        }
    }
}

/// The project of apps that name none, as the server has it.
pub(crate) const DEFAULT_PROJECT: &str = "default";

/// Whether `text` can stand in a path as it is. The server checks names in full.
pub(crate) fn is_name(text: &str) -> bool {
    let allowed = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '-';
    !text.is_empty() && text.len() <= 63 && text.chars().all(allowed)
}

/// An app, for its active or newest rollout, or a rollout by its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// An app.
    App(AppName),
    /// A rollout.
    Rollout(Uuid),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(id) => Ok(Self::Rollout(id)),
            Err(_) => text.parse().map(Self::App),
        }
    }
}

impl Target {
    /// The rollout that is meant: the app's active one, else its newest.
    pub(crate) async fn rollout(&self, client: &Client) -> anyhow::Result<Uuid> {
        let name = match self {
            Self::Rollout(id) => return Ok(*id),
            Self::App(name) => name,
        };
        match newest(client, name).await? {
            Some(id) => Ok(id),
            None => anyhow::bail!(
                "{name} has no rollout yet; start one with `sluice deploy {name} --artifact …`"
            ),
        }
    }
}

/// The app's active rollout, else its newest; an error when there is no such app.
pub(crate) async fn newest(client: &Client, name: &AppName) -> anyhow::Result<Option<Uuid>> {
    let view = client.app(&name.project, &name.app).await?;
    if let Some(active) = view.rollout {
        return Ok(Some(active.id));
    }
    let page = client
        .rollouts(Some(&name.project), Some(&name.app), None)
        .await?;
    Ok(page.items.first().map(|it| it.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_an_app_or_a_rollout() {
        let app = |project: &str, app: &str| {
            Target::App(AppName {
                project: project.to_owned(),
                app: app.to_owned(),
            })
        };
        assert_eq!("checkout".parse(), Ok(app("default", "checkout")));
        assert_eq!("shop/checkout".parse(), Ok(app("shop", "checkout")));
        let id = "01980000-0000-7000-8000-000000000000";
        assert_eq!(id.parse(), Ok(Target::Rollout(id.parse().unwrap())));
        for wrong in ["", "/", "shop/", "a/b/c", "../x", "Shop", "a b", "a?b"] {
            assert!(wrong.parse::<Target>().is_err(), "{wrong}");
        }
    }
}
