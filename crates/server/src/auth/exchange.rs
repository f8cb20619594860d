//! CI jobs without secrets: the ID token that a CI provider gives a job, exchanged for a token of
//! ours that is good for 15 minutes and for what a rule in the settings says.

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use serde_json::Value;
use store::{Store, TokenRow};

use super::{
    NewToken,
    jwt::{self, Claims, Unverified},
    new_token,
    provider::{Provider, refused},
};
use crate::{error::ServeError, people::CiRule};

/// How long a job's token is good.
const LIFE: SignedDuration = SignedDuration::from_mins(15);

/// Exchanges ID tokens by rules.
#[derive(Debug)]
pub(crate) struct Exchange {
    rules: Vec<CiRule>,
    providers: BTreeMap<String, Arc<Provider>>,
}

impl Exchange {
    /// `provider` gives the one of an issuer.
    pub(crate) fn new(rules: &[CiRule], provider: impl Fn(&str) -> Arc<Provider>) -> Self {
        let issuers = rules.iter().map(|it| it.issuer.as_str());
        Self {
            providers: issuers.map(|it| (it.to_owned(), provider(it))).collect(),
            rules: rules.to_vec(),
        }
    }

    /// A token for the job whose ID token this is, and until when it is good.
    pub(crate) async fn exchange(
        &self,
        store: &Store,
        text: &str,
    ) -> Result<(SecretString, TokenRow), ServeError> {
        let refused_why = |it: jwt::Refused| refused(&it.0);
        let now = Timestamp::now();
        let token = Unverified::parse(text.trim()).map_err(refused_why)?;
        // Only tells whose keys to hold it against: the claims are believed after that.
        let claimed = token.claimed_issuer().and_then(|it| self.providers.get(it));
        let provider =
            claimed.ok_or_else(|| refused("no rule of this server is for its issuer"))?;
        let claims = provider.verify(token).await?;
        let rule = self.rule(&claims, now)?;
        let end = jwt::check(&claims, &rule.issuer, &rule.audience, now).map_err(refused_why)?;
        let subject = jwt::subject(&claims).map_err(refused_why)?;
        let jti = claims.get("jti").and_then(Value::as_str);
        let jti = jti.filter(|it| jwt::is_plain(it));
        let jti = jti.ok_or_else(|| refused("it has no name of its own (jti)"))?;
        if !store.use_id_token(&rule.issuer, jti, end).await? {
            return Err(refused(
                "it was exchanged before; ask the CI provider for a new one",
            ));
        }
        let (secret, row) = new_token(NewToken {
            // No token that people make has a "/" in its name.
            name: format!("ci/{}", rule.name),
            role: rule.role,
            project: Some(rule.project.clone()),
            groups: Vec::new(),
            person: false,
            created_by: format!("ci:{subject}"),
            expires_at: now.checked_add(LIFE).unwrap_or(Timestamp::MAX),
        });
        let row = TokenRow {
            exchanged: true,
            ..row
        };
        store.insert_token(&row).await?;
        Ok((secret, row))
    }

    /// The first rule that fits. What is wrong with the audience or the times is said as such: it is
    /// the pipeline's mistake, and tells nothing of the rules that the token does not say.
    fn rule(&self, claims: &Claims, now: Timestamp) -> Result<&CiRule, ServeError> {
        let mut nearest = None;
        for rule in self.rules.iter().filter(|it| binds(it, claims)) {
            match jwt::check(claims, &rule.issuer, &rule.audience, now) {
                Ok(_) => return Ok(rule),
                Err(why) => nearest = nearest.or(Some(why)),
            }
        }
        Err(match nearest {
            Some(why) => refused(&why.0),
            None => ServeError::Forbidden {
                detail: "no rule of this server gives this job a token: its claims are not those \
                         of any"
                    .to_owned(),
            },
        })
    }
}

/// Whether the token is of the rule's issuer and has each of its claims, exactly.
fn binds(rule: &CiRule, claims: &Claims) -> bool {
    let text = |value: &Value| match value {
        Value::String(it) => Some(it.clone()),
        Value::Number(it) if it.is_u64() => Some(it.to_string()),
        Value::Bool(it) => Some(it.to_string()),
        Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
    };
    let issuer = claims.get("iss").and_then(Value::as_str);
    issuer == Some(rule.issuer.as_str())
        && rule.claims.iter().all(|(name, values)| {
            let found = claims.get(name).and_then(text);
            found.is_some_and(|it| values.contains(&it))
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn claims_are_bound_exactly() {
        let rule = CiRule {
            name: "shop".to_owned(),
            issuer: "https://ci.example".to_owned(),
            audience: "sluice".to_owned(),
            claims: vec![
                ("repository_id".to_owned(), vec!["7".to_owned()]),
                ("ref".to_owned(), vec!["a".to_owned(), "b".to_owned()]),
            ],
            role: api::RoleWord::Deployer,
            project: "shop".to_owned(),
        };
        let own = json!({"iss": "https://ci.example", "repository_id": "7", "ref": "b", "x": 1});
        for (name, value, good) in [
            ("x", json!(2), true),
            ("repository_id", json!(7), true),
            ("repository_id", json!("70"), false),
            ("repository_id", json!(["7"]), false),
            ("repository_id", json!(7.0), false),
            ("repository_id", json!(null), false),
            ("ref", json!("A"), false),
            ("ref", json!("ab"), false),
            ("iss", json!("https://ci.example/"), false),
        ] {
            let mut claims = own.as_object().unwrap().clone();
            claims.insert(name.to_owned(), value.clone());
            assert_eq!(binds(&rule, &claims), good, "{name}: {value}");
        }
        assert!(!binds(&rule, &Claims::new()));
    }
}
