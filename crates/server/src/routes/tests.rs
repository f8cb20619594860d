//! The routes, asked over HTTP: who may do what, how errors look, and that what is documented is
//! what is served.

mod alerts;
mod approvals;
mod audit;
mod freezes;
mod rig;
mod streams;

use std::{collections::BTreeSet, time::Duration};

use api::RoleWord;
use reqwest::{Method, StatusCode};
use rollout::{Event, Phase};
use serde_json::{Value, json};

use super::{Access, Entry, table};
use crate::auth;
use rig::{By, Rig, document, group, is};

/// Time within which anything that must happen has happened, on a slow machine.
const SOON: Duration = Duration::from_secs(20);

const ROLES: [RoleWord; 5] = [
    RoleWord::Viewer,
    RoleWord::Deployer,
    RoleWord::Approver,
    RoleWord::Operator,
    RoleWord::Admin,
];

fn entries() -> Vec<Entry> {
    table().into_iter().map(|row| row.entry).collect()
}

#[test]
fn the_document_has_exactly_the_routes_of_the_table() {
    let document = serde_json::to_value(super::openapi()).unwrap();
    let mut documented = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            documented.insert(format!("{} {path}", method.to_uppercase()));
            assert!(operation["responses"]["default"].is_object(), "{path}");
        }
    }
    let rows = entries().into_iter();
    let rows: Vec<String> = rows
        .map(|it| format!("{} {}", it.method, it.path))
        .collect();
    assert_eq!(rows.len(), documented.len(), "a row is written twice");
    assert_eq!(rows.into_iter().collect::<BTreeSet<_>>(), documented);
    for entry in entries() {
        let item = &document["paths"][entry.path];
        let operation = &item[entry.method.as_str().to_lowercase()];
        let secured = operation["security"].is_array();
        assert_eq!(secured, entry.access != Access::Public, "{}", entry.path);
    }
}

#[test]
fn every_shape_that_the_document_names_is_in_it() {
    let document = serde_json::to_value(super::openapi()).unwrap();
    let text = document.to_string();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let named = text.split("#/components/schemas/").skip(1);
    for name in named.filter_map(|it| it.split('"').next()) {
        assert!(schemas.contains_key(name), "{name} is missing");
    }
    assert!(schemas.contains_key("ProblemBody"));
    insta::assert_json_snapshot!("openapi", document);
}

/// The dashboard's types are made from a copy of the document (`npm run types`); with `UPDATE=1` the
/// copy is written anew.
#[test]
fn the_dashboard_knows_this_document() {
    let copy = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/openapi.json");
    let now = super::openapi().to_pretty_json().unwrap() + "\n";
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(copy, &now).unwrap();
    }
    let copied = std::fs::read_to_string(copy).unwrap();
    assert!(
        copied == now,
        "web/openapi.json is not this API's: run this test with UPDATE=1, then `npm run types`"
    );
}

#[test]
fn only_what_says_nothing_of_apps_is_public() {
    let public: Vec<&str> = entries()
        .into_iter()
        .filter(|it| it.access == Access::Public)
        .map(|it| it.path)
        .collect();
    let probes = ["/health", "/ready", "/startup", "/metrics", "/openapi.json"];
    let sign_in = [
        "/api/v1/auth",
        "/auth/login",
        "/auth/callback",
        "/api/v1/auth/exchange",
        "/api/v1/session",
    ];
    let dashboard = ["/", "/assets/{file}"];
    let signed = ["/api/v1/hooks/signed/{source}"];
    let expected = [&dashboard[..], &probes, &sign_in, &signed].concat();
    assert_eq!(public, expected);
}

/// Who asks in the matrix.
#[derive(Debug, Clone)]
struct Asker {
    /// Roles and the projects they are for.
    grants: Vec<(RoleWord, Option<&'static str>)>,
}

/// The refusal that the table's column promises in `project`; `None`: the handler is reached.
fn promised(access: Access, asker: &Asker, project: &str) -> Option<u16> {
    let covers = |it: &&(RoleWord, Option<&str>)| it.1.is_none_or(|it| it == project);
    let foreign = !asker.grants.iter().any(|it| covers(&it));
    let there = |needed| {
        let mut there = asker.grants.iter().filter(covers);
        (!there.any(|it| auth::reaches(it.0, needed))).then_some(403)
    };
    match access {
        Access::Public | Access::Any => None,
        Access::Role(needed) => {
            let mut all = asker.grants.iter();
            (!all.any(|it| auth::reaches(it.0, needed))).then_some(403)
        }
        Access::Everywhere(needed) => {
            let mut all = asker.grants.iter().filter(|it| it.1.is_none());
            (!all.any(|it| auth::reaches(it.0, needed))).then_some(403)
        }
        Access::Project(_) | Access::Rollout(_) | Access::Approval if foreign => Some(404),
        Access::Project(needed) | Access::Rollout(needed) => there(needed),
        Access::Approval => {
            let mut there = asker.grants.iter().filter(covers);
            let may = there.any(|it| auth::may_approve(it.0));
            (!may).then_some(403)
        }
    }
}

/// Asks every route in both projects, and holds the answers against the table.
async fn matrix(rig: &Rig, asker: &Asker, by: &By, rollouts: [uuid::Uuid; 2]) {
    for entry in entries() {
        // It works, and then there is nobody to ask any more.
        if entry.method == Method::DELETE && entry.path == "/api/v1/session" {
            continue;
        }
        for (project, app, id) in [
            ("shop", "checkout", rollouts[0]),
            ("bank", "ledger", rollouts[1]),
        ] {
            let path = entry
                .path
                .replace("{project}", project)
                .replace("{app}", app)
                .replace("{id}", &id.to_string());
            let path = match path.ends_with("/wait") {
                true => path + "?timeout=0s",
                false => path,
            };
            let request = rig.ask(entry.method.clone(), &path, by);
            let request = match entry.method {
                Method::GET | Method::DELETE => request,
                _ => request.json(&json!({})),
            };
            let answer = request.send().await.unwrap();
            let status = answer.status().as_u16();
            let what = format!("{asker:?} {by:?} {} {path}: {status}", entry.method);
            match promised(entry.access, asker, project) {
                Some(refusal) => assert_eq!(status, refusal, "{what}"),
                // No such token or file, which only the handler can know.
                None if matches!(
                    entry.path,
                    "/api/v1/tokens/{id}" | "/api/v1/freezes/{id}" | "/assets/{file}"
                ) =>
                {
                    assert_eq!(status, 404, "{what}");
                }
                None => assert!(![401, 403, 404, 500].contains(&status), "{what}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_admits_exactly_whom_its_access_names() {
    let rig = Rig::start().await;
    let own = rig.rollout("shop", "checkout").await;
    let other = rig.rollout("bank", "ledger").await;
    for role in ROLES {
        for (bound, person) in [(true, true), (true, false), (false, true), (false, false)] {
            let project = bound.then_some("shop");
            let asker = Asker {
                grants: vec![(role, project)],
            };
            let name = format!("{role:?}-{bound}-{person}");
            let groups = ["release-managers"];
            let token = rig.token(&name, role, project, &groups, person).await;
            let cookie = rig.session(&name).await;
            for by in [By::Token(token), By::Cookie(cookie)] {
                matrix(&rig, &asker, &by, [own.id, other.id]).await;
            }
        }
    }
    // People who have one role here and another one there.
    use RoleWord::{Admin, Approver, Deployer, Operator, Viewer};
    for grants in [
        [(Viewer, None), (Admin, Some("shop"))],
        [(Deployer, Some("shop")), (Approver, Some("bank"))],
        [(Operator, Some("bank")), (Viewer, Some("shop"))],
        [(Approver, Some("shop")), (Operator, Some("shop"))],
        [(Admin, Some("bank")), (Deployer, None)],
    ] {
        let asker = Asker {
            grants: grants.to_vec(),
        };
        let groups = grants.map(|(role, project)| group(role, project));
        let by = By::Cookie(rig.person(&groups).await);
        matrix(&rig, &asker, &by, [own.id, other.id]).await;
    }
    let now = rig.store.rollout(own.id).await.unwrap().unwrap();
    assert_eq!(
        now, own,
        "nobody asked for anything, so nothing has changed"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_good_token_every_route_is_shut() {
    let rig = Rig::start().await;
    let own = rig.rollout("shop", "checkout").await;
    let revoked = rig.token("old", RoleWord::Admin, None, &[], true).await;
    let row = rig.store.list_tokens(None).await.unwrap().remove(0);
    rig.store.revoke_token(row.row.id, "test").await.unwrap();
    let mut forged = revoked.clone();
    forged.truncate(forged.len() - 1);
    let tokens = ["", "x", "sluice_ci_1_2", &forged, &revoked];
    for entry in entries() {
        let path = entry
            .path
            .replace("{project}", "shop")
            .replace("{app}", "checkout")
            .replace("{id}", &own.id.to_string());
        for token in tokens {
            // The body is not JSON and says that it is far too long: neither is looked at.
            let request = rig.request(entry.method.clone(), &path, token);
            let answer = rig.send(request).await;
            match entry.access {
                Access::Public => assert_ne!(answer.status, 401, "{path}"),
                _ => {
                    is(&answer, StatusCode::UNAUTHORIZED, "unauthenticated");
                    assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"sluice\"");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn problems_have_one_shape_and_answers_one_set_of_headers() {
    let rig = Rig::start().await;
    let admin = rig.admin().await;
    let answer = rig.get("/api/v1/nothing", &admin).await;
    is(&answer, StatusCode::NOT_FOUND, "no-route");
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-store"),
        ("x-frame-options", "DENY"),
    ] {
        assert_eq!(answer.header(name), value);
    }
    assert!(
        answer
            .header("content-security-policy")
            .contains("frame-ancestors 'none'")
    );
    let request = rig.request(Method::PATCH, "/api/v1/apps", &admin);
    let answer = rig.send(request.header("x-request-id", "mine-1")).await;
    is(
        &answer,
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
    );
    assert_eq!(answer.header("x-request-id"), "mine-1");
    let answer = rig.get("/api/v1/apps/shop/checkout", &admin).await;
    is(&answer, StatusCode::NOT_FOUND, "not-found");
    let answer = rig.get("/api/v1/rollouts/not-an-id", &admin).await;
    is(&answer, StatusCode::NOT_FOUND, "not-found");
    for path in ["/api/v1/apps?limit=x", "/api/v1/apps?colour=red"] {
        let answer = rig.get(path, &admin).await;
        is(&answer, StatusCode::BAD_REQUEST, "malformed");
    }
    for path in ["/api/v1/apps?limit=0", "/api/v1/rollouts?cursor=00"] {
        let answer = rig.get(path, &admin).await;
        is(&answer, StatusCode::UNPROCESSABLE_ENTITY, "invalid-field");
    }
    let put = || rig.request(Method::PUT, "/api/v1/apps/shop/checkout", &admin);
    let text = put().body("{}").header("content-type", "text/plain");
    is(
        &rig.send(text).await,
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported-media-type",
    );
    let broken = put().body("{").header("content-type", "application/json");
    is(
        &rig.send(broken).await,
        StatusCode::BAD_REQUEST,
        "malformed",
    );
    let huge = put().json(&"x".repeat(1 << 20));
    is(
        &rig.send(huge).await,
        StatusCode::PAYLOAD_TOO_LARGE,
        "too-large",
    );
    let mut wrong = document("shop", "checkout");
    wrong["colour"] = json!("red");
    wrong["workload"] = json!({"static": {"pools": 7}});
    wrong["strategy"] = json!({"canary": {"steps": [{"setWeight": 400}]}});
    let mut answer = rig.send(put().json(&wrong)).await;
    is(
        &answer,
        StatusCode::UNPROCESSABLE_ENTITY,
        "invalid-document",
    );
    answer.body["instance"] = json!("…");
    insta::assert_json_snapshot!("an_app_file_with_mistakes", answer.body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sends_too_much_is_told_and_can_go_on() {
    let rig = Rig::start().await;
    let admin = rig.admin().await;
    let put = || rig.request(Method::PUT, "/api/v1/apps/shop/checkout", &admin);
    for _ in 0..20 {
        let huge = put().json(&"x".repeat(4 << 20));
        let answer = rig.send(huge).await;
        is(&answer, StatusCode::PAYLOAD_TOO_LARGE, "too-large");
        // On the connection that the client keeps, if it keeps it.
        let broken = put().body("{").header("content-type", "application/json");
        let answer = rig.send(broken).await;
        is(&answer, StatusCode::BAD_REQUEST, "malformed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apps_are_versioned_and_paged() {
    let rig = Rig::start().await;
    let admin = rig.admin().await;
    let path = "/api/v1/apps/shop/checkout";
    let mut file = document("shop", "checkout");
    let put = |file: &Value| rig.request(Method::PUT, path, &admin).json(file);
    let created = rig.send(put(&file).header("if-none-match", "*")).await;
    assert_eq!(created.status, 201, "{created:?}");
    assert_eq!(created.header("location"), path);
    let etag = created.header("etag").to_owned();
    let again = rig.send(put(&file).header("if-none-match", "*")).await;
    is(
        &again,
        StatusCode::PRECONDITION_FAILED,
        "precondition-failed",
    );
    assert_eq!(again.header("etag"), etag);
    let request = rig.request(Method::GET, path, &admin);
    let unchanged = rig.send(request.header("if-none-match", &etag)).await;
    assert_eq!((unchanged.status, unchanged.body), (304, json!("")));
    file["drain"] = json!("7s");
    let updated = rig.send(put(&file).header("if-match", &etag)).await;
    assert_eq!(updated.status, 200, "{updated:?}");
    assert_ne!(updated.header("etag"), etag);
    let stale = rig.send(put(&file).header("if-match", &etag)).await;
    is(
        &stale,
        StatusCode::PRECONDITION_FAILED,
        "precondition-failed",
    );
    for name in ["a", "b", "c"] {
        rig.rollout("bank", name).await;
    }
    let first = rig.get("/api/v1/apps?limit=3", &admin).await;
    let names = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().unwrap().iter();
        items
            .map(|it| it["app"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&first.body), ["a", "b", "c"]);
    assert_eq!(first.body["items"][0]["rollout"]["phase"], "progressing");
    let link = first.header("link");
    let next = link
        .strip_prefix('<')
        .and_then(|it| it.split_once('>'))
        .unwrap();
    assert_eq!(next.1, "; rel=\"next\"");
    let second = rig.get(next.0, &admin).await;
    assert_eq!(names(&second.body), ["checkout"]);
    assert_eq!(second.body.get("nextCursor"), None);
    let shop = rig
        .token("s", RoleWord::Viewer, Some("shop"), &[], true)
        .await;
    let seen = rig.get("/api/v1/apps", &shop).await;
    assert_eq!(names(&seen.body), ["checkout"]);
    let seen = rig.get("/api/v1/apps?project=bank", &shop).await;
    assert!(names(&seen.body).is_empty());
    let rollouts = rig.client(&admin).rollouts(None, None, None).await.unwrap();
    let apps: Vec<&str> = rollouts.items.iter().map(|it| it.app.as_str()).collect();
    assert_eq!(apps, ["c", "b", "a"]);
    let busy = rig.request(Method::DELETE, "/api/v1/apps/bank/a", &admin);
    is(&rig.send(busy).await, StatusCode::CONFLICT, "conflict");
    let gone = rig.send(rig.request(Method::DELETE, path, &admin)).await;
    assert_eq!(gone.status, 204);
    is(
        &rig.get(path, &admin).await,
        StatusCode::NOT_FOUND,
        "not-found",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn approvals_come_from_the_right_people_for_the_right_step() {
    let rig = Rig::start().await;
    let rollout = rig.rollout("shop", "checkout").await;
    let path = format!("/api/v1/rollouts/{}/approvals", rollout.id);
    let (approver, group) = (RoleWord::Approver, "release-managers");
    let outsider = rig
        .token("o", approver, Some("shop"), &["devs"], true)
        .await;
    let ann = rig
        .token("ann", approver, Some("shop"), &[group], true)
        .await;
    let bob = rig
        .token("bob", approver, Some("shop"), &[group], true)
        .await;
    let yes = json!({"decision": "approve", "step": 0, "attempt": 1, "comment": "fine"});
    let answer = rig.post(&path, &outsider, &yes).await;
    is(&answer, StatusCode::FORBIDDEN, "forbidden");
    let stale = json!({"decision": "approve", "step": 4});
    is(
        &rig.post(&path, &ann, &stale).await,
        StatusCode::CONFLICT,
        "conflict",
    );
    for _ in 0..2 {
        let answer = rig.post(&path, &ann, &yes).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let count = || async {
        let found = rig.store.rollout(rollout.id).await.unwrap().unwrap();
        found.state.approvals.len()
    };
    assert_eq!(count().await, 1, "the same person counts once");
    let explained = rig.client(&ann).explain(rollout.id).await.unwrap();
    assert!(
        explained
            .facts
            .iter()
            .any(|it| it.starts_with("approved by token:ann"))
    );
    assert!(
        explained.next.iter().any(|it| it.starts_with("abort: ")),
        "{explained:?}"
    );
    assert_eq!(rig.post(&path, &bob, &yes).await.status, 200);
    assert_eq!(count().await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_go_round_no_approval_and_an_abort_wins() {
    let rig = Rig::start().await;
    let rollout = rig.rollout("shop", "checkout").await;
    let (approver, group) = (RoleWord::Approver, "release-managers");
    let bob = rig
        .token("bob", approver, Some("shop"), &[group], true)
        .await;
    let commands = format!("/api/v1/rollouts/{}/commands", rollout.id);
    let deployer = rig
        .token("d", RoleWord::Deployer, Some("shop"), &[], false)
        .await;
    for order in ["skip", "promoteFull"] {
        let answer = rig
            .post(&commands, &deployer, &json!({"order": order}))
            .await;
        is(&answer, StatusCode::FORBIDDEN, "forbidden");
    }
    let answer = rig
        .post(&commands, &deployer, &json!({"order": "promote"}))
        .await;
    is(&answer, StatusCode::CONFLICT, "rejected");
    let answer = rig
        .post(&commands, &deployer, &json!({"order": "abort"}))
        .await;
    assert_eq!(
        (answer.status, &answer.body["phase"]),
        (200, &json!("aborting"))
    );
    assert_eq!(answer.body["why"]["kind"], "person");
    let path = format!("/api/v1/rollouts/{}/approvals", rollout.id);
    let late = rig.post(&path, &bob, &json!({"decision": "approve"})).await;
    is(&late, StatusCode::CONFLICT, "rejected");
    let history = rig.client(&bob).history(rollout.id, None).await.unwrap();
    let events: Vec<&str> = history.items.iter().map(|it| it.event.as_str()).collect();
    assert_eq!(events, ["created", "started", "abortStarted"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_polls_and_streams_hear_of_commits_and_end_with_the_server() {
    let rig = Rig::start().await;
    let rollout = rig.rollout("shop", "checkout").await;
    let viewer = rig
        .token("v", RoleWord::Viewer, Some("shop"), &[], true)
        .await;
    let client = rig.client(&viewer);
    let answer = client.wait(rollout.id, None, SOON).await.unwrap();
    assert!(answer.reached, "it waits for a person");
    let version = Some(rollout.version);
    let answer = client
        .wait(rollout.id, version, Duration::ZERO)
        .await
        .unwrap();
    assert!(!answer.reached);
    let mut events = client.events(None).await.unwrap();
    let foreign = rig.rollout("bank", "ledger").await;
    let waiting = tokio::spawn({
        let (client, id) = (client.clone(), rollout.id);
        async move { client.wait(id, version, Duration::from_secs(60)).await }
    });
    let paused = Event::Paused {
        by: "ann".to_owned(),
    };
    let rollout = rig.change(&rollout, Phase::Paused, paused, None).await;
    let answer = tokio::time::timeout(SOON, waiting).await.unwrap();
    let answer = answer.unwrap().unwrap();
    assert_eq!(
        (answer.reached, answer.rollout.version),
        (true, rollout.version)
    );
    let heard = tokio::time::timeout(SOON, events.next()).await.unwrap();
    let heard = heard.unwrap().unwrap();
    assert_eq!(
        (heard.event.as_str(), heard.rollout),
        ("paused", rollout.id)
    );
    assert_ne!(heard.rollout, foreign.id);
    // Back from before that event: it comes again, and nothing before it.
    let resumed = Event::Resumed {
        by: "ann".to_owned(),
    };
    rig.change(&rollout, Phase::Progressing, resumed, None)
        .await;
    let mut again = client.events(Some(&heard.id)).await.unwrap();
    let next = tokio::time::timeout(SOON, again.next()).await.unwrap();
    assert_eq!(next.unwrap().unwrap().event, "resumed");
    let bad = rig.request(Method::GET, "/api/v1/events", &viewer);
    let bad = rig.send(bad.header("last-event-id", "yesterday")).await;
    is(&bad, StatusCode::BAD_REQUEST, "malformed");
    rig.service.stop.cancel();
    let end = tokio::time::timeout(SOON, again.next()).await.unwrap();
    assert!(matches!(end, Ok(None)), "{end:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_shown_once_and_die_at_once() {
    let rig = Rig::start().await;
    let admin = rig.admin().await;
    let ask = json!({"name": "ci", "role": "deployer", "project": "shop"});
    let created = rig.post("/api/v1/tokens", &admin, &ask).await;
    assert_eq!(created.status, 201, "{created:?}");
    let secret = created.body["secret"].as_str().unwrap().to_owned();
    let twice = rig.post("/api/v1/tokens", &admin, &ask).await;
    is(&twice, StatusCode::CONFLICT, "conflict");
    let whoami = rig.client(&secret).whoami().await.unwrap();
    assert_eq!(whoami.principal, "token:ci");
    let listed = rig.get("/api/v1/tokens", &admin).await;
    assert!(!listed.body.to_string().contains(&secret));
    let dump = rig
        .postgres
        .execute("sluice", "SELECT t::text FROM api_token t")
        .await;
    assert!(!dump.unwrap().contains(&secret));
    let id = created.body["token"]["id"].as_str().unwrap();
    let path = format!("/api/v1/tokens/{id}");
    let answer = rig.send(rig.request(Method::DELETE, &path, &admin)).await;
    assert_eq!(answer.status, 204);
    let answer = rig.get("/api/v1/whoami", &secret).await;
    is(&answer, StatusCode::UNAUTHORIZED, "unauthenticated");
    // A project's admin manages that project's tokens and no others.
    let local = rig
        .token("local", RoleWord::Admin, Some("shop"), &[], false)
        .await;
    for beyond in [
        json!({"name": "x", "role": "viewer"}),
        json!({"name": "x", "role": "viewer", "project": "bank"}),
        json!({"name": "x", "role": "viewer", "project": "shop", "person": true}),
    ] {
        let answer = rig.post("/api/v1/tokens", &local, &beyond).await;
        is(&answer, StatusCode::FORBIDDEN, "forbidden");
    }
    let all = rig.client(&admin).tokens().await.unwrap();
    let root = all.items.iter().find(|it| it.name == "root").unwrap();
    let path = format!("/api/v1/tokens/{}", root.id);
    let answer = rig.send(rig.request(Method::DELETE, &path, &local)).await;
    is(&answer, StatusCode::NOT_FOUND, "not-found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hooks_take_version_4_and_nothing_larger_than_they_read() {
    let rig = Rig::start().await;
    let token = rig.token("am", RoleWord::Deployer, None, &[], false).await;
    let path = "/api/v1/hooks/alertmanager";
    let payload = json!({
        "version": "4", "receiver": "sluice", "status": "firing", "truncatedAlerts": 2,
        "groupKey": "{}:{}", "unheardOf": null,
        "alerts": [{"status": "resolved", "labels": {"alertname": "Errors", "app": "checkout"},
            "annotations": {}, "startsAt": "2026-01-01T00:00:00Z", "endsAt": "2026-01-01T00:01:00Z",
            "generatorURL": "http://127.0.0.1/", "fingerprint": "f"}],
    });
    let answer = rig.post(path, &token, &payload).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.body["acted"], json!([]));
    assert_eq!(answer.body["ignored"].as_array().unwrap().len(), 2);
    let mut other = payload.clone();
    other["version"] = json!("5");
    is(
        &rig.post(path, &token, &other).await,
        StatusCode::UNPROCESSABLE_ENTITY,
        "invalid-field",
    );
    let mut null = payload.clone();
    null["alerts"] = Value::Null;
    is(
        &rig.post(path, &token, &null).await,
        StatusCode::UNPROCESSABLE_ENTITY,
        "invalid-field",
    );
    let mut huge = payload;
    huge["groupKey"] = json!("x".repeat(4 << 20));
    is(
        &rig.post(path, &token, &huge).await,
        StatusCode::PAYLOAD_TOO_LARGE,
        "too-large",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_tell_a_server_that_stands_still_from_one_that_works() {
    let rig = Rig::start().await;
    assert_eq!(rig.get("/health", "").await.status, 200);
    for path in ["/ready", "/startup"] {
        let answer = rig.get(path, "").await;
        is(&answer, StatusCode::SERVICE_UNAVAILABLE, "not-ready");
        assert_eq!(answer.header("retry-after"), "1");
    }
    let leases = &rig.service.leases;
    let (url, waker) = (rig.url.clone(), rig.service.waker.clone());
    let stop = rig.service.stop.child_token();
    let thread = leases.keep(url, waker, stop.clone()).unwrap();
    local::wait::until(SOON, "ready", || async {
        match rig.get("/ready", "").await.status {
            200 => Ok(()),
            status => Err(status),
        }
    })
    .await
    .unwrap();
    rig.rollout("shop", "checkout").await;
    let text = rig.get("/metrics", "").await;
    assert!(
        text.header("content-type")
            .starts_with("application/openmetrics-text")
    );
    let text = text.body.as_str().unwrap().to_owned();
    assert!(
        text.contains("sluice_rollouts{phase=\"progressing\"} 1"),
        "{text}"
    );
    assert!(
        text.contains("route=\"/health\",status=\"200\"} 1"),
        "{text}"
    );
    assert!(!text.contains("checkout"), "no names of apps: {text}");
    stop.cancel();
    tokio::task::spawn_blocking(move || thread.join().unwrap())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deploy_that_is_repeated_is_done_once() {
    let rig = Rig::start().await;
    let admin = rig.admin().await;
    let client = rig.client(&admin);
    let file = document("shop", "checkout");
    client
        .put_app("shop", "checkout", &file, Some(0))
        .await
        .unwrap();
    let path = "/api/v1/apps/shop/checkout/rollouts";
    let deploy = |key: &str, body: &Value| {
        let request = rig.request(Method::POST, path, &admin).json(body);
        rig.send(request.header("idempotency-key", key.to_owned()))
    };
    let blue = json!({"artifact": "blue", "comment": "first"});
    let first = deploy("build-1", &blue).await;
    assert_eq!(first.status, 201, "{first:?}");
    let location = first.header("location").to_owned();
    assert_eq!(rig.get(&location, &admin).await.body["phase"], "pending");
    let again = deploy("build-1", &blue).await;
    assert_eq!(
        (again.status, again.header("location")),
        (201, location.as_str())
    );
    let other = json!({"artifact": "blue", "comment": "second"});
    let reused = deploy("build-1", &other).await;
    is(
        &reused,
        StatusCode::UNPROCESSABLE_ENTITY,
        "idempotency-key-reused",
    );
    is(
        &deploy("a b", &blue).await,
        StatusCode::BAD_REQUEST,
        "malformed",
    );
    let missing = deploy("build-2", &json!({"artifact": "green"})).await;
    is(&missing, StatusCode::UNPROCESSABLE_ENTITY, "invalid-field");
    assert_eq!(missing.body["errors"][0]["pointer"], "/artifact");
    let undo = deploy("build-3", &json!({"undo": true})).await;
    is(&undo, StatusCode::CONFLICT, "conflict");
    let all = client.rollouts(Some("shop"), None, None).await.unwrap();
    assert_eq!(all.items.len(), 1);
    let newer = deploy("build-4", &other).await;
    assert_eq!(newer.status, 201, "{newer:?}");
    let older = rig.get(&location, &admin).await;
    assert_eq!(older.body["phase"], "cancelled");
    assert_eq!(older.body["why"]["kind"], "superseded", "{older:?}");
    let revisions = client.revisions("shop", "checkout").await.unwrap();
    assert_eq!(
        revisions.items.len(),
        1,
        "the same artifact is the same revision"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_without_a_length_is_read_no_further_than_the_limit() {
    let rig = Rig::start().await;
    let admin = rig.admin().await;
    let sent = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&sent);
    let chunks = futures::stream::repeat_with(move || {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok::<_, std::io::Error>(vec![b' '; 64 << 10])
    });
    // 2 GiB, if somebody read them.
    let body = reqwest::Body::wrap_stream(futures::StreamExt::take(chunks, 32 << 10));
    let request = rig.request(Method::PUT, "/api/v1/apps/shop/checkout", &admin);
    let request = request
        .header("content-type", "application/json")
        .body(body);
    // The connection may be closed under the sender before it looks for the answer.
    if let Ok(answer) = request.send().await {
        assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }
    let sent = sent.load(std::sync::atomic::Ordering::Relaxed);
    assert!(sent < 1024, "{sent} chunks of 64 KiB were taken");
}

fn cookie_of(answer: &rig::Answer) -> String {
    let line = answer.header("set-cookie");
    line.split(';').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_signs_in_with_a_token_and_out_again() {
    let rig = Rig::start().await;
    let token = rig.token("ann", RoleWord::Operator, Some("shop"), &["eng"], true);
    let token = token.await;
    let sign_in = async |token: &str| {
        let body = json!({"token": token});
        rig.post("/api/v1/session", "", &body).await
    };
    for wrong in ["", "x", &token[1..]] {
        let answer = sign_in(wrong).await;
        is(&answer, StatusCode::UNAUTHORIZED, "unauthenticated");
        assert_eq!(answer.header("set-cookie"), "");
    }
    let answer = sign_in(&token).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.body["principal"], "token:ann");
    assert_eq!(
        answer.body["grants"],
        json!([{"role": "operator", "project": "shop"}])
    );
    assert_eq!(answer.body["via"], "token");
    let line = answer.header("set-cookie");
    assert!(line.contains("HttpOnly") && line.contains("SameSite=Lax"));
    let cookie = cookie_of(&answer);
    let text = cookie.split_once('=').unwrap().1.to_owned();
    let dump = rig
        .postgres
        .execute("sluice", "SELECT s::text FROM session s");
    assert!(!dump.await.unwrap().contains(&text));
    let by = By::Cookie(cookie.clone());
    for path in ["/api/v1/session", "/api/v1/whoami"] {
        let answer = rig.send(rig.ask(Method::GET, path, &by)).await;
        assert_eq!(answer.body["groups"], json!(["eng"]), "{answer:?}");
    }
    // A new sign-in in the same browser is a new session, and the one before is over.
    let request = rig.ask(Method::POST, "/api/v1/session", &by);
    let again = rig.send(request.json(&json!({"token": token}))).await;
    let newer = By::Cookie(cookie_of(&again));
    assert_ne!(cookie_of(&again), cookie);
    let answer = rig.send(rig.ask(Method::GET, "/api/v1/session", &by)).await;
    is(&answer, StatusCode::UNAUTHORIZED, "unauthenticated");
    let answer = rig
        .send(rig.ask(Method::DELETE, "/api/v1/session", &newer))
        .await;
    assert_eq!(answer.status, 204);
    assert!(answer.header("set-cookie").contains("Max-Age=0"));
    let answer = rig
        .send(rig.ask(Method::GET, "/api/v1/session", &newer))
        .await;
    is(&answer, StatusCode::UNAUTHORIZED, "unauthenticated");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_end_by_themselves_and_with_their_token() {
    let rig = Rig::start().await;
    let admin = rig.admin().await;
    let _token = rig.token("ann", RoleWord::Viewer, None, &[], true).await;
    let get = async |cookie: &str| {
        let by = By::Cookie(cookie.to_owned());
        rig.send(rig.ask(Method::GET, "/api/v1/session", &by)).await
    };
    let sql = async |sql: &str| rig.postgres.execute("sluice", sql).await.unwrap();
    // Looked up for the first time after each change, so nothing is remembered.
    for (change, good) in [
        ("seen_at = seen_at - interval '7 h'", true),
        ("seen_at = seen_at - interval '9 h'", false),
        ("expires_at = clock_timestamp()", false),
        ("ended_at = clock_timestamp()", false),
        ("hash = decode('00', 'hex')", false),
    ] {
        let cookie = rig.session("ann").await;
        sql(&format!(
            "UPDATE session SET {change} WHERE id = (SELECT max(id::text)::uuid FROM session)"
        ))
        .await;
        let answer = get(&cookie).await;
        assert_eq!(answer.status, if good { 200 } else { 401 }, "{change}");
        if good {
            local::wait::until(SOON, "the use to be noted", || async {
                let seen = "SELECT seen_at > clock_timestamp() - interval '1 minute' FROM session";
                match sql(seen).await.as_str() {
                    "t" => Ok(()),
                    other => Err(other.to_owned()),
                }
            })
            .await
            .unwrap();
        }
    }
    let cookie = rig.session("ann").await;
    assert_eq!(get(&cookie).await.status, 200);
    let all = rig.client(&admin).tokens().await.unwrap();
    let ann = all.items.iter().find(|it| it.name == "ann").unwrap();
    let path = format!("/api/v1/tokens/{}", ann.id);
    let answer = rig.send(rig.request(Method::DELETE, &path, &admin)).await;
    assert_eq!(answer.status, 204);
    assert_eq!(get(&cookie).await.status, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_tries_out_tokens_is_told_to_wait() {
    let rig = Rig::start().await;
    let mut statuses = BTreeSet::new();
    for _ in 0..40 {
        let answer = rig
            .post("/api/v1/session", "", &json!({"token": "x"}))
            .await;
        statuses.insert(answer.status);
    }
    assert_eq!(statuses, BTreeSet::from([401, 429]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_other_sites_change_nothing() {
    let rig = Rig::start().await;
    let token = rig.token("ann", RoleWord::Admin, None, &[], true).await;
    let by = By::Cookie(rig.session("ann").await);
    // What a page of another site makes a browser send changes nothing.
    for (name, value) in [
        ("x-sluice-request", "0"),
        ("sec-fetch-site", "cross-site"),
        ("origin", "https://evil.example"),
    ] {
        for (method, path) in [
            (Method::DELETE, "/api/v1/session"),
            (Method::POST, "/api/v1/tokens"),
            (Method::PUT, "/api/v1/apps/shop/checkout"),
        ] {
            let mut request = rig.ask(method, path, &by).build().unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
            let answer = rig.http.execute(request).await.unwrap();
            assert_eq!(answer.status(), 403, "{name}: {value} {path}");
        }
    }
    let sent = rig.request(Method::POST, "/api/v1/session", "");
    let sent = sent.header("origin", "https://evil.example");
    let answer = rig.send(sent.json(&json!({"token": token}))).await;
    is(&answer, StatusCode::FORBIDDEN, "forbidden");
    // A token in a header is sent by nobody's browser by itself.
    let sent = rig.request(Method::POST, "/api/v1/tokens", &token);
    let answer = rig
        .send(
            sent.header("origin", "https://evil.example")
                .json(&json!({})),
        )
        .await;
    assert_ne!(answer.status, 401, "{answer:?}");
}
