//! The app of a scenario at its server: what is done with its rollouts, and how they are waited for.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use api::{
    AppView, Client, ClientError, CommandRequest, Deploy, OrderWord, RolloutView, TransitionView,
};
use local::wait;
use serde_json::Value;
use uuid::Uuid;

use crate::apps::{APP, PROJECT};

/// How long a rollout of a scenario may take; they take two to five seconds on an idle machine, and
/// some times that where the instances are pods.
pub const ENDS_WITHIN: Duration = Duration::from_secs(90);
/// How long a server may be too busy for a request.
const BUSY_WITHIN: Duration = Duration::from_secs(15);
/// Time between two looks at a rollout.
const LOOK_EVERY: Duration = Duration::from_millis(40);

/// The typed client, for [`APP`] of [`PROJECT`].
#[derive(Debug)]
pub struct AppClient {
    /// The client, for all else.
    pub client: Client,
}

impl AppClient {
    /// A client of the server at `url`.
    ///
    /// # Errors
    /// When it cannot be built.
    pub fn new(url: &str, token: &str) -> anyhow::Result<Self> {
        let client = Client::new(url, Some(token.to_owned().into()))?;
        Ok(Self { client })
    }

    /// Applies an app file.
    ///
    /// # Errors
    /// With what the server says against it.
    pub async fn apply(&self, app: &Value) -> anyhow::Result<AppView> {
        let found = patiently(async || self.client.put_app(PROJECT, APP, app, None).await);
        match found.await {
            Ok(found) => Ok(found.value),
            Err(error) => {
                let fields = error.problem().map(|it| format!("{:?}", it.errors));
                bail!("apply: {error}: {fields:?}")
            }
        }
    }

    /// Asks for a rollout of `artifact`.
    ///
    /// # Errors
    /// With what the server says against it.
    pub async fn deploy(&self, artifact: &str) -> anyhow::Result<RolloutView> {
        self.deploy_as(artifact, &Uuid::now_v7().to_string()).await
    }

    /// Asks for a rollout of `artifact` with this idempotency key.
    ///
    /// # Errors
    /// With what the server says against it.
    pub async fn deploy_as(&self, artifact: &str, key: &str) -> anyhow::Result<RolloutView> {
        let deploy = Deploy {
            artifact: Some(artifact.to_owned()),
            ..Deploy::default()
        };
        let asked = patiently(async || self.client.deploy(PROJECT, APP, &deploy, key).await);
        asked.await.with_context(|| format!("deploy {artifact}"))
    }

    /// Goes back to the revision that was stable before.
    ///
    /// # Errors
    /// With what the server says against it.
    pub async fn undo(&self) -> anyhow::Result<RolloutView> {
        let deploy = Deploy {
            undo: true,
            ..Deploy::default()
        };
        let key = Uuid::now_v7().to_string();
        let asked = patiently(async || self.client.deploy(PROJECT, APP, &deploy, &key).await);
        asked.await.context("undo")
    }

    /// Gives an order to a rollout.
    ///
    /// # Errors
    /// With what the server says against it.
    pub async fn order(&self, id: Uuid, order: OrderWord) -> anyhow::Result<RolloutView> {
        let request = CommandRequest {
            order,
            comment: None,
        };
        let ordered = patiently(async || self.client.command(id, &request).await);
        ordered.await.with_context(|| format!("order {order:?}"))
    }

    /// Waits until `reached` holds for a rollout. A server that does not answer is waited for too.
    ///
    /// # Errors
    /// When that is not so within `within`, or the rollout ends without it.
    pub async fn until(
        &self,
        id: Uuid,
        within: Duration,
        what: &str,
        reached: impl Fn(&RolloutView) -> bool,
    ) -> anyhow::Result<RolloutView> {
        let mut looked = false;
        let found = wait::until(within, what, || {
            let first = !std::mem::replace(&mut looked, true);
            let reached = &reached;
            async move {
                if !first {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                let view = self.client.rollout(id).await.map_err(|it| it.to_string())?;
                let ended = view.summary.ended_at.is_some();
                match reached(&view) {
                    true => Ok(Ok(view)),
                    false if ended => Ok(Err(words(&view))),
                    false => Err(words(&view)),
                }
            }
        });
        match found.await? {
            Ok(view) => Ok(view),
            Err(ended) => bail!("wait for {what}: it ended: {ended}"),
        }
    }

    /// Waits until a rollout has ended, in `phase`.
    ///
    /// # Errors
    /// When it does not end in time or ends otherwise.
    pub async fn ended(&self, id: Uuid, phase: &str) -> anyhow::Result<RolloutView> {
        let view = self
            .until(id, ENDS_WITHIN, "the rollout to end", |it| {
                it.summary.ended_at.is_some()
            })
            .await?;
        ensure!(
            view.summary.phase == phase,
            "it ended in {} instead of {phase}: {}",
            view.summary.phase,
            words(&view)
        );
        Ok(view)
    }

    /// Waits until a rollout waits for something of this kind, e.g. `promotion`.
    ///
    /// # Errors
    /// When that is not so in time.
    pub async fn waits_for(&self, id: Uuid, kind: &str) -> anyhow::Result<RolloutView> {
        self.until(id, ENDS_WITHIN, &format!("a wait for {kind}"), |it| {
            it.waiting_on
                .as_ref()
                .is_some_and(|waiting| waiting.kind == kind)
        })
        .await
    }

    /// The whole history of a rollout.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn history(&self, id: Uuid) -> anyhow::Result<Vec<TransitionView>> {
        let mut all = Vec::new();
        let mut cursor = None;
        loop {
            let page = patiently(async || self.client.history(id, cursor.as_deref()).await).await?;
            all.extend(page.items);
            match page.next_cursor {
                Some(next) => cursor = Some(next),
                None => return Ok(all),
            }
        }
    }
}

/// Asks again while the server says that it cannot now (503), as its `Retry-After` invites to: a
/// busy machine is no failure.
async fn patiently<T>(ask: impl AsyncFn() -> Result<T, ClientError>) -> Result<T, ClientError> {
    let began = Instant::now();
    loop {
        let answer = ask().await;
        let busy = |it: &ClientError| it.problem().is_some_and(|it| it.status == 503);
        match answer {
            Err(error) if busy(&error) && began.elapsed() < BUSY_WITHIN => {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            answer => return answer,
        }
    }
}

/// A rollout in one line.
pub fn words(view: &RolloutView) -> String {
    let it = &view.summary;
    format!(
        "{} {} at {}, waiting: {}, reason: {}",
        it.candidate,
        it.phase,
        it.step,
        it.waiting.as_deref().unwrap_or("nothing"),
        it.reason.as_deref().unwrap_or("none")
    )
}
