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
use fearless_simd::Simd;

/// Turns logits `[rows, n_y]` into `dU = scale (y sum target - target)`, zero where the mask is false.
#[inline(always)]
pub(super) fn classes<T: Number, S: Simd>(
    simd: S,
    u: &mut [T],
    step: LossStep<'_, '_, T>,
) -> Metrics {
    let (answers, t, scale, ranks) = (step.answers, step.step, step.scale, step.ranks);
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
