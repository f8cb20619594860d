//! Slack, Teams and mail against receivers that read what they are sent as the real ones do, and
//! that misbehave.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy.toml allows them in test functions, not in what these share"
)]

mod support;

use std::sync::{Arc, Mutex};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::post,
};
use drivers::{Notice, NotifierConfig, notify::Delivery};
use jiff::Timestamp;
use local::certificate;
use local::smtp::{self, Smtp, Tls};
use rollout::document;
use serde_json::{Value, json};
use support::{cx, serve};

type Received = Arc<Mutex<Vec<Value>>>;

async fn reply(
    Path(status): Path<u16>,
    State(received): State<Received>,
    Json(body): Json<Value>,
) -> StatusCode {
    received.lock().unwrap().push(body);
    match status {
        0 => std::future::pending().await,
        status => StatusCode::from_u16(status).unwrap(),
    }
}

fn read(notifier: &Value) -> NotifierConfig {
    document::read(notifier, NotifierConfig::read).unwrap()
}

fn notice() -> Notice {
    Notice {
        id: "0190f5f2-0000-7000-8000-000000000001".to_owned(),
        // Not the time of the call: a notice that is sent again has the time that it was made.
        at: Timestamp::UNIX_EPOCH,
        kind: "rollout.rolledBack".to_owned(),
        payload: json!({
            "type": "rollout.rolledBack", "project": "shop", "app": "checkout", "candidate": "r2",
            "rollout": "0190f5f2-0000-7000-8000-00000000000a",
            "sentence": "rolled back: r2 has no traffic any more",
            "reason": "aborted by ann: \"<!channel> *bold* [x](http://evil) & more\r\nBcc: eve@b.example\"",
            "link": "https://sluice.example/rollouts/1",
        }),
    }
}

/// Both chats with the same address, one by its file, one with a short time.
fn chats(directory: &std::path::Path, url: &str, case: u16) -> [NotifierConfig; 2] {
    let file = directory.join(format!("address-{case}"));
    std::fs::write(&file, format!("{url}/{case}/s3cret\n")).unwrap();
    ["slack", "teams"].map(|it| read(&json!({ it: { "urlFile": file, "timeout": "500ms" } })))
}

/// Whether `block` is one of those that Slack documents, as it documents it.
fn assert_slack_block(block: &Value) {
    let text = |text: &Value, kind: &str, longest: usize| {
        assert_eq!(text["type"], kind, "{block}");
        let length = text["text"].as_str().unwrap().chars().count();
        assert!((1..=longest).contains(&length), "{block}");
        let more = if kind == "mrkdwn" {
            "verbatim"
        } else {
            "emoji"
        };
        let known = ["type", "text", more];
        let keys = text.as_object().unwrap().keys();
        assert!(
            keys.into_iter().all(|it| known.contains(&it.as_str())),
            "{block}"
        );
    };
    match block["type"].as_str().unwrap() {
        "header" => text(&block["text"], "plain_text", 150),
        "section" => text(&block["text"], "mrkdwn", 3000),
        "context" => {
            let elements = block["elements"].as_array().unwrap();
            assert!((1..=10).contains(&elements.len()));
            elements.iter().for_each(|it| text(it, "mrkdwn", 3000));
        }
        other => panic!("{other}: {block}"),
    }
}

#[tokio::test]
async fn chats_get_what_their_makers_document_and_nothing_that_people_wrote_has_a_meaning() {
    let (cx, directory) = cx();
    let received = Received::default();
    let router = Router::new().route("/{status}/s3cret", post(reply));
    let server = serve(router.with_state(Arc::clone(&received))).await;
    for chat in chats(directory.path(), &server.url(), 200) {
        assert!(chat.driver().wants("rollout.rolledBack", false));
        assert!(!chat.driver().wants("rollout.stepDone", false));
        let delivered = chat.driver().deliver(&cx, &notice()).await.unwrap();
        assert_eq!(delivered, Delivery::Accepted);
    }
    let received = received.lock().unwrap().clone();
    let [slack, teams] = &received[..] else {
        panic!("{received:?}")
    };
    assert!(
        slack["text"]
            .as_str()
            .unwrap()
            .starts_with("shop/checkout r2: rolled back")
    );
    let blocks = slack["blocks"].as_array().unwrap();
    assert!((1..=50).contains(&blocks.len()));
    blocks.iter().for_each(assert_slack_block);
    let said = blocks[1]["text"]["text"].as_str().unwrap();
    assert!(
        said.contains("Why: aborted by ann: \"&lt;!channel&gt; *bold*"),
        "{said}"
    );
    assert!(said.contains("&amp; more") && !said.contains('<'), "{said}");
    let link = "<https://sluice.example/rollouts/1|Open the rollout>";
    assert_eq!(blocks[2]["elements"][0]["text"], link);

    assert_eq!(teams["type"], "message");
    let attachments = teams["attachments"].as_array().unwrap();
    assert_eq!(attachments.len(), 1);
    assert_eq!(
        attachments[0]["contentType"],
        "application/vnd.microsoft.card.adaptive"
    );
    assert_eq!(attachments[0]["contentUrl"], Value::Null);
    let card = &attachments[0]["content"];
    assert_eq!(card["type"], "AdaptiveCard");
    assert_eq!(card["version"], "1.4");
    for block in card["body"].as_array().unwrap() {
        assert_eq!(block["type"], "RichTextBlock", "plain runs only");
        for run in block["inlines"].as_array().unwrap() {
            assert_eq!(run["type"], "TextRun");
            assert!(!run["text"].as_str().unwrap().is_empty());
        }
    }
    let action = json!({ "type": "Action.OpenUrl", "title": "Open the rollout",
                         "url": "https://sluice.example/rollouts/1" });
    assert_eq!(card["actions"], json!([action]));
}

#[tokio::test]
async fn what_chats_answer_is_understood_and_their_address_is_never_told() {
    let (cx, directory) = cx();
    let router = Router::new().route("/{status}/s3cret", post(reply));
    let server = serve(router.with_state(Received::default())).await;
    for (case, transient) in [
        (0, true),
        (429, true),
        (500, true),
        (400, false),
        (404, false),
    ] {
        for chat in chats(directory.path(), &server.url(), case) {
            let error = chat.driver().deliver(&cx, &notice()).await.unwrap_err();
            assert_eq!(error.transient, transient, "{case}: {error}");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }
    for chat in chats(directory.path(), &server.url(), 202) {
        let delivered = chat.driver().deliver(&cx, &notice()).await.unwrap();
        assert_eq!(delivered, Delivery::Accepted);
    }
    // Not an address, or one that others can read on the way.
    for text in [
        "s3cret",
        "http://chat.example/s3cret",
        "postgres://s3cret@h/d",
        "",
    ] {
        std::fs::write(directory.path().join("address"), text).unwrap();
        let slack = read(&json!({ "slack": { "urlFile": directory.path().join("address") } }));
        let error = slack.driver().deliver(&cx, &notice()).await.unwrap_err();
        assert!(
            error.transient && !error.to_string().contains("s3cret"),
            "{error}"
        );
    }
    let both = json!({ "slack": { "urlFile": "a", "urlEnv": "B" } });
    let written = json!({ "teams": { "urlFile": "https://chat.example/s3cret" } });
    for wrong in [both, written, json!({ "slack": {} })] {
        let problems = document::read(&wrong, NotifierConfig::read).unwrap_err();
        assert!(
            problems.iter().all(|it| !it.detail.contains("s3cret")),
            "{problems:?}"
        );
    }
}

fn mail(server: &Smtp, more: &Value) -> NotifierConfig {
    let mut settings = json!({
        "host": "127.0.0.1", "port": server.port(), "timeout": "10s",
        "from": "Sluice <sluice@a.example>", "to": ["ann@b.example", "Bob <bob@b.example>"],
    });
    let (settings_map, more) = (settings.as_object_mut().unwrap(), more.as_object().unwrap());
    settings_map.extend(more.clone());
    read(&json!({ "email": settings }))
}

/// Whether a mail is what the notice was to become.
fn assert_right(mail: &smtp::Mail, tls: Tls, signs_in: bool) {
    assert_eq!(mail.to, ["ann@b.example", "bob@b.example"]);
    assert_eq!(mail.private, tls != Tls::None);
    assert_eq!(mail.user.as_deref(), signs_in.then_some("sluice"));
    assert_eq!(mail.headers["subject"], "shop/checkout r2: rolled back");
    assert_eq!(
        mail.headers["message-id"],
        "<0190f5f2-0000-7000-8000-000000000001@a.example>"
    );
    assert_eq!(mail.headers["auto-submitted"], "auto-generated");
    assert!(!mail.headers.contains_key("bcc"), "{mail:?}");
    assert!(
        mail.body.contains("Why: aborted by ann: \"<!channel>"),
        "{mail:?}"
    );
    assert!(
        mail.body.contains("https://sluice.example/rollouts/1"),
        "{mail:?}"
    );
}

#[tokio::test]
async fn a_mail_arrives_over_each_kind_of_connection_and_a_repetition_is_the_same_mail() {
    let (cx, directory) = cx();
    let (certificate, key) = certificate::self_signed(directory.path()).unwrap();
    let password = directory.path().join("password");
    std::fs::write(&password, "s3cret\n").unwrap();
    for (word, tls) in [
        ("none", Tls::None),
        ("starttls", Tls::Starttls),
        ("tls", Tls::Tls),
    ] {
        let signs_in = tls == Tls::Starttls;
        let options = smtp::Options {
            tls,
            certificate: Some((certificate.clone(), key.clone())),
            user: signs_in.then(|| ("sluice".to_owned(), "s3cret".to_owned())),
            refused: vec!["gone@b.example".to_owned()],
        };
        let server = Smtp::start(&directory.path().join(word), options)
            .await
            .unwrap();
        let mut settings = json!({ "tls": word, "caFile": certificate });
        if signs_in {
            settings["user"] = json!("sluice");
            settings["secretFile"] = json!(password);
        }
        let email = mail(&server, &settings);
        for _ in 0..2 {
            let delivered = email.driver().deliver(&cx, &notice()).await.unwrap();
            assert_eq!(delivered, Delivery::Accepted);
        }
        let mails = server.mails().unwrap();
        assert_eq!((mails.len(), &mails[0]), (2, &mails[1]), "{word}");
        assert_right(&mails[0], tls, signs_in);
        // A recipient that is not there is said so, and stays so.
        settings["to"] = json!(["gone@b.example"]);
        let gone = self::mail(&server, &settings);
        let error = gone.driver().deliver(&cx, &notice()).await.unwrap_err();
        assert!(
            !error.transient && error.to_string().contains("no such mailbox"),
            "{error}"
        );
        settings["to"] = json!(["ann@b.example"]);
        // Somebody else's certificate, a wrong password: nothing is sent.
        if tls != Tls::None {
            settings["caFile"] = Value::Null;
            let stranger = self::mail(&server, &settings);
            let error = stranger.driver().deliver(&cx, &notice()).await.unwrap_err();
            assert!(error.to_string().contains("certificate"), "{error}");
            settings["caFile"] = json!(certificate);
        }
        if signs_in {
            std::fs::write(&password, "wrong").unwrap();
            let wrong = self::mail(&server, &settings);
            let error = wrong.driver().deliver(&cx, &notice()).await.unwrap_err();
            assert!(!error.to_string().contains("wrong"), "{error}");
            settings["tls"] = json!("none");
            settings["user"] = Value::Null;
            settings["secretFile"] = Value::Null;
            let clear = self::mail(&server, &settings);
            clear.driver().deliver(&cx, &notice()).await.unwrap_err();
        }
        assert_eq!(server.mails().unwrap().len(), 2, "{word}");
    }
}

#[tokio::test]
async fn a_mail_server_that_hangs_or_is_away_is_given_up_in_time() {
    let (cx, _directory) = cx();
    let hangs = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hangs = hangs.local_addr().unwrap().port();
    let away = local::ports::free_port().unwrap();
    for port in [hangs, away] {
        let email = read(&json!({ "email": {
            "host": "127.0.0.1", "port": port, "tls": "none", "timeout": "500ms",
            "from": "a@b.example", "to": ["c@b.example"],
        } }));
        let begun = std::time::Instant::now();
        let error = email.driver().deliver(&cx, &notice()).await.unwrap_err();
        assert!(error.transient, "{error}");
        assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
    }
}
