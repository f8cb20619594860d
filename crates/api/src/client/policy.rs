//! Freeze windows and the audit log.

use reqwest::Method;
use uuid::Uuid;

use super::{Client, Result, TIMEOUT, trials::LONG_TIMEOUT};
use crate::{AuditVerification, AuditView, FreezeRequest, FreezeView, Page};

impl Client {
    /// A page of the audit log, newest first; `query` are the parameters of the route.
    pub async fn audit(&self, query: &[(&str, String)]) -> Result<Page<AuditView>> {
        self.json(self.request(Method::GET, "/api/v1/audit").query(query))
            .await
    }

    /// Checks the audit log, with the seal that it must contain, if one is given.
    pub async fn verify_audit(&self, head: Option<&str>) -> Result<AuditVerification> {
        let request = self.request(Method::GET, "/api/v1/audit/verification");
        // A long log takes long to be read.
        let answer = self.send(request.query(&[("head", head)]).timeout(LONG_TIMEOUT));
        self.parse(answer.await?).await
    }

    /// The freeze windows that concern a project, or all that the token sees.
    pub async fn freezes(&self, project: Option<&str>) -> Result<Page<FreezeView>> {
        let request = self.request(Method::GET, "/api/v1/freezes");
        self.json(request.query(&[("project", project)])).await
    }

    /// Makes a freeze window.
    pub async fn add_freeze(&self, ask: &FreezeRequest) -> Result<FreezeView> {
        self.post("/api/v1/freezes", ask).await
    }

    /// Takes a freeze window away.
    pub async fn remove_freeze(&self, id: Uuid) -> Result<()> {
        let request = self.request(Method::DELETE, &format!("/api/v1/freezes/{id}"));
        self.send(request.timeout(TIMEOUT)).await.map(drop)
    }
}
