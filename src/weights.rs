//! The weights of a network laid out for its products, once for all shards of a process: [`PackedNetwork`].

use crate::architecture::{Architecture, Input, Which};
use crate::cells::Sum;
use crate::kernels::packed::Packed;
use crate::kernels::simd;
use crate::{Parameters, Scalar};
use ndarray::{ArrayView2, s};
use rayon::prelude::*;
use std::ops::Range;

/// Elements of the decoder from which on the products with it are BLAS's: packed, it would fill the caches by itself.
/// Measured with 256 hidden units: even at 1,000 classes, BLAS a third faster at 10,000.
const WIDE_DECODER: usize = 1 << 18;

/// Elements of a network from which on it is packed on several threads: some microseconds of work. A thread that finds none for
/// longer than that falls asleep, and waking it would take longer still.
const PARALLEL: usize = 1 << 12;

/// What the products of a pass multiply with.
#[derive(Debug, Default)]
pub(crate) struct PackedNetwork<T> {
    /// Of each recurrence, on the way forward.
    pub forward: Vec<ForwardWeights<T>>,
    /// Of each recurrence, on the way back.
    pub back: Vec<BackWeights<T>>,
    /// `decoder^T [D n_h, n_y]`, to the logits; empty for a wide decoder.
    pub decoder: Packed<T>,
    /// `decoder [n_y, D n_h]`, back from them; empty for a wide decoder.
    pub decoder_back: Packed<T>,
    /// Whether the products with the decoder are left to BLAS.
    pub wide: bool,
}

/// For each sum of a cell's form, on the way forward: `weight_ih^T [inputs, columns n_h]`, empty where the inputs are tokens, and
/// `weight_hh^T [n_h, columns n_h]`; either empty where the sum has none.
pub(crate) type ForwardWeights<T> = Vec<[Packed<T>; 2]>;

/// The weights of a recurrence on the way back.
#[derive(Debug, Default)]
pub(crate) struct BackWeights<T> {
    /// For each sum `weight_hh [columns n_h, n_h]`; empty where it has none.
    pub hh: Vec<Packed<T>>,
    /// `weight_ih [gates n_h, inputs]`, where the gradient of the inputs is wanted: above the first layer always.
    pub ih: Packed<T>,
}

/// Which passes the weights are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passes {
    Forward,
    ForwardAndBack,
    /// And back to features: for whoever runs the layers alone.
    BackToInputs,
}

/// Whether a pass back finds the gradient of the inputs of a recurrence; that of features only where the layers run `alone`.
pub(crate) fn reaches_inputs(a: &Architecture, recurrence: usize, alone: bool) -> bool {
    match a.input {
        _ if !a.is_first(recurrence) => true,
        Input::Embedding { .. } => true,
        Input::Features(_) => alone,
        Input::Tokens(_) => false,
    }
}

/// Whether products with the decoder are BLAS's, for many rows at a time.
pub(crate) fn has_wide_decoder(architecture: &Architecture) -> bool {
    architecture.tensor(Which::Decoder).len() >= WIDE_DECODER
}

impl<T: Scalar> PackedNetwork<T> {
    /// Packs what a pass needs, on the threads of the pool it is called in, if any; allocates only the first time. `wide` leaves the
    /// decoder to BLAS.
    pub fn pack(&mut self, p: &Parameters<T>, passes: Passes, wide: bool) {
        let architecture = p.architecture();
        let recurrences = architecture.recurrences();
        let back = passes != Passes::Forward;
        self.wide = wide;
        self.forward.resize_with(recurrences, Default::default);
        self.back.resize_with(recurrences, Default::default);
        let (to, from) = (&mut self.decoder, &mut self.decoder_back);
        let mut pack_decoder = || {
            let matrix = p.matrix(Which::Decoder);
            if !wide {
                to.pack(simd::level(), matrix.t());
                if back {
                    from.pack(simd::level(), matrix);
                }
            }
        };
        let back_weights = if back { &mut self.back[..] } else { &mut [] };
        let pack_forward = |(i, weights): (usize, &mut _)| pack_forward(weights, p, i);
        let pack_back = |(i, weights): (usize, &mut _)| pack_back(weights, p, i, passes);
        if architecture.len() < PARALLEL || rayon::current_thread_index().is_none() {
            (self.forward.iter_mut().enumerate()).for_each(pack_forward);
            (back_weights.iter_mut().enumerate()).for_each(pack_back);
            pack_decoder();
        } else {
            let forward = self.forward.par_iter_mut().enumerate();
            let back = back_weights.par_iter_mut().enumerate();
            rayon::join(
                || forward.for_each(pack_forward),
                || {
                    back.for_each(pack_back);
                    pack_decoder();
                },
            );
        }
    }

    /// The bytes of what is packed for a training step.
    pub fn bytes(architecture: &Architecture) -> usize {
        let len = |k, m| Packed::<T>::len(simd::level(), k, m);
        let n_h = architecture.hidden;
        let of_recurrence = |i: usize| -> usize {
            let inputs = architecture.inputs_of(i);
            let form = architecture.cell.form();
            let of_sum = |sum: &Sum| {
                let columns = sum.columns.len() * n_h;
                let has_ih = sum.ih && !architecture.has_table(i);
                let hh = sum.hh.is_some() as usize * (len(n_h, columns) + len(columns, n_h));
                has_ih as usize * len(inputs, columns) + hh
            };
            let back = reaches_inputs(architecture, i, false) as usize;
            let sums: usize = form.sums.iter().map(of_sum).sum();
            sums + back * len(form.gates * n_h, inputs)
        };
        let (n, m) = (architecture.outputs_of_layer(), architecture.head.outputs);
        let decoder = !has_wide_decoder(architecture) as usize * (len(n, m) + len(m, n));
        let recurrences = 0..architecture.recurrences();
        (recurrences.map(of_recurrence).sum::<usize>() + decoder) * size_of::<T>()
    }
}

/// The rows of `weight_ih` or `weight_hh` that are so many blocks of hidden units.
fn blocks<T: Scalar>(p: &Parameters<T>, which: Which, blocks: Range<usize>) -> ArrayView2<'_, T> {
    let n_h = p.architecture().hidden;
    p.matrix(which)
        .slice_move(s![blocks.start * n_h..blocks.end * n_h, ..])
}

fn pack_forward<T: Scalar>(to: &mut ForwardWeights<T>, p: &Parameters<T>, i: usize) {
    let (a, level) = (p.architecture(), simd::level());
    let sums = a.cell.form().sums;
    to.resize_with(sums.len(), Default::default);
    for ([ih, hh], sum) in to.iter_mut().zip(sums) {
        if sum.ih && !a.has_table(i) {
            let rows = blocks(p, Which::WeightIh(i), sum.columns.clone());
            ih.pack(level, rows.reversed_axes());
        }
        if let Some(rows) = sum.hh.clone() {
            hh.pack(level, blocks(p, Which::WeightHh(i), rows).reversed_axes());
        }
    }
}

fn pack_back<T: Scalar>(to: &mut BackWeights<T>, p: &Parameters<T>, i: usize, passes: Passes) {
    let (a, level) = (p.architecture(), simd::level());
    let sums = a.cell.form().sums;
    to.hh.resize_with(sums.len(), Default::default);
    for (hh, sum) in to.hh.iter_mut().zip(sums) {
        if let Some(rows) = sum.hh.clone() {
            hh.pack(level, blocks(p, Which::WeightHh(i), rows));
        }
    }
    if reaches_inputs(&a, i, passes == Passes::BackToInputs) {
        to.ih.pack(level, p.matrix(Which::WeightIh(i)));
    }
}
