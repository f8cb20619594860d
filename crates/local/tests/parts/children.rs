//! A child process ends when it should, and never outlives its owner.

use std::process::Command;
use std::time::{Duration, Instant};

use local::part::{Part, PartError, Spec};
use local::wait;

use crate::{SOON, is_alive};

/// Tells the ignored test below where to write the pid of its part.
const PID_FILE: &str = "LOCAL_TEST_PID_FILE";

fn shell(dir: &std::path::Path, script: &str) -> Spec {
    Spec::new("shell", "/bin/sh".into(), dir.join("log")).arguments(["-c", script])
}

#[tokio::test]
async fn stop_asks_first_and_kills_after_the_grace() {
    let dir = tempfile::tempdir().unwrap();
    let mut polite = Part::start(shell(
        dir.path(),
        "trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done",
    ))
    .await
    .unwrap();
    wait::until_now(SOON, "the trap", || {
        if polite.log_tail() == "up" {
            Ok(())
        } else {
            Err(polite.log_tail())
        }
    })
    .await
    .unwrap();
    assert_eq!(polite.stop(SOON).await.unwrap().unwrap().code(), Some(7));

    let deaf = shell(
        &dir.path().join("."),
        "trap '' TERM; echo up2; while :; do sleep 0.01; done",
    );
    let mut deaf = Part::start(deaf).await.unwrap();
    wait::until_now(SOON, "the trap", || {
        if deaf.log_tail().contains("up2") {
            Ok(())
        } else {
            Err("")
        }
    })
    .await
    .unwrap();
    let began = Instant::now();
    assert_eq!(
        deaf.stop(Duration::from_millis(50))
            .await
            .unwrap()
            .unwrap()
            .code(),
        None
    );
    assert!(began.elapsed() >= Duration::from_millis(50));
}

#[tokio::test]
async fn dropping_a_part_ends_its_whole_group() {
    let dir = tempfile::tempdir().unwrap();
    let part = Part::start(shell(dir.path(), "sleep 1000 & echo $!; wait"))
        .await
        .unwrap();
    let grandchild: u32 = wait::until_now(SOON, "the grandchild's pid", || part.log_tail().parse())
        .await
        .unwrap();
    let child = part.pid().unwrap();
    assert!(is_alive(child) && is_alive(grandchild));
    drop(part);
    assert!(!is_alive(child));
    wait::until_now(SOON, "the grandchild to end", || {
        if is_alive(grandchild) {
            Err("alive")
        } else {
            Ok(())
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_part_that_ends_by_itself_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let mut part = Part::start(shell(dir.path(), "echo no flour left >&2; exit 3"))
        .await
        .unwrap();
    let error = wait::until_now(SOON, "its end", || part.check().err().ok_or("running"))
        .await
        .unwrap();
    assert!(
        matches!(&error, PartError::Ended { log, .. } if log == "no flour left"),
        "{error}"
    );
    assert!(error.to_string().contains("exit status: 3"), "{error}");
    part.start_again().await.unwrap();
    part.kill9().unwrap();
    assert_eq!(part.pid(), None);
}

/// Not a test by itself: the process that the next one kills.
#[tokio::test]
#[ignore = "run by `a_part_dies_when_its_owner_is_killed`"]
async fn holds_a_part_until_killed() {
    let Ok(file) = std::env::var(PID_FILE) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let part = Part::start(shell(dir.path(), "exec sleep 1000"))
        .await
        .unwrap();
    std::fs::write(file, part.pid().unwrap().to_string()).unwrap();
    std::future::pending().await
}

#[tokio::test]
async fn a_part_dies_when_its_owner_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pid");
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "children::holds_a_part_until_killed",
        ])
        .env(PID_FILE, &file)
        .env("TMPDIR", dir.path())
        .spawn()
        .unwrap();
    let pid = wait::until_now(SOON, "the part's pid", || {
        let text = std::fs::read_to_string(&file).map_err(|error| error.to_string())?;
        text.parse::<u32>().map_err(|error| error.to_string())
    })
    .await;
    owner.kill().unwrap();
    owner.wait().unwrap();
    let pid = pid.unwrap();
    wait::until_now(SOON, "the part to end", || {
        if is_alive(pid) { Err("alive") } else { Ok(()) }
    })
    .await
    .unwrap();
}
