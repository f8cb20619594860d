//! Tokens, and who the bearer of one is. Nobody makes a token that can do more than their own.

use api::{CreateToken, CreatedToken, Page, ProblemBody, TokenView, Whoami};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret as _;
use store::Token;
use uuid::Uuid;

use super::{
    Web,
    extract::{Caller, JsonBody},
    guard::reaches,
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

/// Who the bearer of the token is.
#[utoipa::path(get, path = "/api/v1/whoami", tag = "tokens",
    responses((status = 200, body = Whoami)))]
pub(super) async fn whoami(Caller(caller): Caller) -> Json<Whoami> {
    Json(Whoami {
        principal: caller.name,
        role: caller.role,
        project: caller.project,
        groups: caller.groups,
    })
}

/// Makes a token; its secret is in this answer and nowhere else.
#[utoipa::path(post, path = "/api/v1/tokens", tag = "tokens", request_body = CreateToken,
    responses((status = 201, body = CreatedToken),
        (status = 403, body = ProblemBody, description = "It could do more than its maker"),
        (status = 409, body = ProblemBody, description = "A good token has this name")))]
pub(super) async fn create(
    State(web): State<Web>,
    Caller(caller): Caller,
    body: JsonBody<CreateToken>,
) -> Result<(StatusCode, Json<CreatedToken>), ServeError> {
    let asked = body.value;
    well_formed(&asked)?;
    within(&caller, &asked)?;
    let now = Timestamp::now();
    let expires_at = now.checked_add(life(asked.expires_in.as_deref())?);
    let expires_at = expires_at.unwrap_or(Timestamp::MAX);
    let store = &web.service.store;
    let good = |it: &Token| it.revoked_at.is_none() && it.row.expires_at.is_none_or(|it| it > now);
    let all = store.list_tokens(None).await?;
    if all.iter().any(|it| it.row.name == asked.name && good(it)) {
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
    Ok((StatusCode::CREATED, Json(created)))
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

fn plain(text: &str) -> bool {
    let fits = (1..=NAME_MAX).contains(&text.len());
    fits && text
        .bytes()
        .all(|it| it.is_ascii_alphanumeric() || b"-_.".contains(&it))
}

/// Refuses a token that reaches further than its maker's.
fn within(maker: &Principal, asked: &CreateToken) -> Result<(), ServeError> {
    let project = match (&maker.project, &asked.project) {
        (None, _) => true,
        (Some(own), Some(asked)) => own == asked,
        (Some(_), None) => false,
    };
    let refuse = |detail: String| Err(ServeError::Forbidden { detail });
    if !project {
        let own = maker.project.as_deref().unwrap_or_default();
        return refuse(format!(
            "{} makes tokens for project {own} only",
            maker.name
        ));
    }
    if !reaches(maker.role, asked.role) {
        return refuse("a token cannot have a higher role than its maker's".to_owned());
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
    let tokens = web.service.store.list_tokens(caller.project.as_deref());
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
) -> Result<StatusCode, ServeError> {
    let missing = || ServeError::not_found(format!("token {text}"));
    let id: Uuid = text.parse().map_err(|_| missing())?;
    let store = &web.service.store;
    if caller.project.is_some() {
        let own = store.list_tokens(caller.project.as_deref()).await?;
        own.iter().find(|it| it.row.id == id).ok_or_else(missing)?;
    }
    match store.revoke_token(id, &caller.name).await {
        Ok(()) => {}
        Err(store::StoreError::NotFound { .. }) => return Err(missing()),
        Err(error) => return Err(error.into()),
    }
    web.shared.tokens.forget(id);
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use api::RoleWord;

    use super::*;

    fn maker(role: RoleWord, project: Option<&str>, person: bool) -> Principal {
        Principal {
            name: "token:maker".to_owned(),
            role,
            project: project.map(ToOwned::to_owned),
            groups: Vec::new(),
            person,
            token_id: Uuid::nil(),
        }
    }

    #[test]
    fn no_token_reaches_further_than_its_maker() {
        use RoleWord::{Admin, Approver, Deployer, Operator, Viewer};
        let roles = [Viewer, Deployer, Approver, Operator, Admin];
        let projects = [None, Some("shop"), Some("bank")];
        let mut allowed = 0;
        for (own, new) in roles
            .into_iter()
            .flat_map(|own| roles.map(|new| (own, new)))
        {
            for (from, to) in projects.into_iter().flat_map(|a| projects.map(|b| (a, b))) {
                for (by_person, person) in
                    [(true, true), (true, false), (false, true), (false, false)]
                {
                    let asked = CreateToken {
                        name: "x".to_owned(),
                        role: new,
                        project: to.map(ToOwned::to_owned),
                        person,
                        groups: Vec::new(),
                        expires_in: None,
                    };
                    if within(&maker(own, from, by_person), &asked).is_ok() {
                        allowed += 1;
                        assert!(
                            new <= own && (from.is_none() || from == to) && (by_person || !person)
                        );
                    }
                }
            }
        }
        // 15 pairs of roles, 5 of projects, 3 of kinds.
        assert_eq!(allowed, 15 * 5 * 3);
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
