//! The compare gate in the situations that rollouts get into.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod windows;

use analysis::{
    Compare, ComparePolicy, Dispersion, Grounds, Hold, ShareCheck, Verdict,
    compare::{Baseline, Restart, history_bound},
};
use windows::{Counts, at_share, fold, window};

const HEALTHY: Counts = [25, 0, 75, 0];
const TOTAL: Counts = [25, 25, 75, 0];
const SHARED: Counts = [25, 25, 75, 75];

fn repeat(counts: Counts, times: usize) -> impl Iterator<Item = Counts> + Clone {
    std::iter::repeat_n(counts, times)
}

fn verdict_of(policy: ComparePolicy, windows: impl IntoIterator<Item = Counts>) -> Verdict {
    fold(policy, windows).1.verdict()
}

#[test]
fn a_total_failure_is_rolled_back_with_the_first_window() {
    for policy in [ComparePolicy::default(), ComparePolicy::strict()] {
        let (_, state) = fold(policy, [HEALTHY, TOTAL]);
        assert!(matches!(state.verdict(), Verdict::Rollback(_)));
        assert_eq!(state.decision().unwrap().at_ms, 2000);
    }
}

#[test]
fn a_rollback_stands_whatever_comes_after() {
    let windows = [TOTAL].into_iter().chain(repeat(HEALTHY, 5000));
    let (_, state) = fold(ComparePolicy::default(), windows);
    assert!(matches!(state.verdict(), Verdict::Rollback(_)));
    assert_eq!(state.decision().unwrap().at_ms, 1000);
}

#[test]
fn a_shared_incident_is_held_and_then_forgotten() {
    let calm = [25, 0, 75, 1];
    for policy in [ComparePolicy::default(), ComparePolicy::strict()] {
        let history = history_bound(&[analysis::Arm::new(1_000_000, 900); 7], 0.0);
        let policy = ComparePolicy { history, ..policy };
        let during = repeat(calm, 60).chain(repeat(SHARED, 20));
        let held = verdict_of(policy.clone(), during.clone());
        assert_eq!(held, Verdict::Hold(Hold::SharedIncident));
        let (gate, mut state) = fold(policy, during.chain(repeat(calm, 1500)));
        assert!(!matches!(
            state.verdict(),
            Verdict::Rollback(_) | Verdict::Hold(_)
        ));
        gate.final_look(&mut state).unwrap();
        assert_eq!(state.decision(), None);
    }
}

#[test]
fn an_incident_in_a_ramp_does_not_blame_the_candidate() {
    let gate = Compare::new(ComparePolicy::strict()).unwrap();
    let mut state = gate.start();
    for second in 0..300 {
        // A tenth of traffic in good times, half of it in bad times: pooled, the candidate is worse.
        let it = match second < 200 {
            true => at_share(second, 1000, [100, 1, 900, 9]),
            false => at_share(second, 5000, [500, 50, 500, 50]),
        };
        gate.fold(&mut state, &it).unwrap();
        assert!(!matches!(state.verdict(), Verdict::Rollback(_)), "{second}");
    }
    let look = gate.final_look(&mut state).unwrap().unwrap();
    assert!(look.comparison > 0.3, "{look:?}");
    let ratio = gate.evidence(&state).ratio.unwrap();
    assert!((0.99..1.01).contains(&ratio), "{ratio}");
}

#[test]
fn without_traffic_of_the_candidate_it_holds_after_its_patience() {
    let silent = [0, 0, 100, 1];
    let policy = ComparePolicy::default;
    assert_eq!(verdict_of(policy(), repeat(silent, 59)), Verdict::Continue);
    let held = verdict_of(policy(), repeat(silent, 60));
    assert_eq!(held, Verdict::Hold(Hold::NoTraffic));
    // Requests that come end the hold.
    let again = verdict_of(policy(), repeat(silent, 200).chain([HEALTHY]));
    assert_eq!(again, Verdict::Continue);
}

#[test]
fn without_windows_it_holds_after_its_patience() {
    let (gate, state) = fold(ComparePolicy::default(), repeat(HEALTHY, 2000));
    assert_eq!(state.verdict(), Verdict::Pass);
    let last = state.watermark_ms().unwrap();
    assert_eq!(gate.verdict_at(&state, last + 59_000), Verdict::Pass);
    let late = gate.verdict_at(&state, last + 60_000);
    assert_eq!(late, Verdict::Hold(Hold::NoData));
    // A clock that jumped back is no silence.
    assert_eq!(gate.verdict_at(&state, last - 1_000_000), Verdict::Pass);
}

#[test]
fn without_stable_it_holds_unless_the_policy_does_without() {
    let alone = |baseline| {
        let policy = ComparePolicy {
            baseline,
            ..ComparePolicy::default()
        };
        verdict_of(policy, repeat([100, 100, 0, 0], 3))
    };
    assert_eq!(alone(Baseline::Required), Verdict::Hold(Hold::NoBaseline));
    let rolled_back = Verdict::Rollback(Grounds::Ceiling);
    assert_eq!(alone(Baseline::Optional), rolled_back);
    let waits = verdict_of(ComparePolicy::default(), repeat([100, 0, 0, 0], 60));
    assert_eq!(waits, Verdict::Hold(Hold::NoBaseline));
}

#[test]
fn below_the_floor_nothing_is_rolled_back() {
    // Ten times stable's rate, and still fewer than one error in two thousand requests.
    let windows = (0..4000).map(|it| match it % 10 {
        0 => [250, 1, 7500, 3],
        _ => [250, 0, 7500, 0],
    });
    let strict = verdict_of(ComparePolicy::strict(), windows.clone());
    assert_eq!(strict, Verdict::Rollback(Grounds::Comparison));
    let default = verdict_of(ComparePolicy::default(), windows);
    assert!(!matches!(default, Verdict::Rollback(_)), "{default:?}");
}

#[test]
fn warm_up_is_not_compared_but_the_ceiling_holds() {
    let policy = || ComparePolicy {
        warm_up_seconds: 60.0,
        ..ComparePolicy::strict()
    };
    // Cold caches: many times stable's errors, below the ceiling.
    let cold = || repeat([100, 3, 300, 0], 60);
    let warm = repeat([100, 0, 300, 1], 60);
    let (gate, state) = fold(policy(), cold().chain(warm));
    assert!(!matches!(state.verdict(), Verdict::Rollback(_)));
    let evidence = gate.evidence(&state);
    assert_eq!(evidence.warming.0.requests, 6000);
    assert_eq!(evidence.candidate.requests, 6000);
    let sentence = evidence.sentence("errors");
    assert!(
        sentence.contains("24,000 more while warming up"),
        "{sentence}"
    );
    assert!(matches!(
        verdict_of(ComparePolicy::strict(), cold()),
        Verdict::Rollback(_)
    ));
    let failing = verdict_of(policy(), repeat(TOTAL, 2));
    assert_eq!(failing, Verdict::Rollback(Grounds::Ceiling));
}

#[test]
fn dispersion_counts_in_blocks_and_weighs_less() {
    let policy = |seed| ComparePolicy {
        ceiling: None,
        dispersion: Some(Dispersion {
            block_seconds: 10.0,
            ..Dispersion::seeded(seed)
        }),
        ..ComparePolicy::strict()
    };
    let worse = [100, 2, 300, 1];
    let (gate, state) = fold(policy(1.0), repeat(worse, 9));
    assert!(gate.parts(&state).relative.abs() < 1e-12);
    assert_eq!(gate.evidence(&state).candidate.requests, 900);
    let (smooth, state) = fold(policy(1.0), repeat(worse, 10));
    let whole = smooth.parts(&state).relative;
    let (rough, state) = fold(policy(4.0), repeat(worse, 10));
    let tempered = rough.parts(&state).relative;
    assert!(
        whole > 1.0 && tempered > 0.0 && tempered < whole / 3.0,
        "{whole} {tempered}"
    );
}

#[test]
fn a_block_ends_where_the_share_changes() {
    let gate = Compare::new(ComparePolicy {
        dispersion: Some(Dispersion::seeded(2.0)),
        ..ComparePolicy::default()
    });
    let gate = gate.unwrap();
    let mut state = gate.start();
    gate.fold(&mut state, &at_share(0, 500, [5, 1, 95, 1]))
        .unwrap();
    gate.fold(&mut state, &at_share(1, 5000, [50, 1, 50, 1]))
        .unwrap();
    let shares: Vec<u32> = state.strata().iter().map(|it| it.share).collect();
    assert_eq!(shares, [500]);
    gate.final_look(&mut state).unwrap();
    assert_eq!(state.strata().len(), 2);
}

#[test]
fn a_regression_that_begins_late_is_found_sooner_with_mass_kept_for_it() {
    let found_after = |restart| {
        let gate = Compare::new(ComparePolicy {
            restart,
            ceiling: None,
            ..ComparePolicy::default()
        });
        let gate = gate.unwrap();
        let mut state = gate.start();
        for tick in 0.. {
            let mut it = window(tick * 15, [375, 4, 1125, 11]);
            it.until_ms = it.from_ms + 15_000;
            if tick >= 160 {
                it.candidate.bad = 11;
            }
            gate.fold(&mut state, &it).unwrap();
            if matches!(state.verdict(), Verdict::Rollback(_)) {
                return tick - 160;
            }
        }
        unreachable!("the loop ends with a rollback")
    };
    let (with, without) = (found_after(Restart::default()), found_after(Restart::NONE));
    assert!(with * 3 <= without * 2, "{with} {without}");
}

#[test]
fn a_share_other_than_planned_is_held() {
    let policy = || ComparePolicy {
        share_check: Some(ShareCheck::default()),
        ..ComparePolicy::default()
    };
    let held = verdict_of(policy(), repeat([50, 0, 50, 0], 30));
    assert_eq!(held, Verdict::Hold(Hold::ShareMismatch));
    // A router that rounds weights is within the tolerance, however long it goes on.
    let rounded = verdict_of(policy(), repeat([26, 0, 74, 0], 2000));
    assert_eq!(rounded, Verdict::Pass);
    let unchecked = verdict_of(ComparePolicy::default(), repeat([50, 0, 50, 0], 30));
    assert_eq!(unchecked, Verdict::Continue);
}

#[test]
fn worse_within_the_margin_holds_only_where_the_policy_says_so() {
    let slightly = || repeat([10_000, 1150, 10_000, 1000], 30);
    let policy = |hold_within_margin| ComparePolicy {
        margin: 0.3,
        ceiling: None,
        hold_within_margin,
        ..ComparePolicy::default()
    };
    assert_eq!(verdict_of(policy(false), slightly()), Verdict::Pass);
    let held = verdict_of(policy(true), slightly());
    assert_eq!(held, Verdict::Hold(Hold::WithinMargin));
}

#[test]
fn a_pass_is_asked_again_at_another_share() {
    let gate = Compare::new(ComparePolicy::default()).unwrap();
    let mut state = gate.start();
    for second in 0..1000 {
        gate.fold(&mut state, &at_share(second, 2500, HEALTHY))
            .unwrap();
    }
    assert_eq!(state.verdict(), Verdict::Pass);
    // The evidence is kept, so a healthy candidate passes again with the next window.
    gate.fold(&mut state, &at_share(1000, 5000, [50, 0, 50, 0]))
        .unwrap();
    assert_eq!(state.verdict(), Verdict::Pass);
    assert_eq!(state.passed_ms(), Some(1_001_000));
    // One that fails at more traffic is rolled back.
    gate.fold(&mut state, &at_share(1001, 7500, [75, 40, 25, 0]))
        .unwrap();
    assert!(matches!(state.verdict(), Verdict::Rollback(_)));
}

#[test]
fn the_exact_test_finds_what_looking_often_cannot_and_is_made_once() {
    // 31 of 60 where 20 are expected: between what the two kinds of test can see.
    let windows = (0..60).map(|it| match it {
        31 => [100, 1, 200, 0],
        it if it % 2 == 0 => [100, 1, 200, 0],
        _ => [100, 0, 200, 1],
    });
    let policy = ComparePolicy {
        ceiling: None,
        ..ComparePolicy::strict()
    };
    let (gate, mut state) = fold(policy, windows);
    assert_eq!(state.verdict(), Verdict::Continue);
    let look = gate.final_look(&mut state).unwrap().unwrap();
    assert!(look.comparison < look.alpha, "{look:?}");
    assert_eq!(state.verdict(), Verdict::Rollback(Grounds::FinalLook));
    assert_eq!(gate.final_look(&mut state), Ok(None));

    let (gate, mut state) = fold(ComparePolicy::strict(), repeat(HEALTHY, 10));
    assert!(gate.final_look(&mut state).unwrap().is_some());
    assert_eq!(gate.final_look(&mut state), Ok(None), "its α is spent");
    let (gate, mut state) = fold(ComparePolicy::strict(), []);
    assert_eq!(gate.final_look(&mut state), Ok(None), "nothing was seen");
}

#[test]
fn the_sentence_says_what_was_counted_and_what_it_means() {
    let policy = ComparePolicy {
        ceiling: None,
        ..ComparePolicy::default()
    };
    // 31 seconds; nine errors of 1,204 requests against three of 3,600.
    let gate = Compare::new(policy).unwrap();
    let mut state = gate.start();
    for second in 0..31 {
        let bad = u64::from(second % 7 == 0) + u64::from(second % 8 == 6);
        let stable = u64::from(second % 10 == 4);
        let requests = if second < 30 { 39 } else { 34 };
        let stables = if second < 30 { 116 } else { 120 };
        let it = window(second, [requests, bad, stables, stable]);
        gate.fold(&mut state, &it).unwrap();
    }
    let evidence = gate.evidence(&state);
    let sentence = evidence.sentence("errors");
    assert_eq!(
        sentence,
        "errors: candidate 9 of 1,204 requests, stable 3 of 3,600; ratio about 9 (at least 1.6); \
         false alarm chance ≤ 5 %; decided after 31 s"
    );
}

#[test]
fn a_shared_incident_is_not_held_against_the_candidate_at_the_next_share() {
    let history = Some(0.001);
    let gate = Compare::new(ComparePolicy {
        history,
        ..ComparePolicy::default()
    });
    let gate = gate.unwrap();
    let mut state = gate.start();
    for second in 0..300 {
        let counts = match second {
            100..120 => SHARED,
            _ => HEALTHY,
        };
        gate.fold(&mut state, &window(second, counts)).unwrap();
    }
    // The first windows of a step are few and look bad by chance.
    gate.fold(&mut state, &at_share(300, 5000, [5, 2, 5, 0]))
        .unwrap();
    assert!(
        !matches!(state.verdict(), Verdict::Rollback(_)),
        "{:?}",
        state.verdict()
    );
}
