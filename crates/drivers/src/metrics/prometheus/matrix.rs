//! Reads the answer to a range selector: the samples of many series. Pure; the answer is untrusted.
//!
//! Read straight into what is returned, without a tree of JSON values in between: an answer for a
//! large service is some MiB, and is read at every look at it.

use std::collections::BTreeMap;

use reqwest::StatusCode;
use rollout::gate::{NoDataCause, Reading};
use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, Visitor},
};

use super::reply;
use crate::metrics::{
    no_data,
    range::{Bounds, NativeBucket, NativeHistogram, RawSeries},
};

/// Moments beyond this have no exact milliseconds.
const MILLISECONDS_MAX: f64 = 9_007_199_254_740_992.0;

/// The series, or the reading that says why there are none. An empty list is an answer.
pub(super) fn read(status: StatusCode, body: &[u8]) -> Result<Vec<RawSeries>, Reading> {
    let other = match reply::data::<Data>(status, body)? {
        Data::Matrix(all) => return all.into_iter().map(Series::checked).collect(),
        Data::Vector(_) => "vector",
        Data::Scalar(_) => "scalar",
        Data::String(_) => "string",
    };
    let detail = format!("the answer is a {other}, samples of a range are needed");
    Err(no_data(NoDataCause::WrongType, detail))
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "camelCase")]
enum Data {
    Matrix(Vec<Series>),
    Vector(IgnoredAny),
    Scalar(IgnoredAny),
    String(IgnoredAny),
}

#[derive(Deserialize)]
struct Series {
    metric: BTreeMap<String, String>,
    #[serde(default)]
    values: Vec<(Moment, Number)>,
    #[serde(default)]
    histograms: Vec<(Moment, Histogram)>,
}

#[derive(Deserialize)]
struct Histogram {
    count: Number,
    sum: Number,
    #[serde(default)]
    buckets: Vec<(u8, Number, Number, Number)>,
}

impl Series {
    fn checked(self) -> Result<RawSeries, Reading> {
        if self.values.is_empty() && self.histograms.is_empty() {
            let detail = "a series has neither values nor histograms";
            return Err(no_data(NoDataCause::Malformed, detail));
        }
        let histograms = self.histograms.into_iter();
        let histograms = histograms.map(|(at, it)| Ok((at.0, it.checked()?)));
        Ok(RawSeries {
            labels: self.metric,
            samples: self
                .values
                .into_iter()
                .map(|(at, it)| (at.0, it.0))
                .collect(),
            histograms: histograms.collect::<Result<_, Reading>>()?,
        })
    }
}

impl Histogram {
    fn checked(self) -> Result<NativeHistogram, Reading> {
        let buckets = self.buckets.into_iter();
        let buckets = buckets.map(|(rule, lower, upper, count)| {
            let unknown = || {
                let detail = format!("a histogram has the unknown boundary rule {rule}");
                no_data(NoDataCause::Malformed, detail)
            };
            Ok(NativeBucket {
                bounds: bounds(rule).ok_or_else(unknown)?,
                lower: lower.0,
                upper: upper.0,
                count: count.0,
            })
        });
        Ok(NativeHistogram {
            count: self.count.0,
            sum: self.sum.0,
            buckets: buckets.collect::<Result<_, Reading>>()?,
        })
    }
}

/// What the query API's number for a boundary rule means.
fn bounds(rule: u8) -> Option<Bounds> {
    match rule {
        0 => Some(Bounds::OpenLeft),
        1 => Some(Bounds::OpenRight),
        2 => Some(Bounds::Open),
        3 => Some(Bounds::Closed),
        _ => None,
    }
}

/// Milliseconds since 1970; written as a number of seconds.
struct Moment(i64);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let milliseconds = (f64::deserialize(deserializer)? * 1000.0).round();
        match milliseconds.abs() < MILLISECONDS_MAX {
            true => Ok(Self(milliseconds as i64)),
            false => Err(D::Error::custom("no moment")),
        }
    }
}

/// A number that is written as a text, since JSON has no NaN: `"0.5"`, `"NaN"`, `"+Inf"`.
struct Number(f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(NumberVisitor)
    }
}

struct NumberVisitor;

impl Visitor<'_> for NumberVisitor {
    type Value = Number;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a number in quotes")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Number, E> {
        let number = text.parse().map_err(|_| E::custom("no number"))?;
        Ok(Number(number))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matrix(result: &str) -> String {
        format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":{result}}}}}"#)
    }

    fn series(result: &str) -> Vec<RawSeries> {
        read(StatusCode::OK, matrix(result).as_bytes()).unwrap()
    }

    fn cause(body: &str) -> NoDataCause {
        match read(StatusCode::OK, body.as_bytes()) {
            Err(Reading::NoData { cause, .. }) => cause,
            other => panic!("{body}: {other:?}"),
        }
    }

    #[test]
    fn every_sample_is_kept_as_it_was_scraped() {
        let found = series(
            r#"[{"metric":{"__name__":"a","pod":"x\"y"},"values":[[1700000000.123,"5"],[1700000001,"NaN"],[1700000002.0004,"+Inf"],[3,"-1.5e3"]]}]"#,
        );
        let [it] = found.as_slice() else {
            panic!("{found:?}")
        };
        assert_eq!(it.labels["__name__"], "a");
        assert_eq!(it.labels["pod"], "x\"y");
        let at: Vec<i64> = it.samples.iter().map(|it| it.0).collect();
        assert_eq!(
            at,
            [
                1_700_000_000_123,
                1_700_000_001_000,
                1_700_000_002_000,
                3_000
            ]
        );
        assert!(it.samples[1].1.is_nan());
        assert_eq!((it.samples[2].1, it.samples[3].1), (f64::INFINITY, -1500.0));
        assert!(it.histograms.is_empty());
    }

    #[test]
    fn no_series_is_an_answer() {
        assert_eq!(series("[]"), []);
        // The order of names in JSON means nothing.
        let turned = r#"{"data":{"result":[{"values":[[1,"2"]],"metric":{}}],"resultType":"matrix"},"status":"success","infos":["x"]}"#;
        let found = read(StatusCode::OK, turned.as_bytes()).unwrap();
        assert_eq!(found[0].samples, [(1_000, 2.0)]);
    }

    #[test]
    fn native_histograms_are_kept() {
        // As in Prometheus' documentation of the query API, with an empty one before it.
        let found = series(
            r#"[{"metric":{},"histograms":[[1,{"count":"0","sum":"0"}],[1435781460.781,{"count":"60","sum":"33897","buckets":[[1,"-2","-1","1"],[3,"-0.001","0.001","2"],[2,"3","4","5"],[0,"4466.7196729968955","4870.992343051145","1"]]}]]}]"#,
        );
        let [first, second] = found[0].histograms.as_slice() else {
            panic!("{found:?}")
        };
        assert_eq!(
            (first.0, first.1.count, first.1.buckets.len()),
            (1_000, 0.0, 0)
        );
        assert_eq!((second.0, second.1.sum), (1_435_781_460_781, 33_897.0));
        let rules: Vec<Bounds> = second.1.buckets.iter().map(|it| it.bounds).collect();
        assert_eq!(
            rules,
            [
                Bounds::OpenRight,
                Bounds::Closed,
                Bounds::Open,
                Bounds::OpenLeft
            ]
        );
        let last = second.1.buckets[3];
        assert_eq!(
            (last.lower, last.upper, last.count),
            (4466.7196729968955, 4870.992343051145, 1.0)
        );
        assert!(found[0].samples.is_empty());
    }

    #[test]
    fn what_holds_no_samples_has_its_cause() {
        for (result, expected) in [
            (r#"[{"metric":{}}]"#, NoDataCause::Malformed),
            (r#"[{"metric":{},"values":[]}]"#, NoDataCause::Malformed),
            (r#"[{"values":[[1,"1"]]}]"#, NoDataCause::Malformed),
            (
                r#"[{"metric":{"a":1},"values":[[1,"1"]]}]"#,
                NoDataCause::Malformed,
            ),
            (
                r#"[{"metric":{},"values":[[1,1]]}]"#,
                NoDataCause::Malformed,
            ),
            (
                r#"[{"metric":{},"values":[["1","1"]]}]"#,
                NoDataCause::Malformed,
            ),
            (
                r#"[{"metric":{},"values":[[1e300,"1"]]}]"#,
                NoDataCause::Malformed,
            ),
            (
                r#"[{"metric":{},"values":[[1,"1,5"]]}]"#,
                NoDataCause::Malformed,
            ),
            (
                r#"[{"metric":{},"values":[[1,""]]}]"#,
                NoDataCause::Malformed,
            ),
            (
                r#"[{"metric":{},"values":[[1,"1",1]]}]"#,
                NoDataCause::Malformed,
            ),
            (
                r#"[{"metric":{},"histograms":[[1,"1"]]}]"#,
                NoDataCause::Malformed,
            ),
            (
                r#"[{"metric":{},"histograms":[[1,{"count":"1","sum":"1","buckets":[[4,"0","1","1"]]}]]}]"#,
                NoDataCause::Malformed,
            ),
            ("{}", NoDataCause::Malformed),
            ("null", NoDataCause::Malformed),
        ] {
            assert_eq!(cause(&matrix(result)), expected, "{result}");
        }
    }

    #[test]
    fn what_is_no_whole_matrix_has_its_cause() {
        for (body, expected) in [
            (matrix("[]") + &matrix("[]"), NoDataCause::Malformed),
            (matrix("[").repeat(50_000), NoDataCause::Malformed),
            (
                matrix("[]").replace("matrix", "scalar"),
                NoDataCause::WrongType,
            ),
            (
                matrix("[]").replace("matrix", "vector"),
                NoDataCause::WrongType,
            ),
            (
                matrix("[]").replace("matrix", "string"),
                NoDataCause::WrongType,
            ),
            (
                matrix("[]").replace("matrix", "streams"),
                NoDataCause::Malformed,
            ),
            (
                matrix("[]").replace("success", "error"),
                NoDataCause::Refused,
            ),
            (
                matrix("[]").replace(r#""data""#, r#""warnings":["partial"],"data""#),
                NoDataCause::Warnings,
            ),
        ] {
            assert_eq!(cause(&body), expected, "{body:.200}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(
            at in any::<f64>(), value in "\\PC{0,20}|[0-9.eE+-]{0,20}|NaN|[+-]Inf", cut in 0_usize..200
        ) {
            let value = serde_json::Value::from(value);
            let body = matrix(&format!(r#"[{{"metric":{{}},"values":[[{at},{value}]]}}]"#));
            if let Ok(found) = read(StatusCode::OK, body.as_bytes()) {
                prop_assert_eq!(found[0].samples.len(), 1);
            }
            let cut = body.as_bytes().get(..cut).unwrap_or_default();
            if cut.len() < body.len() {
                prop_assert!(read(StatusCode::OK, cut).is_err());
            }
        }
    }
}
