//! One step of one sequence through one cell of a recurrence, there and back.
//!
//! Sums are rows of gates in PyTorch's order; `from_h[row]` is the part of a sum that comes from the state, with its bias.

use super::{add, add_outer, add_product, rows_of_gates, sigmoid};
use crate::architecture::Which;
use crate::cells::Cell;
use crate::{Parameters, Scalar};

/// The sums of all gates that come from the inputs and from the state, biases included where the cell adds both.
fn sums<T: Scalar>(p: &Parameters<T>, index: usize, x: &[T], h: &[T]) -> (Vec<T>, Vec<T>) {
    let (a, bias) = (p.architecture(), p.get(Which::Bias(index)));
    let rows = a.cell.gates() * a.hidden;
    let (mut from_x, mut from_h) = (bias[..rows].to_vec(), vec![T::zero(); rows]);
    if a.cell == Cell::Gru {
        // The new gate has a bias of its own for the state.
        from_h[2 * a.hidden..].copy_from_slice(&bias[rows..]);
    }
    let ih = p.matrix(Which::WeightIh(index));
    add_product(&mut from_x, rows_of_gates(a, index, ih), x);
    add_product(&mut from_h, p.matrix(Which::WeightHh(index)), h);
    (from_x, from_h)
}

/// The state of a layer, `[h]` or `[h, c]`, becomes that after a step with inputs `x`.
pub(super) fn forward<T: Scalar>(p: &Parameters<T>, index: usize, x: &[T], state: &mut [T]) {
    let (n_h, cell) = (p.architecture().hidden, p.architecture().cell);
    let (from_x, from_h) = sums(p, index, x, &state[..n_h]);
    for j in 0..n_h {
        let a = |gate: usize| from_x[gate * n_h + j] + from_h[gate * n_h + j];
        match cell {
            Cell::Tanh => state[j] = a(0).tanh(),
            Cell::Relu => state[j] = a(0).max(T::zero()),
            Cell::Gru => {
                let (r, z) = (sigmoid(a(0)), sigmoid(a(1)));
                let n = (from_x[2 * n_h + j] + r * from_h[2 * n_h + j]).tanh();
                state[j] = (T::one() - z) * n + z * state[j];
            }
            Cell::Lstm => {
                let (i, f, g, o) = (sigmoid(a(0)), sigmoid(a(1)), a(2).tanh(), sigmoid(a(3)));
                state[n_h + j] = f * state[n_h + j] + i * g;
                state[j] = o * state[n_h + j].tanh();
            }
        }
    }
}

/// The gradient `d` of the state after a step becomes that of the state `before` it; adds the weights' gradients to `g` and
/// returns that of the inputs.
pub(super) fn backward<T: Scalar>(
    p: &Parameters<T>,
    index: usize,
    x: &[T],
    before: &[T],
    d: &mut [T],
    g: &mut Parameters<T>,
) -> Vec<T> {
    let (a, one) = (p.architecture(), T::one());
    let (n_h, cell) = (a.hidden, a.cell);
    let (from_x, from_h) = sums(p, index, x, &before[..n_h]);
    let slope = |s: T| s * (one - s);
    // The gradients of the sums from the inputs and from the state, and what of `d` goes to the state before directly.
    let (mut dx_sums, mut dh_sums) = (from_x.clone(), from_h.clone());
    let mut d_before = vec![T::zero(); before.len()];
    for j in 0..n_h {
        let a = |gate: usize| from_x[gate * n_h + j] + from_h[gate * n_h + j];
        let mut set = |gate: usize, dx: T, dh: T| {
            (dx_sums[gate * n_h + j], dh_sums[gate * n_h + j]) = (dx, dh);
        };
        match cell {
            Cell::Tanh => {
                let da = d[j] * (one - a(0).tanh() * a(0).tanh());
                set(0, da, da);
            }
            Cell::Relu => {
                let da = if a(0) > T::zero() { d[j] } else { T::zero() };
                set(0, da, da);
            }
            Cell::Gru => {
                let (r, z, q) = (sigmoid(a(0)), sigmoid(a(1)), from_h[2 * n_h + j]);
                let n = (from_x[2 * n_h + j] + r * q).tanh();
                let dn = d[j] * (one - z) * (one - n * n);
                let (dr, dz) = (dn * q * slope(r), d[j] * (before[j] - n) * slope(z));
                set(0, dr, dr);
                set(1, dz, dz);
                set(2, dn, dn * r);
                d_before[j] = d[j] * z;
            }
            Cell::Lstm => {
                let (i, f, g, o) = (sigmoid(a(0)), sigmoid(a(1)), a(2).tanh(), sigmoid(a(3)));
                let s = (f * before[n_h + j] + i * g).tanh();
                let dc = d[n_h + j] + d[j] * o * (one - s * s);
                let gates = [
                    dc * g * slope(i),
                    dc * before[n_h + j] * slope(f),
                    dc * i * (one - g * g),
                    d[j] * s * slope(o),
                ];
                (0..4).for_each(|gate| set(gate, gates[gate], gates[gate]));
                d_before[n_h + j] = dc * f;
            }
        }
    }
    let (ih, hh) = (Which::WeightIh(index), Which::WeightHh(index));
    let mut dx = vec![T::zero(); x.len()];
    add_product(&mut dx, rows_of_gates(a, index, p.matrix(ih)).t(), &dx_sums);
    add_product(&mut d_before[..n_h], p.matrix(hh).t(), &dh_sums);
    add_outer(rows_of_gates(a, index, g.matrix_mut(ih)), &dx_sums, x);
    add_outer(g.matrix_mut(hh), &dh_sums, &before[..n_h]);
    let g_bias = g.get_mut(Which::Bias(index));
    add(g_bias, &dx_sums);
    if cell == Cell::Gru {
        add(&mut g_bias[dx_sums.len()..], &dh_sums[2 * n_h..]);
    }
    d.copy_from_slice(&d_before);
    dx
}
