//! Brent's root search (R. P. Brent, "Algorithms for Minimization Without Derivatives", 1973, ch. 4),
//! as R's `uniroot` does it: inverse quadratic interpolation where it converges, halving where not.

/// A root of `f` between `low` and `high`, whose values there are given, to within `tolerance`.
pub fn root(f: impl Fn(f64) -> f64, ends: [(f64, f64); 2], tolerance: f64) -> f64 {
    let [(mut before, mut f_before), (mut best, mut f_best)] = ends;
    if f_before == 0.0 {
        return before;
    }
    let (mut across, mut f_across) = (before, f_before);
    for _ in 0..1000 {
        let last_step = best - before;
        if f_across.abs() < f_best.abs() {
            (before, best, across) = (best, across, best);
            (f_before, f_best, f_across) = (f_best, f_across, f_best);
        }
        let enough = 2.0 * f64::EPSILON * best.abs() + tolerance / 2.0;
        let mut step = (across - best) / 2.0;
        if step.abs() <= enough || f_best == 0.0 {
            break;
        }
        if last_step.abs() >= enough && f_before.abs() > f_best.abs() {
            let (p, q) = interpolate([(before, f_before), (best, f_best), (across, f_across)]);
            let within = 0.75 * (across - best) * q - (enough * q).abs() / 2.0;
            if p < within && p < (last_step * q / 2.0).abs() {
                step = p / q;
            }
        }
        if step.abs() < enough {
            step = enough.copysign(step);
        }
        (before, f_before) = (best, f_best);
        best += step;
        f_best = f(best);
        if f_best * f_across > 0.0 {
            (across, f_across) = (before, f_before);
        }
    }
    best
}

/// The step from the second point to where the curve through all three is zero, as `p/q`, `p ≥ 0`.
fn interpolate([(a, fa), (b, fb), (c, fc)]: [(f64, f64); 3]) -> (f64, f64) {
    let (p, q) = if a == c {
        let t = fb / fa;
        ((c - b) * t, 1.0 - t)
    } else {
        let (q, s, t) = (fa / fc, fb / fc, fb / fa);
        let p = t * ((c - b) * q * (q - s) - (b - a) * (s - 1.0));
        (p, (q - 1.0) * (s - 1.0) * (t - 1.0))
    };
    if p > 0.0 { (p, -q) } else { (-p, q) }
}
