//! Judges a candidate against stable from counts: the pure statistics of the gates.
//!
//! A gate is asked again and again, and an ordinary test that is looked at often is wrong often. These
//! gates are sequential: evidence is an e-value, a bet against "the candidate is acceptable" whose
//! winnings are expected to be at most what was staked. By Ville's inequality the chance that they ever
//! reach `1/α` is at most α, however often one looks and whenever one stops.
//!
//! ```text
//!   counter ──> windows ──┬──> compare   bad requests against stable's ──┐
//!   histogram ──> tails ──┼──> latency   slow requests at every bound    ├──> verdict, evidence
//!   numbers ──────────────┼──> scalar    any number, with noise          │    in words
//!                         └──> slo       an objective's budget ──────────┘
//!
//!   before: calibrate (stable against stable), outlook (how long, how small)
//!   beside: share (is traffic split as planned), several (many gates together)
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | [`compare`] | the gate on rates of bad requests: margin, floor, ceiling, history, exact test, pass |
//! | [`latency`], [`histogram`] | the gate on latency, bucket by bucket |
//! | [`scalar`] | gates on plain numbers |
//! | [`slo`] | burn rates, the harm cap, how far a ramp may go |
//! | [`several`] | what many gates say together |
//! | [`share`] | sample-ratio mismatch |
//! | [`counter`] | whole counts from raw counter samples |
//! | [`calibrate`], [`outlook`] | what to expect before a rollout |
//! | [`increment`] | the formulas themselves |
//!
//! ```
//! use analysis::{Arm, Compare, ComparePolicy, Verdict, Window};
//!
//! let gate = Compare::new(ComparePolicy::default())?;
//! let mut state = gate.start(); // serialisable; commit it with the decision
//! let window = Window {
//!     from_ms: 0,
//!     until_ms: 15_000,
//!     share: 2_500,
//!     candidate: Arm::new(375, 41),
//!     stable: Arm::new(1_125, 2),
//! };
//! gate.fold(&mut state, &window)?;
//! assert!(matches!(state.verdict(), Verdict::Rollback(_)));
//! let sentence = gate.evidence(&state).sentence("errors");
//! assert!(sentence.starts_with("errors: candidate 41 of 375 requests, stable 2 of 1,125"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Rules
//!
//! - No clock, no randomness, no I/O. Numbers are `f64`, and logarithms come from `libm`, or from plain
//!   arithmetic of ours where many are needed at once (`lanes.rs`), so that a replay gives the same bits
//!   on every machine; states store their numbers bit for bit.
//! - A state belongs to one policy and one version and has a watermark: a window that was folded in is
//!   skipped, one that overlaps is an error, and an error leaves the state as it was.
//! - What is chosen (φ, bounds, mass for later starts) is chosen by earlier windows only.
//! - Nothing passes for want of evidence, and broken input is an [`InputError`], never a verdict.
//!
//! # Departures from the specification
//!
//! The method is that of the specification of canary analysis, cited as §2.1 (rates), §2.2 (latency),
//! §2.3 (scalars), §2.4 (objectives), §2.5 (several metrics), §2.6 (data), §3 (benchmark) and §4
//! (pitfalls, known answers); formulas are repeated where they are used. Where this crate does
//! otherwise:
//!
//! - *Attribution* (§2.1) is weighed window by window after Mantel and Haenszel instead of by totals:
//!   totals of a ramp blame a healthy candidate for a bad hour of both, and totals of one share are few
//!   when the share has just changed.
//! - *A shared incident holds while its evidence grows* and for the policy's patience after. Evidence
//!   against a low bound outlasts a short incident by hours, and a rollout must not.
//! - *Evidence of worse within the margin* (§2.5) holds only where the policy says so. Otherwise a
//!   busy service would be held for ever by a difference that its margin allows.
//! - *Mass for later starts* is bet once a minute by an exponential schedule and at each change of the
//!   share, for floor, history and ceiling as well: one of them without would wait for its own past.
//! - *φ* begins one standard error above its estimate and never falls below that seed. With the mean
//!   alone, a quiet stretch sharpened the evidence of the next rough minute and false rollbacks under
//!   the roughest traffic were above 1 %.
//! - *The exact test* uses counts divided by φ where φ > 1, the hypergeometric law only without a
//!   margin (with one its odds depend on the unknown rate, and the binomial law errs to the safe
//!   side), and Chernoff's bound where sums would take too long.
//! - *A pass* stands from its first crossing until the share changes; then the kept evidence must be
//!   beyond the bound again with the next window.
//! - *The ceiling holds during warm-up*: a cold candidate may be slow to start, not down.
//! - *The history's bound* is at least what a week without errors cannot rule out.
//! - *The share's check* has a tolerance, since routers round weights.
//! - *The block e-value* (§2.2) has a margin; see [`increment::Blocks`] for why it stays valid.
//! - *Latency bounds* hold mass of their own from when earlier windows make them interesting; at most
//!   ten are followed. φ is a constant there. Exponential histograms are read at schema 3 or coarser.
//! - *The harm cap* (§2.4) takes its lower bound from the ratio's, so that it holds at any time.
//! - Bounds that are shown take the share within a stratum as constant; decisions never do.
//! - Hard guards (crash loops, restarts) need no statistics, and reading PromQL is the driver's.

pub mod calibrate;
mod ceiling;
pub mod compare;
pub mod counter;
mod counts;
mod dispersion;
mod exact;
mod fingerprint;
pub mod histogram;
pub mod increment;
mod lanes;
pub mod latency;
mod mixture;
pub mod outlook;
mod range;
mod said;
pub mod scalar;
pub mod several;
pub mod share;
pub mod slo;
mod special;
mod strata;
mod tail;
mod verdict;
mod words;

pub use ceiling::Ceiling;
pub use compare::{Compare, ComparePolicy, CompareState, Evidence};
pub use counts::{Arm, COUNT_MAX, InputError, SHARE_ALL, Window};
pub use dispersion::{Dispersion, PHI, Roughness};
pub use fingerprint::Fingerprint;
pub use histogram::{Bucket, Histogram, Tails};
pub use latency::{Latency, LatencyPolicy, LatencyState, LatencyWindow};
pub use mixture::Mixture;
pub use range::PolicyError;
pub use scalar::{Limit, LimitPolicy, LimitState, Scalar, ScalarPolicy, ScalarState};
pub use share::ShareCheck;
pub use slo::{Burn, BurnPolicy, BurnState};
pub use strata::{STRATA_MAX, Strata, Stratum, rate_at_most};
pub use verdict::{Grounds, Hold, Verdict};
