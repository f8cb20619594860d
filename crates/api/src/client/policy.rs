//! Freeze windows and projects' settings.

use reqwest::{Method, header};
use serde_json::Value;
use uuid::Uuid;

use super::{Client, Result, TIMEOUT};
use crate::{FreezeRequest, FreezeView, Page, ProjectSettingsView};

impl Client {
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
        let mut request = self.request(Method::PUT, &path).json(document);
        match expected {
            Some(0) => request = request.header(header::IF_NONE_MATCH, "*"),
            Some(version) => request = request.header(header::IF_MATCH, format!("\"{version}\"")),
            None => {}
        }
        self.json(request).await
    }

    /// Takes a freeze window away.
    pub async fn remove_freeze(&self, id: Uuid) -> Result<()> {
        let request = self.request(Method::DELETE, &format!("/api/v1/freezes/{id}"));
        self.send(request.timeout(TIMEOUT)).await.map(drop)
    }
}
