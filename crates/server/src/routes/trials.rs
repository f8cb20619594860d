//! Gates tried on past time. Each asks the metric source for much, so there are few at a time.

use api::{Backtest, BacktestRequest, CalibrateRequest, Calibrations, ProblemBody};
use axum::{Json, extract::State};

use super::{
    Web,
    extract::{AppPath, Caller, JsonBody},
};
use crate::error::ServeError;

/// Tries gates on stable against itself and keeps what is found: later rollouts begin with it.
#[utoipa::path(post, path = "/api/v1/apps/{project}/{app}/calibrations", tag = "gates",
    params(("project" = String, Path), ("app" = String, Path)), request_body = CalibrateRequest,
    responses((status = 200, body = Calibrations),
        (status = 409, body = ProblemBody, description = "It has no stable revision yet"),
        (status = 422, body = ProblemBody, description = "There is no such gate")))]
pub(super) async fn calibrate(
    State(web): State<Web>,
    Caller(caller): Caller,
    path: AppPath,
    body: JsonBody<CalibrateRequest>,
) -> Result<Json<Calibrations>, ServeError> {
    let app = (path.project.as_str(), path.app.as_str());
    let trial = web.service.calibrate(app, &body.value, &caller.name);
    let gates = web.trial(trial).await?;
    Ok(Json(Calibrations { gates }))
}

/// What was found of the app's gates when they were calibrated last.
#[utoipa::path(get, path = "/api/v1/apps/{project}/{app}/calibrations", tag = "gates",
    params(("project" = String, Path), ("app" = String, Path)),
    responses((status = 200, body = Calibrations)))]
pub(super) async fn calibrations(
    State(web): State<Web>,
    path: AppPath,
) -> Result<Json<Calibrations>, ServeError> {
    let gates = web.service.calibrations(&path.project, &path.app).await?;
    Ok(Json(Calibrations { gates }))
}

/// Tries the app's gates, as they are now, on its past rollouts: the last 50 of the time.
#[utoipa::path(post, path = "/api/v1/apps/{project}/{app}/backtests", tag = "gates",
    params(("project" = String, Path), ("app" = String, Path)), request_body = BacktestRequest,
    responses((status = 200, body = Backtest),
        (status = 409, body = ProblemBody, description = "It has no stable revision yet"),
        (status = 422, body = ProblemBody, description = "There is no such gate, or no such time")))]
pub(super) async fn backtest(
    State(web): State<Web>,
    path: AppPath,
    body: JsonBody<BacktestRequest>,
) -> Result<Json<Backtest>, ServeError> {
    let trial = web.service.backtest(&path.project, &path.app, &body.value);
    Ok(Json(web.trial(trial).await?))
}
