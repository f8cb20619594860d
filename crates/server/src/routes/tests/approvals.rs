//! Who may approve by a step's own rules, and what whoever looks is told of that.

use api::RoleWord;
use reqwest::StatusCode;
use rollout::steps::approve::Approve;
use serde_json::{Value, json};

use super::rig::{Rig, is};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_requester_and_machines_approve_only_where_the_step_lets_them() {
    let rig = Rig::start().await;
    let rules = |not_by_requester, machines_may| Approve {
        group: None,
        count: 3,
        expires: Some(jiff::SignedDuration::from_hours(2)),
        not_by_requester,
        machines_may,
    };
    let strict = rig.rollout_at("shop", "strict", rules(true, false)).await;
    let loose = rig.rollout_at("shop", "loose", rules(false, true)).await;
    let approver = RoleWord::Approver;
    // Who asked for both, as a person's token.
    let ci = rig.token("ci", approver, Some("shop"), &[], true).await;
    let bot = rig.token("bot", approver, Some("shop"), &[], false).await;
    let ann = rig.token("ann", approver, Some("shop"), &[], true).await;
    let eve = rig
        .token("eve", RoleWord::Operator, Some("shop"), &[], true)
        .await;
    let yes = json!({ "decision": "approve", "step": 0, "attempt": 1, "comment": "fine" });
    let approve = async |id: uuid::Uuid, token: &str| {
        let path = format!("/api/v1/rollouts/{id}/approvals");
        rig.post(&path, token, &yes).await
    };
    let look = async |id: uuid::Uuid, token: &str| -> Value {
        let view = rig.get(&format!("/api/v1/rollouts/{id}"), token).await.body;
        view["approval"].clone()
    };
    for (token, name, why) in [
        (&ci, "ci", "asked for this rollout"),
        (&bot, "bot", "a machine's token"),
    ] {
        let told = look(strict.id, token).await;
        assert_eq!(told["mayI"], false, "{name}: {told}");
        assert!(told["whyNot"].as_str().unwrap().contains(why), "{told}");
        let refused = approve(strict.id, token).await;
        is(&refused, StatusCode::FORBIDDEN, "forbidden");
        assert!(refused.body["detail"].as_str().unwrap().contains(why));
        assert_eq!(look(loose.id, token).await["mayI"], true, "{name}");
        assert_eq!(approve(loose.id, token).await.status, 200, "{name}");
        let told = look(loose.id, token).await;
        assert_eq!(told["whyNot"], format!("token:{name} has approved already"));
    }
    assert_eq!(look(strict.id, &eve).await["mayI"], false);
    assert_eq!(approve(strict.id, &ann).await.status, 200);
    let told = look(strict.id, &eve).await;
    let given = &told["given"][0];
    assert_eq!(
        (&told["needed"], &given["by"]),
        (&json!(3), &json!("token:ann"))
    );
    assert_eq!(
        (&given["comment"], &given["from"]),
        (&json!("fine"), &json!("127.0.0.1"))
    );
    assert!(told["expiresAt"].is_string(), "{told}");
    // Nor does another word get whoever asked for it past the step.
    let own = rig
        .token("ci2", RoleWord::Operator, Some("shop"), &[], true)
        .await;
    let promote = format!("/api/v1/rollouts/{}/commands", strict.id);
    let sql = format!(
        "UPDATE rollout SET created_by = 'token:ci2' WHERE id = '{}'",
        strict.id
    );
    rig.postgres.execute("sluice", &sql).await.unwrap();
    for order in ["skip", "promoteFull"] {
        let refused = rig.post(&promote, &own, &json!({ "order": order })).await;
        is(&refused, StatusCode::FORBIDDEN, "forbidden");
    }
    // A second time changes nothing.
    assert_eq!(approve(strict.id, &ann).await.status, 200);
    let now = rig.store.rollout(strict.id).await.unwrap().unwrap();
    assert_eq!(now.state.approvals.len(), 1);
}
