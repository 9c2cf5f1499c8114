//! Layers one on the other, and the head: one shard, some time steps, there and back.
//!
//! ```text
//! forward   inputs -> layer 0 -> ... -> layer L-1 -> U = H W_decoder^T + b_decoder
//! backward  dU -> dW_decoder, and layer L-1 -> ... -> layer 0 -> embedding
//! ```
//!
//! With both directions, a layer is two recurrences over the same rows, of which the second reads its sequences turned over; what
//! leaves them is put side by side for the layer above, once in either order. Where a network answers once a sequence, the head
//! reads the states after the last steps, and their gradient goes back to these alone.
//!
//! Dropout is on what enters the first layer and on what leaves each layer. Knows nothing of threads, nor where the batch
//! came from.

use crate::architecture::{Architecture, At, Input, Which};
use crate::heads::{LossStep, Metrics};
use crate::kernels::blas::{gemm_nn, gemm_nt, gemm_tn};
use crate::kernels::packed::{Out, Packed, Source, Start};
use crate::kernels::rows::{Rows, scatter_add};
use crate::kernels::simd;
use crate::layer::{Above, Back, Layer, LayerInput, backward, chunks_back, forward, sum_gradients};
use crate::scratch::{LayerScratch, NO_TOKEN, Scratch};
use crate::steps::Steps;
use crate::targets::Answers;
use crate::weights::{PackedNetwork, Passes, reaches_inputs};
use crate::{Parameters, Scalar};

/// A network as a pass needs it.
#[derive(Clone, Copy)]
pub(crate) struct Weights<'a, T: Scalar> {
    pub parameters: &'a Parameters<T>,
    pub packed: &'a PackedNetwork<T>,
}

/// What a recurrence reads: the inputs of its direction, or what leaves the layer below (recurrences below are those of `below`).
/// `table` holds the first layer's weights for one-hot tokens.
fn input<'a, T: Scalar>(
    a: &Architecture,
    table: &'a [T],
    (x, ids, scale): (&'a [Vec<T>; 2], &'a [Vec<u32>; 2], T),
    below: &'a [LayerScratch<T>],
    n: usize,
) -> LayerInput<'a, T> {
    let (i, directions) = (below.len(), a.directions());
    match i.checked_sub(directions) {
        Some(below_i) => LayerInput::Dense(outputs(a, &below[below_i], n)),
        None if a.input.is_one_hot() => LayerInput::Tokens {
            table,
            ids: &ids[i],
            scale,
        },
        None => LayerInput::Dense(Rows::of(&x[i], a.input.width())),
    }
}

/// What leaves the layer of a recurrence at every step, in the order of its direction, for `n` sequences that entered.
fn outputs<'a, T>(a: &Architecture, s: &'a LayerScratch<T>, n: usize) -> Rows<'a, T> {
    match a.bidirectional || !s.outputs.is_empty() {
        true => Rows::of(&s.outputs, a.outputs_of_layer()),
        false => Rows::of(&s.states.h[n * a.hidden..], a.hidden),
    }
}

/// From the inputs (`s.load`, then `s.begin` or `s.go_on`) to the states of all layers.
pub(crate) fn states<T: Scalar>(w: Weights<'_, T>, s: &mut Scratch<T>) {
    let a = s.architecture;
    enter(w, s);
    for i in 0..a.recurrences() {
        let (below, rest) = s.recurrences.split_at_mut(i);
        let (n, bias) = (s.steps.n(), w.parameters.get(Which::Bias(i)));
        let table = w.parameters.get(Which::WeightIh(i));
        let input = input(&a, table, (&s.x, &s.ids, s.token_scale), below, n);
        let (l, weights) = (Layer::of(&a, i), &w.packed.forward[i]);
        forward(&l, weights, bias, &s.steps, input, &mut rest[0]);
        if (i + 1).is_multiple_of(a.directions()) {
            leave(s, i / a.directions());
        }
    }
}

/// What the first layer reads, in the order of each direction: tokens embedded, some of it dropped.
fn enter<T: Scalar>(w: Weights<'_, T>, s: &mut Scratch<T>) {
    let a = s.architecture;
    let width = a.input.width();
    if let Input::Embedding { .. } = a.input {
        let table = w.parameters.get(Which::Encoder);
        for (x, &id) in s.x[0].chunks_exact_mut(width).zip(&s.ids[0]) {
            x.copy_from_slice(&table[id as usize * width..][..width]);
        }
    }
    s.token_scale = T::one();
    if a.input.is_one_hot() {
        // A token is one element of its one-hot row.
        if let Some(mut dropped) = s.dropping.inputs(1) {
            s.token_scale = dropped.scale();
            for t in 0..s.steps.count() {
                let ids = &mut s.ids[0][s.steps.rows(t)];
                dropped.draw(t, ids.len(), |i, kept| {
                    if !kept {
                        ids[i] = NO_TOKEN;
                    }
                });
            }
        }
    } else if let Some(mut dropped) = s.dropping.inputs(width) {
        dropped.apply_to_steps(&s.steps, &mut s.x[0], width);
    }
    if a.bidirectional {
        let ([x, turned_x], [ids, turned_ids]) = (&mut s.x, &mut s.ids);
        match a.input.is_one_hot() {
            true => turn(&s.steps, ids, turned_ids, 1),
            false => turn(&s.steps, x, turned_x, width),
        }
    }
}

/// What leaves a layer: both directions side by side, some of it dropped, in the order of each direction that reads it. Of one
/// direction with nothing dropped, its states are read where they are.
fn leave<T: Scalar>(s: &mut Scratch<T>, index: usize) {
    let a = s.architecture;
    let (n, n_h, width) = (s.steps.n(), a.hidden, a.outputs_of_layer());
    let is_top = index + 1 == a.layers;
    let mask = s.dropping.outputs(a.layers - 1 - index, width);
    // At the last step alone, the head reads states, and drops of these.
    let mask = mask.filter(|_| !(is_top && a.head.at == At::Last));
    let len = width * s.steps.extent().rows;
    let of_layer = &mut s.recurrences[index * a.directions()..][..a.directions()];
    match of_layer {
        [only] => {
            only.outputs.clear();
            if mask.is_some() {
                only.outputs.extend_from_slice(&only.states.h[n * n_h..]);
            }
        }
        [forwards, backwards] => {
            forwards.outputs.resize(len, T::zero());
            let h = &forwards.states.h[n * n_h..];
            let turned_h = &backwards.states.h[n * n_h..];
            for (row, turned) in s.steps.turned() {
                let to = &mut forwards.outputs[row * width..][..width];
                let (to_h, to_turned) = to.split_at_mut(n_h);
                to_h.copy_from_slice(&h[row * n_h..][..n_h]);
                to_turned.copy_from_slice(&turned_h[turned * n_h..][..n_h]);
            }
        }
        _ => unreachable!("one direction or two"),
    }
    if let Some(mut mask) = mask {
        mask.apply_to_steps(&s.steps, &mut of_layer[0].outputs, width);
    }
    if let ([forwards, backwards], false) = (of_layer, is_top) {
        backwards.outputs.resize(len, T::zero());
        turn(&s.steps, &forwards.outputs, &mut backwards.outputs, width);
    }
}

/// What leaves the highest layer at every step.
pub(crate) fn hidden<T>(s: &Scratch<T>) -> Rows<'_, T> {
    let a = &s.architecture;
    let top = &s.recurrences[(a.layers - 1) * a.directions()];
    outputs(a, top, s.steps.n())
}

/// Rows of all steps in the other order.
fn turn<V: Copy>(steps: &Steps, from: &[V], to: &mut [V], width: usize) {
    for (row, turned) in steps.turned() {
        to[turned * width..][..width].copy_from_slice(&from[row * width..][..width]);
    }
}

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
        At::Every => drop_gradient(s, a.layers - 1),
    }
}

fn multiply<T: Scalar>(start: Start<'_, T>, rows: Rows<'_, T>, by: &Packed<T>, out: Out<'_, T>) {
    let source = Source { rows, weights: by };
    T::multiply(simd::level(), start, &[source], out);
}

/// Of both directions, the gradient of a layer's outputs, as far as they were not dropped. (Of one, the layer does that.)
fn drop_gradient<T: Scalar>(s: &mut Scratch<T>, layer: usize) {
    let a = s.architecture;
    let (depth, width) = (a.layers - 1 - layer, a.outputs_of_layer());
    if let (true, Some(mut mask)) = (a.bidirectional, s.dropping.outputs(depth, width)) {
        mask.apply_to_steps(&s.steps, &mut s.dx[depth % 2], width);
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
        At::Every => {
            // Where there are no steps at all, gradients of zero.
            let none = (s.steps.count() == 0).then_some(0..0);
            let chunks = chunks_back(&s.steps).chain(none);
            chunks.for_each(|chunk| add(s.steps.rows_of(chunk)));
        }
        At::Last => add(0..s.u.len() / n_y),
    }
}

/// How the layers go back: where the gradient of what leaves the highest comes from, and what becomes of the weights' gradients.
#[derive(Clone, Copy)]
pub(crate) struct How {
    /// From the head, by [`head_back`]; else from whoever runs the layers alone: it is in `s.dh[0]`, or of both directions in
    /// `s.dx[0]`, and that of the states after the last steps in `s.d_state` and the carries.
    pub head: bool,
    /// They are added to those that are there.
    pub accumulate: bool,
}

/// From the gradient of what leaves the highest layer to the gradients `g` of all layers and of the embedding, in place of what is
/// there or added to it. Leaves to the segment of time before what it needs, and to the caller the gradients of the inputs
/// and states.
pub(crate) fn layers_back<T: Scalar>(
    packed: &PackedNetwork<T>,
    s: &mut Scratch<T>,
    g: &mut Parameters<T>,
    how: How,
) {
    let a = s.architecture;
    let passes = match how.head {
        true => Passes::ForwardAndBack,
        false => Passes::BackToInputs,
    };
    for layer in (0..a.layers).rev() {
        for d in 0..a.directions() {
            let i = layer * a.directions() + d;
            recurrence_back(packed, s, g, i, how);
            if reaches_inputs(&a, i, passes) && (a.bidirectional || a.is_first(i)) {
                input_gradient(packed, s, i);
            }
        }
        if layer > 0 {
            drop_gradient(s, layer - 1);
        }
    }
    let dx = &mut s.dx[a.layers % 2];
    if reaches_inputs(&a, 0, passes) {
        let width = a.input.width();
        if let Some(mut mask) = s.dropping.inputs(width) {
            mask.apply_to_steps(&s.steps, dx, width);
        }
    }
    if let Input::Embedding { size, .. } = a.input {
        let table = g.get_mut(Which::Encoder);
        // What a tied decoder has added to it already stays.
        if !(how.accumulate || a.head.tied && how.head) {
            table.fill(T::zero());
        }
        let rows = Rows::of(&dx[..s.ids[0].len() * size], size);
        scatter_add(rows, &s.ids[0], T::one(), table, size);
    }
}

/// One recurrence, its gradients of the sums left in place.
fn recurrence_back<T: Scalar>(
    packed: &PackedNetwork<T>,
    s: &mut Scratch<T>,
    g: &mut Parameters<T>,
    i: usize,
    how: How,
) {
    let a = s.architecture;
    let (n_h, directions) = (a.hidden, a.directions());
    let (layer, direction) = (i / directions, i % directions);
    let depth = a.layers - 1 - layer;
    let answers_last = depth == 0 && how.head && a.head.at == At::Last;
    if a.bidirectional && !answers_last {
        // Its columns of the gradient of the layer's outputs, in its own order.
        let (dx, dh) = (&s.dx[depth % 2], &mut s.dh[0]);
        for (row, turned) in s.steps.turned() {
            let to = if direction == 0 { row } else { turned };
            let from = &dx[row * 2 * n_h + direction * n_h..][..n_h];
            dh[to * n_h..][..n_h].copy_from_slice(from);
        }
    }
    let l = Layer::of(&a, i);
    let (below, rest) = s.recurrences.split_at_mut(i);
    let (this, upper) = rest.split_first_mut().expect("there are so many");
    // A layer in place leaves its gradients in one buffer while the layer below writes the other.
    let [even, odd] = &mut s.dh;
    let (dh, dh_above) = match l.form.in_place && !a.bidirectional && depth % 2 == 1 {
        true => (odd, even),
        false => (even, odd),
    };
    let above = match upper.first() {
        _ if answers_last => Above::Nothing,
        _ if a.bidirectional => Above::Ready,
        Some(upper) => {
            let sums = sum_gradients(&l, &upper.sums, dh_above);
            Above::Product(sums, &packed.back[i + 1].ih)
        }
        None if packed.wide || !how.head => Above::Ready,
        None => Above::Product(Rows::of(&s.u, a.head.outputs), &packed.decoder_back),
    };
    let of_state = i * a.recurrence_state();
    let ends = match how.head {
        true => Rows::of(&s.last, a.outputs_of_layer()).columns(direction * n_h),
        false => Rows::of(&s.d_state, a.state()).columns(of_state),
    };
    let dropped = s.dropping.outputs(depth, n_h);
    let back = Back {
        weights: &packed.back[i],
        input: input(&a, &[], (&s.x, &s.ids, s.token_scale), below, s.steps.n()),
        above,
        ends: (answers_last || !how.head).then_some(ends),
        dh: &mut *dh,
        gathered: &mut s.gathered,
        dropped: dropped.filter(|_| !a.bidirectional && !answers_last),
        accumulate: how.accumulate,
    };
    backward(&l, &s.steps, this, g, back);
    // The segment before, if there is one, goes on from the gradients of this one's first step.
    let alive = s.steps.rows_of(0..s.steps.count().min(1)).len();
    let goes_on = s.dropping.first > 0 || !how.head;
    let first = alive * l.form.columns * n_h * goes_on as usize;
    let sums = sum_gradients(&l, &this.sums, dh);
    this.after.clear();
    this.after.extend_from_slice(&sums.data[..first]);
    if !how.head {
        let hh = &packed.back[i].hh;
        state_gradient(&l, hh, this, alive, &mut s.d_state[of_state..], a.state());
    }
}

/// The gradient of the state with which the sequences entered a recurrence, in place of that of their last states; a row of `d_state`
/// every `stride` elements. Of sequences without steps, that was it already.
fn state_gradient<T: Scalar>(
    l: &Layer,
    hh: &[Packed<T>],
    s: &LayerScratch<T>,
    alive: usize,
    d_state: &mut [T],
    stride: usize,
) {
    let (n_h, after) = (l.n_h, Rows::of(&s.after, l.form.columns * l.n_h));
    let mut start = Start::Zero;
    let sums = l.form.sums.iter().zip(hh);
    for (sum, weights) in sums.filter(|(sum, _)| sum.hh.is_some()) {
        let out = Out {
            data: &mut *d_state,
            stride,
            n: alive,
            m: n_h,
        };
        multiply(start, after.columns(sum.columns.start * n_h), weights, out);
        start = Start::Out;
    }
    for (i, d) in d_state.chunks_mut(stride).enumerate() {
        if let Some(carry) = s.carry.h.get(i * n_h..(i + 1) * n_h) {
            d.iter_mut().zip(carry).for_each(|(d, &carry)| *d += carry);
        }
        if let Some(carry) = s.carry.c.get(i * n_h..(i + 1) * n_h) {
            d[n_h..2 * n_h].copy_from_slice(carry);
        }
    }
}

/// What a recurrence gives to the gradient of its inputs, of the second direction turned back and added to that of the first.
fn input_gradient<T: Scalar>(packed: &PackedNetwork<T>, s: &mut Scratch<T>, i: usize) {
    let a = s.architecture;
    let (l, width, directions) = (Layer::of(&a, i), a.inputs_of(i), a.directions());
    let depth = a.layers - 1 - i / directions;
    // The second direction of a cell in place has overwritten what the first one left, which was taken before.
    let alone = l.form.in_place && !a.bidirectional;
    let k = if alone { depth % 2 } else { 0 };
    let sums = sum_gradients(&l, &s.recurrences[i].sums, &s.dh[k]);
    let (weights, dx) = (&packed.back[i].ih, &mut s.dx[(depth + 1) % 2]);
    if i.is_multiple_of(directions) {
        let dx = &mut dx[..s.steps.extent().rows * width];
        return multiply(Start::Zero, sums, weights, Out::whole(dx, width));
    }
    let mut turned = s.steps.turned();
    for t in 0..s.steps.count() {
        let rows = s.steps.rows(t);
        s.turning.resize(rows.len() * width, T::zero());
        let (of_step, out) = (sums.skip(rows.start), Out::whole(&mut s.turning, width));
        multiply(Start::Zero, of_step, weights, out);
        for (from, (_, to)) in s.turning.chunks_exact(width).zip(&mut turned) {
            let to = &mut dx[to * width..][..width];
            to.iter_mut().zip(from).for_each(|(to, &d)| *to += d);
        }
    }
}
