//! The app's past without its rollouts: when one revision alone was stable.

use jiff::{SignedDuration, Timestamp};
use rollout::{Phase, Revision, Role, time};
use store::{App, Rollout, RolloutFilter, StoreError};

use super::Service;

/// Time after a rollout that is not its aftermath any more.
const SETTLED_AFTER: SignedDuration = SignedDuration::from_secs(10);

/// Most rollouts that are looked at: of the last days even of an app that is deployed every hour.
const ROLLOUTS_MAX: u32 = 200;

/// A time in which one revision had all the traffic.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Quiet {
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
    pub(super) stable: Revision,
    /// Its instances, as far as rollouts have seen them.
    pub(super) instances: Vec<(String, Role)>,
}

impl Service {
    /// An app's rollouts, newest first, and whether there are more than that.
    pub(super) async fn past_rollouts(
        &self,
        app: &App,
    ) -> Result<(Vec<Rollout>, bool), StoreError> {
        let filter = RolloutFilter {
            projects: Some(vec![app.project.clone()]),
            app: Some(app.name.clone()),
            phases: Vec::new(),
        };
        let rows = self.store.rollouts(&filter, None, ROLLOUTS_MAX).await?;
        let more = rows.len() >= ROLLOUTS_MAX as usize;
        // An app of the same name that was deleted is another one.
        let own = rows.into_iter().filter(|it| it.app_id == app.id).collect();
        Ok((own, more))
    }
}

/// The quiet times between `from` and `until`, oldest first. `rollouts`: newest first.
pub(super) fn quiet(
    app: &App,
    rollouts: &[Rollout],
    (from, until): (Timestamp, Timestamp),
) -> Vec<Quiet> {
    let mut all = Vec::new();
    let mut end = until;
    let mut stable = app.stable;
    for rollout in rollouts {
        let ended = rollout.ended_at.unwrap_or(until);
        let since = time::after(ended, SETTLED_AFTER).max(from);
        all.extend(between(since, end, stable, rollouts));
        end = rollout.created_at.min(end);
        stable = rollout.stable;
        if end <= from {
            break;
        }
    }
    // Before the first rollout nothing of this app was there that is known.
    all.reverse();
    all
}

fn between(
    from: Timestamp,
    until: Timestamp,
    stable: Option<Revision>,
    rollouts: &[Rollout],
) -> Option<Quiet> {
    let stable = stable.filter(|_| from < until)?;
    let instances = rollouts.iter().flat_map(|it| seen(it, stable));
    Some(Quiet {
        from,
        until,
        stable,
        instances: instances.map(|it| (it, Role::Stable)).collect(),
    })
}

/// The instances of a revision that a rollout's gates have seen.
fn seen(rollout: &Rollout, revision: Revision) -> impl Iterator<Item = String> {
    let role = match (
        rollout.candidate == revision,
        rollout.stable == Some(revision),
    ) {
        (true, _) => Some(Role::Candidate),
        (false, true) => Some(Role::Stable),
        (false, false) => None,
    };
    let counting = rollout.gates.counting.values();
    counting
        .flat_map(|it| it.instances())
        .filter(move |(_, its)| Some(*its) == role)
        .map(|(name, _)| name.to_owned())
}

/// Whether its candidate had some of the traffic.
pub(super) fn had_traffic(rollout: &Rollout) -> bool {
    rollout.stable.is_some()
        && !rollout.gates.shares.is_empty()
        && !matches!(rollout.phase, Phase::Pending | Phase::Cancelled)
}
