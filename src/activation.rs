//! Hyperbolic tangent and softmax, vectorised for whatever the processor offers.
//!
//! ```text
//! tanh(x)    = sign(x) t / (t + 2)          t = exp(2|x|) - 1
//! softmax(u) = exp(u - max u) / sum exp(u - max u)
//! ```
//!
//! Both stand on one exponential: `x = k ln 2 + r` with `|r| <= ln 2 / 2`, `exp(r) - 1` a Taylor polynomial in `r`
//! (Cody and Waite 1980 for the two-part `ln 2`; the split constants are those of Cephes `expf` and FreeBSD `e_exp.c`),
//! `2^k` written straight into the exponent bits. The code is written once, for any vector width, and compiled for
//! SSE2, SSE4.2, AVX2 with FMA, AVX-512 and NEON; the widest the machine has is taken at run time.
//!
//! Knows nothing of networks, shapes beyond "rows of `n`", or threads.
//!
//! ```
//! use bptt::activation::{softmax, tanh};
//! use ndarray::array;
//!
//! let h = tanh(&array![[0.0, 1.0], [-1.0, 100.0]]);
//! assert_eq!(h[[1, 1]], 1.0);
//! let y = softmax(&array![[1e4, 1e4]]);
//! assert_eq!(y, array![[0.5, 0.5]]);
//! ```

use crate::Scalar;
use crate::simd::{self, MAX_LANES, load, store};
use fearless_simd::{Level, Select, Simd, SimdBase, SimdFloat, dispatch};
use ndarray::{Array, ArrayBase, Data, Dimension};

/// Largest error of [`tanh_in_place`] in units in the last place, `f32`, any input and any instruction set.
pub const MAX_TANH_ULPS_F32: f64 = 2.5;

/// Largest error of [`tanh_in_place`] in units in the last place, `f64`, any input and any instruction set.
pub const MAX_TANH_ULPS_F64: f64 = 3.0;

/// What the shared exponential needs to know of a number type.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct ExpConstants<T: 'static> {
    /// `1 / ln 2`.
    log2_e: T,
    /// The leading bits of `ln 2`, few enough that `k * ln2_hi` is exact for every `k` met.
    ln2_hi: T,
    /// `ln 2 - ln2_hi`.
    ln2_lo: T,
    /// `1.5 * 2^mantissa_bits + exponent bias`: adding it leaves `k + bias`, rounded to nearest, in the low bits.
    magic: T,
    mantissa_bits: u32,
    /// `1/2!, 1/3!, …`: of `exp(r) - 1 = r + r^2 (1/2! + r (1/3! + …))`.
    taylor: &'static [T],
    /// `tanh` is 1 to the last bit from here on.
    tanh_limit: T,
    /// Below this the exponential is zero (it would leave the normal numbers).
    underflow: T,
}

impl ExpConstants<f32> {
    pub(crate) const F32: Self = Self {
        log2_e: std::f32::consts::LOG2_E,
        ln2_hi: 355.0 / 512.0, // exact, with nine significant bits: n * ln2_hi rounds nothing
        ln2_lo: -2.121_944_4e-4,
        magic: 12_582_912.0 + 127.0,
        mantissa_bits: 23,
        taylor: &[
            0.5,
            1.0 / 6.0,
            1.0 / 24.0,
            1.0 / 120.0,
            1.0 / 720.0,
            1.0 / 5040.0,
        ],
        tanh_limit: 9.1,
        underflow: -87.0,
    };
}

impl ExpConstants<f64> {
    pub(crate) const F64: Self = Self {
        log2_e: std::f64::consts::LOG2_E,
        ln2_hi: 6.931_471_803_691_238e-1,
        ln2_lo: 1.908_214_929_270_587_7e-10,
        magic: 6_755_399_441_055_744.0 + 1023.0,
        mantissa_bits: 52,
        taylor: &[
            0.5,
            1.0 / 6.0,
            1.0 / 24.0,
            1.0 / 120.0,
            1.0 / 720.0,
            1.0 / 5040.0,
            1.0 / 40320.0,
            1.0 / 362_880.0,
            1.0 / 3_628_800.0,
            1.0 / 39_916_800.0,
            1.0 / 479_001_600.0,
            1.0 / 6_227_020_800.0,
        ],
        tanh_limit: 19.1,
        underflow: -708.0,
    };
}

/// `(exp(r) - 1, 2^k)` with `x = k ln 2 + r`: `exp(x) = 2^k (exp(r) - 1) + 2^k`.
#[inline(always)]
fn exp_parts<T: Scalar, S: Simd>(simd: S, x: T::Vector<S>) -> (T::Vector<S>, T::Vector<S>) {
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
fn tanh_vector<T: Scalar, S: Simd>(simd: S, x: T::Vector<S>) -> T::Vector<S> {
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
fn exp_vector<T: Scalar, S: Simd>(simd: S, x: T::Vector<S>) -> T::Vector<S> {
    let (p, s) = exp_parts::<T, S>(simd, x);
    let underflow = T::Vector::<S>::splat(simd, T::EXP.underflow);
    let zero = T::Vector::<S>::splat(simd, T::zero());
    x.simd_lt(underflow).select(zero, s.mul_add(p, s))
}

/// Replaces each element by its hyperbolic tangent.
///
/// Within [`MAX_TANH_ULPS_F32`] or [`MAX_TANH_ULPS_F64`] of the true value, never outside [-1, 1], odd, NaN for NaN.
pub fn tanh_in_place<T: Scalar>(x: &mut [T]) {
    tanh_at(simd::level(), x);
}

/// [`tanh_in_place`] on a given instruction set.
pub(crate) fn tanh_at<T: Scalar>(level: Level, x: &mut [T]) {
    T::run_tanh(level, x);
}

/// [`tanh_in_place`] for whoever has been dispatched already.
#[inline(always)]
pub(crate) fn tanh_slice<T: Scalar, S: Simd>(simd: S, x: &mut [T]) {
    for chunk in x.chunks_mut(T::Vector::<S>::LEN) {
        let v = load::<T, S>(simd, chunk, T::zero());
        store::<T, S>(tanh_vector::<T, S>(simd, v), chunk);
    }
}

pub(crate) fn tanh_kernel<T: Scalar>(level: Level, x: &mut [T]) {
    dispatch!(level, simd => tanh_slice(simd, x));
}

/// The hyperbolic tangent of each element, in a new array of the same shape.
pub fn tanh<T: Scalar, D: Dimension>(x: &ArrayBase<impl Data<Elem = T>, D>) -> Array<T, D> {
    let mut h = x.as_standard_layout().into_owned();
    tanh_in_place(h.as_slice_mut().expect("standard layout"));
    h
}

/// The derivative of the hyperbolic tangent at `x`, `1 - tanh(x)^2`, for each element, in a new array.
pub fn tanh_derivative<T: Scalar, D: Dimension>(
    x: &ArrayBase<impl Data<Elem = T>, D>,
) -> Array<T, D> {
    let mut h = tanh(x);
    h.mapv_inplace(|h| T::one() - h * h);
    h
}

/// The largest element of a row, NaNs apart.
#[inline(always)]
pub(crate) fn max_row<T: Scalar, S: Simd>(simd: S, row: &[T]) -> T {
    let mut max = T::Vector::<S>::splat(simd, T::neg_infinity());
    for chunk in row.chunks(T::Vector::<S>::LEN) {
        let v = load::<T, S>(simd, chunk, T::neg_infinity());
        max = v.simd_gt(max).select(v, max);
    }
    max.as_slice()
        .iter()
        .fold(T::neg_infinity(), |a, &b| if b > a { b } else { a })
}

/// Replaces a row of logits by `exp(u - max)` and returns the sum of these.
#[inline(always)]
pub(crate) fn exp_row<T: Scalar, S: Simd>(simd: S, row: &mut [T], max: T) -> T {
    let lanes = T::Vector::<S>::LEN;
    let mut sum = T::Vector::<S>::splat(simd, T::zero());
    for chunk in row.chunks_mut(lanes) {
        let e = exp_vector::<T, S>(simd, load::<T, S>(simd, chunk, T::neg_infinity()) - max);
        sum += e;
        store::<T, S>(e, chunk);
    }
    // Pairwise, the same order for every row.
    let mut parts = [T::zero(); MAX_LANES];
    parts[..lanes].copy_from_slice(sum.as_slice());
    let mut half = lanes / 2;
    while half > 0 {
        for i in 0..half {
            parts[i] += parts[i + half];
        }
        half /= 2;
    }
    parts[0]
}

/// Multiplies each element of `row` by `factor`.
#[inline(always)]
pub(crate) fn scale_row<T: Scalar, S: Simd>(simd: S, row: &mut [T], factor: T) {
    for chunk in row.chunks_mut(T::Vector::<S>::LEN) {
        let v = load::<T, S>(simd, chunk, T::zero());
        store::<T, S>(v * factor, chunk);
    }
}

/// Replaces each row of `n` logits by its softmax.
///
/// The maximum is taken off first, so logits of any size are safe; a logit of -inf has probability 0.
///
/// # Panics
/// If `n` is zero or does not divide the length of `u`.
pub fn softmax_in_place<T: Scalar>(u: &mut [T], n: usize) {
    softmax_at(simd::level(), u, n);
}

/// [`softmax_in_place`] on a given instruction set.
pub(crate) fn softmax_at<T: Scalar>(level: Level, u: &mut [T], n: usize) {
    assert!(
        n > 0 && u.len().is_multiple_of(n),
        "rows of {n} do not divide {} logits",
        u.len()
    );
    T::run_softmax(level, u, n);
}

pub(crate) fn softmax_kernel<T: Scalar>(level: Level, u: &mut [T], n: usize) {
    #[inline(always)]
    fn kernel<T: Scalar, S: Simd>(simd: S, u: &mut [T], n: usize) {
        for row in u.chunks_exact_mut(n) {
            let max = max_row::<T, S>(simd, row);
            let sum = exp_row::<T, S>(simd, row, max);
            scale_row::<T, S>(simd, row, T::one() / sum);
        }
    }
    dispatch!(level, simd => kernel(simd, u, n));
}

/// The softmax over the last axis, in a new array of the same shape.
///
/// # Panics
/// If the array has no axis or its last one is empty.
pub fn softmax<T: Scalar, D: Dimension>(u: &ArrayBase<impl Data<Elem = T>, D>) -> Array<T, D> {
    let n = *u.shape().last().expect("softmax needs at least one axis");
    let mut y = u.as_standard_layout().into_owned();
    softmax_in_place(y.as_slice_mut().expect("standard layout"), n);
    y
}

#[cfg(test)]
mod tests {
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
        let ulp = 2f64.powi((exponent - 52).max(-1074));
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
        fn check<T: Scalar>() {
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

    #[test]
    fn softmax_rows_sum_to_one() {
        fn check<T: Scalar>() {
            for level in simd::levels() {
                for n in [1, 2, 3, 5, 8, 16, 17, 33, 65, 100] {
                    let mut u: Vec<T> = (0..7 * n)
                        .map(|i| T::from_f64(((i * 37 % 101) as f64 - 50.0) * 0.2))
                        .collect();
                    let logits = u.clone();
                    softmax_at(level, &mut u, n);
                    for (y, u) in u.chunks(n).zip(logits.chunks(n)) {
                        let sum = y.iter().map(|y| y.as_f64()).sum::<f64>();
                        // 2 ulp of one, as the rows are summed in double precision.
                        assert!(
                            (sum - 1.0).abs() <= 2.0 * T::epsilon().as_f64(),
                            "{level:?} {n}: {sum}"
                        );
                        let exact: f64 = u.iter().map(|v| v.as_f64().exp()).sum();
                        for (y, u) in y.iter().zip(u) {
                            let relative = (y.as_f64() * exact / u.as_f64().exp() - 1.0).abs();
                            assert!(
                                relative < 40.0 * T::epsilon().as_f64(),
                                "{level:?}: {relative}"
                            );
                        }
                    }
                }
            }
        }
        check::<f32>();
        check::<f64>();
    }

    #[test]
    fn softmax_of_extreme_logits() {
        for level in simd::levels() {
            let softmax = |mut u: Vec<f32>| {
                let n = u.len();
                softmax_at(level, &mut u, n);
                u
            };
            assert_eq!(softmax(vec![1e4, 1e4, 1e4, 1e4]), [0.25; 4]);
            assert_eq!(softmax(vec![-1e4, 1e4, 0.0]), [0.0, 1.0, 0.0]);
            assert_eq!(softmax(vec![f32::NEG_INFINITY, 3.0, 3.0]), [0.0, 0.5, 0.5]);
            assert_eq!(softmax(vec![-3e38; 20]), [0.05; 20]);
            assert!(softmax(vec![f32::NAN, 0.0]).iter().all(|y| y.is_nan()));
        }
    }

    #[test]
    fn derivative_by_hand() {
        let x = ndarray::array![[0.0, 0.5], [-0.5, 30.0]];
        let d = tanh_derivative(&x.t());
        assert_eq!((d[[0, 0]], d[[1, 1]]), (1.0, 0.0));
        assert!((d[[1, 0]] - (1.0 - 0.5f64.tanh().powi(2))).abs() < 1e-15);
    }
}
