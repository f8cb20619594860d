//! Whether the controllers of a route's Gateways have taken it as it is written.

use serde_json::Value;

/// What the parents of a route say of its newest generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::traffic) enum Acceptance {
    /// All that have said anything of the route take it, with every reference resolved.
    Accepted,
    /// Not everybody has got to it yet.
    Waiting,
    /// One refuses it, for this reason.
    Refused(String),
}

/// Reads `status.parents`. A parent that has never said anything does not count (its controller may
/// not run), unless nobody has. Answers for parents that the route does not name any more are left over.
pub(in crate::traffic) fn of(body: &Value, generation: i64) -> Acceptance {
    let namespace = |parent: &Value| parent.get("namespace").cloned();
    let named = list(body, "/spec/parentRefs");
    let is_named = |answer: &&Value| {
        let parent = answer.get("parentRef").unwrap_or(&Value::Null);
        let same = |one: &&Value| {
            let equal = |key| one.get(key) == parent.get(key);
            let local = namespace(one).is_none() || namespace(parent).is_none();
            ["name", "sectionName", "port"].into_iter().all(equal) && (local || equal("namespace"))
        };
        named.iter().any(|it| same(&it))
    };
    let answers: Vec<&Value> = list(body, "/status/parents")
        .iter()
        .filter(is_named)
        .collect();
    let said = answers.iter().flat_map(|answer| {
        ["Accepted", "ResolvedRefs"].map(|kind| condition(answer, kind, generation))
    });
    let mut worst = match answers.is_empty() {
        true => Acceptance::Waiting,
        false => Acceptance::Accepted,
    };
    for one in said {
        worst = match (worst, one) {
            (Acceptance::Refused(why), _) | (_, Acceptance::Refused(why)) => {
                Acceptance::Refused(why)
            }
            (Acceptance::Waiting, _) | (_, Acceptance::Waiting) => Acceptance::Waiting,
            (Acceptance::Accepted, Acceptance::Accepted) => Acceptance::Accepted,
        };
    }
    worst
}

fn list<'a>(body: &'a Value, pointer: &str) -> &'a [Value] {
    let list = body.pointer(pointer).and_then(Value::as_array);
    list.map(Vec::as_slice).unwrap_or_default()
}

fn condition(answer: &Value, kind: &str, generation: i64) -> Acceptance {
    let text = |of: &Value, pointer: &str| {
        of.pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let found = list(answer, "/conditions")
        .iter()
        .find(|it| text(it, "/type") == kind);
    let Some(condition) = found else {
        return Acceptance::Waiting;
    };
    let of = condition.get("observedGeneration").and_then(Value::as_i64);
    if of.is_none_or(|it| it < generation) {
        return Acceptance::Waiting;
    }
    match text(condition, "/status").as_str() {
        "True" => Acceptance::Accepted,
        "False" => {
            let message = crate::exchange::excerpt(&text(condition, "/message"));
            let message = match message.as_str() {
                "" => String::new(),
                message => format!(": {message}"),
            };
            Acceptance::Refused(format!(
                "{} says of parent {} that {kind} is False, {}{message}",
                text(answer, "/controllerName"),
                text(answer, "/parentRef/name"),
                text(condition, "/reason"),
            ))
        }
        _ => Acceptance::Waiting,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(parent: &str, accepted: (&str, i64), resolved: (&str, i64)) -> Value {
        let condition = |kind: &str, (status, generation): (&str, i64)| {
            json!({ "type": kind, "status": status, "observedGeneration": generation,
                "reason": "BackendNotFound", "message": "no such\nService" })
        };
        json!({ "controllerName": "example.org/gateway", "parentRef": { "name": parent, "kind": "Gateway" },
            "conditions": [condition("Accepted", accepted), condition("ResolvedRefs", resolved)] })
    }

    fn check(named: &[&str], answers: &[Value], expected: &Acceptance) {
        let named: Vec<Value> = named.iter().map(|it| json!({ "name": it })).collect();
        let route = json!({ "spec": { "parentRefs": named }, "status": { "parents": answers } });
        assert_eq!(of(&route, 3), *expected, "{route:#}");
    }

    #[test]
    fn a_route_is_accepted_when_all_that_answer_accept_its_newest_generation() {
        let (good, old) = (("True", 3), ("True", 2));
        let refused = Acceptance::Refused(
            "example.org/gateway says of parent b that ResolvedRefs is False, BackendNotFound: no such Service"
                .to_owned(),
        );
        check(&["a"], &[answer("a", good, good)], &Acceptance::Accepted);
        check(
            &["a"],
            &[answer("a", good, ("True", 4))],
            &Acceptance::Accepted,
        );
        check(&["a"], &[answer("a", good, old)], &Acceptance::Waiting);
        check(
            &["a"],
            &[answer("a", ("Unknown", 3), good)],
            &Acceptance::Waiting,
        );
        check(&["a"], &[], &Acceptance::Waiting);
        check(
            &["a", "b"],
            &[answer("a", good, good)],
            &Acceptance::Accepted,
        );
        check(
            &["a", "b"],
            &[answer("a", good, good), answer("b", old, old)],
            &Acceptance::Waiting,
        );
        check(
            &["a", "b"],
            &[answer("a", old, good), answer("b", good, ("False", 3))],
            &refused,
        );
        // What it said of the generation before may not hold any more.
        check(
            &["a"],
            &[answer("a", good, ("False", 2))],
            &Acceptance::Waiting,
        );
        // Left over from a parent that is not named any more.
        check(
            &["a"],
            &[answer("a", good, good), answer("b", ("False", 3), good)],
            &Acceptance::Accepted,
        );
        check(&["a"], &[answer("b", good, good)], &Acceptance::Waiting);
    }

    #[test]
    fn a_condition_that_is_missing_is_waited_for() {
        let mut half = answer("a", ("True", 3), ("True", 3));
        half["conditions"].as_array_mut().unwrap().pop();
        check(&["a"], &[half], &Acceptance::Waiting);
    }
}
