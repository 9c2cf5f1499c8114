//! Backpropagation through time over one shard: from dU to the five gradients.
//!
//! ```text
//! dZ_t = (dU_t Wy + dZ_{t+1} Wh) * (1 - H_t^2)    one fused product per step
//! dWy = sum_t dU_t^T H_t      dWh = sum_t dZ_t^T H_{t-1}      dWx = sum_t dZ_t^T X_t     one product each, over all T n rows
//! dby = sum_t dU_t^T 1        dbh = sum_t dZ_t^T 1            dH_0 = dZ_1 Wh
//! ```
//!
//! To be read beside [`crate::forward`]. Knows nothing of threads or of the loss that gave dU.

use crate::blas::product_tn;
use crate::packed::{Finish, Source, Start, product};
use crate::workspace::{ShardInputs, Workspace};
use crate::{Dims, Parameters, Scalar};
use fearless_simd::dispatch;

/// From dU in `ws.u` and the states in `ws.h` to the gradients `g`, overwritten, and `ws.dz`.
pub(crate) fn backward<T: Scalar>(p: &Parameters<T>, ws: &mut Workspace<T>, g: &mut Parameters<T>) {
    let Dims { n_x, n_h, n_y } = ws.dims;
    let (n, steps) = (ws.n, ws.t);
    let (rows, block) = (n * steps, n * n_h);

    // STEP 1: lay out the weights once for all time steps.
    ws.pack_backward(p);

    // STEP 2: dZ_t = (dU_t Wy + dZ_{t+1} Wh) * (1 - H_t^2), from the last step to the first.
    ws.dz.resize((steps + 1) * block, T::zero());
    ws.dz[steps * block..].fill(T::zero());
    for t in (0..steps).rev() {
        let (past, future) = ws.dz.split_at_mut((t + 1) * block);
        let output = Source {
            rows: &ws.u[t * n * n_y..][..n * n_y],
            weights: &ws.backward.wy,
        };
        let recurrent = Source {
            rows: &future[..block],
            weights: &ws.backward.wh,
        };
        let h = &ws.h[(t + 1) * block..][..block];
        let dz = &mut past[t * block..];
        product(
            ws.level,
            Start::Zero,
            &[output, recurrent],
            Finish::TanhDerivative(h),
            dz,
            n_h,
        );
    }

    // STEP 3: the weights' gradients, each one product over all rows, states shifted by a step for dWh.
    let g = g.views_mut();
    let [wx, wh, wy, bh, by] = [
        g.wx.into_slice(),
        g.wh.into_slice(),
        g.wy.into_slice(),
        g.bh.into_slice(),
        g.by.into_slice(),
    ]
    .map(|gradient| gradient.expect("parameters are contiguous"));
    let dz = &ws.dz[..rows * n_h];
    product_tn(&ws.u, &ws.h[block..], T::zero(), wy, [n_y, n_h, rows]);
    product_tn(dz, &ws.h[..rows * n_h], T::zero(), wh, [n_h, n_h, rows]);
    match &ws.inputs {
        ShardInputs::Dense(x) => product_tn(dz, x, T::zero(), wx, [n_h, n_x, rows]),
        ShardInputs::Tokens(ids) => scatter(dz, ids, &mut ws.forward.table, wx, n_h),
    }
    sum_rows(ws, dz, bh);
    sum_rows(ws, &ws.u, by);
}

/// `dH_0 = dZ_1 Wh [n, n_h]`, after [`backward`].
pub(crate) fn initial_state_gradient<T: Scalar>(ws: &Workspace<T>) -> ndarray::Array2<T> {
    let (n, n_h) = (ws.n, ws.dims.n_h);
    let mut dh = vec![T::zero(); n * n_h];
    let first = [Source {
        rows: &ws.dz[..n * n_h],
        weights: &ws.backward.wh,
    }];
    product(ws.level, Start::Zero, &first, Finish::Store, &mut dh, n_h);
    ndarray::Array2::from_shape_vec((n, n_h), dh).expect("dh is [n, n_h]")
}

/// `dWx [n_h, n_x]` of one-hot inputs: each row of dZ added to its token's column, by way of a table `[n_x, n_h]` in
/// which the columns are rows.
fn scatter<T: Scalar>(dz: &[T], ids: &[u32], table: &mut [T], wx: &mut [T], n_h: usize) {
    table.fill(T::zero());
    for (dz, &id) in dz.chunks_exact(n_h).zip(ids) {
        let row = &mut table[id as usize * n_h..][..n_h];
        row.iter_mut().zip(dz).for_each(|(sum, &dz)| *sum += dz);
    }
    let n_x = table.len() / n_h;
    for (j, wx) in wx.chunks_exact_mut(n_x).enumerate() {
        for (to, row) in wx.iter_mut().zip(table.chunks_exact(n_h)) {
            *to = row[j];
        }
    }
}

/// `sums [m] = sum over the rows of [_, m]`, in order.
fn sum_rows<T: Scalar>(ws: &Workspace<T>, rows: &[T], sums: &mut [T]) {
    sums.fill(T::zero());
    dispatch!(ws.level, _simd => {
        for row in rows.chunks_exact(sums.len()) {
            sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += x);
        }
    });
}
