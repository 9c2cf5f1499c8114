//! Numbers: squared error, and Huber's loss (1964), which grows by the distance alone from 1 on.
//!
//! ```text
//! e_k = u_k - target_k
//! squared   l = (1/n_y) sum_k e_k^2                                      dU_k = 2 e_k / n_y
//! Huber     l = (1/n_y) sum_k [e_k^2 / 2 if |e_k| <= 1, else |e_k| - 1/2]     dU_k = max(-1, min(1, e_k)) / n_y
//! ```

use super::{LossStep, Metrics};
use crate::kernels::number::Number;
use crate::targets::Targets;

pub(super) fn squared<T: Number>(u: &mut [T], step: LossStep<'_, '_, T>) -> Metrics {
    one_step(u, step, |e| (e * e, e + e))
}

pub(super) fn huber<T: Number>(u: &mut [T], step: LossStep<'_, '_, T>) -> Metrics {
    let (one, half) = (T::one(), T::from_f64(0.5));
    one_step(u, step, |e| match e.abs() <= one {
        true => (half * e * e, e),
        false => (e.abs() - half, e.signum()),
    })
}

/// `loss` gives the loss of an error and its derivative.
#[inline(always)]
fn one_step<T: Number>(
    u: &mut [T],
    step: LossStep<'_, '_, T>,
    loss: impl Fn(T) -> (T, T),
) -> Metrics {
    let Targets::Values(targets) = step.answers.targets else {
        unreachable!("Batch::check has seen to it");
    };
    let mut metrics = Metrics::default();
    let scale = step.scale / T::from_f64(step.n_y as f64);
    step.each_counted(u, |u, row| {
        let mut sum = 0.0;
        let targets = targets.slice(ndarray::s![row, step.step, ..]);
        for (u, &target) in u.iter_mut().zip(targets) {
            let e = *u - target;
            let (of_e, slope) = loss(e);
            metrics.count_number(target.as_f64(), e.as_f64());
            sum += of_e.as_f64();
            *u = scale * slope;
        }
        metrics.loss += sum / step.n_y as f64;
        metrics.counted += 1;
    });
    metrics
}
