//! Methods of others that ours were weighed against, written anew from their formulas and held to the
//! values that their authors publish. What ours says is held against them where they answer the same
//! question: a confidence sequence for one rate, an exact test of pairs.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and nothing replays it on another platform"
)]

mod bands;
mod mixtures;
mod pairs;
mod quantiles;
mod relative;
mod sprt;

/// To five decimals, as the published values are given.
fn near(value: f64, published: f64) {
    let given = 1e-5_f64;
    assert!((value - published).abs() <= given, "{value} {published}");
}

/// Where `f`, increasing between `low` and `high`, is zero: to the last bit.
fn root(low: f64, high: f64, f: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (low, high);
    loop {
        let middle = low + (high - low) / 2.0;
        if middle <= low || middle >= high {
            return middle;
        }
        match f(middle) < 0.0 {
            true => low = middle,
            false => high = middle,
        }
    }
}

/// Where `f`, which falls and then rises between `low` and `high`, is smallest: by golden sections.
fn minimum(low: f64, high: f64, f: impl Fn(f64) -> f64) -> f64 {
    let section = (5.0_f64.sqrt() - 1.0) / 2.0;
    let (mut low, mut high) = (low, high);
    for _ in 0..100 {
        let reach = section * (high - low);
        match f(high - reach) < f(low + reach) {
            true => high = low + reach,
            false => low = high - reach,
        }
    }
    low + (high - low) / 2.0
}
