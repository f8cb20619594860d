//! Which selectors a gate's question asks for.

use drivers::{
    TrafficConfig,
    metrics::{
        Selector,
        template::{self, Template, Unit},
    },
    substitution::Substitution,
};
use rollout::{
    Revision, Role,
    gate::{Arms, Metric, Question, counting::Counting},
    observation::{Instance, InstanceState},
};

use super::{BOUND, Stand};

pub(super) const REQUESTS: &str = "requests";
pub(super) const ERRORS: &str = "errors";

/// One selector to ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Selected {
    /// What its series count.
    pub(super) what: &'static str,
    /// Whose requests they count, where the selector says so; else a label does.
    pub(super) role: Option<Role>,
    pub(super) selector: String,
}

/// What a question asks of the metric source.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) selectors: Vec<Selected>,
    /// What tells revisions apart in series whose selector does not say whose they are.
    pub(super) revisions: Arms,
    /// What the bounds of a histogram are multiplied by, to be seconds.
    pub(super) scale: f64,
}

impl Asked {
    /// # Errors
    /// A sentence about what cannot be asked.
    pub(super) fn of(
        question: &Question,
        names: &Substitution,
        stand: &Stand,
        counting: &Counting,
    ) -> Result<Self, String> {
        let (metric, own, revisions) = match question {
            Question::Compare(gate) => settings(&gate.counters),
            Question::Slo(gate) => settings(&gate.counters),
            Question::Latency(gate) => (
                gate.metric.as_ref(),
                vec![(BOUND, gate.histogram.as_deref())],
                gate.revisions.as_ref(),
            ),
            Question::Threshold(_) | Question::Webhook(_) | Question::Scalar(_) => {
                return Err("this gate counts nothing".to_owned());
            }
        };
        let revisions = revisions.cloned();
        let revisions = revisions.unwrap_or_else(|| Arms::Instances(stand.label.to_owned()));
        if let Some(metric) = metric {
            let router = stand.router.as_ref();
            let counters = ready_made(metric, router)?;
            let (selectors, scale) = of_template(question, &counters, names, counting)?;
            return Ok(Self {
                selectors,
                revisions,
                scale,
            });
        }
        let selectors = own.into_iter().map(|(what, selector)| {
            let selector = selector.ok_or_else(|| format!("it names no selector of {what}"))?;
            let selector = Selector::parse(selector)?.of(&names.app)?;
            Ok(Selected {
                what,
                role: None,
                selector: selector.as_str().to_owned(),
            })
        });
        Ok(Self {
            selectors: selectors.collect::<Result<_, String>>()?,
            revisions,
            scale: 1.0,
        })
    }
}

type Settings<'q> = (
    Option<&'q Metric>,
    Vec<(&'static str, Option<&'q str>)>,
    Option<&'q Arms>,
);

fn settings(counters: &rollout::gate::Counters) -> Settings<'_> {
    (
        counters.metric.as_ref(),
        vec![
            (REQUESTS, counters.requests.as_deref()),
            (ERRORS, counters.errors.as_deref()),
        ],
        counters.revisions.as_ref(),
    )
}

/// The counters of a ready-made set of metrics.
///
/// # Errors
/// A sentence: the name is unknown, or it has to be told more.
pub(crate) fn ready_made(
    metric: &Metric,
    router: Option<&TrafficConfig>,
) -> Result<template::Counters, String> {
    let Some(template) = Template::parse(&metric.template) else {
        let known = Template::ALL.map(Template::word).join(", ");
        return Err(format!(
            "no ready-made metrics are called \"{}\"; there are {known}",
            metric.template
        ));
    };
    match router {
        Some(router) => template.counters_of(&metric.of, router),
        None => template.counters(&metric.of),
    }
}

/// The selectors of both roles, and what bounds are multiplied by.
fn of_template(
    question: &Question,
    counters: &template::Counters,
    names: &Substitution,
    counting: &Counting,
) -> Result<(Vec<Selected>, f64), String> {
    let (whats, scale) = match (question.is_histogram(), &counters.durations) {
        (true, Some(durations)) => {
            let scale = match durations.unit {
                Unit::Seconds => 1.0,
                Unit::Milliseconds => 0.001,
            };
            (vec![(BOUND, &durations.buckets)], scale)
        }
        (true, None) => return Err(NO_HISTOGRAM.to_owned()),
        (false, _) => (
            vec![(REQUESTS, &counters.requests), (ERRORS, &counters.errors)],
            1.0,
        ),
    };
    let roles = [
        (Role::Candidate, Some(names.candidate.0)),
        (Role::Stable, names.stable.as_ref().map(|it| it.0)),
    ];
    let mut selectors = Vec::new();
    for (role, revision) in roles {
        let Some(revision) = revision else { continue };
        let instances = instances(role, counting);
        for (what, selector) in &whats {
            let narrowed = narrowed(counters, selector, (role, revision), &instances);
            selectors.push(Selected {
                what,
                role: Some(role),
                selector: narrowed.as_str().to_owned(),
            });
        }
    }
    Ok((selectors, scale))
}

/// Why a ready-made set of metrics cannot serve a latency gate.
pub(crate) const NO_HISTOGRAM: &str =
    "it has no histogram of durations: give histogram, a selector of your service's own buckets";

fn narrowed(
    counters: &template::Counters,
    selector: &Selector,
    (role, revision): (Role, Revision),
    instances: &[Instance],
) -> Selector {
    let arm = template::Arm {
        role,
        revision,
        instances,
    };
    counters.of(selector, &arm)
}

/// All instances of a role that were seen in this rollout, by each name and address they had.
fn instances(role: Role, counting: &Counting) -> Vec<Instance> {
    let known = counting.instances().filter(|(_, it)| *it == role);
    let instance = |name: &str| Instance {
        name: name.to_owned(),
        address: Some(name.to_owned()),
        state: InstanceState::Ready,
        restarts: 0,
    };
    known.map(|(name, _)| instance(name)).collect()
}
