//! How a world gets its first revision: Sluice brings it out, or finds it running and adopts it.

use anyhow::{Context, ensure};
use serde_json::Value;

use super::{Setup, World};
use crate::pairs::First;
use crate::{Pair, Version, apps};

impl World {
    /// A world whose app has this strategy and `v1` as its stable revision, under load.
    ///
    /// # Errors
    /// When that does not work out.
    pub async fn installed(
        setup: Setup,
        pair: &dyn Pair,
        strategy: &Value,
    ) -> anyhow::Result<Self> {
        let environment = pair.environment().await?;
        let mut world = Self::start_in(setup, pair.front(), &environment).await?;
        let installed = world.install(setup, pair, strategy).await;
        world.explained(installed).await?;
        Ok(world)
    }

    async fn install(
        &mut self,
        setup: Setup,
        pair: &dyn Pair,
        strategy: &Value,
    ) -> anyhow::Result<()> {
        let v1 = Version::with("v1", setup.first);
        let first = pair.prepare(self, &v1).await;
        let first = first.context("prepare the world")?;
        let mut app = apps::app(self, pair, strategy);
        if let (Some(drain), Some(app)) = (setup.drain, app.as_object_mut()) {
            app.insert("drain".to_owned(), drain.into());
        }
        match first {
            First::Deployed => {
                self.apply(&app).await?;
                let artifact = pair.artifact(self, &v1).await?;
                let rollout = self.deploy(&artifact).await?;
                self.ended(rollout.summary.id, "succeeded").await?;
                self.start_load(pair.front())
            }
            // Its users are there already, and must not notice anything.
            First::Adopted => {
                self.start_load(pair.front())?;
                self.found = Some(pair.running(self).await?);
                self.apply(&app).await?;
                let stable = self.client.app(apps::PROJECT, apps::APP).await?.stable;
                ensure!(
                    stable.as_ref().is_some_and(|it| it.revision == "r1"),
                    "what ran was not adopted: stable is {stable:?}"
                );
                Ok(())
            }
        }
    }
}
