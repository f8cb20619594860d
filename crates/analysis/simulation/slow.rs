//! Latency: classic histograms of lognormal requests.

use analysis::{Bucket, Histogram, Latency, LatencyPolicy, LatencyWindow, Tails, Verdict};
use rand_distr::{Distribution, Poisson};

use super::{TICK_SECONDS, TICKS, race::on_all_cores, traffic::Random};

/// The default buckets of the Prometheus client libraries, in seconds.
const BOUNDS: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
const MEDIAN: f64 = 0.08;
/// So that the 99th percentile is at 0.41 s.
const SIGMA: f64 = 0.7025;

/// What the new revision does to latency.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Slower {
    /// Every request takes this many times as long.
    Times(f64),
    /// This share of requests takes a second longer.
    Stuck(f64),
}

impl Slower {
    /// As it is written in tables.
    pub fn name(self) -> String {
        match self {
            Self::Times(factor) => format!("×{factor}"),
            Self::Stuck(share) => format!("{} % take a second longer", share * 100.0),
        }
    }

    /// The share of requests up to `bound` seconds.
    fn up_to(self, bound: f64) -> f64 {
        let cdf = |x: f64| match x > 0.0 {
            true => 0.5 * libm::erfc(-libm::log(x / MEDIAN) / SIGMA / std::f64::consts::SQRT_2),
            false => 0.0,
        };
        match self {
            Self::Times(factor) => cdf(bound / factor),
            Self::Stuck(share) => (1.0 - share) * cdf(bound) + share * cdf(bound - 1.0),
        }
    }

    /// Samplers of each bucket's requests in one window.
    fn buckets(self, requests: f64) -> Vec<Option<Poisson<f64>>> {
        let bounds = BOUNDS.iter().map(|it| self.up_to(*it)).chain([1.0]);
        let mut below = 0.0;
        bounds
            .map(|up_to| {
                let share = up_to - below;
                below = up_to;
                Poisson::new(requests * share).ok()
            })
            .collect()
    }
}

/// One scenario.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Case {
    /// Requests a second of both arms together.
    pub rps: f64,
    /// The candidate's share of requests.
    pub share: f64,
    /// What the candidate does.
    pub slower: Slower,
}

/// What the gate did.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The scenario.
    pub case: Case,
    /// Rollouts.
    pub runs: u32,
    /// Ticks until the rollback, an entry each.
    pub ticks: Vec<u32>,
}

impl Outcome {
    /// The part of rollouts that were rolled back.
    pub fn rate(&self) -> f64 {
        self.ticks.len() as f64 / f64::from(self.runs.max(1))
    }

    /// The median time to the rollback over all rollouts, in minutes.
    pub fn median_minutes(&self) -> Option<f64> {
        let mut ticks = self.ticks.clone();
        ticks.sort_unstable();
        let middle = ticks.get((self.runs as usize).saturating_sub(1) / 2)?;
        Some(f64::from(*middle) * f64::from(TICK_SECONDS) / 60.0)
    }
}

fn sample(buckets: &[Option<Poisson<f64>>], random: &mut Random) -> Histogram {
    let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
    let mut sum = 0;
    let buckets = bounds.zip(buckets).map(|(le, sampler)| {
        sum += sampler.as_ref().map_or(0, |it| it.sample(random) as u64);
        Bucket { le, count: sum }
    });
    Histogram::Classic {
        buckets: buckets.collect(),
    }
}

/// The scenarios of the table.
pub fn cases() -> Vec<Case> {
    let changes = [
        Slower::Times(1.0),
        Slower::Times(1.1),
        Slower::Times(1.25),
        Slower::Stuck(0.02),
        Slower::Stuck(0.005),
    ];
    let traffic = [(10.0, 0.05), (10.0, 0.25), (100.0, 0.05), (100.0, 0.25)];
    let each = traffic.iter().flat_map(|(rps, share)| {
        changes.iter().map(|slower| Case {
            rps: *rps,
            share: *share,
            slower: *slower,
        })
    });
    each.collect()
}

/// Runs `runs` rollouts of every case.
pub fn run(seed: u64, cases: &[Case], runs: u32, policy: &LatencyPolicy) -> Vec<Outcome> {
    let gate = Latency::new(policy.clone()).unwrap();
    on_all_cores(seed, cases.len(), |number, random| {
        let case = cases[number];
        let seconds = f64::from(TICK_SECONDS);
        let candidate = case.slower.buckets(case.rps * case.share * seconds);
        let stable = Slower::Times(1.0).buckets(case.rps * (1.0 - case.share) * seconds);
        let mut ticks = Vec::new();
        for _ in 0..runs {
            let mut state = gate.start();
            let decided = (0..TICKS).find(|tick| {
                let length_ms = i64::from(TICK_SECONDS) * 1000;
                let arms = (sample(&candidate, random), sample(&stable, random));
                let window = LatencyWindow {
                    from_ms: i64::from(*tick) * length_ms,
                    until_ms: i64::from(tick + 1) * length_ms,
                    share: (case.share * 10_000.0) as u32,
                    tails: Tails::new(&arms.0, &arms.1).unwrap(),
                };
                gate.fold(&mut state, &window).unwrap();
                matches!(state.verdict(), Verdict::Rollback(_))
            });
            ticks.extend(decided.map(|it| it + 1));
        }
        Outcome { case, runs, ticks }
    })
}
