//! The loss of one answer, its gradient, and what the network says.

use super::sigmoid;
use crate::{Loss, Scalar};

fn number<T: Scalar>(x: usize) -> T {
    T::from_f64(x as f64)
}

/// `ln sum_j exp(u_j)`.
fn log_sum<T: Scalar>(u: &[T]) -> T {
    let max = u.iter().fold(T::neg_infinity(), |a, &b| a.max(b));
    max + u.iter().fold(T::zero(), |a, &b| a + (b - max).exp()).ln()
}

/// Probabilities, or numbers, of outputs `u`.
pub(super) fn answer<T: Scalar>(loss: Loss, u: &[T]) -> Vec<T> {
    match loss {
        Loss::CrossEntropy => {
            let log_sum = log_sum(u);
            u.iter().map(|&u_k| (u_k - log_sum).exp()).collect()
        }
        Loss::Binary => u.iter().map(|&u_k| sigmoid(u_k)).collect(),
        Loss::Mse | Loss::Huber => u.to_vec(),
    }
}

/// The loss of outputs `u`.
pub(super) fn loss<T: Scalar>(loss: Loss, u: &[T], target: &[T]) -> T {
    let (one, half, n_y) = (T::one(), T::from_f64(0.5), number::<T>(u.len()));
    let (log_sum, mut sum) = (log_sum(u), T::zero());
    for k in 0..u.len() {
        let e = u[k] - target[k];
        sum += match loss {
            Loss::CrossEntropy => target[k] * (log_sum - u[k]),
            // -ln s = ln (1 + exp(-u)), and -ln (1 - s) = ln (1 + exp(u)).
            Loss::Binary => {
                let (there, not) = ((one + (-u[k]).exp()).ln(), (one + u[k].exp()).ln());
                (target[k] * there + (one - target[k]) * not) / n_y
            }
            Loss::Mse => e * e / n_y,
            Loss::Huber if e.abs() <= one => half * e * e / n_y,
            Loss::Huber => (e.abs() - half) / n_y,
        };
    }
    sum
}

/// The gradient of [`loss`].
pub(super) fn gradient<T: Scalar>(loss: Loss, u: &[T], target: &[T]) -> Vec<T> {
    let (y, n_y) = (answer(loss, u), number::<T>(u.len()));
    let mass = target.iter().fold(T::zero(), |a, &b| a + b);
    let of = |k: usize| {
        let e = y[k] - target[k];
        match loss {
            Loss::CrossEntropy => y[k] * mass - target[k],
            Loss::Binary => e / n_y,
            Loss::Mse => (e + e) / n_y,
            Loss::Huber => e.max(-T::one()).min(T::one()) / n_y,
        }
    };
    (0..u.len()).map(of).collect()
}
