//! What reaches the candidate beside its share: requests with certain headers, and copies of requests.

use serde::{Deserialize, Serialize};

use crate::{document::Reader, weight::Weight};

/// A rule of the router that is there only while a rollout says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RouteRule {
    /// Requests that have all of these headers go to the candidate, whatever its share.
    Headers(Vec<HeaderMatch>),
    /// This share of all requests is sent to the candidate as well; its answers are thrown away.
    Mirror(Weight),
}

/// A header that a request must have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeaderMatch {
    /// Its name; letters' case does not matter.
    pub header: String,
    /// What its value must be.
    pub value: ValueMatch,
}

/// What a header's value must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ValueMatch {
    /// This.
    Exact(String),
    /// Something that begins so.
    Prefix(String),
    /// Something that this expression (RE2) matches as a whole.
    Regex(String),
}

/// Most headers of one rule: what an HTTPRoute's match takes.
const HEADERS_MAX: usize = 16;
/// Longest name and value of a header that a rule may ask for: what an HTTPRoute takes.
const NAME_MAX: usize = 256;
const VALUE_MAX: usize = 4096;

impl RouteRule {
    /// Reads Argo Rollouts' `setHeaderRoute: { name, match: [{ headerName, headerValue }] }`: the
    /// rule's name, and the rule; without `match` there is to be none of that name any more.
    pub(crate) fn read_headers(reader: &Reader<'_>) -> Option<(String, Option<Self>)> {
        let object = reader.object(&["name", "match"])?;
        let name = object.required("name", Reader::name);
        let matches = object.optional("match", |it| match it.list()?.len() {
            1..=HEADERS_MAX => it.each(HeaderMatch::read),
            count => it.problem(format!("{count} headers; give 1 to {HEADERS_MAX}")),
        });
        Some((name?, matches?.map(Self::Headers)))
    }

    /// Reads Argo Rollouts' `setMirrorRoute: { name, percentage }`: as [`Self::read_headers`];
    /// without `percentage`, or with 0, there is to be none.
    pub(crate) fn read_mirror(reader: &Reader<'_>) -> Option<(String, Option<Self>)> {
        let object = reader.object(&["name", "percentage"])?;
        let name = object.required("name", Reader::name);
        let share = object.optional("percentage", |it| it.whole(0, 100));
        let share = share?.filter(|it| *it > 0);
        let share = share.map(|percent| Weight::from_hundredths(percent * 100));
        Some((name?, share.map(Self::Mirror)))
    }

    /// What kind it is, as users write it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Headers(_) => "setHeaderRoute",
            Self::Mirror(_) => "setMirrorRoute",
        }
    }
}

impl HeaderMatch {
    fn read(reader: &Reader<'_>) -> Option<Self> {
        let object = reader.object(&["headerName", "headerValue"])?;
        let header = object.required("headerName", |it| {
            let name = it.text()?;
            match is_token(&name) {
                true => Some(name),
                false => it.problem(format!(
                    "\"{name}\" is not the name of a header, such as X-Tester"
                )),
            }
        });
        let value = object.required("headerValue", ValueMatch::read);
        Some(Self {
            header: header?,
            value: value?,
        })
    }
}

impl ValueMatch {
    fn read(reader: &Reader<'_>) -> Option<Self> {
        let (word, it) = reader.one_of(&["exact", "prefix", "regex"])?;
        let text = it.text()?;
        if text.len() > VALUE_MAX || text.chars().any(char::is_control) {
            return it.problem(format!(
                "must be at most {VALUE_MAX} bytes, without control characters"
            ));
        }
        Some(match word {
            "exact" => Self::Exact(text),
            "prefix" => Self::Prefix(text),
            _ => Self::Regex(text),
        })
    }
}

/// Whether `text` is a token of RFC 9110, which names of headers are.
fn is_token(text: &str) -> bool {
    let allowed = |it: u8| it.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&it);
    (1..=NAME_MAX).contains(&text.len()) && text.bytes().all(allowed)
}
