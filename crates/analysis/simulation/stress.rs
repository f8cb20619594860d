//! Traffic that is not independent requests at fixed rates.

use analysis::{Arm, Compare, ComparePolicy, Dispersion, Roughness, Window};
use rand::RngExt;
use rand_distr::{Distribution, Gamma};

use super::{
    TICKS,
    peers::{Argo, Flagger, Gavi, Kayenta, LindonMalek, PeekZ},
    race::{Tally, on_all_cores},
    rules::{Ours, Rule},
    traffic::{Arms, Change, Random, window},
};

const RPS: f64 = 100.0;
const P0: f64 = 0.01;
const SHARE: f64 = 0.25;
/// Ticks of a minute, for which noise stays.
const MINUTE: u32 = 4;
/// Kayenta judges one rollout in so many: one takes it as long as hundreds take the others.
const KAYENTA_ONE_IN: u32 = 30;

/// What is unusual.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Stress {
    /// Nothing.
    Independent,
    /// Each arm's error rate varies by the minute, with this coefficient of variation.
    Rough(f64),
    /// For some minutes from the twentieth on, both arms have many times as many errors.
    Shared(f64, u32),
    /// Requests vary by ±80 % and errors by ±60 % over the hour.
    Diurnal,
    /// A fifth of all scrapes is lost.
    Lost,
    /// The candidate has five times as many errors in its first two minutes.
    Cold,
    /// Shares of 5, 25 and 50 %, twenty minutes each; both arms have four times as many errors in
    /// the last.
    Ramp,
}

impl Stress {
    /// All, in the order of the table.
    pub const ALL: [Self; 9] = [
        Self::Independent,
        Self::Rough(0.3),
        Self::Rough(1.0),
        Self::Shared(8.0, 5),
        Self::Shared(20.0, 20),
        Self::Diurnal,
        Self::Lost,
        Self::Cold,
        Self::Ramp,
    ];

    /// As it is written in tables.
    pub fn name(self) -> String {
        match self {
            Self::Independent => "independent requests".to_owned(),
            Self::Rough(cv) => format!("error rates vary by the minute, CV {cv:.1}"),
            Self::Shared(factor, minutes) => format!("shared ×{factor} for {minutes} min"),
            Self::Diurnal => "requests ±80 %, errors ±60 %".to_owned(),
            Self::Lost => "20 % of scrapes lost".to_owned(),
            Self::Cold => "cold candidate, ×5 for 2 min".to_owned(),
            Self::Ramp => "ramp 5, 25, 50 %, shared ×4 in the last".to_owned(),
        }
    }

    fn share(self, tick: u32) -> f64 {
        match self {
            Self::Ramp if tick < TICKS / 3 => 0.05,
            Self::Ramp if tick < TICKS / 3 * 2 => 0.25,
            Self::Ramp => 0.5,
            Self::Independent
            | Self::Rough(_)
            | Self::Shared(..)
            | Self::Diurnal
            | Self::Lost
            | Self::Cold => SHARE,
        }
    }

    /// How many times as many requests, errors of both, errors of the candidate there are.
    fn factors(self, tick: u32) -> (f64, f64, f64) {
        let minute = tick / MINUTE;
        let wave = (f64::from(tick) / f64::from(TICKS) * std::f64::consts::TAU).sin();
        match self {
            Self::Shared(factor, minutes) if (20..20 + minutes).contains(&minute) => {
                (1.0, factor, 1.0)
            }
            Self::Diurnal => (1.0 + 0.8 * wave, 1.0 + 0.6 * wave, 1.0),
            Self::Cold if minute < 2 => (1.0, 1.0, 5.0),
            Self::Ramp if tick >= TICKS / 3 * 2 => (1.0, 4.0, 1.0),
            Self::Independent
            | Self::Rough(_)
            | Self::Shared(..)
            | Self::Lost
            | Self::Cold
            | Self::Ramp => (1.0, 1.0, 1.0),
        }
    }

    /// An hour of windows. A lost scrape joins its window to the next.
    pub fn windows(self, change: Change, random: &mut Random) -> Vec<Window> {
        let mut windows: Vec<Window> = Vec::with_capacity(TICKS as usize);
        let mut held: Option<Window> = None;
        let mut noise = (1.0, 1.0);
        for tick in 0..TICKS {
            if tick.is_multiple_of(MINUTE) {
                noise = self.noise(random);
            }
            let (requests, errors, candidates) = self.factors(tick);
            let share = self.share(tick);
            let both = RPS * requests * f64::from(super::TICK_SECONDS);
            let p = P0 * errors;
            let rates = (
                (change.rate(p) * candidates * noise.0).min(1.0),
                (p * noise.1).min(1.0),
            );
            let arms = Arms::new((both * share, both * (1.0 - share)), rates);
            let (candidate, stable) = arms.sample(random);
            let mut next = window(tick, (share * 10_000.0).round() as u32, candidate, stable);
            if let Some(it) = held.take() {
                next.from_ms = it.from_ms;
                next.candidate = next.candidate.plus(it.candidate);
                next.stable = next.stable.plus(it.stable);
            }
            match self == Self::Lost && random.random_bool(0.2) {
                true => held = Some(next),
                false => windows.push(next),
            }
        }
        windows
    }

    fn noise(self, random: &mut Random) -> (f64, f64) {
        let Self::Rough(cv) = self else {
            return (1.0, 1.0);
        };
        let gamma = Gamma::new(1.0 / (cv * cv), cv * cv).unwrap();
        (gamma.sample(random), gamma.sample(random))
    }

    /// φ as calibrated on three hours of stable against itself, of the same roughness.
    pub fn phi(self, random: &mut Random) -> f64 {
        let mut roughness = Roughness::default();
        // The incidents of a scenario are its own; calm hours before it know only its roughness.
        let calm = match self {
            Self::Shared(..) | Self::Cold | Self::Ramp => Self::Independent,
            Self::Independent | Self::Rough(_) | Self::Diurnal | Self::Lost => self,
        };
        for _ in 0..3 {
            let windows = calm.windows(Change::Times(1.0), random);
            let mut block = (Arm::default(), Arm::default());
            let mut until_ms = 60_000;
            for it in windows {
                block = (block.0.plus(it.candidate), block.1.plus(it.stable));
                if it.until_ms >= until_ms {
                    roughness.add_equals(block.0, block.1);
                    block = (Arm::default(), Arm::default());
                    until_ms = it.until_ms + 60_000;
                }
            }
        }
        roughness.seed().unwrap_or(1.0)
    }
}

/// The rules that are compared under stress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Under {
    /// The profile `strict` as it is without calibration.
    Strict,
    /// With φ from stable against stable.
    Calibrated,
    /// And three minutes of warm-up.
    Warm,
    /// The profile `default` with both.
    Default,
    /// Others.
    Argo,
    Flagger,
    Kayenta,
    PeekZ,
    LindonMalek,
    Gavi,
}

impl Under {
    /// All, in the order of the table.
    pub const ALL: [Self; 10] = [
        Self::Strict,
        Self::Calibrated,
        Self::Warm,
        Self::Default,
        Self::Argo,
        Self::Flagger,
        Self::Kayenta,
        Self::PeekZ,
        Self::LindonMalek,
        Self::Gavi,
    ];

    /// As it is written in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Strict => "`strict`",
            Self::Calibrated => "`strict`, φ calibrated",
            Self::Warm => "`strict`, φ, warm-up 3 min",
            Self::Default => "`default`, φ, warm-up 3 min",
            Self::Argo => "Argo Rollouts",
            Self::Flagger => "Flagger",
            Self::Kayenta => "Kayenta",
            Self::PeekZ => "z-test",
            Self::LindonMalek => "Lindon-Malek",
            Self::Gavi => "GAVI",
        }
    }

    fn rule(self, phi: f64) -> Box<dyn Rule> {
        let calibrated = |policy: ComparePolicy, warm_up_seconds| {
            Box::new(Ours::new(ComparePolicy {
                dispersion: Some(Dispersion::seeded(phi)),
                warm_up_seconds,
                ..policy
            }))
        };
        match self {
            Self::Strict => Box::new(Ours::new(ComparePolicy::strict())),
            Self::Calibrated => calibrated(ComparePolicy::strict(), 0.0),
            Self::Warm => calibrated(ComparePolicy::strict(), 180.0),
            Self::Default => calibrated(ComparePolicy::default(), 180.0),
            Self::Argo => Box::new(Argo::default()),
            Self::Flagger => Box::new(Flagger::default()),
            Self::Kayenta => Box::new(Kayenta::default()),
            Self::PeekZ => Box::new(PeekZ::default()),
            Self::LindonMalek => Box::new(LindonMalek::new(SHARE)),
            Self::Gavi => Box::new(Gavi::default()),
        }
    }
}

/// One scenario's results: of healthy candidates, and of those with twice the errors.
#[derive(Debug)]
pub struct Row {
    /// The scenario.
    pub stress: Stress,
    /// What each rule did, in the order of [`Under::ALL`].
    pub tallies: Vec<(Under, [Tally; 2])>,
}

/// Runs `runs` rollouts of every scenario, healthy and with twice the errors.
pub fn run(seed: u64, runs: u32) -> Vec<Row> {
    /// Pieces of a scenario, so that no core waits.
    const PIECES: u32 = 10;
    let jobs = Stress::ALL.len() * PIECES as usize;
    let pieces = on_all_cores(seed, jobs, |number, random| {
        let stress = Stress::ALL[number / PIECES as usize];
        let mut tallies: Vec<(Under, [Tally; 2])> = Under::ALL
            .iter()
            .map(|it| (*it, [Tally::default(), Tally::default()]))
            .collect();
        for run in 0..runs.div_ceil(PIECES) {
            for (which, change) in [Change::Times(1.0), Change::Times(2.0)].iter().enumerate() {
                let windows = stress.windows(*change, random);
                let phi = stress.phi(random);
                for (under, tallies) in &mut tallies {
                    if *under == Under::Kayenta && !run.is_multiple_of(KAYENTA_ONE_IN) {
                        continue;
                    }
                    let mut rule = under.rule(phi);
                    tallies[which].run(&windows, rule.as_mut());
                }
            }
        }
        tallies
    });
    let rows = pieces.chunks(PIECES as usize).zip(Stress::ALL);
    rows.map(|(pieces, stress)| Row {
        stress,
        tallies: Under::ALL
            .iter()
            .enumerate()
            .map(|(place, under)| (*under, merged(pieces, place)))
            .collect(),
    })
    .collect()
}

fn merged(pieces: &[Vec<(Under, [Tally; 2])>], place: usize) -> [Tally; 2] {
    let mut sum = [Tally::default(), Tally::default()];
    for piece in pieces {
        for (sum, it) in sum.iter_mut().zip(&piece[place].1) {
            sum.merge(it);
        }
    }
    sum
}

/// Whether a healthy gate without traffic of the candidate's ever rolls back or passes.
pub fn silent_candidate_is_held(policy: ComparePolicy) -> bool {
    let gate = Compare::new(policy).unwrap();
    let mut state = gate.start();
    (0..TICKS).all(|tick| {
        let it = window(tick, 2500, Arm::default(), Arm::new(1500, 15));
        gate.fold(&mut state, &it).unwrap();
        let patient = tick < MINUTE - 1;
        match state.verdict() {
            analysis::Verdict::Hold(_) => !patient,
            analysis::Verdict::Continue => patient,
            analysis::Verdict::Rollback(_) | analysis::Verdict::Pass => false,
        }
    })
}
