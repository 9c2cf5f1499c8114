//! Backpropagation through time over one shard: from dU to the five gradients.
//!
//! ```text
//! dZ_t = (dU_t Wy + dZ_{t+1} Wh) * (1 - H_t^2)    one fused product per step
//! dWy = sum_t dU_t^T H_t      dWh = sum_t dZ_t^T H_{t-1}      dWx = sum_t dZ_t^T X_t     one product each for many steps
//! dby = sum_t dU_t^T 1        dbh = sum_t dZ_t^T 1            dH_0 = dZ_1 Wh
//! ```
//!
//! To be read beside [`crate::forward`]. Knows nothing of threads or of the loss that gave dU.

use crate::blas::{product_nn, product_tn};
use crate::dropout::Dropped;
use crate::packed::{Finish, Source, Start, product};
use crate::workspace::{ShardInputs, Workspace};
use crate::{Dims, Parameters, Scalar};
use fearless_simd::{Level, dispatch};
use std::ops::Range;

/// Rows of dZ from which on they are taken into the weights' gradients: enough for BLAS, few enough that they come from the
/// third-level cache.
const CHUNK: usize = 2048;

/// What comes to a pass over some of the time steps from the passes over the others.
#[derive(Default)]
pub(crate) struct Beyond<'a, T> {
    /// dZ of the time step after the last, of the sequences alive at the last; zero, if empty.
    pub dz: &'a [T],
    /// The gradients are added to those of later time steps.
    pub accumulate: bool,
}

/// From dU in `ws.u` and the states in `ws.h` to the gradients `g` and `ws.dz`.
///
/// With weights packed before ([`Workspace::pack_backward`]).
pub(crate) fn backward<T: Scalar>(
    p: &Parameters<T>,
    ws: &mut Workspace<T>,
    g: &mut Parameters<T>,
    beyond: &Beyond<'_, T>,
    mut dropout: Option<&mut Dropped<'_>>,
) {
    let Dims { n_h, n_y, .. } = ws.dims;
    let (entered, stepped) = (ws.entered(), ws.stepped());
    ws.dz.resize((ws.n() + stepped) * n_h, T::zero());
    match beyond.dz {
        [] => ws.dz[entered * n_h..].fill(T::zero()),
        dz => ws.dz[entered * n_h..].copy_from_slice(dz),
    }
    if ws.wide_output {
        // dU Wy for all T at once, then each step's rows to their place.
        let wy = p.wy().to_slice().expect("weights are contiguous");
        let out = &mut ws.dz[..stepped * n_h];
        product_nn(&ws.u, wy, T::zero(), out, [stepped, n_h, n_y]);
        for t in (0..ws.t).rev() {
            let from = ws.u_start(t) * n_h..ws.u_start(t + 1) * n_h;
            ws.dz.copy_within(from, ws.starts[t] * n_h);
        }
    }
    if let ShardInputs::Tokens(_) = &ws.inputs {
        ws.forward.table.fill(T::zero());
    }
    let dropped = dropout.is_some();
    let (mut done, mut accumulate) = (ws.t, beyond.accumulate);
    for t in (0..ws.t).rev() {
        // STEP 1: dZ_t = (dU_t Wy + dZ_{t+1} Wh) * (1 - H_t^2), from the last step to the first.
        hidden_step_back(ws, t, dropout.as_deref_mut());
        // STEP 2: the weights' gradients, each one product over many steps, while these are in the caches.
        if ws.starts[done] - ws.starts[t] >= CHUNK {
            weight_gradients(ws, g, t..done, accumulate, dropped);
            (done, accumulate) = (t, true);
        }
    }
    // The rest; where there are no steps at all, gradients of zero.
    if done > 0 || ws.t == 0 {
        weight_gradients(ws, g, 0..done, accumulate, dropped);
    }
    if let ShardInputs::Tokens(_) = &ws.inputs {
        let (table, wx) = (&ws.forward.table, g.views_mut().wx.into_slice());
        let wx = wx.expect("parameters are contiguous");
        gather(table, ws.token_scale, beyond.accumulate, wx, n_h);
    }
}

/// `dZ_t = (dU_t Wy + dZ_{t+1} Wh) * (1 - H_t^2)`: back through the recurrent cell.
fn hidden_step_back<T: Scalar>(ws: &mut Workspace<T>, t: usize, dropout: Option<&mut Dropped<'_>>) {
    let Dims { n_h, n_y, .. } = ws.dims;
    let (start, alive, u_start) = (ws.starts[t], ws.alive(t), ws.u_start(t));
    let h = &ws.h[ws.starts[t + 1] * n_h..][..alive * n_h];
    let (past, future) = ws.dz.split_at_mut(ws.starts[t + 1] * n_h);
    let (dz, ended) = past[start * n_h..].split_at_mut(alive * n_h);
    ended.fill(T::zero());
    let output = Source {
        rows: &ws.u[u_start * n_y..][..alive * n_y],
        weights: &ws.backward.wy,
    };
    let recurrent = Source {
        rows: &future[..alive * n_h],
        weights: &ws.backward.wh,
    };
    let finish = Finish::TanhDerivative(h);
    if !ws.wide_output && dropout.is_none() {
        return product(ws.level, Start::Zero, &[output, recurrent], finish, dz, n_h);
    }
    if !ws.wide_output {
        product(ws.level, Start::Zero, &[output], Finish::Store, dz, n_h);
    }
    if let Some(dropout) = dropout {
        dropout.apply(t, dz);
    }
    product(ws.level, Start::Out, &[recurrent], finish, dz, n_h);
}

/// The gradients that time steps `steps` give, in place of what is in `g` or added to it; of a token's weights, in their
/// table. States a step earlier for dWh; of those on their way to the classes some are dropped, perhaps.
fn weight_gradients<T: Scalar>(
    ws: &mut Workspace<T>,
    g: &mut Parameters<T>,
    steps: Range<usize>,
    accumulate: bool,
    dropped: bool,
) {
    let Dims { n_x, n_h, n_y } = ws.dims;
    let beta = if accumulate { T::one() } else { T::zero() };
    let g = g.views_mut();
    let [wx, wh, wy, bh, by] = [
        g.wx.into_slice(),
        g.wh.into_slice(),
        g.wy.into_slice(),
        g.bh.into_slice(),
        g.by.into_slice(),
    ]
    .map(|gradient| gradient.expect("parameters are contiguous"));
    let rows = ws.starts[steps.start]..ws.starts[steps.end];
    let u_rows = ws.u_start(steps.start)..ws.u_start(steps.end);
    let dz = &ws.dz[rows.start * n_h..rows.end * n_h];
    let h = &ws.h[rows.start * n_h..rows.end * n_h];
    let u = &ws.u[u_rows.start * n_y..u_rows.end * n_y];
    let h_out = match dropped {
        false => &ws.h[ws.n() * n_h..],
        true => &ws.h_dropped[..],
    };
    let h_out = &h_out[u_rows.start * n_h..u_rows.end * n_h];
    product_tn(u, h_out, beta, wy, [n_y, n_h, u_rows.len()]);
    product_tn(dz, h, beta, wh, [n_h, n_h, rows.len()]);
    match &ws.inputs {
        ShardInputs::Dense(x) => {
            let x = &x[rows.start * n_x..rows.end * n_x];
            product_tn(dz, x, beta, wx, [n_h, n_x, rows.len()]);
        }
        ShardInputs::Tokens(ids) => {
            scatter(dz, &ids[rows], &mut ws.forward.table, n_h);
        }
    }
    for (rows, sums) in [(dz, bh), (u, by)] {
        if !accumulate {
            sums.fill(T::zero());
        }
        T::run_sum_rows(ws.level, rows, sums);
    }
}

/// `dH_0 = dZ_1 Wh [n, n_h]`, after [`backward`].
pub(crate) fn initial_state_gradient<T: Scalar>(ws: &Workspace<T>) -> ndarray::Array2<T> {
    let (n, n_h) = (ws.n(), ws.dims.n_h);
    let mut dh = vec![T::zero(); n * n_h];
    let first = [Source {
        rows: &ws.dz[..n * n_h],
        weights: &ws.backward.wh,
    }];
    product(ws.level, Start::Zero, &first, Finish::Store, &mut dh, n_h);
    ndarray::Array2::from_shape_vec((n, n_h), dh).expect("dh is [n, n_h]")
}

/// The rows of dZ added up by their tokens, in a table `[n_x + 1, n_h]` whose last row is of tokens that are none.
fn scatter<T: Scalar>(dz: &[T], ids: &[u32], table: &mut [T], n_h: usize) {
    for (dz, &id) in dz.chunks_exact(n_h).zip(ids) {
        let row = &mut table[id as usize * n_h..][..n_h];
        row.iter_mut().zip(dz).for_each(|(sum, &dz)| *sum += dz);
    }
}

/// `dWx [n_h, n_x]` of one-hot inputs of size `scale`: the table turned over, in place of what is there or added to it.
fn gather<T: Scalar>(table: &[T], scale: T, accumulate: bool, wx: &mut [T], n_h: usize) {
    let n_x = table.len() / n_h - 1;
    for (j, wx) in wx.chunks_exact_mut(n_x).enumerate() {
        for (to, row) in wx.iter_mut().zip(table.chunks_exact(n_h)) {
            *to = scale * row[j] + if accumulate { *to } else { T::zero() };
        }
    }
}

/// Adds the rows of `[_, m]` to `sums [m]`, in order.
pub(crate) fn sum_rows_kernel<T: Scalar>(level: Level, rows: &[T], sums: &mut [T]) {
    dispatch!(level, _simd => {
        for row in rows.chunks_exact(sums.len()) {
            sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += x);
        }
    });
}
