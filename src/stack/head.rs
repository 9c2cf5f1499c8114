//! The head: from what leaves the highest layer to the logits and the loss, and back.

use super::{Weights, drop_gradient, hidden, multiply};
use crate::architecture::{At, Which};
use crate::heads::{LossStep, Metrics};
use crate::kernels::blas::{gemm_nn, gemm_nt, gemm_tn};
use crate::kernels::packed::{Out, Start};
use crate::kernels::rows::Rows;
use crate::kernels::simd;
use crate::layer::chunks_back;
use crate::scratch::Scratch;
use crate::targets::Answers;
use crate::{Parameters, Scalar};

/// At the last step alone: what the head reads, from the states `finals [n, W]` after each sequence's last step.
pub(crate) fn take_last<T: Scalar>(s: &mut Scratch<T>, finals: &[T]) {
    let a = s.architecture;
    let (n_h, of_recurrence) = (a.hidden, a.recurrence_state());
    s.last.clear();
    for state in finals.chunks_exact(a.state()) {
        let top = &state[(a.layers - 1) * a.directions() * of_recurrence..];
        for state in top.chunks_exact(of_recurrence) {
            s.last.extend_from_slice(&state[..n_h]);
        }
    }
    drop_last(s);
}

fn drop_last<T: Scalar>(s: &mut Scratch<T>) {
    // One mask a sequence, whichever time step is its last.
    let mut dropping = s.dropping;
    dropping.first = 0;
    if let Some(mut mask) = dropping.outputs(0, s.architecture.outputs_of_layer()) {
        mask.apply(0, &mut s.last);
    }
}

/// What the head reads.
fn answered_from<T>(s: &Scratch<T>) -> Rows<'_, T> {
    match s.architecture.head.at {
        At::Every => hidden(s),
        At::Last => Rows::of(&s.last, s.architecture.outputs_of_layer()),
    }
}

/// After [`states`], or at the last step alone after [`take_last`]: the logits.
pub(crate) fn logits<T: Scalar>(w: Weights<'_, T>, s: &mut Scratch<T>) {
    let a = s.architecture;
    let (width, n_y) = (a.outputs_of_layer(), a.head.outputs);
    let rows = match a.head.at {
        At::Every => s.steps.extent().rows,
        At::Last => s.last.len() / width,
    };
    let mut u = std::mem::take(&mut s.u);
    u.resize(rows * n_y, T::zero());
    let (h, out) = (answered_from(s), Out::whole(&mut u, n_y));
    let bias = w.parameters.get(Which::DecoderBias);
    if w.packed.wide {
        let rows = out.data.chunks_exact_mut(n_y);
        rows.for_each(|u| u.copy_from_slice(bias));
        let decoder = Rows::of(w.parameters.get(Which::Decoder), width);
        gemm_nt(h, decoder, T::one(), out, width);
    } else {
        multiply(Start::Bias(bias), h, &w.packed.decoder, out);
    }
    s.u = u;
}

/// Turns the logits into their gradients, `scale` times those of the summed loss, for the sequences `index` of the batch and
/// the time steps from `s.dropping.first` on. `ranks` as in [`LossStep`].
pub(crate) fn loss<T: Scalar>(
    s: &mut Scratch<T>,
    answers: &Answers<'_, T>,
    index: &[usize],
    (scale, ranks): (T, bool),
) -> Metrics {
    let mut metrics = Metrics::default();
    let (level, head, first) = (simd::level(), s.architecture.head, s.dropping.first);
    let n_y = head.outputs;
    let mut step = LossStep {
        answers,
        rows: index,
        step: 0,
        n_y,
        scale,
        ranks,
    };
    if head.at == At::Last {
        return T::judge(level, head.loss, &mut s.u, step);
    }
    for t in 0..s.steps.count() {
        let rows = s.steps.rows(t);
        let u = &mut s.u[rows.start * n_y..rows.end * n_y];
        step.step = first + t;
        metrics += T::judge(level, head.loss, u, step);
    }
    metrics
}

/// From dU, with room made for the way back, to the gradients of the decoder in `g`, in place of what is there or added to it, and
/// to what goes back to the layers: where the highest layer does not multiply for itself step by step, the gradient of what the
/// head read.
pub(crate) fn head_back<T: Scalar>(
    w: Weights<'_, T>,
    s: &mut Scratch<T>,
    g: &mut Parameters<T>,
    accumulate: bool,
) {
    let a = s.architecture;
    let (width, n_y) = (a.outputs_of_layer(), a.head.outputs);
    decoder_gradients(s, g, accumulate);
    let out = match a.head.at {
        At::Last => &mut s.last,
        At::Every if a.bidirectional => &mut s.dx[0],
        At::Every if w.packed.wide => &mut s.dh[0],
        At::Every => return,
    };
    let (du, n) = (Rows::of(&s.u, n_y), s.u.len() / n_y);
    let out = Out::whole(&mut out[..n * width], width);
    if w.packed.wide {
        let decoder = Rows::of(w.parameters.get(Which::Decoder), width);
        gemm_nn(du, decoder, T::zero(), out, n_y);
    } else {
        multiply(Start::Zero, du, &w.packed.decoder_back, out);
    }
    match a.head.at {
        At::Last => drop_last(s),
        At::Every => drop_gradient(s, 0),
    }
}

/// `dW_decoder = sum_t dU_t^T H_t`, `db_decoder = sum_t dU_t^T 1`: one product each for as many steps as the layers take.
fn decoder_gradients<T: Scalar>(s: &Scratch<T>, g: &mut Parameters<T>, mut accumulate: bool) {
    let a = s.architecture;
    let (width, n_y, h) = (a.outputs_of_layer(), a.head.outputs, answered_from(s));
    let mut add = |rows: std::ops::Range<usize>| {
        let beta = if accumulate { T::one() } else { T::zero() };
        let du = &s.u[rows.start * n_y..rows.end * n_y];
        let out = Out::whole(g.get_mut(Which::Decoder), width);
        gemm_tn(Rows::of(du, n_y), h.skip(rows.start), beta, out, rows.len());
        let bias = g.get_mut(Which::DecoderBias);
        if !accumulate {
            bias.fill(T::zero());
        }
        T::sum_rows(simd::level(), Rows::of(du, n_y), bias);
        accumulate = true;
    };
    match a.head.at {
        At::Every => chunks_back(&s.steps, 1).for_each(|chunk| add(s.steps.rows_of(chunk))),
        At::Last => add(0..s.u.len() / n_y),
    }
}
