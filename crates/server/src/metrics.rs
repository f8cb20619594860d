//! What this process counts, in OpenMetrics. Every metric stands in [`Metrics`] with its meaning.
//!
//! Labels come from closed sets of words, never from apps or rollouts: the number of series does
//! not grow with use. Numbers about rollouts are read from Postgres when somebody scrapes, so that
//! every replica tells the same.

use std::{sync::Arc, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use rollout::{Event, Phase, gate::Verdict};

/// The media type of [`Metrics::encode`]'s text.
pub(crate) const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds in seconds for what should take milliseconds: the targets (100 ms, 250 ms, 500 ms)
/// are bounds, so that "within the target" is one series.
const LATENCY_SECONDS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PassLabels {
    lane: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LaneLabels {
    lane: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabels {
    event: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerdictLabels {
    verdict: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabels {
    phase: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    method: &'static str,
    route: &'static str,
}

/// All metrics of the process; names below are without the prefix `sluice_`.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    /// `passes_total{lane, outcome}`: passes of the loop; outcome is ok, unseen (an effect is not
    /// seen yet) or error.
    passes: Family<PassLabels, Counter>,
    /// `pass_duration_seconds{lane}`: from a pass's first read to its last effect.
    pass_seconds: Histograms<LaneLabels>,
    /// `wake_latency_seconds{lane}`: from a wake to the start of the pass it asked for.
    wake_seconds: Histograms<LaneLabels>,
    /// `transitions_total{event}`: committed transitions, by the event's word.
    transitions: Family<EventLabels, Counter>,
    /// `measurements_total{verdict}`: measurements of gates, by the gate's verdict after it.
    measurements: Family<VerdictLabels, Counter>,
    /// `driver_errors_total{kind}`: driver calls that failed; kind is workload, traffic, …
    driver_errors: Family<KindLabels, Counter>,
    /// `alert_to_route_seconds`: from an alert's arrival to the router's confirmed write.
    alert_seconds: Histogram,
    /// `http_requests_total{method, route, status}`: answered requests.
    requests: Family<RequestLabels, Counter>,
    /// `http_request_duration_seconds{method, route}`: until the answer's head was ready; streams
    /// and long polls count until then, too.
    request_seconds: Histograms<RouteLabels>,
    /// `outbox_pending`: notices not delivered yet, in the whole service.
    outbox_pending: Gauge,
    /// `rollouts{phase}`: rollouts by phase, in the whole service.
    rollouts: Family<PhaseLabels, Gauge>,
}

fn latencies() -> Histogram {
    Histogram::new(LATENCY_SECONDS)
}

impl Metrics {
    /// All at zero.
    pub(crate) fn new() -> Arc<Self> {
        let histogram: fn() -> Histogram = latencies;
        let mut metrics = Self {
            registry: Registry::with_prefix("sluice"),
            passes: Family::default(),
            pass_seconds: Family::new_with_constructor(histogram),
            wake_seconds: Family::new_with_constructor(histogram),
            transitions: Family::default(),
            measurements: Family::default(),
            driver_errors: Family::default(),
            alert_seconds: latencies(),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(histogram),
            outbox_pending: Gauge::default(),
            rollouts: Family::default(),
        };
        metrics.register();
        Arc::new(metrics)
    }

    fn register(&mut self) {
        let it = &mut self.registry;
        let seconds = || Unit::Seconds;
        it.register("passes", "Passes of the loop", self.passes.clone());
        let help = "From a pass's first read to its last effect";
        it.register_with_unit("pass_duration", help, seconds(), self.pass_seconds.clone());
        let help = "From a wake to the start of its pass";
        it.register_with_unit("wake_latency", help, seconds(), self.wake_seconds.clone());
        it.register(
            "transitions",
            "Committed transitions",
            self.transitions.clone(),
        );
        let help = "Measurements of gates by the verdict after them";
        it.register("measurements", help, self.measurements.clone());
        let help = "Driver calls that failed";
        it.register("driver_errors", help, self.driver_errors.clone());
        let help = "From an alert's arrival to the router's confirmed write";
        it.register_with_unit(
            "alert_to_route",
            help,
            seconds(),
            self.alert_seconds.clone(),
        );
        it.register("http_requests", "Answered requests", self.requests.clone());
        let help = "Until the head of the answer was ready";
        let family = self.request_seconds.clone();
        it.register_with_unit("http_request_duration", help, seconds(), family);
        let help = "Notices not delivered yet, in the whole service";
        it.register("outbox_pending", help, self.outbox_pending.clone());
        let help = "Rollouts by phase, in the whole service";
        it.register("rollouts", help, self.rollouts.clone());
    }

    /// A pass ended.
    pub(crate) fn pass_ran(&self, lane: &'static str, took: Duration, outcome: &'static str) {
        self.passes
            .get_or_create(&PassLabels { lane, outcome })
            .inc();
        self.pass_seconds
            .get_or_create(&LaneLabels { lane })
            .observe(took.as_secs_f64());
    }

    /// A pass starts, `latency` after the wake that asked for it.
    pub(crate) fn woken(&self, lane: &'static str, latency: Duration) {
        self.wake_seconds
            .get_or_create(&LaneLabels { lane })
            .observe(latency.as_secs_f64());
    }

    /// A transition was committed.
    pub(crate) fn transition(&self, event: &Event) {
        let event = event.word();
        self.transitions.get_or_create(&EventLabels { event }).inc();
    }

    /// A gate was measured.
    pub(crate) fn measured(&self, verdict: Verdict) {
        let verdict = verdict_word(verdict);
        self.measurements
            .get_or_create(&VerdictLabels { verdict })
            .inc();
    }

    /// A driver call failed.
    pub(crate) fn driver_failed(&self, kind: &'static str) {
        self.driver_errors.get_or_create(&KindLabels { kind }).inc();
    }

    /// The router took what an alert asked for, `latency` after the alert came in.
    pub(crate) fn alert_routed(&self, latency: Duration) {
        self.alert_seconds.observe(latency.as_secs_f64());
    }

    /// A request was answered. `route` is a row of the table, never a path that somebody sent.
    pub(crate) fn answered(
        &self,
        method: &'static str,
        route: &'static str,
        status: u16,
        took: Duration,
    ) {
        self.requests
            .get_or_create(&RequestLabels {
                method,
                route,
                status,
            })
            .inc();
        self.request_seconds
            .get_or_create(&RouteLabels { method, route })
            .observe(took.as_secs_f64());
    }

    /// Sets what is read from Postgres at a scrape; a phase that `phases` lacks has none.
    pub(crate) fn set_world(&self, outbox_pending: i64, phases: &[(Phase, i64)]) {
        self.outbox_pending.set(outbox_pending);
        for phase in Phase::ALL {
            let count = phases.iter().find(|(it, _)| *it == phase);
            let labels = PhaseLabels {
                phase: phase.word(),
            };
            self.rollouts
                .get_or_create(&labels)
                .set(count.map_or(0, |(_, count)| *count));
        }
    }

    /// Everything as OpenMetrics text.
    pub(crate) fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// The verdict's word, as in JSON.
pub(crate) fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "fail",
        Verdict::Inconclusive => "inconclusive",
        Verdict::Hold => "hold",
        Verdict::NoData => "noData",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_is_in_the_text() {
        let metrics = Metrics::new();
        metrics.pass_ran("normal", Duration::from_millis(3), "ok");
        metrics.woken("rollback", Duration::from_millis(1));
        metrics.transition(&Event::Started);
        metrics.measured(Verdict::NoData);
        metrics.driver_failed("traffic");
        metrics.alert_routed(Duration::from_millis(40));
        metrics.answered("GET", "/health", 200, Duration::from_micros(90));
        metrics.set_world(2, &[(Phase::Paused, 3)]);
        let text = metrics.encode().unwrap();
        for line in [
            r#"sluice_passes_total{lane="normal",outcome="ok"} 1"#,
            r#"sluice_pass_duration_seconds_count{lane="normal"} 1"#,
            r#"sluice_wake_latency_seconds_count{lane="rollback"} 1"#,
            r#"sluice_transitions_total{event="started"} 1"#,
            r#"sluice_measurements_total{verdict="noData"} 1"#,
            r#"sluice_driver_errors_total{kind="traffic"} 1"#,
            r#"sluice_alert_to_route_seconds_bucket{le="0.05"} 1"#,
            r#"sluice_http_requests_total{method="GET",route="/health",status="200"} 1"#,
            "sluice_outbox_pending 2",
            r#"sluice_rollouts{phase="paused"} 3"#,
            r#"sluice_rollouts{phase="aborting"} 0"#,
            "# EOF",
        ] {
            assert!(text.contains(line), "{line} is missing in:\n{text}");
        }
    }
}
