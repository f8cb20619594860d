//! The critical value of a maximised sequential probability ratio test of Poisson counts, exactly.
//! Published value, by simulation: OHDSI EmpiricalCalibration, `computeCvPoisson(rep(1, 10))`.

use crate::near;

/// Counts beyond this have no chance to speak of.
const COUNTS: u32 = 60;
const GROUPS: u32 = 10;

/// How much likelier so many events are at the rate they suggest than at one a group.
fn log_ratio(count: u32, groups: u32) -> f64 {
    let (count, expected) = (f64::from(count), f64::from(groups));
    match count > expected {
        true => count * (count / expected).ln() - (count - expected),
        false => 0.0,
    }
}

/// The chance that the ratio is ever above `critical` at one event a group.
fn alpha(critical: f64) -> f64 {
    let mut chances = vec![1.0];
    for group in 1..=GROUPS {
        let stays = |count: &u32| log_ratio(*count, group) <= critical + 1e-9;
        let chance = |count: u32| {
            let before = (0_u32..).zip(&chances).take_while(|it| it.0 <= count);
            before.map(|(from, p)| p * poisson(count - from)).sum()
        };
        let counts = 0..COUNTS;
        chances = counts
            .map(|it| if stays(&it) { chance(it) } else { 0.0 })
            .collect();
    }
    1.0 - chances.iter().sum::<f64>()
}

/// At a rate of one.
fn poisson(count: u32) -> f64 {
    let factorial: f64 = (1..=count).map(f64::from).product();
    (-1.0_f64).exp() / factorial
}

#[test]
fn the_least_conservative_critical_value_below_five_percent() {
    let groups = 1..=GROUPS;
    let ratios = groups.flat_map(|group| (group..COUNTS).map(move |it| log_ratio(it, group)));
    let critical = ratios
        .filter(|it| *it > 0.0 && alpha(*it) < 0.05)
        .fold(f64::INFINITY, f64::min);
    near(critical, 2.545_177);
    near(alpha(critical), 0.044_14);
}
