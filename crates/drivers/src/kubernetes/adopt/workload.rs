//! What runs: the Deployment, its containers, who else decides about it.

use serde_json::Value;

use super::{
    Choice, Found, Subject, Undecided, app_name, full_name,
    objects::{annotation, label, list, matches, name, number, pod_labels, text},
};
use crate::kubernetes::revisions::APP;

/// By these a Deployment says that a program applies it from Git, again and again.
const FROM_GIT: [(&str, &str); 4] = [
    ("argocd.argoproj.io/tracking-id", "Argo CD"),
    ("argocd.argoproj.io/instance", "Argo CD"),
    ("kustomize.toolkit.fluxcd.io/name", "Flux"),
    ("helm.toolkit.fluxcd.io/name", "Flux"),
];

/// The Deployment as an app's workload.
#[derive(Debug, Clone)]
pub(super) struct Workload {
    pub(super) app: String,
    pub(super) deployment: String,
    pub(super) replicas: u64,
    /// Named only where it is not the first.
    pub(super) container: Option<String>,
    /// Who applies it from Git.
    pub(super) git: Option<&'static str>,
    pub(super) autoscaler: Option<String>,
    pub(super) found: Vec<String>,
    pub(super) decided: Vec<String>,
    pub(super) warnings: Vec<String>,
}

impl Workload {
    pub(super) fn of(found: &Found, choice: &Choice) -> Result<Self, Undecided> {
        let object = &found.deployment;
        let mut workload = Self {
            app: app_name(name(object)),
            deployment: name(object).to_owned(),
            // The API's default.
            replicas: number(object, "/spec/replicas").unwrap_or(1),
            container: None,
            git: None,
            autoscaler: None,
            found: Vec::new(),
            decided: Vec::new(),
            warnings: Vec::new(),
        };
        workload.refuse_taken(found, choice)?;
        workload.choose_container(found, choice)?;
        if workload.app != workload.deployment {
            workload.decided.push(format!(
                "the app is called {}, because {} is no name of an app",
                workload.app, workload.deployment
            ));
        }
        workload.look_at_others(found);
        workload.look_at_state(object);
        Ok(workload)
    }

    fn refuse_taken(&self, found: &Found, choice: &Choice) -> Result<(), Undecided> {
        let project = choice.project.as_deref().unwrap_or("default");
        let app = format!("{project}/{}", self.app);
        match annotation(&found.deployment, APP) {
            Some(other) if other != app => Err(Undecided::Taken {
                deployment: full_name(found, &found.deployment),
                app: other.to_owned(),
            }),
            Some(_) | None => Ok(()),
        }
    }

    fn choose_container(&mut self, found: &Found, choice: &Choice) -> Result<(), Undecided> {
        let containers = list(&found.deployment, "/spec/template/spec/containers");
        let names: Vec<&str> = containers
            .iter()
            .filter_map(|it| text(it, "/name"))
            .collect();
        let marked = text(
            &found.deployment,
            "/spec/template/metadata/annotations/kubectl.kubernetes.io~1default-container",
        );
        let chosen = match (&choice.container, marked) {
            (Some(wanted), _) if !names.contains(&wanted.as_str()) => {
                return Err(Undecided::Unknown {
                    subject: Subject::Container,
                    wanted: wanted.clone(),
                    known: names.into_iter().map(str::to_owned).collect(),
                });
            }
            (Some(wanted), _) => Some(wanted.as_str()),
            (None, Some(marked)) if names.contains(&marked) => Some(marked),
            (None, _) => names.first().copied(),
        };
        let chosen = chosen.unwrap_or_default();
        let is_chosen = |it: &&Value| text(it, "/name") == Some(chosen);
        let image = containers.iter().find(is_chosen);
        let image = image.and_then(|it| text(it, "/image")).unwrap_or("nothing");
        self.found.push(format!(
            "Deployment {}: {}, container {chosen} runs {image}",
            full_name(found, &found.deployment),
            pods(self.replicas),
        ));
        if names.first() != Some(&chosen) {
            self.container = Some(chosen.to_owned());
        }
        let others: Vec<&str> = names.into_iter().filter(|it| *it != chosen).collect();
        if !others.is_empty() {
            let why = match (&choice.container, &self.container) {
                (Some(_), _) => "as you said",
                (None, Some(_)) => "it is marked as kubectl's default",
                (None, None) => "it is the first",
            };
            self.decided.push(format!(
                "a deploy changes the image of container {chosen} ({why}), not of {}",
                others.join(", ")
            ));
        }
        Ok(())
    }

    fn look_at_others(&mut self, found: &Found) {
        let object = &found.deployment;
        let scales = |it: &&Value| {
            text(it, "/spec/scaleTargetRef/kind") == Some("Deployment")
                && text(it, "/spec/scaleTargetRef/name") == Some(name(object))
        };
        if let Some(autoscaler) = found.autoscalers.iter().find(scales) {
            let least = number(autoscaler, "/spec/minReplicas").unwrap_or(1);
            let most = number(autoscaler, "/spec/maxReplicas").unwrap_or_default();
            self.autoscaler = Some(name(autoscaler).to_owned());
            self.found.push(format!(
                "HorizontalPodAutoscaler {}: {least} to {most} pods; it goes on deciding how many, also during a rollout",
                name(autoscaler)
            ));
        }
        let labels = pod_labels(object);
        let selector = |it: &Value| it.pointer("/spec/selector").cloned().unwrap_or_default();
        for budget in &found.budgets {
            if matches(&selector(budget), &labels) {
                self.found.push(format!(
                    "PodDisruptionBudget {}: it counts the pods of both revisions, so while both are at full scale it lets stable pods be evicted",
                    name(budget)
                ));
            }
        }
        let said = |key: &str| annotation(object, key).or_else(|| label(object, key));
        let mut git = FROM_GIT.iter();
        self.git = git.find(|(key, _)| said(key).is_some()).map(|(_, it)| *it);
        if let Some(git) = self.git {
            self.found
                .push(format!("{git} applies the Deployment from Git"));
            self.decided.push(format!(
                "trigger: template, because the image comes from Git: a change of the pod template that {git} applies begins a rollout"
            ));
            self.warnings.push(format!(
                "if the manifest in Git names spec.strategy or spec.paused, {git} must leave them alone while a rollout runs; docs/kubernetes.md says how"
            ));
        } else if said("meta.helm.sh/release-name").is_some() {
            self.found.push(format!(
                "Helm made the Deployment (release {})",
                said("meta.helm.sh/release-name").unwrap_or_default()
            ));
            self.decided.push(
                "trigger: artifact: an image that a `helm upgrade` changes is rolled out by Kubernetes itself; write trigger: template to have it delivered by this file"
                    .to_owned(),
            );
        }
    }

    fn look_at_state(&mut self, object: &Value) {
        let mut warn = |sentence: &str| self.warnings.push(sentence.to_owned());
        if self.replicas == 0 {
            warn("the Deployment wants 0 pods: scale it up before the first deploy");
        }
        let paused = object.pointer("/spec/paused") == Some(&Value::Bool(true));
        if paused && annotation(object, APP).is_none() {
            warn("the Deployment is paused: it stays so after a rollout, as it was found");
        }
        let status = |key: &str| number(object, &format!("/status/{key}")).unwrap_or(0);
        let done = status("observedGeneration")
            >= number(object, "/metadata/generation").unwrap_or_default()
            && status("updatedReplicas") == status("replicas")
            && status("replicas") == self.replicas
            && status("availableReplicas") == self.replicas;
        if !done && !paused && self.replicas > 0 {
            warn(
                "not all pods of the Deployment are up to date and available: wait for `kubectl rollout status` before applying this",
            );
        }
    }
}

pub(super) fn pods(count: u64) -> String {
    match count {
        1 => "1 pod".to_owned(),
        count => format!("{count} pods"),
    }
}
