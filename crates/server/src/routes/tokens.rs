//! Tokens. Nobody makes a token that can do more than their own.

use api::{CreateToken, CreatedToken, Page, ProblemBody, RoleWord, TokenView};
use axum::{
    Extension, Json,
    extract::{Path, State},
    http::StatusCode,
};
use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret as _;
use serde_json::json;
use store::{Token, TokenRow};
use uuid::Uuid;

use super::{
    Web,
    extract::{Caller, JsonBody},
    recorder::Noted,
};
use crate::{
    auth::{self, NewToken, Principal, TOKEN_LIFE},
    error::ServeError,
    views,
};

/// Longest name of a token, a project or a group; all end up in history rows.
const NAME_MAX: usize = 63;
/// Most groups of a token.
const GROUPS_MAX: usize = 50;

/// Makes a token; its secret is in this answer and nowhere else.
#[utoipa::path(post, path = "/api/v1/tokens", tag = "tokens", request_body = CreateToken,
    responses((status = 201, body = CreatedToken),
        (status = 403, body = ProblemBody, description = "It could do more than its maker"),
        (status = 409, body = ProblemBody, description = "A good token has this name")))]
pub(super) async fn create(
    State(web): State<Web>,
    Caller(caller): Caller,
    body: JsonBody<CreateToken>,
) -> Result<(StatusCode, Extension<Noted>, Json<CreatedToken>), ServeError> {
    let asked = body.value;
    well_formed(&asked)?;
    within(&caller, &asked)?;
    let now = Timestamp::now();
    let expires_at = now.checked_add(life(asked.expires_in.as_deref())?);
    let expires_at = expires_at.unwrap_or(Timestamp::MAX);
    let store = &web.service.store;
    if store.token_name_is_taken(&asked.name).await? {
        // The name is the principal: history and approvals tell people apart by it.
        return Err(ServeError::conflict(format!(
            "a good token is called {}; revoke it first or choose another name",
            asked.name
        )));
    }
    let (secret, row) = auth::new_token(NewToken {
        name: asked.name,
        role: asked.role,
        project: asked.project,
        groups: asked.groups,
        person: asked.person,
        created_by: caller.name,
        expires_at,
    });
    store.insert_token(&row).await?;
    let token = Token {
        row,
        created_at: now,
        last_used_at: None,
        revoked_at: None,
        revoked_by: None,
    };
    let created = CreatedToken {
        secret: secret.expose_secret().to_owned(),
        token: views::token_view(&token),
    };
    let rights = json!({
        "token": token.row.name,
        "role": token.row.role,
        "person": token.row.person,
        "groups": token.row.groups,
    });
    let noted = Noted::about(rights).within(token.row.project.clone());
    Ok((StatusCode::CREATED, Extension(noted), Json(created)))
}

fn well_formed(asked: &CreateToken) -> Result<(), ServeError> {
    let check = |pointer: &str, text: &str| match plain(text) {
        true => Ok(()),
        false => Err(ServeError::field(
            pointer,
            format!("must be 1 to {NAME_MAX} letters, digits, '-', '_' or '.'"),
        )),
    };
    check("/name", &asked.name)?;
    if let Some(project) = &asked.project {
        check("/project", project)?;
    }
    for (index, group) in asked.groups.iter().enumerate() {
        check(&format!("/groups/{index}"), group)?;
    }
    match asked.groups.len() <= GROUPS_MAX {
        true => Ok(()),
        false => Err(ServeError::field(
            "/groups",
            format!("at most {GROUPS_MAX}"),
        )),
    }
}

/// Whether a text may be a name that ends up in histories and addresses.
pub(super) fn plain(text: &str) -> bool {
    let fits = (1..=NAME_MAX).contains(&text.len());
    fits && text
        .bytes()
        .all(|it| it.is_ascii_alphanumeric() || b"-_.".contains(&it))
}

/// Refuses a token that reaches further than its maker, or into a project where the maker is no admin.
fn within(maker: &Principal, asked: &CreateToken) -> Result<(), ServeError> {
    let refuse = |detail: String| Err(ServeError::Forbidden { detail });
    let admin = match &asked.project {
        Some(project) => maker.has(RoleWord::Admin, Some(project)),
        None => maker.has_everywhere(RoleWord::Admin),
    };
    if !admin {
        let own = maker.projects_with(RoleWord::Admin).unwrap_or_default();
        return refuse(match own.as_slice() {
            [] => format!("{} is an admin of no project", maker.name),
            own => format!(
                "{} makes tokens for these projects only: {}",
                maker.name,
                own.join(", ")
            ),
        });
    }
    if asked.person && !maker.person {
        return refuse("a machine's token cannot make a person's: it could approve".to_owned());
    }
    Ok(())
}

fn life(text: Option<&str>) -> Result<SignedDuration, ServeError> {
    let Some(text) = text else {
        return Ok(TOKEN_LIFE);
    };
    let life = text.parse::<SignedDuration>().ok();
    let life = life.filter(|it| it.is_positive() && *it <= TOKEN_LIFE);
    life.ok_or_else(|| {
        let hours = TOKEN_LIFE.as_hours();
        ServeError::field(
            "/expiresIn",
            format!("must be a time up to {hours}h, e.g. 720h"),
        )
    })
}

/// The tokens that the caller may manage, those that ended included.
#[utoipa::path(get, path = "/api/v1/tokens", tag = "tokens",
    responses((status = 200, body = Page<TokenView>)))]
pub(super) async fn list(
    State(web): State<Web>,
    Caller(caller): Caller,
) -> Result<Json<Page<TokenView>>, ServeError> {
    let projects = caller.projects_with(RoleWord::Admin);
    let tokens = web.service.store.list_tokens(projects.as_deref());
    Ok(Json(Page {
        items: tokens.await?.iter().map(views::token_view).collect(),
        next_cursor: None,
    }))
}

/// Revokes a token. It stops working within 5 seconds everywhere, and open streams end.
#[utoipa::path(delete, path = "/api/v1/tokens/{id}", tag = "tokens",
    params(("id" = Uuid, Path)), responses((status = 204, description = "It is revoked")))]
pub(super) async fn revoke(
    State(web): State<Web>,
    Caller(caller): Caller,
    Path(text): Path<String>,
) -> Result<(StatusCode, Extension<Noted>), ServeError> {
    let missing = || ServeError::not_found(format!("token {text}"));
    let id: Uuid = text.parse().map_err(|_| missing())?;
    let store = &web.service.store;
    let projects = caller.projects_with(RoleWord::Admin);
    let own = |it: &Token| match (&projects, &it.row.project) {
        (None, _) => true,
        (Some(projects), Some(project)) => projects.contains(project),
        (Some(_), None) => false,
    };
    let token = store.find_token(id).await?.filter(own);
    let TokenRow { name, project, .. } = token.ok_or_else(missing)?.row;
    match store.revoke_token(id, &caller.name).await {
        Ok(()) => {}
        Err(store::StoreError::NotFound { .. }) => return Err(missing()),
        Err(error) => return Err(error.into()),
    }
    web.shared.tokens.forget(id);
    let noted = Noted::named("token", &name).within(project);
    Ok((StatusCode::NO_CONTENT, Extension(noted)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::auth::{Credential, Grant, ROLES};

    fn maker(grants: &[Grant], person: bool) -> Principal {
        Principal {
            name: "token:maker".to_owned(),
            grants: grants.to_vec(),
            groups: Vec::new(),
            person,
            credential: Credential::Token(Uuid::nil()),
            expires_at: Timestamp::MAX,
        }
    }

    /// What somebody may do, as a set: roles by project, `*` standing for those nobody thought of yet.
    fn reach(grants: &[Grant]) -> BTreeSet<(&'static str, RoleWord)> {
        let places = ["shop", "bank", "*"];
        let all = places
            .into_iter()
            .flat_map(|it| ROLES.map(|(_, role)| (it, role)));
        let granted = |(place, role): &(&str, RoleWord)| {
            let mut there = grants.iter().filter(|it| it.covers(place));
            there.any(|it| it.role >= *role)
        };
        all.filter(granted).collect()
    }

    #[test]
    fn no_token_reaches_further_than_its_maker() {
        let projects = [None, Some("shop"), Some("bank")];
        let grants: Vec<Grant> = projects
            .into_iter()
            .flat_map(|project| {
                ROLES.map(|(_, role)| Grant {
                    role,
                    project: project.map(ToOwned::to_owned),
                })
            })
            .collect();
        let mut allowed = 0;
        // Every maker with one or two grants, and every token it could ask for.
        for (first, second) in grants
            .iter()
            .flat_map(|a| grants.iter().map(move |b| (a, b)))
        {
            for (by_person, person) in [(true, true), (true, false), (false, true), (false, false)]
            {
                let own = [first.clone(), second.clone()];
                let maker = maker(&own, by_person);
                for new in &grants {
                    let asked = CreateToken {
                        name: "x".to_owned(),
                        role: new.role,
                        project: new.project.clone(),
                        person,
                        groups: Vec::new(),
                        expires_in: None,
                    };
                    if within(&maker, &asked).is_ok() {
                        allowed += 1;
                        let new = reach(std::slice::from_ref(new));
                        assert!(new.is_subset(&reach(&own)), "{own:?} made {asked:?}");
                        assert!(by_person || !person);
                    }
                }
            }
        }
        // Of the 225 makers 29 are admins of all and make all 15 tokens, 50 are admins of one
        // project and make its 5, 2 are admins of both; and of three of four kinds each.
        assert_eq!(allowed, (29 * 15 + 50 * 5 + 2 * 10) * 3);
    }

    #[test]
    fn tokens_live_90_days_at_most() {
        assert_eq!(life(None).unwrap(), TOKEN_LIFE);
        assert_eq!(life(Some("1h")).unwrap(), SignedDuration::from_hours(1));
        for wrong in ["2161h", "0s", "-1h", "for ever"] {
            assert!(life(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
