//! Two servers, one of them stopped for longer than its lease lives: what it wakes up to is not its
//! business any more.

use anyhow::{Context, ensure};
use e2e::apps::canary;
use e2e::server::Server;
use e2e::{AppClient, world};
use jiff::Timestamp;
use local::kubernetes::{ADMIN, Entry, SLUICE};
use local::part::Signal;
use local::wait;
use serde_json::json;

use super::SOON;
use super::moments::Moment;
use super::shop::{Setup, Shop, V2, V3};

/// A shop and a second server on its database, each with half of the shards. They are different
/// users of the API server, so that its audit log tells them apart.
struct Two {
    shop: Shop,
    second: Server,
    beside: AppClient,
    /// The first server, as the database knows it.
    first: String,
}

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    First,
    Second,
}

impl Which {
    fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    fn user(self) -> &'static str {
        match self {
            Self::First => SLUICE,
            Self::Second => ADMIN,
        }
    }
}

impl Two {
    async fn start() -> anyhow::Result<Self> {
        let steps = json!([
            {"setWeight": 25}, {"pause": "300ms"}, {"setWeight": 50}, {"pause": "300ms"},
            {"setWeight": 100},
        ]);
        let shop = Shop::start(Setup::new(4, canary(&steps))).await?;
        let first = shop.database.sql(OWNER).await?;
        let directory = shop.directory.path().join("second");
        std::fs::create_dir_all(&directory)?;
        let kubeconfig = shop.cluster.kubeconfig(ADMIN)?.display().to_string();
        let environment = [("KUBECONFIG".to_owned(), kubeconfig)];
        let second = Server::start_with(&directory, shop.database.url(), &environment).await?;
        let beside = AppClient::new(&second.url(), &shop.token)?;
        let two = Self {
            shop,
            second,
            beside,
            first: first.trim().to_owned(),
        };
        two.halved().await?;
        Ok(two)
    }

    /// Waits until each has half of the shards.
    async fn halved(&self) -> anyhow::Result<()> {
        wait::until(SOON, "each server to have half of the shards", || async {
            let sql = "SELECT count(*) FROM shard WHERE expires_at > now() GROUP BY owner";
            let found = self.shop.database.sql(sql).await;
            let found = found.map_err(|error| format!("{error:#}"))?;
            let halves: Vec<&str> = found.split_whitespace().collect();
            if halves == ["32", "32"] {
                Ok(())
            } else {
                Err(found)
            }
        })
        .await?;
        Ok(())
    }

    /// Whose the app is.
    async fn owner(&self) -> anyhow::Result<Which> {
        let owner = self.shop.database.sql(OWNER).await?;
        Ok(match owner.trim() == self.first {
            true => Which::First,
            false => Which::Second,
        })
    }

    fn server(&mut self, which: Which) -> &mut Server {
        match which {
            Which::First => &mut self.shop.server,
            Which::Second => &mut self.second,
        }
    }

    fn client(&self, which: Which) -> &AppClient {
        match which {
            Which::First => &self.shop,
            Which::Second => &self.beside,
        }
    }

    /// Brings out an image, the app's server standing still from the moment when `at` is so until the
    /// other one has ended the rollout.
    async fn deliver(&mut self, image: &str, at: impl Fn(&Moment) -> bool) -> anyhow::Result<()> {
        let owner = self.owner().await?;
        let id = self.client(owner.other()).deploy(image).await?.summary.id;
        self.shop.recorded("it to be under way", at).await?;
        self.server(owner).signal(Signal::STOP);
        let stopped = Timestamp::now();
        let ended = self.client(owner.other()).ended(id, "succeeded").await;
        self.server(owner).signal(Signal::CONT);
        ended?;
        self.server(owner).wait_ready().await?;
        self.halved().await?;
        let is_write = |it: &&Entry| it.is_write() && it.resource != "events" && it.at > stopped;
        let others = self.shop.asked(owner.other().user())?;
        let taken_over = others.iter().filter(is_write).map(|it| it.at).min();
        let taken_over = taken_over.context("the other server has written nothing")?;
        let own = self.shop.asked(owner.user())?;
        let late: Vec<_> = own
            .iter()
            .filter(is_write)
            .filter(|it| it.at > taken_over)
            .collect();
        ensure!(
            late.is_empty(),
            "written after the other took over: {late:#?}"
        );
        Ok(())
    }

    /// Neither watches pods any more.
    async fn watches_end(&self) -> anyhow::Result<()> {
        wait::until_now(SOON, "the watches of pods to end", || {
            let asked = self.shop.asked(SLUICE).and_then(|mut all| {
                all.extend(self.shop.asked(ADMIN)?);
                Ok(all)
            });
            let asked = asked.map_err(|error| format!("{error:#}"))?;
            let pods = asked
                .iter()
                .filter(|it| it.resource == "pods" && it.verb == "watch");
            let (begun, ended): (Vec<_>, Vec<_>) = pods.partition(|it| it.begins);
            match begun.len() == ended.len() {
                true => Ok(()),
                false => Err(format!("{} of {}", ended.len(), begun.len())),
            }
        })
        .await?;
        Ok(())
    }
}

/// Whose the app's shard is.
const OWNER: &str = "SELECT s.owner FROM app a JOIN shard s ON s.number = a.shard";

async fn told() -> anyhow::Result<Two> {
    let mut two = Two::start().await?;
    let told = async {
        two.deliver(V2, |it| it.wanted.contains_key(V2)).await?;
        two.deliver(V3, |it| it.share(V3) > 0.0).await?;
        two.watches_end().await
    };
    let told = told.await.map_err(|error: anyhow::Error| {
        let log = two.second.log_tail(40);
        anyhow::anyhow!("{error:#}\nend of the second server's log:\n{log}")
    });
    two.shop.explained(told).await?;
    Ok(two)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stood_still_writes_nothing_when_it_wakes_up() -> anyhow::Result<()> {
    drop(world::http()?);
    let two = told().await?;
    let moments = two.shop.moments().await?;
    let mut before: Option<&Moment> = None;
    for moment in &moments {
        two.shop.explained(moment.carries(4)).await?;
        // The Deployment's controller copies annotations to the ReplicaSet, and may do so from an
        // older look at the Deployment; that no older server writes it, the audit log has told.
        let epochs = before.into_iter().flat_map(|it| &it.epochs);
        for (object, epoch) in epochs.filter(|it| !it.0.starts_with("replicasets/")) {
            let now = moment.epochs.get(object);
            ensure!(
                now.is_none_or(|it| it >= epoch),
                "{object} was written under epoch {epoch} before: {moment:?}"
            );
        }
        before = Some(moment);
    }
    // It may have been stopped in the middle of a request.
    two.shop.finish(V3, &["lease", "API server"]).await
}
