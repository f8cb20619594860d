//! Adopting what ran before Sluice came: it becomes the first stable revision, without a rollout that
//! could go wrong on the only instances there are.

use rollout::Revision;
use uuid::Uuid;

use super::{
    NewRevision,
    create::{lock_app, settle_revision},
};
use crate::{
    Store,
    error::{StoreError, retrying},
    number,
};

const DURING: &str = "adopt what runs";

impl Store {
    /// Makes what runs already an app's first stable revision; nothing is rolled out. An app that
    /// has a revision is left as it is. Returns the app's stable revision.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or that the database does not answer.
    pub async fn adopt(
        &self,
        app: Uuid,
        revision: &NewRevision,
        by: &str,
    ) -> Result<Option<Revision>, StoreError> {
        retrying!(self.try_adopt(app, revision, by))
    }

    async fn try_adopt(
        &self,
        app: Uuid,
        revision: &NewRevision,
        by: &str,
    ) -> Result<Option<Revision>, StoreError> {
        let mut tx = self
            .pool
            .begin()
            .await
            .map_err(StoreError::during(DURING))?;
        let app = lock_app(&mut tx, app).await?;
        let known = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM revision WHERE app_id = $1) AS "known!""#,
            app.id
        )
        .fetch_one(&mut *tx)
        .await
        .map_err(StoreError::during(DURING))?;
        if known {
            return Ok(app.stable);
        }
        let adopted = settle_revision(&mut tx, &app, revision, by).await?;
        sqlx::query!(
            r#"WITH adopted AS (
                 UPDATE app SET stable = $2, updated_at = clock_timestamp() WHERE id = $1
                 RETURNING *)
               SELECT notify_change(id, project, name, NULL, false, NULL) AS "notified!"
               FROM adopted"#,
            app.id,
            number(adopted.revision)
        )
        .fetch_one(&mut *tx)
        .await
        .map_err(StoreError::during(DURING))?;
        tx.commit().await.map_err(StoreError::committing(DURING))?;
        Ok(Some(adopted.revision))
    }
}
