//! Ready-made selectors for what routers and libraries count, so that a gate needs no PromQL.
//!
//! Each template says where requests, errors and durations are counted, and which label tells the
//! two revisions apart. Names of metrics and labels are those of the exporters' documentation or
//! source, cited at each template.
//!
//! What no template can do: a request that is tried again elsewhere is counted where it failed only
//! by HAProxy; the others count what was answered in the end, or (OpenTelemetry) what the instance
//! itself lived to count.

mod counters;
mod exporters;

use std::collections::BTreeMap;

pub use self::counters::{Arm, Counters, Durations, Unit};
use crate::{TrafficConfig, traffic::Services};

/// A router or library whose counters are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Template {
    /// HAProxy's own exporter (`addons/promex`): `haproxy_server_…{proxy, server}`.
    ///
    /// `haproxy_server_http_responses_total{code="5xx"}` alone is blind to an instance that is gone:
    /// HAProxy counts there what a server answered, not the 502, 503 and 504 that it answers in the
    /// server's stead, and with `option redispatch` users may see no error at all. So a failure is a
    /// 5xx, or one of `connection_errors`, `response_errors` (broken off, late) and
    /// `redispatch_warnings` (could not be reached, sent elsewhere); all of them are requests too.
    /// HAProxy 2.6 counts an answer that is reset twice among `response_errors`, so such a request
    /// is two, in both counts; one that breaks off on a client's connection that has served before is
    /// none, because HAProxy closes that for the client to try again. There are averages of
    /// durations, but no histogram.
    ///
    /// `server` is Sluice's name of an instance, `r7-1`. It carries the revision, so no revision is
    /// ever given another's counts. The same name may come back (the instance started again, HAProxy
    /// reloaded): its counters begin at 0 then, which is a reset and not a negative count.
    Haproxy,
    /// nginx with `nginx-module-vts`: `nginx_vts_upstream_requests_total{upstream, backend, code}`,
    /// where `code` is `1xx` to `5xx` or `total`; durations only with
    /// `vhost_traffic_status_histogram_buckets`. `nginx-prometheus-exporter` will not do: what
    /// `stub_status` gives it has no status codes.
    ///
    /// `backend` is the address of an instance, which another one may have had before: what it
    /// counted until then is a base and not counted again.
    Nginx,
    /// Envoy: `envoy_cluster_upstream_rq_xx{envoy_cluster_name, envoy_response_code_class}` (final
    /// responses, Envoy's own 503 among them) and `envoy_cluster_upstream_rq_time`, milliseconds
    /// ("Dynamic HTTP statistics" of the cluster manager's documentation).
    ///
    /// Clusters are named by whoever configures Envoy, so both have to be told.
    Envoy,
    /// Istio's standard metrics: `istio_requests_total{reporter, destination_service_namespace,
    /// destination_service_name, response_code}` and `istio_request_duration_milliseconds`. Those of
    /// the calling side (`reporter="source"`) are used: they know of pods that do not answer.
    ///
    /// Both revisions are one workload to Istio, so the two Services of the `istio` router tell them
    /// apart.
    Istio,
    /// Traefik: `traefik_service_requests_total{code, service}` and
    /// `traefik_service_request_duration_seconds`, counted at each Service behind a weighted one.
    ///
    /// `service` is `<namespace>-<service>-<port>@kubernetescrd`.
    Traefik,
    /// ingress-nginx: `nginx_ingress_controller_requests{namespace, ingress, canary, status}` and
    /// `nginx_ingress_controller_request_duration_seconds`.
    ///
    /// Both revisions are counted at the user's Ingress. `canary` is the upstream of the second one,
    /// `<namespace>-<service>-<port>`, for requests that went there; else it is absent or `-`.
    IngressNginx,
    /// The semantic conventions of OpenTelemetry for HTTP servers, as Prometheus names them:
    /// `http_server_request_duration_seconds{job, http_response_status_code}`, in the instances.
    ///
    /// Told apart by label `pod`, as the usual configurations of Prometheus for Kubernetes set it.
    /// A request that an instance did not live to answer is not counted by anybody.
    OpenTelemetry,
}

/// What a template has to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter {
    /// Its word.
    pub word: &'static str,
    /// What it is, for people.
    pub meaning: &'static str,
    /// Whether it has to be given.
    pub required: bool,
}

const fn required(word: &'static str, meaning: &'static str) -> Parameter {
    Parameter {
        word,
        meaning,
        required: true,
    }
}

const NAMESPACE: Parameter = required("namespace", "the namespace");
const SERVICE: Parameter = required("service", "the user's Service");
const CANDIDATE_SERVICE: Parameter = Parameter {
    word: "candidateService",
    meaning: "the Service made beside it; <service>-candidate if not given",
    required: false,
};

impl Template {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Haproxy,
        Self::Nginx,
        Self::Envoy,
        Self::Istio,
        Self::Traefik,
        Self::IngressNginx,
        Self::OpenTelemetry,
    ];

    /// The word that users write.
    pub fn word(self) -> &'static str {
        match self {
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Envoy => "envoy",
            Self::Istio => "istio",
            Self::Traefik => "traefik",
            Self::IngressNginx => "ingressNginx",
            Self::OpenTelemetry => "openTelemetry",
        }
    }

    /// The template of a word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.word() == word)
    }

    /// What it has to be told.
    pub fn parameters(self) -> &'static [Parameter] {
        const PORT: Parameter =
            required("port", "the port of the Service that is named in the route");
        const INGRESS: Parameter = required("ingress", "the user's Ingress");
        match self {
            Self::Haproxy => &[const { required("backend", "the backend in HAProxy") }],
            Self::Nginx => &[const { required("upstream", "the upstream in nginx") }],
            Self::Envoy => &[
                const { required("stableCluster", "stable's cluster in Envoy") },
                const { required("candidateCluster", "the candidate's cluster in Envoy") },
            ],
            Self::Istio => &[NAMESPACE, SERVICE, CANDIDATE_SERVICE],
            Self::Traefik => &[NAMESPACE, SERVICE, CANDIDATE_SERVICE, PORT],
            Self::IngressNginx => &[NAMESPACE, INGRESS, SERVICE, CANDIDATE_SERVICE],
            Self::OpenTelemetry => {
                &[const { required("job", "label job, [<namespace>/]<service>") }]
            }
        }
    }

    /// The selectors, for values of its parameters; those that are not given are what the app's router
    /// is told under the same word.
    ///
    /// # Errors
    /// As [`Template::counters`].
    pub fn counters_of(
        self,
        given: &BTreeMap<String, String>,
        router: &TrafficConfig,
    ) -> Result<Counters, String> {
        // One kind, with its settings.
        let settings = serde_json::to_value(router).unwrap_or_default();
        let settings = settings.as_object().and_then(|it| it.values().next());
        let told = self.parameters().iter().filter_map(|it| {
            let value = settings?.get(it.word)?.as_str()?;
            Some((it.word.to_owned(), value.to_owned()))
        });
        let mut all: BTreeMap<String, String> = told.collect();
        all.extend(given.clone());
        self.counters(&all)
    }

    /// The selectors, for the values of its parameters.
    ///
    /// # Errors
    /// A sentence about a parameter that is missing, empty or unknown.
    pub fn counters(self, given: &BTreeMap<String, String>) -> Result<Counters, String> {
        let given = Given::check(self, given)?;
        Ok(match self {
            Self::Haproxy => exporters::haproxy(&given),
            Self::Nginx => exporters::nginx(&given),
            Self::Envoy => exporters::envoy(&given),
            Self::Istio => exporters::istio(&given),
            Self::Traefik => exporters::traefik(&given),
            Self::IngressNginx => exporters::ingress_nginx(&given),
            Self::OpenTelemetry => exporters::open_telemetry(&given),
        })
    }
}

/// A template's parameters, checked.
struct Given<'a>(&'a BTreeMap<String, String>);

impl<'a> Given<'a> {
    fn check(template: Template, given: &'a BTreeMap<String, String>) -> Result<Self, String> {
        let word = template.word();
        let known = template.parameters();
        if let Some(unknown) = given
            .keys()
            .find(|it| known.iter().all(|known| known.word != **it))
        {
            let known: Vec<&str> = known.iter().map(|it| it.word).collect();
            let known = known.join(", ");
            return Err(format!(
                "\"{unknown}\" is nothing that {word} is told; known: {known}"
            ));
        }
        let is_given = |it: &Parameter| given.get(it.word).is_some_and(|it| !it.is_empty());
        let needed = |it: &&Parameter| it.required || given.contains_key(it.word);
        match known.iter().filter(needed).find(|it| !is_given(it)) {
            Some(Parameter {
                word: missing,
                meaning,
                ..
            }) => Err(format!("{word} needs \"{missing}\": {meaning}")),
            None => Ok(Self(given)),
        }
    }

    /// The value of a parameter that is required.
    fn get(&self, parameter: &str) -> &str {
        self.0.get(parameter).map_or("", String::as_str)
    }

    fn candidate_service(&self) -> String {
        let services = Services {
            service: self.get(SERVICE.word).to_owned(),
            candidate_service: self.0.get(CANDIDATE_SERVICE.word).cloned(),
        };
        services.candidate()
    }
}

#[cfg(test)]
mod tests {
    use rollout::{
        Revision, Role,
        observation::{Instance, InstanceState},
    };

    use super::*;
    use crate::metrics::Selector;

    fn instance(name: &str, address: Option<&str>) -> Instance {
        Instance {
            name: name.to_owned(),
            address: address.map(str::to_owned),
            state: InstanceState::Ready,
            restarts: 0,
        }
    }

    /// The words of a template's parameters, with a value each that no selector may be broken by.
    fn given(template: Template) -> BTreeMap<String, String> {
        let words = template.parameters().iter().filter(|it| it.required);
        words
            .map(|it| (it.word.to_owned(), format!("{}.\"1", it.word)))
            .collect()
    }

    #[test]
    fn every_template_says_where_both_revisions_are_counted() {
        let stable = [instance("r6-1", Some("10.0.0.1:80"))];
        let candidate = [
            instance("r7-1", Some("10.0.0.2:80")),
            instance("r7-2", None),
        ];
        let arms = [
            (Role::Stable, Revision(6), &stable[..]),
            (Role::Candidate, Revision(7), &candidate[..]),
        ];
        let mut told = String::new();
        for template in Template::ALL {
            assert_eq!(Template::parse(template.word()), Some(template));
            let counters = template.counters(&given(template)).unwrap();
            told.push_str(&format!("{}\n", template.word()));
            for (role, revision, instances) in arms {
                let arm = Arm {
                    role,
                    revision,
                    instances,
                };
                let buckets = counters.durations.iter().map(|it| &it.buckets);
                for selector in [&counters.requests, &counters.errors]
                    .into_iter()
                    .chain(buckets)
                {
                    let of = counters.of(selector, &arm);
                    assert_eq!(Selector::parse(of.as_str()).as_ref(), Ok(&of));
                    told.push_str(&format!("  {role:?} {of}\n"));
                }
            }
        }
        insta::assert_snapshot!(told);
        assert_eq!(Template::parse("Haproxy"), None);
    }

    #[test]
    fn the_page_about_templates_says_what_each_is_told() {
        let page = include_str!("../../../../docs/metric-templates.md");
        for template in Template::ALL {
            let row = format!("| `{}` | ", template.word());
            let row = page.lines().find_map(|it| it.strip_prefix(&row)).unwrap();
            let words = template.parameters().iter();
            let words: Vec<String> = words.map(|it| format!("`{}`", it.word)).collect();
            assert_eq!(row.split(" | ").next(), Some(words.join(", ").as_str()));
        }
    }

    #[test]
    fn a_revision_without_instances_has_no_counts() {
        let counters = Template::OpenTelemetry
            .counters(&given(Template::OpenTelemetry))
            .unwrap();
        let arm = Arm {
            role: Role::Candidate,
            revision: Revision(7),
            instances: &[],
        };
        let of = counters.of(&counters.errors, &arm);
        assert!(
            of.as_str().ends_with(r#",pod=~"[^\\x00-\\x{10FFFF}]"}"#),
            "{of}"
        );
    }

    #[test]
    fn what_a_template_is_not_told_is_named() {
        let check = |template: Template, given: &[(&str, &str)], expected: &str| {
            let given = given
                .iter()
                .map(|(word, it)| ((*word).to_owned(), (*it).to_owned()));
            let said = template.counters(&given.collect()).unwrap_err();
            assert_eq!(said, expected);
        };
        check(
            Template::Haproxy,
            &[],
            "haproxy needs \"backend\": the backend in HAProxy",
        );
        check(
            Template::Nginx,
            &[("upstream", "")],
            "nginx needs \"upstream\": the upstream in nginx",
        );
        check(
            Template::Istio,
            &[
                ("namespace", "shop"),
                ("service", "shop"),
                ("candidateService", ""),
            ],
            "istio needs \"candidateService\": the Service made beside it; <service>-candidate if not given",
        );
        check(
            Template::Haproxy,
            &[("backend", "shop"), ("proxy", "shop")],
            "\"proxy\" is nothing that haproxy is told; known: backend",
        );
    }
}
