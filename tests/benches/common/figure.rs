//! One line of the result.

use std::fmt::Write as _;
use std::time::Duration;

/// What was measured, against what.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    what: String,
    samples: usize,
    /// p50, p99 and max; only the last for a single value.
    values: [String; 3],
    target: String,
    met: Option<bool>,
}

impl Figure {
    /// Times; `target` bounds the 99th percentile.
    pub(crate) fn times(what: &str, times: &[Duration], target: Option<Duration>) -> Self {
        let p99 = percentile(times, 0.99);
        Self {
            what: what.to_owned(),
            samples: times.len(),
            values: [percentile(times, 0.5), p99, percentile(times, 1.0)].map(milliseconds),
            target: target.map_or_else(
                || "–".to_owned(),
                |it| format!("p99 ≤ {}", milliseconds(it)),
            ),
            met: target.map(|it| !times.is_empty() && p99 <= it),
        }
    }

    /// One value, e.g. a share of a core, with its text and its target's.
    pub(crate) fn value(what: &str, value: String, target: &str, met: Option<bool>) -> Self {
        Self {
            what: what.to_owned(),
            samples: 1,
            values: ["–".to_owned(), "–".to_owned(), value],
            target: target.to_owned(),
            met,
        }
    }

    /// Times known as upper bounds only: at most this, for p50, p99 and all of `samples`.
    pub(crate) fn bounds(
        what: &str,
        samples: usize,
        [p50, p99, max]: [Duration; 3],
        target: Duration,
    ) -> Self {
        let at_most = |it: Duration| match it {
            Duration::MAX => "above all bounds".to_owned(),
            it => format!("≤ {}", milliseconds(it)),
        };
        Self {
            what: what.to_owned(),
            samples,
            values: [at_most(p50), at_most(p99), at_most(max)],
            target: format!("max ≤ {}", milliseconds(target)),
            met: Some(samples > 0 && max <= target),
        }
    }
}

/// The smallest of `times` that a share of `part` does not exceed; zero of none.
pub(crate) fn percentile(times: &[Duration], part: f64) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a rank among some hundred values"
    )]
    let rank = (part * sorted.len() as f64).ceil() as usize;
    let index = rank.saturating_sub(1);
    sorted.get(index).copied().unwrap_or_default()
}

fn milliseconds(it: Duration) -> String {
    let value = it.as_secs_f64() * 1000.0;
    if value >= 100.0 {
        format!("{value:.0} ms")
    } else {
        format!("{value:.1} ms")
    }
}

/// All figures as a Markdown table.
pub(crate) fn table(figures: &[Figure]) -> String {
    let mut text = String::from(
        "| what | samples | p50 | p99 | max | target | met |\n|---|---|---|---|---|---|---|\n",
    );
    for it in figures {
        let [p50, p99, max] = &it.values;
        let met = match it.met {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "–",
        };
        // Writing to a string cannot fail.
        writeln!(
            text,
            "| {} | {} | {p50} | {p99} | {max} | {} | {met} |",
            it.what, it.samples, it.target
        )
        .unwrap_or_default();
    }
    text
}
