//! Back through the layers: from the gradient of what leaves the highest to those of all weights.

use super::{drop_gradient, input, multiply};
use crate::architecture::{At, Input, Which};
use crate::kernels::packed::{Out, Packed, Start};
use crate::kernels::rows::{Rows, scatter_add};
use crate::layer::{Above, Back, Layer, backward, sum_gradients};
use crate::scratch::{LayerScratch, Scratch};
use crate::weights::{PackedNetwork, reaches_inputs};
use crate::{Parameters, Scalar};

/// From the gradient of what leaves the highest layer to the gradients `g` of all layers and of the embedding, in place of what is
/// there or added to it. Leaves to the segment of time before what it needs, and to the caller the gradients of the inputs
/// and states.
///
/// The gradient comes from the head, by [`head_back`](super::head_back); or from whoever runs the layers alone: it is in `s.dh[0]`, or
/// of both directions in `s.dx[0]`, and that of the states after the last steps in `s.d_state` and the carries.
pub(crate) fn layers_back<T: Scalar>(
    packed: &PackedNetwork<T>,
    s: &mut Scratch<T>,
    g: &mut Parameters<T>,
    accumulate: bool,
) {
    let (a, alone) = (s.architecture, !s.dropping.head);
    for layer in (0..a.layers).rev() {
        for d in 0..a.directions() {
            let i = layer * a.directions() + d;
            recurrence_back(packed, s, g, i, accumulate);
            if reaches_inputs(&a, i, alone) && (a.bidirectional || a.is_first(i)) {
                input_gradient(packed, s, i);
            }
        }
        if layer > 0 {
            drop_gradient(s, a.layers - layer);
        }
    }
    let dx = &mut s.dx[a.layers % 2];
    if reaches_inputs(&a, 0, alone) {
        let width = a.input.width();
        if let Some(mut mask) = s.dropping.inputs(width) {
            mask.apply_to_steps(&s.steps, dx, width);
        }
    }
    if let Input::Embedding { size, .. } = a.input {
        let table = g.get_mut(Which::Encoder);
        // What a tied decoder has added to it already stays.
        if !(accumulate || a.head.tied && !alone) {
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
    accumulate: bool,
) {
    let (a, head) = (s.architecture, s.dropping.head);
    let (n_h, directions) = (a.hidden, a.directions());
    let (layer, direction) = (i / directions, i % directions);
    let depth = a.layers - 1 - layer;
    let answers_last = depth == 0 && head && a.head.at == At::Last;
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
        None if packed.wide || !head => Above::Ready,
        None => Above::Product(Rows::of(&s.u, a.head.outputs), &packed.decoder_back),
    };
    let of_state = i * a.recurrence_state();
    let ends = match head {
        true => Rows::of(&s.last, a.outputs_of_layer()).columns(direction * n_h),
        false => Rows::of(&s.d_state, a.state()).columns(of_state),
    };
    let dropped = s.dropping.outputs(depth, n_h);
    let back = Back {
        weights: &packed.back[i],
        input: input(&a, &[], (&s.x, &s.ids, s.token_scale), below, s.steps.n),
        above,
        ends: (answers_last || !head).then_some(ends),
        dh: &mut *dh,
        gathered: &mut s.gathered,
        dropped: dropped.filter(|_| !a.bidirectional && !answers_last),
        accumulate,
    };
    backward(&l, &s.steps, this, g, back);
    // The segment before, if there is one, goes on from the gradients of this one's first step.
    let alive = s.steps.rows_of(0..s.steps.count().min(1)).len();
    let goes_on = s.dropping.first > 0 || !head;
    let first = alive * l.form.columns * n_h * goes_on as usize;
    let sums = sum_gradients(&l, &this.sums, dh);
    this.after.clear();
    this.after.extend_from_slice(&sums.data[..first]);
    if !head {
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
