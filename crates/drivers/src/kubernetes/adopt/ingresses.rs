//! The Ingresses of a Service, and whose controller answers for them.

use serde_json::Value;

use super::{
    Found,
    objects::{annotation, label, list, name, text},
    traffic::BESIDE,
};

/// The controller of ingress-nginx, as its IngressClass names it.
const NGINX: &str = "k8s.io/ingress-nginx";

pub(super) fn services_of(ingress: &Value) -> Vec<&str> {
    let default = text(ingress, "/spec/defaultBackend/service/name");
    let rules = list(ingress, "/spec/rules").iter();
    let paths = rules.flat_map(|it| list(it, "/http/paths"));
    let named = paths.filter_map(|it| text(it, "/backend/service/name"));
    named.chain(default).collect()
}

pub(super) fn class_of(ingress: &Value) -> Option<&str> {
    let annotated = annotation(ingress, "kubernetes.io/ingress.class");
    text(ingress, "/spec/ingressClassName").or(annotated)
}

pub(super) fn is_nginx(found: &Found, ingress: &Value) -> bool {
    let is_default =
        |it: &&Value| annotation(it, "ingressclass.kubernetes.io/is-default-class") == Some("true");
    let classes = &found.ingress_classes;
    let class = match class_of(ingress) {
        Some(wanted) => {
            let class = classes.iter().find(|it| name(it) == wanted);
            if class.is_none() {
                // Classes of clusters may not be ours to see; that is what everybody calls it.
                return wanted == "nginx";
            }
            class
        }
        None => classes.iter().find(is_default),
    };
    class.is_some_and(|it| text(it, "/spec/controller") == Some(NGINX))
}

pub(super) fn foreign_ingresses(found: &Found) -> impl Iterator<Item = &Value> {
    let made_by_us = |it: &&Value| label(it, BESIDE).is_none() && annotation(it, BESIDE).is_none();
    found
        .ingresses
        .iter()
        .filter(|it| !is_nginx(found, it))
        .filter(made_by_us)
}
