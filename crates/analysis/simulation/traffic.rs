//! Makes the windows of one rollout.

use analysis::{Arm, Window};
use rand::rngs::Xoshiro256PlusPlus;
use rand_distr::{Distribution, Poisson};

use super::{TICK_SECONDS, TICKS};

/// The generator of all simulations: named, so that a seed means the same everywhere.
pub type Random = Xoshiro256PlusPlus;

/// What the new revision does to errors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change {
    /// This many times as many; 1 is a healthy candidate.
    Times(f64),
    /// Every request fails.
    Fail,
    /// Exactly as bad as a pass must rule out: this many times as many errors, and at least a floor.
    Inferior(f64, f64),
}

impl Change {
    /// The candidate's error rate where stable's is `p`.
    pub fn rate(self, p: f64) -> f64 {
        match self {
            Self::Times(factor) => (p * factor).min(1.0),
            Self::Fail => 1.0,
            Self::Inferior(factor, floor) => (p * factor).max(floor),
        }
    }

    /// As it is written in tables.
    pub fn name(self) -> String {
        match self {
            Self::Times(factor) => format!("×{factor}"),
            Self::Fail => "fail".to_owned(),
            Self::Inferior(factor, _) => format!("×{factor} or the floor"),
        }
    }
}

/// One scenario of independent requests at a fixed share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    /// Requests a second of both arms together.
    pub rps: f64,
    /// Stable's error rate.
    pub p0: f64,
    /// The candidate's share of requests.
    pub share: f64,
    /// What the candidate does.
    pub change: Change,
}

impl Cell {
    /// The candidate's requests a minute.
    pub fn candidate_per_minute(&self) -> f64 {
        self.rps * self.share * 60.0
    }

    /// The share in hundredths of a percent.
    pub fn share_hundredths(&self) -> u32 {
        (self.share * 10_000.0).round() as u32
    }

    /// An hour of windows. Good and bad requests are independent Poisson counts, which is what a
    /// Poisson number of requests that each fail alike comes to.
    pub fn windows(&self, random: &mut Random) -> Vec<Window> {
        let seconds = f64::from(TICK_SECONDS);
        let requests = (
            self.rps * self.share * seconds,
            self.rps * (1.0 - self.share) * seconds,
        );
        let arms = Arms::new(requests, (self.change.rate(self.p0), self.p0));
        (0..TICKS)
            .map(|tick| {
                let (candidate, stable) = arms.sample(random);
                window(tick, self.share_hundredths(), candidate, stable)
            })
            .collect()
    }
}

/// Samplers of good and of bad requests. A count of expectation 0 has none.
type GoodAndBad = (Option<Poisson<f64>>, Option<Poisson<f64>>);

/// Samplers of both arms' requests.
#[derive(Debug)]
pub struct Arms([GoodAndBad; 2]);

impl Arms {
    /// Expected requests of one window, and error rates: the candidate's, stable's.
    pub fn new(requests: (f64, f64), rates: (f64, f64)) -> Self {
        let arm = |requests: f64, rate: f64| {
            let bad = requests * rate;
            (Poisson::new(requests - bad).ok(), Poisson::new(bad).ok())
        };
        Self([arm(requests.0, rates.0), arm(requests.1, rates.1)])
    }

    /// The counts of one window.
    pub fn sample(&self, random: &mut Random) -> (Arm, Arm) {
        let mut draw =
            |it: &Option<Poisson<f64>>| it.as_ref().map_or(0, |it| it.sample(random) as u64);
        let [candidate, stable] = &self.0;
        let mut arm = |(good, bad): &GoodAndBad| {
            let (good, bad) = (draw(good), draw(bad));
            Arm::new(good + bad, bad)
        };
        (arm(candidate), arm(stable))
    }
}

/// The window of one tick.
pub fn window(tick: u32, share: u32, candidate: Arm, stable: Arm) -> Window {
    let length_ms = i64::from(TICK_SECONDS) * 1000;
    Window {
        from_ms: i64::from(tick) * length_ms,
        until_ms: i64::from(tick + 1) * length_ms,
        share,
        candidate,
        stable,
    }
}
