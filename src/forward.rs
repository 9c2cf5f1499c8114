//! The forward pass of one shard: all its time steps.
//!
//! ```text
//! H_t = tanh(X_t Wx^T + H_{t-1} Wh^T + bh)        one fused product per step
//! U_t = H_t Wy^T + by                             one product for all steps
//! ```
//!
//! To be read beside [`crate::backward`]. Knows nothing of threads, losses or where the batch came from.

use crate::packed::{Finish, Source, Start, product};
use crate::workspace::{ShardInputs, Workspace};
use crate::{Dims, Parameters, Scalar};

/// From inputs and initial state (`ws.load`) to states `ws.h [T+1, n, n_h]` and logits `ws.u [T, n, n_y]`.
pub(crate) fn forward<T: Scalar>(p: &Parameters<T>, ws: &mut Workspace<T>) {
    // STEP 1: lay out the weights once for all time steps.
    ws.pack_forward(p);
    run(p, ws);
}

/// [`forward`] with weights packed before.
pub(crate) fn run<T: Scalar>(p: &Parameters<T>, ws: &mut Workspace<T>) {
    // STEP 2: H_t = tanh(X_t Wx^T + H_{t-1} Wh^T + bh), from the first step to the last.
    for t in 0..ws.t {
        hidden_step(p, ws, t, Finish::Tanh);
    }

    // STEP 3: U = H Wy^T + by, for all T at once.
    let Dims { n_h, n_y, .. } = ws.dims;
    let output = [Source {
        rows: &ws.h[ws.n * n_h..],
        weights: &ws.forward.wy,
    }];
    product(
        ws.level,
        Start::Bias(flat(&p.by())),
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
    let (n, weights) = (ws.n, &ws.forward);
    let (past, future) = ws.h.split_at_mut((t + 1) * n * n_h);
    let recurrent = Source {
        rows: &past[t * n * n_h..],
        weights: &weights.wh,
    };
    let h = &mut future[..n * n_h];
    match &ws.inputs {
        ShardInputs::Dense(x) => {
            let input = Source {
                rows: &x[t * n * n_x..][..n * n_x],
                weights: &weights.wx,
            };
            product(
                ws.level,
                Start::Bias(flat(&p.bh())),
                &[input, recurrent],
                finish,
                h,
                n_h,
            );
        }
        ShardInputs::Tokens(ids) => {
            let input = Start::Rows {
                table: &weights.table,
                ids: &ids[t * n..][..n],
            };
            product(ws.level, input, &[recurrent], finish, h, n_h);
        }
    }
}

/// A bias as a slice.
fn flat<'a, T>(bias: &ndarray::ArrayView1<'a, T>) -> &'a [T] {
    bias.to_slice().expect("a bias is contiguous")
}
