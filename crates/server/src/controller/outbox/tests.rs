//! Deliveries from a real outbox to real receivers, one of which never answers.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, extract::State, http::HeaderMap, routing::post};
use local::wait;
use rollout::{Event, Phase};
use serde_json::json;
use store::NewNotice;
use tokio::net::TcpListener;

use super::{SLOTS, deliver_notices};
use crate::controller::rig::Rig;

/// What is not delayed arrives within it, on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(5);
/// What all of two hundred that hang for two seconds, 64 at a time, take.
const ALL_GIVE_UP: Duration = Duration::from_secs(30);

type Inbox = Arc<Mutex<Vec<String>>>;

async fn receive(State(inbox): State<Inbox>, headers: HeaderMap) {
    let id = headers["webhook-id"].to_str().unwrap().to_owned();
    inbox.lock().unwrap().push(id);
}

async fn good() -> (String, Inbox) {
    let inbox = Inbox::default();
    let router = Router::new().route("/", post(receive));
    let router = router.with_state(Arc::clone(&inbox));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, inbox)
}

/// Takes connections and never answers; counts those that are open at once.
async fn hanging() -> (String, Arc<Mutex<usize>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let open = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&open);
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
            *counted.lock().unwrap() = held.len();
        }
    });
    (url, open)
}

fn to(url: &str, within: &str) -> NewNotice {
    NewNotice {
        id: None,
        target: json!({ "webhook": { "url": url, "secretFile": null, "secretEnv": null,
                                     "timeout": within } }),
        kind: "rollout.paused".to_owned(),
        payload: json!({}),
    }
}

async fn write(rig: &Rig, app: &str, notices: Vec<NewNotice>) {
    let rollout = rig.pending(app, "v1").await;
    rig.change_and_tell(&rollout, Phase::Progressing, Event::Started, notices)
        .await;
}

fn deliver(rig: &Rig) {
    let stop = rig.service.stop.child_token();
    tokio::spawn(deliver_notices(rig.service.clone(), stop));
}

async fn told(inbox: &Inbox, wanted: usize, within: Duration) -> Vec<String> {
    wait::until_now(within, "the good receiver's notices", || {
        let arrived = inbox.lock().unwrap().clone();
        match arrived.len() >= wanted {
            true => Ok(arrived),
            false => Err(format!("{} of {wanted}", arrived.len())),
        }
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn a_receiver_that_hangs_or_fails_delays_nobody_elses_notices() {
    let rig = Rig::start().await;
    let ((good, inbox), (hangs, open)) = (good().await, hanging().await);
    let nobody = format!("http://127.0.0.1:{}/", local::ports::free_port().unwrap());
    // All of theirs were written before the others'.
    let mut notices = vec![to(&hangs, "PT20S"); 40];
    notices.extend(vec![to(&nobody, "PT20S"); 40]);
    notices.extend(vec![to(&good, "PT20S"); 20]);
    write(&rig, "web", notices).await;
    deliver(&rig);
    let told = told(&inbox, 20, AT_ONCE).await;
    let sql = "SELECT json_agg(id ORDER BY id) FROM outbox WHERE target::text LIKE";
    let written = rig.sql(&format!("{sql} '%{good}%'")).await;
    let written: Vec<String> = serde_json::from_str(&written).unwrap();
    assert_eq!(told, written, "each once, in the order of writing");
    assert_eq!(*open.lock().unwrap(), 1, "connections to who hangs");
}

#[tokio::test]
async fn those_that_are_known_to_hang_leave_room_however_many_they_are() {
    let rig = Rig::start().await;
    let ((good, inbox), (hangs, open)) = (good().await, hanging().await);
    let hanging = (0..200).map(|it| to(&format!("{hangs}{it}"), "PT2S"));
    write(&rig, "many", hanging.collect()).await;
    deliver(&rig);
    wait::until_now(AT_ONCE, "deliveries in every slot", || {
        let open = *open.lock().unwrap();
        (open == SLOTS).then_some(()).ok_or(open)
    })
    .await
    .unwrap();
    // Nobody knew: this one waits until the first of them give up.
    write(&rig, "web", vec![to(&good, "PT20S")]).await;
    rig.service.ring.notify_one();
    told(&inbox, 1, ALL_GIVE_UP).await;
    // By now the others hang in every slot that may be taken by them.
    local::wait::until(ALL_GIVE_UP, "every one to have failed", || async {
        let sql = "SELECT count(*) FROM outbox WHERE closed_at IS NULL AND last_error IS NULL";
        let left = rig.sql(sql).await;
        (left == "0").then_some(()).ok_or(left)
    })
    .await
    .unwrap();
    write(&rig, "shop", vec![to(&good, "PT20S")]).await;
    rig.service.ring.notify_one();
    told(&inbox, 2, AT_ONCE).await;
}

#[tokio::test]
async fn a_delivery_that_takes_longer_than_a_claim_is_made_once() {
    let rig = Rig::start().await;
    let (hangs, open) = hanging().await;
    write(&rig, "web", vec![to(&hangs, "PT60S")]).await;
    deliver(&rig);
    wait::until_now(AT_ONCE, "the delivery", || {
        let open = *open.lock().unwrap();
        (open == 1).then_some(()).ok_or(open)
    })
    .await
    .unwrap();
    // As if most of the claim were over.
    rig.sql("UPDATE outbox SET due_at = now() + interval '11 seconds' WHERE closed_at IS NULL")
        .await;
    local::wait::until(Duration::from_secs(12), "the claim to be kept", || async {
        let sql =
            "SELECT due_at > now() + interval '15 seconds' FROM outbox WHERE closed_at IS NULL";
        let kept = rig.sql(sql).await;
        (kept == "t").then_some(()).ok_or(kept)
    })
    .await
    .unwrap();
    assert_eq!(*open.lock().unwrap(), 1);
}
