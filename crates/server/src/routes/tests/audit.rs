//! The audit log over HTTP: what stands in it, who may read it, and that storms do not fill it.

use api::{AuditOutcome, AuditView, RoleWord};
use reqwest::Method;
use rollout::{Event, Phase};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    ROLES, entries,
    rig::{Rig, document},
};
use crate::routes::recorder::READ;

async fn log(rig: &Rig, token: &str, query: &str) -> Vec<AuditView> {
    let path = format!("/api/v1/audit?limit=200{query}");
    let answer = rig.send(rig.request(Method::GET, &path, token)).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    serde_json::from_value(answer.body["items"].clone()).unwrap()
}

fn is(line: &AuditView, who: Option<&str>, action: &str, outcome: AuditOutcome) -> bool {
    line.who.as_deref() == who && line.action == action && line.outcome == outcome
}

#[test]
fn what_changes_something_has_a_word_in_the_log() {
    for entry in entries() {
        let named = entry.audited.action != READ;
        let changes = !entry.method.is_safe() || entry.path == "/auth/callback";
        assert_eq!(named, changes, "{} {}", entry.method, entry.path);
    }
}

/// What an admin does, and what is refused to others.
struct Scene {
    rig: Rig,
    admin: String,
    rollout: Uuid,
}

const ADMIN: Option<&str> = Some("token:admin");
const EYE: Option<&str> = Some("token:eye");
const SHOP: Option<&str> = Some("shop");

async fn scene() -> Scene {
    let rig = Rig::start().await;
    let rollout = rig.rollout("shop", "checkout").await;
    let started = Event::Started;
    let progressing = rig.change(&rollout, Phase::Progressing, started, None);
    let rollout = progressing.await.id;
    let admin = rig.token("admin", RoleWord::Admin, None, &[], true).await;
    let viewer = rig.token("eye", RoleWord::Viewer, SHOP, &[], true).await;
    let send = async |method: Method, path: &str, token: &str, body: &Value, status: u16| {
        let answer = rig.send(rig.request(method, path, token).json(body)).await;
        assert_eq!(answer.status, status, "{path}: {:?}", answer.body);
        answer.body
    };
    let (app, file) = ("/api/v1/apps/shop/ledger", document("shop", "ledger"));
    send(Method::PUT, app, &admin, &file, 201).await;
    let token = json!({ "name": "ci", "role": "deployer", "project": "shop" });
    let made = send(Method::POST, "/api/v1/tokens", &admin, &token, 201).await;
    let made = format!("/api/v1/tokens/{}", made["token"]["id"].as_str().unwrap());
    send(Method::DELETE, &made, &admin, &json!({}), 204).await;
    send(Method::PUT, app, &admin, &json!({}), 422).await;
    let commands = format!("/api/v1/rollouts/{rollout}/commands");
    let order = json!({ "order": "abort" });
    send(Method::POST, &commands, &viewer, &order, 403).await;
    send(Method::POST, &commands, "sluice_ci_nonsense", &order, 401).await;
    send(Method::GET, "/api/v1/tokens", &viewer, &json!({}), 403).await;
    send(Method::POST, &commands, &admin, &order, 200).await;
    Scene {
        rig,
        admin,
        rollout,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_done_and_what_is_refused_stands_in_the_log() {
    use AuditOutcome::{Done, Refused};
    let scene = scene().await;
    let lines = log(&scene.rig, &scene.admin, "").await;
    for (who, action, outcome) in [
        (ADMIN, "app.apply", Done),
        (ADMIN, "token.create", Done),
        (ADMIN, "token.revoke", Done),
        (ADMIN, "app.apply", Refused),
        (EYE, "rollout.order", Refused),
        (None, "rollout.order", Refused),
        (EYE, "read", Refused),
        (ADMIN, "rollout.abortStarted", Done),
    ] {
        let found = lines.iter().filter(|it| is(it, who, action, outcome));
        assert_eq!(found.count(), 1, "{who:?} {action} {outcome:?}: {lines:#?}");
    }
    for line in &lines {
        let by_the_rig = ["rollout.created", "rollout.started"].contains(&&*line.action);
        assert_eq!(line.from.is_none(), by_the_rig, "{line:?}");
    }
    let of = |who: Option<&str>, action: &str, outcome| {
        let mut lines = lines.iter();
        lines.find(|it| is(it, who, action, outcome)).unwrap()
    };
    let created = of(ADMIN, "token.create", Done);
    assert_eq!(created.about["token"], "ci");
    assert_eq!(created.project.as_deref(), SHOP);
    let revoked = of(ADMIN, "token.revoke", Done);
    assert_eq!(revoked.sentence, "revoke a token: ci");
    let order = of(None, "rollout.order", Refused);
    assert_eq!(order.rollout, Some(scene.rollout));
    assert_eq!(order.app, None, "it was not looked up for nobody");
    let read = of(EYE, "read", Refused);
    assert!(read.detail.as_deref().unwrap().contains("role admin"));
    assert_eq!(read.about["path"], "/api/v1/tokens");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_of_a_project_sees_its_lines_alone() {
    let Scene { rig, admin, .. } = scene().await;
    let local = rig.token("boss", RoleWord::Admin, SHOP, &[], true).await;
    let own = log(&rig, &local, "").await;
    assert!(
        own.iter().all(|it| it.project.as_deref() == SHOP),
        "{own:#?}"
    );
    let refused = AuditOutcome::Refused;
    assert!(own.iter().any(|it| is(it, EYE, "rollout.order", refused)));
    let bank = Some("bank");
    let bank = rig.token("bank", RoleWord::Admin, bank, &[], true).await;
    assert_eq!(log(&rig, &bank, "").await, []);
    assert_eq!(log(&rig, &bank, "&project=shop").await, []);
    let refused = log(&rig, &admin, "&outcome=refused&who=token:eye").await;
    assert_eq!(refused.len(), 2, "{refused:#?}");
    let steps = log(&rig, &admin, "&steps=false&action=rollout.stepDone").await;
    assert_eq!(steps, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_refusals_fills_no_disk() {
    let rig = Rig::start().await;
    let admin = rig.token("admin", RoleWord::Admin, None, &[], true).await;
    for number in 0..150 {
        let path = format!("/api/v1/tokens/{number}");
        let answer = rig.send(rig.request(Method::DELETE, &path, "sluice_ci_nonsense"));
        assert!([401, 429].contains(&answer.await.status));
    }
    let lines = log(&rig, &admin, "").await;
    let kept = lines
        .iter()
        .filter(|it| it.action == "token.revoke")
        .count();
    assert!((60..100).contains(&kept), "{kept}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_chain_is_checked_for_admins_of_everything() {
    let rig = Rig::start().await;
    let path = "/api/v1/audit/verification";
    for role in ROLES {
        let local = rig
            .token(&format!("{role:?}"), role, Some("shop"), &[], true)
            .await;
        let answer = rig.send(rig.request(Method::GET, path, &local)).await;
        assert_eq!(answer.status, 403, "{role:?}");
    }
    let admin = rig.token("root", RoleWord::Admin, None, &[], true).await;
    let wrong = format!("{path}?head=7");
    let answer = rig.send(rig.request(Method::GET, &wrong, &admin)).await;
    assert_eq!(answer.status, 422, "{:?}", answer.body);
    assert_eq!(answer.body["errors"][0]["pointer"], "/head");
    let answer = rig.send(rig.request(Method::GET, path, &admin)).await;
    assert_eq!(answer.body["intact"], true, "{:?}", answer.body);
    let never = format!("{path}?head=9:{}", "00".repeat(32));
    let answer = rig.send(rig.request(Method::GET, &never, &admin)).await;
    assert_eq!(answer.body["intact"], false, "{:?}", answer.body);
}
