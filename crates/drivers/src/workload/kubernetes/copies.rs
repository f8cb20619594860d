//! Which copies of ConfigMaps and Secrets are to be made, and which nobody needs any more.

use std::collections::BTreeSet;

use super::{
    configs::Copy,
    desired::{World, Write},
    runs::Run,
};
use crate::{DriverError, kubernetes::references::Reference, workload::WorkloadTarget};

/// The copies that are missing, as long as the originals hold what they are to hold. An error when
/// they do not, and pods are to be made that read them.
pub(super) fn missing(
    world: &World<'_>,
    target: &WorkloadTarget,
    runs: &[Run<'_>],
) -> Result<Vec<Write>, DriverError> {
    let mut missing: Vec<Copy> = Vec::new();
    for run in runs {
        for (of, digest) in run.configs.iter().flatten() {
            let (Some(digest), Some(name)) = (digest, run.copies.get(of)) else {
                continue;
            };
            let copy = Copy {
                of: of.clone(),
                name: name.clone(),
                digest: digest.clone(),
            };
            if world.found.copies.contains_key(&copy.reference()) || missing.contains(&copy) {
                continue;
            }
            let held = world.found.live.get(of).and_then(Option::as_ref);
            if held == Some(digest) {
                missing.push(copy);
            } else if run.set.is_none() && target.scales.contains_key(&run.revision) {
                return Err(lost(world, run, of));
            }
        }
    }
    Ok(missing.into_iter().map(Write::Copy).collect())
}

/// The copies that neither a revision that is known nor a ReplicaSet names. The Deployment's
/// `revisionHistoryLimit` says how many of those are kept.
pub(super) fn surplus(world: &World<'_>, runs: &[Run<'_>]) -> Vec<Write> {
    let sets = world.sets.iter().flat_map(|it| &it.copies);
    let known = runs.iter().flat_map(|it| &it.copies);
    let named = sets.chain(known).map(|(of, name)| Reference {
        kind: of.kind,
        name: name.clone(),
    });
    let named: BTreeSet<Reference> = named.collect();
    let all = world.found.copies.keys();
    let surplus = all.filter(|it| !named.contains(it)).cloned();
    surplus.map(Write::Forget).collect()
}

fn lost(world: &World<'_>, run: &Run<'_>, of: &Reference) -> DriverError {
    DriverError::permanent(
        format!("run {}", run.revision),
        format!(
            "{of} of namespace {} does not hold any more what it held when that revision was made, and there is no copy: deploy again",
            world.deployment.object.namespace
        ),
    )
}
