//! The forward pass of one shard: all its time steps.
//!
//! ```text
//! H_t = tanh(X_t Wx^T + H_{t-1} Wh^T + bh)        one fused product per step
//! U_t = H_t Wy^T + by                             one product for all steps
//! ```
//!
//! To be read beside [`crate::backward`]. Knows nothing of threads, losses or where the batch came from.

use crate::blas::product_nt;
use crate::dropout::Dropped;
use crate::packed::{Finish, Source, Start, product};
use crate::workspace::{ShardInputs, Workspace};
use crate::{Dims, Parameters, Scalar};

/// From inputs and initial state (`ws.load`, `ws.start`) to states `ws.h` and logits `ws.u`.
pub(crate) fn forward<T: Scalar>(p: &Parameters<T>, ws: &mut Workspace<T>) {
    // STEP 1: lay out the weights once for all time steps.
    ws.pack_forward(p);
    states(p, ws);
    logits(p, ws, None);
}

/// With weights packed before: the states.
pub(crate) fn states<T: Scalar>(p: &Parameters<T>, ws: &mut Workspace<T>) {
    // STEP 2: H_t = tanh(X_t Wx^T + H_{t-1} Wh^T + bh), from the first step to the last.
    for t in 0..ws.t {
        hidden_step(p, ws, t, Finish::Tanh);
    }
}

/// After [`states`]: the logits, of states some of which are dropped.
pub(crate) fn logits<T: Scalar>(
    p: &Parameters<T>,
    ws: &mut Workspace<T>,
    dropout: Option<&mut Dropped<'_>>,
) {
    // STEP 3: U = H Wy^T + by, for all T at once.
    let Dims { n_h, n_y, .. } = ws.dims;
    let mut rows = &ws.h[ws.n() * n_h..];
    if let Some(dropout) = dropout {
        ws.h_dropped.clear();
        ws.h_dropped.extend_from_slice(rows);
        for t in 0..ws.t {
            let block = ws.u_start(t) * n_h..ws.u_start(t + 1) * n_h;
            dropout.apply(t, &mut ws.h_dropped[block]);
        }
        rows = &ws.h_dropped;
    }
    let by = p.by();
    let by = flat(&by);
    if ws.wide_output {
        let stepped = ws.u.len() / n_y;
        ws.u.chunks_exact_mut(n_y)
            .for_each(|u| u.copy_from_slice(by));
        let wy = p.wy().to_slice().expect("weights are contiguous");
        product_nt(rows, wy, T::one(), &mut ws.u, [stepped, n_y, n_h]);
        return;
    }
    let output = [Source {
        rows,
        weights: &ws.forward.wy,
    }];
    product(
        ws.level,
        Start::Bias(by),
        &output,
        Finish::Store,
        &mut ws.u,
        n_y,
    );
}

/// `ws.h[t+1] = finish(X_t Wx^T + H_{t-1} Wh^T + bh)`: the recurrent cell.
pub(crate) fn hidden_step<T: Scalar>(
    p: &Parameters<T>,
    ws: &mut Workspace<T>,
    t: usize,
    finish: Finish<'_, T>,
) {
    let Dims { n_x, n_h, .. } = ws.dims;
    let (start, alive, weights) = (ws.starts[t], ws.alive(t), &ws.forward);
    let (past, future) = ws.h.split_at_mut(ws.starts[t + 1] * n_h);
    let recurrent = Source {
        rows: &past[start * n_h..][..alive * n_h],
        weights: &weights.wh,
    };
    let h = &mut future[..alive * n_h];
    match &ws.inputs {
        ShardInputs::Dense(x) => {
            let input = Source {
                rows: &x[start * n_x..][..alive * n_x],
                weights: &weights.wx,
            };
            let bias = Start::Bias(flat(&p.bh()));
            product(ws.level, bias, &[input, recurrent], finish, h, n_h);
        }
        ShardInputs::Tokens(ids) => {
            let input = Start::Rows {
                table: &weights.table,
                ids: &ids[start..][..alive],
            };
            product(ws.level, input, &[recurrent], finish, h, n_h);
        }
    }
}

/// A bias as a slice.
fn flat<'a, T>(bias: &ndarray::ArrayView1<'a, T>) -> &'a [T] {
    bias.to_slice().expect("a bias is contiguous")
}
