//! Reading the world for one pass: instances from the workload drivers, shares from the router.

use std::{collections::BTreeMap, time::Duration};

use drivers::{AppKey, Cx, DriverError, TrafficConfig, WorkloadConfig, workload::RevisionSpec};
use jiff::Timestamp;
use rollout::{
    Fact, Revision,
    observation::{ObservedRoutes, RevisionStatus},
};
use store::RevisionRow;

use crate::app_file::AppFile;

/// How long reading one part of the world may take; a driver's own deadlines are shorter.
const DEADLINE: Duration = Duration::from_secs(3);

/// How to run each of `rows`. `file` is the app file of `revision`, which was read already; a row
/// whose file cannot be read any more is left out.
pub(crate) fn specs(rows: &[RevisionRow], revision: Revision, file: &AppFile) -> Vec<RevisionSpec> {
    let spec = |row: &RevisionRow| {
        let workload = match row.revision == revision {
            true => file.bindings.workload.clone(),
            false => AppFile::read(&row.document).ok()?.bindings.workload,
        };
        Some(RevisionSpec {
            revision: row.revision,
            artifact: row.artifact.clone(),
            content: row.content.clone(),
            workload,
        })
    };
    rows.iter().filter_map(spec).collect()
}

/// Revisions grouped by the kind of workload they were made for; an app that moves from one kind
/// to another has two for the time of one rollout.
pub(crate) fn by_kind(specs: &[RevisionSpec]) -> Vec<(&WorkloadConfig, Vec<RevisionSpec>)> {
    let mut groups: Vec<(&WorkloadConfig, Vec<RevisionSpec>)> = Vec::new();
    for spec in specs {
        let kind = std::mem::discriminant(&spec.workload);
        match groups
            .iter_mut()
            .find(|(it, _)| std::mem::discriminant(*it) == kind)
        {
            Some((_, group)) => group.push(spec.clone()),
            None => groups.push((&spec.workload, vec![spec.clone()])),
        }
    }
    groups
}

/// What exists of the app's revisions.
pub(crate) async fn workload(
    cx: &Cx,
    app: &AppKey,
    specs: &[RevisionSpec],
    whole: u32,
) -> Result<BTreeMap<Revision, RevisionStatus>, DriverError> {
    let mut all = BTreeMap::new();
    for (config, group) in by_kind(specs) {
        all.extend(config.driver().observe(cx, app, &group, whole).await?);
    }
    Ok(all)
}

/// Both parts of the world, at the same time.
pub(crate) async fn world(
    cx: &Cx,
    app: &AppKey,
    specs: &[RevisionSpec],
    whole: u32,
    traffic: &TrafficConfig,
) -> (
    Fact<BTreeMap<Revision, RevisionStatus>>,
    Fact<ObservedRoutes>,
) {
    let instances = tokio::time::timeout(DEADLINE, workload(cx, app, specs, whole));
    let routes = tokio::time::timeout(DEADLINE, traffic.driver().observe(cx, app));
    let (instances, routes) = tokio::join!(instances, routes);
    (fact(instances), fact(routes))
}

fn fact<T>(read: Result<Result<T, DriverError>, tokio::time::error::Elapsed>) -> Fact<T> {
    match read {
        Ok(Ok(value)) => Fact::Known {
            value,
            observed_at: Timestamp::now(),
        },
        Ok(Err(error)) => Fact::Unknown {
            why: error.to_string(),
        },
        Err(_) => Fact::Unknown {
            why: format!("no answer within {} s", DEADLINE.as_secs()),
        },
    }
}
