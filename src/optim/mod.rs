//! From a gradient to better weights.
use crate::{Parameters, Scalar};
/// Gradient descent: every parameter less `learning_rate` times its gradient.
pub fn gradient_descent_step<T: Scalar>(
    p: &mut Parameters<T>,
    gradients: &Parameters<T>,
    learning_rate: f64,
) {
    let rate = T::from_f64(learning_rate);
    for (p, &g) in p.as_mut_slice().iter_mut().zip(gradients.as_slice()) {
        *p -= rate * g;
    }
}
