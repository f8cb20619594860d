//! Two rates in blocks, exactly: Fisher's noncentral hypergeometric distribution, a normal mixture of
//! log odds, and a Beta plug-in. Published values: safestats, tests/testthat/test-savi2x2Helpers.R.

use analysis::increment::{Blocks, Multipliers};
use statrs::function::factorial::binomial;

fn close(value: f64, published: f64) {
    assert!((value - published).abs() <= 1e-12, "{value} {published}");
}

/// The chances of 0, 1, … events in the first of two arms of `n` each, of `total` in both, where the
/// odds of an event in it are `odds` times those in the other.
fn noncentral(n: u64, total: u64, odds: f64) -> Vec<f64> {
    let weight = |k: u64| binomial(n, k) * binomial(n, total - k) * odds.powf(k as f64);
    let weights: Vec<f64> = (0..=total.min(n)).map(weight).collect();
    let all: f64 = weights.iter().sum();
    weights.into_iter().map(|it| it / all).collect()
}

#[test]
fn chances_at_odds_of_two() {
    let chances = noncentral(2, 2, 2.0);
    for (chance, published) in chances.into_iter().zip([1.0, 8.0, 4.0]) {
        close(chance, published / 13.0);
    }
}

/// Of pairs with one event, in the first arm, the log odds mixed over a standard normal.
#[test]
fn a_mixture_of_log_odds_learns_from_pairs() {
    let grid = || (-80..=80).map(|it| f64::from(it) / 10.0);
    let prior = |z: f64| (-z * z / 2.0).exp();
    let all: f64 = grid().map(prior).sum();
    let published = [
        1.0,
        1.173_516_143_432_372,
        1.520_548_430_297_116,
        2.105_509_009_062_085,
        3.057_222_176_662_974,
    ];
    for (pairs, published) in (1..).zip(published) {
        let of = |z: f64| {
            let ratio = noncentral(1, 1, z.exp()).last().copied().unwrap() / 0.5;
            prior(z) / all * ratio.powi(pairs)
        };
        close(grid().map(of).sum(), published);
    }
}

/// After one pair with an event in the first arm, a plug-in by Beta(1, 1) bets on 2/3 against 1/3:
/// odds of 4 over stable's rate of 1/3, as a block of ours does.
#[test]
fn a_block_after_one_pair_is_worth_16_ninths() {
    let block = Blocks::new(1.0, &Multipliers::new([4.0]), 1.0 / 3.0, (1.0, 1.0));
    let [increment] = block.of((1.0, 1.0), (1.0, 0.0));
    close(increment.exp(), 16.0 / 9.0);
}
