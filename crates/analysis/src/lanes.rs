//! Logarithms of several numbers at once, in a form without branches that a compiler turns into vector
//! instructions. Plain arithmetic, so the bits are the same everywhere; within 4 units in the last
//! place of [`crate::special::ln`], which is nothing to a sum of logs of evidence.

use std::f64::consts::LN_2;

// FreeBSD's e_log.c: ln((1+s)/(1−s)) = s·(2 + R(s²)).
const LG1: f64 = 6.666_666_666_666_735e-1;
const LG2: f64 = 3.999_999_999_940_942e-1;
const LG3: f64 = 2.857_142_874_366_239e-1;
const LG4: f64 = 2.222_219_843_214_978_4e-1;
const LG5: f64 = 1.818_357_216_161_805e-1;
const LG6: f64 = 1.531_383_769_920_937_3e-1;
const LG7: f64 = 1.479_819_860_511_658_6e-1;

/// The upper half of the bits of 1 less those of √½: adding it makes the exponent's field count
/// powers of two from √½ on.
const SHIFT: u64 = (0x3ff0_0000 - 0x3fe6_a09e) << 32;
const SQRT_HALF: u64 = 0x3fe6_a09e << 32;
const MANTISSA: u64 = 0x000f_ffff_ffff_ffff;
/// 2^52, whose last bits count units.
const UNITS: u64 = 0x4330_0000_0000_0000;
/// 2^52 and the bias of exponents.
const BIASED: f64 = 4_503_599_627_370_496.0 + 1023.0;

/// Replaces each number by its natural logarithm. All must be normal and above 0: the callers see to
/// that once for many, and what is not comes to a number that means nothing.
pub(crate) fn ln_each(values: &mut [f64]) {
    debug_assert!(values.iter().all(is_plain), "{values:?}");
    values.iter_mut().for_each(|it| *it = ln_plain(*it));
}

fn is_plain(it: &f64) -> bool {
    (f64::MIN_POSITIVE..=f64::MAX).contains(it)
}

/// The logarithm of a normal number above 0.
#[inline(always)]
fn ln_plain(x: f64) -> f64 {
    let bits = x.to_bits() + SHIFT;
    let k = f64::from_bits((bits >> 52) | UNITS) - BIASED;
    // x = 2^k·m with m from √½ to √2.
    let f = f64::from_bits((bits & MANTISSA) + SQRT_HALF) - 1.0;
    let s = f / (2.0 + f);
    let z = s * s;
    let w = z * z;
    let even = w * (LG2 + w * (LG4 + w * LG6));
    let odd = z * (LG1 + w * (LG3 + w * (LG5 + w * LG7)));
    k * LN_2 + s * (2.0 + (even + odd))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn near(x: f64) {
        if !is_plain(&x) {
            return;
        }
        let mut one = [x];
        ln_each(&mut one);
        let known = libm::log(x);
        let unit = known.abs() * f64::EPSILON;
        assert!(
            (one[0] - known).abs() <= 4.0 * unit,
            "{x:e}: {:e} {known:e}",
            one[0]
        );
    }

    #[test]
    fn the_ends_of_the_range_and_what_is_near_one_are_right() {
        let sqrt_half = f64::from_bits(0x3fe6_a09e_667f_3bcd);
        let ends = [f64::MIN_POSITIVE, f64::MAX, 1.0, 2.0, 0.5, sqrt_half];
        let near_one = [1.0 - f64::EPSILON / 2.0, 1.0 + f64::EPSILON];
        ends.into_iter().chain(near_one).for_each(near);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn each_is_as_good_as_one_at_a_time(bits in any::<u64>(), close in -1e-3..1e-3f64) {
            near(f64::from_bits(bits));
            near(f64::from_bits(bits & MANTISSA | 0x3fe0_0000_0000_0000));
            near(1.0 + close);
        }
    }
}
