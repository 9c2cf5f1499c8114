//! Every buffer of a shard, in one table: [`Scratch`].
//!
//! [`buffers`] says which there are and how long each is; they are made by that table, and [`Scratch::bytes`] adds it up. Rows
//! are those of [`crate::steps`]. (Where some of a layer's outputs is dropped, they are copied to one buffer more a layer, not
//! counted.) A recurrence is one direction of a layer; that which reads backwards has its rows turned over, each sequence's last
//! step first, so that both run forwards.
//!
//! | buffer | rows | | forward | loss | backward |
//! |---|---|---|---|---|---|
//! | `x`, `ids` of a direction | steps | `n_x` | the inputs | | the inputs |
//! | `h`, `c` of a recurrence | `n` and steps | `n_h` | the states | | the states |
//! | `sums` of a recurrence | steps | `columns n_h` | sums, then activations | | become the gradients of the sums |
//! | `outputs` of a recurrence | steps | `D n_h` | both directions side by side | | |
//! | `last` | `n` | `D n_h` | the states that are answered from, at the last step alone | | their gradient |
//! | `u` | steps, or `n` | `n_y` | logits | become dU | dU |
//! | `dh` | steps, or one step | `n_h` | | | the gradient of `h`; of a cell in place that of its sums |
//! | `dx` | steps | `D n_h`, or of an embedding its size | | | the gradient of a layer's outputs, of its inputs |
//!
//! For one Elman layer, whose sums stand in place, that is `2 n_h + n_y` values per sequence and step beside the inputs.
//! Contents are unspecified between calls. Knows where things lie; knows nothing of what they mean.

use crate::architecture::{Architecture, At};
use crate::cells::State;
use crate::dropout::Dropping;
use crate::steps::{Assigned, Extent, Steps};
use crate::weights::{has_wide_decoder, reaches_inputs};
use crate::{Inputs, Scalar};
use ndarray::{ArrayView3, Axis, s};
use std::ops::Range;

/// Rows of one gate from which on the gradients of the sums are taken into the weights' gradients: enough for BLAS, few
/// enough that they come from the third-level cache.
pub(crate) const CHUNK: usize = 2048;

/// The id of a token that is none: its one-hot row is zero.
pub(crate) const NO_TOKEN: u32 = u32::MAX;

/// The scratch of one shard; the module shows what lies where.
#[derive(Clone, Debug)]
pub(crate) struct Scratch<T> {
    pub architecture: Architecture,
    pub steps: Steps,
    /// What is dropped in the pass at hand.
    pub dropping: Dropping,
    /// Of each direction.
    pub x: [Vec<T>; 2],
    pub ids: [Vec<u32>; 2],
    /// The size of a token's one in its one-hot row: more than 1 where others are dropped.
    pub token_scale: T,
    pub recurrences: Vec<LayerScratch<T>>,
    pub last: Vec<T>,
    pub u: Vec<T>,
    /// Two, for a layer reads the gradients of the layer above while it writes its own.
    pub dh: [Vec<T>; 2],
    /// Two, for the same reason: those of the highest layer's outputs are in the first, of the next layer's in the second, ...
    pub dx: [Vec<T>; 2],
    /// Rows of one step on their way from one order to the other.
    pub turning: Vec<T>,
    /// Gradients of the state after the last step `[n, W]`, given by whoever runs the layers alone; become those of the state
    /// before the first.
    pub d_state: Vec<T>,
    /// States before each of a few steps, row beside row, where sequences end among them.
    pub gathered: Vec<T>,
}

/// The buffers of a recurrence.
#[derive(Clone, Debug, Default)]
pub(crate) struct LayerScratch<T> {
    /// `h` and, for cells that have it, `c`.
    pub states: State<Vec<T>>,
    pub sums: Vec<T>,
    /// What the recurrence above in the same direction reads, or the head: empty where that is `h` as it stands, of one direction
    /// with nothing dropped.
    pub outputs: Vec<T>,
    /// The gradients of the sums of the step after the last, of the sequences that have one: what a segment of time leaves to
    /// the segment before. Empty for the last segment.
    pub after: Vec<T>,
    /// The gradients of each sequence's state that do not come through products.
    pub carry: State<Vec<T>>,
}

/// Who gives a buffer its length.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filled {
    /// The scratch, before a pass forward.
    Forward,
    /// The scratch, before a pass back.
    Back,
    /// Whoever fills it, up to the length in the table.
    Elsewhere,
}

/// Where the buffers of a kind are, of a direction or a recurrence.
type Place<T> = fn(&mut Scratch<T>, usize) -> &mut Vec<T>;

/// A row of the table: who gives a buffer its length, how long it is, its number, and its place.
type Row<T> = (Filled, usize, usize, Place<T>);

/// The table: every buffer of a pass over some steps but `ids`, with its elements.
fn buffers<T>(a: Architecture, extent: Extent) -> impl Iterator<Item = Row<T>> {
    use Filled::{Back, Elsewhere, Forward};
    let (form, n_h, directions) = (a.cell.form(), a.hidden, a.directions());
    let Extent { n, rows, ragged } = extent;
    let two_states = (form.states == 2) as usize;
    let x = rows * a.input.width() * !a.input.is_one_hot() as usize;
    let of_direction = move |d| -> Row<T> { (Forward, x, d, |s, d| &mut s.x[d]) };
    let of_recurrence = move |i| -> [Row<T>; 7] {
        let joined = a.bidirectional && i + 1 < a.recurrences();
        let (h, c) = ((n + rows) * n_h, (n + rows) * n_h * two_states);
        let sums = rows * form.columns * n_h * !form.in_place as usize;
        let outputs = rows * 2 * n_h * joined as usize;
        let after = n * form.columns * n_h;
        let [carry_h, carry_c] = [form.passes_h as usize, two_states].map(|is| n * n_h * is);
        [
            (Forward, h, i, |s, i| &mut s.recurrences[i].states.h),
            (Forward, c, i, |s, i| &mut s.recurrences[i].states.c),
            (Forward, sums, i, |s, i| &mut s.recurrences[i].sums),
            (Elsewhere, outputs, i, |s, i| &mut s.recurrences[i].outputs),
            (Elsewhere, after, i, |s, i| &mut s.recurrences[i].after),
            (Elsewhere, carry_h, i, |s, i| &mut s.recurrences[i].carry.h),
            (Elsewhere, carry_c, i, |s, i| &mut s.recurrences[i].carry.c),
        ]
    };
    let (last, answers) = match a.head.at {
        At::Every => (0, rows),
        At::Last => (n * a.outputs_of_layer(), n),
    };
    // A wide decoder gives the gradients of all steps at once, and so do two directions; of a cell in place they become those
    // of the sums.
    let ready = a.bidirectional || (a.head.at == At::Every && has_wide_decoder(&a));
    let dh = [
        n_h * if form.in_place || ready { rows } else { n },
        n_h * rows * (form.in_place && a.layers > 1 && !a.bidirectional) as usize,
    ];
    // The gradient of the outputs of layer `L - 1 - k` is in buffer `k % 2`, that of the inputs as if they left layer -1.
    let dx = [0, 1].map(|k| {
        let inputs = reaches_inputs(&a, 0, false) && a.layers % 2 == k;
        let outputs = a.bidirectional && k < a.layers;
        rows * (a.input.width() * inputs as usize).max(2 * n_h * outputs as usize)
    });
    let turning = n * (2 * n_h).max(a.input.width()) * a.bidirectional as usize;
    let gathered = n_h * rows.min(CHUNK / form.columns + n) * ragged as usize;
    let others: [Row<T>; 8] = [
        (Elsewhere, gathered, 0, |s, _| &mut s.gathered),
        (Elsewhere, last, 0, |s, _| &mut s.last),
        (Elsewhere, answers * a.head.outputs, 0, |s, _| &mut s.u),
        (Back, dh[0], 0, |s, k| &mut s.dh[k]),
        (Back, dh[1], 1, |s, k| &mut s.dh[k]),
        (Back, dx[0], 0, |s, k| &mut s.dx[k]),
        (Back, dx[1], 1, |s, k| &mut s.dx[k]),
        (Elsewhere, turning, 0, |s, _| &mut s.turning),
    ];
    let of_recurrences = (0..a.recurrences()).flat_map(of_recurrence);
    let of_directions = (0..directions).map(of_direction);
    of_directions.chain(of_recurrences).chain(others)
}

/// The length of `ids` of a direction.
fn ids(a: &Architecture, extent: Extent) -> usize {
    extent.rows * a.input.is_tokens() as usize
}

impl<T: Scalar> Scratch<T> {
    /// An empty one: buffers grow to the first batch and are kept.
    pub fn new(architecture: Architecture) -> Self {
        Scratch {
            architecture,
            steps: Steps::default(),
            dropping: Dropping::default(),
            x: Default::default(),
            ids: Default::default(),
            token_scale: T::one(),
            recurrences: vec![LayerScratch::default(); architecture.recurrences()],
            last: Vec::new(),
            u: Vec::new(),
            dh: Default::default(),
            dx: Default::default(),
            turning: Vec::new(),
            d_state: Vec::new(),
            gathered: Vec::new(),
        }
    }

    /// How many bytes the buffers come to in a training step without dropout.
    pub fn bytes(a: &Architecture, extent: Extent) -> usize {
        let numbers: usize = buffers::<T>(*a, extent).map(|(_, len, ..)| len).sum();
        numbers * size_of::<T>() + a.directions() * ids(a, extent) * size_of::<u32>()
    }

    /// Makes room for a pass, forward or back, over the steps at hand.
    pub fn make_room(&mut self, pass: Filled) {
        for (filled, len, i, buffer) in buffers(self.architecture, self.steps.extent()) {
            if filled == pass {
                buffer(self, i).resize(len, T::zero());
            }
        }
    }

    #[cfg(test)]
    pub fn each_buffer(&mut self, mut visit: impl FnMut(&mut Vec<T>)) {
        for (.., i, buffer) in buffers(self.architecture, self.steps.extent()) {
            visit(buffer(self, i));
        }
    }

    /// Takes in the inputs of time steps `steps` of these sequences of a batch, for the first direction.
    ///
    /// # Panics
    /// If the inputs do not fit the network ([`Inputs::check`]) or have fewer rows or steps.
    pub fn load(&mut self, inputs: &Inputs<'_, T>, assigned: &Assigned, steps: Range<usize>) {
        self.steps.lay_out(assigned, steps.clone());
        self.make_room(Filled::Forward);
        let (a, extent) = (self.architecture, self.steps.extent());
        for to in &mut self.ids[..a.directions()] {
            to.resize(ids(&a, extent), NO_TOKEN);
        }
        match inputs {
            Inputs::Dense(from) => {
                let (x, n_x) = (&mut self.x[0], self.architecture.input.size());
                copy_rows(&self.steps, assigned, from, steps.start, x, n_x);
            }
            Inputs::Tokens(from) => {
                for (t, step) in steps.enumerate() {
                    let to = &mut self.ids[0][self.steps.rows(t)];
                    for (to, &row) in to.iter_mut().zip(&assigned.index) {
                        *to = from[[row, step]];
                    }
                }
            }
        }
    }

    /// The sequences enter with these states: `state(i, k)` is element `k` of the state row of sequence `i`.
    pub fn enter(&mut self, state: impl Fn(usize, usize) -> T) {
        let (n, n_h) = (self.steps.n, self.architecture.hidden);
        let recurrences = self.recurrences.iter_mut();
        let states = recurrences.flat_map(|s| [&mut s.states.h, &mut s.states.c]);
        for (block, values) in states.filter(|values| !values.is_empty()).enumerate() {
            for (i, row) in values[..n * n_h].chunks_exact_mut(n_h).enumerate() {
                for (j, to) in row.iter_mut().enumerate() {
                    *to = state(i, block * n_h + j);
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
            let goes_on = t < self.steps.count();
            let first = if goes_on { self.steps.alive(t) } else { 0 };
            for i in first..block.len() {
                let row = finals[i * width..][..width].chunks_exact_mut(n_h);
                let recurrences = self.recurrences.iter();
                let states = recurrences.flat_map(|s| [&s.states.h, &s.states.c]);
                for (to, values) in row.zip(states.filter(|values| !values.is_empty())) {
                    to.copy_from_slice(&values[(block.start + i) * n_h..][..n_h]);
                }
            }
        }
    }

    /// How many sequences are alive at the last step.
    pub fn last_alive(&self) -> usize {
        self.steps.block(self.steps.count()).len()
    }
}

/// The rows of these steps, `[steps, width]`, become those of `from [N, T, width]`, of which they are the time steps from
/// `first` on.
pub(crate) fn copy_rows<T: Scalar>(
    steps: &Steps,
    assigned: &Assigned,
    from: &ArrayView3<'_, T>,
    first: usize,
    to: &mut [T],
    width: usize,
) {
    let (whole, of_sequence) = (from.as_slice(), from.len_of(Axis(1)));
    for t in 0..steps.count() {
        let rows = steps.rows(t);
        let to = &mut to[rows.start * width..rows.end * width];
        for (to, &row) in to.chunks_exact_mut(width).zip(&assigned.index) {
            match whole {
                Some(from) => {
                    to.copy_from_slice(&from[(row * of_sequence + first + t) * width..][..width]);
                }
                None => {
                    let from = from.slice(s![row, first + t, ..]);
                    to.iter_mut().zip(from).for_each(|(to, &from)| *to = from);
                }
            }
        }
    }
}
