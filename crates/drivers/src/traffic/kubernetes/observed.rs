//! What traffic each revision really gets, from the weights of a route and the endpoints behind its
//! Services.

use std::collections::{BTreeMap, BTreeSet};

use rollout::{Revision, Weight, observation::ObservedRoutes};

use super::endpoints::Endpoints;
use crate::traffic::shares::shares_of;

/// One backend of a route: a weight, and what is behind it.
#[derive(Debug, Clone, Copy)]
pub(in crate::traffic) struct Weighted<'a> {
    /// Its share of what the app's backends have.
    pub(in crate::traffic) share: Weight,
    /// The endpoints of its Service.
    pub(in crate::traffic) endpoints: &'a Endpoints,
    /// It may get requests past the route, whatever its share.
    pub(in crate::traffic) open: bool,
}

/// The routes that `backends` make. A backend's share goes to its ready endpoints alike; one
/// without any has no share to give, whatever its weight says.
pub(in crate::traffic) fn observed(
    backends: &[Weighted<'_>],
    tolerance: Weight,
    mut foreign: Vec<String>,
) -> ObservedRoutes {
    let serving: Vec<(u64, BTreeMap<Revision, u32>)> = backends
        .iter()
        .filter(|it| it.share > Weight::ZERO)
        .map(|it| (u64::from(it.share.hundredths()), it.endpoints.ready()))
        .filter(|(_, ready)| !ready.is_empty())
        .collect();
    let count =
        |ready: &BTreeMap<Revision, u32>| ready.values().map(|it| u64::from(*it)).sum::<u64>();
    // One denominator for all, so that parts can be added.
    let whole: u64 = serving.iter().map(|(_, ready)| count(ready)).product();
    let mut parts = BTreeMap::new();
    for (share, ready) in &serving {
        let each = share.saturating_mul(whole / count(ready).max(1));
        for (revision, endpoints) in ready {
            *parts.entry(*revision).or_default() += each.saturating_mul(u64::from(*endpoints));
        }
    }
    let used = backends
        .iter()
        .filter(|it| it.open || it.share > Weight::ZERO);
    let in_use: BTreeSet<&str> = used.clone().flat_map(|it| it.endpoints.names()).collect();
    let strangers: BTreeSet<String> = used.flat_map(|it| it.endpoints.strangers()).collect();
    foreign.extend(strangers);
    ObservedRoutes {
        shares: shares_of(&parts),
        tolerance,
        in_use: in_use.into_iter().map(str::to_owned).collect(),
        foreign,
        rules: BTreeSet::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::endpoints::Endpoint, *};

    fn endpoints(pods: &[(&str, Option<u32>, bool)]) -> Endpoints {
        let pod = |(name, revision, ready): &(&str, Option<u32>, bool)| {
            let revision = revision.map(Revision);
            (
                (*name).to_owned(),
                Endpoint {
                    revision,
                    ready: *ready,
                },
            )
        };
        Endpoints {
            pods: pods.iter().map(pod).collect(),
            ..Endpoints::default()
        }
    }

    fn check(backends: &[(u32, &Endpoints)], shares: &[(u32, u32)], in_use: &[&str]) {
        let own = backends.iter().enumerate();
        let backends: Vec<Weighted<'_>> = own
            .map(|(at, (percent, endpoints))| Weighted {
                share: Weight::from_hundredths(percent * 100),
                endpoints,
                open: at == 0,
            })
            .collect();
        let routes = observed(&backends, Weight::ZERO, Vec::new());
        let expected = shares
            .iter()
            .map(|(it, hundredths)| (Revision(*it), Weight::from_hundredths(*hundredths)));
        assert_eq!(routes.shares, expected.collect(), "{backends:?}");
        assert_eq!(routes.in_use, in_use, "{backends:?}");
    }

    #[test]
    fn shares_are_what_ready_endpoints_get() {
        let one = endpoints(&[
            ("a-1", Some(1), true),
            ("a-2", Some(1), true),
            ("a-3", Some(1), false),
        ]);
        let two = endpoints(&[("b-1", Some(2), true)]);
        let none = endpoints(&[("c-1", Some(2), false)]);
        let mixed = endpoints(&[
            ("a-1", Some(1), true),
            ("a-2", Some(1), true),
            ("b-1", Some(2), true),
        ]);
        check(
            &[(75, &one), (25, &two)],
            &[(1, 7500), (2, 2500)],
            &["a-1", "a-2", "b-1"],
        );
        check(
            &[(0, &one), (100, &two)],
            &[(2, 10000)],
            &["a-1", "a-2", "b-1"],
        );
        check(&[(100, &one), (0, &two)], &[(1, 10000)], &["a-1", "a-2"]);
        // A weight on nobody is no share.
        check(&[(75, &one), (25, &none)], &[(1, 10000)], &["a-1", "a-2"]);
        check(&[(0, &one), (100, &none)], &[], &["a-1", "a-2"]);
        check(
            &[(100, &mixed)],
            &[(1, 6667), (2, 3333)],
            &["a-1", "a-2", "b-1"],
        );
        check(
            &[(50, &mixed), (50, &two)],
            &[(1, 3333), (2, 6667)],
            &["a-1", "a-2", "b-1"],
        );
    }

    #[test]
    fn pods_that_are_not_the_apps_are_named_and_have_no_share() {
        let mixed = endpoints(&[("a-1", Some(1), true), ("legacy-1", None, true)]);
        let backend = Weighted {
            share: Weight::ALL,
            endpoints: &mixed,
            open: true,
        };
        let routes = observed(&[backend], Weight::ZERO, vec!["other".to_owned()]);
        assert_eq!(routes.shares, BTreeMap::from([(Revision(1), Weight::ALL)]));
        assert_eq!(routes.foreign, ["other", "legacy-1"]);
    }
}
