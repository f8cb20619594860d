//! People are told of rollouts in Slack, in Teams and by mail, and machines by a webhook: at the
//! right moments, whatever hangs, and whatever dies between a commit and its delivery.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, ensure};
use api::{Approve, Decision};
use axum::{
    Json, Router,
    extract::{Path, State},
    http::HeaderMap,
    routing::post,
};
use e2e::{
    Pair, Setup, Version, World,
    apps::{APP, PROJECT, app_with_gate, canary},
    pairs::ProcessHaProxy,
};
use local::smtp::{Options, Smtp};
use local::wait;
use serde_json::{Value, json};
use uuid::Uuid;

const PAIR: ProcessHaProxy = ProcessHaProxy;
const PUBLIC_URL: &str = "https://sluice.example";
/// What a claim of a killed server lasts, and a pause after a failure, on a busy machine.
const AFTER_A_DEATH: Duration = Duration::from_secs(90);
/// What is in nobody's way arrives within it, on a busy machine; a receiver that hangs would cost more.
const AT_ONCE: Duration = Duration::from_secs(15);
/// How long the one that hangs is waited for.
const HANGS: &str = "60s";

/// What the receivers were sent, by place and in order; and how they behave.
#[derive(Debug, Default)]
struct Receivers {
    sent: Mutex<Vec<(String, String, Value)>>,
    hold: AtomicBool,
    fails: AtomicBool,
}

impl Receivers {
    /// The bodies sent to a place that are about a rollout, each notice once.
    fn about(&self, place: &str, rollout: Uuid) -> BTreeMap<String, Value> {
        let sent = self.sent.lock().unwrap();
        let about = sent
            .iter()
            .filter(|(to, _, body)| to == place && body.to_string().contains(&rollout.to_string()));
        about
            .map(|(_, id, body)| (id.clone(), body.clone()))
            .collect()
    }

    /// The headlines of what a place was sent about a rollout.
    fn headlines(&self, place: &str, rollout: Uuid) -> Vec<String> {
        let headline = match place {
            "slack" => "/blocks/0/text/text",
            _ => "/attachments/0/content/body/0/inlines/0/text",
        };
        let about = self.about(place, rollout);
        let all = about.values().filter_map(|it| it.pointer(headline));
        all.filter_map(|it| it.as_str().map(str::to_owned))
            .collect()
    }
}

async fn receive(
    Path(place): Path<String>,
    State(receivers): State<Arc<Receivers>>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Json<Value> {
    if place == "gate" {
        let verdict = match receivers.fails.load(Ordering::SeqCst) {
            true => json!({ "verdict": "fail", "detail": "12 of 100 baskets were <lost>" }),
            false => json!({ "verdict": "pass" }),
        };
        return Json(verdict);
    }
    let id = headers.get("webhook-id").and_then(|it| it.to_str().ok());
    let id = id.unwrap_or_default().to_owned();
    let held = place == "webhook" && receivers.hold.load(Ordering::SeqCst);
    let place = if held { "held".to_owned() } else { place };
    receivers.sent.lock().unwrap().push((place, id, body));
    match held {
        true => std::future::pending().await,
        false => Json(Value::Null),
    }
}

/// All of them, and the address of those that speak HTTP.
struct Story {
    world: World,
    receivers: Arc<Receivers>,
    mail: Smtp,
    config: String,
    /// Takes connections and never answers.
    hanging: tokio::net::TcpListener,
}

async fn begin() -> anyhow::Result<Story> {
    let mut world = World::start(Setup::default()).await?;
    let place = world.directory().to_owned();
    let config = place.join("sluice.yaml");
    std::fs::write(&config, format!("publicUrl: {PUBLIC_URL}\n"))?;
    let config = config.display().to_string();
    world
        .server
        .start_again(&[("SLUICE_CONFIG", &config)])
        .await?;
    let mail = Smtp::start(&place.join("smtp"), Options::default()).await?;
    let receivers = Arc::new(Receivers::default());
    let router = Router::new().route("/{place}", post(receive));
    let router = router.with_state(Arc::clone(&receivers));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, router).await });
    let hanging = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let hangs = format!("http://{}/", hanging.local_addr()?);

    let secret = |name: &str, text: &str| -> anyhow::Result<String> {
        let path = place.join(name);
        std::fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let settings = json!({ "notify": [
        { "slack": { "urlFile": secret("slack", &format!("{url}/slack"))? } },
        { "teams": { "urlFile": secret("teams", &format!("{url}/teams"))? } },
        { "email": { "host": "127.0.0.1", "port": mail.port(), "tls": "none",
                     "from": "sluice@a.example", "to": ["ann@b.example"] } },
    ] });
    let arguments = ["project", "settings", PROJECT, "--file", "-"];
    let settings = settings.to_string();
    let applied = world.cli_as(&world.token, &arguments, &settings);
    applied.await?.expect(0)?;
    let steps =
        json!([{ "setWeight": 20 }, { "approve": {} }, { "gate": {} }, { "setWeight": 100 }]);
    let gate = json!({ "name": "baskets", "webhook": { "url": format!("{url}/gate") },
                       "interval": "300ms" });
    let mut file = app_with_gate(&world, &PAIR, &canary(&steps), gate);
    let notify = json!([
        { "webhook": { "url": format!("{url}/webhook") } },
        { "slack": { "urlFile": secret("hanging", &hangs)?, "timeout": HANGS } },
    ]);
    let map = file.as_object_mut().context("an app file is a map")?;
    map.insert("notify".to_owned(), notify);
    world.apply(&file).await?;
    Ok(Story {
        world,
        receivers,
        mail,
        config,
        hanging,
    })
}

impl Story {
    async fn deploy(&self, version: &'static str) -> anyhow::Result<Uuid> {
        let artifact = PAIR.artifact(&self.world, &Version::good(version)).await?;
        Ok(self.world.deploy(&artifact).await?.summary.id)
    }

    async fn approve(&self, rollout: Uuid) -> anyhow::Result<()> {
        let token = api::CreateToken {
            name: "ann".to_owned(),
            role: api::RoleWord::Approver,
            project: None,
            person: true,
            groups: Vec::new(),
            expires_in: None,
        };
        let created = self.world.client.create_token(&token).await?;
        let url = self.world.server.url();
        let ann = api::Client::new(&url, Some(created.secret.into()))?;
        let decision = Approve {
            decision: Decision::Approve,
            step: None,
            attempt: None,
            comment: None,
        };
        ann.approve(rollout, &decision).await?;
        Ok(())
    }

    /// What people were told about a rollout by mail: each mail once, by its id.
    fn mails(&self, rollout: Uuid) -> anyhow::Result<BTreeMap<String, local::smtp::Mail>> {
        let mails = self.mail.mails()?.into_iter();
        let about = mails.filter(|it| it.body.contains(&rollout.to_string()));
        Ok(about
            .map(|it| {
                (
                    it.headers.get("message-id").cloned().unwrap_or_default(),
                    it,
                )
            })
            .collect())
    }

    /// Waits until everybody was told this about a rollout.
    async fn told(&self, rollout: Uuid, what: &str, within: Duration) -> anyhow::Result<()> {
        let ends = |it: &str| it.ends_with(&format!(": {what}"));
        wait::until_now(within, &format!("everybody to be told: {what}"), || {
            let mails = self.mails(rollout).unwrap_or_default();
            let mut missing = Vec::new();
            for place in ["slack", "teams"] {
                let headlines = self.receivers.headlines(place, rollout);
                if !headlines.iter().any(|it| ends(it)) {
                    missing.push(format!("{place} has {headlines:?}"));
                }
            }
            let mut subjects = mails.values().filter_map(|it| it.headers.get("subject"));
            if !subjects.any(|it| ends(it)) {
                missing.push(format!("mails: {:?}", mails.keys()));
            }
            match missing.is_empty() {
                true => Ok(()),
                false => Err(missing.join("; ")),
            }
        })
        .await?;
        Ok(())
    }
}

/// A rollout that is approved, while the mail server is away and the server dies with a notice on its
/// way.
async fn approved(story: &mut Story) -> anyhow::Result<()> {
    story.mail.kill()?;
    story.receivers.hold.store(true, Ordering::SeqCst);
    let id = story.deploy("v2").await?;
    let held = wait::until_now(AT_ONCE, "a notice on its way", || {
        let held = story.receivers.about("held", id);
        held.into_iter().next().ok_or("none yet")
    })
    .await?;
    story.world.server.kill9()?;
    story.receivers.hold.store(false, Ordering::SeqCst);
    let config = story.config.clone();
    let environment = [("SLUICE_CONFIG", config.as_str())];
    story.world.server.start_again(&environment).await?;
    // Neither those who hang nor those who are away delay a step.
    story.world.waits_for(id, "approval").await?;
    story.mail.start_again().await?;
    story
        .told(id, "waiting for approval", AFTER_A_DEATH)
        .await?;
    let link = format!("{PUBLIC_URL}/rollouts/{id}");
    for place in ["slack", "teams"] {
        for body in story.receivers.about(place, id).values() {
            ensure!(body.to_string().contains(&link), "no link: {body}");
        }
    }
    story.approve(id).await?;
    story.world.ended(id, "succeeded").await?;
    story.told(id, "started", AFTER_A_DEATH).await?;
    story.told(id, "succeeded", AFTER_A_DEATH).await?;

    machines_were_told(story, id, &held).await?;
    people_were_told(story, id)
}

/// Machines are told everything, what was on its way (`held`) under the same id.
async fn machines_were_told(story: &Story, id: Uuid, held: &(String, Value)) -> anyhow::Result<()> {
    let wanted = story.world.history(id).await?.len() + 1;
    let told = wait::until_now(AFTER_A_DEATH, "the webhook to be told everything", || {
        let told = story.receivers.about("webhook", id);
        match told.len() >= wanted {
            true => Ok(told),
            false => Err(format!("{} of {wanted}", told.len())),
        }
    })
    .await?;
    ensure!(
        told.len() == wanted,
        "{} of {wanted}: {told:#?}",
        told.len()
    );
    let again = told.get(&held.0).context("it came under another id")?;
    ensure!(*again == held.1, "it came with another body: {again}");
    let waits = told
        .values()
        .filter(|it| it["type"] == "rollout.waitingForApproval");
    ensure!(waits.count() == 1, "waits: {told:#?}");
    Ok(())
}

/// People are told three things, each place the same, each once.
fn people_were_told(story: &Story, id: Uuid) -> anyhow::Result<()> {
    let titles = |words: &[&str]| -> Vec<String> {
        let mut all: Vec<_> = words
            .iter()
            .map(|it| format!("{PROJECT}/{APP} r2: {it}"))
            .collect();
        all.sort();
        all
    };
    let wanted = titles(&["started", "waiting for approval", "succeeded"]);
    let sorted = |mut it: Vec<String>| {
        it.sort();
        it
    };
    for place in ["slack", "teams"] {
        let told = sorted(story.receivers.headlines(place, id));
        ensure!(told == wanted, "{place}: {told:?}");
    }
    let mails = story.mails(id)?;
    let subjects = mails
        .values()
        .filter_map(|it| it.headers.get("subject").cloned());
    let subjects = sorted(subjects.collect());
    ensure!(subjects == wanted, "mails: {subjects:?}");
    Ok(())
}

/// A rollout that a gate takes back, while one receiver hangs.
async fn rolled_back(story: &Story) -> anyhow::Result<()> {
    story.receivers.fails.store(true, Ordering::SeqCst);
    let id = story.deploy("v3").await?;
    let view = story.world.waits_for(id, "approval").await;
    if view.is_ok() {
        story.approve(id).await?;
    }
    story.world.ended(id, "rolledBack").await?;
    story.told(id, "rolled back", AT_ONCE).await?;
    let evidence = "gate baskets failed: 12 of 100 baskets were ";
    for (place, escaped) in [("slack", "&lt;lost&gt;"), ("teams", "<lost>")] {
        let said = story.receivers.about(place, id);
        let wanted = format!("{evidence}{escaped}");
        let last = said
            .values()
            .filter(|it| it.to_string().contains(": rolled back"));
        let all: Vec<String> = last.map(Value::to_string).collect();
        ensure!(
            all.len() == 1 && all.iter().all(|it| it.contains(&wanted)),
            "{place}: {all:?}"
        );
    }
    let mails = story.mails(id)?;
    let ends = |it: &&local::smtp::Mail| {
        let subject = it.headers.get("subject");
        subject.is_some_and(|it| it.ends_with(": rolled back"))
    };
    let mail = mails.values().find(ends).context("no mail")?;
    ensure!(mail.body.contains(&format!("{evidence}<lost>")), "{mail:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_and_machines_are_told_though_one_hangs_one_is_away_and_the_server_dies()
-> anyhow::Result<()> {
    let mut story = begin().await?;
    let outcome = async {
        let first = story.deploy("v1").await?;
        story.world.ended(first, "succeeded").await?;
        story.told(first, "succeeded", AT_ONCE).await?;
        let (taken, _) = story.hanging.accept().await?;
        approved(&mut story).await?;
        rolled_back(&story).await?;
        drop(taken);
        Ok(())
    }
    .await;
    story.world.explained(outcome).await
}
