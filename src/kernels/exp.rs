//! Exponential, hyperbolic tangent and logistic sigmoid of a vector, for whatever the processor offers.
//!
//! ```text
//! tanh(x) = sign(x) t / (t + 2)        t = exp(2|x|) - 1
//! σ(x)    = 1 / (1 + e) for x >= 0, e / (1 + e) below        e = exp(-|x|)
//! ```
//!
//! All stand on one exponential: `x = k ln 2 + r` with `|r| <= ln 2 / 2`, `exp(r) - 1` a Taylor polynomial in `r`
//! (Cody and Waite 1980 for the two-part `ln 2`; the split constants are those of Cephes `expf` and FreeBSD `e_exp.c`),
//! `2^k` written straight into the exponent bits. The code is written once, for any vector width, and compiled for
//! SSE2, SSE4.2, AVX2 with FMA, AVX-512 and NEON; the widest the machine has is taken at run time.

use super::number::Number;
use super::simd::{load, store};
use fearless_simd::{Level, Select, Simd, SimdBase, SimdFloat, dispatch};

/// Largest error of [`tanh`] in units in the last place, `f32`, any input and any instruction set.
#[cfg(test)]
const MAX_TANH_ULPS_F32: f64 = 2.5;

/// Largest error of [`tanh`] in units in the last place, `f64`, any input and any instruction set.
#[cfg(test)]
const MAX_TANH_ULPS_F64: f64 = 3.0;

/// Largest error of [`sigmoid`] in units in the last place, `f32` and `f64`, any instruction set and any input from -87
/// (`f64`: -708) up. Below that the sigmoid is smaller than a normal number and 0 is returned.
#[cfg(test)]
const MAX_SIGMOID_ULPS: f64 = 3.0;

/// `(exp(r) - 1, 2^k)` with `x = k ln 2 + r`: `exp(x) = 2^k (exp(r) - 1) + 2^k`.
#[inline(always)]
fn exp_parts<T: Number, S: Simd>(simd: S, x: T::Vector<S>) -> (T::Vector<S>, T::Vector<S>) {
    let c = T::EXP;
    let splat = |v: T| T::Vector::<S>::splat(simd, v);
    let shifted = x.mul_add(splat(c.log2_e), splat(c.magic));
    let two_to_k = T::Vector::<S>::from_bits(shifted.to_bits() << c.mantissa_bits);
    let k = shifted - splat(c.magic);
    let r = k.mul_add(splat(-c.ln2_lo), k.mul_add(splat(-c.ln2_hi), x));
    let mut q = splat(c.taylor[c.taylor.len() - 1]);
    for &coefficient in c.taylor.iter().rev().skip(1) {
        q = q.mul_add(r, splat(coefficient));
    }
    ((r * r).mul_add(q, r), two_to_k)
}

/// `tanh` of a vector: odd, within [-1, 1], NaN for NaN.
#[inline(always)]
pub(crate) fn tanh<T: Number, S: Simd>(simd: S, x: T::Vector<S>) -> T::Vector<S> {
    let limit = T::Vector::<S>::splat(simd, T::EXP.tanh_limit);
    let magnitude = x.abs();
    // A comparison, not `min`: a NaN compares false and goes on as NaN.
    let magnitude = magnitude.simd_gt(limit).select(limit, magnitude);
    let (p, s) = exp_parts::<T, S>(simd, magnitude + magnitude);
    let t = s.mul_add(p, s - T::one());
    (t / (t + T::from_f64(2.0))).copysign(x)
}

/// `exp` of a vector of numbers that are not positive; 0 for -inf, NaN for NaN.
#[inline(always)]
pub(crate) fn exp<T: Number, S: Simd>(simd: S, x: T::Vector<S>) -> T::Vector<S> {
    let (p, s) = exp_parts::<T, S>(simd, x);
    let underflow = T::Vector::<S>::splat(simd, T::EXP.underflow);
    let zero = T::Vector::<S>::splat(simd, T::zero());
    x.simd_lt(underflow).select(zero, s.mul_add(p, s))
}

/// The logistic function of a vector: within [0, 1], NaN for NaN.
#[inline(always)]
pub(crate) fn sigmoid<T: Number, S: Simd>(simd: S, x: T::Vector<S>) -> T::Vector<S> {
    let [zero, one] = [T::zero(), T::one()].map(|value| T::Vector::<S>::splat(simd, value));
    let e = exp::<T, S>(simd, -x.abs());
    // Below zero, and for NaN, the smaller of the two parts of one.
    x.simd_ge(zero).select(one, e) / (one + e)
}

/// Replaces each element of a slice by its hyperbolic tangent.
#[inline(always)]
pub(crate) fn tanh_slice<T: Number, S: Simd>(simd: S, x: &mut [T]) {
    for chunk in x.chunks_mut(T::Vector::<S>::LEN) {
        let v = load::<T, S>(simd, chunk, T::zero());
        store::<T, S>(tanh::<T, S>(simd, v), chunk);
    }
}

/// [`tanh_slice`] at a level.
pub(crate) fn tanh_at<T: Number>(level: Level, x: &mut [T]) {
    dispatch!(level, simd => tanh_slice(simd, x));
}

/// Replaces each element of a slice by its logistic sigmoid.
#[inline(always)]
pub(crate) fn sigmoid_slice<T: Number, S: Simd>(simd: S, x: &mut [T]) {
    for chunk in x.chunks_mut(T::Vector::<S>::LEN) {
        let v = load::<T, S>(simd, chunk, T::zero());
        store::<T, S>(sigmoid::<T, S>(simd, v), chunk);
    }
}

/// [`sigmoid_slice`] at a level.
pub(crate) fn sigmoid_at<T: Number>(level: Level, x: &mut [T]) {
    dispatch!(level, simd => sigmoid_slice(simd, x));
}

#[cfg(test)]
mod tests {
    use super::super::simd;
    use super::*;

    /// A number as the unevaluated sum of two `f64`s: about 106 bits (Dekker 1971).
    #[derive(Clone, Copy)]
    struct Double(f64, f64);

    impl Double {
        fn sum(a: f64, b: f64) -> Double {
            let s = a + b;
            let bb = s - a;
            Double(s, (a - (s - bb)) + (b - bb))
        }
        fn add(self, other: Double) -> Double {
            let s = Double::sum(self.0, other.0);
            Double::sum(s.0, s.1 + self.1 + other.1)
        }
        fn mul(self, other: Double) -> Double {
            let p = self.0 * other.0;
            let error = self.0.mul_add(other.0, -p);
            Double::sum(p, error + (self.0 * other.1 + self.1 * other.0))
        }
        fn div(self, other: Double) -> Double {
            let q = self.0 / other.0;
            let rest = self.add(other.mul(Double(-q, 0.0)));
            Double::sum(q, rest.0 / other.0)
        }
    }

    /// tanh to about 100 bits: exp(r) - 1 by its series at r = 2x / 2^12, then doubled 12 times by
    /// e(2r) = e(r) (e(r) + 2).
    fn true_tanh(x: f64) -> Double {
        if x.abs() > 40.0 {
            return Double(x.signum(), 0.0);
        }
        let r = Double(2.0 * x / 4096.0, 0.0);
        let mut e = Double(0.0, 0.0);
        for k in (1..=14).rev() {
            // e = r/k (1 + e)
            e = r
                .div(Double(f64::from(k), 0.0))
                .mul(e.add(Double(1.0, 0.0)));
        }
        for _ in 0..12 {
            e = e.mul(e.add(Double(2.0, 0.0)));
        }
        e.div(e.add(Double(2.0, 0.0)))
    }

    /// The error of `y` against `truth` in units in the last place of the true value.
    fn ulps_f64(y: f64, truth: Double) -> f64 {
        let exponent = truth.0.abs().max(f64::MIN_POSITIVE).log2().floor() as i32;
        // In two factors: `powi` makes 0 of a power that is not a normal number.
        let ulp = 2f64.powi(exponent) * f64::EPSILON;
        ((y - truth.0) - truth.1).abs() / ulp
    }

    fn ulps_f32(y: f32, truth: f64) -> f64 {
        let exponent = truth.abs().max(f64::from(f32::MIN_POSITIVE)).log2().floor() as i32;
        (f64::from(y) - truth).abs() / 2f64.powi((exponent - 23).max(-149))
    }

    fn worst(errors: impl Iterator<Item = f64>) -> f64 {
        errors.fold(0.0, |worst, e| if e <= worst { worst } else { e })
    }

    #[test]
    fn the_truth_is_right() {
        // tanh(1) and tanh(0.25) to 30 digits, from their continued fraction.
        let one = true_tanh(1.0);
        assert!((one.0 - 0.761_594_155_955_764_9).abs() < 1e-16);
        for x in [1e-8f64, 0.25, 1.0, 5.0, 15.0] {
            assert!(
                ulps_f64(x.tanh(), true_tanh(x)) < 2.5,
                "libm and the series agree at {x}"
            );
        }
    }

    #[test]
    fn tanh_f32_stays_within_its_bound() {
        // Every 4,093rd of all positive finite numbers up to 2^4: all exponents, odd mantissas.
        let x: Vec<f32> = (0..0x4180_0000u32)
            .step_by(4093)
            .map(f32::from_bits)
            .collect();
        for level in simd::levels() {
            let mut y = x.clone();
            tanh_at(level, &mut y);
            let worst = worst(
                x.iter()
                    .zip(&y)
                    .map(|(&x, &y)| ulps_f32(y, f64::from(x).tanh())),
            );
            assert!(worst <= MAX_TANH_ULPS_F32, "{level:?}: {worst} ulp");
            assert!(
                worst > 0.5,
                "{level:?}: {worst} ulp is too good to be measured"
            );
        }
    }

    #[test]
    #[ignore = "all 2^31 magnitudes: minutes; run with --ignored --release"]
    fn tanh_f32_stays_within_its_bound_everywhere() {
        for level in simd::levels() {
            let mut highest = 0.0f64;
            for block in (0..0x7f80_0000u32).step_by(1 << 16) {
                let x: Vec<f32> = (block..block + (1 << 16)).map(f32::from_bits).collect();
                let mut y = x.clone();
                tanh_at(level, &mut y);
                let errors = x.iter().zip(&y).filter(|(x, _)| x.is_finite());
                highest = highest.max(worst(errors.map(|(&x, &y)| {
                    assert!((0.0..=1.0).contains(&y), "{level:?}: tanh({x}) = {y}");
                    ulps_f32(y, f64::from(x).tanh())
                })));
            }
            println!("{level:?}: {highest} ulp");
            assert!(highest <= MAX_TANH_ULPS_F32, "{level:?}: {highest} ulp");
        }
    }

    #[test]
    fn tanh_f64_stays_within_its_bound() {
        let tiny = (0..2000).map(|i| 2f64.powf(-60.0 + f64::from(i) * 0.03));
        let x: Vec<f64> = (1..60_000)
            .map(|i| f64::from(i) * 3.3e-4)
            .chain(tiny)
            .collect();
        for level in simd::levels() {
            let mut y = x.clone();
            tanh_at(level, &mut y);
            let worst = worst(x.iter().zip(&y).map(|(&x, &y)| ulps_f64(y, true_tanh(x))));
            assert!(worst <= MAX_TANH_ULPS_F64, "{level:?}: {worst} ulp");
            assert!(
                worst > 0.5,
                "{level:?}: {worst} ulp is too good to be measured"
            );
        }
    }

    #[test]
    fn tanh_is_odd_bounded_and_keeps_nan() {
        fn check<T: Number>() {
            let edges = [
                0.0, 1e-40, 1e-20, 0.5, 8.9, 9.0, 9.2, 19.0, 19.2, 50.0, 1e4, 1e30,
            ];
            for level in simd::levels() {
                for x in edges
                    .map(T::from_f64)
                    .into_iter()
                    .chain([T::infinity(), T::min_positive_value()])
                {
                    let mut y = [x, -x, T::nan()];
                    tanh_at(level, &mut y);
                    assert!(
                        y[0] >= T::zero() && y[0] <= T::one(),
                        "{level:?}: tanh({x}) = {}",
                        y[0]
                    );
                    assert!(
                        y[1] == -y[0] && y[1].is_sign_negative(),
                        "{level:?}: tanh is odd at {x}"
                    );
                    assert!(y[2].is_nan(), "{level:?}");
                }
            }
        }
        check::<f32>();
        check::<f64>();
    }

    #[inline(always)]
    fn sigmoid_slice<T: Number, S: Simd>(simd: S, x: &mut [T]) {
        for chunk in x.chunks_mut(T::Vector::<S>::LEN) {
            let v = load::<T, S>(simd, chunk, T::zero());
            store::<T, S>(sigmoid::<T, S>(simd, v), chunk);
        }
    }

    fn sigmoid_at<T: Number>(level: Level, x: &mut [T]) {
        dispatch!(level, simd => sigmoid_slice(simd, x));
    }

    /// `1 / (1 + exp(-x))` to twice double precision: from `tanh(x / 2)` where that loses nothing, and from the exponential
    /// of `f64` below, whose own error is half a unit.
    fn true_sigmoid(x: f64) -> Double {
        if x > -0.5 {
            let t = true_tanh(x / 2.0);
            return Double(t.0 / 2.0, t.1 / 2.0).add(Double(0.5, 0.0));
        }
        // e^x by its series at x / 2^12, squared twelve times.
        let r = Double(x / 4096.0, 0.0);
        let mut e = Double(1.0, 0.0);
        for k in (1..=14).rev() {
            e = r
                .div(Double(f64::from(k), 0.0))
                .mul(e)
                .add(Double(1.0, 0.0));
        }
        for _ in 0..12 {
            e = e.mul(e);
        }
        e.div(e.add(Double(1.0, 0.0)))
    }

    #[test]
    fn sigmoid_stays_within_its_bound() {
        // Every 4,093rd of the finite numbers of both signs up to 2^7, from the smallest normal result up.
        let x: Vec<f32> = (0..0x4300_0000u32)
            .step_by(4093)
            .flat_map(|bits| [f32::from_bits(bits), -f32::from_bits(bits)])
            .filter(|&x| x >= f32::EXP.underflow)
            .collect();
        let doubles: Vec<f64> = (-60_000..60_000).map(|i| f64::from(i) * 1.1e-2).collect();
        for level in simd::levels() {
            let mut y = x.clone();
            sigmoid_at(level, &mut y);
            let exact = |x: f32| 1.0 / (1.0 + (-f64::from(x)).exp());
            let errors = x.iter().zip(&y).map(|(&x, &y)| ulps_f32(y, exact(x)));
            let single = worst(errors);
            let mut y = doubles.clone();
            sigmoid_at(level, &mut y);
            let errors = doubles
                .iter()
                .zip(&y)
                .map(|(&x, &y)| ulps_f64(y, true_sigmoid(x)));
            let double = worst(errors);
            for worst in [single, double] {
                assert!(worst <= MAX_SIGMOID_ULPS, "{level:?}: {worst} ulp");
                assert!(
                    worst > 0.5,
                    "{level:?}: {worst} ulp is too good to be measured"
                );
            }
        }
    }

    #[test]
    #[ignore = "all 2^32 numbers: minutes; run with --ignored --release"]
    fn sigmoid_f32_stays_within_its_bound_everywhere() {
        for level in simd::levels() {
            let mut highest = 0.0f64;
            for block in (0..0x7f80_0000u32).step_by(1 << 16) {
                for sign in [0, 1 << 31] {
                    let x: Vec<f32> = (block..block + (1 << 16))
                        .map(|bits| f32::from_bits(bits | sign))
                        .collect();
                    let mut y = x.clone();
                    sigmoid_at(level, &mut y);
                    for (&x, &y) in x.iter().zip(&y).filter(|(x, _)| x.is_finite()) {
                        assert!((0.0..=1.0).contains(&y), "{level:?}: sigmoid({x}) = {y}");
                        if x >= f32::EXP.underflow {
                            highest = highest.max(ulps_f32(y, 1.0 / (1.0 + (-f64::from(x)).exp())));
                        }
                    }
                }
            }
            println!("{level:?}: {highest} ulp");
            assert!(highest <= MAX_SIGMOID_ULPS, "{level:?}: {highest} ulp");
        }
    }

    #[test]
    fn sigmoid_is_bounded_symmetric_and_keeps_nan() {
        for level in simd::levels() {
            for x in [0.0f32, 1e-40, 0.5, 9.0, 50.0, 88.0, 1e30, f32::INFINITY] {
                let mut y = [x, -x, f32::NAN];
                sigmoid_at(level, &mut y);
                assert!(
                    (0.5..=1.0).contains(&y[0]) && (0.0..=0.5).contains(&y[1]),
                    "{level:?}: {y:?}"
                );
                assert!(
                    (y[0] + y[1] - 1.0).abs() <= 2.0 * f32::EPSILON,
                    "{level:?}: {y:?}"
                );
                assert!(y[2].is_nan(), "{level:?}");
            }
        }
    }
}
