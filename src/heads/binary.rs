//! Labels that are there or not, several at once: the sigmoid of each output, binary cross-entropy, and the gradient of both.
//!
//! ```text
//! s_k = 1 / (1 + exp(-u_k))      l = -(1/n_y) sum_k [target_k ln s_k + (1 - target_k) ln (1 - s_k)]
//!                                  =  (1/n_y) sum_k [max(u_k, 0) - u_k target_k - ln max(s_k, 1 - s_k)]
//! dU_k = (s_k - target_k) / n_y
//! ```
//!
//! The second form takes the logarithm of numbers from 1/2 to 1 only: exact where a probability underflows. Targets between 0
//! and 1 are probabilities; a label counts as there from one half on.

use super::{LossStep, Metrics};
use crate::kernels::exp::sigmoid;
use crate::kernels::number::Number;
use crate::kernels::simd::map;
use crate::targets::Targets;
use fearless_simd::Simd;

#[inline(always)]
pub(super) fn labels<T: Number, S: Simd>(
    simd: S,
    u: &mut [T],
    step: LossStep<'_, '_, T>,
) -> Metrics {
    let Targets::Values(targets) = step.answers.targets else {
        unreachable!("Batch::check has seen to it");
    };
    let mut metrics = Metrics::default();
    let half = T::from_f64(0.5);
    let scale = step.scale / T::from_f64(step.n_y as f64);
    step.each_counted(u, |u, row| {
        let target = targets.slice(ndarray::s![row, step.step, ..]);
        let mut loss = 0.0;
        for (&u, &target) in u.iter().zip(target) {
            loss += (u.max(T::zero()) - u * target).as_f64();
        }
        map(
            simd,
            u,
            #[inline(always)]
            |v| sigmoid::<T, S>(simd, v),
        );
        // As many factors of at least a half as f64 has room for, under one logarithm.
        let mut product = 1.0;
        for (k, (s, &target)) in u.iter_mut().zip(target).enumerate() {
            product *= s.max(T::one() - *s).as_f64();
            if k % 512 == 511 {
                loss -= product.ln();
                product = 1.0;
            }
            metrics.count_label(*s > half, target >= half);
            *s = scale * (*s - target);
        }
        metrics.loss += (loss - product.ln()) / step.n_y as f64;
        metrics.counted += 1;
        metrics.outputs += step.n_y as u64;
    });
    metrics
}
