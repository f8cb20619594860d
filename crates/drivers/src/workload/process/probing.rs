//! When an instance is probed, and what follows from the answers.

use std::time::Duration;

use rollout::observation::{InstanceState, ProblemKind};
use tokio::time::{Instant, sleep_until};

use super::{
    super::probe::Probe,
    PROBE_FAILING_AFTER,
    instance::{Instance, address},
};

/// The first pauses of an instance that starts: most services are up within a fraction of a
/// second, and a rollout waits for each of them.
const FIRST_PAUSES: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(50)];

/// The pauses after those, while the instance is young: between "ready" and the next step there
/// shall be less than 250 ms.
const YOUNG_PAUSE: Duration = Duration::from_millis(100);

/// How long an instance is young.
const YOUNG: Duration = Duration::from_secs(5);

/// How many intervals lie between two probes of a ready instance when nobody looks at its app;
/// its end is noticed at once all the same, and the router has a health check of its own.
const REST_FACTOR: u32 = 10;

/// No rest is longer than this.
const REST_MAX: Duration = Duration::from_secs(30);

/// An instance that was ready for so long was not in a crash loop.
pub(super) const SETTLED: Duration = Duration::from_secs(10);

/// The probes of one life of an instance.
#[derive(Debug)]
pub(super) struct Probing {
    started: Instant,
    last: Instant,
    asked: usize,
    started_up: bool,
    failures: u32,
    health_asked: Instant,
    health_failures: u32,
    not_ready_since: Instant,
    ready_since: Option<Instant>,
    settled: bool,
}

impl Probing {
    /// For an instance that starts now, or is adopted now.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            started: now,
            last: now,
            asked: 0,
            started_up: false,
            failures: 0,
            health_asked: now,
            health_failures: 0,
            not_ready_since: now,
            ready_since: None,
            settled: false,
        }
    }

    /// Whether it was ready long enough not to count as crashing.
    pub(super) fn has_settled(&self) -> bool {
        self.settled || self.ready_since.is_some_and(|it| it.elapsed() >= SETTLED)
    }

    /// Waits for the next probe, asks, and notes the answer. `Some`: it failed its health probe
    /// for good, and why. Loses nothing but time when it is cancelled.
    pub(super) async fn next(&mut self, instance: &Instance) -> Option<String> {
        self.pause(instance).await;
        let settings = &instance.settings;
        let address = address(instance.state().port?);
        let startup = settings.startup.as_deref().filter(|_| !self.started_up);
        let answer = startup.unwrap_or(&settings.ready).check(&address).await;
        self.last = Instant::now();
        self.asked += 1;
        match (startup, answer) {
            (Some(_), Ok(())) => {
                // Started up is not ready: that is asked next, at once.
                self.started_up = true;
                self.asked = 0;
                return None;
            }
            (Some(_) | None, Err(why)) => self.failed(instance, &why),
            (None, Ok(())) => self.passed(instance),
        }
        match settings.health.as_deref().filter(|_| startup.is_none()) {
            Some(health) => self.health(health, &address).await,
            None => None,
        }
    }

    async fn pause(&self, instance: &Instance) {
        let attention = &instance.attention;
        loop {
            // Before the question, so that no answer falls between the two.
            let back = attention.back.notified();
            let at_rest = self.ready_since.is_some() && attention.at_rest();
            let pause = self.length(&instance.settings.ready, at_rest, instance.state().known);
            tokio::select! {
                () = sleep_until(self.last + pause) => return,
                () = back, if at_rest => {}
            }
        }
    }

    fn length(&self, probe: &Probe, at_rest: bool, known: bool) -> Duration {
        let interval = probe.interval.unsigned_abs();
        if !known {
            return Duration::ZERO;
        }
        if at_rest {
            return (interval * REST_FACTOR).min(REST_MAX).max(interval);
        }
        if self.ready_since.is_some() || self.last - self.started > YOUNG {
            return interval;
        }
        FIRST_PAUSES
            .get(self.asked)
            .copied()
            .unwrap_or(YOUNG_PAUSE)
            .min(interval)
    }

    fn passed(&mut self, instance: &Instance) {
        self.failures = 0;
        let ready_since = *self.ready_since.get_or_insert(self.last);
        self.settled |= self.last - ready_since >= SETTLED;
        let settled = self.settled;
        instance.update(|it| {
            it.phase = InstanceState::Ready;
            it.known = true;
            // A crash loop is over only when an instance stays, not when it answers once.
            it.problem
                .take_if(|(kind, _)| *kind != ProblemKind::CrashLoop || settled);
        });
    }

    fn failed(&mut self, instance: &Instance, why: &str) {
        self.failures += 1;
        if self.ready_since.is_some() && self.failures >= instance.settings.ready.failures {
            self.ready_since = None;
            self.not_ready_since = self.last;
        }
        let ready = self.ready_since.is_some();
        let lasting = self.last - self.not_ready_since > PROBE_FAILING_AFTER;
        instance.update(|it| {
            it.known = true;
            if ready {
                return;
            }
            if it.phase == InstanceState::Ready {
                it.phase = InstanceState::NotReady;
            }
            let graver = |it: &(ProblemKind, String)| it.0 == ProblemKind::CrashLoop;
            if lasting && !it.problem.as_ref().is_some_and(graver) {
                let detail = format!("{} runs but is not ready: {why}", instance.name);
                it.problem = Some((ProblemKind::ProbeFailing, detail));
            }
        });
    }

    async fn health(&mut self, probe: &Probe, address: &str) -> Option<String> {
        if self.health_asked.elapsed() < probe.interval.unsigned_abs() {
            return None;
        }
        let answer = probe.check(address).await;
        self.health_asked = Instant::now();
        match answer {
            Ok(()) => {
                self.health_failures = 0;
                None
            }
            Err(why) => {
                self.health_failures += 1;
                (self.health_failures >= probe.failures).then_some(why)
            }
        }
    }
}
