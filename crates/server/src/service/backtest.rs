//! Backtests: what an app's gates, as they are now, would have said of its past rollouts.

use api::{Backtest, BacktestGate, BacktestRequest, BacktestRollout};
use drivers::substitution::Substitution;
use jiff::Timestamp;
use rollout::{
    Cursor, Plan, Revisions, Role, Track,
    gate::{Gate, GateState, Gates, Measurement, Verdict},
};
use store::{App, Rollout};

use super::{Service, calibrate::chosen, deploy::key_of, quiet::had_traffic};
use crate::{
    app_file::AppFile,
    controller::{Inquiry, Stand},
    error::ServeError,
    metrics::verdict_word,
};

/// Most measurements of one gate in one rollout: one that was held for days is measured less often.
const MEASURED_MAX: i32 = 5_000;

/// Most rollouts that are tried at once: each asks the metric source for all its time.
const TRIED_MAX: usize = 50;

impl Service {
    /// Tries gates on the rollouts of a time.
    pub(crate) async fn backtest(
        &self,
        project: &str,
        name: &str,
        request: &BacktestRequest,
    ) -> Result<Backtest, ServeError> {
        let now = self.leases.now();
        let to = request.to.unwrap_or(now);
        if request.from >= to {
            return Err(ServeError::Field {
                pointer: "/from".to_owned(),
                detail: format!("{} is not before {to}: give a time before it", request.from),
            });
        }
        let (app, file) = self.app_and_file(project, name).await?;
        let gate = request.gate.as_deref();
        chosen(&self.plan_to_try(&app, &file).await?, gate, counts)?;
        let (rollouts, more) = self.past_rollouts(&app).await?;
        let in_time = rollouts.iter().filter(|it| {
            let ended = it.ended_at.unwrap_or(now);
            had_traffic(it) && it.created_at < to && request.from < ended
        });
        let mut tried: Vec<&Rollout> = in_time.take(TRIED_MAX + 1).collect();
        let more = more || tried.len() > TRIED_MAX;
        tried.truncate(TRIED_MAX);
        let mut all = Vec::new();
        for rollout in tried {
            all.push(self.tried(&app, &file, rollout, gate).await?);
        }
        Ok(Backtest {
            rollouts: all,
            more,
        })
    }

    async fn tried(
        &self,
        app: &App,
        file: &AppFile,
        rollout: &Rollout,
        gate: Option<&str>,
    ) -> Result<BacktestRollout, ServeError> {
        let plan = file.plan(Revisions {
            stable: rollout.stable,
            candidate: rollout.candidate,
            replicas: rollout.plan.replicas,
            undo: false,
        });
        let plan = self.dispersions(app).await?.applied(plan);
        let stand = Stand {
            shares: rollout.gates.shares.clone(),
            instances: instances(rollout),
            label: file.bindings.workload.driver().instance_label(),
            router: Some(file.bindings.traffic.clone()),
            ..Stand::default()
        };
        let mut gates = Vec::new();
        for gate in chosen(&plan, gate, counts)? {
            gates.push(
                self.tried_gate(app, file, (rollout, &plan), gate, &stand)
                    .await,
            );
        }
        Ok(BacktestRollout {
            rollout: rollout.id,
            candidate: rollout.candidate.to_string(),
            phase: rollout.phase.word().to_owned(),
            began: rollout.created_at,
            gates,
        })
    }

    async fn tried_gate(
        &self,
        app: &App,
        file: &AppFile,
        (rollout, plan): (&Rollout, &Plan),
        gate: &Gate,
        stand: &Stand,
    ) -> BacktestGate {
        let nothing = |why: &str| BacktestGate {
            gate: gate.name.clone(),
            verdict: verdict_word(Verdict::NoData).to_owned(),
            after: None,
            measured: 0,
            evidence: why.to_owned(),
        };
        let Some(metrics) = file.bindings.metrics.as_ref().filter(|_| counts(gate)) else {
            return nothing(
                "only gates that count can be tried on the past: compare, latency, slo",
            );
        };
        let names = Substitution {
            app: key_of(app),
            candidate: (plan.candidate, Vec::new()),
            stable: plan.stable.map(|it| (it, Vec::new())),
        };
        let inquiry = Inquiry {
            cx: &self.cx,
            source: metrics.driver(),
            question: &gate.question,
            names: &names,
            stand,
        };
        let began = rollout.created_at;
        let until = rollout.ended_at.unwrap_or_else(|| self.leases.now());
        let step = until.duration_since(began) / MEASURED_MAX;
        let measured = inquiry.measured(began, until, step.max(gate.interval));
        judged(gate, began, &measured.await)
    }
}

/// What the gate says of the measurements of one rollout.
fn judged(gate: &Gate, began: Timestamp, measurements: &[Measurement]) -> BacktestGate {
    let cursor = Cursor {
        track: Track::Main,
        step: 0,
        attempt: 1,
    };
    let mut gates = Gates::default().at(cursor);
    let mut passed = None;
    let mut after = None;
    for (index, measurement) in measurements.iter().enumerate() {
        let ends = index + 1 == measurements.len();
        gates = gates.fold(gate, measurement, ends);
        let seconds = measurement.at.duration_since(began).as_secs_f64();
        match gates.states.get(&gate.name).map(|it| it.verdict) {
            Some(Verdict::Fail) => {
                after = Some(seconds);
                break;
            }
            Some(Verdict::Pass) => passed = passed.or(Some(seconds)),
            Some(Verdict::Inconclusive | Verdict::Hold | Verdict::NoData) | None => {}
        }
    }
    let state = gates.states.remove(&gate.name).unwrap_or_default();
    BacktestGate {
        gate: gate.name.clone(),
        verdict: verdict_word(state.verdict).to_owned(),
        after: after.or(passed.filter(|_| state.verdict == Verdict::Pass)),
        measured: state.measured,
        evidence: evidence(&state),
    }
}

fn evidence(state: &GateState) -> String {
    let last = state.last.as_ref().map(|it| it.reading.to_string());
    let evidence = state.evidence.clone().or(last);
    evidence.unwrap_or_else(|| "it was over before a measurement".to_owned())
}

/// The instances that its gates saw.
fn instances(rollout: &Rollout) -> Vec<(String, Role)> {
    let counting = rollout.gates.counting.values();
    let seen = counting.flat_map(|it| it.instances());
    seen.map(|(name, role)| (name.to_owned(), role)).collect()
}

fn counts(gate: &Gate) -> bool {
    gate.question.counts()
}
