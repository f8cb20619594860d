//! Whether a request was sent by a page of this site. A browser sends a cookie with every request,
//! whichever site made it send it; what it lets only our own pages do is set a header of ours, and it
//! says itself where a request comes from.

use axum::http::{HeaderMap, HeaderName, header};

use crate::error::ServeError;

/// A header that no page of another site can send without asking first, which we never allow.
const X_SLUICE_REQUEST: HeaderName = HeaderName::from_static("x-sluice-request");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses a request to change something that carries a cookie, unless one of our own pages sent it.
pub(super) fn ours(headers: &HeaderMap, public_url: Option<&str>) -> Result<(), ServeError> {
    if headers.get(X_SLUICE_REQUEST).is_none_or(|it| it != "1") {
        return Err(ServeError::Forbidden {
            detail: "with a cookie, send the header X-Sluice-Request: 1 as well: it shows that \
                     no page of another site sends this"
                .to_owned(),
        });
    }
    not_foreign(headers, public_url)
}

/// Refuses what a browser says comes from a page of another site. Who is no browser says nothing.
pub(super) fn not_foreign(headers: &HeaderMap, public_url: Option<&str>) -> Result<(), ServeError> {
    let foreign = |what: &str| {
        Err(ServeError::Forbidden {
            detail: format!(
                "this was sent by a page of another site ({what}); if people reach this server by \
                 a name that a proxy hides from it, set publicUrl to that address"
            ),
        })
    };
    if let Some(site) = headers.get(SEC_FETCH_SITE)
        && site != "same-origin"
    {
        let site = site.to_str().unwrap_or("?");
        return foreign(&format!("Sec-Fetch-Site: {site}"));
    }
    let origins: Vec<_> = headers.get_all(header::ORIGIN).iter().collect();
    let origin = match origins.as_slice() {
        [] => return Ok(()),
        [origin] => origin.to_str().unwrap_or("?"),
        _ => "several",
    };
    let own = headers.get(header::HOST).and_then(|it| it.to_str().ok());
    let host = ["http://", "https://"]
        .into_iter()
        .find_map(|scheme| origin.strip_prefix(scheme));
    let same = host.is_some_and(|it| own.is_some_and(|own| own.eq_ignore_ascii_case(it)));
    match same || public_url.is_some_and(|it| it.eq_ignore_ascii_case(origin)) {
        true => Ok(()),
        false => foreign(&format!("Origin: {origin}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLIC: Option<&str> = Some("https://sluice.example");

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.append("host", "10.0.0.1:8080".parse().unwrap());
        for (name, value) in pairs {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn only_our_own_pages_change_something_by_cookie() {
        let check = |pairs: &[(&str, &str)], good: bool| {
            let found = ours(&headers(pairs), PUBLIC).is_ok();
            assert_eq!(found, good, "{pairs:?}");
        };
        let own = ("x-sluice-request", "1");
        check(&[], false);
        check(&[("x-sluice-request", "0")], false);
        check(&[("origin", "https://sluice.example")], false);
        check(&[own], true);
        check(&[own, ("sec-fetch-site", "same-origin")], true);
        for site in ["cross-site", "same-site", "none", ""] {
            check(&[own, ("sec-fetch-site", site)], false);
        }
        for origin in ["https://sluice.example", "http://10.0.0.1:8080"] {
            check(&[own, ("origin", origin)], true);
            check(&[own, ("origin", origin), ("origin", origin)], false);
        }
        for origin in [
            "null",
            "",
            "https://sluice.example.evil",
            "https://sluice.example:444",
            "http://sluice.example",
            "http://10.0.0.1",
            "http://10.0.0.1:8080.evil",
            "ftp://10.0.0.1:8080",
            "10.0.0.1:8080",
        ] {
            check(&[own, ("origin", origin)], false);
        }
    }
}
