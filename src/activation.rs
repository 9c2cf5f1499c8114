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
use fearless_simd::{Level, Select, Simd, SimdBase, SimdFloat, dispatch};
use ndarray::{Array, ArrayBase, Data, Dimension};

/// Largest error of [`tanh_in_place`] in units in the last place, `f32`, any input and any instruction set.
pub const MAX_TANH_ULPS_F32: f64 = 2.5;

/// Largest error of [`tanh_in_place`] in units in the last place, `f64`, any input and any instruction set.
pub const MAX_TANH_ULPS_F64: f64 = 3.0;

/// The widest vector of any instruction set, in elements: AVX-512 holds 16 `f32`.
pub(crate) const MAX_LANES: usize = 16;

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
        ln2_hi: 0.693_359_375,
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
pub(crate) fn tanh_vector<T: Scalar, S: Simd>(simd: S, x: T::Vector<S>) -> T::Vector<S> {
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

/// A vector of `slice`, its missing lanes `fill`.
#[inline(always)]
pub(crate) fn load<T: Scalar, S: Simd>(simd: S, slice: &[T], fill: T) -> T::Vector<S> {
    let lanes = T::Vector::<S>::LEN;
    if slice.len() == lanes {
        return T::Vector::<S>::from_slice(simd, slice);
    }
    let mut padded = [fill; MAX_LANES];
    padded[..slice.len()].copy_from_slice(slice);
    T::Vector::<S>::from_slice(simd, &padded[..lanes])
}

/// The first lanes of `vector` into `slice`.
#[inline(always)]
pub(crate) fn store<T: Scalar, S: Simd>(vector: T::Vector<S>, slice: &mut [T]) {
    if slice.len() == T::Vector::<S>::LEN {
        vector.store_slice(slice);
    } else {
        slice.copy_from_slice(&vector.as_slice()[..slice.len()]);
    }
}

/// Replaces each element by its hyperbolic tangent.
///
/// Within [`MAX_TANH_ULPS_F32`] or [`MAX_TANH_ULPS_F64`] of the true value, never outside [-1, 1], odd, NaN for NaN.
pub fn tanh_in_place<T: Scalar>(x: &mut [T]) {
    tanh_at(Level::new(), x);
}

/// [`tanh_in_place`] on a given instruction set.
pub(crate) fn tanh_at<T: Scalar>(level: Level, x: &mut [T]) {
    #[inline(always)]
    fn kernel<T: Scalar, S: Simd>(simd: S, x: &mut [T]) {
        for chunk in x.chunks_mut(T::Vector::<S>::LEN) {
            let v = load::<T, S>(simd, chunk, T::zero());
            store::<T, S>(tanh_vector::<T, S>(simd, v), chunk);
        }
    }
    dispatch!(level, simd => kernel(simd, x));
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
    softmax_at(Level::new(), u, n);
}

/// [`softmax_in_place`] on a given instruction set.
pub(crate) fn softmax_at<T: Scalar>(level: Level, u: &mut [T], n: usize) {
    assert!(
        n > 0 && u.len().is_multiple_of(n),
        "rows of {n} do not divide {} logits",
        u.len()
    );
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
