//! Addresses that somebody else runs: a blue pool, a green pool. Only traffic moves.
//!
//! An artifact is the name of a pool. Nothing is started or stopped here; `ensure` only notes how
//! many instances each revision was told to have.
//!
//! Pools may differ in size, while a plan counts in replicas ([`Workload::replicas`] is the size
//! of the largest pool). So counts are given in replicas, not in addresses: a pool of two whose
//! addresses are both ready counts as all four replicas when the largest pool has four, and with
//! one of the two ready as two. Rounding is down, so capacity is never claimed that is not there;
//! `instances` always lists the real addresses.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use futures::future::join_all;
use rollout::{
    Revision,
    document::{Reader, is_name},
    observation::{Instance, InstanceProblem, InstanceState, ProblemKind, RevisionStatus},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    ResolvedArtifact, RevisionSpec, Workload, WorkloadConfig, WorkloadTarget,
    probe::{Probe, Seen},
    process::PROBE_FAILING_AFTER,
};
use crate::{AppKey, Cx, DriverError};

/// Most addresses a pool may have: each is probed, and each is a server in the router.
const ADDRESSES_MAX: usize = 100;

/// Pools of addresses that somebody else runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Static {
    /// Addresses (`host:port`) by pool name.
    pub pools: BTreeMap<String, Vec<String>>,
    /// How an address is asked whether it can take traffic; a TCP connect without a path.
    pub ready: Probe,
}

impl Static {
    /// Reads the settings, noting every problem.
    pub fn read(reader: &Reader<'_>) -> Option<Self> {
        let object = reader.object(&["pools", "ready"])?;
        let pools = object.required("pools", read_pools);
        let ready = object.or("ready", Probe::of(None), |it| Probe::read(it, None));
        Some(Self {
            pools: pools?,
            ready: ready?,
        })
    }

    /// The size of the largest pool: what replicas are counted in.
    fn largest(&self) -> u32 {
        let largest = self.pools.values().map(Vec::len).max().unwrap_or_default();
        u32::try_from(largest).unwrap_or(u32::MAX)
    }

    fn known_pools(&self) -> String {
        self.pools
            .keys()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// The status of one revision that was told to have `scale` replicas (`None`: never told).
    async fn status(
        &self,
        cx: &Cx,
        app: &AppKey,
        spec: &RevisionSpec,
        scale: Option<u32>,
    ) -> RevisionStatus {
        let addresses = self
            .pools
            .get(&spec.artifact)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let replicas = self.largest();
        let asked = scale.unwrap_or(replicas).min(replicas);
        let used = addresses_for(asked, replicas, addresses.len());
        let looks = addresses
            .iter()
            .take(used)
            .map(|address| cx.probes.look(app, address, &self.ready));
        let seen = join_all(looks).await;
        let ready = seen.iter().filter(|it| **it == Seen::Ready).count();
        let mut status = RevisionStatus {
            desired: scale.unwrap_or(0),
            total: replicas_of(used, replicas, addresses.len()).min(asked),
            ready: replicas_of(ready, replicas, addresses.len()).min(asked),
            ..RevisionStatus::default()
        };
        if addresses.is_empty() && asked > 0 {
            let detail = format!(
                "pool \"{}\" is not in the app file any more; known: {}",
                spec.artifact,
                self.known_pools()
            );
            let kind = ProblemKind::ArtifactMissing;
            status.problems.push(InstanceProblem {
                kind,
                instance: None,
                detail,
            });
        }
        for (index, (address, seen)) in addresses.iter().zip(&seen).enumerate() {
            let name = format!("{}-{}", spec.revision, index + 1);
            let state = match seen {
                Seen::Nothing => InstanceState::Starting,
                Seen::Ready => InstanceState::Ready,
                Seen::Failing(why, since) => {
                    if since.elapsed() > PROBE_FAILING_AFTER {
                        let kind = ProblemKind::ProbeFailing;
                        let instance = Some(name.clone());
                        let detail = format!("{name} is not ready: {why}");
                        status.problems.push(InstanceProblem {
                            kind,
                            instance,
                            detail,
                        });
                    }
                    InstanceState::NotReady
                }
            };
            let address = Some(address.clone());
            status.instances.push(Instance {
                name,
                address,
                state,
                restarts: 0,
            });
        }
        status
    }
}

/// How many of a pool's `size` addresses stand for `scale` of `replicas`: as many as it takes,
/// rounded up.
fn addresses_for(scale: u32, replicas: u32, size: usize) -> usize {
    let wanted = u64::from(scale) * size as u64;
    usize::try_from(wanted.div_ceil(u64::from(replicas.max(1))))
        .unwrap_or(size)
        .min(size)
}

/// How many replicas `count` of a pool's `size` addresses stand for, rounded down.
fn replicas_of(count: usize, replicas: u32, size: usize) -> u32 {
    let share = count as u64 * u64::from(replicas) / (size as u64).max(1);
    u32::try_from(share).unwrap_or(replicas)
}

fn read_pools(reader: &Reader<'_>) -> Option<BTreeMap<String, Vec<String>>> {
    let pools = reader.entries(|name, addresses| {
        if !is_name(name) {
            return addresses.problem(format!(
                "\"{name}\" is not a name for a pool: 1 to 63 of a-z, 0-9 and '-', beginning with a letter"
            ));
        }
        let read = addresses.each(read_address)?;
        match read.len() {
            0 => addresses.problem("give at least one address, such as 127.0.0.1:9001"),
            1..=ADDRESSES_MAX => Some((name.to_owned(), read)),
            _ => addresses.problem(format!("at most {ADDRESSES_MAX} addresses fit in a pool")),
        }
    })?;
    if pools.is_empty() {
        return reader.problem("give at least one pool, e.g. blue: [\"127.0.0.1:9001\"]");
    }
    let mut all = BTreeSet::new();
    let twice: Vec<&str> = pools
        .iter()
        .flat_map(|(_, it)| it)
        .filter(|it| !all.insert(*it))
        .map(String::as_str)
        .collect();
    if !twice.is_empty() {
        return reader.problem(format!("{} stands here more than once", twice.join(", ")));
    }
    Some(pools.into_iter().collect())
}

fn read_address(reader: &Reader<'_>) -> Option<String> {
    let address = reader.text()?;
    let parts = address.rsplit_once(':');
    let host = |it: &str| {
        let plain = it
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
        let ipv6 = it.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
        (!it.is_empty() && plain) || ipv6.is_some_and(|it| it.parse::<std::net::Ipv6Addr>().is_ok())
    };
    match parts {
        Some((name, port)) if host(name) && port.parse::<u16>().is_ok_and(|it| it > 0) => {
            Some(address)
        }
        Some(_) | None => reader.problem(format!(
            "\"{address}\" is not an address such as 127.0.0.1:9001"
        )),
    }
}

#[async_trait]
impl Workload for Static {
    async fn replicas(&self, _: &Cx, _: &AppKey) -> Result<u32, DriverError> {
        Ok(self.largest())
    }

    async fn resolve(
        &self,
        _: &Cx,
        _: &AppKey,
        artifact: &str,
        _: Option<&Value>,
    ) -> Result<ResolvedArtifact, String> {
        if self.pools.contains_key(artifact) {
            return Ok(ResolvedArtifact {
                artifact: artifact.to_owned(),
                digest: None,
                content: None,
            });
        }
        let known = self.known_pools();
        Err(format!(
            "\"{artifact}\" is not a pool of this app; give one of {known}"
        ))
    }

    async fn observe(
        &self,
        cx: &Cx,
        app: &AppKey,
        revisions: &[RevisionSpec],
        _: u32,
    ) -> Result<BTreeMap<Revision, RevisionStatus>, DriverError> {
        let scales = cx.probes.scales(app);
        let statuses = revisions.iter().map(async |spec| {
            let scale = scales
                .as_ref()
                .map(|it| it.get(&spec.revision).copied().unwrap_or(0));
            if scale == Some(0) {
                return None;
            }
            // A revision keeps the pools it was made with.
            let status = match &spec.workload {
                WorkloadConfig::Static(own) => own.status(cx, app, spec, scale).await,
                WorkloadConfig::Process(_) | WorkloadConfig::Kubernetes(_) => return None,
            };
            Some((spec.revision, status))
        });
        Ok(join_all(statuses).await.into_iter().flatten().collect())
    }

    async fn ensure(
        &self,
        cx: &Cx,
        app: &AppKey,
        target: &WorkloadTarget,
    ) -> Result<(), DriverError> {
        // What is observed follows from it, on a replica that took the app over as well: it may
        // remember the scales of a rollout that another one has finished.
        if cx.probes.set_scales(app, target.scales.clone()) {
            cx.wake.wake(app);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_and_addresses_convert_without_claiming_too_much() {
        for (size, replicas) in [(1, 4), (2, 4), (3, 4), (4, 4), (3, 7), (7, 7)] {
            for scale in 0..=replicas {
                let used = addresses_for(scale, replicas, size);
                assert!(used <= size);
                assert!(
                    replicas_of(used, replicas, size) >= scale,
                    "{size} {replicas} {scale}"
                );
            }
            assert_eq!(
                replicas_of(size, replicas, size),
                replicas,
                "a whole pool is all replicas"
            );
            assert!(
                replicas_of(size - 1, replicas, size) < replicas,
                "less than a pool is less"
            );
        }
    }
}
