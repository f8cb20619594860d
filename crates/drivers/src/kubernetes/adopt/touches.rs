//! What a rollout will change later, object by object: the dry run of an adoption.

use super::{
    Found, full_name,
    traffic::{Router, Traffic, rules_in_words},
    workload::Workload,
};

pub(super) fn touches(found: &Found, workload: &Workload, traffic: &Traffic) -> Vec<String> {
    let namespace = &found.namespace;
    let deployment = full_name(found, &found.deployment);
    let mut touches = vec![
        format!(
            "Deployment {deployment}: while a rollout runs spec.paused is true, spec.strategy Recreate and spec.template the new revision's; your own are kept in annotation sluice.dev/kept and written back at the end"
        ),
        format!(
            "Deployment {deployment}: annotations sluice.dev/app and sluice.dev/epoch, until `sluice release`"
        ),
        "its ReplicaSets: one is made for each new revision; spec.replicas while a rollout runs; annotations and a label sluice.dev/*".to_owned(),
    ];
    if workload.git.is_some() {
        touches.push(format!(
            "Deployment {deployment}: spec.paused stays true between rollouts as well, so that no change of the template goes past the plan"
        ));
    }
    if let Some(service) = &traffic.service {
        let candidate = traffic.candidate_service.clone();
        let candidate = candidate.unwrap_or_else(|| format!("{service}-candidate"));
        let narrowed = format!(
            "Service {namespace}/{service}: spec.selector gets pod-template-hash while two revisions run; a label and annotations sluice.dev/* meanwhile"
        );
        let beside = format!(
            "Service {namespace}/{candidate}: made when a rollout begins, deleted at its end"
        );
        match &traffic.router {
            Router::Gateway { route, rules } => {
                touches.extend([narrowed, beside]);
                touches.push(format!(
                    "{} {namespace}/{}: in {} a second backend and the weights of the two; annotations sluice.dev/*",
                    route.kind.kind(),
                    route.name,
                    rules_in_words(rules)
                ));
            }
            Router::Nginx { ingress } => {
                touches.extend([narrowed, beside]);
                touches.push(format!(
                    "Ingress {namespace}/{ingress}-canary: made with a canary weight when a rollout begins, deleted at its end; Ingress {ingress} itself is left alone"
                ));
            }
            Router::Selector => touches.push(narrowed),
            Router::Ratio => touches.push(format!(
                "Service {namespace}/{service}: spec.selector gets pod-template-hash while a revision is to have no traffic; a label and annotations sluice.dev/* meanwhile"
            )),
        }
    }
    touches.push(format!(
        "Events of Deployment {deployment}: one for each transition"
    ));
    if let Some(autoscaler) = &workload.autoscaler {
        touches.push(format!(
            "HorizontalPodAutoscaler {namespace}/{autoscaler} is not touched, and is followed"
        ));
    }
    touches
}
