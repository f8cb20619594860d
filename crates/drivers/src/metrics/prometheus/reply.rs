//! Reads an answer of the query API: what is common to all answers, and one finite number, or why
//! there is none. Pure; the answer is untrusted.

use reqwest::StatusCode;
use rollout::gate::{NoDataCause, Reading};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

use crate::{
    exchange::{excerpt, shortened},
    metrics::no_data,
};

/// Label sets that are shown when there are several series.
const SERIES_SHOWN: usize = 2;
/// Characters of a label set that are shown: room for two in one message.
const LABELS_CHARS: usize = 60;

/// The one number of an answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample {
    /// Finite.
    pub(super) value: f64,
    /// Seconds since 1970, as evaluated.
    pub(super) at: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body<D> {
    status: String,
    data: Option<D>,
    error_type: Option<String>,
    error: Option<String>,
    warnings: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    #[serde(default)]
    result: Value,
}

/// The number, or the reading that says why there is none.
pub(super) fn read(status: StatusCode, body: &[u8]) -> Result<Sample, Reading> {
    sample(&data(status, body)?)
}

/// The `data` of a whole and successful answer, or the reading that says why there is none.
pub(super) fn data<'b, D: Deserialize<'b>>(
    status: StatusCode,
    body: &'b [u8],
) -> Result<D, Reading> {
    if !status.is_success() {
        let said = serde_json::from_slice::<Body<IgnoredAny>>(body);
        return Err(unsuccessful(status, said.ok().as_ref()));
    }
    // Once for the whole of it, and not for each text in it: an answer may be some MiB.
    let text = std::str::from_utf8(body).map_err(|error| {
        let place = error.valid_up_to();
        no_data(
            NoDataCause::Malformed,
            format!("not an answer of the query API: no UTF-8 at byte {place}"),
        )
    })?;
    let body = serde_json::from_str::<Body<D>>(text).map_err(|error| {
        // serde_json's message may quote the body; the kind and place say enough.
        let place = format!("line {} column {}", error.line(), error.column());
        no_data(
            NoDataCause::Malformed,
            format!("not an answer of the query API, at {place}"),
        )
    })?;
    if body.status != "success" {
        return Err(no_data(
            NoDataCause::Refused,
            words(&body).unwrap_or_default(),
        ));
    }
    if let Some(warnings) = &body.warnings
        && !is_nothing(warnings)
    {
        return Err(no_data(NoDataCause::Warnings, warning_words(warnings)));
    }
    let missing = || no_data(NoDataCause::Malformed, "the answer has no \"data\"");
    body.data.ok_or_else(missing)
}

fn unsuccessful<D>(status: StatusCode, body: Option<&Body<D>>) -> Reading {
    // Prometheus says 503 both when overloaded and when the query took too long.
    let timed_out = body.is_some_and(|it| it.error_type.as_deref() == Some("timeout"));
    let said = body.and_then(words);
    let detail = said.map_or(status.to_string(), |it| format!("{} {it}", status.as_u16()));
    if status.is_redirection() {
        let detail = format!("{detail}: redirects are not followed, give the final address");
        no_data(NoDataCause::Refused, detail)
    } else if status.is_client_error() {
        no_data(NoDataCause::Refused, detail)
    } else if timed_out {
        no_data(NoDataCause::Timeout, detail)
    } else {
        no_data(NoDataCause::Unavailable, detail)
    }
}

/// Prometheus' own words: `bad_data: invalid parameter "query": 1:5: parse error: …`.
fn words<D>(body: &Body<D>) -> Option<String> {
    match (&body.error_type, &body.error) {
        (Some(kind), Some(error)) => Some(format!("{kind}: {error}")),
        (Some(words), None) | (None, Some(words)) => Some(words.clone()),
        (None, None) => None,
    }
}

fn is_nothing(warnings: &Value) -> bool {
    warnings.is_null() || warnings.as_array().is_some_and(Vec::is_empty)
}

fn warning_words(warnings: &Value) -> String {
    let first = warnings
        .as_array()
        .and_then(|it| it.first())
        .and_then(Value::as_str);
    excerpt(first.unwrap_or("warnings that are not text"))
}

fn sample(data: &Data) -> Result<Sample, Reading> {
    match data.result_type.as_str() {
        "scalar" => number(&data.result),
        "vector" => {
            let malformed = || no_data(NoDataCause::Malformed, "the vector is not a list");
            match data.result.as_array().ok_or_else(malformed)?.as_slice() {
                [] => Err(no_data(NoDataCause::Empty, "the query matches no series")),
                [series] => match (series.get("value"), series.get("histogram")) {
                    (Some(pair), _) => number(pair),
                    (None, Some(_)) => Err(no_data(
                        NoDataCause::WrongType,
                        "the answer is a histogram, a number is needed",
                    )),
                    (None, None) => Err(no_data(NoDataCause::Malformed, "the series has no value")),
                },
                several => Err(no_data(NoDataCause::SeveralSeries, several_words(several))),
            }
        }
        other => Err(no_data(
            NoDataCause::WrongType,
            format!(
                "the answer is a {}, one number is needed",
                shortened(other, LABELS_CHARS)
            ),
        )),
    }
}

fn several_words(several: &[Value]) -> String {
    let labels = several
        .iter()
        .map(|it| it.get("metric").unwrap_or(&Value::Null));
    let labels: Vec<&Value> = labels.take(SERIES_SHOWN).collect();
    let shown: Vec<String> = labels.iter().map(|it| telling(it, &labels)).collect();
    let count = several.len();
    format!(
        "{count} series where one is needed, e.g. {}",
        shown.join(" and ")
    )
}

/// The labels by which `series` differs from `others`, shortened.
fn telling(series: &Value, others: &[&Value]) -> String {
    let labels = series.as_object().into_iter().flatten();
    let differs = |key: &str, value| others.iter().any(|it| it.get(key) != Some(value));
    let labels = labels.filter(|(key, value)| differs(key, value));
    let labels: Vec<String> = labels
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    shortened(&format!("{{{}}}", labels.join(",")), LABELS_CHARS)
}

/// `[1699999999.1, "0.25"]`.
fn number(pair: &Value) -> Result<Sample, Reading> {
    let malformed = || no_data(NoDataCause::Malformed, "the value is not a number");
    let [at, value] = pair.as_array().map(Vec::as_slice).unwrap_or_default() else {
        return Err(malformed());
    };
    let at = at.as_f64().ok_or_else(malformed)?;
    let value: f64 = value
        .as_str()
        .and_then(|it| it.parse().ok())
        .ok_or_else(malformed)?;
    if value.is_nan() {
        return Err(no_data(
            NoDataCause::NotANumber,
            "the value is NaN, usually 0/0: no traffic",
        ));
    }
    if value.is_infinite() {
        return Err(no_data(
            NoDataCause::Infinite,
            format!("the value is {value:+}"),
        ));
    }
    Ok(Sample { value, at })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cause(status: u16, body: &str) -> NoDataCause {
        match read(StatusCode::from_u16(status).unwrap(), body.as_bytes()) {
            Err(Reading::NoData { cause, detail }) => {
                assert!(detail.chars().count() <= 200, "{detail}");
                cause
            }
            other => panic!("{body}: {other:?}"),
        }
    }

    fn vector(value: &str) -> String {
        format!(
            r#"{{"status":"success","data":{{"resultType":"vector","result":[{{"metric":{{}},"value":{value}}}]}}}}"#
        )
    }

    #[test]
    fn a_value_is_read() {
        for (text, value) in [
            ("0.25", 0.25),
            ("1e+06", 1e6),
            ("-0", 0.0),
            ("5e-324", 5e-324),
        ] {
            let sample = read(
                StatusCode::OK,
                vector(&format!("[1.5,\"{text}\"]")).as_bytes(),
            );
            assert_eq!(sample, Ok(Sample { value, at: 1.5 }));
        }
    }

    #[test]
    fn an_answer_that_is_no_utf8_is_malformed() {
        let mut body = vector("[1.5,\"1\"]").into_bytes();
        body.insert(12, 0xff);
        let read = read(StatusCode::OK, &body);
        let Err(Reading::NoData { cause, detail }) = read else {
            panic!("{read:?}")
        };
        assert_eq!(cause, NoDataCause::Malformed);
        assert!(detail.ends_with("no UTF-8 at byte 12"), "{detail}");
    }

    #[test]
    fn what_is_not_a_finite_number_has_its_cause() {
        for (pair, expected) in [
            ("[1,\"NaN\"]", NoDataCause::NotANumber),
            ("[1,\"+Inf\"]", NoDataCause::Infinite),
            ("[1,\"-Inf\"]", NoDataCause::Infinite),
            ("[1,\"1e999\"]", NoDataCause::Infinite),
            ("[1,\"\"]", NoDataCause::Malformed),
            ("[1,\"1,5\"]", NoDataCause::Malformed),
            ("[1,1]", NoDataCause::Malformed),
            ("[1]", NoDataCause::Malformed),
            ("[1,\"1\",2]", NoDataCause::Malformed),
            ("[\"1\",\"1\"]", NoDataCause::Malformed),
            ("null", NoDataCause::Malformed),
        ] {
            assert_eq!(cause(200, &vector(pair)), expected, "{pair}");
        }
    }

    #[test]
    fn a_success_without_the_shape_of_one_is_not_a_number() {
        for (body, expected) in [
            ("", NoDataCause::Malformed),
            ("OK", NoDataCause::Malformed),
            ("{}", NoDataCause::Malformed),
            (r#"{"status":"success"}"#, NoDataCause::Malformed),
            (
                r#"{"status":"error","errorType":"x"}"#,
                NoDataCause::Refused,
            ),
            (
                r#"{"status":"success","data":{"resultType":"vector"}}"#,
                NoDataCause::Malformed,
            ),
            (
                r#"{"status":"success","data":{"resultType":"vector","result":[{"histogram":[1,{}]}]}}"#,
                NoDataCause::WrongType,
            ),
            (
                r#"{"status":"success","warnings":"odd","data":{"resultType":"scalar","result":[1,"1"]}}"#,
                NoDataCause::Warnings,
            ),
            (
                r#"{"status":"success","status":"success","data":{"resultType":"scalar","result":[1,"1"]}}"#,
                NoDataCause::Malformed,
            ),
        ] {
            assert_eq!(cause(200, body), expected, "{body}");
        }
        assert_eq!(cause(200, &"[".repeat(100_000)), NoDataCause::Malformed);
        assert_eq!(cause(422, "{"), NoDataCause::Refused);
        assert_eq!(
            cause(503, r#"{"status":"error","errorType":"timeout"}"#),
            NoDataCause::Timeout
        );
        let long = format!(r#"{{"status":"error","error":"{}"}}"#, "x".repeat(5_000));
        assert_eq!(cause(400, &long), NoDataCause::Refused);
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic_or_give_a_number_that_is_not_finite(
            status in 100_u16..600, body in proptest::collection::vec(any::<u8>(), 0..200)
        ) {
            if let Ok(sample) = read(StatusCode::from_u16(status).unwrap(), &body) {
                prop_assert!(sample.value.is_finite());
            }
        }

        #[test]
        fn no_pair_makes_it_panic(pair in "\\PC{0,20}", kind in "vector|scalar|matrix|string|\\PC{0,4}") {
            let result = format!("[1,{}]", Value::from(pair));
            let body = format!(
                r#"{{"status":"success","data":{{"resultType":{},"result":{result}}}}}"#, Value::from(kind)
            );
            if let Ok(sample) = read(StatusCode::OK, body.as_bytes()) {
                prop_assert!(sample.value.is_finite());
            }
        }
    }
}
