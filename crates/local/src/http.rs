//! The HTTP clients of this crate: to the parts on this machine, through no proxy.

use std::time::Duration;

use anyhow::{Context, ensure};

/// A client for the parts on this machine.
///
/// It loads no certificate roots: a host without a CA bundle can still run the
/// demo, since nothing here speaks TLS.
pub(crate) fn client(
    timeout: Duration,
    idle_connections: usize,
) -> anyhow::Result<reqwest::Client> {
    // An error only says that a provider is installed already, which is as good.
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .pool_max_idle_per_host(idle_connections)
        .timeout(timeout)
        .build()
        .context("build HTTP client")
}

/// A client for a part that speaks TLS under a certificate of its own: nothing
/// but `certificates` (PEM) is trusted.
pub(crate) fn trusting(
    certificates: &[u8],
    agent: &str,
    timeout: Option<Duration>,
) -> anyhow::Result<reqwest::Client> {
    drop(rustls::crypto::ring::default_provider().install_default());
    let trusted = reqwest::Certificate::from_pem_bundle(certificates)
        .context("read the certificates of a part")?;
    let builder = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only(trusted)
        .user_agent(agent);
    match timeout {
        Some(timeout) => builder.timeout(timeout),
        None => builder,
    }
    .build()
    .context("build HTTP client")
}

/// Whether a GET of this URL answers with a success, else what it answered.
pub(crate) async fn answers(client: &reqwest::Client, url: &str) -> Result<(), String> {
    match client.get(url).send().await {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) => Err(format!("status {}", answer.status())),
        Err(error) => Err(error.to_string()),
    }
}

/// Posts JSON and fails on anything but a success, with the answer's text.
pub(crate) async fn post(
    client: &reqwest::Client,
    url: &str,
    body: &serde_json::Value,
) -> anyhow::Result<()> {
    let answer = client
        .post(url)
        .json(body)
        .send()
        .await
        .with_context(|| format!("post to {url}"))?;
    let status = answer.status();
    let text = answer.text().await.unwrap_or_default();
    ensure!(status.is_success(), "post to {url}: {status}: {text}");
    Ok(())
}
