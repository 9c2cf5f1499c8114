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

mod backward;
mod forward;
mod head;

pub(crate) use backward::layers_back;
pub(crate) use forward::states;
pub(crate) use head::{head_back, logits, loss, take_last};

use crate::architecture::Architecture;
use crate::kernels::packed::{Out, Packed, Source, Start};
use crate::kernels::rows::Rows;
use crate::kernels::simd;
use crate::layer::LayerInput;
use crate::scratch::{LayerScratch, Scratch};
use crate::weights::PackedNetwork;
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

/// What leaves the highest layer at every step.
pub(crate) fn hidden<T>(s: &Scratch<T>) -> Rows<'_, T> {
    let a = &s.architecture;
    let top = &s.recurrences[(a.layers - 1) * a.directions()];
    outputs(a, top, s.steps.n)
}

fn multiply<T: Scalar>(start: Start<'_, T>, rows: Rows<'_, T>, by: &Packed<T>, out: Out<'_, T>) {
    let source = Source { rows, weights: by };
    T::multiply(simd::level(), start, &[source], out);
}

/// Of both directions, the gradient of the outputs of the `depth`th layer from the top, as far as they were not dropped. (Of one
/// direction, the layer does that.)
fn drop_gradient<T: Scalar>(s: &mut Scratch<T>, depth: usize) {
    let (a, width) = (s.architecture, s.architecture.outputs_of_layer());
    if let (true, Some(mut mask)) = (a.bidirectional, s.dropping.outputs(depth, width)) {
        mask.apply_to_steps(&s.steps, &mut s.dx[depth % 2], width);
    }
}
