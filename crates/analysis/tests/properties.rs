//! What must hold for any counts: the inequality that everything rests on, by exact enumeration, and
//! how evidence adds up.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod windows;

use analysis::{
    Arm, Compare, ComparePolicy, Verdict,
    compare::{GRID, PASS_GRID, Restart},
    increment::{Bernoulli, Blocks, Multipliers, Relative, rare},
};
use proptest::prelude::*;
use windows::{Counts, at_share, fold, window};

/// Rates from the rarest to the sure.
const RATES: [f64; 10] = [0.0, 1e-4, 0.003, 0.02, 0.1, 0.25, 0.4, 0.6, 0.9, 1.0];
/// Requests of the candidate and of stable.
const SIZES: [(u32, u32); 6] = [(1, 1), (3, 9), (9, 3), (15, 15), (1, 29), (30, 30)];
const ROUNDING: f64 = 1e-12;

/// `P(X = x)` for x of 0 to n, by the recurrence of Pascal's triangle.
fn binomial(n: u32, p: f64) -> Vec<f64> {
    let mut masses = vec![1.0];
    for _ in 0..n {
        let mut next = vec![0.0; masses.len() + 1];
        for (x, mass) in masses.iter().enumerate() {
            next[x] += mass * (1.0 - p);
            next[x + 1] += mass * p;
        }
        masses = next;
    }
    masses
}

/// `Σ P(x)·P(y)·f(x, y)` over all counts of both arms.
fn expectation((n, m): (u32, u32), (p_c, p_b): (f64, f64), f: impl Fn(f64, f64) -> f64) -> f64 {
    let (candidate, stable) = (binomial(n, p_c), binomial(m, p_b));
    let mut sum = 0.0;
    for (x, p) in candidate.iter().enumerate() {
        for (y, q) in stable.iter().enumerate() {
            sum += p * q * f(x as f64, y as f64);
        }
    }
    sum
}

/// Rates of the candidate from 0 up to the largest that the null allows.
fn up_to(most: f64) -> impl Iterator<Item = f64> {
    let most = most.min(1.0);
    [0.0, 0.3, 0.7, 0.95, 1.0]
        .into_iter()
        .map(move |it| it * most)
}

/// Rates from the smallest that the null allows up to 1.
fn from(least: f64) -> impl Iterator<Item = f64> {
    let least = least.min(1.0);
    [0.0, 0.1, 0.5, 1.0]
        .into_iter()
        .map(move |it| least + it * (1.0 - least))
}

#[test]
fn the_comparison_expects_at_most_one_under_every_null() {
    for size in SIZES {
        let ratio = f64::from(size.0) / f64::from(size.1);
        for p_b in RATES {
            for theta in [1.0, 1.1, 2.0] {
                let e = |g: f64, phi: f64, p_c| {
                    let it = Relative::new(theta, g, libm::log(g), ratio);
                    expectation(size, (p_c, p_b), |x, y| libm::exp(it.of(x, y) / phi))
                };
                for g in GRID {
                    for p_c in up_to(theta * p_b) {
                        assert!(
                            e(g, 1.0, p_c) <= 1.0 + ROUNDING,
                            "{size:?} {p_b} {theta} {g}"
                        );
                        assert!(e(g, 3.0, p_c) <= 1.0 + ROUNDING, "tempered");
                    }
                }
                // Not being able to be `theta` times as bad makes the null empty.
                for g in PASS_GRID.into_iter().filter(|_| theta * p_b <= 1.0) {
                    for p_c in from(theta * p_b) {
                        assert!(
                            e(g, 1.0, p_c) <= 1.0 + ROUNDING,
                            "{size:?} {p_b} {theta} {g}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn bounds_on_one_arm_expect_at_most_one_under_every_null() {
    for n in [1, 7, 30] {
        let size = (n, 0);
        for bound in [5e-4, 0.01, 0.05, 0.3] {
            let single = |g: f64, p| {
                expectation(size, (p, 0.0), |x, _| {
                    libm::exp(rare(bound, g, libm::log(g), f64::from(n), x))
                })
            };
            for p in up_to(bound) {
                assert!(GRID.iter().all(|g| single(*g, p) <= 1.0 + ROUNDING));
                for q in [0.35, 0.6, 0.95] {
                    let it = Bernoulli::new(bound, q);
                    let e = expectation(size, (p, 0.0), |x, _| libm::exp(it.of(f64::from(n), x)));
                    assert!(e <= 1.0 + ROUNDING, "{n} {bound} {p} {q}");
                }
            }
            for p in from(bound) {
                assert!(PASS_GRID.iter().all(|g| single(*g, p) <= 1.0 + ROUNDING));
            }
        }
    }
}

#[test]
fn blocks_of_frequent_events_expect_at_most_one_under_every_null() {
    let mut bets = 0;
    for size in SIZES {
        let (n, m) = (f64::from(size.0), f64::from(size.1));
        for margin in [1.0, 1.1, 1.5] {
            for (q, g) in [(0.06, 1.2), (0.1, 2.0), (0.3, 1.35), (0.5, 6.0), (0.8, 1.1)] {
                let block = Blocks::new(margin, &Multipliers::new([g]), q, (n, m));
                if block.of((n, n), (m, 0.0)) == [0.0] {
                    continue;
                }
                bets += 1;
                for p_b in RATES {
                    for p_c in up_to(margin * p_b) {
                        let e = expectation(size, (p_c, p_b), |x, y| {
                            libm::exp(block.of((n, x), (m, y))[0])
                        });
                        assert!(
                            e <= 1.0 + ROUNDING,
                            "{size:?} {margin} {q} {g} {p_b} {p_c}: {e}"
                        );
                    }
                }
            }
        }
    }
    assert!(bets > 60, "{bets}");
}

/// The exact test's level by enumeration: the chance of a rollback when the null holds.
fn level(policy: &ComparePolicy, size: (u32, u32), rates: (f64, f64)) -> f64 {
    let gate = Compare::new(policy.clone()).unwrap();
    expectation(size, rates, |x, y| {
        let mut state = gate.start();
        let counts = [u64::from(size.0), x as u64, u64::from(size.1), y as u64];
        gate.fold(&mut state, &window(0, counts)).unwrap();
        let look = gate.final_look(&mut state).unwrap();
        look.map_or(1.0, |it| f64::from(u8::from(it.comparison <= it.alpha)))
    })
}

#[test]
fn the_exact_test_keeps_its_level() {
    for margin in [0.0, 0.1, 0.5] {
        let policy = ComparePolicy {
            alpha: 0.2,
            final_part: 0.99,
            margin,
            floor: 0.0,
            ceiling: None,
            ..ComparePolicy::default()
        };
        let mut largest: f64 = 0.0;
        for size in [(10, 10), (10, 30), (30, 10)] {
            for p_b in [0.01, 0.05, 0.2, 0.5] {
                let p_c = (p_b * (1.0 + margin)).min(1.0);
                largest = largest.max(level(&policy, size, (p_c, p_b)));
            }
        }
        let promised = policy.alpha_final() + policy.alpha_sequential();
        assert!(largest <= promised + ROUNDING, "{margin}: {largest}");
        // It is no empty promise either: the test does reject.
        assert!(largest > 0.02, "{margin}: {largest}");
    }
}

/// Only the comparison, everything bet at the start.
fn bare() -> ComparePolicy {
    ComparePolicy {
        floor: 0.0,
        ceiling: None,
        restart: Restart::NONE,
        ..ComparePolicy::default()
    }
}

fn counts() -> impl Strategy<Value = Counts> {
    let arm = (0..2000_u64).prop_flat_map(|n| (Just(n), 0..=n.min(60)));
    (arm.clone(), arm).prop_map(|((nc, xc), (nb, xb))| [nc, xc, nb, xb])
}

fn any_counts() -> impl Strategy<Value = Counts> {
    let requests = prop_oneof![Just(0), 0..5_u64, 0..1_000_000_u64, Just(1_000_000_000_000)];
    let arm = requests.prop_flat_map(|n| (Just(n), prop_oneof![Just(0), Just(n), 0..=n]));
    (arm.clone(), arm).prop_map(|((nc, xc), (nb, xb))| [nc, xc, nb, xb])
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * b.abs().max(1.0)
}

proptest! {
    #[test]
    fn windows_in_any_order_are_the_same_evidence(windows in prop::collection::vec(counts(), 1..12)) {
        let (gate, state) = fold(bare(), windows.clone());
        let (_, turned) = fold(bare(), windows.into_iter().rev());
        prop_assert!(near(gate.parts(&turned).relative, gate.parts(&state).relative));
        prop_assert!(near(gate.parts(&turned).pass, gate.parts(&state).pass));
    }

    #[test]
    fn a_window_split_at_an_equal_ratio_is_the_same_evidence(
        unit in (1..200_u64, 1..200_u64),
        parts in (1..5_u64, 1..5_u64),
        bad in (0..5_u64, 0..5_u64, 0..5_u64, 0..5_u64),
    ) {
        let (n, m) = unit;
        let part = |times: u64, xc: u64, xb: u64| {
            [n * times, xc.min(n * times), m * times, xb.min(m * times)]
        };
        let (a, b) = (part(parts.0, bad.0, bad.1), part(parts.1, bad.2, bad.3));
        let whole: Vec<u64> = a.iter().zip(b).map(|(a, b)| a + b).collect();
        let (gate, split) = fold(bare(), [a, b]);
        let (_, joined) = fold(bare(), [[whole[0], whole[1], whole[2], whole[3]]]);
        prop_assert!(near(gate.parts(&split).relative, gate.parts(&joined).relative));
    }

    #[test]
    fn one_more_bad_request_of_the_candidate_is_more_evidence(
        windows in prop::collection::vec(counts(), 1..6),
    ) {
        let mut more = windows.clone();
        let last = more.last_mut().unwrap();
        prop_assume!(last[1] < last[0] && last[2] > 0);
        last[1] += 1;
        let policy = ComparePolicy { restart: Restart::NONE, ..ComparePolicy::default() };
        let (gate, state) = fold(policy.clone(), windows);
        let (_, worse) = fold(policy, more);
        let (parts, worse) = (gate.parts(&state), gate.parts(&worse));
        prop_assert!(worse.relative >= parts.relative);
        prop_assert!(worse.floor >= parts.floor && worse.ceiling >= parts.ceiling);
        prop_assert!(worse.rollback >= parts.rollback && worse.pass <= parts.pass);
    }

    #[test]
    fn a_window_without_requests_is_no_evidence(
        windows in prop::collection::vec(counts(), 1..6),
        silent in 1..5_usize,
    ) {
        let (gate, state) = fold(ComparePolicy::default(), windows.clone());
        let quiet = std::iter::repeat_n([0; 4], silent);
        let (_, later) = fold(ComparePolicy::default(), windows.into_iter().chain(quiet));
        let (a, b) = (gate.parts(&state), gate.parts(&later));
        prop_assert!(near(a.relative, b.relative) && near(a.rollback, b.rollback));
        prop_assert!(near(a.pass, b.pass));
    }

    #[test]
    fn a_window_of_one_arm_compares_nothing(candidate in any_counts()) {
        let [n, x, _, _] = candidate;
        let (gate, state) = fold(bare(), [[n, x, 0, 0], [0, 0, n, x]]);
        prop_assert_eq!(gate.parts(&state).relative.abs() < 1e-12, true);
        prop_assert!(!matches!(state.verdict(), Verdict::Rollback(_) | Verdict::Pass));
    }

    #[test]
    fn any_counts_give_a_verdict_and_finite_evidence(
        windows in prop::collection::vec((any_counts(), 0..=10_000_u32), 1..20),
    ) {
        for policy in [ComparePolicy::default(), ComparePolicy::strict()] {
            let gate = Compare::new(policy).unwrap();
            let mut state = gate.start();
            let mut requests = 0;
            for (second, (counts, share)) in (0..).zip(&windows) {
                gate.fold(&mut state, &at_share(second, *share, *counts)).unwrap();
                requests += counts[0];
            }
            gate.check(&state).unwrap();
            let parts = gate.parts(&state);
            prop_assert!(!parts.rollback.is_nan() && !parts.pass.is_nan() && !parts.ungated.is_nan());
            prop_assert!(requests > 0 || !matches!(state.verdict(), Verdict::Pass | Verdict::Rollback(_)));
            let evidence = gate.evidence(&state);
            prop_assert!(!evidence.sentence("errors").contains("NaN"));
            prop_assert!(evidence.ratio_at_least.is_none_or(f64::is_finite));
            gate.final_look(&mut state).unwrap();
        }
    }

    #[test]
    fn the_estimate_lies_within_its_bounds(windows in prop::collection::vec(counts(), 1..6)) {
        let (gate, state) = fold(ComparePolicy::default(), windows);
        let evidence = gate.evidence(&state);
        if let (Some(ratio), Some(least)) = (evidence.ratio, evidence.ratio_at_least) {
            prop_assert!(least <= ratio * (1.0 + 1e-9), "{least} {ratio}");
        }
        if let (Some(ratio), Some(most)) = (evidence.ratio, evidence.ratio_at_most) {
            prop_assert!(ratio <= most * (1.0 + 1e-9), "{ratio} {most}");
        }
        let rate = Arm::rate(evidence.candidate);
        prop_assert!(rate <= evidence.candidate_rate_at_most * (1.0 + 1e-9));
    }
}
