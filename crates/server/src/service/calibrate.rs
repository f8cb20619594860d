//! Calibration: gates tried on stable against itself, before they judge a rollout.
//!
//! Nothing differs between the two, so whatever a gate would have taken back was a false alarm. What
//! was found is kept, and rollouts begin with it.

use analysis::{
    Compare, Dispersion, Window,
    calibrate::{Calibration, calibrate},
    outlook::Traffic,
};
use api::{CalibrateRequest, CalibrationView, NoticedView};
use drivers::substitution::Substitution;
use jiff::{SignedDuration, Timestamp};
use rollout::{
    Plan, Revision, Revisions,
    gate::{CompareGate, Gate},
    time,
};
use store::App;

use super::{
    Service,
    calibrations::Kept,
    deploy::key_of,
    quiet::{Quiet, quiet},
};
use crate::{
    app_file::AppFile,
    controller::{Inquiry, STRETCH, Stand},
    error::ServeError,
};

/// How much of the past is looked at unless told.
const OVER: SignedDuration = SignedDuration::from_hours(72);
/// The shortest past, and the longest: what metric sources usually keep is not much more.
const OVER_BOUNDS: (u64, u64) = (30, 30 * 24 * 3600);
/// The shortest rollout of nothing: some windows must fit.
const SHORTEST: SignedDuration = SignedDuration::from_secs(30);
/// Most stretches of the past that are looked at, evenly spread: about a day's worth of plans of ten
/// minutes, and some minutes of the metric source's time at worst.
const STRETCHES_MAX: usize = 300;
/// The shortest window: a scrape must fit.
const WINDOW: SignedDuration = SignedDuration::from_secs(10);

/// What a calibration needs besides the gate.
struct Past<'a> {
    file: &'a AppFile,
    app: &'a App,
    plan: &'a Plan,
    quiet: &'a [Quiet],
    from: Timestamp,
    until: Timestamp,
}

impl Service {
    /// Calibrates gates, and keeps what was found.
    pub(crate) async fn calibrate(
        &self,
        (project, name): (&str, &str),
        request: &CalibrateRequest,
        by: &str,
    ) -> Result<Vec<CalibrationView>, ServeError> {
        let over = over(request.over_seconds)?;
        let (app, file) = self.app_and_file(project, name).await?;
        let plan = self.plan_to_try(&app, &file).await?;
        let gates = chosen(&plan, request.gate.as_deref(), |it| {
            it.question.compare().is_some()
        })?;
        let (rollouts, _) = self.past_rollouts(&app).await?;
        let until = self.leases.now();
        let from = time::after(until, -over);
        let past = Past {
            file: &file,
            app: &app,
            plan: &plan,
            quiet: &quiet(&app, &rollouts, (from, until)),
            from,
            until,
        };
        let mut views = Vec::new();
        for gate in gates {
            views.push(self.calibrate_gate(&past, gate, by).await?);
        }
        Ok(views)
    }

    async fn calibrate_gate(
        &self,
        past: &Past<'_>,
        gate: &Gate,
        by: &str,
    ) -> Result<CalibrationView, ServeError> {
        let Some(compare) = gate.question.compare() else {
            let why = "only gates of the kind compare can be calibrated".to_owned();
            return Ok(past.nothing(gate, why));
        };
        let windows = match self.rollouts_of_nothing(past, gate).await {
            Ok(windows) => windows,
            Err(why) => return Ok(past.nothing(gate, why)),
        };
        let (policy, replayed) = (compare.policy.clone(), windows.clone());
        let replay = tokio::task::spawn_blocking(move || calibrate(&policy, &replayed));
        let found = replay.await.map_err(ServeError::internal)?;
        let found = match found {
            Ok(found) => found,
            Err(error) => return Ok(past.nothing(gate, format!("{error:#}"))),
        };
        let mut view = past.view(gate, compare, &windows, &found);
        let kept = Kept {
            counters: compare.counters.clone(),
            dispersion: found.dispersion,
            view: view.clone(),
        };
        let kept = serde_json::to_value(kept).map_err(ServeError::internal)?;
        self.store
            .put_calibration(past.app.id, &gate.name, &kept, by)
            .await?;
        view.calibrated_at = Some(self.leases.now());
        view.calibrated_by = Some(by.to_owned());
        Ok(view)
    }

    /// The windows of every rollout of nothing, or why there are none.
    async fn rollouts_of_nothing(
        &self,
        past: &Past<'_>,
        gate: &Gate,
    ) -> Result<Vec<Vec<Window>>, String> {
        let Some(metrics) = &past.file.bindings.metrics else {
            return Err("the app file names no metric source".to_owned());
        };
        let step = gate.interval.max(WINDOW);
        let (mut all, mut why) = (Vec::new(), None);
        for (quiet, from, until) in past.stretches() {
            let names = names(past.app, quiet.stable);
            let stand = Stand {
                instances: self.instances_of(past, quiet),
                label: past.file.bindings.workload.driver().instance_label(),
                router: Some(past.file.bindings.traffic.clone()),
                ..Stand::default()
            };
            let inquiry = Inquiry {
                cx: &self.cx,
                source: metrics.driver(),
                question: &gate.question,
                names: &names,
                stand: &stand,
            };
            match inquiry.equals(from, until, step).await {
                Ok(turns) => all.extend(turns),
                Err(reading) => why = Some(reading.to_string()),
            }
        }
        match (all.is_empty(), why) {
            (false, _) => Ok(all),
            (true, Some(why)) => Err(why),
            (true, None) => Err(format!(
                "no time of at least {} between {} and {} was without a rollout",
                time::words(past.length()),
                past.from,
                past.until
            )),
        }
    }

    /// The instances of what was stable then; those of what is stable now are known best.
    fn instances_of(&self, past: &Past<'_>, quiet: &Quiet) -> Vec<(String, rollout::Role)> {
        let mut all = quiet.instances.clone();
        if past.app.stable == Some(quiet.stable)
            && let Some(seen) = self.live.get(&key_of(past.app))
            && let Some(status) = seen.observation.revision(quiet.stable)
        {
            let names = status.instances.iter();
            let names = names.flat_map(|it| [Some(it.name.clone()), it.address.clone()]);
            all.extend(names.flatten().map(|it| (it, rollout::Role::Stable)));
        }
        all
    }

    pub(super) async fn app_and_file(
        &self,
        project: &str,
        name: &str,
    ) -> Result<(App, AppFile), ServeError> {
        let found = self.store.get_app(project, name).await?;
        let app = found.ok_or_else(|| ServeError::NotFound {
            what: format!("app {project}/{name}"),
        })?;
        let file = AppFile::read(&app.document).map_err(ServeError::Document)?;
        Ok((app, file))
    }

    /// The plan that the next rollout would have.
    pub(super) async fn plan_to_try(&self, app: &App, file: &AppFile) -> Result<Plan, ServeError> {
        let stable = app.stable.ok_or_else(|| ServeError::Conflict {
            detail: format!(
                "{}/{} has no stable revision yet, so there is no past to try its gates on: deploy it first",
                app.project, app.name
            ),
        })?;
        Ok(file.plan(Revisions {
            stable: Some(stable),
            candidate: Revision(stable.0.saturating_add(1)),
            replicas: self.replicas(file, &key_of(app)).await?,
            undo: false,
        }))
    }
}

impl Past<'_> {
    /// How long a rollout of nothing is: as long as the plan, within bounds and what is looked at.
    fn length(&self) -> SignedDuration {
        let times = self.plan.time_at_shares();
        let all = times.values().copied();
        let all = all.fold(SignedDuration::ZERO, SignedDuration::saturating_add);
        let looked_at = self.until.duration_since(self.from);
        all.clamp(SHORTEST, STRETCH).min(looked_at)
    }

    /// The rollouts of nothing, each with when it was.
    fn stretches(&self) -> Vec<(&Quiet, Timestamp, Timestamp)> {
        let length = self.length();
        let mut all = Vec::new();
        for quiet in self.quiet {
            let mut from = quiet.from;
            while time::after(from, length) <= quiet.until {
                all.push((quiet, from, time::after(from, length)));
                from = time::after(from, length);
            }
        }
        let every = all.len().div_ceil(STRETCHES_MAX).max(1);
        all.into_iter().step_by(every).collect()
    }

    fn nothing(&self, gate: &Gate, why: String) -> CalibrationView {
        CalibrationView {
            gate: gate.name.clone(),
            problem: Some(why),
            from: self.from,
            until: self.until,
            rollouts: 0,
            taken_back: 0,
            passed: 0,
            measured: None,
            used: 1.0,
            requests_per_second: 0.0,
            bad_rate: 0.0,
            notices: Vec::new(),
            calibrated_at: None,
            calibrated_by: None,
        }
    }

    fn view(
        &self,
        gate: &Gate,
        compare: &CompareGate,
        windows: &[Vec<Window>],
        found: &Calibration,
    ) -> CalibrationView {
        let traffic = traffic(windows);
        CalibrationView {
            problem: None,
            rollouts: found.rollouts,
            taken_back: found.false_rollbacks,
            passed: found.passes,
            measured: found.measured,
            used: found.dispersion.map_or(1.0, |it| it.seed),
            requests_per_second: traffic.requests_per_second,
            bad_rate: traffic.stable_rate,
            notices: self.notices(compare, found.dispersion, &traffic),
            ..self.nothing(gate, String::new())
        }
    }

    fn notices(
        &self,
        compare: &CompareGate,
        dispersion: Option<Dispersion>,
        traffic: &Traffic,
    ) -> Vec<NoticedView> {
        let policy = analysis::ComparePolicy {
            dispersion,
            ..compare.policy.clone()
        };
        let Ok(test) = Compare::new(policy) else {
            return Vec::new();
        };
        let times = self.plan.time_at_shares().into_iter();
        let noticed = times.map(|(share, time)| {
            let traffic = Traffic {
                share: share.percent() / 100.0,
                ..*traffic
            };
            let within_seconds = time.as_secs_f64();
            NoticedView {
                share: share.percent(),
                within_seconds,
                ratio: test.ratio_noticed_within(&traffic, within_seconds),
                double_after: test.seconds_to_roll_back(&traffic, 2.0),
            }
        });
        noticed.collect()
    }
}

/// The traffic of all of stable, on average. Each stretch is there once a turn.
fn traffic(windows: &[Vec<Window>]) -> Traffic {
    let all = || windows.iter().flatten();
    let seconds: f64 = all().map(Window::seconds).sum();
    let both = |it: &Window| it.candidate.plus(it.stable);
    let requests: f64 = all().map(|it| both(it).requests as f64).sum();
    let bad: f64 = all().map(|it| both(it).bad as f64).sum();
    Traffic {
        requests_per_second: if seconds > 0.0 {
            requests / seconds
        } else {
            0.0
        },
        share: 0.0,
        stable_rate: if requests > 0.0 { bad / requests } else { 0.0 },
    }
}

/// The gates to try: the one that is named, else all that `fit`.
pub(super) fn chosen<'p>(
    plan: &'p Plan,
    named: Option<&str>,
    fits: impl Fn(&Gate) -> bool,
) -> Result<Vec<&'p Gate>, ServeError> {
    let Some(name) = named else {
        return Ok(plan.gates.iter().filter(|it| fits(it)).collect());
    };
    let found = plan.gate(name).ok_or_else(|| {
        let known: Vec<&str> = plan.gates.iter().map(|it| it.name.as_str()).collect();
        ServeError::Field {
            pointer: "/gate".to_owned(),
            detail: match known.is_empty() {
                true => format!("the app has no gate \"{name}\": it has none at all"),
                false => format!(
                    "the app has no gate \"{name}\"; it has {}",
                    known.join(", ")
                ),
            },
        }
    })?;
    Ok(vec![found])
}

fn names(app: &App, stable: Revision) -> Substitution {
    Substitution {
        app: key_of(app),
        candidate: (Revision(stable.0.saturating_add(1)), Vec::new()),
        stable: Some((stable, Vec::new())),
    }
}

fn over(seconds: Option<u64>) -> Result<SignedDuration, ServeError> {
    let (least, most) = OVER_BOUNDS;
    match seconds {
        None => Ok(OVER),
        Some(it) if (least..=most).contains(&it) => {
            Ok(SignedDuration::from_secs(i64::try_from(it).unwrap_or(0)))
        }
        Some(it) => Err(ServeError::Field {
            pointer: "/overSeconds".to_owned(),
            detail: format!("{it} s is not between {least} s and {most} s (30 days)"),
        }),
    }
}
