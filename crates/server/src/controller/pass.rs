//! One pass over one app: the only place where deciding meets doing.
//!
//! ```text
//!  claim and load → observe (drivers) → advance (pure) → commit (compare-and-set) → ensure → wake at
//! ```
//!
//! Level-triggered: a pass remembers nothing of the one before. It may be dropped at any await and
//! the process may die at any instruction; the next pass recomputes the target from the committed
//! state. Database round trips: one to load, one to commit, none when nothing changed.

mod ensure;
mod gates;
mod offer;
mod scene;

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use drivers::AppKey;
use jiff::Timestamp;
use rollout::{
    Advance, Event, Phase, Plan, Revision, State, Target, WaitingOn, advance, gate::Gates, target,
};
use store::{Commit, MeasurementRow, PassInput, Rollout, StoreError};
use uuid::Uuid;

use ensure::{Ensured, Given, given};
use gates::earliest;
use scene::Scene;

use super::{
    Lane, Loop,
    crash_point::crash_point,
    measure::{Job, Measured},
    notices::Telling,
    troubles::{Condition, Part},
};
use crate::{
    app_file::AppFile,
    live::{Obstacle, Seen},
};

/// How long a pass may take. Everything it calls has a shorter deadline of its own but the database,
/// which may have gone away without a word.
const PASS_WITHIN: Duration = Duration::from_secs(15);

/// One pass over one app.
#[derive(Debug)]
pub(crate) struct Pass {
    pub(crate) shared: Arc<Loop>,
    pub(crate) app: AppKey,
    /// The app's id, once known.
    pub(crate) app_id: Option<Uuid>,
    pub(crate) lane: Lane,
    /// Measurements that came back since the last pass.
    pub(crate) measured: Vec<Measured>,
    /// Gates whose measurement is under way.
    pub(crate) measuring: HashSet<String>,
    /// Since when every pass before could read the world.
    pub(crate) readable_since: Option<Timestamp>,
}

/// What follows from a pass.
#[derive(Debug, Default)]
pub(crate) struct PassEnd {
    /// The app's id.
    pub(crate) app_id: Option<Uuid>,
    /// Whether the pass got as far as looking at the rollout.
    pub(crate) looked: bool,
    /// Look again at once.
    pub(crate) again: bool,
    /// The world does not show yet what was asked of it, or could not be asked.
    pub(crate) unseen: bool,
    /// Traffic is being taken back.
    pub(crate) rollback: bool,
    /// Nothing of this app is this replica's business.
    pub(crate) forget: bool,
    /// When time alone may change something.
    pub(crate) wake_at: Option<Timestamp>,
    /// Questions to ask now.
    pub(crate) to_measure: Vec<Job>,
    /// The app has no rollout.
    pub(crate) at_rest: bool,
    /// The rollout's version as of this pass.
    pub(crate) version: Option<i64>,
    /// Since when every pass could read the world; `None`: this one could not.
    pub(crate) readable_since: Option<Timestamp>,
}

impl PassEnd {
    /// Look again soon.
    pub(crate) fn retry() -> Self {
        Self {
            unseen: true,
            ..Self::default()
        }
    }

    /// Look again at once.
    pub(crate) fn at_once() -> Self {
        Self {
            again: true,
            ..Self::default()
        }
    }
}

impl Pass {
    /// Runs the pass. Whatever fails is logged where it fails and tried again.
    pub(crate) async fn run(mut self) -> PassEnd {
        let began = Instant::now();
        let end = match tokio::time::timeout(PASS_WITHIN, self.pass()).await {
            Ok(end) => end.map_err(|error| match error {
                StoreError::Lost { .. } => None,
                error => Some(error.to_string()),
            }),
            Err(_) => Err(Some(format!("not done within {} s", PASS_WITHIN.as_secs()))),
        };
        let outcome = match &end {
            Ok(end) if end.unseen => "unseen",
            Ok(_) => "ok",
            Err(_) => "error",
        };
        self.shared
            .service
            .metrics
            .pass_ran(self.lane.word(), began.elapsed(), outcome);
        match end {
            Ok(end) => {
                self.note(Part::Pass, Condition::Works);
                end
            }
            // Somebody else was faster: look again.
            Err(None) => PassEnd::at_once(),
            Err(Some(error)) => {
                self.note(Part::Pass, Condition::Fails(&error));
                PassEnd::retry()
            }
        }
    }

    /// Notes how a part of the world does; a change is logged.
    fn note(&self, part: Part, now: Condition<'_>) {
        self.shared.troubles.note(&self.app, part, now);
    }

    async fn pass(&mut self) -> Result<PassEnd, StoreError> {
        crash_point("before-load");
        let store = self.shared.store(self.lane);
        let (project, name) = (&self.app.project, &self.app.app);
        let app_id = match self.app_id {
            Some(id) => Some(id),
            None => store.get_app(project, name).await?.map(|it| it.id),
        };
        let loaded = match app_id {
            Some(id) => store.load(id, self.shared.service.leases.owner).await?,
            None => None,
        };
        let Some(input) = loaded else {
            return Ok(PassEnd {
                forget: true,
                ..PassEnd::default()
            });
        };
        let end = match (input.current.clone(), input.app.stable) {
            (Some(rollout), _) => self.roll(input, rollout).await?,
            (None, Some(stable)) => self.rest(&input, stable).await?,
            (None, None) => PassEnd {
                forget: true,
                looked: true,
                ..PassEnd::default()
            },
        };
        Ok(PassEnd { app_id, ..end })
    }

    /// An app without a rollout: its stable revision keeps all instances and all traffic.
    async fn rest(&self, input: &PassInput, stable: Revision) -> Result<PassEnd, StoreError> {
        let Some(file) = self.file_of(input, stable) else {
            return Ok(PassEnd::retry());
        };
        let Some(replicas) = self.replicas(&file).await else {
            return Ok(PassEnd::retry());
        };
        let scene = self
            .look(input, (stable, &file), replicas, Gates::default())
            .await;
        let target = Target::steady(stable, replicas);
        let ready = scene.observation.ready(stable) > 0;
        let given = ready.then(|| Given::shares(target.weights.clone()));
        let Ensured { unseen, obstacles } = self.ensure(input, &scene, &target, given).await;
        self.show(&scene, &target, obstacles);
        let offered = self.take_up(input, &scene).await;
        if !unseen && !offered && ensure::settled(&scene.observation, stable, replicas) {
            self.shared.service.cx.at_rest(&self.app);
        }
        Ok(PassEnd {
            looked: true,
            again: offered,
            unseen,
            at_rest: true,
            readable_since: scene.observation.readable_since,
            ..PassEnd::default()
        })
    }

    async fn roll(&mut self, input: PassInput, rollout: Rollout) -> Result<PassEnd, StoreError> {
        let Some(file) = self.file_of(&input, rollout.candidate) else {
            return Ok(PassEnd::retry());
        };
        let plan = self.plan_now(&input, &rollout, &file).await;
        let gates = rollout.gates.at(rollout.state.cursor);
        let (mut gates, rows) = self.fold(&plan, &rollout, gates);
        let scene = self
            .look(
                &input,
                (rollout.candidate, &file),
                plan.replicas,
                gates.clone(),
            )
            .await;
        gates::note_share(&mut gates, &plan, &scene);
        crash_point("after-observe");

        let decided = advance(&plan, &rollout.state, &scene.observation, scene.now);
        let (state, event, waiting, look_again_at) = match decided {
            Advance::Next(state, event) => (*state, Some(event), None, None),
            Advance::Wait { on, look_again_at } => (rollout.state.clone(), None, on, look_again_at),
        };
        let moved = event.is_some();
        let mut version = rollout.version;
        let told = waiting == rollout.waiting && gates.shares == rollout.gates.shares;
        if moved || !rows.is_empty() || !told {
            crash_point("before-commit");
            let commit = self.commit(
                &input,
                &rollout,
                &plan,
                &file,
                Decision {
                    state: &state,
                    gates: &gates,
                    event,
                    waiting,
                    wake_at: look_again_at,
                    rows,
                },
            );
            version = self.shared.store(self.lane).commit(&commit).await?;
            crash_point("after-commit");
            self.committed(&rollout, &commit);
        }

        let target = target(&plan, &state);
        let given = given(&plan, &state, &target, &scene.observation);
        let Ensured { unseen, obstacles } = self.ensure(&input, &scene, &target, given).await;
        self.note_alert(&plan, &state, &scene.observation);
        let offered = self.take_up(&input, &scene).await;
        crash_point("after-ensure");
        self.show(&scene, &target, obstacles);
        let (to_measure, gate_due) =
            self.due(&plan, &rollout, &state, &target, &gates, &scene, &file);
        Ok(PassEnd {
            looked: true,
            again: moved || offered,
            unseen,
            rollback: state.phase == Phase::Aborting,
            forget: false,
            app_id: None,
            wake_at: earliest(earliest(look_again_at, gate_due), scene.freeze_changes),
            to_measure,
            at_rest: false,
            version: Some(version),
            readable_since: scene.observation.readable_since,
        })
    }

    fn committed(&self, rollout: &Rollout, commit: &Commit) {
        if !commit.notices.is_empty() {
            self.shared.service.ring.notify_one();
        }
        if let Some((event, _)) = &commit.transition {
            self.shared.service.metrics.transition(event);
            tracing::info!(
                app = %self.app, rollout = %rollout.id, phase = %commit.state.phase,
                "{}", event.sentence(rollout.candidate)
            );
        }
    }

    fn commit(
        &self,
        input: &PassInput,
        rollout: &Rollout,
        plan: &Plan,
        file: &AppFile,
        decision: Decision<'_>,
    ) -> Commit {
        let telling = Telling {
            bindings: &file.bindings,
            app: &self.app,
            rollout: rollout.id,
            plan,
            public_url: self.shared.service.public_url.as_deref(),
        };
        let (before, on) = (rollout.waiting.as_ref(), decision.waiting.as_ref());
        let notices = match &decision.event {
            Some(event) => telling.transition(decision.state, event),
            None => telling.waiting(decision.state, before, on),
        };
        let starts = matches!(decision.event, Some(Event::Started));
        let succeeded = matches!(decision.event, Some(Event::Succeeded));
        Commit {
            rollout: rollout.id,
            expected_version: rollout.version,
            fence: Some(input.fence),
            state: decision.state.clone(),
            gates: decision.gates.at(decision.state.cursor),
            waiting: decision.waiting,
            wake_at: decision.wake_at,
            plan: starts.then(|| plan.clone()),
            transition: decision.event.map(|event| (event, "system".to_owned())),
            source: None,
            measurements: decision.rows,
            stable: succeeded.then_some(plan.candidate),
            notices,
            alert: None,
        }
    }

    fn show(&self, scene: &Scene, target: &Target, obstacles: Vec<Obstacle>) {
        let seen = Seen {
            target: target.clone(),
            observation: scene.observation.clone(),
            obstacles,
            at: scene.now,
        };
        self.shared.service.live.put(&self.app, seen);
    }
}

struct Decision<'a> {
    state: &'a State,
    gates: &'a Gates,
    event: Option<Event>,
    waiting: Option<WaitingOn>,
    wake_at: Option<Timestamp>,
    rows: Vec<MeasurementRow>,
}
