//! Gates on any number that a query gives (§2.3): no likelihood, and one sample resembles the next.
//!
//! Where there are counters under the number, a compare or latency gate on them says more. Otherwise:
//!
//! - [`Scalar`] compares candidate and stable. With a day of stable's past it uses the one-sided normal
//!   mixture on means of batches, whose variance comes from that past; without, the sequential
//!   t-test on longer batches.
//! - [`Limit`] holds one number against a fixed bound and tolerates a part of samples beyond it, with a
//!   promised chance of a false alarm in place of a number of failures.

mod evidence;
mod limit;
mod mixture;
mod noise;
mod student;

use serde::{Deserialize, Serialize};

pub use limit::{LIMIT_VERSION, Limit, LimitPolicy, LimitState};
pub use mixture::{NormalMixture, best_rho};
pub use noise::Noise;
pub use student::log_ratio;

use crate::{
    counts::{InputError, Order, order},
    fingerprint::Fingerprint,
    range::{PolicyError, chance, within},
    special::{ln, log_sum_exp, real},
    verdict::{Grounds, Verdict},
};

/// The layout of [`ScalarState`].
pub const SCALAR_VERSION: u16 = 1;
/// Standardised shifts that the t-test bets on (§2.3).
const SHIFTS: [f64; 5] = [0.25, 0.5, 1.0, 2.0, 4.0];
/// The shortest batch without a past, in seconds: shorter ones resemble each other too much.
const BLIND_BATCH_SECONDS: f64 = 300.0;

/// Which way is worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Worse {
    /// A larger number.
    Higher,
    /// A smaller number.
    Lower,
}

/// The promises and settings of a scalar gate, fixed before the first window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScalarPolicy {
    /// The chance that a candidate within the margin is ever rolled back.
    pub alpha: f64,
    /// The chance that a candidate at or beyond the pass margin ever passes.
    pub beta: f64,
    /// How much worse than stable is acceptable, in the number's unit.
    pub margin: f64,
    /// What a pass rules out, in the number's unit; above the margin.
    pub pass_margin: f64,
    /// Which way is worse.
    pub worse: Worse,
    /// What is known of the noise.
    pub noise: Noise,
    /// The length of a batch, in seconds; at least 300 without a known noise.
    pub batch_seconds: f64,
    /// After how many batches the test is the sharpest.
    pub sharp_after: f64,
    /// How long there may be no window before the gate holds.
    pub patience_seconds: f64,
}

impl ScalarPolicy {
    /// A policy for a number whose acceptable and unacceptable worsening are these.
    pub fn new(worse: Worse, noise: Noise, margin: f64, pass_margin: f64) -> Self {
        Self {
            alpha: 0.05,
            beta: 0.05,
            margin,
            pass_margin,
            worse,
            noise,
            batch_seconds: match noise {
                Noise::Known { .. } => 60.0,
                Noise::Unknown => BLIND_BATCH_SECONDS,
            },
            sharp_after: 20.0,
            patience_seconds: 60.0,
        }
    }

    /// Checks every number.
    ///
    /// # Errors
    /// The first field that is out of its range.
    pub fn check(&self) -> Result<(), PolicyError> {
        chance("alpha", self.alpha)?;
        chance("beta", self.beta)?;
        within("margin", self.margin, 0.0, 1e300)?;
        within("passMargin", self.pass_margin, self.margin, 1e300)?;
        within("passMargin", self.pass_margin, f64::MIN_POSITIVE, 1e300)?;
        within("sharpAfter", self.sharp_after, 1.0, 1e6)?;
        within("patienceSeconds", self.patience_seconds, 0.001, 1e9)?;
        let least = match self.noise {
            Noise::Known {
                deviation,
                autocorrelation,
            } => {
                within("noise.deviation", deviation, 1e-150, 1e150)?;
                within("noise.autocorrelation", autocorrelation, -0.99, 0.99)?;
                0.001
            }
            Noise::Unknown => BLIND_BATCH_SECONDS,
        };
        within("batchSeconds", self.batch_seconds, least, 1e6)
    }

    fn fingerprint(&self) -> u64 {
        let (deviation, autocorrelation) = match self.noise {
            Noise::Known {
                deviation,
                autocorrelation,
            } => (Some(deviation), Some(autocorrelation)),
            Noise::Unknown => (None, None),
        };
        Fingerprint::default()
            .bytes(b"scalar")
            .numbers(&[self.alpha, self.beta, self.margin, self.pass_margin])
            .bytes(&[match self.worse {
                Worse::Higher => 0,
                Worse::Lower => 1,
            }])
            .option(deviation)
            .option(autocorrelation)
            .numbers(&[self.batch_seconds, self.sharp_after, self.patience_seconds])
            .finish()
    }
}

/// One sample of both arms. Samples must not overlap: a query that looks back a minute is asked once
/// a minute at most.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScalarWindow {
    /// Where it begins, in milliseconds since 1970, exclusive.
    pub from_ms: i64,
    /// Where it ends, in milliseconds since 1970, inclusive.
    pub until_ms: i64,
    /// The candidate's number.
    pub candidate: f64,
    /// Stable's number.
    pub stable: f64,
}

/// A batch under way.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Batch {
    from_ms: i64,
    /// Σ (candidate − stable), turned so that more is worse.
    #[serde(with = "crate::exact")]
    sum: f64,
    samples: u32,
}

/// What a scalar gate has learnt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScalarState {
    version: u16,
    policy: u64,
    started_ms: Option<i64>,
    watermark_ms: Option<i64>,
    batch: Option<Batch>,
    /// Whole batches.
    batches: u32,
    /// The mean of their differences, and the sum of squares about it (Welford 1962).
    #[serde(with = "crate::exact")]
    mean: f64,
    #[serde(with = "crate::exact")]
    squares: f64,
    decided_ms: Option<i64>,
    passed_ms: Option<i64>,
    verdict: Verdict,
}

impl ScalarState {
    /// How the gate stands after the last window.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// The end of the last window that was folded in.
    pub fn watermark_ms(&self) -> Option<i64> {
        self.watermark_ms
    }
}

/// A scalar gate: a checked policy.
#[derive(Debug, Clone)]
pub struct Scalar {
    policy: ScalarPolicy,
    fingerprint: u64,
}

impl Scalar {
    /// A gate of `policy`.
    ///
    /// # Errors
    /// A number of the policy that is out of its range.
    pub fn new(policy: ScalarPolicy) -> Result<Self, PolicyError> {
        policy.check()?;
        let fingerprint = policy.fingerprint();
        Ok(Self {
            policy,
            fingerprint,
        })
    }

    /// The state before the first window.
    pub fn start(&self) -> ScalarState {
        ScalarState {
            version: SCALAR_VERSION,
            policy: self.fingerprint,
            started_ms: None,
            watermark_ms: None,
            batch: None,
            batches: 0,
            mean: 0.0,
            squares: 0.0,
            decided_ms: None,
            passed_ms: None,
            verdict: Verdict::Continue,
        }
    }

    /// Checks a state that was read from where it was stored.
    ///
    /// # Errors
    /// [`InputError::OtherVersion`], [`InputError::OtherPolicy`], [`InputError::Damaged`].
    pub fn check(&self, state: &ScalarState) -> Result<(), InputError> {
        if state.version != SCALAR_VERSION {
            return Err(InputError::OtherVersion {
                version: state.version,
                ours: SCALAR_VERSION,
            });
        }
        if state.policy != self.fingerprint {
            return Err(InputError::OtherPolicy);
        }
        match state.mean.is_finite() && state.squares >= 0.0 {
            true => Ok(()),
            false => Err(InputError::Damaged {
                what: "its batches",
            }),
        }
    }

    /// Folds one window into the state. A window that was folded in before changes nothing.
    ///
    /// # Errors
    /// The window's or state's fault; the state is then as it was before.
    pub fn fold(&self, state: &mut ScalarState, window: &ScalarWindow) -> Result<(), InputError> {
        self.check(state)?;
        if window.until_ms <= window.from_ms {
            return Err(InputError::Backwards {
                from_ms: window.from_ms,
                until_ms: window.until_ms,
            });
        }
        let difference = match self.policy.worse {
            Worse::Higher => window.candidate - window.stable,
            Worse::Lower => window.stable - window.candidate,
        };
        let numbers = [
            ("the candidate's number", window.candidate),
            ("stable's number", window.stable),
            ("the difference", difference),
        ];
        for (what, value) in numbers {
            // Squares of what is near the largest number would not be finite either.
            if value.abs() > 1e150 || value.is_nan() {
                return Err(InputError::NotFinite { what, value });
            }
        }
        match order(state.watermark_ms, window.from_ms, window.until_ms)? {
            Order::Seen => return Ok(()),
            Order::Next => {}
        }
        state.started_ms.get_or_insert(window.from_ms);
        state.watermark_ms = Some(window.until_ms);
        let batch = state.batch.get_or_insert(Batch {
            from_ms: window.from_ms,
            sum: 0.0,
            samples: 0,
        });
        batch.sum += difference;
        batch.samples = batch.samples.saturating_add(1);
        let seconds = window.until_ms.saturating_sub(batch.from_ms) as f64 / 1000.0;
        if seconds >= self.policy.batch_seconds {
            let mean = batch.sum / f64::from(batch.samples);
            state.batch = None;
            state.batches = state.batches.saturating_add(1);
            let off = mean - state.mean;
            state.mean += off / f64::from(state.batches);
            state.squares += off * (mean - state.mean);
            self.judge(state, window.until_ms);
        }
        Ok(())
    }

    fn judge(&self, state: &mut ScalarState, now_ms: i64) {
        if state.decided_ms.is_some() {
            return;
        }
        if self.log_e(state) >= -ln(self.policy.alpha) {
            state.decided_ms = Some(now_ms);
            state.passed_ms = None;
            state.verdict = Verdict::Rollback(Grounds::Comparison);
        } else if self.log_e_pass(state) >= -ln(self.policy.beta) {
            state.passed_ms.get_or_insert(now_ms);
            state.verdict = Verdict::Pass;
        }
    }

    /// `ln E` that the candidate is worse than stable by more than the margin.
    pub fn log_e(&self, state: &ScalarState) -> f64 {
        self.evidence_beyond(state, state.mean - self.policy.margin, self.policy.alpha)
    }

    /// `ln E` that it is worse by less than the pass margin.
    pub fn log_e_pass(&self, state: &ScalarState) -> f64 {
        self.evidence_beyond(
            state,
            self.policy.pass_margin - state.mean,
            self.policy.beta,
        )
    }

    /// `ln E` that the true mean, of which `mean` was observed, is above 0.
    fn evidence_beyond(&self, state: &ScalarState, mean: f64, level: f64) -> f64 {
        let batches = f64::from(state.batches);
        match self.policy.noise {
            Noise::Known {
                deviation,
                autocorrelation,
            } => {
                let inflation = (1.0 + autocorrelation) / (1.0 - autocorrelation);
                let each = 2.0 * deviation * deviation * inflation;
                let mixture = NormalMixture::one_sided(self.policy.sharp_after * each, level);
                mixture.log_e(mean * batches, each * batches)
            }
            Noise::Unknown if state.batches < 2 => 0.0,
            Noise::Unknown => {
                let ratios = SHIFTS.map(|it| log_ratio(mean, state.squares, batches, it));
                log_sum_exp(ratios.into_iter()) - ln(real(SHIFTS.len() as u64))
            }
        }
    }

    /// The verdict at `now_ms`, which is the last batch's unless data stopped coming.
    pub fn verdict_at(&self, state: &ScalarState, now_ms: i64) -> Verdict {
        let patience = self.policy.patience_seconds;
        state
            .verdict
            .unless_silent(state.watermark_ms, now_ms, patience)
    }
}
