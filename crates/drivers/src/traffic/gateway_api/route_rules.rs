//! Header and mirror routes of a rollout, in an HTTPRoute or a GRPCRoute.
//!
//! ```text
//!   rules:  - matches, backendRefs: [service, service-candidate]     the user's
//!             filters: [..., RequestMirror: service-candidate]       a mirror route
//!           - matches + headers, backendRefs: [service-candidate]    a header route, at the end
//! ```
//!
//! The Gateway API prefers the match that asks for more headers, so a rule at the end of the list
//! wins over the one that it is a copy of, and no place in the list moves. What was written is kept
//! in an annotation; what names the candidate's Service and nobody else is ours, so that it is found
//! and taken out whatever happened to the annotation.

use std::collections::BTreeMap;

use rollout::{HeaderMatch, RouteRule, ValueMatch, Weight};
use serde_json::{Value, json};

use super::names_service;
use crate::traffic::kubernetes::weighted::Names;

/// The annotation with the rules that are written.
pub(super) const ROUTES: &str = "sluice.dev/routes";

/// The rules of a route, as it was read.
#[derive(Debug)]
pub(in crate::traffic) struct RouteRules {
    names: Names,
    /// Where each rule with the user's Service stands, and how it reads.
    concerned: Vec<(usize, Value)>,
    /// Ours at the end.
    ours: Vec<(usize, Value)>,
    kept: Option<String>,
}

impl RouteRules {
    /// Reads the rules of `body`; `lists`: the lists of backends that are Sluice's business.
    pub(super) fn read(
        body: &Value,
        lists: &[String],
        names: &Names,
        annotation: Option<&str>,
    ) -> Self {
        let rules = body.pointer("/spec/rules").and_then(Value::as_array);
        let rules: Vec<(usize, &Value)> = rules.into_iter().flatten().enumerate().collect();
        let names_it =
            |entry: &Value, service: &str| names_service(entry, &names.namespace, service);
        let refs = |rule: &Value| {
            let refs = rule.get("backendRefs").and_then(Value::as_array);
            refs.cloned().unwrap_or_default()
        };
        let concerned = rules.iter().filter(|(index, rule)| {
            let pointer = format!("/spec/rules/{index}/backendRefs");
            lists.contains(&pointer) && refs(rule).iter().any(|it| names_it(it, &names.own))
        });
        let ours = rules.iter().filter(|(_, rule)| {
            let refs = refs(rule);
            !refs.is_empty() && refs.iter().all(|it| names_it(it, &names.candidate))
        });
        let owned = |(index, rule): &(usize, &Value)| (*index, (*rule).clone());
        Self {
            concerned: concerned.map(owned).collect(),
            ours: ours.map(owned).collect(),
            names: names.clone(),
            kept: annotation.map(str::to_owned),
        }
    }

    /// The rules that stand in the route whole, by name.
    pub(in crate::traffic) fn standing(&self) -> BTreeMap<String, RouteRule> {
        let kept: BTreeMap<String, RouteRule> = self
            .kept
            .as_deref()
            .and_then(|it| serde_json::from_str(it).ok())
            .unwrap_or_default();
        let stands = |(_, rule): &(String, RouteRule)| match rule {
            RouteRule::Headers(headers) => {
                let asks = self.ours.iter().filter(|(_, it)| asks_for(it, headers));
                !self.concerned.is_empty() && asks.count() >= self.concerned.len()
            }
            RouteRule::Mirror(share) => {
                !self.concerned.is_empty()
                    && self.concerned.iter().all(|(_, it)| {
                        self.mirrors(it)
                            .iter()
                            .any(|(_, one)| share_of(one) == *share)
                    })
            }
        };
        kept.into_iter().filter(stands).collect()
    }

    /// Whether there is more or less of ours than the rules that stand: somebody changed a part.
    pub(in crate::traffic) fn is_spoilt(&self) -> bool {
        let standing = self.standing();
        let count = |headers: bool| {
            let of_kind = |it: &&RouteRule| matches!(it, RouteRule::Headers(_)) == headers;
            standing.values().filter(of_kind).count() * self.concerned.len()
        };
        let mirrors = self.concerned.iter().map(|(_, it)| self.mirrors(it).len());
        let kept = self.kept.as_deref().map(serde_json::from_str);
        let kept: Option<BTreeMap<String, RouteRule>> = kept.and_then(Result::ok);
        self.ours.len() != count(true)
            || mirrors.sum::<usize>() != count(false)
            || kept.unwrap_or_default() != standing
            || (standing.is_empty() && self.kept.is_some())
    }

    /// The patch after which exactly `wanted` stand; empty when they do.
    pub(in crate::traffic) fn write(&self, wanted: &BTreeMap<String, RouteRule>) -> Vec<Value> {
        if self.standing() == *wanted && !self.is_spoilt() {
            return Vec::new();
        }
        let mut operations = Vec::new();
        // Filters first: where rules stand does not change by them.
        for (index, rule) in &self.concerned {
            operations.extend(self.filters(*index, rule, wanted));
        }
        for (index, rule) in self.ours.iter().rev() {
            let first = "/backendRefs/0/name";
            operations.push(json!({
                "op": "test",
                "path": format!("/spec/rules/{index}{first}"),
                "value": rule.pointer(first),
            }));
            operations.push(json!({ "op": "remove", "path": format!("/spec/rules/{index}") }));
        }
        for rule in wanted.values() {
            let RouteRule::Headers(headers) = rule else {
                continue;
            };
            let copies = self
                .concerned
                .iter()
                .filter_map(|(_, it)| self.copy(it, headers));
            operations.extend(
                copies.map(|it| json!({ "op": "add", "path": "/spec/rules/-", "value": it })),
            );
        }
        operations.extend(self.annotate(wanted));
        operations
    }

    fn annotate(&self, wanted: &BTreeMap<String, RouteRule>) -> Option<Value> {
        let path = format!("/metadata/annotations/{}", ROUTES.replace('/', "~1"));
        match (wanted.is_empty(), &self.kept) {
            (true, None) => None,
            (true, Some(_)) => Some(json!({ "op": "remove", "path": path })),
            (false, _) => {
                let text = serde_json::to_string(wanted).unwrap_or_default();
                Some(json!({ "op": "add", "path": path, "value": text }))
            }
        }
    }

    /// Ours among a rule's filters, by their places.
    fn mirrors(&self, rule: &Value) -> Vec<(usize, Value)> {
        let filters = rule.get("filters").and_then(Value::as_array);
        let filters = filters.into_iter().flatten().enumerate();
        let ours = filters.filter(|(_, filter)| {
            let backend = filter.pointer("/requestMirror/backendRef");
            backend
                .is_some_and(|it| names_service(it, &self.names.namespace, &self.names.candidate))
        });
        ours.map(|(index, it)| (index, it.clone())).collect()
    }

    /// Takes our mirrors out of a rule, and puts the wanted ones in.
    fn filters(
        &self,
        index: usize,
        rule: &Value,
        wanted: &BTreeMap<String, RouteRule>,
    ) -> Vec<Value> {
        let path = format!("/spec/rules/{index}/filters");
        let ours = self.mirrors(rule);
        let shares = wanted.values().filter_map(|it| match it {
            RouteRule::Mirror(share) => Some(*share),
            RouteRule::Headers(_) => None,
        });
        let added: Vec<Value> = shares.filter_map(|it| self.mirror(rule, it)).collect();
        let count = rule.get("filters").and_then(Value::as_array).map(Vec::len);
        let mut operations = Vec::new();
        if ours.is_empty() && added.is_empty() {
            return operations;
        }
        for (at, filter) in ours.iter().rev() {
            let name = "/requestMirror/backendRef/name";
            operations.push(json!({
                "op": "test", "path": format!("{path}/{at}{name}"), "value": filter.pointer(name),
            }));
            operations.push(json!({ "op": "remove", "path": format!("{path}/{at}") }));
        }
        let alone = count.is_some_and(|it| it == ours.len());
        match (added.is_empty(), count) {
            // A rule without filters had no list of them.
            (true, _) if alone => operations.push(json!({ "op": "remove", "path": path })),
            (true, _) => {}
            (false, None) => {
                operations.push(json!({ "op": "add", "path": path, "value": added }));
            }
            (false, Some(_)) => operations.extend(
                added
                    .into_iter()
                    .map(|it| json!({ "op": "add", "path": format!("{path}/-"), "value": it })),
            ),
        }
        operations
    }

    /// The user's own entry of a rule, as the candidate's.
    fn backend(&self, rule: &Value) -> Option<Value> {
        let refs = rule.get("backendRefs").and_then(Value::as_array)?;
        let own = refs
            .iter()
            .find(|it| names_service(it, &self.names.namespace, &self.names.own))?;
        let mut backend = own.clone();
        let fields = backend.as_object_mut()?;
        fields.insert("name".to_owned(), Value::from(self.names.candidate.clone()));
        fields.remove("weight");
        Some(backend)
    }

    fn mirror(&self, rule: &Value, share: Weight) -> Option<Value> {
        let mut backend = self.backend(rule)?;
        // Filters of the backend itself do not belong to a mirror.
        backend.as_object_mut()?.remove("filters");
        let mut mirror = json!({ "backendRef": backend });
        if share < Weight::ALL {
            mirror.as_object_mut()?.insert(
                "fraction".to_owned(),
                json!({ "numerator": share.hundredths(), "denominator": 10_000 }),
            );
        }
        Some(json!({ "type": "RequestMirror", "requestMirror": mirror }))
    }

    /// A rule as it is, for requests that have `headers` besides, and to the candidate.
    fn copy(&self, rule: &Value, headers: &[HeaderMatch]) -> Option<Value> {
        let mut copy = rule.clone();
        let backend = self.backend(rule)?;
        let ours: Vec<usize> = self.mirrors(rule).into_iter().map(|(at, _)| at).collect();
        let fields = copy.as_object_mut()?;
        // Names of rules are unique.
        fields.remove("name");
        fields.insert("backendRefs".to_owned(), json!([backend]));
        if let Some(filters) = fields.get_mut("filters").and_then(Value::as_array_mut) {
            let mut at = 0..;
            filters.retain(|_| at.next().is_none_or(|it| !ours.contains(&it)));
            if filters.is_empty() {
                fields.remove("filters");
            }
        }
        let matches = fields.entry("matches").or_insert_with(|| json!([{}]));
        for one in matches.as_array_mut()? {
            let asked = one
                .as_object_mut()?
                .entry("headers")
                .or_insert_with(|| json!([]));
            asked.as_array_mut()?.extend(headers.iter().map(written));
        }
        Some(copy)
    }
}

/// A header as the Gateway API writes it.
fn written(it: &HeaderMatch) -> Value {
    let (kind, value) = match &it.value {
        ValueMatch::Exact(value) => ("Exact", value.clone()),
        ValueMatch::Prefix(value) => ("RegularExpression", format!("{}.*", escaped(value))),
        ValueMatch::Regex(value) => ("RegularExpression", value.clone()),
    };
    json!({ "type": kind, "name": it.header, "value": value })
}

/// A text as a regular expression that matches it.
fn escaped(text: &str) -> String {
    let special = |it: char| r"\.+*?()|[]{}^$".contains(it);
    let escape = |it: char| special(it).then_some('\\').into_iter().chain([it]);
    text.chars().flat_map(escape).collect()
}

/// Whether each match of `rule` asks for all of `headers`.
fn asks_for(rule: &Value, headers: &[HeaderMatch]) -> bool {
    let matches = rule.get("matches").and_then(Value::as_array);
    let has = |one: &Value| {
        let asked = one.get("headers").and_then(Value::as_array);
        headers.iter().map(written).all(|wanted| {
            let same = |it: &&Value| {
                let same = |key: &str| it.get(key) == wanted.get(key);
                same("name") && same("value") && same("type")
            };
            asked.into_iter().flatten().any(|it| same(&it))
        })
    };
    matches.is_some_and(|it| !it.is_empty() && it.iter().all(has))
}

/// The share of requests that a mirror filter copies.
fn share_of(filter: &Value) -> Weight {
    let mirror = filter.get("requestMirror");
    let number = |pointer: &str| {
        mirror
            .and_then(|it| it.pointer(pointer))
            .and_then(Value::as_u64)
    };
    match (number("/fraction/numerator"), number("/percent")) {
        (Some(part), _) => Weight::of(part, number("/fraction/denominator").unwrap_or(100)),
        (None, Some(percent)) => Weight::of(percent, 100),
        (None, None) => Weight::ALL,
    }
}

#[cfg(test)]
mod tests;
