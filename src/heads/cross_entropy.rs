//! Softmax, cross-entropy and the gradient of both, in one pass over the logits.
//!
//! ```text
//! y = softmax(u)      l = -sum_k target_k log y_k = sum_k target_k (max + ln sum_j exp(u_j - max) - u_k)
//! L = (1 / counted) sum l        dU = dL/du = (y sum_k target_k - target) / counted
//! ```
//!
//! The logarithm is taken of the sum, never of a probability, so a loss is exact where its probability underflows.
//! Losses are added up in `f64`.

use super::{LossStep, Metrics};
use crate::kernels::number::Number;
use crate::kernels::softmax::{exp_row, max_row, scale_row};
use crate::targets::Targets;
use fearless_simd::{Level, Simd, dispatch};

/// Turns logits `[rows, n_y]` into `dU = scale (y sum target - target)`, zero where the mask is false.
pub(super) fn kernel<T: Number>(level: Level, u: &mut [T], step: LossStep<'_, '_, T>) -> Metrics {
    dispatch!(level, simd => one_step(simd, u, step))
}

#[inline(always)]
fn one_step<T: Number, S: Simd>(simd: S, u: &mut [T], step: LossStep<'_, '_, T>) -> Metrics {
    let LossStep {
        answers,
        step: t,
        scale,
        ranks,
        ..
    } = step;
    let mut metrics = Metrics::default();
    step.each_counted(u, |u, row| {
        // STEP 1: what the loss needs of the logits, before they are overwritten.
        let max = max_row::<T, S>(simd, u);
        let (rank, target_mass, target_logits) = match &answers.targets {
            Targets::Classes(ids) => {
                let class = ids[[row, t]] as usize;
                let logits = (u[class] - max).as_f64();
                (rank(u, class, max, ranks), T::one(), logits)
            }
            Targets::Values(target) => {
                let target = target.slice(ndarray::s![row, t, ..]);
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
                (rank(u, class, max, ranks), mass, logits)
            }
        };
        // STEP 2: softmax in place, and the loss.
        let sum = exp_row::<T, S>(simd, u, max);
        metrics.loss += target_mass.as_f64() * sum.as_f64().ln() - target_logits;
        metrics.counted += 1;
        metrics.outputs += u.len() as u64;
        metrics.count_class(rank);
        // STEP 3: dU.
        scale_row::<T, S>(simd, u, scale * target_mass / sum);
        match &answers.targets {
            Targets::Classes(ids) => u[ids[[row, t]] as usize] -= scale,
            Targets::Values(target) => {
                for (du, &weight) in u.iter_mut().zip(target.slice(ndarray::s![row, t, ..])) {
                    *du -= scale * weight;
                }
            }
        }
    });
    metrics
}

/// The place of `class` among the logits, the largest first and of equals the first, from 0; if places below the first are not
/// `wanted`, far down.
#[inline(always)]
fn rank<T: Number>(u: &[T], class: usize, max: T, wanted: bool) -> u64 {
    let logit = u[class];
    if logit == max && !u[..class].contains(&max) {
        0
    } else if wanted {
        let larger = u.iter().filter(|&&other| other > logit).count();
        let equal = u[..class].iter().filter(|&&other| other == logit).count();
        (larger + equal) as u64
    } else {
        u64::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::Answers;
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
            ranks: true,
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
        assert_eq!(of(Targets::Values(weights.view())), 0.0);
    }
}
