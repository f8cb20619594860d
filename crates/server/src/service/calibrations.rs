//! What calibrations have found, as it is kept and as plans begin with it.

use std::collections::BTreeMap;

use analysis::Dispersion;
use api::CalibrationView;
use rollout::{Plan, gate::Counters};
use serde::{Deserialize, Serialize};
use store::{App, CalibrationRow, StoreError};

use super::Service;
use crate::error::ServeError;

/// A calibration as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Kept {
    /// What it was found of: it says nothing of other counters.
    pub(super) counters: Counters,
    pub(super) dispersion: Option<Dispersion>,
    pub(super) view: CalibrationView,
}

impl Service {
    /// What was found of an app's gates, as it is kept.
    pub(crate) async fn calibrations(
        &self,
        project: &str,
        name: &str,
    ) -> Result<Vec<CalibrationView>, ServeError> {
        let (app, _) = self.app_and_file(project, name).await?;
        let rows = self.store.calibrations(app.id).await?;
        let views = rows.into_iter().filter_map(|row| {
            let kept: Kept = serde_json::from_value(row.result).ok()?;
            Some(CalibrationView {
                calibrated_at: Some(row.calibrated_at),
                calibrated_by: Some(row.calibrated_by),
                ..kept.view
            })
        });
        Ok(views.collect())
    }

    /// What the gates of a plan begin with, by gate; nothing of gates that count something else now.
    pub(super) async fn dispersions(&self, app: &App) -> Result<Found, StoreError> {
        Ok(Found(self.store.calibrations(app.id).await?))
    }
}

/// What was found of gates before.
#[derive(Debug)]
pub(super) struct Found(Vec<CalibrationRow>);

impl Found {
    /// A plan that begins with it.
    pub(super) fn applied(&self, plan: Plan) -> Plan {
        let known = self.0.iter().filter_map(|row| {
            let kept: Kept = serde_json::from_value(row.result.clone()).ok()?;
            let counters = plan.gate(&row.gate)?.question.compare()?.counters.clone();
            let dispersion = kept.dispersion.filter(|_| counters == kept.counters)?;
            Some((row.gate.clone(), dispersion))
        });
        let known: BTreeMap<String, Dispersion> = known.collect();
        plan.calibrated(&known)
    }
}
