//! Reads the gates that compare candidate and stable.

use std::collections::BTreeMap;

use analysis::{
    BurnPolicy, ComparePolicy, LatencyPolicy, PolicyError, ScalarPolicy, ShareCheck,
    scalar::{Noise, Worse},
};

use super::query;
use crate::{
    document::{Object, Reader},
    gate::{Arms, CompareGate, Counters, LatencyGate, Metric, ScalarGate, SloGate},
};

/// How strict a gate is unless single numbers are given.
#[derive(Debug, Clone, Copy)]
enum Profile {
    Default,
    Strict,
}

const PROFILES: [(&str, Profile); 2] = [("default", Profile::Default), ("strict", Profile::Strict)];

impl CompareGate {
    pub(super) fn read(reader: &Reader<'_>) -> Option<Self> {
        let gate = reader.object(&[
            "metric",
            "requests",
            "errors",
            "revisions",
            "profile",
            "alpha",
            "beta",
            "margin",
            "passRatio",
            "floor",
            "ceiling",
            "warmUp",
            "patience",
            "shareCheck",
            "holdWithinMargin",
        ])?;
        let counters = Counters::read(&gate);
        let base = match gate.or("profile", Profile::Default, |it| it.word(&PROFILES))? {
            Profile::Default => ComparePolicy::default(),
            Profile::Strict => ComparePolicy::strict(),
        };
        let share_check = gate.or("shareCheck", false, Reader::boolean);
        let alpha = gate.or("alpha", base.alpha, Reader::number);
        let beta = gate.or("beta", base.beta, Reader::number);
        let margin = gate.or("margin", base.margin, Reader::number);
        let pass_ratio = gate.or("passRatio", base.pass_ratio, Reader::number);
        let floor = gate.or("floor", base.floor, Reader::number);
        let ceiling = gate.optional("ceiling", Reader::number);
        let warm_up_seconds = seconds(&gate, "warmUp", base.warm_up_seconds);
        let patience_seconds = seconds(&gate, "patience", base.patience_seconds);
        let hold_within_margin =
            gate.or("holdWithinMargin", base.hold_within_margin, Reader::boolean);
        let policy = ComparePolicy {
            alpha: alpha?,
            beta: beta?,
            margin: margin?,
            pass_ratio: pass_ratio?,
            floor: floor?,
            ceiling: ceiling?.or(base.ceiling),
            warm_up_seconds: warm_up_seconds?,
            patience_seconds: patience_seconds?,
            share_check: share_check?.then(ShareCheck::default),
            hold_within_margin: hold_within_margin?,
            ..base
        };
        checked(reader, policy.check())?;
        Some(Self {
            counters: counters?,
            policy,
        })
    }
}

impl LatencyGate {
    pub(super) fn read(reader: &Reader<'_>) -> Option<Self> {
        let gate = reader.object(&[
            "metric",
            "histogram",
            "revisions",
            "profile",
            "alpha",
            "beta",
            "margin",
            "passRatio",
            "passFloor",
            "warmUp",
            "patience",
        ])?;
        let metric = gate.optional("metric", Metric::read)?;
        let histogram = gate.optional("histogram", query)?;
        if metric.is_some() == histogram.is_some() {
            return gate.problem(
                "give either histogram, a selector of a histogram's buckets, or metric, a ready-made one",
            );
        }
        let base = match gate.or("profile", Profile::Default, |it| it.word(&PROFILES))? {
            Profile::Default => LatencyPolicy::default(),
            Profile::Strict => LatencyPolicy::strict(),
        };
        let alpha = gate.or("alpha", base.alpha, Reader::number);
        let beta = gate.or("beta", base.beta, Reader::number);
        let margin = gate.or("margin", base.margin, Reader::number);
        let pass_ratio = gate.or("passRatio", base.pass_ratio, Reader::number);
        let pass_floor = gate.or("passFloor", base.pass_floor, Reader::number);
        let warm_up_seconds = seconds(&gate, "warmUp", base.warm_up_seconds);
        let patience_seconds = seconds(&gate, "patience", base.patience_seconds);
        let policy = LatencyPolicy {
            alpha: alpha?,
            beta: beta?,
            margin: margin?,
            pass_ratio: pass_ratio?,
            pass_floor: pass_floor?,
            warm_up_seconds: warm_up_seconds?,
            patience_seconds: patience_seconds?,
            ..base
        };
        checked(reader, policy.check())?;
        Some(Self {
            histogram,
            metric,
            revisions: gate.optional("revisions", Arms::read)?,
            policy,
        })
    }
}

impl SloGate {
    pub(super) fn read(reader: &Reader<'_>) -> Option<Self> {
        let gate = reader.object(&[
            "metric",
            "requests",
            "errors",
            "revisions",
            "objective",
            "fast",
            "slow",
            "alpha",
            "beta",
            "patience",
        ])?;
        let counters = Counters::read(&gate);
        let base = BurnPolicy::new(gate.required("objective", Reader::number)?);
        let fast = gate.or("fast", base.fast, Reader::number);
        let slow = gate.or("slow", base.slow, Reader::number);
        let alpha = gate.or("alpha", base.alpha, Reader::number);
        let beta = gate.or("beta", base.beta, Reader::number);
        let patience_seconds = seconds(&gate, "patience", base.patience_seconds);
        let policy = BurnPolicy {
            fast: fast?,
            slow: slow?,
            alpha: alpha?,
            beta: beta?,
            patience_seconds: patience_seconds?,
            ..base
        };
        checked(reader, policy.check())?;
        Some(Self {
            counters: counters?,
            policy,
        })
    }
}

impl ScalarGate {
    pub(super) fn read(reader: &Reader<'_>) -> Option<Self> {
        let gate = reader.object(&[
            "candidate",
            "stable",
            "worse",
            "margin",
            "passMargin",
            "deviation",
            "autocorrelation",
            "alpha",
            "beta",
            "patience",
        ])?;
        let candidate = gate.required("candidate", query);
        let stable = gate.required("stable", query);
        let ways = [("higher", Worse::Higher), ("lower", Worse::Lower)];
        let worse = gate.or("worse", Worse::Higher, |it| it.word(&ways))?;
        let margin = gate.required("margin", Reader::number)?;
        let pass_margin = gate.or("passMargin", 2.0 * margin, Reader::number)?;
        let autocorrelation = gate.or("autocorrelation", 0.0, Reader::number)?;
        let noise = match gate.optional("deviation", Reader::number)? {
            Some(deviation) => Noise::Known {
                deviation,
                autocorrelation,
            },
            None => Noise::Unknown,
        };
        let base = ScalarPolicy::new(worse, noise, margin, pass_margin);
        let alpha = gate.or("alpha", base.alpha, Reader::number);
        let beta = gate.or("beta", base.beta, Reader::number);
        let patience_seconds = seconds(&gate, "patience", base.patience_seconds);
        let policy = ScalarPolicy {
            alpha: alpha?,
            beta: beta?,
            patience_seconds: patience_seconds?,
            ..base
        };
        checked(reader, policy.check())?;
        Some(Self {
            candidate: candidate?,
            stable: stable?,
            policy,
        })
    }
}

impl Counters {
    fn read(gate: &Object<'_>) -> Option<Self> {
        let metric = gate.optional("metric", Metric::read)?;
        let requests = gate.optional("requests", query)?;
        let errors = gate.optional("errors", query)?;
        let revisions = gate.optional("revisions", Arms::read)?;
        match (&metric, &requests, &errors) {
            (Some(_), None, None) | (None, Some(_), Some(_)) => Some(Self {
                metric,
                requests,
                errors,
                revisions,
            }),
            (Some(_), _, _) => {
                gate.problem("metric is a ready-made pair of requests and errors: give only one of the two")
            }
            (None, _, _) => gate.problem(
                "give requests and errors, two selectors of counters, or metric, a ready-made pair of them",
            ),
        }
    }
}

impl Metric {
    /// A template's name alone, or with what it is told: `haproxy`, `{ envoy: { stableCluster: … } }`.
    fn read(reader: &Reader<'_>) -> Option<Self> {
        if reader.value().is_string() {
            return Some(Self {
                template: reader.name()?,
                of: BTreeMap::new(),
            });
        }
        let told = |word: &str, it: &Reader<'_>| Some((word.to_owned(), it.text()?));
        let mut named = reader.entries(|template, settings| {
            Some(Self {
                template: template.to_owned(),
                of: settings.entries(told)?.into_iter().collect(),
            })
        })?;
        match (named.pop(), named.is_empty()) {
            (Some(metric), true) => Some(metric),
            (_, _) => reader.problem("give one ready-made set of metrics"),
        }
    }
}

impl Arms {
    fn read(reader: &Reader<'_>) -> Option<Self> {
        let (kind, value) = reader.one_of(&["label", "instances"])?;
        let label = value.text()?;
        let is_label = label.starts_with(|it: char| it.is_ascii_alphabetic() || it == '_')
            && label
                .chars()
                .all(|it| it.is_ascii_alphanumeric() || it == '_');
        match (is_label, kind) {
            (false, _) => value.problem(format!("\"{label}\" is not the name of a label")),
            (true, "label") => Some(Self::Label(label)),
            (true, _) => Some(Self::Instances(label)),
        }
    }
}

/// A duration in seconds.
fn seconds(gate: &Object<'_>, key: &str, default: f64) -> Option<f64> {
    let given = gate.optional(key, Reader::duration)?;
    Some(given.map_or(default, |it| it.as_secs_f64()))
}

/// Notes a number that is out of its range, at its key.
fn checked(reader: &Reader<'_>, policy: Result<(), PolicyError>) -> Option<()> {
    match policy {
        Ok(()) => Some(()),
        Err(error) => {
            let key = match error.field {
                "warmUpSeconds" => "warmUp",
                "patienceSeconds" => "patience",
                "noise.deviation" => "deviation",
                "noise.autocorrelation" => "autocorrelation",
                field => field,
            };
            let at = match key.chars().all(|it| it.is_ascii_alphanumeric()) {
                true => format!("/{key}"),
                false => String::new(),
            };
            reader.problem_at(&at, error.to_string())
        }
    }
}
