//! Softmax of rows, and its parts: what a cross-entropy needs of a row on the way.
//!
//! ```text
//! softmax(u) = exp(u - max u) / sum exp(u - max u)
//! ```
//!
//! The maximum is taken off first, so logits of any size are safe; a logit of -inf has probability 0.

use super::exp::exp;
use super::number::Number;
use super::simd::{MAX_LANES, load, store};
use fearless_simd::{Level, Select, Simd, SimdBase, dispatch};

/// The largest element of a row, NaNs apart.
#[inline(always)]
pub(crate) fn max_row<T: Number, S: Simd>(simd: S, row: &[T]) -> T {
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
    for chunk in row.chunks_mut(T::Vector::<S>::LEN) {
        let v = load::<T, S>(simd, chunk, T::zero());
        store::<T, S>(v * factor, chunk);
    }
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
    assert!(
        n > 0 && u.len().is_multiple_of(n),
        "rows of {n} do not divide {} logits",
        u.len()
    );
    dispatch!(level, simd => kernel(simd, u, n));
}

#[cfg(test)]
mod tests {
    use super::super::simd;
    use super::*;

    #[test]
    fn softmax_rows_sum_to_one() {
        fn check<T: Number>() {
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
}
