//! The HAProxy of a world: its log says which server served what, and servers are named after
//! revisions.

use async_trait::async_trait;
use jiff::SignedDuration;
use local::haproxy::{self, NO_SERVER};
use local::prometheus::Targets;

use super::{Choice, Front, Record, Request};
use crate::World;

/// HAProxy's clock is read in whole milliseconds, a request's time too.
const CLOCK_SLACK: SignedDuration = SignedDuration::from_millis(5);

/// The front of HAProxy.
#[derive(Debug)]
pub struct HaProxyFront;

#[async_trait]
impl Front for HaProxyFront {
    fn url(&self, world: &World) -> String {
        world.haproxy.url()
    }

    fn host(&self, _: &World) -> Option<String> {
        None
    }

    fn targets(&self) -> Vec<Targets> {
        Vec::new()
    }

    fn errors_query(&self, world: &World) -> String {
        let counter = "haproxy_server_http_responses_total";
        let port = world.haproxy.exporter_port();
        let candidate = format!(
            "instance=\"127.0.0.1:{port}\",proxy=\"shop\",server=~\"{{{{candidate.instances}}}}\""
        );
        format!(
            "sum(rate({counter}{{{candidate},code=\"5xx\"}}[5s])) / sum(rate({counter}{{{candidate}}}[5s]))"
        )
    }

    fn known_as(&self, revision: &str, _: &str) -> String {
        revision.to_owned()
    }

    async fn record(&self, world: &World) -> anyhow::Result<Record> {
        let requests = world.haproxy.requests()?;
        Ok(Record {
            requests: requests.iter().map(request).collect(),
            lag: CLOCK_SLACK,
            choice: Choice::Turns,
        })
    }

    async fn serving(&self, world: &World) -> anyhow::Result<Vec<String>> {
        let servers = world.haproxy.server_totals().await?;
        let serving = servers
            .iter()
            .filter(|it| it.weight > 0 && it.status.starts_with("UP"));
        Ok(serving.map(|it| revision(&it.name)).collect())
    }
}

fn request(request: &haproxy::Request) -> Request {
    let served = request.server != NO_SERVER;
    Request {
        began: request.began(),
        by: served.then(|| revision(&request.server)),
        own_error: request.is_own_error(),
    }
}

/// The revision of a server such as `r2-1`.
fn revision(server: &str) -> String {
    let revision = server.split_once('-').map(|(revision, _)| revision);
    revision.unwrap_or(server).to_owned()
}
