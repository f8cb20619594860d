//! Reads the settings as a document, and names every problem at once, at its place.

use std::{collections::BTreeSet, time::Duration};

use api::RoleWord;
use rollout::document::{self, Object, Problem, Reader};
use serde_json::Value;

use super::{CiRule, HookSource, Networks, Oidc, People, RoleRule, Sessions, is_private};
use crate::auth::ROLES;

/// Claims that a provider gives once and never to another one: a repository can be renamed, and its
/// name then taken by somebody else, but its number cannot.
const IMMUTABLE: [&str; 7] = [
    // GitHub
    "repository_id",
    "repository_owner_id",
    // GitLab
    "project_id",
    "namespace_id",
    // Buildkite
    "organization_id",
    // Bitbucket
    "repositoryUuid",
    "workspaceUuid",
];

impl People {
    /// Reads the settings.
    ///
    /// # Errors
    /// Every problem there is, each with its place and the way out.
    pub fn read(document: &Value) -> Result<Self, Vec<Problem>> {
        document::read(document, read)
    }
}

fn read(reader: &Reader<'_>) -> Option<People> {
    let top = reader.object(&["publicUrl", "trustedProxies", "people", "ci", "hooks"])?;
    let public_url = top.optional("publicUrl", public_url);
    let trusted_proxies = top.or("trustedProxies", Networks::default(), networks);
    let (sessions, oidc) = match top.get("people") {
        None => (Some(Sessions::default()), Some(None)),
        Some(people) => {
            let people = people.object(&["oidc", "sessions"])?;
            (
                people.or("sessions", Sessions::default(), sessions),
                people.optional("oidc", oidc),
            )
        }
    };
    let ci = top.or("ci", Vec::new(), |it| it.each(ci_rule));
    let hooks = top.or("hooks", Vec::new(), |it| it.each(hook_source));
    if let (Some(Some(_)), Some(None)) = (&oidc, &public_url) {
        return top.problem(
            "\"publicUrl\" is missing: the provider must know where to send people back to, \
             e.g. https://sluice.example.com",
        );
    }
    let (ci, hooks) = (ci?, hooks?);
    named_once(&top, "ci", ci.iter().map(|it| &*it.name))?;
    named_once(&top, "hooks", hooks.iter().map(|it| &*it.name))?;
    Some(People {
        public_url: public_url?,
        trusted_proxies: trusted_proxies?,
        sessions: sessions?,
        oidc: oidc?,
        ci,
        hooks,
    })
}

/// Names tell the items of a list apart.
fn named_once<'a>(top: &Object<'_>, key: &str, names: impl Iterator<Item = &'a str>) -> Option<()> {
    let mut seen = BTreeSet::new();
    for (index, name) in names.enumerate() {
        if !seen.insert(name) {
            return top.get(key)?.problem_at(
                &format!("/{index}/name"),
                format!("another one is called \"{name}\" as well"),
            );
        }
    }
    Some(())
}

fn public_url(reader: &Reader<'_>) -> Option<String> {
    let text = private_url(reader)?;
    let bare = text.strip_suffix('/').unwrap_or(&text);
    let (_, rest) = bare.split_once("://")?;
    if rest.contains(['/', '?', '#']) {
        return reader
            .problem("must be an address without a path, e.g. https://sluice.example.com");
    }
    Some(bare.to_ascii_lowercase())
}

/// A URL that nobody on the way can read along at.
fn private_url(reader: &Reader<'_>) -> Option<String> {
    let text = reader.url()?;
    match is_private(&text) {
        true => Some(text),
        false => reader.problem("must begin with https:// (http:// is for this machine only)"),
    }
}

fn issuer(reader: &Reader<'_>) -> Option<String> {
    let text = private_url(reader)?;
    match text.contains(['?', '#']) {
        true => reader.problem("an issuer has no \"?\" and no \"#\" in it"),
        false => Some(text),
    }
}

fn networks(reader: &Reader<'_>) -> Option<Networks> {
    let texts = reader.each(Reader::text)?;
    match Networks::parse(&texts) {
        Ok(networks) => Some(networks),
        Err(index) => reader.problem_at(
            &format!("/{index}"),
            "must be an address or a network, e.g. 10.0.0.0/8",
        ),
    }
}

fn sessions(reader: &Reader<'_>) -> Option<Sessions> {
    let object = reader.object(&["idle", "longest"])?;
    let usual = Sessions::default();
    let time = |key: &str, usual: Duration| {
        object.or(key, usual, |it| {
            let time = it.duration()?;
            Duration::try_from(time).ok()
        })
    };
    let (idle, longest) = (time("idle", usual.idle), time("longest", usual.longest));
    Some(Sessions {
        idle: idle?,
        longest: longest?,
    })
}

fn oidc(reader: &Reader<'_>) -> Option<Oidc> {
    let known = [
        "name",
        "issuer",
        "clientId",
        "clientSecretFile",
        "scopes",
        "groupsClaim",
        "roles",
    ];
    let object = reader.object(&known)?;
    let issuer = object.required("issuer", issuer);
    let client_id = object.required("clientId", Reader::text);
    let client_secret_file = object.optional("clientSecretFile", Reader::text);
    let usual = ["openid", "email", "groups"]
        .map(ToOwned::to_owned)
        .to_vec();
    let scopes = object.or("scopes", usual, scopes);
    let groups_claim = object.or("groupsClaim", "groups".to_owned(), Reader::text);
    let name = object.or("name", "single sign-on".to_owned(), Reader::text);
    let roles = object.required("roles", |it| {
        let roles = it.each(role_rule)?;
        match roles.is_empty() {
            true => it.problem("give at least one rule; without any, nobody could sign in"),
            false => Some(roles),
        }
    });
    Some(Oidc {
        name: name?,
        issuer: issuer?,
        client_id: client_id?,
        client_secret_file: client_secret_file?,
        scopes: scopes?,
        groups_claim: groups_claim?,
        roles: roles?,
    })
}

fn scopes(reader: &Reader<'_>) -> Option<Vec<String>> {
    let scopes = reader.each(|it| {
        let text = it.text()?;
        match text.contains(' ') {
            true => it.problem("one scope an item, without blanks"),
            false => Some(text),
        }
    })?;
    match scopes.iter().any(|it| it == "openid") {
        true => Some(scopes),
        false => reader.problem("\"openid\" must be among the scopes"),
    }
}

fn role_rule(reader: &Reader<'_>) -> Option<RoleRule> {
    let object = reader.object(&["group", "role", "project"])?;
    let group = object.required("group", Reader::text);
    let role = object.required("role", |it| it.word(&ROLES));
    let project = object.optional("project", Reader::name);
    Some(RoleRule {
        group: group?,
        role: role?,
        project: project?,
    })
}

fn ci_rule(reader: &Reader<'_>) -> Option<CiRule> {
    let known = [
        "name",
        "issuer",
        "audience",
        "claims",
        "byNameOnly",
        "role",
        "project",
    ];
    let object = reader.object(&known)?;
    let name = object.required("name", Reader::name);
    let issuer = object.required("issuer", issuer);
    let audience = object.required("audience", Reader::text);
    let claims = object.required("claims", |it| it.entries(claim));
    let by_name_only = object.or("byNameOnly", false, Reader::boolean);
    let role = object.required("role", ci_role);
    let project = object.required("project", Reader::name);
    let claims = bound(&object, claims?, by_name_only?);
    Some(CiRule {
        name: name?,
        issuer: issuer?,
        audience: audience?,
        claims: claims?,
        role: role?,
        project: project?,
    })
}

fn hook_source(reader: &Reader<'_>) -> Option<HookSource> {
    let object = reader.object(&["name", "secretFile", "project"])?;
    let name = object.required("name", Reader::name);
    let secret_file = object.required("secretFile", secret_file);
    let project = object.optional("project", Reader::name);
    Some(HookSource {
        name: name?,
        secret_file: secret_file?,
        project: project?,
    })
}

fn secret_file(reader: &Reader<'_>) -> Option<String> {
    let path = reader.text()?;
    match path.contains("whsec_") {
        true => reader.problem("this looks like a secret: name a file that holds it"),
        false => Some(path),
    }
}

/// A machine for whom nobody vouches may not approve, nor make tokens that outlive its own.
fn ci_role(reader: &Reader<'_>) -> Option<RoleWord> {
    let role = reader.word(&ROLES)?;
    match role {
        RoleWord::Viewer | RoleWord::Deployer | RoleWord::Operator => Some(role),
        RoleWord::Approver => reader.problem("machines do not approve; give deployer or operator"),
        RoleWord::Admin => reader.problem(
            "a job that is an admin could make tokens that outlive it; give deployer or operator",
        ),
    }
}

/// The values that a claim may have; one, or a list of them.
fn claim(name: &str, reader: &Reader<'_>) -> Option<(String, Vec<String>)> {
    let values = match reader.value() {
        Value::Array(all) if all.is_empty() => {
            return reader.problem("give at least one value");
        }
        Value::Array(_) => reader.each(claim_value)?,
        _ => vec![claim_value(reader)?],
    };
    Some((name.to_owned(), values))
}

fn claim_value(reader: &Reader<'_>) -> Option<String> {
    match reader.value() {
        Value::Number(number) if number.is_u64() => Some(number.to_string()),
        Value::Bool(it) => Some(it.to_string()),
        _ => {
            let text = reader.text()?;
            match text.contains('*') {
                true => reader.problem(
                    "values are compared exactly, a \"*\" stands for itself only: \
                     name each value, or bind another claim",
                ),
                false => Some(text),
            }
        }
    }
}

/// The claims, if they bind the rule to something that nobody else can come to be called.
fn bound(
    object: &Object<'_>,
    claims: Vec<(String, Vec<String>)>,
    by_name_only: bool,
) -> Option<Vec<(String, Vec<String>)>> {
    let immutable = |it: &(String, Vec<String>)| IMMUTABLE.contains(&it.0.as_str());
    if claims.is_empty() {
        return object.get("claims")?.problem("bind at least one claim");
    }
    match by_name_only || claims.iter().any(immutable) {
        true => Some(claims),
        false => object.get("claims")?.problem(format!(
            "these are names, which somebody else may have one day; bind an id as well ({}), \
             or say byNameOnly: true",
            IMMUTABLE.join(", ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn whole() -> Value {
        json!({
            "publicUrl": "https://Sluice.example.com/",
            "trustedProxies": ["10.0.0.0/8"],
            "people": {
                "sessions": { "idle": "1h" },
                "oidc": {
                    "issuer": "https://id.example",
                    "clientId": "sluice",
                    "clientSecretFile": "/run/secrets/oidc",
                    "roles": [{ "group": "sre", "role": "admin" },
                              { "group": "shop", "role": "deployer", "project": "shop" }],
                },
            },
            "ci": [{
                "name": "shop", "issuer": "https://ci.example", "audience": "sluice",
                "claims": { "repository_id": 7, "ref": ["refs/heads/main", "refs/heads/next"] },
                "role": "deployer", "project": "shop",
            }],
            "hooks": [{ "name": "watchdog", "secretFile": "/run/secrets/watchdog" }],
        })
    }

    #[test]
    fn whole_settings_are_read() {
        let people = People::read(&whole()).unwrap();
        assert_eq!(
            people.public_url.as_deref(),
            Some("https://sluice.example.com")
        );
        assert_eq!(people.sessions.idle, Duration::from_secs(3600));
        let oidc = people.oidc.unwrap();
        assert_eq!(oidc.scopes, ["openid", "email", "groups"]);
        assert_eq!(oidc.roles.len(), 2);
        let claims = &people.ci[0].claims;
        assert!(claims.contains(&("repository_id".to_owned(), vec!["7".to_owned()])));
        assert!(People::read(&json!({})).unwrap().oidc.is_none());
    }

    /// Puts `value` at `pointer`, and looks for what is said about `place`.
    fn check(pointer: &str, value: &Value, place: &str, words: &str) {
        let mut document = whole();
        match (document.pointer_mut(pointer), pointer.rsplit_once('/')) {
            (Some(it), _) => *it = value.clone(),
            (None, Some((above, key))) => {
                document.pointer_mut(above).unwrap()[key] = value.clone();
            }
            (None, None) => unreachable!(),
        }
        let problems = People::read(&document).unwrap_err();
        let found = problems.iter().find(|it| it.pointer == place);
        let found = found.unwrap_or_else(|| panic!("{pointer} {value}: {problems:?}"));
        assert!(found.detail.contains(words), "{found:?}");
    }

    #[test]
    fn every_problem_has_its_place_and_a_way_out() {
        let check = |pointer, value: Value, place, words| check(pointer, &value, place, words);
        check(
            "/publicUrl",
            json!("http://sluice.example"),
            "/publicUrl",
            "https://",
        );
        check(
            "/publicUrl",
            json!("https://a.example/x"),
            "/publicUrl",
            "without a path",
        );
        check("/publicUrl", json!(null), "", "publicUrl");
        check(
            "/trustedProxies",
            json!(["10.0.0.0/8", "x"]),
            "/trustedProxies/1",
            "network",
        );
        check(
            "/people/oidc/issuer",
            json!("http://id.example"),
            "/people/oidc/issuer",
            "https://",
        );
        check(
            "/people/oidc/scopes",
            json!(["email"]),
            "/people/oidc/scopes",
            "openid",
        );
        check(
            "/people/oidc/roles",
            json!([]),
            "/people/oidc/roles",
            "at least one",
        );
        check(
            "/people/oidc/roles/0/role",
            json!("boss"),
            "/people/oidc/roles/0/role",
            "admin",
        );
        check(
            "/people/oidc/clientSecret",
            json!("x"),
            "/people/oidc/clientSecret",
            "clientSecretFile",
        );
        let twice =
            json!([{ "name": "a", "secretFile": "/a" }, { "name": "a", "secretFile": "/b" }]);
        check("/hooks", twice, "/hooks/1/name", "another one");
        let secret = json!("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let (place, words) = ("/hooks/0/secretFile", "name a file");
        check(place, secret, place, words);
        check("/ci/0/role", json!("approver"), "/ci/0/role", "machines");
        check("/ci/0/role", json!("admin"), "/ci/0/role", "outlive");
        check("/ci/0/claims", json!({}), "/ci/0/claims", "at least one");
        check(
            "/ci/0/claims",
            json!({"sub": "repo:a/b"}),
            "/ci/0/claims",
            "byNameOnly",
        );
        check(
            "/ci/0/claims/ref",
            json!("refs/heads/*"),
            "/ci/0/claims/ref",
            "exactly",
        );
        check(
            "/ci/0/claims/ref",
            json!([]),
            "/ci/0/claims/ref",
            "at least one",
        );
        check("/ci/0/claims/ref", json!({}), "/ci/0/claims/ref", "text");
        check("/ci/0/colour", json!("red"), "/ci/0/colour", "unknown key");
        let rule = whole()["ci"][0].clone();
        check("/ci", json!([rule, rule]), "/ci/1/name", "another one");
        let mut named = rule.clone();
        named["claims"] = json!({"sub": "system:serviceaccount:ci:deployer"});
        named["byNameOnly"] = json!(true);
        let mut document = whole();
        document["ci"] = json!([named]);
        assert!(People::read(&document).is_ok());
    }
}
