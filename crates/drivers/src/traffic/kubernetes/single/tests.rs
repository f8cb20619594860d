//! One Service under controllers that lag.

use rollout::observation::Instance;

use super::*;

fn own(selects: Selects, ready: &[u32]) -> Backend {
    Backend {
        selects,
        shown: true,
        ready: ready.iter().map(|it| (Revision(*it), 2)).collect(),
        strangers: Vec::new(),
        settled: true,
    }
}

fn seen(selects: Selects, ready: &[u32], alive: &[u32]) -> Seen {
    Seen {
        own: own(selects, ready),
        known: BTreeSet::from([Revision(1), Revision(2)]),
        alive: alive.iter().map(|it| Revision(*it)).collect(),
    }
}

/// All of `present` with a ready pod, but `3`.
fn routes(weights: &[(u32, u32)], present: &[u32]) -> Routes {
    let pod = |revision: u32| Instance {
        name: format!("r{revision}"),
        address: None,
        state: InstanceState::Ready,
        restarts: 0,
    };
    let ready = present.iter().filter(|it| **it != 3);
    Routes {
        weights: weights
            .iter()
            .map(|(it, percent)| (Revision(*it), Weight::from_hundredths(percent * 100)))
            .collect(),
        present: present.iter().map(|it| Revision(*it)).collect(),
        instances: ready.map(|it| (Revision(*it), vec![pod(*it)])).collect(),
        ..Routes::default()
    }
}

const ALL: Selects = Selects::Everything;

fn one(revision: u32) -> Selects {
    Selects::One(Revision(revision))
}

fn select(selects: Selects) -> Next {
    Next::Select(Slot::Own, selects)
}

#[test]
fn a_service_goes_from_one_revision_to_the_other_and_back_to_its_own_selector() {
    let cases = [
        (seen(ALL, &[1], &[1]), routes(&[(1, 100)], &[1]), Next::Done),
        (
            seen(ALL, &[1], &[1]),
            routes(&[(1, 100)], &[1, 2]),
            select(one(1)),
        ),
        (
            seen(one(1), &[1], &[1]),
            routes(&[(1, 100)], &[1, 2]),
            Next::Done,
        ),
        (
            seen(one(1), &[1], &[1, 2]),
            routes(&[(2, 100)], &[1, 2]),
            select(one(2)),
        ),
        (
            seen(one(2), &[2], &[1, 2]),
            routes(&[(2, 100)], &[1, 2]),
            Next::Done,
        ),
        (
            seen(one(2), &[2], &[1, 2]),
            routes(&[(1, 100)], &[1, 2]),
            select(one(1)),
        ),
        (
            seen(one(2), &[2], &[1, 2]),
            routes(&[(2, 100)], &[2]),
            Next::Done,
        ),
        (
            seen(one(2), &[2], &[2]),
            routes(&[(2, 100)], &[2]),
            select(ALL),
        ),
        // Nobody is to have anything.
        (
            seen(ALL, &[1], &[1]),
            routes(&[], &[1]),
            select(Selects::Nobody),
        ),
        (
            seen(Selects::Nobody, &[], &[2]),
            routes(&[(2, 100)], &[2]),
            select(ALL),
        ),
        (seen(ALL, &[], &[]), routes(&[], &[]), Next::Done),
    ];
    for (seen, routes, expected) in cases {
        for shared in [false, true] {
            assert_eq!(
                next(&seen, &routes, shared),
                expected,
                "{seen:?} {routes:?}"
            );
        }
    }
}

#[test]
fn two_share_by_number_only_where_that_was_asked_for() {
    let both = routes(&[(1, 75), (2, 25)], &[1, 2]);
    let now = seen(one(1), &[1], &[1, 2]);
    assert!(matches!(next(&now, &both, false), Next::Refuse(_)));
    assert_eq!(next(&now, &both, true), select(ALL));
    assert_eq!(next(&seen(ALL, &[1, 2], &[1, 2]), &both, true), Next::Done);
    assert_eq!(
        next(
            &seen(ALL, &[1, 2], &[1, 2]),
            &routes(&[(2, 100)], &[1, 2]),
            true
        ),
        select(one(2))
    );
    let third = routes(&[(1, 75), (2, 25)], &[1, 2, 3]);
    assert!(
        matches!(next(&now, &third, true), Next::Wait { fence: false, until } if until.contains("r3"))
    );
    let open = seen(ALL, &[1, 2], &[1, 2]);
    assert!(matches!(
        next(&open, &third, true),
        Next::Wait { fence: true, .. }
    ));
}

#[test]
fn nothing_is_taken_from_who_serves_for_who_cannot() {
    let mut now = seen(one(1), &[1], &[1, 3]);
    now.known.insert(Revision(3));
    let to_three = routes(&[(3, 100)], &[1, 3]);
    assert!(matches!(
        next(&now, &to_three, false),
        Next::Wait { fence: false, .. }
    ));
    now.own.ready.clear();
    assert_eq!(
        next(&now, &to_three, false),
        select(one(3)),
        "there is nobody to take it from"
    );
    now = seen(ALL, &[1], &[1]);
    now.own.strangers.push("legacy-1".to_owned());
    let two = routes(&[(1, 100)], &[1, 2]);
    assert!(matches!(next(&now, &two, false), Next::Refuse(why) if why.contains("legacy-1")));
    // They may be the app's own: no ReplicaSet is marked yet.
    now.known.clear();
    assert!(matches!(
        next(&now, &two, false),
        Next::Wait { fence: true, .. }
    ));
}

#[test]
fn a_new_revision_waits_until_the_slices_follow() {
    let mut now = seen(one(1), &[1], &[1]);
    now.own.shown = false;
    let two = routes(&[(1, 100)], &[1, 2]);
    assert!(matches!(
        next(&now, &two, false),
        Next::Wait { fence: true, .. }
    ));
    let alone = seen(ALL, &[], &[1]);
    assert!(matches!(
        next(&alone, &routes(&[(1, 100)], &[1]), false),
        Next::Wait { fence: false, .. }
    ));
}
