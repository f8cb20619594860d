//! The dry run: what a rollout would do, and what would stand in its way, before traffic moves.

use analysis::{Compare, outlook::Traffic};
use api::{GateCheck, GateOutlook, PlanRequest, PlanView, StepPlan};
use drivers::{AppKey, Routes, TrafficRouter, substitution::Substitution};
use jiff::Timestamp;
use rollout::{
    Freeze, Plan, Revision, Revisions, Role, Step, Target, Weight,
    gate::{Counters, Gate, Question, Reading},
    observation::{Instance, InstanceState, ObservedRoutes},
};
use store::{App, FreezeRow};

use super::Service;
use crate::{
    app_file::AppFile,
    controller::{Inquiry, Probe, Stand, ask, instances},
    error::ServeError,
    freezes,
    live::Seen,
    views,
};

impl Service {
    /// What deploying would do now.
    pub(crate) async fn dry_run(
        &self,
        project: &str,
        app: &str,
        request: &PlanRequest,
    ) -> Result<PlanView, ServeError> {
        let kept = self.store.get_app(project, app).await?;
        let document = match (&request.document, &kept) {
            (Some(document), _) => document,
            (None, Some(app)) => &app.document,
            (None, None) => {
                return Err(ServeError::NotFound {
                    what: format!("app {project}/{app}"),
                });
            }
        };
        let file = AppFile::read(document).map_err(ServeError::Document)?;
        Self::refuse_impossible(&file)?;
        let stable = kept.as_ref().and_then(|it| it.stable);
        let newest = match &kept {
            Some(app) => self
                .store
                .revisions(app.id, 1)
                .await?
                .first()
                .map(|it| it.revision),
            None => None,
        };
        let candidate = Revision(newest.map_or(1, |it| it.0 + 1));
        let key = AppKey {
            project: project.to_owned(),
            app: app.to_owned(),
        };
        let plan = file.plan(Revisions {
            stable,
            candidate,
            replicas: self.replicas(&file, &key).await?,
            undo: false,
        });
        let plan = match &kept {
            Some(app) => self.dispersions(app).await?.applied(plan),
            None => plan,
        };
        let mut warnings = self
            .artifact_warnings(&file, &key, request.artifact.as_deref())
            .await;
        warnings.extend(self.succession_warnings(kept.as_ref(), &plan).await?);
        warnings.extend(self.router_warnings(&file, &key).await);
        let now = self.leases.now();
        let windows = self.store.freezes_of(project, app).await?;
        warnings.extend(freeze_warnings(&windows, now));
        let gates = self.gate_checks(&file, &plan, &key).await;
        let blind = gates.iter().filter(|it| !it.has_data);
        warnings
            .extend(blind.map(|it| format!("gate {} has no data now: {}", it.gate, it.reading)));
        Ok(PlanView {
            strategy: plan.strategy.clone(),
            stable: stable.map(|it| it.to_string()),
            candidate: candidate.to_string(),
            replicas: plan.replicas,
            steps: steps(&plan, file.bindings.traffic.driver()),
            abort: plan.abort.iter().map(|it| it.behavior().title()).collect(),
            gates,
            freezes: windows
                .iter()
                .map(|it| views::freeze_view(it, now))
                .collect(),
            warnings,
        })
    }

    /// What the rollout would take the place of.
    async fn succession_warnings(
        &self,
        kept: Option<&App>,
        plan: &Plan,
    ) -> Result<Vec<String>, ServeError> {
        let current = match kept {
            Some(app) => self.store.current(app.id).await?,
            None => None,
        };
        let mut warnings = Vec::new();
        warnings.extend(current.map(|it| {
            format!(
                "rollout {} of {} is {}: it would be superseded",
                it.id, it.candidate, it.phase
            )
        }));
        if plan.strategy == "recreate" {
            warnings.push("recreate: no instance serves between the old and the new".to_owned());
        }
        Ok(warnings)
    }

    async fn artifact_warnings(
        &self,
        file: &AppFile,
        key: &AppKey,
        artifact: Option<&str>,
    ) -> Vec<String> {
        let Some(artifact) = artifact else {
            return Vec::new();
        };
        match file
            .bindings
            .workload
            .driver()
            .resolve(&self.cx, key, artifact, None)
            .await
        {
            Ok(_) => Vec::new(),
            Err(detail) => vec![format!("artifact: {detail}")],
        }
    }

    async fn router_warnings(&self, file: &AppFile, key: &AppKey) -> Vec<String> {
        let observed = file.bindings.traffic.driver().observe(&self.cx, key).await;
        match observed {
            Err(error) => vec![format!("the router cannot be read: {error}")],
            Ok(ObservedRoutes { foreign, .. }) if !foreign.is_empty() => vec![format!(
                "servers that are not ours get traffic too: {}",
                foreign.join(", ")
            )],
            Ok(_) => Vec::new(),
        }
    }

    async fn gate_checks(&self, file: &AppFile, plan: &Plan, key: &AppKey) -> Vec<GateCheck> {
        let names = Substitution {
            app: key.clone(),
            candidate: (plan.candidate, Vec::new()),
            stable: plan.stable.map(|it| (it, Vec::new())),
        };
        let seen = self.live.get(key);
        let checks = plan
            .gates
            .iter()
            .map(|gate| self.gate_check(file, (plan, gate), &names, seen.as_deref()));
        futures::future::join_all(checks).await
    }

    async fn gate_check(
        &self,
        file: &AppFile,
        (plan, gate): (&Plan, &Gate),
        names: &Substitution,
        seen: Option<&Seen>,
    ) -> GateCheck {
        let stand = Stand {
            instances: seen.map_or_else(Vec::new, |it| instances(plan, &it.observation)),
            label: file.bindings.workload.driver().instance_label(),
            router: Some(file.bindings.traffic.clone()),
            ..Stand::default()
        };
        let (metrics, now) = (file.bindings.metrics.as_ref(), self.leases.now());
        let check = GateCheck {
            gate: gate.name.clone(),
            question: question(gate, names),
            reading: String::new(),
            has_data: false,
            outlook: Vec::new(),
        };
        match metrics.filter(|_| gate.question.counts()) {
            Some(source) => {
                let inquiry = Inquiry {
                    cx: &self.cx,
                    source: source.driver(),
                    question: &gate.question,
                    names,
                    stand: &stand,
                };
                probed(check, inquiry.probe(now).await, plan, gate)
            }
            None => {
                let answer = ask(&self.cx, gate, metrics, names, None, (&stand, now)).await;
                GateCheck {
                    has_data: !matches!(answer.reading, Reading::NoData { .. }),
                    reading: answer.reading.to_string(),
                    ..check
                }
            }
        }
    }
}

/// What was found behind a gate that counts, and what to expect of it.
fn probed(check: GateCheck, probe: Probe, plan: &Plan, gate: &Gate) -> GateCheck {
    let outlook = probe.traffic.map(|it| outlook(&it, plan, gate));
    match probe.found {
        Ok(found) => GateCheck {
            has_data: true,
            reading: found,
            outlook: outlook.unwrap_or_default(),
            ..check
        },
        Err(reading) => GateCheck {
            reading: reading.to_string(),
            ..check
        },
    }
}

/// What to expect at each share of the plan between none and all.
fn outlook(traffic: &Traffic, plan: &Plan, gate: &Gate) -> Vec<GateOutlook> {
    let Some(compare) = gate.question.compare() else {
        return Vec::new();
    };
    let Ok(compare) = Compare::new(compare.policy.clone()) else {
        return Vec::new();
    };
    let at = |share: Weight| {
        let traffic = Traffic {
            share: share.percent() / 100.0,
            ..*traffic
        };
        GateOutlook {
            share: share.percent(),
            requests_per_second: traffic.requests_per_second,
            stable_rate: traffic.stable_rate,
            ten_times_after: compare.seconds_to_roll_back(&traffic, 10.0),
            passes_after: compare.seconds_to_pass(&traffic),
        }
    };
    plan.time_at_shares().into_keys().map(at).collect()
}

/// What is asked, as it would be sent.
fn question(gate: &Gate, names: &Substitution) -> String {
    let filled = |query: &str| names.apply(query).unwrap_or_else(|_| query.to_owned());
    let both = |a: &str, b: &str| format!("{}; {}", filled(a), filled(b));
    let counters = |it: &Counters| match (&it.metric, &it.requests, &it.errors) {
        (Some(metric), _, _) => metric.template.clone(),
        (None, requests, errors) => both(
            requests.as_deref().unwrap_or_default(),
            errors.as_deref().unwrap_or_default(),
        ),
    };
    match &gate.question {
        Question::Threshold(it) => filled(&it.query),
        Question::Webhook(it) => format!("POST {}", it.url),
        Question::Compare(it) => counters(&it.counters),
        Question::Slo(it) => counters(&it.counters),
        Question::Latency(it) => match (&it.metric, &it.histogram) {
            (Some(metric), _) => metric.template.clone(),
            (None, histogram) => filled(histogram.as_deref().unwrap_or_default()),
        },
        Question::Scalar(it) => both(&it.candidate, &it.stable),
    }
}

/// The windows that a rollout would wait for now.
fn freeze_warnings(windows: &[FreezeRow], now: Timestamp) -> Vec<String> {
    let (on, _) = freezes::on_now(windows, now);
    let words = |it: &Freeze| {
        format!(
            "freeze window {} is on: a rollout would wait until {:.0} ({})",
            it.window, it.until, it.reason
        )
    };
    on.iter().map(words).collect()
}

/// The steps, each with the share that the router would really give.
fn steps(plan: &Plan, router: &dyn TrafficRouter) -> Vec<StepPlan> {
    let mut target = plan.before();
    let step = |step: &Step| {
        step.behavior().apply(plan, &mut target);
        let mut shown = step_plan(step, plan);
        if let Step::SetWeight(asked) = step {
            let given = router
                .given(&all_ready(&target))
                .get(&plan.candidate)
                .copied();
            shown.gives = given
                .filter(|it| *it != asked.candidate)
                .map(Weight::percent);
        }
        shown
    };
    plan.main.iter().map(step).collect()
}

/// The routes of `target` with every instance ready; addresses do not matter for shares.
fn all_ready(target: &Target) -> Routes {
    let instances = |revision: Revision, scale: u32| {
        let instance = |n: u32| Instance {
            name: format!("{revision}-{n}"),
            address: Some(format!("127.0.0.1:{n}")),
            state: InstanceState::Ready,
            restarts: 0,
        };
        (revision, (1..=scale).map(instance).collect())
    };
    Routes {
        weights: target.weights.clone(),
        instances: target
            .scales
            .iter()
            .map(|(it, scale)| instances(*it, *scale))
            .collect(),
        ..Routes::default()
    }
}

fn step_plan(step: &Step, plan: &Plan) -> StepPlan {
    let waits_for = match step {
        Step::SetScale(it) if it.count == 0 => format!("all instances of {} stopped", it.role),
        Step::SetScale(it) => match it.role {
            Role::Stable => format!("{} ready instances of stable", it.count),
            Role::Candidate => format!("{} ready instances of the candidate", it.count),
        },
        Step::SetWeight(it) => format!(
            "{} ready instances, and the router reporting {}",
            it.candidate.instances(plan.replicas),
            it.candidate
        ),
        Step::SetRule(it) => match it.rule {
            Some(_) => {
                "a ready instance of the candidate, and the router having the route".to_owned()
            }
            None => "the router having let go of the route".to_owned(),
        },
        Step::Pause(it) if it.hold.is_none() => "somebody to promote it".to_owned(),
        Step::Pause(_) | Step::Bake(_) | Step::Drain(_) => "time".to_owned(),
        Step::Gate(_) => "gates to pass".to_owned(),
        Step::Approve(it) => format!("{} approvals", it.count),
        Step::GiveBack(_) => "the router reporting 100 % for stable".to_owned(),
        Step::StopTraffic(_) => "the router reporting no traffic".to_owned(),
    };
    StepPlan {
        title: step.behavior().title(),
        waits_for,
        gives: None,
    }
}
