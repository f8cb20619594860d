//! Who sends requests to the pods, and so which router can move traffic between two revisions.

use serde_json::Value;

use super::{
    Choice, Found, Route, RouteKind, Subject, Undecided, full_name,
    ingresses::{class_of, foreign_ingresses, is_nginx, services_of},
    objects::{annotation, list, name, pod_labels, selects, sequence, text, texts},
    workload::{Workload, pods},
};

/// The annotation that makes a Service one that Sluice made.
pub(super) const BESIDE: &str = "sluice.dev/beside";

/// What the second Service's name ends with; the first that is free is taken.
const CANDIDATES: [&str; 2] = ["-candidate", "-sluice-candidate"];

/// Longest name of a Service.
const SERVICE_NAME_MAX: usize = 63;

/// With fewer pods than this, a share by number of pods is none worth the name.
const PODS_FOR_SHARES: u64 = 4;

/// How traffic will be moved.
#[derive(Debug, Clone)]
pub(super) struct Traffic {
    pub(super) router: Router,
    /// The user's Service.
    pub(super) service: Option<String>,
    /// Named only where `<service>-candidate` cannot be used.
    pub(super) candidate_service: Option<String>,
    pub(super) found: Vec<String>,
    pub(super) decided: Vec<String>,
    pub(super) warnings: Vec<String>,
}

/// The router, with what its settings name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Router {
    /// Weights of a route of the Gateway API; the rules that name the Service.
    Gateway { route: Route, rules: Vec<usize> },
    /// A second Ingress with a weight.
    Nginx { ingress: String },
    /// The Service's selector: all or nothing.
    Selector,
    /// Numbers of pods.
    Ratio,
}

/// A route that names a Service.
#[derive(Debug, Clone)]
struct Way {
    service: String,
    route: Route,
    rules: Vec<usize>,
}

impl Traffic {
    pub(super) fn of(
        found: &Found,
        choice: &Choice,
        workload: &Workload,
    ) -> Result<Self, Undecided> {
        let services = services(found);
        let mut ways: Vec<Way> = services
            .iter()
            .flat_map(|it| ways_to(found, name(it)))
            .collect();
        let mut services: Vec<&str> = services.into_iter().map(name).collect();
        if let Some(wanted) = &choice.service {
            known(Subject::Service, wanted, &services)?;
            services.retain(|it| it == wanted);
            ways.retain(|it| it.service == *wanted);
        }
        if let Some(wanted) = &choice.route {
            let routes: Vec<String> = ways.iter().map(|it| it.route.to_string()).collect();
            let routes: Vec<&str> = routes.iter().map(String::as_str).collect();
            known(Subject::Route, &wanted.to_string(), &routes)?;
            ways.retain(|it| it.route == *wanted);
        }
        let way = only_way(&ways, workload)?;
        let mut traffic = Self {
            router: Router::Ratio,
            service: None,
            candidate_service: None,
            found: Vec::new(),
            decided: Vec::new(),
            warnings: Vec::new(),
        };
        match way {
            Some(way) => traffic.by_route(found, way),
            None => traffic.by_service(found, &services, workload)?,
        }
        traffic.look_around(found);
        Ok(traffic)
    }

    fn by_route(&mut self, found: &Found, way: &Way) {
        let Way {
            service,
            route,
            rules,
        } = way;
        let kind = route.kind.kind();
        let place = match route.kind {
            RouteKind::HttpRoute | RouteKind::GrpcRoute => {
                format!(" in {}", rules_in_words(rules))
            }
            RouteKind::Ingress => String::new(),
        };
        self.found.push(format!(
            "Service {}/{service} selects its pods",
            found.namespace
        ));
        self.found.push(format!(
            "{kind} {}/{} sends to Service {service}{place}",
            found.namespace, route.name
        ));
        self.service = Some(service.clone());
        self.router = match route.kind {
            RouteKind::HttpRoute | RouteKind::GrpcRoute => Router::Gateway {
                route: route.clone(),
                rules: rules.clone(),
            },
            RouteKind::Ingress => Router::Nginx {
                ingress: route.name.clone(),
            },
        };
        self.decided.push(format!(
            "traffic moves by weights of {kind} {}: any share is possible",
            route.name
        ));
        self.name_candidate(found, service);
    }

    /// Without a route there is the Service alone.
    fn by_service(
        &mut self,
        found: &Found,
        services: &[&str],
        workload: &Workload,
    ) -> Result<(), Undecided> {
        match services {
            [] => {
                return Err(Undecided::NoService {
                    deployment: full_name(found, &found.deployment),
                });
            }
            [service] => {
                self.service = Some((*service).to_owned());
                self.found.push(format!(
                    "Service {}/{service} selects its pods",
                    found.namespace
                ));
                self.found.push(
                    "no HTTPRoute, GRPCRoute or Ingress that Sluice can drive sends to it"
                        .to_owned(),
                );
                let count = pods(workload.replicas);
                // One of the new ones beside all of the old ones.
                let smallest = 100 / (workload.replicas + 1);
                if workload.replicas >= PODS_FOR_SHARES {
                    self.decided.push(format!(
                        "replicaRatio: the Service spreads requests over all its pods, so shares are numbers of pods; beside {count} the smallest is about {smallest} %. For finer ones put an HTTPRoute before it"
                    ));
                } else {
                    self.router = Router::Selector;
                    self.decided.push(format!(
                        "service, with blueGreen: beside {count} a first pod would get {smallest} % at once, so all traffic is switched by one write instead. For shares put an HTTPRoute before the Service"
                    ));
                }
            }
            several => {
                return Err(Undecided::Several {
                    subject: Subject::Service,
                    question: format!(
                        "several Services select the pods of Deployment {}, and no route tells which counts",
                        workload.deployment
                    ),
                    candidates: several
                        .iter()
                        .map(|it| ((*it).to_owned(), String::new()))
                        .collect(),
                });
            }
        }
        Ok(())
    }

    /// Finds a name for the second Service that is free and short enough.
    fn name_candidate(&mut self, found: &Found, service: &str) {
        let is_free = |wanted: &str| {
            let mut taken = found.services.iter();
            !taken.any(|it| name(it) == wanted && annotation(it, BESIDE) != Some(service))
        };
        let named = |suffix: &&str| {
            let room = SERVICE_NAME_MAX.saturating_sub(suffix.len());
            let base: String = service.chars().take(room).collect();
            format!("{}{suffix}", base.trim_end_matches('-'))
        };
        let chosen = CANDIDATES.iter().map(named).find(|it| is_free(it));
        let usual = format!("{service}-candidate");
        match chosen {
            Some(chosen) if chosen == usual => {}
            Some(chosen) => {
                self.decided.push(format!(
                    "the second Service is called {chosen}, because {usual} is taken or too long"
                ));
                self.candidate_service = Some(chosen);
            }
            None => self.warnings.push(format!(
                "{usual} is a Service already: name another one with candidateService"
            )),
        }
    }

    /// What else gets traffic to these pods, or other pods traffic from this Service.
    fn look_around(&mut self, found: &Found) {
        let others: Vec<&str> = services(found)
            .into_iter()
            .map(name)
            .filter(|it| Some(*it) != self.service.as_deref())
            .collect();
        for other in others {
            self.warnings.push(format!(
                "Service {other} selects the same pods: what it sends reaches both revisions during a rollout, by their numbers of pods"
            ));
        }
        for ingress in foreign_ingresses(found) {
            let is_ours = |it: &str| Some(it) == self.service.as_deref();
            if services_of(ingress).into_iter().any(is_ours) {
                self.warnings.push(format!(
                    "Ingress {} (class {}) sends to the Service as well; Sluice cannot give it weights",
                    name(ingress),
                    class_of(ingress).unwrap_or("of the cluster's default")
                ));
            }
        }
        let Some(service) = self.service.as_deref() else {
            return;
        };
        let service = found.services.iter().find(|it| name(it) == service);
        let selector = service.map(|it| texts(it, "/spec/selector"));
        let strangers = found.deployments.iter().filter(|it| {
            name(it) != name(&found.deployment)
                && selector
                    .as_ref()
                    .is_some_and(|selector| selects(selector, &pod_labels(it)))
        });
        for stranger in strangers {
            self.warnings.push(format!(
                "the Service also selects the pods of Deployment {}: Sluice refuses to narrow it, because that would take their traffic; give each its own Service",
                name(stranger)
            ));
        }
    }
}

/// `rules 0 and 2`, counted as in their list.
pub(super) fn rules_in_words(rules: &[usize]) -> String {
    let numbers: Vec<String> = rules.iter().map(ToString::to_string).collect();
    match rules {
        [one] => format!("rule {one}"),
        _ => format!("rules {}", sequence(&numbers)),
    }
}

fn known(subject: Subject, wanted: &str, there: &[&str]) -> Result<(), Undecided> {
    match there.contains(&wanted) {
        true => Ok(()),
        false => Err(Undecided::Unknown {
            subject,
            wanted: wanted.to_owned(),
            known: there.iter().map(|it| (*it).to_owned()).collect(),
        }),
    }
}

/// The one way, `None` when there is none; a question when there are several.
fn only_way<'a>(ways: &'a [Way], workload: &Workload) -> Result<Option<&'a Way>, Undecided> {
    let [first, rest @ ..] = ways else {
        return Ok(None);
    };
    if rest.is_empty() {
        return Ok(Some(first));
    }
    let one_service = rest.iter().all(|it| it.service == first.service);
    let subject = match one_service {
        true => Subject::Route,
        false => Subject::Service,
    };
    let mut candidates: Vec<(String, String)> = Vec::new();
    for way in ways {
        let (value, remark) = match one_service {
            true => (way.route.to_string(), String::new()),
            false => (way.service.clone(), format!("behind {}", way.route)),
        };
        match candidates.iter_mut().find(|(it, _)| *it == value) {
            Some((_, known)) => known.push_str(&format!(" and {}", way.route)),
            None => candidates.push((value, remark)),
        }
    }
    let question = match one_service {
        true => format!(
            "several routes send to Service {}, and one app moves one of them",
            first.service
        ),
        false => format!(
            "several Services of Deployment {} are behind routes, and one app moves the traffic of one",
            workload.deployment
        ),
    };
    Err(Undecided::Several {
        subject,
        question,
        candidates,
    })
}

/// The Services that select the Deployment's pods; not those that Sluice made.
fn services(found: &Found) -> Vec<&Value> {
    let labels = pod_labels(&found.deployment);
    let fits = |it: &&Value| {
        selects(&own_selector(it), &labels)
            && text(it, "/spec/type") != Some("ExternalName")
            && annotation(it, BESIDE).is_none()
    };
    found.services.iter().filter(fits).collect()
}

/// A Service's selector without what narrows it to one revision for the time of a rollout.
fn own_selector(service: &Value) -> std::collections::BTreeMap<&str, &str> {
    let mut selector = texts(service, "/spec/selector");
    selector.remove(crate::kubernetes::revisions::TEMPLATE_HASH);
    selector
}

fn ways_to(found: &Found, service: &str) -> Vec<Way> {
    let gateway = [
        (RouteKind::HttpRoute, &found.http_routes),
        (RouteKind::GrpcRoute, &found.grpc_routes),
    ];
    let mut ways = Vec::new();
    for (kind, routes) in gateway {
        for route in routes {
            let rules = rules_with(route, &found.namespace, service);
            if !rules.is_empty() {
                ways.push(Way {
                    service: service.to_owned(),
                    route: Route {
                        kind,
                        name: name(route).to_owned(),
                    },
                    rules,
                });
            }
        }
    }
    for ingress in &found.ingresses {
        let is_canary = annotation(ingress, "nginx.ingress.kubernetes.io/canary") == Some("true");
        if is_nginx(found, ingress) && !is_canary && services_of(ingress).contains(&service) {
            ways.push(Way {
                service: service.to_owned(),
                route: Route {
                    kind: RouteKind::Ingress,
                    name: name(ingress).to_owned(),
                },
                rules: Vec::new(),
            });
        }
    }
    ways
}

/// The rules of a route of the Gateway API that have the Service as a backend.
fn rules_with(route: &Value, namespace: &str, service: &str) -> Vec<usize> {
    let is = |backend: &Value, key: &str, default: &str, wanted: &str| {
        backend.get(key).and_then(Value::as_str).unwrap_or(default) == wanted
    };
    let names = |backend: &Value| {
        is(backend, "group", "", "")
            && is(backend, "kind", "Service", "Service")
            && is(backend, "namespace", namespace, namespace)
            && is(backend, "name", "", service)
    };
    let rules = list(route, "/spec/rules").iter().enumerate();
    let concerned = rules.filter(|(_, rule)| list(rule, "/backendRefs").iter().any(names));
    concerned.map(|(index, _)| index).collect()
}
