//! From a kubeconfig's context, or from inside a cluster, to a connection.

use std::path::Path;

use http::{HeaderValue, header::USER_AGENT};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};

use super::request::ApiServer;
use crate::DriverError;

/// What the cluster that this process runs in is called.
const IN_CLUSTER: &str = "in-cluster";

/// A connection that was set up; nothing was asked yet.
#[derive(Debug)]
pub(super) struct Connection {
    /// The context's name.
    pub(super) name: String,
    /// The namespace that the context names, or `default`.
    pub(super) namespace: String,
    pub(super) server: ApiServer,
}

/// Connects to the cluster of `context`, or to the default one.
pub(super) async fn connect(
    kubeconfig: Option<&Path>,
    context: Option<&str>,
) -> Result<Connection, DriverError> {
    let operation = match context {
        Some(context) => format!("connect to the cluster of context {context}"),
        None => "connect to the cluster".to_owned(),
    };
    let read = match kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    let (name, mut config) = match read {
        Ok(kubeconfig) => from_kubeconfig(&operation, kubeconfig, context).await?,
        Err(KubeconfigError::ReadConfig(error, _))
            if kubeconfig.is_none() && context.is_none() && is_missing(&error) =>
        {
            (IN_CLUSTER.to_owned(), in_cluster(&operation)?)
        }
        Err(KubeconfigError::FindPath) if context.is_none() => {
            (IN_CLUSTER.to_owned(), in_cluster(&operation)?)
        }
        Err(error) => return Err(DriverError::permanent(operation, error)),
    };
    // A write must not be repeated behind the fence's back, minutes after it was decided on.
    config.default_retry = false;
    let agent = HeaderValue::from_static(concat!("sluice/", env!("CARGO_PKG_VERSION")));
    config.headers.push((USER_AGENT, agent));
    let namespace = config.default_namespace.clone();
    let client = Client::try_from(config).map_err(|error| {
        DriverError::permanent(
            operation,
            format!("its settings in the kubeconfig cannot be used: {error}"),
        )
    })?;
    Ok(Connection {
        name,
        namespace,
        server: ApiServer::new(client),
    })
}

fn is_missing(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::NotFound
}

async fn from_kubeconfig(
    operation: &str,
    kubeconfig: Kubeconfig,
    context: Option<&str>,
) -> Result<(String, Config), DriverError> {
    let known: Vec<String> = kubeconfig
        .contexts
        .iter()
        .map(|it| it.name.clone())
        .collect();
    let name = context.map(str::to_owned);
    let name = name.or_else(|| kubeconfig.current_context.clone());
    let Some(name) = name.filter(|it| known.contains(it)) else {
        let detail = match context {
            Some(_) => "the kubeconfig has no such context",
            None => "the kubeconfig names no current context that it has: name one with `context`",
        };
        return Err(DriverError::permanent(
            operation,
            format!("{detail}; it has: {}", known.join(", ")),
        ));
    };
    let options = KubeConfigOptions {
        context: Some(name.clone()),
        ..KubeConfigOptions::default()
    };
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    let config = config.map_err(|error| DriverError::permanent(operation, error))?;
    Ok((name, config))
}

fn in_cluster(operation: &str) -> Result<Config, DriverError> {
    Config::incluster().map_err(|error| {
        DriverError::permanent(
            operation,
            format!(
                "there is no kubeconfig, and this does not run in a cluster ({error}): set KUBECONFIG"
            ),
        )
    })
}
