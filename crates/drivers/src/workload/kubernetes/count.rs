//! Between what a plan counts and pods.
//!
//! A plan counts in the `whole` that it was made for; since then an autoscaler may have changed how
//! many pods the Deployment has (`live`). So counts are proportions: one of six is two of twelve.
//! Pods are rounded up and counts down: capacity is never claimed that is not there.

use std::fmt;

/// What a revision was told to have, as noted at its ReplicaSet: so many of a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scale {
    pub(super) count: u32,
    pub(super) whole: u32,
}

impl Scale {
    /// As it stands in the annotation: `2/6`.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (count, whole) = text.split_once('/')?;
        Some(Self {
            count: count.parse().ok()?,
            whole: whole.parse().ok()?,
        })
    }

    /// The pods that it is of `live` ones.
    pub(super) fn pods(self, live: u32) -> u32 {
        if self.whole == 0 {
            return live;
        }
        let pods = u64::from(self.count) * u64::from(live);
        u32::try_from(pods.div_ceil(u64::from(self.whole))).unwrap_or(u32::MAX)
    }

    /// The same share of another whole.
    pub(super) fn of(self, whole: u32) -> u32 {
        Self {
            count: self.count,
            whole: self.whole,
        }
        .pods(whole)
    }

    /// Whether it is the same share.
    pub(super) fn is_like(self, other: Self) -> bool {
        u64::from(self.count) * u64::from(other.whole)
            == u64::from(other.count) * u64::from(self.whole)
    }

    /// How many of `whole` the `pods` of `live` ones stand for, when this is what was asked: no
    /// fewer once as many are there as it takes.
    pub(super) fn counted(self, pods: u32, live: u32, whole: u32) -> u32 {
        let counted = floor(pods, live, whole);
        match pods >= self.pods(live) {
            true => counted.max(self.of(whole)),
            false => counted,
        }
    }

    /// As [`Scale::counted`], of pods that take up room: no more while there are no more than asked.
    pub(super) fn taken(self, pods: u32, live: u32, whole: u32) -> u32 {
        let asked = self.of(whole);
        match pods > self.pods(live) {
            true => floor(pods, live, whole).max(asked.saturating_add(1)),
            false => floor(pods, live, whole).min(asked),
        }
    }
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.whole)
    }
}

fn floor(pods: u32, live: u32, whole: u32) -> u32 {
    let counted = u64::from(pods) * u64::from(whole);
    let counted = counted.checked_div(u64::from(live)).unwrap_or(0);
    u32::try_from(counted).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_is_reached_and_never_before() {
        for whole in 1..=12 {
            for live in 1..=15 {
                for count in 0..=whole {
                    let scale = Scale { count, whole };
                    let pods = scale.pods(live);
                    assert!(pods <= live || count > whole);
                    assert!(scale.counted(pods, live, whole) >= count, "{scale} {live}");
                    assert_eq!(scale.taken(pods, live, whole), count, "{scale} {live}");
                    assert!(scale.taken(pods + 1, live, whole) > count, "{scale} {live}");
                    if pods > 0 {
                        let fewer = scale.counted(pods - 1, live, whole);
                        assert!(fewer < count, "{scale} {live}");
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_is_all_of_nothing() {
        let scale = Scale { count: 0, whole: 0 };
        assert_eq!(scale.pods(0), 0);
        assert_eq!(scale.counted(0, 0, 0), 0);
        assert_eq!(scale.taken(0, 0, 0), 0);
        assert_eq!(Scale::read("2/6"), Some(Scale { count: 2, whole: 6 }));
        assert_eq!(Scale::read("2"), None);
    }

    #[test]
    fn a_share_keeps_its_size_when_the_whole_changes() {
        let scale = Scale { count: 1, whole: 6 };
        assert_eq!(scale.pods(12), 2);
        assert_eq!(scale.of(12), 2);
        assert!(scale.is_like(Scale {
            count: 2,
            whole: 12
        }));
        assert!(!scale.is_like(Scale { count: 1, whole: 5 }));
    }
}
