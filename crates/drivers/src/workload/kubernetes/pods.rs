//! Pods as instances: what each can do now, and what is wrong with it.

use jiff::Timestamp;
use rollout::observation::{Instance, InstanceProblem, InstanceState, ProblemKind};
use serde_json::Value;

use super::{OnCannotStart, view::number};
use crate::kubernetes::Object;

/// Restarts after which a container that is kept waiting between them will not do: it has ended
/// three times, which takes half a minute.
const CRASHES: u32 = 2;

/// Most characters of a message of the platform that are passed on.
const MESSAGE_CHARS: usize = 300;

/// A pod.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pod {
    pub(super) name: String,
    pub(super) uid: String,
    /// The uid of its ReplicaSet.
    pub(super) owner: String,
    /// `ip:port` of the artifact's container.
    pub(super) address: Option<String>,
    pub(super) state: InstanceState,
    pub(super) restarts: u32,
    pub(super) trouble: Option<Trouble>,
}

/// What is wrong with a pod.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Trouble {
    pub(super) kind: ProblemKind,
    /// What it is to somebody who wants to wait.
    heals: Option<ProblemKind>,
    /// A sentence without its end: what it last said may follow.
    pub(super) detail: String,
    /// A container that has ended, whose log says why, and whether it runs again since.
    pub(super) ended: Option<(String, bool)>,
}

impl Pod {
    /// Reads a pod; `container` is the artifact's.
    pub(super) fn read(object: &Object, container: &str, policy: OnCannotStart) -> Self {
        let body = object.body();
        let statuses = statuses(&body);
        let restarts = statuses.iter().filter_map(|it| number(it, "/restartCount"));
        let restarts = u32::try_from(restarts.sum::<u64>()).unwrap_or(u32::MAX);
        let state = match object.deleting {
            true => InstanceState::Draining,
            false => state(&body, &statuses),
        };
        let trouble = match state {
            InstanceState::Ready | InstanceState::Draining => None,
            InstanceState::Starting | InstanceState::NotReady | InstanceState::Exited => {
                trouble(object, &body, &statuses).map(|it| it.under(policy))
            }
        };
        Self {
            name: object.name.clone(),
            uid: object.uid.clone(),
            owner: object
                .owner
                .as_ref()
                .map_or_else(String::new, |it| it.uid.clone()),
            address: address(&body, container),
            state,
            restarts,
            trouble,
        }
    }

    pub(super) fn instance(&self) -> Instance {
        Instance {
            name: self.name.clone(),
            address: self.address.clone(),
            state: self.state,
            restarts: self.restarts,
        }
    }

    /// The problem, with the last lines of the log if there are some.
    pub(super) fn problem(&self, log: Option<&str>) -> Option<InstanceProblem> {
        let trouble = self.trouble.as_ref()?;
        let detail = match log.map(str::trim).filter(|it| !it.is_empty()) {
            Some(log) => format!("{}; its last words: {log}", trouble.detail),
            None => trouble.detail.clone(),
        };
        Some(InstanceProblem {
            kind: trouble.kind,
            instance: Some(self.name.clone()),
            detail,
        })
    }
}

impl Trouble {
    fn new(kind: ProblemKind, detail: String) -> Self {
        Self {
            kind,
            heals: None,
            detail,
            ended: None,
        }
    }

    /// As an [`OnCannotStart::Wait`] takes it: Kubernetes goes on trying, so it can heal.
    fn under(mut self, policy: OnCannotStart) -> Self {
        if policy == OnCannotStart::Wait
            && let Some(heals) = self.heals
        {
            self.kind = heals;
        }
        self
    }

    fn or(mut self, heals: ProblemKind) -> Self {
        self.heals = Some(heals);
        self
    }
}

fn statuses(body: &Value) -> Vec<&Value> {
    let all = |pointer| body.pointer(pointer).and_then(Value::as_array);
    let init = all("/status/initContainerStatuses").into_iter().flatten();
    let main = all("/status/containerStatuses").into_iter().flatten();
    init.chain(main).collect()
}

fn address(body: &Value, container: &str) -> Option<String> {
    let ip = body.pointer("/status/podIP")?.as_str()?;
    let containers = body.pointer("/spec/containers")?.as_array()?;
    let port = |it: &Value| number(it, "/ports/0/containerPort");
    let named = containers
        .iter()
        .find(|it| it.get("name") == Some(&Value::from(container)));
    let port = named
        .and_then(port)
        .or_else(|| containers.iter().find_map(port))?;
    Some(match ip.contains(':') {
        true => format!("[{ip}]:{port}"),
        false => format!("{ip}:{port}"),
    })
}

fn condition<'a>(body: &'a Value, kind: &str) -> Option<&'a Value> {
    let all = body.pointer("/status/conditions")?.as_array()?;
    all.iter()
        .find(|it| it.get("type") == Some(&Value::from(kind)))
}

fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    let text = value.pointer(pointer)?.as_str()?;
    (!text.is_empty()).then_some(text)
}

fn moment(value: &Value, pointer: &str) -> Option<Timestamp> {
    text(value, pointer)?.parse().ok()
}

fn state(body: &Value, statuses: &[&Value]) -> InstanceState {
    if let Some("Succeeded" | "Failed") = text(body, "/status/phase") {
        return InstanceState::Exited;
    }
    let ready = condition(body, "Ready");
    if ready.and_then(|it| text(it, "/status")) == Some("True") {
        return InstanceState::Ready;
    }
    // It became unready after all its containers ran: so it was ready before.
    let changed = ready.and_then(|it| moment(it, "/lastTransitionTime"));
    let started = statuses
        .iter()
        .map(|it| moment(it, "/state/running/startedAt"));
    let started: Option<Vec<Timestamp>> = started.collect();
    let last = started.and_then(|it| it.into_iter().max());
    match (changed, last) {
        (Some(changed), Some(last)) if changed > last => InstanceState::NotReady,
        (Some(_) | None, Some(_) | None) => InstanceState::Starting,
    }
}

fn trouble(object: &Object, body: &Value, statuses: &[&Value]) -> Option<Trouble> {
    let name = &object.name;
    let scheduled = condition(body, "PodScheduled");
    if let Some(scheduled) = scheduled.filter(|it| text(it, "/status") == Some("False")) {
        let message = text(scheduled, "/message").unwrap_or("no node has room for it");
        let detail = format!("{name} is on no node: {}", excerpt(message));
        return Some(Trouble::new(ProblemKind::Unschedulable, detail));
    }
    let failed = text(body, "/status/phase") == Some("Failed");
    if let Some(reason) = text(body, "/status/reason").filter(|_| failed) {
        let message = text(body, "/status/message").unwrap_or_default();
        let detail = format!(
            "{name} was ended by Kubernetes ({reason}): {}",
            excerpt(message)
        );
        return Some(Trouble::new(ProblemKind::Exited, detail));
    }
    let waiting = statuses.iter().find_map(|it| waits(name, it));
    waiting.or_else(|| unready(name, body, statuses))
}

/// What a container waits for that has not to do with starting it for the first time.
fn waits(name: &str, status: &Value) -> Option<Trouble> {
    let reason = text(status, "/state/waiting/reason").unwrap_or_default();
    let message = text(status, "/state/waiting/message").unwrap_or_default();
    let container = text(status, "/name").unwrap_or_default();
    let image = text(status, "/image").unwrap_or_default();
    match reason {
        "ErrImagePull" | "ImagePullBackOff" | "RegistryUnavailable" => {
            let kind = match reason {
                // It was tried more than once.
                "ImagePullBackOff" => ProblemKind::StartFailed,
                _ => ProblemKind::ImageUnavailable,
            };
            let detail = format!("{name} cannot pull {image}: {}", excerpt(message));
            Some(Trouble::new(kind, detail).or(ProblemKind::ImageUnavailable))
        }
        "InvalidImageName" | "ErrImageNeverPull" => {
            let detail = format!("{name} cannot run {image}: {}", excerpt(message));
            let trouble = Trouble::new(ProblemKind::ArtifactMissing, detail);
            Some(trouble.or(ProblemKind::ImageUnavailable))
        }
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            let detail = format!("{name} cannot start {container}: {}", excerpt(message));
            let trouble = Trouble::new(ProblemKind::StartFailed, detail);
            Some(trouble.or(ProblemKind::NotAdmitted))
        }
        _ => ended(name, container, status, reason),
    }
}

/// How a container ended last, if it did.
fn ended(name: &str, container: &str, status: &Value, waits: &str) -> Option<Trouble> {
    let now = status.pointer("/state/terminated");
    let last = now.or_else(|| status.pointer("/lastState/terminated"))?;
    let runs = status.pointer("/state/running").is_some();
    let restarts = u32::try_from(number(status, "/restartCount").unwrap_or(0)).unwrap_or(u32::MAX);
    let code = last.get("exitCode").and_then(Value::as_i64).unwrap_or(0);
    // An init container that did its work.
    if now.is_some() && code == 0 {
        return None;
    }
    let how = match text(last, "/reason") {
        Some("OOMKilled") => "was killed, it needed more memory than its limit".to_owned(),
        Some(_) | None => format!("ended with exit code {code}"),
    };
    let kind = match waits == "CrashLoopBackOff" && restarts >= CRASHES {
        true => ProblemKind::CrashLoop,
        false => ProblemKind::Exited,
    };
    let times = match restarts {
        0 => String::new(),
        1 => ", started again once".to_owned(),
        many => format!(", started again {many} times"),
    };
    let state = if runs { ", and runs now" } else { "" };
    Some(Trouble {
        kind,
        heals: Some(ProblemKind::Exited),
        detail: format!("{name}: {container} {how}{times}{state}"),
        ended: Some((container.to_owned(), runs)),
    })
}

/// A pod whose containers run without being ready.
fn unready(name: &str, body: &Value, statuses: &[&Value]) -> Option<Trouble> {
    let runs = |it: &&&Value| it.pointer("/state/running").is_some();
    let ready = |it: &Value| it.get("ready").and_then(Value::as_bool) == Some(true);
    let unready: Vec<&str> = statuses
        .iter()
        .filter(runs)
        .filter(|it| !ready(it))
        .filter_map(|it| text(it, "/name"))
        .collect();
    if !unready.is_empty() && statuses.iter().filter(runs).count() == statuses.len() {
        let words = unready.join(", ");
        let detail = format!("{name} runs, and its readiness probe has not passed ({words})");
        return Some(Trouble::new(ProblemKind::ProbeFailing, detail));
    }
    let gates = body
        .pointer("/spec/readinessGates")
        .and_then(Value::as_array);
    let closed = gates.into_iter().flatten().find_map(|it| {
        let kind = text(it, "/conditionType")?;
        let open = condition(body, kind).and_then(|it| text(it, "/status")) == Some("True");
        (!open).then_some(kind)
    });
    let all_ready = !statuses.is_empty() && statuses.iter().all(|it| ready(it));
    let closed = closed.filter(|_| all_ready)?;
    let detail = format!("{name} waits for its readiness gate {closed}");
    Some(Trouble::new(ProblemKind::ProbeFailing, detail))
}

pub(super) fn excerpt(message: &str) -> String {
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(MESSAGE_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kubernetes::kind::POD;

    fn pod(status: &Value, policy: OnCannotStart) -> Pod {
        let object = json!({
            "metadata": {"name": "web-1", "uid": "p", "resourceVersion": "1"},
            "spec": {
                "containers": [
                    {"name": "proxy", "ports": [{"containerPort": 15000}]},
                    {"name": "web", "ports": [{"containerPort": 8080}, {"containerPort": 9090}]},
                ],
                "readinessGates": [{"conditionType": "example/in"}],
            },
            "status": status,
        });
        Pod::read(&Object::read(&POD, object).unwrap(), "web", policy)
    }

    fn waiting(reason: &str, restarts: u32) -> Value {
        json!({"containerStatuses": [{
            "name": "web", "image": "web:1", "ready": false, "restartCount": restarts,
            "state": {"waiting": {"reason": reason, "message": "as  the platform\nsays"}},
            "lastState": {"terminated": {"exitCode": 3, "reason": "Error"}},
        }]})
    }

    #[test]
    fn each_trouble_has_its_kind_and_a_sentence() {
        let running = json!({"running": {"startedAt": "2026-11-25T10:00:00Z"}});
        let runs = json!([{"name": "web", "ready": true, "state": running}]);
        let unready = json!([{"name": "web", "ready": false, "restartCount": 0, "state": running}]);
        let killed = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
        let again = json!([{"name": "web", "ready": false, "restartCount": 1, "state": running, "lastState": killed}]);
        let full = json!([{"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available: 3 Insufficient cpu."}]);
        let evicted = json!({"phase": "Failed", "reason": "Evicted", "message": "low on memory"});
        let table = [
            ("first pull", waiting("ErrImagePull", 0)),
            ("pull", waiting("ImagePullBackOff", 0)),
            ("no image", waiting("InvalidImageName", 0)),
            ("config", waiting("CreateContainerConfigError", 0)),
            ("crashed twice", waiting("CrashLoopBackOff", 1)),
            ("crash loop", waiting("CrashLoopBackOff", 2)),
            ("no memory", json!({"containerStatuses": again})),
            ("no room", json!({"conditions": full})),
            ("evicted", evicted),
            ("probe", json!({"containerStatuses": unready})),
            ("gate", json!({"containerStatuses": runs})),
            (
                "young",
                json!({"containerStatuses": [{"name": "web", "state": {"waiting": {"reason": "ContainerCreating"}}}]}),
            ),
            ("younger", json!({})),
        ];
        let mut told = Vec::new();
        for (name, status) in table {
            for policy in [OnCannotStart::Rollback, OnCannotStart::Wait] {
                let problem = pod(&status, policy).problem(None);
                let words = problem.map_or_else(
                    || "-".to_owned(),
                    |it| format!("{:?}, heals {}: {}", it.kind, it.kind.can_heal(), it.detail),
                );
                told.push(format!("{name} ({policy:?}): {words}"));
            }
        }
        insta::assert_snapshot!(told.join("\n"));
    }

    #[test]
    fn an_instance_that_was_ready_is_told_from_one_that_starts() {
        let check = |status: Value, state| {
            assert_eq!(pod(&status, OnCannotStart::Wait).state, state, "{status}");
        };
        let ready = |status: &str, at: &str| json!([{"type": "Ready", "status": status, "lastTransitionTime": at}]);
        let runs =
            json!([{"name": "web", "state": {"running": {"startedAt": "2026-11-25T10:00:05Z"}}}]);
        let at = |status: &str, at: &str| json!({"conditions": ready(status, at), "containerStatuses": runs});
        check(at("True", "2026-11-25T10:00:09Z"), InstanceState::Ready);
        check(at("False", "2026-11-25T10:00:00Z"), InstanceState::Starting);
        check(at("False", "2026-11-25T10:30:00Z"), InstanceState::NotReady);
        check(json!({"phase": "Pending"}), InstanceState::Starting);
        check(json!({"phase": "Failed"}), InstanceState::Exited);
        check(
            json!({"conditions": ready("False", "2026-11-25T10:00:00Z")}),
            InstanceState::Starting,
        );
    }

    #[test]
    fn the_address_is_that_of_the_artifacts_container() {
        let address = |ip: &str| pod(&json!({"podIP": ip}), OnCannotStart::Wait).address;
        assert_eq!(address("10.0.0.1").as_deref(), Some("10.0.0.1:8080"));
        assert_eq!(address("fd00::1").as_deref(), Some("[fd00::1]:8080"));
        assert_eq!(pod(&json!({}), OnCannotStart::Wait).address, None);
    }
}
