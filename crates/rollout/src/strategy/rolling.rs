//! Rolling: instances are replaced batch by batch, with Kubernetes' two limits.

use serde::{Deserialize, Serialize};

use super::GateStep;
use crate::document::Reader;

/// A rolling update as users write it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rolling {
    /// Instances beyond the app's replicas; a percentage is rounded up, as Kubernetes does.
    pub max_surge: Count,
    /// Replicas that may be missing; a percentage is rounded down, as Kubernetes does.
    pub max_unavailable: Count,
    /// Gates that must hold after each batch.
    pub gate: Option<GateStep>,
}

/// A number of instances, absolute or as a share of the app's replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Count {
    /// So many.
    Instances(u32),
    /// This percentage of the replicas.
    Percent(u32),
}

impl Count {
    /// Of `replicas`, rounded up.
    pub fn up(self, replicas: u32) -> u32 {
        match self {
            Self::Instances(count) => count,
            Self::Percent(percent) => scaled(replicas, percent).div_ceil(100) as u32,
        }
    }

    /// Of `replicas`, rounded down.
    pub fn down(self, replicas: u32) -> u32 {
        match self {
            Self::Instances(count) => count,
            Self::Percent(percent) => (scaled(replicas, percent) / 100) as u32,
        }
    }

    /// Whether it is none, of however many.
    pub fn is_zero(self) -> bool {
        matches!(self, Self::Instances(0) | Self::Percent(0))
    }

    pub(super) fn read(reader: &Reader<'_>) -> Option<Self> {
        let Some(text) = reader.value().as_str() else {
            return reader.whole(0, 10_000).map(Self::Instances);
        };
        let percent = text
            .strip_suffix('%')
            .and_then(|it| it.trim().parse::<u32>().ok());
        match percent {
            Some(percent) if percent <= 100 => Some(Self::Percent(percent)),
            Some(_) | None => reader.problem(format!(
                "\"{text}\" is not a number of instances or a percentage such as 25%"
            )),
        }
    }
}

/// Up to 100 % of `replicas`, times 100; fits by the widening.
fn scaled(replicas: u32, percent: u32) -> u64 {
    u64::from(replicas) * u64::from(percent.min(100))
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Instances(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl Rolling {
    pub(super) fn read(reader: &Reader<'_>, gates: &[String]) -> Option<Self> {
        let (surge, unavailable) = (Count::Percent(25), Count::Percent(25));
        if reader.value().is_null() {
            return Some(Self {
                max_surge: surge,
                max_unavailable: unavailable,
                gate: None,
            });
        }
        let it = reader.object(&["maxSurge", "maxUnavailable", "gate"])?;
        let max_surge = it.or("maxSurge", surge, Count::read);
        let max_unavailable = it.or("maxUnavailable", unavailable, Count::read);
        let gate = it.optional("gate", |it| GateStep::read(it, gates));
        let (max_surge, max_unavailable) = (max_surge?, max_unavailable?);
        if max_surge.is_zero() && max_unavailable.is_zero() {
            return it.problem("maxSurge and maxUnavailable cannot both be 0: nothing could move");
        }
        Some(Self {
            max_surge,
            max_unavailable,
            gate: gate?,
        })
    }
}
