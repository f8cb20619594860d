//! The shop's metrics, in Prometheus' text format, and its count of errors due.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;

/// Upper bounds of the latency buckets, seconds.
const BUCKETS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];

/// Counters of one instance since its start.
#[derive(Debug)]
pub(super) struct Metrics {
    /// `app="shop",version="v1"`, as every series carries it.
    labels: String,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    by_code: BTreeMap<u16, u64>,
    /// Not cumulative; the last is for slower ones.
    by_bucket: [u64; BUCKETS.len() + 1],
    seconds: f64,
    /// The share of an error owed so far: at 1, the next request pays it.
    owed: f64,
}

impl Metrics {
    pub(super) fn new(app: &str, version: &str) -> Self {
        let mut counts = Counts::default();
        // Series that begin at 0 give a rate from the first error on.
        counts.by_code.extend([(200, 0), (500, 0)]);
        Self {
            labels: format!("app=\"{}\",version=\"{}\"", escaped(app), escaped(version)),
            counts: Mutex::new(counts),
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this request is one to fail, so that `ratio` of all do.
    pub(super) fn is_turn(&self, ratio: f64) -> bool {
        // Sums of a decimal share fall a hair short of 1.
        const HAIR: f64 = 1e-9;
        let mut counts = self.counts();
        counts.owed += ratio;
        let due = counts.owed >= 1.0 - HAIR;
        if due {
            counts.owed -= 1.0;
        }
        due
    }

    /// Counts one answer.
    pub(super) fn record(&self, status: StatusCode, took: Duration) {
        let seconds = took.as_secs_f64();
        let at = BUCKETS
            .iter()
            .position(|bound| seconds <= *bound)
            .unwrap_or(BUCKETS.len());
        let mut counts = self.counts();
        *counts.by_code.entry(status.as_u16()).or_default() += 1;
        counts.seconds += seconds;
        if let Some(bucket) = counts.by_bucket.get_mut(at) {
            *bucket += 1;
        }
    }

    /// All series as text.
    pub(super) fn text(&self) -> String {
        let labels = &self.labels;
        let counts = self.counts();
        let mut lines = vec![
            "# HELP http_requests_total Requests answered.".to_owned(),
            "# TYPE http_requests_total counter".to_owned(),
        ];
        lines.extend(counts.by_code.iter().map(|(code, count)| {
            format!("http_requests_total{{{labels},code=\"{code}\"}} {count}")
        }));
        lines.push("# HELP http_request_duration_seconds Time to answer.".to_owned());
        lines.push("# TYPE http_request_duration_seconds histogram".to_owned());
        let bounds = BUCKETS
            .iter()
            .map(ToString::to_string)
            .chain(["+Inf".to_owned()]);
        let mut sum = 0;
        for (bound, count) in bounds.zip(counts.by_bucket) {
            sum += count;
            lines.push(format!(
                "http_request_duration_seconds_bucket{{{labels},le=\"{bound}\"}} {sum}"
            ));
        }
        lines.push(format!(
            "http_request_duration_seconds_sum{{{labels}}} {}",
            counts.seconds
        ));
        lines.push(format!(
            "http_request_duration_seconds_count{{{labels}}} {sum}"
        ));
        lines.push(String::new());
        lines.join("\n")
    }
}

fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for character in value.chars() {
        match character {
            '\\' | '"' => text.extend(['\\', character]),
            '\n' => text.push_str("\\n"),
            _ => text.push(character),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_errors_is_counted_out() {
        for (ratio, of, due) in [
            (0.0, 100, 0),
            (0.2, 100, 20),
            (0.05, 1000, 50),
            (0.1, 10, 1),
            (1.0, 7, 7),
        ] {
            let metrics = Metrics::new("shop", "v1");
            assert_eq!(
                (0..of).filter(|_| metrics.is_turn(ratio)).count(),
                due,
                "{ratio}"
            );
        }
    }

    #[test]
    fn the_histogram_is_cumulative_and_labels_are_escaped() {
        let metrics = Metrics::new("shop", "a\"b");
        metrics.record(StatusCode::OK, Duration::from_millis(2));
        metrics.record(StatusCode::OK, Duration::from_secs(3));
        let text = metrics.text();
        assert!(
            text.contains("http_requests_total{app=\"shop\",version=\"a\\\"b\",code=\"200\"} 2"),
            "{text}"
        );
        assert!(
            text.contains("le=\"0.001\"} 0\n") && text.contains("le=\"0.0025\"} 1\n"),
            "{text}"
        );
        assert!(
            text.contains("le=\"+Inf\"} 2\n")
                && text.contains("_count{app=\"shop\",version=\"a\\\"b\"} 2\n")
        );
    }
}
