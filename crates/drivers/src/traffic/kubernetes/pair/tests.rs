//! Two Services under controllers that lag: every history keeps the promises.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rollout::{Revision, Weight};

use super::*;

const R1: Revision = Revision(1);
const R2: Revision = Revision(2);

fn percent(it: u32) -> Weight {
    Weight::from_hundredths(it * 100)
}

fn routes(weights: &[(u32, u32)], present: &[u32]) -> Routes {
    Routes {
        weights: weights
            .iter()
            .map(|(it, share)| (Revision(*it), percent(*share)))
            .collect(),
        present: present.iter().map(|it| Revision(*it)).collect(),
        ..Routes::default()
    }
}

fn backend(selects: Selects, ready: &[(u32, u32)]) -> Backend {
    Backend {
        selects,
        shown: true,
        ready: ready.iter().map(|(it, n)| (Revision(*it), *n)).collect(),
        strangers: Vec::new(),
        settled: true,
    }
}

/// r1 serves alone, and nothing of ours is there.
fn at_rest() -> Seen {
    Seen {
        own: backend(Selects::Everything, &[(1, 3)]),
        candidate: None,
        split: Split {
            listed: Listed::Nowhere,
            candidate: Some(Weight::ZERO),
            accepted: true,
        },
        rules: BTreeMap::new(),
        spoilt: false,
        known: BTreeSet::from([R1, R2]),
        alive: BTreeSet::from([R1]),
    }
}

/// r1 has what r2 has not, and all moves were seen.
fn under_way(candidate: u32) -> Seen {
    Seen {
        own: backend(Selects::One(R1), &[(1, 3)]),
        candidate: Some(backend(Selects::One(R2), &[(2, 3)])),
        split: Split {
            listed: Listed::Everywhere,
            candidate: Some(percent(candidate)),
            accepted: true,
        },
        alive: BTreeSet::from([R1, R2]),
        ..at_rest()
    }
}

fn waits(seen: &Seen, routes: &Routes) -> (String, bool) {
    match next(seen, routes) {
        Next::Wait { until, fence } => (until, fence),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_users_service_is_narrowed_before_a_second_revision_has_pods() {
    let both = routes(&[(1, 100)], &[1, 2]);
    let mut seen = at_rest();
    assert_eq!(next(&seen, &routes(&[(1, 100)], &[1])), Next::Done);
    assert_eq!(
        next(&seen, &both),
        Next::Select(Slot::Own, Selects::One(R1))
    );
    seen.own.selects = Selects::One(R1);
    seen.own.shown = false;
    // A Service that nobody routes to yet can be made meanwhile, and be listed without a share.
    assert_eq!(next(&seen, &both), Next::Create(R2));
    seen.known = BTreeSet::from([R1]);
    let (until, fence) = waits(&seen, &both);
    assert!(fence && until.contains("EndpointSlices"), "{until}");
    seen.own.shown = true;
    assert_eq!(
        next(&seen, &both),
        Next::Done,
        "its pods have no hash yet, and may come"
    );
    seen.own.selects = Selects::Everything;
    seen.known.clear();
    assert!(waits(&seen, &both).1, "whom to narrow to is not known");
}

#[test]
fn pods_of_somebody_else_behind_the_service_are_not_taken_out_of_it() {
    let mut seen = at_rest();
    seen.own.strangers = vec!["legacy-1".to_owned()];
    let refused = next(&seen, &routes(&[(1, 100)], &[1, 2]));
    assert!(matches!(refused, Next::Refuse(why) if why.contains("legacy-1")));
    assert_eq!(next(&seen, &routes(&[(1, 100)], &[1])), Next::Done);
    seen.known.clear();
    assert!(
        waits(&seen, &routes(&[(1, 100)], &[1, 2])).1,
        "they may be the app's own: no ReplicaSet is marked yet"
    );
}

#[test]
fn a_share_follows_ready_endpoints_only() {
    let asked = routes(&[(1, 75), (2, 25)], &[1, 2]);
    let mut seen = under_way(0);
    seen.split.listed = Listed::Nowhere;
    assert_eq!(
        next(&seen, &asked),
        Next::Share(Weight::ZERO),
        "listed first"
    );
    seen.split = Split {
        listed: Listed::Everywhere,
        accepted: false,
        ..seen.split
    };
    assert!(waits(&seen, &asked).0.contains("accepted"));
    seen.split.accepted = true;
    assert_eq!(next(&seen, &asked), Next::Share(percent(25)));

    type Spoil = fn(&mut Backend);
    let unfit: [(&str, Spoil); 5] = [
        ("not ready", |it| it.ready.clear()),
        ("just ready", |it| it.settled = false),
        ("somebody else's", |it| it.selects = Selects::One(R1)),
        ("from an older selector", |it| it.shown = false),
        ("mixed", |it| it.ready = BTreeMap::from([(R1, 1), (R2, 1)])),
    ];
    for (what, spoil) in unfit {
        let mut seen = seen.clone();
        seen.candidate.iter_mut().for_each(spoil);
        let moved = next(&seen, &asked);
        assert!(
            !matches!(moved, Next::Share(it) if it > Weight::ZERO),
            "{what}: {moved:?}"
        );
    }
    // What has a share already keeps it while endpoints come and go, and loses it with the last.
    let mut seen = under_way(25);
    let settled = |seen: &mut Seen, ready: &[(u32, u32)]| {
        seen.candidate = Some(Backend {
            settled: false,
            ..backend(Selects::One(R2), ready)
        });
    };
    settled(&mut seen, &[(2, 1)]);
    assert_eq!(next(&seen, &asked), Next::Done);
    settled(&mut seen, &[]);
    assert_eq!(next(&seen, &asked), Next::Share(Weight::ZERO));
}

#[test]
fn an_abort_is_one_write_whatever_was_accepted() {
    let back = routes(&[(1, 100)], &[1, 2]);
    for accepted in [true, false] {
        let mut seen = under_way(50);
        seen.split.accepted = accepted;
        assert_eq!(next(&seen, &back), Next::Share(Weight::ZERO));
    }
    assert_eq!(next(&under_way(0), &back), Next::Done);
}

#[test]
fn nothing_moves_when_nobody_can_carry_it() {
    let mut seen = under_way(50);
    seen.own.ready.clear();
    seen.candidate.iter_mut().for_each(|it| it.ready.clear());
    for weights in [&[(1, 100)][..], &[(2, 100)], &[(1, 50), (2, 50)]] {
        let moved = next(&seen, &routes(weights, &[1, 2]));
        assert!(!matches!(moved, Next::Share(_)), "{moved:?}");
    }
}

#[test]
fn the_users_service_follows_to_the_revision_that_has_everything() {
    let all = routes(&[(2, 100)], &[1, 2]);
    let mut seen = under_way(100);
    seen.split.accepted = false;
    assert!(!waits(&seen, &all).1);
    seen.split.accepted = true;
    assert_eq!(next(&seen, &all), Next::Select(Slot::Own, Selects::One(R2)));
    seen.own = Backend {
        shown: false,
        ..backend(Selects::One(R2), &[(1, 3)])
    };
    assert!(waits(&seen, &all).0.contains("EndpointSlices"));
    seen.own = backend(Selects::One(R2), &[(2, 2)]);
    assert!(
        waits(&seen, &all).0.contains("all of r2"),
        "two of three: the candidate keeps it"
    );
    seen.own = Backend {
        settled: false,
        ..backend(Selects::One(R2), &[(2, 3)])
    };
    assert!(waits(&seen, &all).0.contains("all of r2"), "just ready");
    seen.own.settled = true;
    assert_eq!(next(&seen, &all), Next::Share(Weight::ZERO));
    seen.split = Split {
        candidate: Some(Weight::ZERO),
        ..seen.split
    };
    assert_eq!(
        next(&seen, &all),
        Next::Select(Slot::Candidate, Selects::One(R1))
    );
    seen.candidate = Some(backend(Selects::One(R1), &[(1, 3)]));
    assert_eq!(next(&seen, &all), Next::Done, "ready to go back");
    assert_eq!(
        next(&seen, &routes(&[(1, 100)], &[1, 2])),
        Next::Share(percent(100))
    );
}

#[test]
fn at_the_end_nothing_of_ours_is_left() {
    let end = routes(&[(2, 100)], &[2]);
    let mut seen = under_way(0);
    seen.own = backend(Selects::One(R2), &[(2, 3)]);
    seen.candidate = Some(backend(Selects::One(R1), &[]));
    assert_eq!(next(&seen, &end), Next::Done, "a pod of r1 is left");
    seen.alive = BTreeSet::from([R2]);
    assert_eq!(next(&seen, &end), Next::Unlist);
    seen.split = Split {
        listed: Listed::Nowhere,
        accepted: false,
        ..seen.split
    };
    assert!(matches!(next(&seen, &end), Next::Wait { fence: false, .. }));
    seen.split.accepted = true;
    assert_eq!(next(&seen, &end), Next::Delete);
    seen.candidate = None;
    assert_eq!(
        next(&seen, &end),
        Next::Select(Slot::Own, Selects::Everything)
    );
    seen.own = backend(Selects::Everything, &[(2, 3)]);
    assert_eq!(next(&seen, &end), Next::Done);
}

#[test]
fn what_was_taken_away_by_hand_is_put_back() {
    let asked = routes(&[(1, 75), (2, 25)], &[1, 2]);
    type Spoil = fn(&mut Seen);
    let cases: [(&str, Spoil, Next); 5] = [
        (
            "the candidate's Service",
            |it| it.candidate = None,
            Next::Create(R2),
        ),
        (
            "its place in one rule",
            |it| {
                it.split = Split {
                    listed: Listed::Somewhere,
                    candidate: None,
                    ..it.split
                }
            },
            Next::Share(percent(25)),
        ),
        (
            "its place in all rules",
            |it| {
                it.split = Split {
                    listed: Listed::Nowhere,
                    candidate: Some(Weight::ZERO),
                    ..it.split
                };
            },
            Next::Share(Weight::ZERO),
        ),
        (
            "the shares",
            |it| it.split.candidate = Some(percent(60)),
            Next::Share(percent(25)),
        ),
        (
            "the narrow selector",
            |it| it.own.selects = Selects::Everything,
            Next::Select(Slot::Own, Selects::One(R1)),
        ),
    ];
    for (what, spoil, mends) in cases {
        let mut seen = under_way(25);
        spoil(&mut seen);
        assert_eq!(next(&seen, &asked), mends, "{what}");
    }
}

#[test]
fn when_nobody_is_to_be_served_the_service_selects_nobody() {
    let none = routes(&[], &[1]);
    let mut seen = at_rest();
    assert_eq!(next(&seen, &none), Next::Select(Slot::Own, Selects::Nobody));
    seen.own = backend(Selects::Nobody, &[]);
    assert_eq!(next(&seen, &none), Next::Done);
    let again = routes(&[(2, 100)], &[2]);
    seen.alive = BTreeSet::from([R2]);
    assert_eq!(
        next(&seen, &again),
        Next::Select(Slot::Own, Selects::One(R2))
    );
}

#[test]
fn a_route_goes_to_the_candidate_before_it_has_a_share_and_leaves_before_anything_moves() {
    let rules = world::testers;
    let asked = Routes {
        rules: Some(crate::RulesTo {
            revision: R2,
            rules: rules(),
        }),
        ..routes(&[(1, 100)], &[1, 2])
    };
    let mut seen = under_way(0);
    seen.split.listed = Listed::Nowhere;
    assert_eq!(
        next(&seen, &asked),
        Next::Share(Weight::ZERO),
        "known first"
    );
    seen.split.listed = Listed::Everywhere;
    assert_eq!(next(&seen, &asked), Next::Rules(rules()));
    if let Some(candidate) = &mut seen.candidate {
        candidate.settled = false;
    }
    assert!(matches!(
        next(&seen, &asked),
        Next::Wait { fence: false, .. }
    ));
    seen.rules = rules();
    assert_eq!(
        next(&seen, &asked),
        Next::Done,
        "it has its requests already"
    );
    // All of the traffic: the user's Service follows, but first the route goes.
    let all = routes(&[(2, 100)], &[1, 2]);
    assert_eq!(next(&seen, &all), Next::Rules(BTreeMap::new()));
    seen.rules.clear();
    seen.candidate = Some(backend(Selects::One(R2), &[(2, 3)]));
    assert_eq!(next(&seen, &all), Next::Share(Weight::ALL));
}

mod world;

proptest! {
    /// Whatever the order in which the controllers and the data plane catch up, and whatever is
    /// asked meanwhile.
    #[test]
    fn no_request_goes_astray(turns in prop::collection::vec(any::<u8>(), 1..400)) {
        let mut world = world::World::new();
        for turn in turns {
            world.turn(turn);
        }
        world.comes_to_rest();
    }
}
