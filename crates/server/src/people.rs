//! Settings of who may come in, from which networks, as an administrator writes them down.

mod networks;
mod settings;

use std::{net::IpAddr, time::Duration};

use api::RoleWord;
use reqwest::Url;

use crate::auth::Grant;
pub use networks::Networks;
pub(crate) use networks::site;

/// What an administrator decides about people and their machines. Without any of it, people and
/// machines come in by API tokens.
#[derive(Debug, Clone, Default)]
pub struct People {
    /// Where people reach this server, e.g. `https://sluice.example.com`, without a path.
    pub public_url: Option<String>,
    /// Proxies in front of this server: only what these say about a client's address is believed.
    pub trusted_proxies: Networks,
    /// How long people stay signed in.
    pub sessions: Sessions,
    /// The provider that people sign in by.
    pub oidc: Option<Oidc>,
    /// Which CI jobs get a token for their provider's ID token; the first rule that fits counts.
    pub ci: Vec<CiRule>,
    /// Whose signed alerts are taken.
    pub hooks: Vec<HookSource>,
}

/// How long people stay signed in.
#[derive(Debug, Clone, Copy)]
pub struct Sessions {
    /// A session that is not used for this long is over.
    pub idle: Duration,
    /// A session that is this old is over, used or not.
    pub longest: Duration,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(8 * 3600),
            longest: Duration::from_secs(24 * 3600),
        }
    }
}

/// The OpenID provider that people sign in by.
#[derive(Debug, Clone)]
pub struct Oidc {
    /// What people call it.
    pub name: String,
    /// Its issuer, exactly as it calls itself.
    pub issuer: String,
    /// This server's name there.
    pub client_id: String,
    /// A file with the password of that name, if it has one.
    pub client_secret_file: Option<String>,
    /// What is asked for; `openid` is always among it.
    pub scopes: Vec<String>,
    /// The claim that holds a person's groups.
    pub groups_claim: String,
    /// What members of groups may do. Who is in none of them does not come in.
    pub roles: Vec<RoleRule>,
}

/// What the members of a group may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleRule {
    /// The group.
    pub group: String,
    /// What they may do.
    pub role: RoleWord,
    /// In which project; `None`: in all.
    pub project: Option<String>,
}

/// Which CI jobs get a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CiRule {
    /// What the rule is called; its tokens are `token:ci/NAME` in the history.
    pub name: String,
    /// The issuer of the ID tokens, exactly as it calls itself.
    pub issuer: String,
    /// The audience that the job asks its provider to name.
    pub audience: String,
    /// Claims and the values of which each must have one, exactly.
    pub claims: Vec<(String, Vec<String>)>,
    /// What the job may do.
    pub role: RoleWord,
    /// In which project.
    pub project: String,
}

/// Who may send signed alerts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookSource {
    /// What it is called, in its address too; what it causes is by `hook:NAME` in the history.
    pub name: String,
    /// A file with the secret that it signs with, `whsec_…`, read at each request; several lines are
    /// several secrets, for rotation.
    pub secret_file: String,
    /// The project whose rollouts its alerts may change; `None`: all.
    pub project: Option<String>,
}

impl People {
    /// What members of `groups` may do by the rules as they are now; `None`: nobody comes in by what
    /// this issuer says, or nobody who is in none but these groups.
    pub(crate) fn grants(&self, issuer: &str, groups: &[String]) -> Option<Vec<Grant>> {
        let oidc = self.oidc.as_ref().filter(|it| it.issuer == issuer)?;
        let rules = oidc.roles.iter().filter(|it| groups.contains(&it.group));
        let grants: Vec<Grant> = rules
            .map(|it| Grant {
                role: it.role,
                project: it.project.clone(),
            })
            .collect();
        (!grants.is_empty()).then_some(grants)
    }
}

/// Whether nobody on the way can read along or answer instead: https, or http on this machine.
pub(crate) fn is_private(url: &str) -> bool {
    let Ok(url) = url.parse::<Url>() else {
        return false;
    };
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let here = host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|it| it.is_loopback());
    let named = url.username().is_empty() && url.password().is_none();
    named && (url.scheme() == "https" || url.scheme() == "http" && here)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_or_this_machine_is_private() {
        for url in [
            "https://a.example/x",
            "http://127.0.0.1:1",
            "http://localhost",
            "http://[::1]:2/",
        ] {
            assert!(is_private(url), "{url}");
        }
        for url in [
            "http://a.example",
            "http://10.0.0.1",
            "http://localhost.example",
            "ftp://localhost",
            "file:///etc/passwd",
            "https://user:pass@a.example",
            "",
        ] {
            assert!(!is_private(url), "{url}");
        }
    }

    #[test]
    fn roles_follow_the_rules_as_they_are() {
        let rule = |group: &str, role, project: Option<&str>| RoleRule {
            group: group.to_owned(),
            role,
            project: project.map(ToOwned::to_owned),
        };
        let mut people = People::default();
        let groups = ["sre".to_owned(), "shop".to_owned()];
        assert_eq!(people.grants("https://id.example", &groups), None);
        people.oidc = Some(Oidc {
            name: "Example".to_owned(),
            issuer: "https://id.example".to_owned(),
            client_id: "sluice".to_owned(),
            client_secret_file: None,
            scopes: Vec::new(),
            groups_claim: "groups".to_owned(),
            roles: vec![
                rule("sre", RoleWord::Viewer, None),
                rule("shop", RoleWord::Operator, Some("shop")),
                rule("Shop", RoleWord::Admin, None),
            ],
        });
        let grants = people.grants("https://id.example", &groups).unwrap();
        assert_eq!(grants.len(), 2);
        assert_eq!(people.grants("https://other.example", &groups), None);
        assert_eq!(people.grants("https://id.example", &["x".to_owned()]), None);
    }
}
