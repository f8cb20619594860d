//! Notices of transitions: each is delivered at least once under a stable id, signed, also when the
//! receiver is down and the server is killed meanwhile (invariant I13).

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, ensure};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use e2e::{
    Pair, Setup, Version, World,
    apps::{app, canary},
    pairs::ProcessHaProxy,
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use local::wait;
use serde_json::{Value, json};
use sha2::Sha256;

const PAIR: ProcessHaProxy = ProcessHaProxy;
const SECRET: &[u8] = b"thirty-two bytes of test secret!";
/// Back-off after a failure, plus the life of a claim that a killed server left behind.
const WITHIN: Duration = Duration::from_secs(60);

/// What arrived: by id, each body and whether its signature was good.
#[derive(Debug, Default)]
struct Inbox {
    open: AtomicBool,
    refused: AtomicBool,
    arrived: Mutex<BTreeMap<String, Vec<(Value, bool)>>>,
}

async fn receive(State(inbox): State<Arc<Inbox>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    if !inbox.open.load(Ordering::SeqCst) {
        inbox.refused.store(true, Ordering::SeqCst);
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|it| it.to_str().ok())
            .unwrap_or_default()
    };
    let (id, timestamp) = (text("webhook-id"), text("webhook-timestamp"));
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET).unwrap();
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(&body);
    let wanted = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    let signed = text("webhook-signature").split(' ').any(|it| it == wanted);
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    inbox
        .arrived
        .lock()
        .unwrap()
        .entry(id.to_owned())
        .or_default()
        .push((body, signed));
    StatusCode::NO_CONTENT
}

async fn inbox() -> anyhow::Result<(String, Arc<Inbox>)> {
    let inbox = Arc::new(Inbox::default());
    let router = Router::new()
        .route("/hook", post(receive))
        .with_state(Arc::clone(&inbox));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/hook", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok((url, inbox))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_transition_is_told_though_receiver_and_server_fail() -> anyhow::Result<()> {
    let mut world = World::start(Setup::default()).await?;
    let (url, inbox) = inbox().await?;
    let secret = world.directory().join("webhook-secret");
    std::fs::write(&secret, format!("whsec_{}\n", STANDARD.encode(SECRET)))?;
    let mut file = app(&world, &PAIR, &canary(&json!([{ "setWeight": 100 }])));
    file["notify"] = json!([{ "webhook": { "url": url, "secretFile": secret } }]);
    world.apply(&file).await?;
    let artifact = PAIR.artifact(&world, &Version::good("v1")).await?;
    let id = world.deploy(&artifact).await?.summary.id;
    world.ended(id, "succeeded").await?;
    wait::until_now(WITHIN, "a notice to be refused", || {
        inbox
            .refused
            .load(Ordering::SeqCst)
            .then_some(())
            .ok_or("none yet")
    })
    .await?;
    world.server.kill9()?;
    inbox.open.store(true, Ordering::SeqCst);
    world.server.start_again(&[]).await?;

    let history = world.history(id).await?;
    let arrived = wait::until_now(WITHIN, "a notice of every transition", || {
        let arrived = inbox.arrived.lock().unwrap();
        match arrived.len() >= history.len() {
            true => Ok(arrived.clone()),
            false => Err(format!("{} of {}", arrived.len(), history.len())),
        }
    })
    .await?;
    let mut told: Vec<u64> = Vec::new();
    for (notice, deliveries) in &arrived {
        let (body, _) = deliveries.first().context("an empty delivery")?;
        ensure!(
            deliveries.iter().all(|(_, signed)| *signed),
            "{notice} is not signed well"
        );
        ensure!(
            deliveries.iter().all(|(it, _)| it == body),
            "{notice} came with two bodies"
        );
        ensure!(
            body["rollout"] == json!(id),
            "{notice} is about {}",
            body["rollout"]
        );
        told.push(body["generation"].as_u64().context("no generation")?);
    }
    told.sort_unstable();
    let wanted: Vec<u64> = (0..history.len() as u64).collect();
    ensure!(
        told == wanted,
        "told {told:?}, history has {} rows",
        history.len()
    );
    Ok(())
}
