//! One step of one sequence through one cell, there and back.

use super::Layer;
use crate::architecture::Which;
use crate::cells::Cell;
use crate::{Parameters, Scalar};

/// The state `[h]` of a layer becomes that after a step with inputs `x`.
pub(super) fn forward<T: Scalar>(layer: &Layer<'_, T>, x: &[T], state: &mut [T]) {
    let n_h = layer.architecture.hidden;
    let before = state.to_vec();
    for j in 0..n_h {
        let mut z = layer.bias(j);
        for k in 0..x.len() {
            z += layer.ih(j, k) * x[k];
        }
        for k in 0..n_h {
            z += layer.hh(j, k) * before[k];
        }
        state[j] = match layer.architecture.cell {
            Cell::Tanh => z.tanh(),
            Cell::Relu => z.max(T::zero()),
        };
    }
}

/// The gradient `d` of the state after a step becomes that of the state `before` it; adds the weights' gradients to `g` and
/// returns that of the inputs.
pub(super) fn backward<T: Scalar>(
    layer: &Layer<'_, T>,
    x: &[T],
    before: &[T],
    d: &mut [T],
    g: &mut Parameters<T>,
) -> Vec<T> {
    let n_h = layer.architecture.hidden;
    let mut h = before.to_vec();
    forward(layer, x, &mut h);
    let (mut dx, mut d_before) = (vec![T::zero(); x.len()], vec![T::zero(); n_h]);
    for j in 0..n_h {
        let slope = match layer.architecture.cell {
            Cell::Tanh => T::one() - h[j] * h[j],
            Cell::Relu if h[j] > T::zero() => T::one(),
            Cell::Relu => T::zero(),
        };
        let dz = d[j] * slope;
        for k in 0..x.len() {
            layer.add_to_ih(g, j, k, dz * x[k]);
            dx[k] += layer.ih(j, k) * dz;
        }
        for k in 0..n_h {
            g.matrix_mut(Which::WeightHh(layer.index))[[j, k]] += dz * before[k];
            d_before[k] += layer.hh(j, k) * dz;
        }
        g.get_mut(Which::Bias(layer.index))[j] += dz;
    }
    d.copy_from_slice(&d_before);
    dx
}
