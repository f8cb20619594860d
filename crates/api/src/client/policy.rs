//! Tokens, freeze windows, the audit log and projects' settings.

use reqwest::Method;
use serde_json::Value;
use uuid::Uuid;

use super::{Client, Result, TIMEOUT, trials::LONG_TIMEOUT};
use crate::{
    AuditVerification, AuditView, CreateToken, CreatedToken, FreezeRequest, FreezeView, Page,
    ProjectSettingsView, TokenView, Whoami,
};

impl Client {
    /// Makes a token.
    pub async fn create_token(&self, token: &CreateToken) -> Result<CreatedToken> {
        self.post("/api/v1/tokens", token).await
    }

    /// The tokens.
    pub async fn tokens(&self) -> Result<Page<TokenView>> {
        self.get("/api/v1/tokens").await
    }

    /// Revokes a token.
    pub async fn revoke_token(&self, id: Uuid) -> Result<()> {
        let request = self.request(Method::DELETE, &format!("/api/v1/tokens/{id}"));
        self.send(request.timeout(TIMEOUT)).await.map(drop)
    }

    /// Who the bearer is.
    pub async fn whoami(&self) -> Result<Whoami> {
        self.get("/api/v1/whoami").await
    }

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

    /// A project's settings.
    pub async fn project_settings(&self, project: &str) -> Result<ProjectSettingsView> {
        self.get(&format!("/api/v1/projects/{project}/settings"))
            .await
    }

    /// Applies a project's settings; `expected`: the version they must have, 0: none.
    pub async fn put_project_settings(
        &self,
        project: &str,
        document: &Value,
        expected: Option<i64>,
    ) -> Result<ProjectSettingsView> {
        let path = format!("/api/v1/projects/{project}/settings");
        self.json(self.put(&path, document, expected)).await
    }

    /// Takes a freeze window away.
    pub async fn remove_freeze(&self, id: Uuid) -> Result<()> {
        let request = self.request(Method::DELETE, &format!("/api/v1/freezes/{id}"));
        self.send(request.timeout(TIMEOUT)).await.map(drop)
    }
}
