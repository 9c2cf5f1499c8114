//! Layers one on the other, and the head: one shard, some time steps, there and back.
//!
//! ```text
//! forward   inputs -> layer 0 -> ... -> layer L-1 -> U = H W_decoder^T + b_decoder
//! backward  dU -> dW_decoder, and layer L-1 -> ... -> layer 0
//! ```
//!
//! Dropout is on what enters the first layer and on what leaves each layer. Knows nothing of threads, nor where the batch
//! came from.

use crate::architecture::{Architecture, Which};
use crate::dropout::Dropping;
use crate::heads::Metrics;
use crate::heads::cross_entropy::LossStep;
use crate::kernels::blas::{gemm_nn, gemm_nt, gemm_tn};
use crate::kernels::packed::{Out, Source, Start};
use crate::kernels::rows::Rows;
use crate::kernels::simd;
use crate::layer::{Above, Back, Layer, LayerInput, backward, chunks_back, forward, sum_gradients};
use crate::scratch::{LayerScratch, Scratch};
use crate::targets::Answers;
use crate::weights::PackedNetwork;
use crate::{Parameters, Scalar};

/// A network as a pass needs it.
#[derive(Clone, Copy)]
pub(crate) struct Weights<'a, T: Scalar> {
    pub parameters: &'a Parameters<T>,
    pub packed: &'a PackedNetwork<T>,
}

fn layer<T: Scalar>(architecture: &Architecture, index: usize) -> Layer<T> {
    Layer {
        level: simd::level(),
        index,
        n_h: architecture.hidden,
        form: architecture.cell.form(),
        cell: T::cell(architecture.cell),
    }
}

/// What a layer reads, of the first layer's inputs and the layers below.
fn input<'a, T: Scalar>(
    w: Weights<'a, T>,
    x: &'a [T],
    ids: &'a [u32],
    scale: T,
    below: &'a [LayerScratch<T>],
    n: usize,
) -> LayerInput<'a, T> {
    let architecture = w.parameters.architecture();
    match below.last() {
        Some(below) => LayerInput::Dense(outputs(&architecture, below, n)),
        None if architecture.input.is_tokens() => LayerInput::Tokens {
            table: w.parameters.get(Which::WeightIh(0)),
            ids,
            scale,
        },
        None => LayerInput::Dense(Rows::of(x, architecture.input.size())),
    }
}

/// What leaves a layer at every step, for `n` sequences that entered.
fn outputs<'a, T>(a: &Architecture, s: &'a LayerScratch<T>, n: usize) -> Rows<'a, T> {
    match s.dropped.is_empty() {
        true => Rows::of(&s.states.h[n * a.hidden..], a.hidden),
        false => Rows::of(&s.dropped, a.hidden),
    }
}

/// From the inputs (`s.load`, then `s.begin` or `s.go_on`) to the states of all layers.
pub(crate) fn states<T: Scalar>(w: Weights<'_, T>, s: &mut Scratch<T>, dropping: &Dropping<'_>) {
    let architecture = w.parameters.architecture();
    let n_h = architecture.hidden;
    for i in 0..architecture.layers {
        let (below, rest) = s.layers.split_at_mut(i);
        let (n, bias) = (s.steps.n(), w.parameters.get(Which::Bias(i)));
        let input = input(w, &s.x, &s.ids, s.token_scale, below, n);
        let l = layer(&architecture, i);
        forward(
            &l,
            &w.packed.forward[i],
            bias,
            &s.steps,
            input,
            &mut rest[0],
        );
        let LayerScratch {
            dropped, states, ..
        } = &mut rest[0];
        dropped.clear();
        if let Some(mut mask) = dropping.outputs(architecture.layers - 1 - i, n_h) {
            dropped.extend_from_slice(&states.h[n * n_h..]);
            for t in 0..s.steps.count() {
                let rows = s.steps.rows(t);
                mask.apply(t, &mut dropped[rows.start * n_h..rows.end * n_h]);
            }
        }
    }
}

/// After [`states`]: the logits of every step.
pub(crate) fn logits<T: Scalar>(w: Weights<'_, T>, s: &mut Scratch<T>) {
    let architecture = w.parameters.architecture();
    let (n_h, n_y) = (architecture.hidden, architecture.head.outputs);
    let top = s.layers.last().expect("a network has a layer");
    let h = outputs(&architecture, top, s.steps.n());
    let bias = w.parameters.get(Which::DecoderBias);
    let out = Out::whole(&mut s.u, n_y);
    if w.packed.wide {
        out.data
            .chunks_exact_mut(n_y)
            .for_each(|u| u.copy_from_slice(bias));
        let decoder = Rows::of(w.parameters.get(Which::Decoder), n_h);
        return gemm_nt(h, decoder, T::one(), out, n_h);
    }
    let source = Source {
        rows: h,
        weights: &w.packed.decoder,
    };
    T::multiply(simd::level(), Start::Bias(bias), &[source], out);
}

/// Turns the logits into their gradients, `scale` times those of the summed loss, for the sequences `index` of the batch and
/// the time steps from `first` on that `s` was loaded with.
pub(crate) fn loss<T: Scalar>(
    s: &mut Scratch<T>,
    answers: &Answers<'_, T>,
    index: &[usize],
    n_y: usize,
    first: usize,
    scale: T,
) -> Metrics {
    let mut metrics = Metrics::default();
    for t in 0..s.steps.count() {
        let rows = s.steps.rows(t);
        let step = LossStep {
            answers,
            rows: index,
            step: first + t,
            n_y,
            scale,
        };
        let u = &mut s.u[rows.start * n_y..rows.end * n_y];
        metrics += T::cross_entropy(simd::level(), u, step);
    }
    metrics
}

/// From dU to the gradients `g`, in place of what is there or added to it. Leaves to the segment of time before what it needs.
pub(crate) fn back<T: Scalar>(
    w: Weights<'_, T>,
    s: &mut Scratch<T>,
    g: &mut Parameters<T>,
    dropping: &Dropping<'_>,
    accumulate: bool,
) {
    let architecture = w.parameters.architecture();
    let n_h = architecture.hidden;
    s.lay_out_back();
    decoder_gradients(&architecture, s, g, accumulate);
    if w.packed.wide {
        let (decoder, n_y) = (w.parameters.get(Which::Decoder), architecture.head.outputs);
        let (du, decoder) = (Rows::of(&s.u, n_y), Rows::of(decoder, n_h));
        gemm_nn(du, decoder, T::zero(), Out::whole(&mut s.dh[0], n_h), n_y);
    }
    for i in (0..architecture.layers).rev() {
        let l = layer(&architecture, i);
        let (below, rest) = s.layers.split_at_mut(i);
        let (this, upper) = rest.split_first_mut().expect("there are so many layers");
        // A layer in place leaves its gradients in one buffer while the layer below writes the other.
        let [even, odd] = &mut s.dh;
        let (dh, dh_above) = match l.form.in_place && (architecture.layers - i).is_multiple_of(2) {
            true => (odd, even),
            false => (even, odd),
        };
        let above = match upper.first() {
            Some(upper) => Above::Product(
                sum_gradients(&l, &upper.sums, dh_above),
                &w.packed.back[i + 1].ih,
            ),
            None if w.packed.wide => Above::Ready,
            None => Above::Product(
                Rows::of(&s.u, architecture.head.outputs),
                &w.packed.decoder_back,
            ),
        };
        let back = Back {
            weights: &w.packed.back[i],
            input: input(w, &s.x, &s.ids, s.token_scale, below, s.steps.n()),
            above,
            dh: &mut *dh,
            gathered: &mut s.gathered,
            dropped: dropping.outputs(architecture.layers - 1 - i, n_h),
            accumulate,
        };
        backward(&l, &s.steps, this, g, back);
        // The segment before, if there is one, goes on from the gradients of this one's first step.
        let first = match dropping.first {
            0 => 0,
            _ => s.steps.alive(0) * l.form.columns * n_h,
        };
        let sums = sum_gradients(&l, &this.sums, dh).data;
        this.after.clear();
        this.after.extend_from_slice(&sums[..first]);
    }
}

/// `dW_decoder = sum_t dU_t^T H_t`, `db_decoder = sum_t dU_t^T 1`: one product each for as many steps as the layers take.
fn decoder_gradients<T: Scalar>(
    architecture: &Architecture,
    s: &Scratch<T>,
    g: &mut Parameters<T>,
    mut accumulate: bool,
) {
    let (n_h, n_y) = (architecture.hidden, architecture.head.outputs);
    let top = s.layers.last().expect("a network has a layer");
    let h = outputs(architecture, top, s.steps.n());
    if !accumulate {
        g.get_mut(Which::Decoder).fill(T::zero());
        g.get_mut(Which::DecoderBias).fill(T::zero());
    }
    for chunk in chunks_back(&s.steps) {
        let rows = s.steps.rows_of(chunk);
        let beta = if accumulate { T::one() } else { T::zero() };
        let du = &s.u[rows.start * n_y..rows.end * n_y];
        let out = Out::whole(g.get_mut(Which::Decoder), n_h);
        gemm_tn(Rows::of(du, n_y), h.skip(rows.start), beta, out, rows.len());
        let bias = g.get_mut(Which::DecoderBias);
        T::sum_rows(simd::level(), Rows::of(du, n_y), bias);
        accumulate = true;
    }
}
