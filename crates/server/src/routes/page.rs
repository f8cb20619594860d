//! Pages: an opaque cursor, a limit, and the way to the next page in body and `Link` header.

use axum::{
    Json,
    http::{HeaderValue, Uri, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::error::ServeError;

/// Items of a page when none are asked for.
const LIMIT: u32 = 50;
/// Most items of a page.
const LIMIT_MAX: u32 = 200;

/// Which page.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageParams {
    /// How many items, 1 to 200; 50 when absent.
    limit: Option<u32>,
    /// The `nextCursor` of the page before.
    cursor: Option<String>,
}

/// A wanted page, checked.
#[derive(Debug)]
pub(super) struct Wanted {
    /// Items.
    pub(super) limit: u32,
    /// What the page before ended with.
    pub(super) after: Option<String>,
}

impl PageParams {
    /// The page they ask for. `kind` keeps one list's cursors from being used for another.
    pub(super) fn wanted(&self, kind: &str) -> Result<Wanted, ServeError> {
        wanted(kind, self.limit, self.cursor.as_deref())
    }
}

/// The page that `limit` and `cursor` ask for.
pub(super) fn wanted(
    kind: &str,
    limit: Option<u32>,
    cursor: Option<&str>,
) -> Result<Wanted, ServeError> {
    let limit = limit.unwrap_or(LIMIT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        let detail = format!("{limit} is not from 1 to {LIMIT_MAX}");
        return Err(ServeError::field("/limit", detail));
    }
    let after = cursor.map(|it| decode(kind, it).ok_or_else(bad_cursor));
    Ok(Wanted {
        limit,
        after: after.transpose()?,
    })
}

/// What to say of a cursor that this list did not give out.
pub(super) fn bad_cursor() -> ServeError {
    ServeError::field(
        "/cursor",
        "not a cursor of this list; take nextCursor from the page before",
    )
}

/// A page and its place.
#[derive(Debug)]
pub(super) struct Paged<T> {
    page: api::Page<T>,
    uri: Uri,
}

impl<T> Paged<T> {
    /// A page from up to one row more than wanted: that there is one more is how we know of a next
    /// page. `key` is what the next page comes after.
    pub(super) fn new<R>(
        kind: &str,
        wanted: &Wanted,
        uri: Uri,
        mut rows: Vec<R>,
        key: impl Fn(&R) -> String,
        view: impl Fn(&R) -> T,
    ) -> Self {
        let limit = usize::try_from(wanted.limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let last = rows.last().filter(|_| more);
        let next_cursor = last.map(|it| encode(kind, &key(it)));
        let items = rows.iter().map(view).collect();
        let page = api::Page { items, next_cursor };
        Self { page, uri }
    }
}

impl<T: Serialize> IntoResponse for Paged<T> {
    fn into_response(self) -> Response {
        let link = self.page.next_cursor.as_ref();
        let link = link.and_then(|it| HeaderValue::from_str(&next(&self.uri, it)).ok());
        let mut answer = Json(self.page).into_response();
        if let Some(link) = link {
            answer.headers_mut().insert(header::LINK, link);
        }
        answer
    }
}

/// The same address with another cursor, as RFC 8288 wants it.
fn next(uri: &Uri, cursor: &str) -> String {
    let others = uri.query().unwrap_or_default().split('&');
    let others = others.filter(|it| !it.is_empty() && !it.starts_with("cursor="));
    let cursor = format!("cursor={cursor}");
    let query: Vec<&str> = others.chain([cursor.as_str()]).collect();
    format!("<{}?{}>; rel=\"next\"", uri.path(), query.join("&"))
}

fn encode(kind: &str, key: &str) -> String {
    let text = format!("{kind}:{key}");
    text.bytes().map(|it| format!("{it:02x}")).collect()
}

fn decode(kind: &str, cursor: &str) -> Option<String> {
    let digits = cursor.as_bytes().chunks(2);
    let bytes: Option<Vec<u8>> = digits
        .map(|pair| {
            let pair = std::str::from_utf8(pair).ok()?;
            // A sign would be read as part of a number, too.
            let plain = pair.len() == 2 && pair.bytes().all(|it| it.is_ascii_hexdigit());
            plain.then(|| u8::from_str_radix(pair, 16).ok()).flatten()
        })
        .collect();
    let text = String::from_utf8(bytes?).ok()?;
    let key = text.strip_prefix(kind)?.strip_prefix(':')?;
    Some(key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_lead_on_in_their_own_list_only() {
        let cursor = encode("apps", "shop/checkout");
        assert_eq!(decode("apps", &cursor).as_deref(), Some("shop/checkout"));
        assert_eq!(decode("history", &cursor), None);
        for wrong in ["", "zz", "6", "+1+1", "é", "ffff"] {
            assert_eq!(decode("apps", wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn the_next_page_keeps_the_other_parameters() {
        let uri: Uri = "/api/v1/apps?cursor=00&limit=1&project=a".parse().unwrap();
        assert_eq!(
            next(&uri, "6161"),
            "</api/v1/apps?limit=1&project=a&cursor=6161>; rel=\"next\""
        );
    }

    #[test]
    fn one_row_more_than_wanted_is_a_next_page() {
        let wanted = wanted("n", Some(2), None).unwrap();
        let page = |rows: Vec<i64>| {
            let uri = Uri::from_static("/n");
            Paged::new("n", &wanted, uri, rows, i64::to_string, |it| *it).page
        };
        let full = page(vec![1, 2, 3]);
        assert_eq!(full.items, [1, 2]);
        let after = full.next_cursor.and_then(|it| decode("n", &it));
        assert_eq!(after.as_deref(), Some("2"));
        assert_eq!(page(vec![1, 2]).next_cursor, None);
        assert_eq!(page(vec![]).next_cursor, None);
    }
}
