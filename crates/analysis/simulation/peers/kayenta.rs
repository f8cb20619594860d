//! Kayenta's judge (NetflixACAJudge-v1.0) on the error percentage of each minute, judged after 20, 40
//! and 60 minutes of data; Spinnaker's own advice, an hour three times, would be three times slower.
//!
//! Sources, kayenta at a69573be: NetflixACAJudge.scala (confidence 98 %, tolerance 0.25, NaN removed),
//! MannWhitneyClassifier.scala (High when the interval's lower end is above 0.25 of the
//! Hodges-Lehmann estimate and the ratio of means is at least the allowed increase; identical data
//! pass; constants get noise of 1e-5), MannWhitney.scala (the asymptotic interval of R's
//! `wilcox.test`), WeightedSumScorer.scala (a critical metric that does not pass, or has no data,
//! fails the canary). The metric is critical with direction "increase".

use analysis::{Arm, Window};

use super::brent::root;
use crate::simulation::{TICK_SECONDS, rules::Rule};

const MINUTE_TICKS: u32 = 60 / TICK_SECONDS;
const JUDGED_MINUTES: u32 = 20;
/// The 99 % quantile of the normal distribution: a two-sided interval of 98 %.
const Z: f64 = 2.326_347_874_040_841;
const TOLERANCE: f64 = 0.25;
const ACCURACY: f64 = 1e-4;
const ALLOWED_INCREASE: f64 = 1.0;
const NOISE: f64 = 1e-5;

/// One rollout under it.
#[derive(Debug, Default)]
pub struct Kayenta {
    tick: u32,
    minute: (Arm, Arm),
    experiment: Vec<f64>,
    control: Vec<f64>,
}

impl Rule for Kayenta {
    fn look(&mut self, window: &Window) -> bool {
        self.tick += 1;
        self.minute.0 = self.minute.0.plus(window.candidate);
        self.minute.1 = self.minute.1.plus(window.stable);
        if !self.tick.is_multiple_of(MINUTE_TICKS) {
            return false;
        }
        let (candidate, stable) = std::mem::take(&mut self.minute);
        // A minute without requests is NaN, and removed.
        let percent = |it: Arm| (it.requests > 0).then(|| it.rate() * 100.0);
        self.experiment.extend(percent(candidate));
        self.control.extend(percent(stable));
        let judged = self.tick.is_multiple_of(MINUTE_TICKS * JUDGED_MINUTES);
        judged && is_high(&self.experiment, &self.control)
    }

    fn passes(&self) -> bool {
        false
    }
}

/// Whether the judge fails a critical metric.
fn is_high(experiment: &[f64], control: &[f64]) -> bool {
    if experiment.is_empty() || control.is_empty() {
        return true;
    }
    let sorted = |it: &[f64]| {
        let mut it = it.to_vec();
        it.sort_by(f64::total_cmp);
        it
    };
    if sorted(experiment) == sorted(control) {
        return false;
    }
    let test = match is_constant(experiment) && is_constant(control) {
        true => MannWhitney::new(&noisy(experiment, 1), &noisy(control, 2)),
        false => MannWhitney::new(experiment, control),
    };
    let mean = |it: &[f64]| it.iter().sum::<f64>() / it.len() as f64;
    let ratio = mean(experiment) / mean(control);
    let large = !ratio.is_finite() || ratio >= ALLOWED_INCREASE;
    test.low > TOLERANCE * test.estimate.abs() && large
}

fn is_constant(values: &[f64]) -> bool {
    values.iter().all(|it| Some(it) == values.first())
}

/// Noise as Kayenta adds it, from a fixed sequence: a sum of twelve even numbers is nearly normal.
fn noisy(values: &[f64], stream: u64) -> Vec<f64> {
    let mut state = stream;
    let mut even = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let mut normal = || (0..12).map(|_| even()).sum::<f64>() - 6.0;
    values.iter().map(|it| it + NOISE * normal()).collect()
}

/// The interval and estimate of the shift from control to experiment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MannWhitney {
    /// The lower end of the 98 % interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// The Hodges-Lehmann estimate.
    pub estimate: f64,
}

impl MannWhitney {
    /// By the normal approximation with correction for ties and continuity.
    pub fn new(experiment: &[f64], control: &[f64]) -> Self {
        let largest = |it: &[f64]| it.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let smallest = |it: &[f64]| it.iter().copied().fold(f64::INFINITY, f64::min);
        let low = smallest(experiment) - largest(control);
        let high = largest(experiment) - smallest(control);
        let (at_low, at_high) = (
            statistic(experiment, control, low),
            statistic(experiment, control, high),
        );
        let find = |z: f64| {
            let (below, above) = (at_low - z, at_high - z);
            if below <= 0.0 {
                low
            } else if above >= 0.0 {
                high
            } else {
                let f = |shift| statistic(experiment, control, shift) - z;
                root(f, [(low, below), (high, above)], ACCURACY)
            }
        };
        Self {
            low: find(Z),
            high: find(-Z),
            estimate: find(0.0),
        }
    }
}

/// The standardised rank sum of the experiment, shifted down by `shift`, among all values.
fn statistic(experiment: &[f64], control: &[f64], shift: f64) -> f64 {
    let (n, m) = (experiment.len() as f64, control.len() as f64);
    let shifted = experiment.iter().map(|it| (it - shift, true));
    let mut all: Vec<(f64, bool)> = shifted
        .chain(control.iter().map(|it| (*it, false)))
        .collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut ranks, mut ties, mut before) = (0.0, 0.0, 0.0);
    for tied in all.chunk_by(|a, b| a.0 == b.0) {
        let count = tied.len() as f64;
        let mine = tied.iter().filter(|(_, mine)| *mine).count() as f64;
        ranks += mine * (before + (count + 1.0) / 2.0);
        ties += count * count * count - count;
        before += count;
    }
    let off = ranks - n * (n + 1.0) / 2.0 - n * m / 2.0;
    let correction = if off == 0.0 {
        0.0
    } else {
        0.5_f64.copysign(off)
    };
    let both = n + m;
    let deviation = (n * m / 12.0 * (both + 1.0 - ties / (both * (both - 1.0)))).sqrt();
    (off - correction) / deviation
}
