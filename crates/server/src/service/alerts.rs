//! Alerts: which rollouts they are about, and the orders they come to.
//!
//! ```text
//!  payload ── firing, once each ──> rules of all started rollouts (one read) ──> matched in memory
//!                                                                                      │
//!  answer <── a rollout at a time, some at once: rollbacks, then pauses, then notices <┘
//! ```
//!
//! A storm costs one read and what it changes, however many alerts there are in it.

mod matching;
mod text;

use std::{collections::HashSet, net::IpAddr};

use futures::StreamExt as _;
use jiff::Timestamp;
use rollout::{AlertAction, Command, Order, Phase};
use store::{AlertKey, Rollout};

use self::{matching::RulesByLabel, text::bounded};
use super::{Service, orders::file_of};
use crate::{app_file::AppFile, error::ServeError};

/// Rollouts that are changed at once because of one payload: fewer than the connections that are kept
/// for rollbacks, so that another payload is not kept waiting.
const AT_ONCE: usize = 4;
/// Sentences about alerts that changed nothing, after which the rest is only counted.
const TOLD_MAX: usize = 50;
/// Alerts that are named in one notice.
const NAMED_MAX: usize = 3;

/// What became of a payload's alerts.
#[derive(Debug, Default)]
pub(crate) struct AlertOutcome {
    /// Rollouts that are taken back or held because of them, or told of, in sentences.
    pub(crate) acted: Vec<String>,
    /// Why the others changed nothing, in sentences.
    pub(crate) ignored: Vec<String>,
    /// How many more changed nothing.
    more: usize,
}

/// From where alerts come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AlertSource<'a> {
    /// The receiver they came through.
    pub(crate) receiver: &'a str,
    /// Whose token brought them.
    pub(crate) by: &'a str,
    /// From which address.
    pub(crate) address: IpAddr,
    /// The projects they may change; all if it is `None`.
    pub(crate) projects: Option<&'a [String]>,
}

/// An alert that meets a rollout: what was read to find that out, so that it is read once.
pub(super) struct Alerted<'a> {
    pub(super) rollout: &'a Rollout,
    pub(super) file: &'a AppFile,
    pub(super) key: AlertKey,
}

/// An alert, and what a rollout's rules make of it.
type Matched<'a> = (AlertAction, &'a api::Alert);

impl AlertOutcome {
    /// Notes why something changed nothing; beyond what somebody reads it is only counted.
    fn ignore(&mut self, why: impl FnOnce() -> String) {
        match self.ignored.len() < TOLD_MAX {
            true => self.ignored.push(why()),
            false => self.more += 1,
        }
    }

    fn merge(&mut self, other: Self) {
        self.acted.extend(other.acted);
        self.more += other.more;
        for why in other.ignored {
            self.ignore(|| why);
        }
    }

    /// With what was only counted as a last sentence.
    fn told(mut self) -> Self {
        match self.more {
            0 => {}
            more => self
                .ignored
                .push(format!("{more} more alerts changed nothing")),
        }
        self
    }
}

impl Service {
    /// Applies alerts to every active rollout whose rules they match.
    pub(crate) async fn alerts(
        &self,
        alerts: &[api::Alert],
        source: AlertSource<'_>,
    ) -> Result<AlertOutcome, ServeError> {
        let mut outcome = AlertOutcome::default();
        let firing = firing(alerts, &mut outcome);
        if firing.is_empty() {
            return Ok(outcome.told());
        }
        let rules = self.rollback_store.alert_rules(source.projects).await?;
        let rules = RulesByLabel::new(rules);
        let mut matched = rules.matched(&firing, |alert| {
            outcome.ignore(|| {
                let name = name_of(alert);
                format!("{name}: no active rollout has a rule that matches it")
            });
        });
        // What takes traffic back goes before what holds, whatever the order in the payload.
        matched.sort_by_key(|(_, all)| all.iter().map(|it| it.0).min());
        let answers: Vec<_> = matched
            .into_iter()
            .map(|(id, alerts)| self.answer(id, alerts, source))
            .collect();
        let mut answered = futures::stream::iter(answers).buffered(AT_ONCE);
        // What fails for one rollout does not keep the others from going back; the sender hears of it,
        // and sends all of it again.
        let mut failed = None;
        while let Some(one) = answered.next().await {
            match one {
                Ok(one) => outcome.merge(one),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or_else(|| Ok(outcome.told()), Err)
    }

    /// Does what a rollout's rules say about the alerts that match them.
    async fn answer(
        &self,
        id: uuid::Uuid,
        mut alerts: Vec<Matched<'_>>,
        source: AlertSource<'_>,
    ) -> Result<AlertOutcome, ServeError> {
        let mut outcome = AlertOutcome::default();
        let Some(mut rollout) = self.rollback_store.rollout(id).await? else {
            return Ok(outcome);
        };
        let Some(file) = file_of(&self.rollback_store, &rollout).await? else {
            return Ok(outcome);
        };
        alerts.sort_by_key(|it| it.0);
        let mut began = None;
        let mut told = Vec::new();
        for (action, alert) in alerts {
            let name = name_of(alert);
            if let Some(why) = self.is_about_another(&rollout, alert, &mut began).await? {
                outcome.ignore(|| format!("{name}: {why}"));
                continue;
            }
            let key = key(&rollout, alert, source.receiver);
            let (order, by) = match action {
                AlertAction::Rollback => (rollback(alert), source.by.to_owned()),
                AlertAction::Pause => (Order::Pause, format!("alert {name}")),
                AlertAction::Notify => {
                    told.push((alert, key));
                    continue;
                }
            };
            let command = Command {
                order,
                by,
                comment: None,
                from: Some(source.address.to_string()),
            };
            let alerted = Alerted {
                rollout: &rollout,
                file: &file,
                key,
            };
            let after = self.obey(&alerted, &name, &command, &mut outcome).await?;
            rollout = after.unwrap_or(rollout);
        }
        self.tell(&rollout, &file, told, &mut outcome).await?;
        Ok(outcome)
    }

    /// Why an alert is not about this rollout's candidate, if it is not. `began`: when the rollout
    /// began, once that was looked up; it is not for alerts that are younger than its current step.
    async fn is_about_another(
        &self,
        rollout: &Rollout,
        alert: &api::Alert,
        began: &mut Option<Timestamp>,
    ) -> Result<Option<String>, ServeError> {
        let app = title(rollout);
        // An alert that fired before the rollout began is not about its candidate. It may have
        // waited for the one before it, whose alerts these are then.
        if alert.starts_at < rollout.state.since {
            let began = match *began {
                Some(began) => began,
                None => {
                    let started = self.rollback_store.history(rollout.id, 1, 1).await?;
                    let at = started.first().map_or(rollout.created_at, |it| it.at);
                    *began.insert(at)
                }
            };
            if alert.starts_at < began {
                return Ok(Some(format!("it fires since before the rollout of {app}")));
            }
        }
        // One that names a revision is about that one: the error rate of a revision that was taken
        // back may still be high in its window when the next rollout begins.
        let named = alert.labels.get("revision").filter(|it| is_revision(it));
        if let Some(named) = named.filter(|it| **it != rollout.candidate.to_string()) {
            return Ok(Some(format!("it is about {named}, not about {app}")));
        }
        Ok(match rollout.state.phase {
            Phase::Aborting => Some(format!("{app} is being rolled back already")),
            _ => None,
        })
    }

    /// Gives the order; the rollout as it is then.
    async fn obey(
        &self,
        alerted: &Alerted<'_>,
        name: &str,
        command: &Command,
        outcome: &mut AlertOutcome,
    ) -> Result<Option<Rollout>, ServeError> {
        let app = title(alerted.rollout);
        let given = self
            .order_with(alerted.rollout.id, command, None, Some(alerted))
            .await;
        match given {
            Ok((rollout, changed)) => {
                let done = match command.order {
                    Order::Alert { .. } => "being rolled back",
                    _ => "paused",
                };
                match changed {
                    true => outcome
                        .acted
                        .push(format!("{app} is {done} because of {name}")),
                    false => outcome.ignore(|| {
                        format!("{name}: it was acted on before, or changes nothing for {app}")
                    }),
                }
                Ok(Some(rollout))
            }
            Err(ServeError::Rejection(why)) => {
                outcome.ignore(|| format!("{name}: {why}"));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// One notice of all alerts that only ask for one.
    async fn tell(
        &self,
        rollout: &Rollout,
        file: &AppFile,
        told: Vec<(&api::Alert, AlertKey)>,
        outcome: &mut AlertOutcome,
    ) -> Result<(), ServeError> {
        if told.is_empty() {
            return Ok(());
        }
        let (alerts, keys): (Vec<_>, Vec<_>) = told.into_iter().unzip();
        let sentence = sentence(&alerts);
        let notices = self.telling(file, rollout, |it| it.alerted(&rollout.state, &sentence));
        let app = title(rollout);
        if notices.is_empty() {
            outcome.ignore(|| {
                format!("{app}: {sentence}, but its file and its project name nobody to tell")
            });
            return Ok(());
        }
        let store = &self.rollback_store;
        match store.tell_of_alerts(rollout.id, &keys, &notices).await? {
            0 => outcome.ignore(|| format!("{app}: {sentence}, which was told before")),
            _ => outcome.acted.push(format!("{app}: told that {sentence}")),
        }
        Ok(())
    }
}

/// Those that fire, each once.
fn firing<'a>(alerts: &'a [api::Alert], outcome: &mut AlertOutcome) -> Vec<&'a api::Alert> {
    let mut seen = HashSet::new();
    let mut firing = Vec::new();
    for alert in alerts {
        if alert.status != "firing" {
            outcome.ignore(|| {
                let status = bounded(&alert.status, text::NAME_MAX);
                format!("{}: it is {status}, not firing", name_of(alert))
            });
        } else if !alert.fingerprint.is_empty()
            && !seen.insert((&alert.fingerprint, alert.starts_at))
        {
            outcome.ignore(|| format!("{}: it is there twice", name_of(alert)));
        } else {
            firing.push(alert);
        }
    }
    firing
}

fn rollback(alert: &api::Alert) -> Order {
    Order::Alert {
        name: name_of(alert),
        detail: detail(alert),
        fingerprint: bounded(&alert.fingerprint, text::KEY_MAX),
    }
}

/// `Slow fires: p99 above 2 s; Errors fires: …; and 17 more`
fn sentence(alerts: &[&api::Alert]) -> String {
    let fires = |it: &&api::Alert| format!("{} fires: {}", name_of(it), detail(it));
    let mut named: Vec<String> = alerts.iter().take(NAMED_MAX).map(fires).collect();
    match alerts.len().saturating_sub(NAMED_MAX) {
        0 => {}
        more => named.push(format!("and {more} more")),
    }
    named.join("; ")
}

fn key(rollout: &Rollout, alert: &api::Alert, receiver: &str) -> AlertKey {
    AlertKey {
        fingerprint: bounded(&alert.fingerprint, text::KEY_MAX),
        starts_at: alert.starts_at,
        receiver: bounded(receiver, text::KEY_MAX),
        app_id: rollout.app_id,
    }
}

fn title(rollout: &Rollout) -> String {
    format!("{}/{} {}", rollout.project, rollout.app, rollout.candidate)
}

fn name_of(alert: &api::Alert) -> String {
    let name = alert.labels.get("alertname").map_or("unnamed", |it| it);
    bounded(name, text::NAME_MAX)
}

/// What it says about itself, or its labels.
fn detail(alert: &api::Alert) -> String {
    let annotations = &alert.annotations;
    let said = annotations
        .get("summary")
        .or(annotations.get("description"));
    let labels = || {
        let labels = alert.labels.iter();
        let labels: Vec<String> = labels.map(|(name, it)| format!("{name}={it}")).collect();
        labels.join(", ")
    };
    bounded(&said.cloned().unwrap_or_else(labels), text::DETAIL_MAX)
}

/// Whether a label's value has the shape of our revisions: `r7`.
fn is_revision(text: &str) -> bool {
    let digits = text.strip_prefix('r').unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|it| it.is_ascii_digit())
}
