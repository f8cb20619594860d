//! Freeze windows.

use reqwest::Method;
use uuid::Uuid;

use super::{Client, Result, TIMEOUT};
use crate::{FreezeRequest, FreezeView, Page};

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

    /// Takes a freeze window away.
    pub async fn remove_freeze(&self, id: Uuid) -> Result<()> {
        let request = self.request(Method::DELETE, &format!("/api/v1/freezes/{id}"));
        self.send(request.timeout(TIMEOUT)).await.map(drop)
    }
}
