//! Softmax, cross-entropy and the gradient of both, in one pass over the logits.
//!
//! ```text
//! y = softmax(u)      l = -sum_k target_k log y_k = sum_k target_k (max + ln sum_j exp(u_j - max) - u_k)
//! L = (1 / counted) sum l        dU = dL/du = (y sum_k target_k - target) / counted
//! ```
//!
//! The logarithm is taken of the sum, never of a probability, so a loss is exact where its probability underflows.
//! Losses are added up in `f64`.

use super::Metrics;
use crate::kernels::number::Number;
use crate::kernels::softmax::{exp_row, max_row, scale_row};
use crate::targets::{Answers, Targets};
use fearless_simd::{Level, Simd, dispatch};

/// Which answers belong to the logits `[rows, n_y]` of one time step.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct LossStep<'a, 'b, T> {
    pub answers: &'a Answers<'b, T>,
    /// The sequence of the batch that each row is of.
    pub rows: &'a [usize],
    /// The time step.
    pub step: usize,
    pub n_y: usize,
    /// What every gradient is multiplied with.
    pub scale: T,
}

/// Turns logits `[rows, n_y]` into `dU = scale (y sum target - target)`, zero where the mask is false.
pub(crate) fn kernel<T: Number>(level: Level, u: &mut [T], step: LossStep<'_, '_, T>) -> Metrics {
    dispatch!(level, simd => one_step(simd, u, step))
}

#[inline(always)]
fn one_step<T: Number, S: Simd>(simd: S, u: &mut [T], step: LossStep<'_, '_, T>) -> Metrics {
    let LossStep {
        answers,
        rows,
        step,
        n_y,
        scale,
    } = step;
    let mut metrics = Metrics::default();
    for (u, &row) in u.chunks_exact_mut(n_y).zip(rows) {
        if answers.mask.is_some_and(|mask| !mask[[row, step]]) {
            u.fill(T::zero());
            continue;
        }
        // STEP 1: what the loss needs of the logits, before they are overwritten.
        let max = max_row::<T, S>(simd, u);
        let (likeliest, target_mass, target_logits) = match &answers.targets {
            Targets::Classes(ids) => {
                let class = ids[[row, step]] as usize;
                (
                    is_likeliest(u, class, max),
                    T::one(),
                    (u[class] - max).as_f64(),
                )
            }
            Targets::Distributions(target) => {
                let target = target.slice(ndarray::s![row, step, ..]);
                let (mut class, mut mass, mut logits) = (0, T::zero(), 0.0);
                for (k, &weight) in target.iter().enumerate() {
                    if weight > target[class] {
                        class = k;
                    }
                    // A weight of zero times a logit of -inf is nothing, not NaN.
                    if weight != T::zero() {
                        mass += weight;
                        logits += weight.as_f64() * (u[k] - max).as_f64();
                    }
                }
                (is_likeliest(u, class, max), mass, logits)
            }
        };
        // STEP 2: softmax in place, and the loss.
        let sum = exp_row::<T, S>(simd, u, max);
        metrics.loss += target_mass.as_f64() * sum.as_f64().ln() - target_logits;
        metrics.counted += 1;
        metrics.correct += u64::from(likeliest);
        // STEP 3: dU.
        scale_row::<T, S>(simd, u, scale * target_mass / sum);
        match &answers.targets {
            Targets::Classes(ids) => u[ids[[row, step]] as usize] -= scale,
            Targets::Distributions(target) => {
                for (du, &weight) in u.iter_mut().zip(target.slice(ndarray::s![row, step, ..])) {
                    *du -= scale * weight;
                }
            }
        }
    }
    metrics
}

/// Whether `class` is the first of the largest logits.
#[inline(always)]
fn is_likeliest<T: Number>(u: &[T], class: usize, max: T) -> bool {
    u[class] == max && !u[..class].contains(&max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    /// The gradients of logits `[n, n_y]` of one step of `n` sequences, and the metrics.
    fn loss<T: Number>(
        level: Level,
        logits: &[T],
        answers: &Answers<'_, T>,
        n_y: usize,
        scale: T,
    ) -> (Vec<T>, Metrics) {
        let rows: Vec<usize> = (0..logits.len() / n_y).collect();
        let mut u = logits.to_vec();
        let step = LossStep {
            answers,
            rows: &rows,
            step: 0,
            n_y,
            scale,
        };
        let metrics = kernel(level, &mut u, step);
        (u, metrics)
    }

    #[test]
    fn loss_gradient_and_counts_by_hand() {
        let (a, b) = (2f64.ln(), 3f64.ln());
        // Probabilities (1, 2, 3)/6, (1, 1, 1)/3, (1, 1, 2)/4, masked.
        let logits = [0.0, a, b, 7.0, 7.0, 7.0, 0.0, 0.0, a, 9.0, f64::NAN, -9.0];
        let classes = array![[2u32], [0], [1], [0]];
        let mask = array![[true], [true], [true], [false]];
        let answers = Answers {
            targets: Targets::from(&classes),
            mask: Some(mask.view()),
        };
        for level in crate::kernels::simd::levels() {
            let (u, metrics) = loss(level, &logits, &answers, 3, 0.1);
            let expected = 2f64.ln() + 3f64.ln() + 4f64.ln();
            assert!((metrics.loss - expected).abs() < 1e-14, "{level:?}");
            // Right: class 2 of the first; class 0 of the second, the first of equals.
            assert_eq!((metrics.counted, metrics.correct), (3, 2));
            let du = [
                [1.0 / 6.0, 2.0 / 6.0, -0.5],
                [1.0 / 3.0 - 1.0, 1.0 / 3.0, 1.0 / 3.0],
                [0.25, -0.75, 0.5],
                [0.0; 3],
            ];
            for (du, expected) in u.iter().zip(du.as_flattened()) {
                assert!((du - 0.1 * expected).abs() < 1e-15, "{level:?}: {du}");
            }
        }
    }

    #[test]
    fn distributions_need_not_sum_to_one() {
        let weights = array![[[0.5, 0.0, 1.0]]];
        let answers = Answers::from(Targets::from(&weights));
        let logits = [0.0, 2f64.ln(), 3f64.ln()];
        let (u, metrics) = loss(crate::kernels::simd::level(), &logits, &answers, 3, 1.0);
        assert!((metrics.loss - (0.5 * 6f64.ln() + 2f64.ln())).abs() < 1e-15);
        assert_eq!(metrics.correct, 1);
        for (du, expected) in u.iter().zip([0.25 - 0.5, 0.5, 0.75 - 1.0]) {
            assert!((du - expected).abs() < 1e-15);
        }
    }

    #[test]
    fn exact_where_the_probability_underflows() {
        let (level, logits) = (
            crate::kernels::simd::level(),
            [1e4f32, -1e4, f32::NEG_INFINITY],
        );
        let (class, weights) = (array![[1u32]], array![[[1.0f32, 0.0, 0.0]]]);
        let of = |targets| {
            loss(
                level,
                &logits,
                &Answers {
                    targets,
                    mask: None,
                },
                3,
                1.0,
            )
            .1
            .loss
        };
        assert_eq!(of(Targets::Classes(class.view())), 2e4);
        assert_eq!(of(Targets::Distributions(weights.view())), 0.0);
    }
}
