//! A signed alert takes a rollout back, sent by the very script of docs/alerts.md; what is not signed
//! well does nothing, and stands in the audit log.

use std::{fs, path::Path, process::Output};

use anyhow::{Context as _, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use e2e::{
    Pair, Setup, Version, World,
    apps::{app, held_canary},
    pairs::ProcessHaProxy,
};
use serde_json::{Value, json};
use tokio::process::Command;

const PAIR: ProcessHaProxy = ProcessHaProxy;

/// The script of the documentation.
fn script() -> anyhow::Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/alerts.md");
    let text = fs::read_to_string(path)?;
    let block = text.split("```sh\n").nth(1).context("no script")?;
    let (script, _) = block.split_once("```").context("no end of the script")?;
    Ok(script.to_owned())
}

async fn send(world: &World, script: &str, secret: &str) -> anyhow::Result<Value> {
    let sent = Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .env("SLUICE_URL", world.server.url())
        .env("SECRET", secret)
        .env("no_proxy", "127.0.0.1")
        .output();
    let Output {
        status,
        stdout,
        stderr,
    } = sent.await?;
    let (answer, errors) = (String::from_utf8(stdout)?, String::from_utf8(stderr)?);
    ensure!(status.success(), "{status}: {errors}");
    serde_json::from_str(&answer).with_context(|| format!("not JSON: {answer}"))
}

async fn refused(world: &World, script: &str, secret: &str) -> anyhow::Result<()> {
    let answer = send(world, script, secret).await?;
    ensure!(answer.get("status") == Some(&json!(401)), "{answer}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_alert_takes_a_rollout_back_and_no_other_does() -> anyhow::Result<()> {
    let mut world = World::start(Setup::default()).await?;
    let secrets = [1, 2, 3].map(|it| format!("whsec_{}", STANDARD.encode([it; 32])));
    let [old, new, stranger] = &secrets;
    let (secret, config) = (
        world.directory().join("secret"),
        world.directory().join("settings.yaml"),
    );
    fs::write(&secret, format!("{new}\n{old}\n"))?;
    let settings = json!({ "hooks": [{ "name": "watchdog", "secretFile": secret }] });
    fs::write(&config, settings.to_string())?;
    world.server.kill9()?;
    let config = config.display().to_string();
    world
        .server
        .start_again(&[("SLUICE_CONFIG", &config)])
        .await?;

    let outcome: anyhow::Result<()> = async {
        let mut file = app(&world, &PAIR, &held_canary());
        file["alerts"] = json!([{ "match": { "app": "checkout", "severity": "critical" } }]);
        world.apply(&file).await?;
        let first = PAIR.artifact(&world, &Version::good("v1")).await?;
        let first = world.deploy(&first).await?.summary.id;
        world.ended(first, "succeeded").await?;
        let second = PAIR.artifact(&world, &Version::good("v2")).await?;
        let id = world.deploy(&second).await?.summary.id;
        world.waits_for(id, "promotion").await?;

        let script = script()?;
        refused(&world, &script, stranger).await?;
        refused(
            &world,
            &script.replace("signed/watchdog", "signed/other"),
            new,
        )
        .await?;
        let late = script.replace("now=$(date +%s)", "now=$(($(date +%s) - 600))");
        refused(&world, &late, new).await?;
        let changed = script.replace("--data \"$body\"", "--data \"${body/critical/warning}\"");
        refused(&world, &changed, new).await?;
        let aside = send(&world, &script.replace("checkout\"", "cart\""), new).await?;
        ensure!(aside["acted"] == json!([]), "{aside}");
        let phase = world.client.rollout(id).await?.summary.phase;
        ensure!(phase == "progressing", "it is {phase}");

        // The old secret is good as long as it stands in the file.
        let answer = send(&world, &script, old).await?;
        ensure!(
            answer["acted"].as_array().is_some_and(|it| it.len() == 1),
            "{answer}"
        );
        world.ended(id, "rolledBack").await?;
        let history = world.history(id).await?;
        let begun = history.iter().find(|it| it.event == "abortStarted");
        let begun = begun.context("no abort")?;
        ensure!(begun.by == "hook:watchdog", "by {}", begun.by);
        let sentence = serde_json::to_string(begun)?;
        ensure!(sentence.contains("nobody can pay"), "{sentence}");

        let audit = world
            .cli(&["audit", "list", "--output", "json"])
            .await?
            .expect(0)?;
        let refusals = audit.stdout.matches("refused: send a signed alert").count();
        ensure!(refusals == 4, "{refusals} refusals: {}", audit.stdout);
        Ok(())
    }
    .await;
    world.explained(outcome).await
}
