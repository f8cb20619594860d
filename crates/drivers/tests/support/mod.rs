//! What the tests of HTTP drivers share: a context, and a server that ends with the test.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use axum::Router;
use drivers::{Cx, Wake, workload};

/// A context as the service makes it, and the directory that its files are in.
pub(crate) fn cx() -> (Cx, tempfile::TempDir) {
    // An error only says that a provider is installed already.
    drop(rustls::crypto::ring::default_provider().install_default());
    let http = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy();
    let directory = tempfile::tempdir().unwrap();
    let (wake, _) = Wake::channel();
    let cx = Cx {
        http: http.build().unwrap(),
        processes: workload::process::Supervisor::open(directory.path(), wake.clone()).unwrap(),
        probes: workload::probe::Probes::new(wake.clone()),
        haproxy: Arc::default(),
        single_flight: Arc::default(),
        kubernetes: drivers::kubernetes::Clusters::new(wake.clone(), None),
        wake,
        data_dir: directory.path().to_owned(),
    };
    (cx, directory)
}

/// A server on a free loopback port. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Server {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// `http://127.0.0.1:port`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves `router`.
pub(crate) async fn serve(router: Router) -> Server {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    Server { address, task }
}
