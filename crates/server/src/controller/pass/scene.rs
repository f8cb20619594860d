//! What one pass works with: the app file, the plan, and the world as it was read.

use drivers::{Bindings, workload::RevisionSpec};
use jiff::Timestamp;
use rollout::{Observation, Phase, Plan, Revision, gate::Gates};
use store::{PassInput, Rollout};

use super::Pass;
use crate::{
    app_file::AppFile,
    controller::{
        observe,
        troubles::{Condition, Part},
    },
    freezes,
};

/// What one pass works with.
pub(super) struct Scene {
    pub(super) bindings: Bindings,
    pub(super) specs: Vec<RevisionSpec>,
    /// What the instances are counted in.
    pub(super) whole: u32,
    pub(super) observation: Observation,
    pub(super) now: Timestamp,
    /// When a freeze window begins or ends next.
    pub(super) freeze_changes: Option<Timestamp>,
}

impl Pass {
    pub(super) fn file_of(&self, input: &PassInput, revision: Revision) -> Option<AppFile> {
        let row = input.revisions.iter().find(|it| it.revision == revision)?;
        match AppFile::read(&row.document) {
            Ok(file) => {
                self.note(Part::AppFile, Condition::Works);
                Some(file.with_settings(input.project_settings.as_ref()))
            }
            Err(problems) => {
                let first = problems.first().map(|it| it.detail.as_str());
                let problem = format!("of {revision}: {}", first.unwrap_or_default());
                self.note(Part::AppFile, Condition::Fails(&problem));
                None
            }
        }
    }

    /// Instances that carry the whole traffic now; `None` when the workload cannot say.
    pub(super) async fn replicas(&self, file: &AppFile) -> Option<u32> {
        let workload = file.bindings.workload.driver();
        let asked = workload.replicas(&self.shared.service.cx, &self.app).await;
        if let Err(error) = &asked {
            self.note(Part::Workload, Condition::Fails(&error.to_string()));
            self.shared
                .service
                .metrics
                .driver_failed(Part::Workload.word());
        }
        asked.ok()
    }

    /// A pending rollout's plan is compiled anew when its turn comes: what is stable, and how many
    /// instances it has, may have changed.
    pub(super) async fn plan_now(
        &self,
        input: &PassInput,
        rollout: &Rollout,
        file: &AppFile,
    ) -> Plan {
        match rollout.state.phase {
            Phase::Pending => {
                let plan = file.plan(rollout::Revisions {
                    stable: input.app.stable,
                    candidate: rollout.candidate,
                    replicas: match self.replicas(file).await {
                        Some(replicas) => replicas,
                        // Looking at the world fails as well then, and that is what the wait is told
                        // by.
                        None => rollout.plan.replicas,
                    },
                    undo: rollout.undo,
                });
                plan.calibrated(&rollout.plan.dispersions())
            }
            Phase::Progressing
            | Phase::Paused
            | Phase::Promoting
            | Phase::Aborting
            | Phase::Succeeded
            | Phase::RolledBack
            | Phase::Cancelled => rollout.plan.clone(),
        }
    }

    /// Reads the world, through the router of `file`, which was read already.
    pub(super) async fn look(
        &self,
        input: &PassInput,
        (revision, file): (Revision, &AppFile),
        whole: u32,
        gates: Gates,
    ) -> Scene {
        let specs = observe::specs(&input.revisions, revision, file);
        let (workload, routes) = observe::world(
            &self.shared.service.cx,
            &self.app,
            &specs,
            whole,
            &file.bindings.traffic,
        )
        .await;
        let now = self.shared.service.leases.now();
        let (freezes, freeze_changes) = freezes::on_now(&input.freezes, now);
        let readable = workload.known().is_some() && routes.known().is_some();
        let observation = Observation {
            workload,
            routes,
            gates: gates.states,
            readable_since: readable.then(|| self.readable_since.unwrap_or(now)),
            freezes,
        };
        Scene {
            bindings: file.bindings.clone(),
            specs,
            whole,
            observation,
            now,
            freeze_changes,
        }
    }
}
