//! Softmax of rows, and its parts: what a cross-entropy needs of a row on the way.
//!
//! ```text
//! softmax(u) = exp(u - max u) / sum exp(u - max u)
//! ```
//!
//! The maximum is taken off first, so logits of any size are safe; a logit of -inf has probability 0.

use super::exp::exp;
use super::number::Number;
use super::simd::{MAX_LANES, load, map, store};
use fearless_simd::{Level, Select, Simd, SimdBase, dispatch};

/// The largest element of a row, NaNs apart.
#[inline(always)]
pub(crate) fn max_row<T: Number, S: Simd>(simd: S, row: &[T]) -> T {
    let mut max = T::Vector::<S>::splat(simd, T::neg_infinity());
    for chunk in row.chunks(T::Vector::<S>::LEN) {
        let v = load::<T, S>(simd, chunk, T::neg_infinity());
        max = v.simd_gt(max).select(v, max);
    }
    let lanes = max.as_slice().iter();
    lanes.fold(T::neg_infinity(), |a, &b| if b > a { b } else { a })
}

/// Replaces a row of logits by `exp(u - max)` and returns the sum of these.
#[inline(always)]
pub(crate) fn exp_row<T: Number, S: Simd>(simd: S, row: &mut [T], max: T) -> T {
    let lanes = T::Vector::<S>::LEN;
    let mut sum = T::Vector::<S>::splat(simd, T::zero());
    for chunk in row.chunks_mut(lanes) {
        let e = exp::<T, S>(simd, load::<T, S>(simd, chunk, T::neg_infinity()) - max);
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
pub(crate) fn scale_row<T: Number, S: Simd>(simd: S, row: &mut [T], factor: T) {
    map(
        simd,
        row,
        #[inline(always)]
        |v| v * factor,
    );
}

/// Replaces each row of `n` logits by its softmax.
///
/// # Panics
/// If `n` is zero or does not divide the length of `u`.
pub(crate) fn softmax_at<T: Number>(level: Level, u: &mut [T], n: usize) {
    #[inline(always)]
    fn kernel<T: Number, S: Simd>(simd: S, u: &mut [T], n: usize) {
        for row in u.chunks_exact_mut(n) {
            let max = max_row::<T, S>(simd, row);
            let sum = exp_row::<T, S>(simd, row, max);
            scale_row::<T, S>(simd, row, T::one() / sum);
        }
    }
    let fits = n > 0 && u.len().is_multiple_of(n);
    assert!(fits, "rows of {n} do not divide {} logits", u.len());
    dispatch!(level, simd => kernel(simd, u, n));
}
