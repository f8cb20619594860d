//! The selectors of each exporter. What the names mean and where they are written is said at
//! [`Template`](super::Template).

use super::{
    Given,
    counters::{Apart, Counters, Durations, Unit},
};
use crate::{
    metrics::selector::{MatchOp, Selector},
    substitution::regex_literal,
};

pub(super) fn haproxy(given: &Given<'_>) -> Counters {
    let all = Selector::of_metrics(&[
        "haproxy_server_http_responses_total",
        "haproxy_server_connection_errors_total",
        "haproxy_server_response_errors_total",
        "haproxy_server_redispatch_warnings_total",
    ]);
    let requests = all.with("proxy", MatchOp::Equal, given.get("backend"));
    Counters {
        // Only responses have a code.
        errors: requests.with("code", MatchOp::Matches, "5xx|"),
        requests,
        durations: None,
        apart: Apart::RevisionsName("server"),
    }
}

pub(super) fn nginx(given: &Given<'_>) -> Counters {
    let of = |metric| {
        Selector::of_metrics(&[metric]).with("upstream", MatchOp::Equal, given.get("upstream"))
    };
    let responses = of("nginx_vts_upstream_requests_total");
    Counters {
        requests: responses.with("code", MatchOp::Equal, "total"),
        errors: responses.with("code", MatchOp::Equal, "5xx"),
        durations: Some(Durations {
            buckets: of("nginx_vts_upstream_request_duration_seconds_bucket"),
            unit: Unit::Seconds,
        }),
        apart: Apart::InstancesAddress("backend"),
    }
}

pub(super) fn envoy(given: &Given<'_>) -> Counters {
    let requests = Selector::of_metrics(&["envoy_cluster_upstream_rq_xx"]);
    Counters {
        errors: requests.with("envoy_response_code_class", MatchOp::Equal, "5"),
        requests,
        durations: Some(Durations {
            buckets: Selector::of_metrics(&["envoy_cluster_upstream_rq_time_bucket"]),
            unit: Unit::Milliseconds,
        }),
        apart: Apart::Each {
            label: "envoy_cluster_name",
            stable: given.get("stableCluster").to_owned(),
            candidate: given.get("candidateCluster").to_owned(),
        },
    }
}

pub(super) fn istio(given: &Given<'_>) -> Counters {
    let of = |metric| {
        let caller = Selector::of_metrics(&[metric]).with("reporter", MatchOp::Equal, "source");
        caller.with(
            "destination_service_namespace",
            MatchOp::Equal,
            given.get("namespace"),
        )
    };
    let requests = of("istio_requests_total");
    Counters {
        errors: requests.with("response_code", MatchOp::Matches, "5.."),
        requests,
        durations: Some(Durations {
            buckets: of("istio_request_duration_milliseconds_bucket"),
            unit: Unit::Milliseconds,
        }),
        apart: Apart::Each {
            label: "destination_service_name",
            stable: given.get("service").to_owned(),
            candidate: given.candidate_service(),
        },
    }
}

pub(super) fn traefik(given: &Given<'_>) -> Counters {
    let requests = Selector::of_metrics(&["traefik_service_requests_total"]);
    let (namespace, port) = (given.get("namespace"), given.get("port"));
    let name = |service: &str| format!("{namespace}-{service}-{port}@kubernetescrd");
    Counters {
        errors: requests.with("code", MatchOp::Matches, "5.."),
        requests,
        durations: Some(Durations {
            buckets: Selector::of_metrics(&["traefik_service_request_duration_seconds_bucket"]),
            unit: Unit::Seconds,
        }),
        apart: Apart::Each {
            label: "service",
            stable: name(given.get("service")),
            candidate: name(&given.candidate_service()),
        },
    }
}

pub(super) fn ingress_nginx(given: &Given<'_>) -> Counters {
    let namespace = given.get("namespace");
    let of = |metric| {
        let of = Selector::of_metrics(&[metric]).with("namespace", MatchOp::Equal, namespace);
        of.with("ingress", MatchOp::Equal, given.get("ingress"))
    };
    let requests = of("nginx_ingress_controller_requests");
    let upstream = regex_literal(&format!("{namespace}-{}-", given.candidate_service()));
    Counters {
        errors: requests.with("status", MatchOp::Matches, "5.."),
        requests,
        durations: Some(Durations {
            buckets: of("nginx_ingress_controller_request_duration_seconds_bucket"),
            unit: Unit::Seconds,
        }),
        apart: Apart::Candidates {
            label: "canary",
            pattern: format!("{upstream}.+"),
        },
    }
}

pub(super) fn open_telemetry(given: &Given<'_>) -> Counters {
    let of = |metric| Selector::of_metrics(&[metric]).with("job", MatchOp::Equal, given.get("job"));
    let requests = of("http_server_request_duration_seconds_count");
    Counters {
        errors: requests.with("http_response_status_code", MatchOp::Matches, "5.."),
        requests,
        durations: Some(Durations {
            buckets: of("http_server_request_duration_seconds_bucket"),
            unit: Unit::Seconds,
        }),
        apart: Apart::InstancesName("pod"),
    }
}
