//! Weights for worlds as they are, and bounds on their error for many more.

use proptest::prelude::*;

use super::*;

use InstanceState::{Draining, Exited, NotReady, Ready, Starting};

fn routes(revisions: &[(u32, u32, &[InstanceState])]) -> Routes {
    let mut routes = Routes::default();
    for (revision, hundredths, states) in revisions {
        let instance = |(at, state): (usize, &InstanceState)| Instance {
            name: format!("r{revision}-{}", at + 1),
            address: Some(format!("127.0.0.1:{}", 9000 + revision * 100 + at as u32)),
            state: *state,
            restarts: 0,
        };
        let instances = states.iter().enumerate().map(instance).collect();
        routes.instances.insert(Revision(*revision), instances);
        if *hundredths > 0 {
            routes
                .weights
                .insert(Revision(*revision), Weight::from_hundredths(*hundredths));
        }
    }
    routes
}

/// `r1-1=19 r1-2=drain … → r1 95 %` on one line.
fn shown(routes: &Routes) -> String {
    let server = |it: &DesiredServer| match it.state {
        DesiredState::Ready => format!("{}={}", it.name, it.weight),
        DesiredState::Drain => format!("{}=drain", it.name),
    };
    let servers: Vec<String> = desired(routes).iter().map(server).collect();
    let given = given(routes);
    let given: Vec<String> = given
        .iter()
        .map(|(it, weight)| format!("{it} {weight}"))
        .collect();
    format!("{} → {}", servers.join(" "), given.join(", "))
}

#[test]
fn weights_for_worlds_as_they_are() {
    let r3: &[InstanceState] = &[Ready, Ready, Ready];
    let worlds = [
        ("steady", routes(&[(1, 10_000, r3)])),
        (
            "5 % of one beside three",
            routes(&[(1, 9500, r3), (2, 500, &[Ready])]),
        ),
        ("25 %", routes(&[(1, 7500, r3), (2, 2500, r3)])),
        ("50 %", routes(&[(1, 5000, r3), (2, 5000, &[Ready, Ready])])),
        ("all", routes(&[(1, 0, r3), (2, 10_000, r3)])),
        (
            "0.01 %, less than weights can give",
            routes(&[(1, 9999, r3), (2, 1, r3)]),
        ),
        ("33.33 %", routes(&[(1, 6667, r3), (2, 3333, &[Ready])])),
        (
            "five beside one, most stay idle",
            routes(&[(1, 9950, &[Ready]), (2, 50, &[Ready; 5])]),
        ),
        (
            "starting",
            routes(&[(1, 10_000, r3), (2, 0, &[Starting, Ready])]),
        ),
        (
            "one not ready",
            routes(&[(1, 9500, &[Ready, NotReady, Ready]), (2, 500, &[Ready])]),
        ),
        (
            "candidate not ready",
            routes(&[(1, 5000, r3), (2, 5000, &[NotReady, Starting])]),
        ),
        (
            "nothing ready",
            routes(&[(1, 9500, &[NotReady, NotReady]), (2, 500, &[Starting])]),
        ),
        (
            "draining and ended",
            routes(&[(1, 10_000, &[Ready, Draining, Exited])]),
        ),
        ("nothing asked", routes(&[(1, 0, r3)])),
    ];
    let lines: Vec<String> = worlds
        .iter()
        .map(|(name, it)| format!("{name}: {}", shown(it)))
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}

proptest! {
    /// With at most as many candidate instances as stable ones the share is within the tolerance.
    #[test]
    fn two_revisions_are_within_the_tolerance(
        stable in 1_usize..=100, part in 0.01_f64..=1.0, hundredths in 1_u32..10_000,
    ) {
        let candidate = ((stable as f64 * part).ceil() as usize).max(1);
        // The capacity rule: no more than its instances can carry of the app's replicas.
        let capacity = (10_000 * candidate / stable) as u32;
        let hundredths = hundredths.min(capacity.clamp(1, 9_999));
        let routes = routes(&[
            (1, 10_000 - hundredths, &vec![Ready; stable]),
            (2, hundredths, &vec![Ready; candidate]),
        ]);
        let given = given(&routes);
        let off = given[&Revision(2)].distance(Weight::from_hundredths(hundredths));
        prop_assert!(off <= super::super::tolerance(), "{off} off: {given:?}");
    }

    /// Any world: weights in range, zero where nothing is asked, nothing but ready instances carries.
    #[test]
    fn any_world_gets_legal_weights(
        counts in proptest::collection::vec((0_usize..12, 0_usize..4, 0_u32..4000), 1..5),
    ) {
        let world: Vec<(u32, u32, Vec<InstanceState>)> = (1_u32..).zip(&counts).map(|(revision, (ready, starting, asked))| {
            let mut states = vec![Ready; *ready];
            states.extend(vec![Starting; *starting]);
            (revision, *asked, states)
        }).collect();
        let world: Vec<(u32, u32, &[InstanceState])> =
            world.iter().map(|(revision, asked, states)| (*revision, *asked, states.as_slice())).collect();
        let routes = routes(&world);
        let servers = desired(&routes);
        for server in &servers {
            let asked = routes.weights.contains_key(&server.revision);
            let instances = &routes.instances[&server.revision];
            let ready = instances.iter().any(|it| it.name == server.name && it.state == Ready);
            prop_assert!(server.weight <= 256);
            prop_assert!(server.weight == 0 || (asked && ready), "{server:?}");
        }
        for (revision, instances) in &routes.instances {
            let can = routes.weights.contains_key(revision) && instances.iter().any(|it| it.state == Ready);
            let carries = servers.iter().any(|it| it.revision == *revision && it.weight > 0);
            prop_assert_eq!(can, carries, "r{} {:?}", revision, servers);
        }
        let given = given(&routes);
        let sum: u32 = given.values().map(|it| it.hundredths()).sum();
        prop_assert!(given.is_empty() || sum == 10_000, "{given:?}");
    }
}
