//! The app file: both halves, checked together, all problems at once.

mod impossible;

use drivers::{Bindings, metrics::Selector, substitution::Substitution};
use rollout::{
    Delivery, Plan, Revisions,
    document::{self, Problem, Reader},
    gate::{Metric, Question},
};
use serde_json::Value;

use crate::{
    controller::{NO_HISTOGRAM, ready_made},
    project_settings::ProjectSettings,
};

/// An app file that was read without a problem.
#[derive(Debug, Clone, PartialEq)]
pub struct AppFile {
    /// The app's name.
    pub app: String,
    /// Its project; `default` if none is named.
    pub project: String,
    /// What to do.
    pub delivery: Delivery,
    /// Where.
    pub bindings: Bindings,
}

/// The project of apps that name none.
pub const DEFAULT_PROJECT: &str = "default";

impl AppFile {
    /// Reads an app file, or names everything that is wrong with it.
    pub fn read(document: &Value) -> Result<Self, Vec<Problem>> {
        document::read(document, |reader| {
            let mut known = vec!["app", "project"];
            known.extend(Bindings::KEYS);
            known.extend(Delivery::KEYS);
            let file = reader.object(&known)?;
            let app = file.required("app", Reader::name);
            let project = file.or("project", DEFAULT_PROJECT.to_owned(), Reader::name);
            let delivery = Delivery::read(&file);
            let bindings = Bindings::read(&file);
            let queries = check_queries(reader, delivery.as_ref(), bindings.as_ref());
            let metrics = check_metrics(reader, delivery.as_ref(), bindings.as_ref());
            queries.and(metrics)?;
            Some(Self {
                app: app?,
                project: project?,
                delivery: delivery?,
                bindings: bindings?,
            })
        })
    }

    /// The file with what holds for all apps of its project, as it was kept.
    pub(crate) fn with_settings(mut self, kept: Option<&Value>) -> Self {
        self.bindings.tell(ProjectSettings::kept(kept).notify);
        self
    }

    /// The plan that brings out `candidate`.
    pub fn plan(&self, revisions: Revisions) -> Plan {
        match self.bindings.workload.driver().capabilities().surge {
            true => Plan::compile(&self.delivery, revisions),
            false => Plan::compile_in_place(&self.delivery, revisions),
        }
    }

    /// What makes two revisions of the same artifact different: where and how it runs.
    pub fn config_hash(&self) -> String {
        use sha2::{Digest as _, Sha256};
        let workload = serde_json::to_vec(&self.bindings.workload).unwrap_or_default();
        let digest = Sha256::digest(&workload);
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Names in `{{…}}` are checked before anything runs: a gate that can never be asked must not be
/// found out in the middle of a rollout.
fn check_queries(
    reader: &Reader<'_>,
    delivery: Option<&Delivery>,
    bindings: Option<&Bindings>,
) -> Option<()> {
    let gates = delivery.map(|it| it.gates.as_slice()).unwrap_or_default();
    let mut fine = Some(());
    for (index, gate) in gates.iter().enumerate() {
        for (field, query) in queries(&gate.question) {
            if let Err(detail) = query.check(bindings) {
                fine = reader.problem_at(&format!("/gates/{index}/{field}"), detail);
            }
        }
    }
    fine
}

/// Something that a gate asks for.
enum Asked<'q> {
    /// A query in the metric source's language.
    Query(&'q str),
    /// A selector of counters.
    Selector(&'q str),
    /// A ready-made set of metrics, and whether its histogram is asked for.
    ReadyMade(&'q Metric, bool),
}

impl Asked<'_> {
    fn check(&self, bindings: Option<&Bindings>) -> Result<(), String> {
        match self {
            Self::Query(query) => Substitution::check(query),
            Self::Selector(selector) => Selector::parse(selector).map(drop),
            Self::ReadyMade(metric, histogram) => {
                // Without a router that could be read, what it says is not known either.
                let Some(bindings) = bindings else {
                    return Ok(());
                };
                let counters = ready_made(metric, Some(&bindings.traffic))?;
                match (histogram, counters.durations) {
                    (true, None) => Err(NO_HISTOGRAM.to_owned()),
                    (_, _) => Ok(()),
                }
            }
        }
    }
}

/// Everything that a question asks for, with where it stands in the gate.
fn queries(question: &Question) -> Vec<(&'static str, Asked<'_>)> {
    let asked = match question {
        Question::Threshold(it) => vec![Some(("threshold/query", Asked::Query(&it.query)))],
        Question::Webhook(_) => Vec::new(),
        Question::Compare(it) => vec![
            metric("compare/metric", &it.counters.metric, false),
            selector("compare/requests", &it.counters.requests),
            selector("compare/errors", &it.counters.errors),
        ],
        Question::Slo(it) => vec![
            metric("slo/metric", &it.counters.metric, false),
            selector("slo/requests", &it.counters.requests),
            selector("slo/errors", &it.counters.errors),
        ],
        Question::Latency(it) => vec![
            metric("latency/metric", &it.metric, true),
            selector("latency/histogram", &it.histogram),
        ],
        Question::Scalar(it) => vec![
            Some(("scalar/candidate", Asked::Query(&it.candidate))),
            Some(("scalar/stable", Asked::Query(&it.stable))),
        ],
    };
    asked.into_iter().flatten().collect()
}

fn selector<'q>(
    field: &'static str,
    selector: &'q Option<String>,
) -> Option<(&'static str, Asked<'q>)> {
    let selector = selector.as_deref()?;
    Some((field, Asked::Selector(selector)))
}

fn metric<'q>(
    field: &'static str,
    metric: &'q Option<Metric>,
    histogram: bool,
) -> Option<(&'static str, Asked<'q>)> {
    let metric = metric.as_ref()?;
    Some((field, Asked::ReadyMade(metric, histogram)))
}

fn check_metrics(
    reader: &Reader<'_>,
    delivery: Option<&Delivery>,
    bindings: Option<&Bindings>,
) -> Option<()> {
    let gates = delivery.map(|it| it.gates.as_slice()).unwrap_or_default();
    let asks = gates.iter().any(|it| it.question.needs_metrics());
    match bindings {
        Some(bindings) if asks && bindings.metrics.is_none() => reader.problem(
            "gates other than webhook need \"metrics\", e.g. metrics: { prometheus: { url: http://127.0.0.1:9090 } }",
        ),
        Some(_) | None => Some(()),
    }
}
