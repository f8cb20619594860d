//! What is told about a rollout, and to whom: the notifiers of the app and of its project, and the
//! workload's own.

use drivers::{AppKey, Bindings};
use rollout::{AlertAction, Cursor, Event, Plan, State, Step, WaitingOn};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use store::NewNotice;
use uuid::Uuid;

/// What notices of a rollout are made from.
pub(crate) struct Telling<'a> {
    /// Who is told: the notifiers of the app file, and of the project.
    pub(crate) bindings: &'a Bindings,
    /// The app.
    pub(crate) app: &'a AppKey,
    /// The rollout.
    pub(crate) rollout: Uuid,
    /// What it brings out.
    pub(crate) plan: &'a Plan,
    /// Where people reach this service, for links.
    pub(crate) public_url: Option<&'a str>,
}

impl Telling<'_> {
    /// One notice for each notifier that wants to know of the transition to `state`.
    pub(crate) fn transition(&self, state: &State, event: &Event) -> Vec<NewNotice> {
        let sentence = event.sentence(self.plan.candidate);
        let minor = is_minor(self.plan, state, event);
        self.notices(state, event.word(), &sentence, minor)
    }

    /// One notice for each notifier that wants to know that the rollout begins to wait for somebody
    /// to act. Every time it does so in the same step and attempt they have the same ids, so that
    /// they are told once.
    pub(crate) fn waiting(
        &self,
        state: &State,
        before: Option<&WaitingOn>,
        on: Option<&WaitingOn>,
    ) -> Vec<NewNotice> {
        let word = on.and_then(WaitingOn::asks);
        let (Some(on), Some(word)) = (on, word) else {
            return Vec::new();
        };
        if before.and_then(WaitingOn::asks) == Some(word) {
            return Vec::new();
        }
        let mut notices = self.notices(state, word, &on.to_string(), false);
        for notice in &mut notices {
            notice.id = Some(waiting_id(self.rollout, state.cursor, word, &notice.target));
        }
        notices
    }

    /// One notice for each notifier that wants to know of alerts that change nothing.
    pub(crate) fn alerted(&self, state: &State, sentence: &str) -> Vec<NewNotice> {
        self.notices(state, AlertAction::NOTICE, sentence, false)
    }

    fn notices(&self, state: &State, word: &str, sentence: &str, minor: bool) -> Vec<NewNotice> {
        let kind = format!("rollout.{word}");
        let payload = self.payload(state, &kind, sentence);
        let all = self.bindings.told();
        let told = all.iter().filter(|it| it.driver().wants(&kind, minor));
        let targets = told.filter_map(|it| serde_json::to_value(it).ok());
        targets
            .map(|target| NewNotice {
                id: None,
                target,
                kind: kind.clone(),
                payload: payload.clone(),
            })
            .collect()
    }

    fn payload(&self, state: &State, kind: &str, sentence: &str) -> Value {
        let Self {
            app, rollout, plan, ..
        } = self;
        let reason = state.abort.as_ref().map(|it| it.reason.to_string());
        let link = self.public_url.map(|it| format!("{it}/rollouts/{rollout}"));
        json!({
            "type": kind,
            "rollout": rollout,
            "project": app.project,
            "app": app.app,
            "stable": plan.stable.map(|it| it.to_string()),
            "candidate": plan.candidate.to_string(),
            "strategy": plan.strategy,
            "phase": state.phase,
            "generation": state.generation,
            "step": state.cursor.step,
            "attempt": state.cursor.attempt,
            "sentence": sentence,
            "reason": reason,
            "link": link,
        })
    }
}

/// The same for the same wait, told to the same receiver.
fn waiting_id(rollout: Uuid, cursor: Cursor, word: &str, target: &Value) -> Uuid {
    let what = json!([rollout, cursor, word, target]).to_string();
    let digest: [u8; 32] = Sha256::digest(what).into();
    let (half, _) = digest.split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
    uuid::Builder::from_custom_bytes(*half).into_uuid()
}

/// Whether nobody ordered it and no traffic moved: a step on the way that led to `state`, or a turn
/// that came.
fn is_minor(plan: &Plan, state: &State, event: &Event) -> bool {
    let cursor = state.cursor;
    let done = cursor.step.checked_sub(1);
    let done = done.and_then(|it| plan.list(cursor.track).get(it));
    match event {
        Event::Started => true,
        Event::StepDone { .. } => !done.is_some_and(Step::moves_traffic),
        Event::Created { .. }
        | Event::Promoted { .. }
        | Event::PromotedFully { .. }
        | Event::Skipped { .. }
        | Event::Approved { .. }
        | Event::Paused { .. }
        | Event::Resumed { .. }
        | Event::Frozen { .. }
        | Event::Thawed { .. }
        | Event::BrokeGlass { .. }
        | Event::Retried { .. }
        | Event::AbortStarted { .. }
        | Event::Succeeded
        | Event::RolledBack
        | Event::Cancelled { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use rollout::{Reason, Revision, Revisions};

    use super::*;
    use crate::app_file::AppFile;

    /// A file, and what it brings out after r1.
    fn read(document: &Value) -> (AppFile, Plan) {
        let file = AppFile::read(document).unwrap();
        let plan = file.plan(Revisions {
            stable: Some(Revision(1)),
            candidate: Revision(2),
            replicas: 4,
            undo: false,
        });
        (file, plan)
    }

    fn app() -> AppKey {
        AppKey {
            project: "shop".to_owned(),
            app: "web".to_owned(),
        }
    }

    #[test]
    fn a_deployment_is_not_told_of_every_step_but_a_webhook_is() {
        let file = json!({
            "app": "web",
            "workload": { "kubernetes": { "namespace": "shop", "deployment": "web" } },
            "traffic": { "gatewayApi": { "namespace": "shop", "httpRoute": "web", "service": "web" } },
            "notify": [{ "webhook": { "url": "http://receiver.test" } }],
            "strategy": { "canary": { "steps": [{ "setWeight": 50 }, { "pause": "1s" }] } },
        });
        let (file, plan) = read(&file);
        let mut state = State::new(Timestamp::UNIX_EPOCH);
        let mut told = |step: usize, event: &Event| {
            let app = AppKey {
                project: "default".to_owned(),
                app: "web".to_owned(),
            };
            state.cursor.step = step;
            let telling = Telling {
                bindings: &file.bindings,
                app: &app,
                rollout: Uuid::nil(),
                plan: &plan,
                public_url: None,
            };
            let all = telling.transition(&state, event);
            let targets = all.iter().map(|it| it.target.as_object().unwrap());
            let words: Vec<&str> = targets.flat_map(|it| it.keys()).map(|it| &**it).collect();
            words.contains(&"webhook").then_some(words.len())
        };
        for (index, step) in plan.main.iter().enumerate() {
            let title = step.behavior().title();
            let expected = if title.starts_with("setWeight") { 2 } else { 1 };
            let done = Event::StepDone { step: title };
            assert_eq!(told(index + 1, &done), Some(expected), "{done:?}");
        }
        assert_eq!(
            told(0, &Event::Started),
            Some(1),
            "it was created just before"
        );
        let (by, comment) = ("ann".to_owned(), None);
        for event in [
            Event::Created {
                by: by.clone(),
                comment,
                break_glass: None,
            },
            Event::Paused { by },
            Event::AbortStarted {
                reason: Reason::Superseded {
                    revision: Revision(3),
                },
            },
            Event::Succeeded,
            Event::RolledBack,
        ] {
            assert_eq!(told(1, &event), Some(2), "{event:?}");
        }
    }

    #[test]
    fn who_waits_for_somebody_says_so_once_a_step_and_attempt_with_a_link() {
        let file = json!({
            "app": "web",
            "workload": { "static": { "pools": { "blue": ["h:1"], "green": ["h:2"] } } },
            "traffic": { "haproxy": { "socket": "/s", "backend": "b" } },
            "notify": [
                { "webhook": { "url": "http://receiver.test" } },
                { "slack": { "urlEnv": "SLACK" } },
                { "teams": { "urlEnv": "TEAMS", "on": ["succeeded"] } },
            ],
            "strategy": { "canary": { "steps": [{ "approve": {} }, { "setWeight": 50 }] } },
        });
        let (file, plan) = read(&file);
        let telling = Telling {
            bindings: &file.bindings,
            app: &app(),
            rollout: Uuid::nil(),
            plan: &plan,
            public_url: Some("https://sluice.example"),
        };
        let mut state = State::new(Timestamp::UNIX_EPOCH);
        let approval = |given| WaitingOn::Approval {
            group: None,
            given,
            needed: 2,
            expires: None,
        };
        let first = telling.waiting(&state, None, Some(&approval(0)));
        assert_eq!(first.len(), 2, "{first:?}");
        assert_eq!(first[0].kind, "rollout.waitingForApproval");
        let link = format!("https://sluice.example/rollouts/{}", Uuid::nil());
        assert_eq!(first[0].payload["link"], json!(link));
        assert_ne!(first[0].id, first[1].id);
        let held = WaitingOn::Held {
            by: "ann".to_owned(),
        };
        assert_eq!(
            telling
                .waiting(&state, Some(&held), Some(&approval(1)))
                .len(),
            2
        );
        let again = telling.waiting(&state, Some(&held), Some(&approval(1)));
        let ids = |it: &[NewNotice]| it.iter().map(|it| it.id).collect::<Vec<_>>();
        assert_eq!(ids(&again), ids(&first));
        assert!(
            telling
                .waiting(&state, Some(&approval(0)), Some(&approval(1)))
                .is_empty()
        );
        assert!(telling.waiting(&state, None, Some(&held)).is_empty());
        state.cursor.attempt = 2;
        let retried = telling.waiting(&state, None, Some(&approval(0)));
        assert_ne!(ids(&retried), ids(&first));
    }

    #[test]
    fn how_it_ended_is_told_with_the_reason() {
        let document = json!({
            "app": "web",
            "workload": { "static": { "pools": { "blue": ["h:1"], "green": ["h:2"] } } },
            "traffic": { "haproxy": { "socket": "/s", "backend": "b" } },
            "notify": [{ "slack": { "urlEnv": "SLACK" } }],
            "strategy": { "canary": { "steps": [{ "setWeight": 50 }] } },
        });
        let (file, plan) = read(&document);
        let telling = Telling {
            bindings: &file.bindings,
            app: &app(),
            rollout: Uuid::nil(),
            plan: &plan,
            public_url: None,
        };
        let mut state = State::new(Timestamp::UNIX_EPOCH);
        state.abort = Some(rollout::Abort {
            reason: Reason::GateFailed {
                gate: "errors".to_owned(),
                detail: "5 % > 1 %".to_owned(),
            },
            at: Timestamp::UNIX_EPOCH,
            from: state.cursor,
        });
        let told = telling.transition(&state, &Event::RolledBack);
        assert_eq!(told[0].payload["reason"], "gate errors failed: 5 % > 1 %");
        assert_eq!(told[0].payload["link"], Value::Null);
        assert!(
            telling
                .transition(
                    &state,
                    &Event::Resumed {
                        by: "ann".to_owned()
                    }
                )
                .is_empty()
        );
    }
}
