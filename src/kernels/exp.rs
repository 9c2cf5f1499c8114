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
//! SSE2, SSE4.2, AVX2 with FMA, AVX-512 and NEON; the widest the machine has is taken at run time. `tests/library/kernels.rs`
//! holds their errors within the bounds that are stated here.

use super::number::Number;
use super::simd::map;
use fearless_simd::{Level, Select, Simd, SimdBase, SimdFloat, dispatch};

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

/// `tanh` of a vector: odd, within [-1, 1], NaN for NaN; at most 2.5 units in the last place off, of `f64` 3.
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

/// The logistic function of a vector: within [0, 1], NaN for NaN; at most 3 units in the last place off. Where it is smaller
/// than a normal number, it is 0.
#[inline(always)]
pub(crate) fn sigmoid<T: Number, S: Simd>(simd: S, x: T::Vector<S>) -> T::Vector<S> {
    let splat = |v: T| T::Vector::<S>::splat(simd, v);
    let (zero, one) = (splat(T::zero()), splat(T::one()));
    let e = exp::<T, S>(simd, -x.abs());
    // Below zero, and for NaN, the smaller of the two parts of one.
    x.simd_ge(zero).select(one, e) / (one + e)
}

/// Replaces each element of a slice by its hyperbolic tangent.
pub(crate) fn tanh_at<T: Number>(level: Level, x: &mut [T]) {
    dispatch!(level, simd => map(simd, x, #[inline(always)] |v| tanh::<T, _>(simd, v)));
}

/// Replaces each element of a slice by its logistic sigmoid.
pub(crate) fn sigmoid_at<T: Number>(level: Level, x: &mut [T]) {
    dispatch!(level, simd => map(simd, x, #[inline(always)] |v| sigmoid::<T, _>(simd, v)));
}
