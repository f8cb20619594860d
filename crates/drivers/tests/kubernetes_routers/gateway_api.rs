//! The `gatewayApi` router.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use drivers::RulesTo;
use local::{
    kubernetes::gateway::{Behaviour, GatewayStub},
    wait,
};
use rollout::{HeaderMatch, Revision, RouteRule, ValueMatch, Weight};
use serde_json::{Value, json};

use crate::{
    rig::{Plane, SOON},
    shop::{Shop, bare},
    states::{self, World},
};

const ROUTE: &str = "/apis/gateway.networking.k8s.io/v1/*/httproutes/checkout";
const ROUTES: &str = "/apis/gateway.networking.k8s.io/v1/*/httproutes";

/// A route with two rules that concern the app, one of them shared with somebody else, and one that
/// does not; with fields that Sluice knows nothing of.
fn route() -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": { "name": "checkout", "annotations": { "team": "shop" } },
        "spec": {
            "parentRefs": [{ "name": "gw" }],
            "hostnames": ["shop.example.org"],
            "rules": [
                { "backendRefs": [{ "name": "checkout", "port": 80,
                    "filters": [{ "type": "RequestHeaderModifier", "requestHeaderModifier": { "set": [{ "name": "x", "value": "y" }] } }] }],
                  "timeouts": { "request": "10s" } },
                { "matches": [{ "path": { "type": "PathPrefix", "value": "/api" } }],
                  "backendRefs": [{ "name": "legacy", "port": 80, "weight": 100 }, { "name": "checkout", "port": 80, "weight": 300 }] },
                { "matches": [{ "path": { "type": "PathPrefix", "value": "/search" } }],
                  "backendRefs": [{ "name": "search", "port": 80 }] },
            ],
        },
    })
}

async fn open(behaviour: Behaviour) -> (Shop, GatewayStub) {
    let plane = Plane::shared().await;
    let router = json!({ "gatewayApi": { "httpRoute": "checkout", "service": "checkout" } });
    let shop = Shop::open(&plane, &[ROUTES], &router, &[(ROUTES, route())]).await;
    let stub = GatewayStub::start(&shop.plane.plane, &shop.namespace, behaviour).unwrap();
    (shop, stub)
}

fn entries(route: &Value, rule: usize) -> Vec<(String, u64)> {
    let entries = route["spec"]["rules"][rule]["backendRefs"]
        .as_array()
        .unwrap();
    let entry = |it: &Value| {
        (
            it["name"].as_str().unwrap().to_owned(),
            it["weight"].as_u64().unwrap(),
        )
    };
    entries.iter().map(entry).collect()
}

/// The Services of the app with a weight in any rule.
fn weighted(world: &World) -> BTreeSet<String> {
    let routes = world.iter().filter(|((kind, _), _)| kind == "httproutes");
    let all = routes.flat_map(|(_, it)| [entries(it, 0), entries(it, 1)].concat());
    let ours = all.filter(|(name, weight)| *weight > 0 && name.starts_with("checkout"));
    ours.map(|(name, _)| name).collect()
}

/// What holds at every instant beside what [`states::check`] looks at.
async fn check(shop: &Shop) {
    let events = shop.recording.so_far().await.unwrap();
    states::check(&events, &shop.allowed, weighted);
    let untouched = route();
    states::each(&events, |version, world| {
        for (_, route) in world.iter().filter(|((kind, _), _)| kind == "httproutes") {
            let ours = |rule| {
                let entries = entries(route, rule);
                entries
                    .into_iter()
                    .filter(|(it, _)| it.starts_with("checkout"))
                    .map(|(_, it)| it)
                    .sum::<u64>()
            };
            assert!([1, 10_000].contains(&ours(0)), "at {version}: {route:#}");
            assert_eq!(ours(1), 300, "at {version}: {route:#}");
            assert_eq!(
                entries(route, 1)[0],
                ("legacy".to_owned(), 100),
                "at {version}"
            );
            assert_eq!(
                route["spec"]["rules"][2]["matches"],
                untouched["spec"]["rules"][2]["matches"]
            );
            assert_eq!(entries(route, 2), [("search".to_owned(), 1)]);
            assert_eq!(
                route["spec"]["rules"][0]["timeouts"],
                untouched["spec"]["rules"][0]["timeouts"]
            );
            assert_eq!(route["spec"]["parentRefs"][0]["name"], "gw");
        }
    });
}

fn all(revision: u32) -> std::collections::BTreeMap<Revision, Weight> {
    [(Revision(revision), Weight::ALL)].into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_moves_every_request_and_leaves_nothing_behind() {
    let (mut shop, _stub) = open(Behaviour::accept()).await;
    let before = (
        shop.get(ROUTE).await.unwrap(),
        shop.service("checkout").await.unwrap(),
    );
    let at_rest = shop.settle().await;
    assert_eq!(at_rest.foreign, ["legacy"]);
    assert_eq!(at_rest.in_use.len(), 3);
    let now = shop.get(ROUTE).await.unwrap();
    assert_eq!(
        now["metadata"]["generation"], 1,
        "at rest nothing is written"
    );

    shop.bring(2, 3).await;
    assert_eq!(
        states::behind(&world(&shop).await, "checkout"),
        BTreeSet::from([1])
    );
    for percent in [5, 25, 50] {
        let seen = shop.roll(&[(1, 100 - percent), (2, percent)]).await;
        assert_eq!(seen.in_use.len(), 6);
        let route = shop.get(ROUTE).await.unwrap();
        let share = u64::from(percent);
        assert_eq!(
            entries(&route, 0),
            [
                ("checkout".to_owned(), (100 - share) * 100),
                ("checkout-candidate".to_owned(), share * 100),
            ]
        );
        assert_eq!(
            entries(&route, 1)[2],
            ("checkout-candidate".to_owned(), share * 3)
        );
    }
    let copy = shop.get(ROUTE).await.unwrap()["spec"]["rules"][0]["backendRefs"][1].clone();
    assert_eq!(
        copy["filters"],
        route()["spec"]["rules"][0]["backendRefs"][0]["filters"]
    );
    assert_eq!(copy["port"], 80);

    shop.roll(&[(2, 100)]).await;
    shop.end(1).await;
    shop.rest().await;
    assert_eq!(shop.settle().await.shares, all(2));
    let after = (
        shop.get(ROUTE).await.unwrap(),
        shop.service("checkout").await.unwrap(),
    );
    assert_eq!(bare(after.0), bare(before.0));
    assert_eq!(bare(after.1), bare(before.1));
    check(&shop).await;
}

/// The rules for r2, by name.
fn to_candidate(rules: &[(&str, RouteRule)]) -> RulesTo {
    let named = rules
        .iter()
        .map(|(name, it)| ((*name).to_owned(), it.clone()));
    RulesTo {
        revision: Revision(2),
        rules: named.collect(),
    }
}

/// Passes until the data plane has exactly the rules that are asked for.
async fn ruled(shop: &Shop) {
    let asked = shop.rules.iter().flat_map(|it| it.rules.keys());
    let asked: BTreeSet<String> = asked.cloned().collect();
    shop.until("the rules", async |pass| {
        pass.ensured.is_ok() && pass.observed.as_ref().is_ok_and(|it| it.rules == asked)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn testers_and_copies_reach_the_candidate_beside_its_share() {
    let (mut shop, _stub) = open(Behaviour::Accept {
        after: Duration::from_millis(150),
    })
    .await;
    let before = shop.get(ROUTE).await.unwrap();
    shop.settle().await;
    shop.bring(2, 1).await;
    let testers = RouteRule::Headers(vec![HeaderMatch {
        header: "X-Tester".to_owned(),
        value: ValueMatch::Exact("yes".to_owned()),
    }]);
    shop.rules = Some(to_candidate(&[("testers", testers.clone())]));
    shop.ask(&[(1, 100)]).await;
    ruled(&shop).await;
    let route = shop.get(ROUTE).await.unwrap();
    let rules = route["spec"]["rules"].as_array().unwrap();
    assert_eq!(rules.len(), 5, "{route:#}");
    for rule in &rules[3..] {
        let only = &rule["backendRefs"].as_array().unwrap()[..];
        assert!(matches!(only, [one] if one["name"] == "checkout-candidate"));
        let headers = &rule["matches"][0]["headers"];
        assert_eq!(headers[0]["name"], "X-Tester", "{rule:#}");
    }
    let seen = shop.settle().await;
    assert!(
        seen.in_use
            .iter()
            .any(|it| it.starts_with("checkout-hash2-")),
        "its pods may not be stopped: {seen:?}"
    );

    // Another kind beside it, then only that, while the share moves.
    let copies = RouteRule::Mirror(Weight::from_hundredths(5_000));
    shop.rules = Some(to_candidate(&[
        ("testers", testers),
        ("copies", copies.clone()),
    ]));
    ruled(&shop).await;
    shop.rules = Some(to_candidate(&[("copies", copies)]));
    shop.roll(&[(1, 75), (2, 25)]).await;
    ruled(&shop).await;
    let route = shop.get(ROUTE).await.unwrap();
    assert_eq!(route["spec"]["rules"].as_array().unwrap().len(), 3);
    let mirror = &route["spec"]["rules"][0]["filters"][0];
    assert_eq!(mirror["type"], "RequestMirror", "{route:#}");

    // What somebody takes out by hand comes back.
    let mut rules = route["spec"]["rules"].clone();
    rules[0].as_object_mut().unwrap().remove("filters");
    shop.merge(ROUTE, &json!({ "spec": { "rules": rules } }))
        .await;
    ruled(&shop).await;
    shop.rules = None;
    shop.roll(&[(1, 100)]).await;
    ruled(&shop).await;
    shop.end(2).await;
    shop.rest().await;
    assert_eq!(bare(shop.get(ROUTE).await.unwrap()), bare(before));
    check(&shop).await;
}

async fn world(shop: &Shop) -> World {
    let mut world = World::new();
    states::each(&shop.recording.so_far().await.unwrap(), |_, it| {
        world.clone_from(it)
    });
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_gives_everything_back() {
    let (mut shop, _stub) = open(Behaviour::Accept {
        after: Duration::from_millis(150),
    })
    .await;
    let before = (
        shop.get(ROUTE).await.unwrap(),
        shop.service("checkout").await.unwrap(),
    );
    shop.settle().await;
    shop.bring(2, 2).await;
    shop.roll(&[(1, 60), (2, 40)]).await;
    shop.roll(&[(1, 100)]).await;
    shop.end(2).await;
    shop.rest().await;
    let after = (
        shop.get(ROUTE).await.unwrap(),
        shop.service("checkout").await.unwrap(),
    );
    assert_eq!(bare(after.0), bare(before.0));
    assert_eq!(bare(after.1), bare(before.1));
    check(&shop).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn back_and_forth_between_two_revisions_serves_all_along() {
    let (mut shop, _stub) = open(Behaviour::Accept {
        after: Duration::from_millis(20),
    })
    .await;
    shop.settle().await;
    shop.bring(2, 3).await;
    for to in [2, 1, 2] {
        shop.roll(&[(to, 100)]).await;
    }
    // A third one comes while the second one serves and the first one is kept.
    shop.end(1).await;
    shop.bring(3, 2).await;
    shop.roll(&[(2, 50), (3, 50)]).await;
    shop.roll(&[(3, 100)]).await;
    shop.end(2).await;
    shop.rest().await;
    check(&shop).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn until_it_is_accepted_the_shares_are_the_ones_before() {
    let (mut shop, stub) = open(Behaviour::accept()).await;
    shop.settle().await;
    shop.bring(2, 1).await;
    shop.roll(&[(1, 80), (2, 20)]).await;
    let before = shop.pass_with(None).await.observed.unwrap();

    stub.behave(Behaviour::Silent);
    shop.ask(&[(1, 50), (2, 50)]).await;
    shop.until("the write", async |_| {
        entries(&shop.get(ROUTE).await.unwrap(), 0)[1].1 == 5000
    })
    .await;
    let pass = shop.pass_with(None).await;
    assert_eq!(pass.observed.unwrap(), before);
    assert_eq!(pass.ensured, Ok(()));

    let refuse = |condition: &str| Behaviour::Refuse {
        condition: condition.to_owned(),
        reason: "BackendNotFound".to_owned(),
    };
    stub.behave(refuse("ResolvedRefs"));
    shop.until("the refusal", async |pass| {
        let named = |it: &String| it.contains("sluice.test/stub") && it.contains("BackendNotFound");
        pass.observed.as_ref().is_err_and(named) && pass.ensured.as_ref().is_err_and(named)
    })
    .await;
    // A way back is written all the same.
    shop.ask(&[(1, 100)]).await;
    shop.until("the way back", async |_| {
        entries(&shop.get(ROUTE).await.unwrap(), 0)[1].1 == 0
    })
    .await;
    stub.behave(Behaviour::accept());
    shop.settle().await;
    check(&shop).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_take_away_is_put_back_and_a_fight_is_named() {
    let (mut shop, _stub) = open(Behaviour::accept()).await;
    shop.settle().await;
    shop.bring(2, 2).await;
    shop.roll(&[(1, 70), (2, 30)]).await;

    shop.delete("/api/v1/*/services/checkout-candidate").await;
    shop.until("the Service", async |_| {
        shop.service("checkout-candidate").await.is_some()
    })
    .await;
    shop.settle().await;

    // As a GitOps tool does that applies its manifest again and again.
    let mut fight = None;
    for round in 1..=4 {
        assert_eq!(fight, None, "in round {round}");
        shop.merge(
            ROUTE,
            &json!({ "spec": { "rules": route()["spec"]["rules"] } }),
        )
        .await;
        let answer = wait::until(SOON, "an answer", || async {
            let pass = shop.pass_with(None).await;
            let route = shop.get(ROUTE).await.unwrap();
            match pass.ensured {
                Err(error) if error.contains("spec.rules") => Ok(Some(error)),
                Ok(()) if entries(&route, 0).len() == 2 && entries(&route, 0)[1].1 == 3000 => {
                    Ok(None)
                }
                other => Err(format!("{other:?}")),
            }
        });
        fight = answer.await.unwrap();
    }
    let fight = fight.unwrap();
    assert!(
        fight.contains("test has set it otherwise 3 times"),
        "{fight}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_in_the_middle_gives_back_what_is_the_users() {
    let (mut shop, _stub) = open(Behaviour::accept()).await;
    let before = (
        shop.get(ROUTE).await.unwrap(),
        shop.service("checkout").await.unwrap(),
    );
    shop.settle().await;
    shop.bring(2, 2).await;
    shop.roll(&[(1, 70), (2, 30)]).await;
    let driver = shop.router.driver();
    let told = driver
        .release(&shop.replica.cx, &shop.app, true)
        .await
        .unwrap();
    assert_eq!(told.len(), 3, "{told:?}");
    assert_eq!(
        shop.pass_with(None).await.ensured,
        Ok(()),
        "nothing was done"
    );
    let done = driver
        .release(&shop.replica.cx, &shop.app, false)
        .await
        .unwrap();
    assert_eq!(done, told);
    let after = (
        shop.get(ROUTE).await.unwrap(),
        shop.service("checkout").await.unwrap(),
    );
    for (after, before) in [(&after.0, &before.0), (&after.1, &before.1)] {
        assert!(
            !after
                .to_string()
                .replace("\"manager\":\"sluice\"", "")
                .contains("sluice.dev"),
            "{after:#}"
        );
        assert_eq!(bare(after.clone()), bare(before.clone()));
    }
    assert_eq!(shop.service("checkout-candidate").await, None);
    assert!(
        driver
            .release(&shop.replica.cx, &shop.app, false)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_lost_its_lease_writes_nothing() {
    let (mut shop, _stub) = open(Behaviour::accept()).await;
    shop.settle().await;
    shop.epoch = 7;
    shop.bring(2, 1).await;
    shop.roll(&[(1, 70), (2, 30)]).await;
    shop.epoch = 6;
    shop.ask(&[(1, 10), (2, 90)]).await;
    let pass = shop.pass_with(None).await;
    assert!(
        pass.ensured
            .unwrap_err()
            .contains("another replica has taken over")
    );
    assert_eq!(entries(&shop.get(ROUTE).await.unwrap(), 0)[1].1, 3000);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_told_by_name() {
    let plane: Arc<Plane> = Plane::shared().await;
    for (router, expected) in [
        (
            json!({ "httpRoute": "none", "service": "checkout" }),
            "there is none",
        ),
        (
            json!({ "httpRoute": "checkout", "service": "none" }),
            "`service` names the one",
        ),
        (
            json!({ "httpRoute": "checkout", "service": "checkout", "rule": "x" }),
            "no rule \"x\"",
        ),
        (
            json!({ "grpcRoute": "checkout", "service": "checkout" }),
            "use GRPCRoute",
        ),
    ] {
        let router = json!({ "gatewayApi": router });
        let shop = Shop::open(&plane, &[ROUTES], &router, &[(ROUTES, route())]).await;
        let error = shop.pass_with(None).await.observed.unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_at_rest_costs_no_request() {
    let (mut shop, _stub) = open(Behaviour::accept()).await;
    shop.settle().await;
    let cluster = shop.replica.cluster().await;
    let before = cluster.requests();
    for _ in 0..20 {
        assert_eq!(shop.pass_with(None).await.ensured, Ok(()));
    }
    assert_eq!(cluster.requests(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_route_rolls_as_well() {
    let routes = "/apis/gateway.networking.k8s.io/v1/*/grpcroutes";
    let route = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GRPCRoute",
        "metadata": { "name": "checkout" },
        "spec": { "parentRefs": [{ "name": "gw" }],
            "rules": [{ "backendRefs": [{ "name": "checkout", "port": 80 }] }] },
    });
    let router =
        json!({ "gatewayApi": { "grpcRoute": "checkout", "service": "checkout", "rule": 0 } });
    let plane = Plane::shared().await;
    let mut shop = Shop::open(&plane, &[routes], &router, &[(routes, route)]).await;
    let stub = GatewayStub::start(&shop.plane.plane, &shop.namespace, Behaviour::accept());
    let _stub = stub.unwrap();
    let path = format!("{routes}/checkout");
    let before = shop.get(&path).await.unwrap();
    shop.settle().await;
    shop.bring(2, 2).await;
    shop.roll(&[(1, 90), (2, 10)]).await;
    assert_eq!(entries(&shop.get(&path).await.unwrap(), 0)[1].1, 1000);
    shop.roll(&[(2, 100)]).await;
    shop.end(1).await;
    shop.rest().await;
    assert_eq!(bare(shop.get(&path).await.unwrap()), bare(before));
}
