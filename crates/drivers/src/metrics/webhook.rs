//! The client of webhook gates: asks a service of the user's, which judges for itself.
//!
//! The question is POSTed as JSON. Only `{"verdict": "pass" | "fail" | "inconclusive", "detail":
//! "…"}` with a 2xx status is an answer; everything else is no data, a plain text and an empty
//! body included (Argo Rollouts once counted any text as a success, argo-rollouts#4770):
//!
//! | what comes back | reading |
//! |---|---|
//! | 2xx with a verdict | judged, `detail` cut to 200 characters |
//! | 2xx with anything else: empty, text, another verdict, another shape, compressed | no data: malformed |
//! | 4xx, any redirect (none is followed) | no data: refused |
//! | 5xx, connection refused, answer cut off | no data: unavailable |
//! | no whole answer in time | no data: timeout |
//! | more than 64 KiB | no data: too large |

use std::time::Duration;

use rollout::gate::{NoDataCause, Reading, Verdict};
use serde::Deserialize;
use serde_json::Value;

use super::no_data;
use crate::{
    Cx,
    exchange::{self, Limits, excerpt},
};

/// Most bytes of an answer: a verdict and a sentence.
const ANSWER_BYTES_MAX: usize = 64 << 10;

#[derive(Deserialize)]
struct Answer {
    verdict: Word,
    detail: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Word {
    Pass,
    Fail,
    Inconclusive,
}

/// Asks `question` at `url`, with `timeout` over everything.
pub async fn ask(cx: &Cx, url: &str, question: &Value, timeout: Duration) -> Reading {
    let limits = Limits {
        deadline: timeout,
        bytes_max: ANSWER_BYTES_MAX,
    };
    let answer = match exchange::exchange(cx.http.post(url).json(question), limits).await {
        Ok(answer) => answer,
        Err(broken) => return no_data(broken.cause(), broken),
    };
    let status = answer.status;
    if status.is_success() {
        return judged(&answer.body);
    }
    if status.is_redirection() {
        let detail = format!("{status}: redirects are not followed, give the final address");
        return no_data(NoDataCause::Refused, detail);
    }
    let refused = status.is_client_error();
    no_data(
        if refused {
            NoDataCause::Refused
        } else {
            NoDataCause::Unavailable
        },
        status,
    )
}

fn judged(body: &[u8]) -> Reading {
    let Ok(answer) = serde_json::from_slice::<Answer>(body) else {
        let found = if body.trim_ascii().is_empty() {
            "an empty body"
        } else {
            "something else"
        };
        return no_data(
            NoDataCause::Malformed,
            format!(
                "expected {{\"verdict\": \"pass\", \"fail\" or \"inconclusive\"}}, got {found}"
            ),
        );
    };
    let (verdict, word) = match answer.verdict {
        Word::Pass => (Verdict::Pass, "pass"),
        Word::Fail => (Verdict::Fail, "fail"),
        Word::Inconclusive => (Verdict::Inconclusive, "inconclusive"),
    };
    let detail = excerpt(answer.detail.as_deref().unwrap_or_default());
    let detail = if detail.is_empty() {
        format!("answered {word}")
    } else {
        detail
    };
    Reading::Judged { verdict, detail }
}
