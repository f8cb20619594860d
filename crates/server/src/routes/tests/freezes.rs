//! Freeze windows over HTTP: who may make one for what, and what breaking the glass asks for.

use api::RoleWord;
use reqwest::{Method, StatusCode};
use rollout::Event;
use serde_json::{Value, json};

use super::rig::{Rig, is};

fn weekend(project: Option<&str>, app: Option<&str>) -> Value {
    json!({
        "name": "weekend", "project": project, "app": app, "reason": "nobody is on call",
        "recurring": { "cron": "0 18 * * FRI", "duration": "62h", "timeZone": "Europe/Zurich" },
    })
}

/// A window that is on.
fn now(project: &str) -> Value {
    let at = jiff::Timestamp::now();
    let hour = jiff::SignedDuration::from_hours(1);
    json!({
        "name": "now", "project": project, "reason": "incident 41",
        "once": { "from": at - hour, "until": at + hour },
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_are_for_those_who_operate_their_scope() {
    let rig = Rig::start().await;
    rig.rollout("shop", "checkout").await;
    let path = "/api/v1/freezes";
    let admin = rig.token("admin", RoleWord::Admin, None, &[], true).await;
    let shop = Some("shop");
    let operator = rig.token("op", RoleWord::Operator, shop, &[], true).await;
    let everywhere = rig.token("ops", RoleWord::Operator, None, &[], true).await;
    let viewer = rig.token("eye", RoleWord::Viewer, shop, &[], true).await;
    let bank = rig
        .token("bank", RoleWord::Admin, Some("bank"), &[], true)
        .await;
    let post = async |token: &str, body: &Value| {
        let request = rig.request(Method::POST, path, token).json(body);
        rig.send(request).await
    };
    for (token, body, status) in [
        (&viewer, weekend(shop, None), 403),
        (&operator, weekend(None, None), 403),
        (&everywhere, weekend(None, None), 403),
        (&bank, weekend(shop, None), 403),
        (&operator, weekend(shop, None), 201),
        (&operator, weekend(shop, None), 409),
        (&admin, weekend(None, None), 201),
        (&admin, weekend(None, Some("checkout")), 422),
        (&admin, json!({ "name": "x", "reason": "y" }), 422),
    ] {
        let answer = post(token, &body).await;
        assert_eq!(answer.status, status, "{body}: {:?}", answer.body);
    }
    let mut wrong = weekend(shop, None);
    wrong["recurring"]["timeZone"] = json!("Mars/Olympus");
    let answer = post(&operator, &wrong).await;
    is(&answer, StatusCode::UNPROCESSABLE_ENTITY, "invalid-field");
    assert_eq!(answer.body["errors"][0]["pointer"], "/recurring/timeZone");

    let listed = |body: &Value| body["items"].as_array().unwrap().clone();
    let seen = rig.send(rig.request(Method::GET, path, &viewer)).await;
    let seen = listed(&seen.body);
    assert_eq!(seen.len(), 2, "its own and the one for all: {seen:?}");
    assert!(seen[0]["next"].is_string());
    let foreign = rig.send(rig.request(Method::GET, path, &bank)).await;
    assert_eq!(listed(&foreign.body).len(), 1);
    let own = seen.iter().find(|it| it["project"] == "shop").unwrap();
    let path = format!("{path}/{}", own["id"].as_str().unwrap());
    for (token, status) in [
        (&viewer, 403),
        (&bank, 404),
        (&operator, 204),
        (&operator, 404),
    ] {
        let answer = rig.send(rig.request(Method::DELETE, &path, token)).await;
        assert_eq!(answer.status, status, "{:?}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_glass_is_broken_by_operators_who_say_why() {
    let rig = Rig::start().await;
    let rollout = rig.rollout("shop", "checkout").await;
    let admin = rig.token("admin", RoleWord::Admin, None, &[], true).await;
    let deployer = rig.token("ci", RoleWord::Deployer, None, &[], false).await;
    let operator = rig.token("op", RoleWord::Operator, None, &[], true).await;
    let window = rig.request(Method::POST, "/api/v1/freezes", &admin);
    let answer = rig.send(window.json(&now("shop"))).await;
    assert_eq!((answer.status, &answer.body["active"]), (201, &json!(true)));
    let path = format!("/api/v1/rollouts/{}/commands", rollout.id);
    let order = async |token: &str, body: Value| {
        rig.send(rig.request(Method::POST, &path, token).json(&body))
            .await
    };
    let full = order(&operator, json!({ "order": "promoteFull" })).await;
    is(&full, StatusCode::CONFLICT, "rejected");
    let why = full.body["detail"].as_str().unwrap();
    assert!(why.contains("incident 41") && why.contains("now"), "{why}");
    let glass = json!({ "order": "breakGlass", "comment": "the fix for it" });
    is(
        &order(&deployer, glass.clone()).await,
        StatusCode::FORBIDDEN,
        "forbidden",
    );
    is(
        &order(&operator, json!({ "order": "breakGlass" })).await,
        StatusCode::CONFLICT,
        "rejected",
    );
    assert_eq!(order(&operator, glass).await.status, 200);
    let history = rig.store.history(rollout.id, 0, 100).await.unwrap();
    let last = &history.last().unwrap().event;
    let expected = Event::BrokeGlass {
        by: "token:op".to_owned(),
        reason: "the fix for it".to_owned(),
    };
    assert_eq!(*last, expected);
    let full = order(&operator, json!({ "order": "promoteFull" })).await;
    assert_eq!(full.status, 200, "{:?}", full.body);

    let deploy = rig.request(
        Method::POST,
        "/api/v1/apps/shop/checkout/rollouts",
        &deployer,
    );
    let body = json!({ "artifact": "blue", "breakGlass": "because" });
    is(
        &rig.send(deploy.json(&body)).await,
        StatusCode::FORBIDDEN,
        "forbidden",
    );
    let plan = rig.request(Method::POST, "/api/v1/apps/shop/checkout/plan", &deployer);
    let plan = rig.send(plan.json(&json!({}))).await;
    assert_eq!(plan.body["freezes"][0]["name"], "now", "{:?}", plan.body);
    let warned = plan.body["warnings"].to_string();
    assert!(warned.contains("freeze window now is on"), "{warned}");
}
