//! Orders: decided by the core against the committed state, committed by compare-and-set, and only
//! then the loop is woken. Two orders at once are serialised by the row's version.

use drivers::AppKey;
use jiff::Timestamp;
use rollout::{Command, Order, Outcome, Phase, Rejection};
use store::{Commit, Rollout, Store, StoreError};
use uuid::Uuid;

use super::{Service, alerts::Alerted};
use crate::{app_file::AppFile, controller::Telling, error::ServeError, freezes};

/// How often an order is decided again because something else was committed meanwhile.
const TRIES: u32 = 10;

impl Service {
    /// Gives an order to a rollout. `guard`: the step (and attempt) the order was meant for.
    pub(crate) async fn order(
        &self,
        rollout: Uuid,
        command: Command,
        guard: Option<(usize, Option<u32>)>,
    ) -> Result<Rollout, ServeError> {
        let (rollout, _) = self.order_with(rollout, &command, guard, None).await?;
        Ok(rollout)
    }

    /// The connections for an order: what takes traffic back never queues behind the rest.
    fn lane(&self, back: bool) -> &Store {
        match back {
            true => &self.rollback_store,
            false => &self.store,
        }
    }

    /// The rollout, and whether the order changed it.
    pub(super) async fn order_with(
        &self,
        id: Uuid,
        command: &Command,
        guard: Option<(usize, Option<u32>)>,
        alerted: Option<&Alerted<'_>>,
    ) -> Result<(Rollout, bool), ServeError> {
        let back = takes_back(&command.order);
        let store = self.lane(back);
        let _turn = self.turns.of(id, back).await?;
        let mut guard = guard;
        let mut seen = alerted.map(|it| it.rollout.clone());
        for _ in 0..TRIES {
            let rollout = match seen.take() {
                Some(rollout) => rollout,
                None => reread(store, id).await?,
            };
            check_guard(&rollout, guard)?;
            if is_about_a_step(&command.order) {
                // Decided again, it must not end a step that nobody has seen yet.
                let cursor = rollout.state.cursor;
                guard.get_or_insert((cursor.step, Some(cursor.attempt)));
            }
            self.check_retry(&rollout, command).await?;
            self.check_freezes(&rollout, &command.order).await?;
            let outcome =
                rollout::command(&rollout.plan, &rollout.state, command, self.leases.now());
            let (state, event) = match outcome.map_err(ServeError::Rejection)? {
                Outcome::Unchanged => return Ok((rollout, false)),
                Outcome::Changed(state, event) => (*state, event),
            };
            let file = match alerted {
                Some(alerted) => Some(alerted.file.clone()),
                None => file_of(store, &rollout).await?,
            };
            let notices = file
                .as_ref()
                .map(|file| self.telling(file, &rollout, |it| it.transition(&state, &event)));
            let urgent = state.phase == Phase::Aborting;
            let commit = Commit {
                rollout: id,
                expected_version: rollout.version,
                fence: None,
                gates: rollout.gates.at(state.cursor),
                state,
                waiting: None,
                wake_at: None,
                plan: None,
                transition: Some((event.clone(), command.by.clone())),
                source: command.from.clone(),
                measurements: Vec::new(),
                stable: None,
                notices: notices.unwrap_or_default(),
                alert: alerted.map(|it| it.key.clone()),
            };
            match store.commit(&commit).await {
                Ok(version) => {
                    self.metrics.transition(&event);
                    self.wake(&rollout.project, &rollout.app, urgent);
                    return Ok((written(rollout, commit, version, self.leases.now()), true));
                }
                Err(StoreError::Lost { .. }) => continue,
                Err(StoreError::CommitUnknown { .. }) => {
                    if was_written(store, &commit).await? {
                        self.wake(&rollout.project, &rollout.app, urgent);
                        return Ok((reread(store, id).await?, true));
                    }
                }
                Err(StoreError::Duplicate) => return Ok((rollout, false)),
                Err(error) => return Err(error.into()),
            }
        }
        Err(ServeError::Unavailable {
            detail: "the rollout changes faster than the order can be committed; try again"
                .to_owned(),
        })
    }

    /// Notices for those whom the candidate's app file and its project name.
    pub(super) fn telling(
        &self,
        file: &AppFile,
        rollout: &Rollout,
        notices: impl FnOnce(&Telling<'_>) -> Vec<store::NewNotice>,
    ) -> Vec<store::NewNotice> {
        let app = AppKey {
            project: rollout.project.clone(),
            app: rollout.app.clone(),
        };
        notices(&Telling {
            bindings: &file.bindings,
            app: &app,
            rollout: rollout.id,
            plan: &rollout.plan,
            public_url: self.public_url.as_deref(),
        })
    }

    /// An order that would send traffic to the candidate at once must not get past a freeze window.
    async fn check_freezes(&self, rollout: &Rollout, order: &Order) -> Result<(), ServeError> {
        if !matches!(order, Order::PromoteFull | Order::Retry) {
            return Ok(());
        }
        let rows = self.store.freezes_of(&rollout.project, &rollout.app);
        let (on, _) = freezes::on_now(&rows.await?, self.leases.now());
        match rollout::refused_by_freeze(&rollout.plan, &rollout.state, order, &on) {
            Some(why) => Err(ServeError::Rejection(why)),
            None => Ok(()),
        }
    }

    /// A rollout that was taken back can only be tried again while the app is as it was then.
    async fn check_retry(&self, rollout: &Rollout, command: &Command) -> Result<(), ServeError> {
        if command.order != Order::Retry || rollout.state.phase != Phase::RolledBack {
            return Ok(());
        }
        let app = self.store.get_app(&rollout.project, &rollout.app).await?;
        let stable = app.and_then(|it| it.stable);
        if stable != rollout.plan.stable {
            let now = stable.map_or_else(|| "nothing".to_owned(), |it| it.to_string());
            return Err(ServeError::Rejection(Rejection(format!(
                "cannot retry: {now} is stable now; deploy the artifact again"
            ))));
        }
        if let Some(current) = self.store.current(rollout.app_id).await? {
            return Err(ServeError::Rejection(Rejection(format!(
                "cannot retry: rollout {} of {} is under way",
                current.id, current.candidate
            ))));
        }
        Ok(())
    }
}

/// The candidate's app file, with what holds for its project.
pub(super) async fn file_of(
    store: &Store,
    rollout: &Rollout,
) -> Result<Option<AppFile>, ServeError> {
    let found = store.revision_and_settings(rollout.app_id, rollout.candidate);
    Ok(found.await?.and_then(|(row, settings)| {
        let file = AppFile::read(&row.document).ok()?;
        Some(file.with_settings(settings.as_ref()))
    }))
}

/// The rollout as `commit` left it; spares reading it once more.
fn written(before: Rollout, commit: Commit, version: i64, now: Timestamp) -> Rollout {
    let ended = commit.state.phase.is_terminal();
    Rollout {
        phase: commit.state.phase,
        state: commit.state,
        gates: commit.gates,
        waiting: commit.waiting,
        wake_at: commit.wake_at,
        version,
        updated_at: now,
        ended_at: ended.then_some(now),
        ..before
    }
}

async fn reread(store: &Store, id: Uuid) -> Result<Rollout, ServeError> {
    let found = store.rollout(id).await?;
    found.ok_or_else(|| ServeError::NotFound {
        what: format!("rollout {id}"),
    })
}

/// Whether a commit whose outcome is unknown happened: the history has it then. An order must not be
/// carried out twice.
async fn was_written(store: &Store, commit: &Commit) -> Result<bool, ServeError> {
    let before = i64::try_from(commit.state.generation).unwrap_or(i64::MAX);
    let rows = store.history(commit.rollout, before, 1).await?;
    let ours = commit.transition.as_ref();
    Ok(rows.first().is_some_and(|row| {
        row.state == commit.state
            && ours.is_some_and(|(event, by)| row.event == *event && row.by == *by)
    }))
}

/// Whether an order takes traffic back.
fn takes_back(order: &Order) -> bool {
    match order {
        Order::Abort | Order::Reject | Order::Alert { .. } => true,
        Order::Promote
        | Order::PromoteFull
        | Order::Pause
        | Order::Resume
        | Order::Retry
        | Order::Skip
        | Order::Approve
        | Order::BreakGlass
        | Order::Supersede { .. } => false,
    }
}

/// Whether an order is about the step at which somebody saw the rollout stand.
fn is_about_a_step(order: &Order) -> bool {
    match order {
        Order::Promote | Order::Skip | Order::Approve | Order::Reject | Order::Retry => true,
        Order::PromoteFull
        | Order::BreakGlass
        | Order::Abort
        | Order::Pause
        | Order::Resume
        | Order::Alert { .. }
        | Order::Supersede { .. } => false,
    }
}

fn check_guard(rollout: &Rollout, guard: Option<(usize, Option<u32>)>) -> Result<(), ServeError> {
    let Some((step, attempt)) = guard else {
        return Ok(());
    };
    let cursor = rollout.state.cursor;
    if cursor.step == step && attempt.is_none_or(|it| it == cursor.attempt) {
        return Ok(());
    }
    Err(ServeError::Conflict {
        detail: format!(
            "meant for step {step}, the rollout is at step {} (attempt {}); look again before deciding",
            cursor.step, cursor.attempt
        ),
    })
}

#[cfg(test)]
#[path = "orders_tests.rs"]
mod tests;
