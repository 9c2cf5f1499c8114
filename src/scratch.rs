//! Every buffer of a shard, in one table: [`Scratch`].
//!
//! [`buffers`] says which there are and how long each is; they are made by that table, and [`Scratch::bytes`] adds it up. Rows
//! are those of [`crate::steps`]. (What is dropped of a layer's outputs is copied to one buffer more a layer, not counted.)
//!
//! | buffer | rows | | forward | loss | backward |
//! |---|---|---|---|---|---|
//! | `x` or `ids` | steps | `n_x` | the inputs | | the inputs |
//! | `h`, `c` of a layer | `n` and steps | `n_h` | the states | | the states |
//! | `sums` of a layer | steps | `columns n_h` | sums, then activations | | become the gradients of the sums |
//! | `u` | steps | `n_y` | logits | become dU | dU |
//! | `dh` | steps, or one step | `n_h` | | | the gradient of `h`; of a cell in place that of its sums |
//!
//! For one Elman layer, whose sums stand in place, that is `2 n_h + n_y` values per sequence and step beside the inputs.
//! Contents are unspecified between calls. Knows where things lie; knows nothing of what they mean.

use crate::architecture::{Architecture, Input};
use crate::cells::State;
use crate::steps::{Assigned, Extent, Steps};
use crate::weights::has_wide_decoder;
use crate::{Inputs, Scalar};
use ndarray::ArrayView2;
use std::ops::Range;

/// Rows of one gate from which on the gradients of the sums are taken into the weights' gradients: enough for BLAS, few
/// enough that they come from the third-level cache.
pub(crate) const CHUNK: usize = 2048;

/// The id of a token that is none: its one-hot row is zero.
pub(crate) const NO_TOKEN: u32 = u32::MAX;

/// The scratch of one shard; the module shows what lies where.
#[derive(Clone, Debug)]
pub(crate) struct Scratch<T> {
    architecture: Architecture,
    pub steps: Steps,
    pub x: Vec<T>,
    pub ids: Vec<u32>,
    /// The size of a token's one in its one-hot row: more than 1 where others are dropped.
    pub token_scale: T,
    pub layers: Vec<LayerScratch<T>>,
    pub u: Vec<T>,
    /// Two, for a layer reads the gradients of the layer above while it writes its own.
    pub dh: [Vec<T>; 2],
    /// States before each of a few steps, row beside row, where sequences end among them.
    pub gathered: Vec<T>,
}

/// The buffers of a layer.
#[derive(Clone, Debug, Default)]
pub(crate) struct LayerScratch<T> {
    /// `h` and, for cells that have it, `c`.
    pub states: State<Vec<T>>,
    pub sums: Vec<T>,
    /// What of `h` goes on to the layer above or the head, where some of it is dropped: steps x `n_h`. Else unused.
    pub dropped: Vec<T>,
    /// The gradients of the sums of the step after the last, of the sequences that have one: what a segment of time leaves to
    /// the segment before. Empty for the last segment.
    pub after: Vec<T>,
    /// The gradients of each sequence's state that do not come through products.
    pub carry: State<Vec<T>>,
}

/// Which buffer of the table.
#[derive(Clone, Copy, Debug)]
enum Buffer {
    X,
    Ids,
    H(usize),
    C(usize),
    Sums(usize),
    U,
    Dh(usize),
    After(usize),
    CarryH(usize),
    CarryC(usize),
    Gathered,
}

/// Who gives a buffer its length.
#[derive(PartialEq, Eq)]
enum Filled {
    /// The scratch, before a pass forward.
    Forward,
    /// The scratch, before a pass back.
    Back,
    /// Whoever fills it, up to the length in the table.
    Elsewhere,
}

impl Buffer {
    fn filled(self) -> Filled {
        match self {
            Buffer::Dh(_) => Filled::Back,
            Buffer::After(_) | Buffer::CarryH(_) | Buffer::CarryC(_) | Buffer::Gathered => {
                Filled::Elsewhere
            }
            _ => Filled::Forward,
        }
    }
}

/// The table: every buffer of a pass over some steps, with its elements.
fn buffers(a: Architecture, extent: Extent) -> impl Iterator<Item = (Buffer, usize)> {
    let (form, n_h) = (a.cell.form(), a.hidden);
    let Extent { n, rows, ragged } = extent;
    let two_states = (form.states == 2) as usize;
    let of_layer = move |layer| {
        [
            (Buffer::H(layer), (n + rows) * n_h),
            (Buffer::C(layer), (n + rows) * n_h * two_states),
            (
                Buffer::Sums(layer),
                rows * form.columns * n_h * !form.in_place as usize,
            ),
            (Buffer::After(layer), n * form.columns * n_h),
            (Buffer::CarryH(layer), n * n_h * form.passes_h as usize),
            (Buffer::CarryC(layer), n * n_h * two_states),
        ]
    };
    let input = match a.input {
        Input::Features(n_x) => (Buffer::X, rows * n_x),
        Input::Tokens(_) => (Buffer::Ids, rows),
    };
    // A wide decoder gives the gradients of all steps at once; of a cell in place they become those of the sums.
    let all_rows = |whole| if whole { rows } else { n };
    let dh = [
        (
            Buffer::Dh(0),
            n_h * all_rows(form.in_place || has_wide_decoder(&a)),
        ),
        (
            Buffer::Dh(1),
            n_h * rows * (form.in_place && a.layers > 1) as usize,
        ),
    ];
    let chunk = rows.min(CHUNK / form.columns + n) * ragged as usize;
    std::iter::once(input)
        .chain([(Buffer::Gathered, chunk * n_h)])
        .chain((0..a.layers).flat_map(of_layer))
        .chain([(Buffer::U, rows * a.head.outputs)])
        .chain(dh)
}

impl<T: Scalar> Scratch<T> {
    /// An empty one: buffers grow to the first batch and are kept.
    pub fn new(architecture: Architecture) -> Self {
        Scratch {
            architecture,
            steps: Steps::default(),
            x: Vec::new(),
            ids: Vec::new(),
            token_scale: T::one(),
            layers: vec![LayerScratch::default(); architecture.layers],
            u: Vec::new(),
            dh: [Vec::new(), Vec::new()],
            gathered: Vec::new(),
        }
    }

    /// How many bytes the buffers come to in a training step without dropout.
    pub fn bytes(architecture: &Architecture, extent: Extent) -> usize {
        let size = |(buffer, len)| match buffer {
            Buffer::Ids => len * size_of::<u32>(),
            _ => len * size_of::<T>(),
        };
        buffers(*architecture, extent).map(size).sum()
    }

    /// Makes room for time steps `steps` of these sequences, as far as a pass forward needs it.
    fn lay_out(&mut self, assigned: &Assigned, steps: Range<usize>) {
        self.steps.lay_out(assigned, steps);
        self.make_room(Filled::Forward);
    }

    /// Makes room for the way back over the steps at hand.
    pub fn lay_out_back(&mut self) {
        self.make_room(Filled::Back);
    }

    fn make_room(&mut self, filled: Filled) {
        let table = buffers(self.architecture, self.steps.extent());
        for (buffer, len) in table.filter(|(buffer, _)| buffer.filled() == filled) {
            match buffer {
                Buffer::Ids => self.ids.resize(len, NO_TOKEN),
                _ => self.buffer(buffer).resize(len, T::zero()),
            }
        }
    }

    fn buffer(&mut self, buffer: Buffer) -> &mut Vec<T> {
        match buffer {
            Buffer::X => &mut self.x,
            Buffer::H(layer) => &mut self.layers[layer].states.h,
            Buffer::C(layer) => &mut self.layers[layer].states.c,
            Buffer::Sums(layer) => &mut self.layers[layer].sums,
            Buffer::U => &mut self.u,
            Buffer::Dh(i) => &mut self.dh[i],
            Buffer::After(layer) => &mut self.layers[layer].after,
            Buffer::CarryH(layer) => &mut self.layers[layer].carry.h,
            Buffer::CarryC(layer) => &mut self.layers[layer].carry.c,
            Buffer::Gathered => &mut self.gathered,
            Buffer::Ids => unreachable!("ids are no numbers"),
        }
    }

    /// Elements of a sequence's inputs at a step: one, if they are tokens.
    pub fn input_width(&self) -> usize {
        match self.architecture.input {
            Input::Features(n_x) => n_x,
            Input::Tokens(_) => 1,
        }
    }

    /// Takes in the inputs of time steps `steps` of these sequences of a batch.
    ///
    /// # Panics
    /// If the inputs do not fit the network ([`Inputs::check`]) or have fewer rows or steps.
    pub fn load(&mut self, inputs: &Inputs<'_, T>, assigned: &Assigned, steps: Range<usize>) {
        self.lay_out(assigned, steps.clone());
        let n_x = self.architecture.input.size();
        for (t, step) in steps.enumerate() {
            let rows = self.steps.rows(t);
            match inputs {
                Inputs::Dense(from) => {
                    let to = &mut self.x[rows.start * n_x..rows.end * n_x];
                    for (to, &row) in to.chunks_exact_mut(n_x).zip(assigned.index()) {
                        let from = from.slice(ndarray::s![row, step, ..]);
                        match from.as_slice() {
                            Some(from) => to.copy_from_slice(from),
                            None => to.iter_mut().zip(from).for_each(|(to, &from)| *to = from),
                        }
                    }
                }
                Inputs::Tokens(from) => {
                    for (to, &row) in self.ids[rows].iter_mut().zip(assigned.index()) {
                        *to = from[[row, step]];
                    }
                }
            }
        }
    }

    /// The sequences begin with their rows of `state [N, W]`, or with zero.
    ///
    /// # Panics
    /// If `state` has fewer rows or another width.
    pub fn begin(&mut self, state: Option<ArrayView2<'_, T>>, assigned: &Assigned) {
        for i in 0..self.steps.n() {
            match &state {
                Some(state) => {
                    let row = state.row(assigned.index()[i]);
                    self.begin_row(i, |k| row[k]);
                }
                None => self.begin_row(i, |_| T::zero()),
            }
        }
    }

    /// The sequences go on from the states `[n, W]` they had after the time step before.
    pub fn go_on(&mut self, states: &[T]) {
        let width = self.architecture.state();
        for (i, row) in states.chunks_exact(width).enumerate() {
            self.begin_row(i, |k| row[k]);
        }
    }

    /// Sets the states with which sequence `i` enters to the elements of a state row.
    fn begin_row(&mut self, i: usize, element: impl Fn(usize) -> T) {
        let n_h = self.architecture.hidden;
        let mut k = 0;
        for LayerScratch { states, .. } in &mut self.layers {
            for values in [&mut states.h, &mut states.c] {
                if !values.is_empty() {
                    for (j, to) in values[i * n_h..][..n_h].iter_mut().enumerate() {
                        *to = element(k + j);
                    }
                    k += n_h;
                }
            }
        }
    }

    /// The final states, as far as they are at hand, into state rows `[rows, W]`: of the sequences that end here, and of those
    /// that go on the states so far.
    pub fn copy_last_states(&self, finals: &mut [T]) {
        let (n_h, width) = (self.architecture.hidden, self.architecture.state());
        for t in 0..=self.steps.count() {
            // Block t holds the states before step t; whoever is in it and not alive at step t has ended.
            let block = self.steps.block(t);
            let first = match t < self.steps.count() {
                true => self.steps.alive(t),
                false => 0,
            };
            for i in first..block.len() {
                let mut row = &mut finals[i * width..][..width];
                for LayerScratch { states, .. } in &self.layers {
                    for values in [&states.h, &states.c] {
                        if !values.is_empty() {
                            let (to, rest) = row.split_at_mut(n_h);
                            to.copy_from_slice(&values[(block.start + i) * n_h..][..n_h]);
                            row = rest;
                        }
                    }
                }
            }
        }
    }

    /// How many sequences are alive at the last step.
    pub fn last_alive(&self) -> usize {
        self.steps.block(self.steps.count()).len()
    }
}
