//! From what is there around a Deployment to an app file: `sluice adopt`.
//!
//! ```text
//!   read ──> Found ──> traffic ──> Draft ──> text      the app file, with what was found and decided
//!                      (who sends   │
//!                       to it?)     └─────> touches   what a rollout would change later
//! ```
//!
//! Reading asks the API server; all else is pure. Nothing is ever written to the cluster here. What
//! cannot be decided is not guessed: [`Undecided`] names the candidates.

mod ingresses;
mod objects;
mod read;
#[cfg(test)]
mod tests;
mod text;
mod touches;
mod traffic;
mod workload;

use std::{fmt, str::FromStr};

use serde_json::Value;

pub use read::read;

use self::{objects::name, traffic::Traffic, workload::Workload};

/// What was read of a namespace, each object as the API server gave it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// The namespace.
    pub namespace: String,
    /// The Deployment.
    pub deployment: Value,
    /// All Deployments of the namespace, this one included.
    pub deployments: Vec<Value>,
    /// The Services.
    pub services: Vec<Value>,
    /// The HTTPRoutes.
    pub http_routes: Vec<Value>,
    /// The GRPCRoutes.
    pub grpc_routes: Vec<Value>,
    /// The Ingresses.
    pub ingresses: Vec<Value>,
    /// The IngressClasses of the cluster.
    pub ingress_classes: Vec<Value>,
    /// The HorizontalPodAutoscalers.
    pub autoscalers: Vec<Value>,
    /// The PodDisruptionBudgets.
    pub budgets: Vec<Value>,
    /// What could not be looked at, a sentence each.
    pub unseen: Vec<String>,
}

/// What the user has decided.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// The app's project.
    pub project: Option<String>,
    /// The kubeconfig context that the server shall use.
    pub context: Option<String>,
    /// The container whose image the artifact is.
    pub container: Option<String>,
    /// The Service whose traffic moves.
    pub service: Option<String>,
    /// The route whose weights move it.
    pub route: Option<Route>,
}

/// A route by kind and name: `httproute/checkout`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Its kind.
    pub kind: RouteKind,
    /// Its name.
    pub name: String,
}

/// The kinds of route that are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteKind {
    /// Of the Gateway API.
    HttpRoute,
    /// Of the Gateway API, for gRPC.
    GrpcRoute,
    /// The older kind.
    Ingress,
}

impl RouteKind {
    const ALL: [Self; 3] = [Self::HttpRoute, Self::GrpcRoute, Self::Ingress];

    /// As in a manifest.
    pub fn kind(self) -> &'static str {
        match self {
            Self::HttpRoute => "HTTPRoute",
            Self::GrpcRoute => "GRPCRoute",
            Self::Ingress => "Ingress",
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.kind().to_lowercase(), self.name)
    }
}

impl FromStr for Route {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, name) = text.split_once('/').unwrap_or_default();
        let mut kinds = RouteKind::ALL.into_iter();
        let kind = kinds.find(|it| it.kind().eq_ignore_ascii_case(kind));
        match kind.filter(|_| !name.is_empty()) {
            Some(kind) => Ok(Self {
                kind,
                name: name.to_owned(),
            }),
            None => Err(format!(
                "\"{text}\" is not a route: httproute/NAME, grpcroute/NAME or ingress/NAME"
            )),
        }
    }
}

/// What a user has to choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// [`Choice::container`].
    Container,
    /// [`Choice::service`].
    Service,
    /// [`Choice::route`].
    Route,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Container => "container",
            Self::Service => "Service",
            Self::Route => "route",
        })
    }
}

/// What somebody has to decide first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undecided {
    /// There are several; each with what speaks for it.
    #[error("{question}: {}", listed(candidates))]
    Several {
        /// What is to be chosen.
        subject: Subject,
        /// What the choice is about.
        question: String,
        /// The values and a remark each.
        candidates: Vec<(String, String)>,
    },
    /// What was chosen is not there, or has nothing to do with the Deployment.
    #[error(
        "no {subject} {wanted} goes with this Deployment; there {}",
        there_is(known)
    )]
    Unknown {
        /// What was chosen.
        subject: Subject,
        /// The choice.
        wanted: String,
        /// What could be chosen.
        known: Vec<String>,
    },
    /// Nothing sends requests to it.
    #[error(
        "no Service selects the pods of Deployment {deployment}, and without one no traffic can be moved; make one, e.g. `kubectl expose deployment/{name} -n {namespace} --port 80`, also where no requests come in",
        name = deployment.split('/').next_back().unwrap_or_default(),
        namespace = deployment.split('/').next().unwrap_or_default()
    )]
    NoService {
        /// The Deployment.
        deployment: String,
    },
    /// Another app has it.
    #[error(
        "Deployment {deployment} belongs to app {app}: `sluice release {app}` gives it back first"
    )]
    Taken {
        /// The Deployment.
        deployment: String,
        /// The app.
        app: String,
    },
}

fn listed(candidates: &[(String, String)]) -> String {
    let line = |(value, remark): &(String, String)| match remark.is_empty() {
        true => value.clone(),
        false => format!("{value} ({remark})"),
    };
    candidates.iter().map(line).collect::<Vec<_>>().join(", ")
}

fn there_is(known: &[String]) -> String {
    match known {
        [] => "is none".to_owned(),
        [one] => format!("is {one}"),
        several => format!("are {}", several.join(", ")),
    }
}

/// An app file, and what it is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The app's name.
    pub app: String,
    /// The app file: YAML, with comments.
    pub text: String,
    /// What was found.
    pub found: Vec<String>,
    /// What was decided, and why.
    pub decided: Vec<String>,
    /// What somebody should look at.
    pub warnings: Vec<String>,
    /// What a rollout would change, object by object.
    pub touches: Vec<String>,
}

/// An app file for `found.deployment`.
///
/// # Errors
/// When the user has to choose first.
pub fn draft(found: &Found, choice: &Choice) -> Result<Draft, Undecided> {
    let workload = Workload::of(found, choice)?;
    let traffic = Traffic::of(found, choice, &workload)?;
    let mut draft = Draft {
        app: workload.app.clone(),
        text: String::new(),
        found: [workload.found.clone(), traffic.found.clone()].concat(),
        decided: [workload.decided.clone(), traffic.decided.clone()].concat(),
        warnings: [workload.warnings.clone(), traffic.warnings.clone()].concat(),
        touches: touches::touches(found, &workload, &traffic),
    };
    draft.warnings.extend(found.unseen.iter().cloned());
    draft.text = text::text(found, choice, &workload, &traffic, &draft);
    Ok(draft)
}

/// The name that an app gets: the Deployment's, made fit.
fn app_name(deployment: &str) -> String {
    /// Longest name of an app.
    const CHARS_MAX: usize = 63;
    let fit = deployment.replace('.', "-");
    let fit = match fit.starts_with(|it: char| it.is_ascii_lowercase()) {
        true => fit,
        false => format!("app-{fit}"),
    };
    let fit: String = fit.chars().take(CHARS_MAX).collect();
    fit.trim_end_matches('-').to_owned()
}

/// `shop/checkout`.
fn full_name(found: &Found, object: &Value) -> String {
    format!("{}/{}", found.namespace, name(object))
}
