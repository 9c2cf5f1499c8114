//! Backpropagation through time over one shard: from dU to the five gradients.
//!
//! ```text
//! dZ_t = (dU_t Wy + dZ_{t+1} Wh) * (1 - H_t^2)    one fused product per step
//! dWy = sum_t dU_t^T H_t      dWh = sum_t dZ_t^T H_{t-1}      dWx = sum_t dZ_t^T X_t     one product each, over all T n rows
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
    let Dims { n_x, n_h, n_y } = ws.dims;

    // STEP 1: dZ_t = (dU_t Wy + dZ_{t+1} Wh) * (1 - H_t^2), from the last step to the first.
    let (entered, stepped, n) = (ws.entered(), ws.stepped(), ws.n());
    ws.dz.resize((n + stepped) * n_h, T::zero());
    match beyond.dz {
        [] => ws.dz[entered * n_h..].fill(T::zero()),
        dz => ws.dz[entered * n_h..].copy_from_slice(dz),
    }
    let apart = ws.wide_output || dropout.is_some();
    if ws.wide_output {
        // dU Wy for all T at once, then each step's rows to their place.
        let wy = p.wy().to_slice().expect("weights are contiguous");
        product_nn(
            &ws.u,
            wy,
            T::zero(),
            &mut ws.dz[..stepped * n_h],
            [stepped, n_h, n_y],
        );
        for t in (0..ws.t).rev() {
            let from = ws.u_start(t) * n_h..ws.u_start(t + 1) * n_h;
            ws.dz.copy_within(from, ws.starts[t] * n_h);
        }
    }
    for t in (0..ws.t).rev() {
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
        if !apart {
            product(ws.level, Start::Zero, &[output, recurrent], finish, dz, n_h);
            continue;
        }
        if !ws.wide_output {
            product(ws.level, Start::Zero, &[output], Finish::Store, dz, n_h);
        }
        if let Some(dropout) = &mut dropout {
            dropout.apply(t, dz);
        }
        product(ws.level, Start::Out, &[recurrent], finish, dz, n_h);
    }

    // STEP 2: the weights' gradients, each one product over all rows; states a step earlier for dWh.
    let g = g.views_mut();
    let [wx, wh, wy, bh, by] = [
        g.wx.into_slice(),
        g.wh.into_slice(),
        g.wy.into_slice(),
        g.bh.into_slice(),
        g.by.into_slice(),
    ]
    .map(|gradient| gradient.expect("parameters are contiguous"));
    let beta = if beyond.accumulate {
        T::one()
    } else {
        T::zero()
    };
    let dz = &ws.dz[..entered * n_h];
    let h_out = match dropout {
        None => &ws.h[n * n_h..],
        Some(_) => &ws.h_dropped[..],
    };
    product_tn(&ws.u, h_out, beta, wy, [n_y, n_h, stepped]);
    product_tn(dz, &ws.h[..entered * n_h], beta, wh, [n_h, n_h, entered]);
    match &ws.inputs {
        ShardInputs::Dense(x) => product_tn(dz, x, beta, wx, [n_h, n_x, entered]),
        ShardInputs::Tokens(ids) => {
            scatter(dz, ids, &mut ws.forward.table, n_h);
            gather(&ws.forward.table, ws.token_scale, beta, wx, n_h);
        }
    }
    sum_rows(ws, dz, beta, bh);
    sum_rows(ws, &ws.u, beta, by);
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
    table.fill(T::zero());
    for (dz, &id) in dz.chunks_exact(n_h).zip(ids) {
        let row = &mut table[id as usize * n_h..][..n_h];
        row.iter_mut().zip(dz).for_each(|(sum, &dz)| *sum += dz);
    }
}

/// `dWx [n_h, n_x]` of one-hot inputs of size `scale`: the table turned over, plus `beta` times what is there.
fn gather<T: Scalar>(table: &[T], scale: T, beta: T, wx: &mut [T], n_h: usize) {
    let n_x = table.len() / n_h - 1;
    for (j, wx) in wx.chunks_exact_mut(n_x).enumerate() {
        for (to, row) in wx.iter_mut().zip(table.chunks_exact(n_h)) {
            *to = scale * row[j] + if beta == T::zero() { T::zero() } else { *to };
        }
    }
}

/// `sums [m]` = the sum over the rows of `[_, m]`, in order, plus `beta` times what is there.
fn sum_rows<T: Scalar>(ws: &Workspace<T>, rows: &[T], beta: T, sums: &mut [T]) {
    if beta == T::zero() {
        sums.fill(T::zero());
    }
    T::run_sum_rows(ws.level, rows, sums);
}

pub(crate) fn sum_rows_kernel<T: Scalar>(level: Level, rows: &[T], sums: &mut [T]) {
    dispatch!(level, _simd => {
        for row in rows.chunks_exact(sums.len()) {
            sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += x);
        }
    });
}
