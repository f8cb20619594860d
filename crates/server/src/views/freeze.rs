//! A freeze window for the wire.

use api::{FreezeOnce, FreezeRecurring, FreezeRunning, FreezeView};
use jiff::Timestamp;
use rollout::Running;
use store::{FreezeRow, FreezeRule};

use crate::freezes;

/// A freeze window, as it stands at `now`. One that cannot be understood is on.
pub(crate) fn freeze_view(row: &FreezeRow, now: Timestamp) -> FreezeView {
    let (on, _) = freezes::on_now(std::slice::from_ref(row), now);
    let standing = freezes::standing(&row.rule, now).ok();
    let (recurring, once) = match &row.rule {
        FreezeRule::Recurring {
            cron,
            duration,
            time_zone,
        } => {
            let recurring = FreezeRecurring {
                cron: cron.clone(),
                duration: format!("{duration:#}"),
                time_zone: time_zone.clone(),
            };
            (Some(recurring), None)
        }
        FreezeRule::Once { from, until } => {
            let (from, until) = (*from, *until);
            (None, Some(FreezeOnce { from, until }))
        }
    };
    FreezeView {
        id: row.id,
        name: row.name.clone(),
        project: row.project.clone(),
        app: row.app.clone(),
        reason: row.reason.clone(),
        recurring,
        once,
        running: match row.running {
            Running::Hold => FreezeRunning::Hold,
            Running::Finish => FreezeRunning::Finish,
        },
        created_by: row.created_by.clone(),
        created_at: row.created_at,
        active: !on.is_empty(),
        until: on.first().map(|it| it.until),
        next: standing.and_then(|it| it.next),
    }
}
