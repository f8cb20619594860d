//! Counts of past time, for gates that are tried on it: stable against itself, and past rollouts.

use std::{collections::BTreeSet, time::Duration};

use analysis::{Window, counter::Series};
use drivers::metrics::{RangeAnswer, RawSeries};
use jiff::{SignedDuration, Timestamp};
use rollout::{
    Role,
    gate::{
        Arms, Measurement, NoDataCause, Reading,
        counting::{Counted, Counting, Found},
    },
};

use super::{
    Inquiry, LOOK_BACK, REQUESTS, arm, counted_of, malformed, moment, no_data, quiet, reading,
    selected::Selected,
};

/// Past time is asked for in pieces of this length: as much as a rollout takes, and few enough
/// samples for one answer.
pub(crate) const STRETCH: SignedDuration = SignedDuration::from_mins(30);

/// Labels that tell instances apart, where the gate's own does not.
const SPLIT_BY: [&str; 3] = ["server", "pod", "instance"];

/// Most instances of stable that play the candidate in the same stretch: more would say little that
/// is new.
const IN_TURN: usize = 4;

impl Inquiry<'_> {
    /// Stable against itself from `from` to `until`, when nothing was rolled out: in turn, one of its
    /// instances plays the candidate. A list of windows of length `step` for each.
    pub(crate) async fn equals(
        &self,
        from: Timestamp,
        until: Timestamp,
        step: SignedDuration,
    ) -> Result<Vec<Vec<Window>>, Reading> {
        let (from_ms, until_ms) = (from.as_millisecond(), until.as_millisecond());
        let counting = self.stand.known();
        let answers = self.answers(&counting, until_ms, since(from_ms, until_ms));
        let (asked, answers) = answers.await?;
        let instances = instances(&asked.selectors, &answers, &asked.revisions)?;
        // At another time another one is the first.
        let first = from.as_second().unsigned_abs() as usize / 60;
        let turns = instances.iter().cycle().skip(first % instances.len());
        let turns: Vec<Vec<Found>> = turns
            .take(instances.len().min(IN_TURN))
            .map(|candidate| split(&asked.selectors, &answers, candidate))
            .collect();
        let (whats, share) = (counted_of(self.question), share(instances.len()));
        let counting = tokio::task::spawn_blocking(move || {
            let turns = turns.iter();
            let windows = turns.map(|found| equal(whats, found, (from_ms, until_ms), step, share));
            windows.collect()
        });
        let counted = counting.await;
        counted.unwrap_or_else(|error| Err(no_data(NoDataCause::Malformed, error.to_string())))
    }

    /// What would have been measured from `from` to `until`, every `step`.
    pub(crate) async fn measured(
        &self,
        from: Timestamp,
        until: Timestamp,
        step: SignedDuration,
    ) -> Vec<Measurement> {
        let (mut at_ms, until_ms) = (from.as_millisecond(), until.as_millisecond());
        let stretch_ms = i64::try_from(STRETCH.as_millis()).unwrap_or(i64::MAX);
        let mut counting = self.stand.known();
        let mut all = Vec::new();
        while at_ms < until_ms {
            let end_ms = at_ms.saturating_add(stretch_ms).min(until_ms);
            let stretch = self.stretch(&mut counting, (at_ms, end_ms), step).await;
            let failed = |reading| vec![(end_ms, reading)];
            let readings = stretch.unwrap_or_else(failed);
            all.extend(readings.into_iter().filter_map(|(at_ms, reading)| {
                let at = Timestamp::from_millisecond(at_ms).ok()?;
                Some(Measurement { at, reading })
            }));
            at_ms = end_ms;
        }
        all
    }

    async fn stretch(
        &self,
        counting: &mut Counting,
        (from_ms, until_ms): (i64, i64),
        step: SignedDuration,
    ) -> Result<Vec<(i64, Reading)>, Reading> {
        let look_back = since(from_ms, until_ms);
        let gathered = self.gather_over(until_ms, look_back).await?;
        let whats = counted_of(self.question);
        let mut readings = Vec::new();
        for counted in windows(whats, counting, &gathered.found, (from_ms, until_ms), step) {
            let counted = counted?;
            *counting = counted.next.clone();
            let at_ms = counted.until_ms;
            let shares = self.stand.shares.known_at(moment(at_ms)?);
            let answer = reading(self.question, counted, &shares, gathered.scale);
            readings.push((at_ms, answer.map_or_else(|it| it, |it| it.reading)));
        }
        Ok(readings)
    }
}

/// The windows of one turn.
fn equal(
    whats: &[&str],
    found: &[Found],
    range_ms: (i64, i64),
    step: SignedDuration,
    share: u32,
) -> Result<Vec<Window>, Reading> {
    let mut all = Vec::new();
    for counted in windows(whats, &Counting::default(), found, range_ms, step) {
        let counted = counted?;
        all.extend(counted.from_ms.map(|from_ms| Window {
            from_ms,
            until_ms: counted.until_ms,
            share,
            candidate: arm(&counted.candidate),
            stable: arm(&counted.stable),
        }));
    }
    Ok(all)
}

/// Counts on from `counting`, one window a step.
fn windows<'f>(
    whats: &'f [&'f str],
    counting: &Counting,
    found: &'f [Found],
    (from_ms, until_ms): (i64, i64),
    step: SignedDuration,
) -> impl Iterator<Item = Result<Counted, Reading>> + use<'f> {
    let mut counting = counting.clone();
    let begun = counting.watermark_ms();
    let step = usize::try_from(step.as_millis()).unwrap_or(1).max(1);
    let moments = (from_ms..=until_ms).step_by(step);
    let new = moments.filter(move |at_ms| begun.is_none_or(|it| it < *at_ms));
    new.map(move |at_ms| {
        let counted = counting.advance(&until(found, at_ms), whats, at_ms);
        let counted = counted.map_err(|it| malformed(&it))?;
        counting = counted.next.clone();
        Ok(counted)
    })
}

/// From before `from_ms`, so that it is known where counters stood then.
fn since(from_ms: i64, until_ms: i64) -> Duration {
    let length = u64::try_from(until_ms.saturating_sub(from_ms)).unwrap_or(0);
    Duration::from_millis(length) + LOOK_BACK
}

/// The samples that a measurement at `at_ms` would have been shown; they are in order.
fn until(found: &[Found], at_ms: i64) -> Vec<Found> {
    let look_back_ms = i64::try_from(LOOK_BACK.as_millis()).unwrap_or(0);
    let since_ms = at_ms.saturating_sub(2 * look_back_ms);
    let shown = found.iter().filter_map(|it| {
        let all = &it.series.samples;
        let from = all.partition_point(|it| it.at_ms <= since_ms);
        let to = all.partition_point(|it| it.at_ms <= at_ms);
        let samples = all.get(from..to).filter(|it| !it.is_empty())?.to_vec();
        Some(Found {
            role: it.role,
            what: it.what.clone(),
            series: Series {
                samples,
                ..it.series
            },
        })
    });
    shown.collect()
}

/// One of `instances`, as a share of traffic in hundredths of a percent.
fn share(instances: usize) -> u32 {
    let instances = u32::try_from(instances).unwrap_or(u32::MAX).max(1);
    (analysis::SHARE_ALL / instances).max(1)
}

/// What an instance is called: the value of the label that tells instances apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Named<'a> {
    label: &'a str,
    value: &'a str,
}

impl Named<'_> {
    fn is(&self, series: &RawSeries) -> bool {
        series.labels.get(self.label).map(String::as_str) == Some(self.value)
    }
}

/// The instances that served requests.
fn instances<'a>(
    selectors: &[Selected],
    answers: &'a [RangeAnswer],
    arms: &'a Arms,
) -> Result<Vec<Named<'a>>, Reading> {
    let (Arms::Label(own) | Arms::Instances(own)) = arms;
    let requests = selectors.iter().zip(answers);
    let requests = requests.filter(|(one, _)| one.what == REQUESTS);
    let served: Vec<&RawSeries> = requests
        .flat_map(|(_, answer)| answer.series.iter())
        .filter(|it| it.samples.first().map(|it| it.1) != it.samples.last().map(|it| it.1))
        .collect();
    let labels = std::iter::once(own.as_str()).chain(SPLIT_BY);
    let by = |label: &'a str| -> Vec<Named<'a>> {
        let values: BTreeSet<&str> = served
            .iter()
            .filter_map(|it| it.labels.get(label).map(String::as_str))
            .collect();
        let named = values.into_iter().map(|value| Named { label, value });
        named.collect()
    };
    let found = labels.map(by).find(|it| it.len() > 1);
    found.ok_or_else(|| match served.is_empty() {
        true => quiet(NoDataCause::Empty, "no requests were counted"),
        false => no_data(
            NoDataCause::Empty,
            format!(
                "stable's requests come from one instance by the labels {own}, {}: it takes two to compare stable with itself",
                SPLIT_BY.join(", ")
            ),
        ),
    })
}

/// The series with `candidate` in the candidate's role.
fn split(selectors: &[Selected], answers: &[RangeAnswer], candidate: &Named<'_>) -> Vec<Found> {
    let series = selectors
        .iter()
        .zip(answers)
        .flat_map(|(one, answer)| answer.series.iter().map(|it| (one.what, it)));
    let found = series.map(|(what, it)| {
        let role = match candidate.is(it) {
            true => Role::Candidate,
            false => Role::Stable,
        };
        Found::new(role, what, &it.labels, &it.samples)
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const MINUTE: i64 = 60_000;

    fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> RawSeries {
        let labels = labels
            .iter()
            .map(|(key, value)| (key.to_string(), value.to_string()));
        RawSeries {
            labels: labels.collect::<BTreeMap<_, _>>(),
            samples: samples.to_vec(),
            histograms: Vec::new(),
        }
    }

    fn answer(series: Vec<RawSeries>) -> RangeAnswer {
        RangeAnswer {
            evaluated: Timestamp::UNIX_EPOCH,
            series: series.into(),
        }
    }

    fn requests() -> Vec<Selected> {
        vec![Selected {
            what: REQUESTS,
            role: None,
            selector: "requests".to_owned(),
        }]
    }

    #[test]
    fn instances_are_told_apart_by_the_first_label_that_does() {
        let up = [(0, 0.0), (MINUTE, 5.0)];
        let idle = [(0, 3.0), (MINUTE, 3.0)];
        let answers = [answer(vec![
            series(&[("server", "r1-1"), ("instance", "proxy:1")], &up),
            series(&[("server", "r1-2"), ("instance", "proxy:1")], &up),
            series(&[("server", "r1-3"), ("instance", "proxy:1")], &idle),
        ])];
        let arms = Arms::Instances("instance".to_owned());
        let found = instances(&requests(), &answers, &arms).unwrap();
        let found: Vec<_> = found.iter().map(|it| (it.label, it.value)).collect();
        assert_eq!(found, [("server", "r1-1"), ("server", "r1-2")]);
    }

    #[test]
    fn one_instance_cannot_be_compared_with_itself() {
        let up = [(0, 0.0), (MINUTE, 5.0)];
        let arms = Arms::Instances("pod".to_owned());
        let check = |answers: &[RangeAnswer], words: &str| {
            let said = instances(&requests(), answers, &arms)
                .unwrap_err()
                .to_string();
            assert!(said.contains(words), "{said}");
        };
        check(
            &[answer(vec![series(&[("pod", "a")], &up)])],
            "it takes two",
        );
        check(&[answer(Vec::new())], "no requests were counted");
    }

    #[test]
    fn a_measurement_of_the_past_is_shown_what_it_would_have_been_shown() {
        let labels = BTreeMap::from([("pod".to_owned(), "a".to_owned())]);
        let samples: Vec<_> = (0..10).map(|it| (it * MINUTE, it as f64)).collect();
        let found = [Found::new(Role::Stable, REQUESTS, &labels, &samples)];
        let shown = until(&found, 5 * MINUTE);
        let at: Vec<i64> = shown[0].series.samples.iter().map(|it| it.at_ms).collect();
        assert_eq!(at, [4 * MINUTE, 5 * MINUTE]);
        assert!(until(&found, -1).is_empty());
    }
}
