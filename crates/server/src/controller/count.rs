//! Asks for the counters behind a statistical gate, and counts what was added since the time before.

mod native;
mod past;
mod probe;
mod selected;

use std::{collections::BTreeMap, time::Duration};

use analysis::{Arm, Bucket, Histogram, Window, counter::CounterError};
use drivers::{
    Cx, TrafficConfig,
    metrics::{MetricSource, RangeAnswer, RangeQuery},
    substitution::Substitution,
};
use jiff::Timestamp;
use rollout::{
    Observation, Plan, Role,
    gate::{
        Arms, HistogramWindow, NoDataCause, Question, Reading, Shares,
        counting::{Counted, Counting, Found, scrape_gap_ms},
    },
};

pub(crate) use past::STRETCH;
pub(crate) use probe::Probe;
pub(crate) use selected::{NO_HISTOGRAM, ready_made};

use selected::{Asked, ERRORS, REQUESTS, Selected};

/// How far back samples are asked for at least: two scrapes must fit.
const LOOK_BACK: Duration = Duration::from_secs(60);
/// … and at most: after a longer silence the counters' last values are enough, resets in between
/// excepted.
const LOOK_BACK_MAX: Duration = Duration::from_secs(900);
/// Labels that are shown of what is there when no series tells the revisions apart.
const LABELS_SHOWN: usize = 12;

/// Why a series is no histogram that can be counted.
const NO_BUCKETS: &str = "a series of the histogram has no label le and is no native histogram with exponential buckets: give the selector of its buckets, …_bucket";

/// The label of a classic histogram's bounds.
const BOUND: &str = "le";

/// From where a gate counts on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stand {
    /// Where its counters stand.
    pub(crate) counting: Counting,
    /// The candidate's shares so far.
    pub(crate) shares: Shares,
    /// Names and addresses of the instances there are.
    pub(crate) instances: Vec<(String, Role)>,
    /// What tells the revisions apart where the gate does not say: the label with which metric
    /// sources name instances of this workload.
    pub(crate) label: &'static str,
    /// The app's router, for ready-made sets of metrics.
    pub(crate) router: Option<TrafficConfig>,
}

/// Names and addresses of the instances of candidate and stable.
pub(crate) fn instances(plan: &Plan, observation: &Observation) -> Vec<(String, Role)> {
    let roles = [
        (Some(plan.candidate), Role::Candidate),
        (plan.stable, Role::Stable),
    ];
    let instances = roles.into_iter().flat_map(|(revision, role)| {
        let status = revision.and_then(|it| observation.revision(it));
        let instances = status.unwrap_or_default().instances.into_iter();
        let named = instances.flat_map(|it| [Some(it.name), it.address]);
        named.flatten().map(move |it| (it, role))
    });
    instances.collect()
}

/// What came of asking.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) reading: Reading,
    /// Where the counters stand after it; `None`: where they stood.
    pub(crate) counting: Option<Counting>,
}

impl From<Reading> for Answer {
    fn from(reading: Reading) -> Self {
        Self {
            reading,
            counting: None,
        }
    }
}

/// What is asked, and of whom.
#[derive(Clone, Copy)]
pub(crate) struct Inquiry<'a> {
    pub(crate) cx: &'a Cx,
    pub(crate) source: &'a dyn MetricSource,
    pub(crate) question: &'a Question,
    pub(crate) names: &'a Substitution,
    pub(crate) stand: &'a Stand,
}

impl Inquiry<'_> {
    /// Asks at `now` for what was counted since the time before.
    pub(crate) async fn count(&self, now: Timestamp) -> Answer {
        self.ask(now).await.unwrap_or_else(Answer::from)
    }

    async fn ask(&self, now: Timestamp) -> Result<Answer, Reading> {
        let gathered = self.gather(now).await?;
        let Gathered {
            found,
            counting,
            until_ms,
            scale,
        } = &gathered;
        if counting.watermark_ms().is_some_and(|it| *until_ms <= it) {
            return Err(quiet(NoDataCause::NothingNew, "nothing was scraped since"));
        }
        let counted = counting
            .advance(found, counted_of(self.question), *until_ms)
            .map_err(|it| malformed(&it))?;
        reading(self.question, counted, &self.stand.shares, *scale)
    }

    /// The samples up to `now`, from some time before the counters' watermark.
    async fn gather(&self, now: Timestamp) -> Result<Gathered, Reading> {
        let at_ms = now.as_second() * 1000;
        let look_back = look_back(&self.stand.counting, at_ms);
        self.gather_over(at_ms, look_back).await
    }

    async fn gather_over(&self, at_ms: i64, look_back: Duration) -> Result<Gathered, Reading> {
        let counting = self.stand.known();
        let (asked, answers) = self.answers(&counting, at_ms, look_back).await?;
        let arms = &asked.revisions;
        let mut found = Vec::new();
        for (one, answer) in asked.selectors.iter().zip(&answers) {
            found.extend(sorted(one, answer, arms, self.names, &counting)?);
        }
        let Some(gap_ms) = scrape_gap_ms(&found) else {
            return Err(no_series(arms, &answers));
        };
        Ok(Gathered {
            found,
            counting,
            until_ms: at_ms - gap_ms,
            scale: asked.scale,
        })
    }

    /// What is asked for, and the answer to each selector.
    async fn answers(
        &self,
        counting: &Counting,
        at_ms: i64,
        look_back: Duration,
    ) -> Result<(Asked, Vec<RangeAnswer>), Reading> {
        let asked = Asked::of(self.question, self.names, self.stand, counting).map_err(refused)?;
        let answers = asked.selectors.iter().map(async |one| {
            let query = RangeQuery {
                selector: one.selector.clone(),
                lookback: look_back,
                at: Timestamp::from_millisecond(at_ms).ok(),
            };
            self.source.range(self.cx, &query).await
        });
        let answers = futures::future::try_join_all(answers).await?;
        Ok((asked, answers))
    }
}

impl Stand {
    /// Where the counters stand, with all instances that are known.
    fn known(&self) -> Counting {
        let mut counting = self.counting.clone();
        for (instance, role) in &self.instances {
            counting.note_instance(instance, *role);
        }
        counting
    }
}

/// What a question counts even where there is no series of it yet.
fn counted_of(question: &Question) -> &'static [&'static str] {
    match question.is_histogram() {
        true => &[],
        false => &[REQUESTS, ERRORS],
    }
}

/// The samples behind a gate.
struct Gathered {
    found: Vec<Found>,
    /// Where the counters stood, with all instances that are known.
    counting: Counting,
    /// Up to when everything is known: a scrape ago.
    until_ms: i64,
    /// What the bounds of a histogram are multiplied by, to be seconds.
    scale: f64,
}

/// The window in the gate's own terms.
fn reading(
    question: &Question,
    counted: Counted,
    shares: &Shares,
    scale: f64,
) -> Result<Answer, Reading> {
    let Some(from_ms) = counted.from_ms else {
        return Ok(Answer {
            reading: quiet(
                NoDataCause::Begun,
                "counting begins here; the next measurement is the first",
            ),
            counting: Some(counted.next),
        });
    };
    if !counted.is_fresh {
        return Err(quiet(NoDataCause::NothingNew, "nothing was scraped since"));
    }
    let (from, until) = (moment(from_ms)?, moment(counted.until_ms)?);
    let Some(share) = shares.between(from, until) else {
        return Ok(Answer {
            reading: quiet(
                NoDataCause::ShareChanged,
                "the share changed in between, so this is not counted",
            ),
            counting: Some(counted.next),
        });
    };
    let reading = match question.is_histogram() {
        true => Reading::Histograms {
            window: Box::new(HistogramWindow {
                from_ms,
                until_ms: counted.until_ms,
                share: share.hundredths(),
                candidate: histogram(&counted.candidate, scale),
                stable: histogram(&counted.stable, scale),
            }),
        },
        false => Reading::Counts {
            window: Window {
                from_ms,
                until_ms: counted.until_ms,
                share: share.hundredths(),
                candidate: arm(&counted.candidate),
                stable: arm(&counted.stable),
            },
        },
    };
    Ok(Answer {
        reading,
        counting: Some(counted.next),
    })
}

/// The series whose revision is known. Those of neither revision are nobody's business here.
fn sorted(
    asked: &Selected,
    answer: &RangeAnswer,
    arms: &Arms,
    names: &Substitution,
    counting: &Counting,
) -> Result<Vec<Found>, Reading> {
    let mut found = Vec::new();
    for series in answer.series.iter() {
        let known = asked
            .role
            .or_else(|| role(&series.labels, arms, names, counting));
        let Some(role) = known else {
            continue;
        };
        if asked.what != BOUND {
            found.push(Found::new(
                role,
                asked.what,
                &series.labels,
                &series.samples,
            ));
        } else if let Some(bound) = series.labels.get(BOUND) {
            found.push(Found::new(role, bound, &series.labels, &series.samples));
        } else {
            let counters = native::counters(series);
            if counters.is_empty() {
                return Err(no_data(NoDataCause::WrongType, NO_BUCKETS.to_owned()));
            }
            let counters = counters.into_iter();
            found.extend(
                counters.map(|(bound, samples)| Found::new(role, &bound, &series.labels, &samples)),
            );
        }
    }
    Ok(found)
}

fn role(
    labels: &BTreeMap<String, String>,
    arms: &Arms,
    names: &Substitution,
    counting: &Counting,
) -> Option<Role> {
    match arms {
        Arms::Instances(label) => counting.role_of(labels.get(label)?),
        Arms::Label(label) => {
            let value = labels.get(label)?;
            let is = |revision: rollout::Revision| {
                let rest = value.strip_prefix(&revision.to_string());
                rest.is_some_and(|it| it.is_empty() || it.starts_with('-'))
            };
            match names.stable.as_ref() {
                _ if is(names.candidate.0) => Some(Role::Candidate),
                Some(stable) if is(stable.0) => Some(Role::Stable),
                Some(_) | None => None,
            }
        }
    }
}

/// Why there is nothing to count.
fn no_series(arms: &Arms, answers: &[RangeAnswer]) -> Reading {
    let (Arms::Label(label) | Arms::Instances(label)) = arms;
    let all = answers.iter().flat_map(|it| it.series.iter());
    let seen = all.clone().count();
    let has_label = all.clone().any(|it| it.labels.contains_key(label));
    let detail = match (seen, has_label) {
        (0, _) => "no series match the selectors".to_owned(),
        (_, true) => format!(
            "none of {seen} series is of candidate or stable by its label {label}, or has two samples yet"
        ),
        (_, false) => {
            let labels: std::collections::BTreeSet<&str> = all
                .flat_map(|it| it.labels.keys().map(String::as_str))
                .filter(|it| *it != "__name__")
                .collect();
            let labels: Vec<&str> = labels.into_iter().take(LABELS_SHOWN).collect();
            format!(
                "none of {seen} series has the label {label}; give revisions: {{ label: … }} or {{ instances: … }} with one of {}",
                labels.join(", ")
            )
        }
    };
    no_data(NoDataCause::Empty, detail)
}

/// Whole seconds, so that apps with the same selector ask the same.
fn look_back(counting: &Counting, at_ms: i64) -> Duration {
    let since_ms = counting.watermark_ms().map_or(0, |it| at_ms - it);
    let since = Duration::from_millis(u64::try_from(since_ms).unwrap_or(0));
    let minutes = since.as_secs().div_ceil(60);
    (Duration::from_secs(minutes * 60) + LOOK_BACK).min(LOOK_BACK_MAX)
}

fn arm(counts: &BTreeMap<String, u64>) -> Arm {
    let count = |what| counts.get(what).copied().unwrap_or(0);
    Arm::new(count(REQUESTS), count(ERRORS))
}

/// A histogram whose bounds are multiplied by `scale`, to be seconds.
fn histogram(counts: &BTreeMap<String, u64>, scale: f64) -> Histogram {
    let mut buckets: Vec<Bucket> = counts
        .iter()
        .filter_map(|(bound, count)| {
            Some(Bucket {
                le: bound.parse::<f64>().ok()? * scale,
                count: *count,
            })
        })
        .collect();
    buckets.sort_by(|a, b| a.le.total_cmp(&b.le));
    Histogram::Classic { buckets }
}

fn moment(ms: i64) -> Result<Timestamp, Reading> {
    Timestamp::from_millisecond(ms)
        .map_err(|error| no_data(NoDataCause::Malformed, error.to_string()))
}

fn quiet(cause: NoDataCause, detail: &str) -> Reading {
    no_data(cause, detail.to_owned())
}

fn malformed(error: &CounterError) -> Reading {
    no_data(NoDataCause::Malformed, error.to_string())
}

fn refused(detail: String) -> Reading {
    no_data(NoDataCause::Refused, detail)
}

fn no_data(cause: NoDataCause, detail: String) -> Reading {
    Reading::NoData { cause, detail }
}
