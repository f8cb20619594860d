//! A band around a whole distribution that holds at every time (Howard and Ramdas, "Sequential
//! estimation of quantiles with applications to A/B testing and best-arm identification", 2022,
//! theorem 2). Published value: confseq, `empirical_process_lil_bound`.

use crate::{minimum, near, root};

/// The chance that the band of constants `a` and `c` is ever left.
fn error(a: f64, c: f64) -> f64 {
    let of = |eta: f64| {
        let left = a - (2.0 * (eta - 1.0) / c).sqrt();
        let gamma = 2.0 / eta * left * left;
        match gamma > 1.0 {
            true => 4.0 * (-gamma * c).exp() * (1.0 + 1.0 / ((gamma - 1.0) * eta.ln())),
            false => f64::INFINITY,
        }
    };
    let eta_max = root(1.0, 2.0 * a * a, |eta| {
        (eta / 2.0).sqrt() + (2.0 * (eta - 1.0) / c).sqrt() - a
    });
    of(minimum(1.0, eta_max, of))
}

#[test]
fn a_band_by_the_iterated_logarithm() {
    let (a, t, t_min) = (0.85, 1000.0_f64, 100.0);
    let c = root(1.0, 100.0, |c| 0.05 - error(a, c));
    let grown = (t / t_min).ln().ln_1p();
    near(a * ((grown + c) / t).sqrt(), 0.082_047_69);
}
