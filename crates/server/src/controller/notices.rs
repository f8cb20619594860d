//! What is told about a transition, and to whom: the app's notifiers and the workload's own.

use drivers::{AppKey, Bindings};
use rollout::{Event, Plan, State, Step};
use serde_json::json;
use store::NewNotice;
use uuid::Uuid;

/// One notice for each notifier of the app that wants to know of the transition to `state`.
pub(crate) fn notices(
    bindings: &Bindings,
    app: &AppKey,
    rollout: Uuid,
    plan: &Plan,
    state: &State,
    event: &Event,
) -> Vec<NewNotice> {
    let payload = json!({
        "type": format!("rollout.{}", event.word()),
        "rollout": rollout,
        "project": app.project,
        "app": app.app,
        "stable": plan.stable.map(|it| it.to_string()),
        "candidate": plan.candidate.to_string(),
        "strategy": plan.strategy,
        "phase": state.phase,
        "generation": state.generation,
        "sentence": event.sentence(plan.candidate),
    });
    let kind = format!("rollout.{}", event.word());
    let all = bindings.told();
    let minor = is_minor(plan, state, event);
    let told = all.iter().filter(|it| !minor || it.driver().wants_all());
    let targets = told.filter_map(|it| serde_json::to_value(it).ok());
    targets
        .map(|target| NewNotice {
            target,
            kind: kind.clone(),
            payload: payload.clone(),
        })
        .collect()
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

    #[test]
    fn a_deployment_is_not_told_of_every_step_but_a_webhook_is() {
        let file = json!({
            "app": "web",
            "workload": { "kubernetes": { "namespace": "shop", "deployment": "web" } },
            "traffic": { "gatewayApi": { "namespace": "shop", "httpRoute": "web", "service": "web" } },
            "notify": [{ "webhook": { "url": "http://receiver.test" } }],
            "strategy": { "canary": { "steps": [{ "setWeight": 50 }, { "pause": "1s" }] } },
        });
        let file = AppFile::read(&file).unwrap();
        let plan = file.plan(Revisions {
            stable: Some(Revision(1)),
            candidate: Revision(2),
            replicas: 4,
            undo: false,
        });
        let mut state = State::new(Timestamp::UNIX_EPOCH);
        let mut told = |step: usize, event: &Event| {
            let app = AppKey {
                project: "default".to_owned(),
                app: "web".to_owned(),
            };
            state.cursor.step = step;
            let all = notices(&file.bindings, &app, Uuid::nil(), &plan, &state, event);
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
}
