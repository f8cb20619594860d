//! The half of an app file that says *where*: workload, traffic, metrics, notifiers.

use rollout::document::Object;
use serde::{Deserialize, Serialize};

use crate::{MetricsConfig, NotifierConfig, TrafficConfig, WorkloadConfig};

/// Where an app runs, how its traffic is routed, where its numbers come from, who is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bindings {
    /// What runs the instances.
    pub workload: WorkloadConfig,
    /// What routes the traffic.
    pub traffic: TrafficConfig,
    /// What answers threshold gates; needed as soon as there is one.
    pub metrics: Option<MetricsConfig>,
    /// Who is told about each transition.
    pub notify: Vec<NotifierConfig>,
}

impl Bindings {
    /// The app file's keys that are read here.
    pub const KEYS: [&'static str; 4] = ["workload", "traffic", "metrics", "notify"];

    /// Reads them from the app file, noting every problem.
    pub fn read(file: &Object<'_>) -> Option<Self> {
        let workload = file.required("workload", WorkloadConfig::read);
        let traffic = file.required("traffic", TrafficConfig::read);
        let metrics = file.optional("metrics", MetricsConfig::read);
        let notify = file.or("notify", Vec::new(), |it| it.each(NotifierConfig::read));
        Some(Self {
            workload: workload?,
            traffic: traffic?,
            metrics: metrics?,
            notify: notify?,
        })
    }

    /// Has these told as well, those that are not told already.
    pub fn tell(&mut self, more: Vec<NotifierConfig>) {
        for notifier in more {
            if !self.notify.contains(&notifier) {
                self.notify.push(notifier);
            }
        }
    }

    /// Who is told: those of the app file, and the workload's own.
    pub fn told(&self) -> Vec<NotifierConfig> {
        let mut told = self.notify.clone();
        let own = self.workload.driver().told_at();
        let missing = own.filter(|it| !told.contains(it));
        told.extend(missing);
        told
    }
}

#[cfg(test)]
mod tests {
    use rollout::document;
    use serde_json::{Value, json};

    use super::*;

    fn told(notify: &Value) -> Vec<Value> {
        let file = json!({
            "workload": { "kubernetes": { "namespace": "shop", "deployment": "web" } },
            "traffic": { "service": { "namespace": "shop", "service": "web" } },
            "notify": notify,
        });
        let read = document::read(&file, |it| Bindings::read(&it.object(&Bindings::KEYS)?));
        let told = read.unwrap().told();
        told.iter()
            .map(|it| serde_json::to_value(it).unwrap())
            .collect()
    }

    #[test]
    fn a_deployment_is_told_beside_the_notifiers_of_the_app_file_and_once() {
        let own = json!({ "namespace": "shop", "deployment": "web" });
        let alone = told(&json!([]));
        assert_eq!(alone.len(), 1, "{alone:?}");
        assert_eq!(alone[0]["kubernetesEvent"]["deployment"], "web");
        let webhook = json!({ "webhook": { "url": "http://n" } });
        let both = told(&json!([webhook, { "kubernetesEvent": own }]));
        assert_eq!(both.len(), 2, "{both:?}");
        assert_eq!(both[1], alone[0]);
    }
}
