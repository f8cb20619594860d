//! Measuring gates beside the passes: a slow metric source must not hold up a rollback. One
//! question of a gate is under way at a time; the answer comes back as a wake.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use analysis::scalar::ScalarWindow;
use drivers::{AppKey, Cx, MetricsConfig, metrics::webhook, substitution::Substitution};
use futures::FutureExt as _;
use jiff::Timestamp;
use rollout::{
    Cursor,
    gate::{Gate, Measurement, NoDataCause, Question, Reading, counting::Counting},
};
use serde_json::json;
use uuid::Uuid;

use super::{
    Leases, Loop, Message,
    count::{Answer, Inquiry, Stand},
};

/// How long a webhook gate may take to answer.
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// How long any question may take; the drivers' own deadlines are shorter.
const ANSWER_WITHIN: Duration = Duration::from_secs(150);

/// One question to ask.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) rollout: Uuid,
    pub(crate) cursor: Cursor,
    pub(crate) gate: Gate,
    pub(crate) metrics: Option<MetricsConfig>,
    pub(crate) names: Substitution,
    /// From where a gate that counts goes on.
    pub(crate) stand: Stand,
}

/// One answer, bound to the step and attempt it was asked for.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) rollout: Uuid,
    pub(crate) cursor: Cursor,
    pub(crate) gate: String,
    pub(crate) measurement: Measurement,
    /// Where the gate's counters stood when it was asked, and where they stand after it: what is
    /// counted counts only from there.
    pub(crate) counted: Option<(Option<i64>, Box<Counting>)>,
}

impl Job {
    pub(crate) fn gate_name(&self) -> &str {
        &self.gate.name
    }

    /// Asks. The measurement carries the moment it was asked, not answered: a late answer is old.
    /// One that never comes, or whose driver panicked, is no data.
    async fn run_bounded(self, cx: &Cx, leases: &Leases) -> Measured {
        let at = leases.now();
        let stood = self.stand.counting.watermark_ms();
        let asked = ask(
            cx,
            &self.gate,
            self.metrics.as_ref(),
            &self.names,
            Some(self.rollout),
            (&self.stand, at),
        );
        let answered = tokio::time::timeout(ANSWER_WITHIN, AssertUnwindSafe(asked).catch_unwind());
        let answer = match answered.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => refused("asking panicked; this is a defect of Sluice".to_owned()).into(),
            Err(_) => Answer::from(Reading::NoData {
                cause: NoDataCause::Timeout,
                detail: format!("no answer within {} s", ANSWER_WITHIN.as_secs()),
            }),
        };
        Measured {
            rollout: self.rollout,
            cursor: self.cursor,
            gate: self.gate.name,
            measurement: Measurement {
                at,
                reading: answer.reading,
            },
            counted: answer.counting.map(|it| (stood, Box::new(it))),
        }
    }
}

/// Asks beside the passes. Whatever becomes of it, an answer comes back: a gate whose question
/// seems to be under way for ever would never be asked again.
pub(super) fn measure_beside(shared: Arc<Loop>, app: AppKey, job: Job) {
    tokio::spawn(async move {
        let measured = Box::new(
            job.run_bounded(&shared.service.cx, &shared.service.leases)
                .await,
        );
        shared
            .service
            .waker
            .send(Message::Measured { app, measured });
    });
}

/// Asks a gate's question once, at a moment.
pub(crate) async fn ask(
    cx: &Cx,
    gate: &Gate,
    metrics: Option<&MetricsConfig>,
    names: &Substitution,
    rollout: Option<Uuid>,
    (stand, now): (&Stand, Timestamp),
) -> Answer {
    let source = match (metrics, gate.question.needs_metrics()) {
        (None, true) => return refused("the app file names no metric source".to_owned()).into(),
        (source, _) => source,
    };
    let number = async |query: &str| match (names.apply(query), source) {
        (Ok(query), Some(source)) => source.driver().measure(cx, &query).await,
        (Ok(_), None) => refused("the app file names no metric source".to_owned()),
        (Err(detail), _) => refused(detail),
    };
    match &gate.question {
        Question::Threshold(threshold) => number(&threshold.query).await.into(),
        Question::Scalar(scalar) => {
            let both = tokio::join!(number(&scalar.candidate), number(&scalar.stable));
            pair(both, gate, now).into()
        }
        question @ (Question::Compare(_) | Question::Latency(_) | Question::Slo(_)) => match source
        {
            Some(source) => {
                let inquiry = Inquiry {
                    cx,
                    source: source.driver(),
                    question,
                    names,
                    stand,
                };
                inquiry.count(now).await
            }
            None => refused("the app file names no metric source".to_owned()).into(),
        },
        Question::Webhook(gate_url) => {
            let question = json!({
                "gate": gate.name,
                "rollout": rollout,
                "project": names.app.project,
                "app": names.app.app,
                "candidate": names.candidate.0.to_string(),
                "stable": names.stable.as_ref().map(|it| it.0.to_string()),
            });
            webhook::ask(cx, &gate_url.url, &question, WEBHOOK_TIMEOUT)
                .await
                .into()
        }
    }
}

/// Two numbers of one moment. Each stands for the interval before it, so that no sample overlaps the
/// one before.
fn pair(both: (Reading, Reading), gate: &Gate, now: Timestamp) -> Reading {
    match both {
        (Reading::Value { value: candidate }, Reading::Value { value: stable }) => Reading::Pair {
            window: ScalarWindow {
                from_ms: rollout::time::after(now, -gate.interval).as_millisecond() + 1,
                until_ms: now.as_millisecond(),
                candidate,
                stable,
            },
        },
        (Reading::Value { .. }, other) | (other, _) => other,
    }
}

fn refused(detail: String) -> Reading {
    Reading::NoData {
        cause: NoDataCause::Refused,
        detail,
    }
}
