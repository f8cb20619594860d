//! Alerts: which rollouts one is about, and the order it comes to.

use jiff::Timestamp;
use rollout::{AlertAction, Command, Order, Phase};
use store::{AlertKey, Rollout};

use super::{Service, orders::file_of};
use crate::{app_file::AppFile, error::ServeError};

/// What became of one alert.
#[derive(Debug, Default)]
pub(crate) struct AlertOutcome {
    /// Rollouts that are taken back or held because of it, in sentences.
    pub(crate) acted: Vec<String>,
    /// Why it changed nothing, in sentences.
    pub(crate) ignored: Vec<String>,
}

/// An alert that meets a rollout: what was read to find that out, so that it is read once.
pub(super) struct Alerted {
    pub(super) rollout: Rollout,
    pub(super) file: AppFile,
    pub(super) key: AlertKey,
}

impl Service {
    /// Applies one alert to every active rollout whose rules it matches.
    pub(crate) async fn alert(
        &self,
        alert: &api::Alert,
        receiver: &str,
        (by, source): (&str, std::net::IpAddr),
        allowed_projects: Option<&[String]>,
    ) -> Result<AlertOutcome, ServeError> {
        let name = alert
            .labels
            .get("alertname")
            .cloned()
            .unwrap_or_else(|| "unnamed".to_owned());
        let mut outcome = AlertOutcome::default();
        if alert.status != "firing" {
            outcome
                .ignored
                .push(format!("{name}: it is {}, not firing", alert.status));
            return Ok(outcome);
        }
        let mut matched = false;
        for rollout in self.rollouts_for(alert, allowed_projects).await? {
            let Some(file) = file_of(&self.rollback_store, &rollout).await? else {
                continue;
            };
            let mut rules = file.delivery.alerts.iter();
            let Some(rule) = rules.find(|rule| rule.matches(&alert.labels)) else {
                continue;
            };
            matched = true;
            let action = rule.action;
            let key = AlertKey {
                fingerprint: alert.fingerprint.clone(),
                starts_at: alert.starts_at,
                receiver: receiver.to_owned(),
                app_id: rollout.app_id,
            };
            let alerted = Alerted { rollout, file, key };
            self.act_on(&alerted, action, alert, (&name, by, source), &mut outcome)
                .await?;
        }
        if !matched {
            outcome.ignored.push(format!(
                "{name}: no active rollout has a rule that matches it"
            ));
        }
        Ok(outcome)
    }

    /// The rollouts that have a rule for an alert with these labels.
    async fn rollouts_for(
        &self,
        alert: &api::Alert,
        projects: Option<&[String]>,
    ) -> Result<Vec<Rollout>, ServeError> {
        // Postgres keeps no NUL in a text, so no rule can ask for one either.
        let labels = alert.labels.iter();
        let labels: serde_json::Map<String, serde_json::Value> = labels
            .filter(|(name, value)| !name.contains('\0') && !value.contains('\0'))
            .map(|(name, value)| (name.clone(), value.as_str().into()))
            .collect();
        let store = &self.rollback_store;
        let found = store.rollouts_for_alert(&labels.into(), projects).await?;
        Ok(found)
    }

    /// When the rollout began: not looked up for an alert that is younger than its current step.
    async fn began(&self, rollout: &Rollout, alert: &api::Alert) -> Result<Timestamp, ServeError> {
        if alert.starts_at >= rollout.state.since {
            return Ok(rollout.state.since);
        }
        let started = self.rollback_store.history(rollout.id, 1, 1).await?;
        Ok(started.first().map_or(rollout.created_at, |it| it.at))
    }

    async fn act_on(
        &self,
        alerted: &Alerted,
        action: AlertAction,
        alert: &api::Alert,
        (name, by, source): (&str, &str, std::net::IpAddr),
        outcome: &mut AlertOutcome,
    ) -> Result<(), ServeError> {
        let rollout = &alerted.rollout;
        let app = format!("{}/{} {}", rollout.project, rollout.app, rollout.candidate);
        // An alert that fired before the rollout began is not about its candidate. It may have
        // waited for the one before it, whose alerts these are then.
        if alert.starts_at < self.began(rollout, alert).await? {
            outcome.ignored.push(format!(
                "{name}: it fires since before the rollout of {app}"
            ));
            return Ok(());
        }
        // One that names a revision is about that one: the error rate of a revision that was taken
        // back may still be high in its window when the next rollout begins.
        let named = alert.labels.get("revision");
        if let Some(named) = named
            && is_revision(named)
            && *named != rollout.candidate.to_string()
        {
            outcome
                .ignored
                .push(format!("{name}: it is about {named}, not about {app}"));
            return Ok(());
        }
        if rollout.state.phase == Phase::Aborting {
            outcome
                .ignored
                .push(format!("{name}: {app} is being rolled back already"));
            return Ok(());
        }
        let summary = alert
            .annotations
            .get("summary")
            .or(alert.annotations.get("description"));
        let order = match action {
            AlertAction::Rollback => Order::Alert {
                name: name.to_owned(),
                detail: summary.cloned().unwrap_or_else(|| labels(alert)),
                fingerprint: alert.fingerprint.clone(),
            },
            AlertAction::Pause => Order::Pause,
        };
        let by = match action {
            AlertAction::Rollback => by.to_owned(),
            AlertAction::Pause => format!("alert {name}"),
        };
        let command = Command {
            order,
            by,
            comment: None,
            from: Some(source.to_string()),
        };
        match self
            .order_with(rollout.id, &command, None, Some(alerted))
            .await
        {
            Ok((_, false)) => outcome.ignored.push(format!(
                "{name}: it was acted on before, or changes nothing for {app}"
            )),
            Ok((_, true)) => outcome.acted.push(match action {
                AlertAction::Rollback => format!("{app} is being rolled back because of {name}"),
                AlertAction::Pause => format!("{app} is paused because of {name}"),
            }),
            Err(ServeError::Rejection(why)) => outcome.ignored.push(format!("{name}: {why}")),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Whether a label's value has the shape of our revisions: `r7`.
fn is_revision(text: &str) -> bool {
    let digits = text.strip_prefix('r').unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|it| it.is_ascii_digit())
}

fn labels(alert: &api::Alert) -> String {
    let labels = alert
        .labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    labels.collect::<Vec<_>>().join(", ")
}
