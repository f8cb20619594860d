//! The API as it is documented, through plain HTTP: what any client may rely upon.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use e2e::apps::{APP, PROJECT, held_canary, short_canary};
use e2e::invariants::{Allowed, check};
use e2e::pairs::ProcessHaProxy;
use e2e::{Pair, Setup, Version, World, apps};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

const PAIR: ProcessHaProxy = ProcessHaProxy;
/// The documented limit of a graceful stop.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// Every route, but for probes that say nothing of apps.
const ROUTES: [(&str, &str); 43] = [
    ("GET", "/api/v1/apps/{project}/{app}/outcomes"),
    ("GET", "/api/v1/apps"),
    ("GET", "/api/v1/apps/{project}/{app}"),
    ("PUT", "/api/v1/apps/{project}/{app}"),
    ("DELETE", "/api/v1/apps/{project}/{app}"),
    ("GET", "/api/v1/apps/{project}/{app}/revisions"),
    ("POST", "/api/v1/apps/{project}/{app}/release"),
    ("POST", "/api/v1/apps/{project}/{app}/calibrations"),
    ("GET", "/api/v1/apps/{project}/{app}/calibrations"),
    ("POST", "/api/v1/apps/{project}/{app}/backtests"),
    ("POST", "/api/v1/apps/{project}/{app}/plan"),
    ("POST", "/api/v1/apps/{project}/{app}/rollouts"),
    ("GET", "/api/v1/rollouts"),
    ("GET", "/api/v1/rollouts/{id}"),
    ("GET", "/api/v1/rollouts/{id}/wait"),
    ("GET", "/api/v1/rollouts/{id}/history"),
    ("GET", "/api/v1/rollouts/{id}/measurements"),
    ("GET", "/api/v1/rollouts/{id}/explain"),
    ("POST", "/api/v1/rollouts/{id}/commands"),
    ("POST", "/api/v1/rollouts/{id}/approvals"),
    ("GET", "/api/v1/freezes"),
    ("POST", "/api/v1/freezes"),
    ("DELETE", "/api/v1/freezes/{id}"),
    ("GET", "/api/v1/audit"),
    ("GET", "/api/v1/audit/verification"),
    ("GET", "/api/v1/projects/{project}/settings"),
    ("PUT", "/api/v1/projects/{project}/settings"),
    ("GET", "/api/v1/tokens"),
    ("POST", "/api/v1/tokens"),
    ("DELETE", "/api/v1/tokens/{id}"),
    ("GET", "/api/v1/whoami"),
    ("GET", "/api/v1/auth"),
    ("POST", "/api/v1/auth/exchange"),
    ("GET", "/auth/login"),
    ("GET", "/auth/callback"),
    ("GET", "/api/v1/session"),
    ("POST", "/api/v1/session"),
    ("DELETE", "/api/v1/session"),
    ("GET", "/api/v1/events"),
    ("POST", "/api/v1/hooks/alertmanager"),
    ("POST", "/api/v1/hooks/signed/{source}"),
    ("GET", "/openapi.json"),
    ("GET", "/health"),
];
/// Those that need no token.
const PUBLIC: [(&str, &str); 8] = [
    ("GET", "/openapi.json"),
    ("GET", "/health"),
    ("GET", "/api/v1/auth"),
    ("POST", "/api/v1/auth/exchange"),
    ("GET", "/auth/login"),
    ("GET", "/auth/callback"),
    ("POST", "/api/v1/session"),
    ("POST", "/api/v1/hooks/signed/{source}"),
];

/// A path with something in its places.
fn filled(path: &str) -> String {
    path.replace("{project}", PROJECT)
        .replace("{app}", APP)
        .replace("{id}", &Uuid::nil().to_string())
}

fn request(world: &World, method: &str, path: &str) -> anyhow::Result<RequestBuilder> {
    let url = format!("{}{path}", world.server.url());
    let method = Method::from_bytes(method.as_bytes())?;
    Ok(e2e::world::http()?.request(method, url))
}

fn authorised(world: &World, method: &str, path: &str) -> anyhow::Result<RequestBuilder> {
    Ok(request(world, method, path)?.bearer_auth(&world.token))
}

/// The status and the problem of an answer that must be one.
async fn problem(request: RequestBuilder) -> anyhow::Result<(StatusCode, Value)> {
    let answer = request.send().await?;
    let status = answer.status();
    let kind = answer.headers().get("content-type").cloned();
    let text = answer.text().await?;
    ensure!(
        kind.as_ref()
            .is_some_and(|it| it == "application/problem+json"),
        "{status} with {kind:?}: {text}"
    );
    let body: Value = serde_json::from_str(&text)?;
    ensure!(
        body.get("status") == Some(&json!(status.as_u16()))
            && body
                .get("type")
                .and_then(Value::as_str)
                .is_some_and(|it| it.starts_with("urn:sluice:problem:")),
        "not a problem: {body}"
    );
    Ok((status, body))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_wants_a_token_and_is_documented() -> anyhow::Result<()> {
    let world = World::start(Setup::default()).await?;
    let outcome = async {
        for (method, path) in ROUTES.iter().filter(|it| !PUBLIC.contains(it)) {
            let (status, _) = problem(request(&world, method, &filled(path))?).await?;
            ensure!(status == 401, "{method} {path} without a token: {status}");
            let wrong = request(&world, method, &filled(path))?
                .bearer_auth("sluice_person_0000000000000000000000_nonsense");
            let (status, _) = problem(wrong).await?;
            ensure!(
                status == 401,
                "{method} {path} with a wrong token: {status}"
            );
        }
        let answer = request(&world, "GET", "/openapi.json")?.send().await?;
        let document: Value = answer.json().await?;
        let paths = document.get("paths").and_then(Value::as_object);
        let paths = paths.context("no paths")?;
        for (method, path) in ROUTES {
            let documented = paths.get(path).and_then(|it| it.get(method.to_lowercase()));
            ensure!(documented.is_some(), "{method} {path} is not documented");
        }
        let known: BTreeSet<&str> = ROUTES.iter().map(|(_, path)| *path).collect();
        let more: Vec<&String> = paths
            .keys()
            .filter(|it| it.starts_with("/api/") && !known.contains(it.as_str()))
            .collect();
        ensure!(more.is_empty(), "routes that no test knows: {more:?}");
        Ok(())
    };
    let outcome: anyhow::Result<()> = outcome.await;
    world.explained(outcome).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_and_projects_bound_what_a_token_may_do() -> anyhow::Result<()> {
    let world = World::start(Setup::default()).await?;
    let outcome = async {
        world
            .apply(&apps::app(&world, &PAIR, &short_canary()))
            .await?;
        let viewer = token(&world, "viewer", api::RoleWord::Viewer, None).await?;
        let stranger = token(&world, "stranger", api::RoleWord::Admin, Some("other")).await?;
        let path = format!("/api/v1/apps/{PROJECT}/{APP}");
        let read = request(&world, "GET", &path)?.bearer_auth(&viewer);
        ensure!(read.send().await?.status() == 200, "a viewer may not read");
        let write = request(&world, "POST", &format!("{path}/rollouts"))?
            .bearer_auth(&viewer)
            .header("idempotency-key", "one")
            .json(&json!({ "artifact": "/bin/true" }));
        let (status, _) = problem(write).await?;
        ensure!(status == 403, "a viewer's deploy was answered {status}");
        let (status, _) = problem(request(&world, "GET", &path)?.bearer_auth(&stranger)).await?;
        ensure!(
            status == 404,
            "another project's admin was answered {status}"
        );
        let list = request(&world, "GET", "/api/v1/apps")?.bearer_auth(&stranger);
        let list: Value = list.send().await?.json().await?;
        ensure!(list.get("items") == Some(&json!([])), "{list}");
        // Nobody makes a token that may do more than the own one.
        let more = request(&world, "POST", "/api/v1/tokens")?
            .bearer_auth(&stranger)
            .json(&json!({ "name": "more", "role": "admin" }));
        let (status, _) = problem(more).await?;
        ensure!(status == 403, "a token beyond own rights: {status}");
        // A revoked token is good no more, soon.
        let tokens = world.client.tokens().await?.items;
        let id = tokens.iter().find(|it| it.name == "viewer").map(|it| it.id);
        world.client.revoke_token(id.context("no viewer")?).await?;
        local::wait::until(Duration::from_secs(5), "the revocation", || async {
            let read = request(&world, "GET", &path).map_err(|it| it.to_string())?;
            let answer = read.bearer_auth(&viewer).send().await;
            match answer.map(|it| it.status().as_u16()) {
                Ok(401) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await?;
        Ok(())
    };
    let outcome: anyhow::Result<()> = outcome.await;
    world.explained(outcome).await
}

async fn token(
    world: &World,
    name: &str,
    role: api::RoleWord,
    project: Option<&str>,
) -> anyhow::Result<String> {
    let token = api::CreateToken {
        name: name.to_owned(),
        role,
        project: project.map(str::to_owned),
        person: false,
        groups: Vec::new(),
        expires_in: None,
    };
    Ok(world.client.create_token(&token).await?.secret)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_is_changed_only_at_the_version_that_was_seen() -> anyhow::Result<()> {
    let world = World::start(Setup::default()).await?;
    let outcome = async {
        let app = apps::app(&world, &PAIR, &short_canary());
        let path = format!("/api/v1/apps/{PROJECT}/{APP}");
        let put = |name: &'static str, value: &str| {
            let request = authorised(&world, "PUT", &path)?.json(&app);
            anyhow::Ok(request.header(name, value))
        };
        let made = put("if-none-match", "*")?.send().await?;
        ensure!(made.status() == 201, "made with {}", made.status());
        let (status, _) = problem(put("if-none-match", "*")?).await?;
        ensure!(status == 412, "made again: {status}");
        let seen = authorised(&world, "GET", &path)?.send().await?;
        let etag = seen.headers().get("etag").context("no ETag")?.clone();
        let etag = etag.to_str()?;
        let same = authorised(&world, "GET", &path)?
            .header("if-none-match", etag)
            .send()
            .await?;
        ensure!(same.status() == 304, "unchanged: {}", same.status());
        let changed = world
            .client
            .put_app(
                PROJECT,
                APP,
                &apps::app(&world, &PAIR, &held_canary()),
                None,
            )
            .await?;
        ensure!(!changed.created, "made twice");
        let (status, _) = problem(put("if-match", etag)?).await?;
        ensure!(status == 412, "an old version was accepted: {status}");
        let other = format!("/api/v1/apps/{PROJECT}/other");
        let (status, body) = problem(authorised(&world, "PUT", &other)?.json(&app)).await?;
        ensure!(
            status == 422 && body.pointer("/errors/0/pointer") == Some(&json!("/app")),
            "another name in the file: {body}"
        );
        Ok(())
    };
    let outcome: anyhow::Result<()> = outcome.await;
    world.explained(outcome).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_are_problems_that_name_the_field() -> anyhow::Result<()> {
    let world = World::start(Setup::default()).await?;
    let outcome = async {
        world
            .apply(&apps::app(&world, &PAIR, &short_canary()))
            .await?;
        let path = format!("/api/v1/apps/{PROJECT}/{APP}/rollouts");
        let post = || anyhow::Ok(authorised(&world, "POST", &path)?.header("idempotency-key", "a"));
        let typed = post()?.header("content-type", "application/json");
        let (status, _) = problem(typed.body("{\"artifact\":")).await?;
        ensure!(status == 400, "broken JSON: {status}");
        let (status, _) = problem(post()?.json(&json!({ "artefact": "x" }))).await?;
        ensure!(status == 422 || status == 400, "an unknown field: {status}");
        let (status, _) = problem(post()?.json(&json!({}))).await?;
        ensure!(status == 422, "nothing to roll out: {status}");
        let huge = "x".repeat(2 << 20);
        let large = post()?.json(&json!({ "artifact": huge })).send().await;
        // The server may hang up on a body that it will not read.
        if let Ok(answer) = large {
            ensure!(answer.status() == 413, "a huge body: {}", answer.status());
        }
        let (status, _) = problem(authorised(&world, "GET", "/api/v1/nothing")?).await?;
        ensure!(status == 404, "no such route: {status}");
        let (status, _) = problem(authorised(&world, "PATCH", "/api/v1/apps")?).await?;
        ensure!(status == 405, "no such method: {status}");
        let id = Uuid::nil();
        let unknown = authorised(&world, "GET", &format!("/api/v1/rollouts/{id}"))?;
        let (status, _) = problem(unknown).await?;
        ensure!(status == 404, "no such rollout: {status}");
        let answer = authorised(&world, "GET", "/api/v1/whoami")?
            .header("x-request-id", "my-own-request")
            .send()
            .await?;
        let headers = answer.headers();
        ensure!(
            headers.get("x-request-id").is_some()
                && headers
                    .get("x-content-type-options")
                    .is_some_and(|it| it == "nosniff"),
            "{headers:?}"
        );
        Ok(())
    };
    let outcome: anyhow::Result<()> = outcome.await;
    world.explained(outcome).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_given_page_by_page() -> anyhow::Result<()> {
    let world = World::start(Setup::default()).await?;
    let outcome = async {
        let mut names = BTreeSet::new();
        for number in 0..7 {
            let mut app = apps::app(&world, &PAIR, &short_canary());
            let name = format!("app-{number}");
            if let Some(it) = app.get_mut("app") {
                *it = json!(name);
            }
            world.client.put_app(PROJECT, &name, &app, None).await?;
            names.insert(name);
        }
        let mut seen = BTreeSet::new();
        let mut cursor = String::new();
        let mut pages = 0;
        loop {
            let path = format!("/api/v1/apps?limit=3{cursor}");
            let page: Value = authorised(&world, "GET", &path)?
                .send()
                .await?
                .json()
                .await?;
            let items = page.get("items").and_then(Value::as_array);
            let items = items.context("no items")?;
            ensure!(items.len() <= 3, "{} items", items.len());
            for item in items {
                let name = item.get("app").and_then(Value::as_str);
                let name = name.context("no name")?.to_owned();
                ensure!(seen.insert(name.clone()), "{name} is there twice");
            }
            pages += 1;
            match page.get("nextCursor").and_then(Value::as_str) {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        ensure!(pages == 3 && seen == names, "{pages} pages, {seen:?}");
        let (status, _) = problem(authorised(&world, "GET", "/api/v1/apps?limit=1000")?).await?;
        ensure!(
            status == 422 || status == 400,
            "a limit beyond the most: {status}"
        );
        let wrong = authorised(&world, "GET", "/api/v1/apps?cursor=nonsense")?;
        let (status, _) = problem(wrong).await?;
        ensure!(status == 422 || status == 400, "a wrong cursor: {status}");
        Ok(())
    };
    let outcome: anyhow::Result<()> = outcome.await;
    world.explained(outcome).await
}

/// Reads events of one rollout until one of the kind `last`.
async fn read_until(
    events: &mut api::Events,
    rollout: Uuid,
    last: &str,
) -> anyhow::Result<Vec<api::EventView>> {
    let mut all = Vec::new();
    loop {
        let next = tokio::time::timeout(Duration::from_secs(40), events.next()).await;
        let next = next.with_context(|| format!("no {last} event; so far {all:?}"))?;
        let event = next?.context("the stream ended")?;
        if event.rollout != rollout {
            continue;
        }
        let done = event.event == last;
        all.push(event);
        if done {
            return Ok(all);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_go_on_without_a_gap_after_a_restart() -> anyhow::Result<()> {
    let mut world = World::installed(Setup::default(), &PAIR, &short_canary()).await?;
    let outcome = async {
        let mut stream = world.client.events(None).await?;
        let artifact = PAIR.artifact(&world, &Version::good("v2")).await?;
        let id = world.deploy(&artifact).await?.summary.id;
        let mut all = read_until(&mut stream, id, "stepDone").await?;
        // A stream that is open must not hold up the stop.
        let took = world.server.stop().await?;
        ensure!(took <= STOP_WITHIN, "the stop took {took:?}");
        ensure!(stream.next().await.ok().flatten().is_none() || took <= STOP_WITHIN);
        world.server.start_again(&[]).await?;
        let last = all.last().map(|it| it.id.clone());
        let mut stream = world.client.events(last.as_deref()).await?;
        all.extend(read_until(&mut stream, id, "succeeded").await?);
        let seqs: Vec<i64> = all.iter().map(|it| it.seq).collect();
        let history = world.history(id).await?;
        let expected: Vec<i64> = history.iter().map(|it| it.seq).collect();
        ensure!(seqs == expected, "events {seqs:?}, history {expected:?}");
        Ok(())
    };
    let outcome: anyhow::Result<()> = outcome.await;
    world.explained(outcome).await?;
    check(&mut world, &PAIR, Allowed::default()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_poll_answers_as_soon_as_something_changes() -> anyhow::Result<()> {
    let strategy = apps::canary(&json!([
        { "setWeight": 20 }, { "pause": {} }, { "pause": "30s" }, { "setWeight": 100 },
    ]));
    let mut world = World::installed(Setup::default(), &PAIR, &strategy).await?;
    let outcome = async {
        // Every measurement of a gate would be a change.
        let mut app = apps::app(&world, &PAIR, &strategy);
        app.as_object_mut().and_then(|it| it.remove("gates"));
        world.apply(&app).await?;
        let artifact = PAIR.artifact(&world, &Version::good("v2")).await?;
        let id = world.deploy(&artifact).await?.summary.id;
        let needed = world.client.wait(id, None, Duration::from_secs(30)).await?;
        let kind = needed.rollout.waiting_on.map(|it| it.kind);
        ensure!(
            needed.reached && kind.as_deref() == Some("promotion"),
            "a person is needed, but it waits for {kind:?}"
        );
        world.order(id, api::OrderWord::Promote).await?;
        let version = world.waits_for(id, "timer").await?.version;
        let short = world.client.wait(id, Some(version), Duration::from_secs(1));
        ensure!(!short.await?.reached, "nothing had changed");
        let began = Instant::now();
        let poll = world
            .client
            .wait(id, Some(version), Duration::from_secs(30));
        let order = world.order(id, api::OrderWord::Promote);
        let (poll, order) = tokio::join!(poll, order);
        order?;
        ensure!(
            poll?.reached && began.elapsed() < Duration::from_secs(5),
            "the answer took {:?}",
            began.elapsed()
        );
        let ended = world.client.wait(id, None, Duration::from_secs(30)).await?;
        ensure!(
            ended.reached && ended.rollout.summary.phase == "succeeded",
            "{}",
            ended.rollout.summary.phase
        );
        Ok(())
    };
    let outcome: anyhow::Result<()> = outcome.await;
    world.explained(outcome).await?;
    check(&mut world, &PAIR, Allowed::default()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_and_metrics_need_no_token() -> anyhow::Result<()> {
    let world = World::installed(Setup::default(), &PAIR, &short_canary()).await?;
    let outcome = async {
        for path in ["/health", "/ready", "/startup"] {
            let status = request(&world, "GET", path)?.send().await?.status();
            ensure!(status == 200, "{path}: {status}");
        }
        let answer = request(&world, "GET", "/metrics")?.send().await?;
        ensure!(answer.status() == 200, "/metrics: {}", answer.status());
        let text = answer.text().await?;
        ensure!(
            text.contains("passes_total") && text.ends_with("# EOF\n"),
            "{text}"
        );
        Ok(())
    };
    let outcome: anyhow::Result<()> = outcome.await;
    world.explained(outcome).await
}
