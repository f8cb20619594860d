//! The command line against a real server: what pipelines rely upon is the exit code and `-o json`.

use anyhow::{Context, ensure};
use e2e::apps::{canary, held_canary, short_canary};
use e2e::invariants::{Allowed, check};
use e2e::pairs::ProcessHaProxy;
use e2e::{Pair, Setup, Version, World, apps, binary};
use serde_json::{Value, json};

const PAIR: ProcessHaProxy = ProcessHaProxy;

/// Applies this strategy to the world's app through the command line.
async fn apply(world: &World, strategy: &Value) -> anyhow::Result<()> {
    let app = apps::app(world, &PAIR, strategy);
    let text = serde_json::to_string_pretty(&app)?;
    let ran = world
        .cli_as(&world.token, &["apply", "-f", "-"], &text)
        .await?;
    ran.expect(0)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_deploys_and_learns_how_it_ended() -> anyhow::Result<()> {
    let mut world = World::installed(Setup::default(), &PAIR, &short_canary()).await?;
    let outcome = async {
        let good = PAIR.artifact(&world, &Version::good("v2")).await?;
        let deploy = ["deploy", "shop", "--artifact", &good, "--wait"];
        world.cli(&deploy).await?.expect(0).context("good")?;
        let bad = PAIR.artifact(&world, &Version::bad("v3")).await?;
        let deploy = ["deploy", "shop", "--artifact", &bad, "--wait"];
        let ran = world.cli(&deploy).await?.expect(3).context("bad")?;
        let said = format!("{}{}", ran.stdout, ran.stderr);
        ensure!(said.contains("gate errors failed"), "{said}");
        let held = canary(&json!([{ "setWeight": 20 }, { "pause": "30s" }]));
        apply(&world, &held).await?;
        let slow = PAIR.artifact(&world, &Version::good("v4")).await?;
        let deploy = [
            "deploy",
            "shop",
            "--artifact",
            &slow,
            "--wait",
            "--timeout",
            "1s",
        ];
        world.cli(&deploy).await?.expect(4).context("timed out")?;
        world.cli(&["abort", "shop"]).await?.expect(0)?;
        apply(&world, &held_canary()).await?;
        let person = PAIR.artifact(&world, &Version::good("v5")).await?;
        let deploy = ["deploy", "shop", "--artifact", &person, "--wait"];
        world.cli(&deploy).await?.expect(5).context("a person")?;
        world.cli(&["promote", "shop"]).await?.expect(0)?;
        let id = world.client.rollouts(None, None, None).await?.items;
        let id = id.first().context("no rollout")?.id;
        world.ended(id, "succeeded").await?;
        world
            .cli(&["undo", "shop", "--wait"])
            .await?
            .expect(0)
            .context("undo")?;
        Ok(())
    };
    let outcome: anyhow::Result<()> = outcome.await;
    world.explained(outcome).await?;
    let allowed = Allowed {
        errors_of: &["v3"],
        ..Allowed::default()
    };
    check(&mut world, &PAIR, allowed).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_see_where_it_stands_and_give_orders() -> anyhow::Result<()> {
    let mut world = World::installed(Setup::default(), &PAIR, &held_canary()).await?;
    let outcome = async {
        let artifact = PAIR.artifact(&world, &Version::good("v2")).await?;
        let plan = ["plan", "shop", "--artifact", &artifact];
        let ran = world.cli(&plan).await?.expect(0)?;
        ensure!(ran.stdout.contains("setWeight 20"), "{}", ran.stdout);
        let deploy = ["deploy", "shop", "--artifact", &artifact, "-o", "json"];
        let view = world.cli(&deploy).await?.expect(0)?.json()?;
        let id = view.get("id").and_then(Value::as_str).context("no id")?;
        let id: uuid::Uuid = id.parse()?;
        world.waits_for(id, "promotion").await?;
        for (arguments, words) in [
            (vec!["status"], "shop"),
            (vec!["status", "shop"], "waits for somebody to promote it"),
            (vec!["explain", "shop"], "promote"),
            (vec!["history", "shop"], "setWeight 20"),
            (vec!["apps"], "default/shop"),
            (vec!["revisions", "shop"], "r2"),
            (vec!["whoami"], "admin"),
        ] {
            let ran = world.cli(&arguments).await?.expect(0)?;
            ensure!(
                ran.stdout.contains(words),
                "{arguments:?} does not say {words:?}: {}",
                ran.stdout
            );
            let data = [arguments.as_slice(), &["-o", "json"]].concat();
            world.cli(&data).await?.expect(0)?.json()?;
        }
        let id = id.to_string();
        for arguments in [["pause", id.as_str()], ["resume", &id], ["promote", &id]] {
            world.cli(&arguments).await?.expect(0)?;
        }
        world.ended(id.parse()?, "succeeded").await?;
        // What makes no sense any more is refused with the reason.
        let ran = world.cli(&["promote", &id]).await?.expect(1)?;
        ensure!(ran.stderr.contains("it has ended"), "{}", ran.stderr);
        Ok(())
    };
    let outcome: anyhow::Result<()> = outcome.await;
    world.explained(outcome).await?;
    check(&mut world, &PAIR, Allowed::default()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_made_shown_once_and_revoked() -> anyhow::Result<()> {
    let world = World::start(Setup::default()).await?;
    let outcome = async {
        let create = ["token", "create", "ci", "--role", "viewer", "-o", "json"];
        let made = world.cli(&create).await?.expect(0)?.json()?;
        let secret = made.get("secret").and_then(Value::as_str);
        let secret = secret.context("no secret")?;
        let ran = world.cli_as(secret, &["whoami", "-o", "json"], "").await?;
        let who = ran.expect(0)?.json()?;
        ensure!(who.get("principal") == Some(&json!("token:ci")), "{who}");
        let listed = world
            .cli(&["token", "list", "-o", "json"])
            .await?
            .expect(0)?;
        ensure!(!listed.stdout.contains(secret), "the secret is listed");
        let id = made.pointer("/token/id").and_then(Value::as_str);
        let id = id.context("no id")?;
        world.cli(&["token", "revoke", id]).await?.expect(0)?;
        local::wait::until(
            std::time::Duration::from_secs(5),
            "the revocation",
            || async {
                let ran = world.cli_as(secret, &["whoami"], "").await;
                match ran.map(|it| it.code) {
                    Ok(1) => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            },
        )
        .await?;
        Ok(())
    };
    let outcome: anyhow::Result<()> = outcome.await;
    world.explained(outcome).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_usage_and_a_missing_server_have_codes_of_their_own() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let home = directory.path().display().to_string();
    let nobody = format!("http://127.0.0.1:{}", local::ports::free_port()?);
    let environment = [
        ("HOME", home.as_str()),
        ("SLUICE_SERVER", &nobody),
        ("NO_COLOR", "1"),
    ];
    binary::run(&["deploy", "shop"], &environment, "")
        .await?
        .expect(2)?;
    binary::run(&["frobnicate"], &environment, "")
        .await?
        .expect(2)?;
    let ran = binary::run(&["apply", "-f", "/nowhere/app.yaml"], &environment, "").await?;
    ensure!(matches!(ran.code, 1 | 2), "{ran:?}");
    ensure!(ran.stderr.contains("/nowhere/app.yaml"), "{}", ran.stderr);
    let ran = binary::run(&["status"], &environment, "")
        .await?
        .expect(1)?;
    ensure!(
        ran.stderr.contains(&nobody) && ran.stderr.contains("sluice up"),
        "{}",
        ran.stderr
    );
    let schema = binary::run(&["schema"], &environment, "")
        .await?
        .expect(0)?
        .json()?;
    ensure!(schema.get("$schema").is_some(), "not a schema");
    Ok(())
}
