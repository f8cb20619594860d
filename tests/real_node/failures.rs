//! What pods say of themselves when something is wrong with them.

use e2e::Version;
use e2e::real_cluster::Namespace;
use serde_json::Value;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_shows_in_the_status_and_in_the_log() -> anyhow::Result<()> {
    let namespace = Namespace::new("crash").await?;
    let version = Version::with("v2", &["--die-after", "0s"]);
    let image = namespace.cluster.image(&version).await?;
    let deployment = namespace.deployment("shop", &image, 1);
    namespace.apply(&[deployment]).await?;
    let pod = namespace
        .pod("shop", "the crash loop", |container| {
            container["state"]["waiting"]["reason"] == "CrashLoopBackOff"
                && container["restartCount"].as_u64() >= Some(1)
                && container["lastState"]["terminated"]["exitCode"] == 1
        })
        .await?;
    let logs = ["logs", "--namespace", &namespace.name, &pod];
    let logs = namespace.cluster.plane.kubectl(&logs, "").await?;
    assert!(logs.contains("told to die at once"), "{logs}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_is_not_there_shows_in_the_status() -> anyhow::Result<()> {
    let namespace = Namespace::new("missing").await?;
    let deployment = namespace.deployment("shop", "sluice.test/shop:none", 1);
    namespace.apply(&[deployment]).await?;
    namespace
        .pod("shop", "the missing image", |container| {
            container["state"]["waiting"]["reason"] == "ErrImageNeverPull"
        })
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_never_gets_ready_ends_the_progress() -> anyhow::Result<()> {
    let namespace = Namespace::new("unready").await?;
    let version = Version::with("v2", &["--never-ready"]);
    let image = namespace.cluster.image(&version).await?;
    let deployment = namespace.deployment("shop", &image, 1);
    namespace.apply(&[deployment]).await?;
    namespace
        .condition("shop", "Progressing", "ProgressDeadlineExceeded")
        .await?;
    namespace
        .pod("shop", "a running pod that is not ready", |container| {
            !container["state"]["running"].is_null() && container["ready"] == Value::Bool(false)
        })
        .await?;
    Ok(())
}
