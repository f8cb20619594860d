//! Gates tried on past time: calls that take a while.

use std::time::Duration;

use reqwest::Method;
use serde::{Serialize, de::DeserializeOwned};

use super::{Client, Result};
use crate::{Backtest, BacktestRequest, CalibrateRequest, Calibrations};

/// How long a call may take that asks a metric source for days of the past.
pub(super) const LONG_TIMEOUT: Duration = Duration::from_secs(900);

impl Client {
    /// Calibrates gates on stable's past, which takes a while.
    pub async fn calibrate(
        &self,
        project: &str,
        app: &str,
        ask: &CalibrateRequest,
    ) -> Result<Calibrations> {
        let path = format!("/api/v1/apps/{project}/{app}/calibrations");
        self.long(&path, ask).await
    }

    /// What was found of an app's gates.
    pub async fn calibrations(&self, project: &str, app: &str) -> Result<Calibrations> {
        self.get(&format!("/api/v1/apps/{project}/{app}/calibrations"))
            .await
    }

    /// Tries gates on past rollouts, which takes a while.
    pub async fn backtest(
        &self,
        project: &str,
        app: &str,
        ask: &BacktestRequest,
    ) -> Result<Backtest> {
        let path = format!("/api/v1/apps/{project}/{app}/backtests");
        self.long(&path, ask).await
    }

    async fn long<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        let request = self.request(Method::POST, path).json(body);
        let answer = self.send(request.timeout(LONG_TIMEOUT)).await?;
        self.parse(answer).await
    }
}
