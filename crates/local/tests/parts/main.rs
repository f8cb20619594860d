//! Each part really runs here: started, used, stopped, restarted, killed.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail by panicking, as tests do"
)]

mod alerting;
mod children;
mod cluster;
mod database;
mod examples;
mod sample;
mod traffic;

use std::path::Path;
use std::time::Duration;

use local::haproxy::Server;
use local::shop::{Options, serve_until};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Time in which anything on this machine happens, with other tests beside it.
const SOON: Duration = Duration::from_secs(20);

/// A shop within this process.
struct Shop {
    port: u16,
    ask: Option<oneshot::Sender<()>>,
    serving: JoinHandle<anyhow::Result<()>>,
}

impl Shop {
    async fn start(options: Options) -> Self {
        let port = local::ports::free_port().unwrap();
        let (ask, asked) = oneshot::channel();
        let asked = async move { asked.await.unwrap_or_default() };
        let serving = tokio::spawn(serve_until(Options { port, ..options }, asked));
        let shop = Self {
            port,
            ask: Some(ask),
            serving,
        };
        local::wait::until(SOON, "the shop to listen", || {
            tokio::net::TcpStream::connect(("127.0.0.1", port))
        })
        .await
        .unwrap();
        shop
    }

    async fn version(version: &str, error_ratio: f64) -> Self {
        Self::start(Options {
            version: version.to_owned(),
            error_ratio,
            grace: Duration::ZERO,
            ..Options::default()
        })
        .await
    }

    fn ask_to_stop(&mut self) {
        self.ask.take().unwrap().send(()).unwrap();
    }

    fn server(&self, name: &str, weight: u16) -> Server {
        Server {
            name: name.to_owned(),
            address: ([127, 0, 0, 1], self.port).into(),
            weight,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A client, with the crypto provider that reqwest asks for.
fn client() -> reqwest::Client {
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::new()
}

/// Whether a process is running; one that ended and is only not yet collected is not.
fn is_alive(pid: u32) -> bool {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    status.is_ok_and(|text| {
        !text
            .rsplit(')')
            .next()
            .unwrap()
            .trim_start()
            .starts_with(['Z', 'X'])
    })
}
