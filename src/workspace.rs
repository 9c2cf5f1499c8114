//! One shard's scratch, allocated once: [`Workspace`].
//!
//! Everything is time-major, so that a time step is one contiguous block. The sequences of a shard stand with the longest
//! first, so that those still alive at a step are the first of those at the step before, and `alive(t)` of them are:
//!
//! | buffer | block `t` holds | forward | loss | backward |
//! |---|---|---|---|---|
//! | `h` | `[alive(t-1), n_h]`, `t` up to `T` | `h[0]` the initial state, `h[t+1]` the state after step `t` | | the states |
//! | `x` or `ids` | `[alive(t-1), n_x]` | the inputs of step `t` | | the inputs |
//! | `dz` | `[alive(t-1), n_h]`, `t` up to `T` | | | `dz[t]` of step `t`, zero for sequences that have ended; `dz[T]` reaches the last state from beyond |
//! | `u` | `[alive(t), n_y]` | logits | become dU | dU |
//!
//! With `alive(-1) = n`, all sequences. So `h`, `x` and `dz` lie row beside row, as `dWh` and `dWx` want them, and so do `u`
//! and `h` from its second block on, as `dWy` does; where all sequences are of one length, every block has `n` rows.
//!
//! That is `2 n_h + n_y` values per sequence and step beside the inputs (and one row of `h` and `dz` more), and packed
//! weights. Contents are unspecified between calls. Knows where things lie; knows nothing of what they mean.

use crate::dropout::Mask;
use crate::packed::Packed;
use crate::simd;
use crate::{Dims, Inputs, Parameters, Scalar};
use fearless_simd::Level;
use ndarray::ArrayView2;
use std::ops::Range;

/// Elements of Wy from which on the products with it are BLAS's: packed, it would fill the caches by itself and be packed
/// again for each shard and update. Measured with 256 hidden units: even at 1,000 classes, BLAS a third faster at 10,000.
const WIDE_OUTPUT: usize = 1 << 18;

fn has_wide_output(dims: Dims) -> bool {
    dims.n_y * dims.n_h >= WIDE_OUTPUT
}

/// The inputs of a shard, time-major.
#[derive(Clone, Debug)]
pub(crate) enum ShardInputs<T> {
    /// `[T, n, n_x]`.
    Dense(Vec<T>),
    /// `[T, n]`.
    Tokens(Vec<u32>),
}

impl<T> Default for ShardInputs<T> {
    fn default() -> Self {
        ShardInputs::Tokens(Vec::new())
    }
}

/// The weights as the forward pass multiplies with them.
#[derive(Clone, Debug, Default)]
pub(crate) struct ForwardWeights<T> {
    /// `Wx^T [n_x, n_h]`, for dense inputs.
    pub wx: Packed<T>,
    /// `Wx^T + bh [n_x, n_h]`, for token inputs: a row for each token. (Backward gathers its gradient here.)
    pub table: Vec<T>,
    /// `Wh^T [n_h, n_h]`.
    pub wh: Packed<T>,
    /// `Wy^T [n_h, n_y]`.
    pub wy: Packed<T>,
}

/// The weights as the backward pass multiplies with them.
#[derive(Clone, Debug, Default)]
pub(crate) struct BackwardWeights<T> {
    /// `Wh [n_h, n_h]`.
    pub wh: Packed<T>,
    /// `Wy [n_y, n_h]`.
    pub wy: Packed<T>,
}

/// The sequences of a shard: rows of the batch, the longest first.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// Their rows in the batch.
    index: Vec<usize>,
    /// How many steps of each matter, falling.
    lengths: Vec<usize>,
}

impl Rows {
    /// These rows, all of `t` steps.
    pub fn all(rows: Range<usize>, t: usize) -> Self {
        let mut all = Rows::default();
        all.set(rows.map(|row| (t, row)));
        all
    }

    /// Becomes these `(length, row)`, in falling order of length; allocates only if there are more than ever before.
    pub fn set(&mut self, rows: impl Iterator<Item = (usize, usize)>) {
        self.index.clear();
        self.lengths.clear();
        for (length, row) in rows {
            self.index.push(row);
            self.lengths.push(length);
        }
        debug_assert!(self.lengths.is_sorted_by(|a, b| a >= b));
    }

    /// Their rows in the batch.
    pub fn index(&self) -> &[usize] {
        &self.index
    }

    /// The steps of the longest.
    pub fn steps(&self) -> usize {
        self.lengths.first().copied().unwrap_or(0)
    }

    /// How many have more than `t` steps.
    fn alive(&self, t: usize) -> usize {
        self.lengths.partition_point(|&length| length > t)
    }
}

/// What the size of a workspace depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    /// Sequences that enter.
    pub n: usize,
    /// Steps of all of them together.
    pub stepped: usize,
    /// Sequences alive at the last step.
    pub last: usize,
}

/// The scratch of one shard; the module shows what lies where.
#[derive(Clone, Debug)]
pub struct Workspace<T> {
    pub(crate) dims: Dims,
    pub(crate) level: Level,
    /// Whether products with Wy are BLAS's, for many rows at a time.
    pub(crate) wide_output: bool,
    /// Time steps at hand.
    pub(crate) t: usize,
    /// The first row of each block of `h`; one more at the end.
    pub(crate) starts: Vec<usize>,
    pub(crate) inputs: ShardInputs<T>,
    /// The size of a token's one in its one-hot row: more than 1 where others are dropped.
    pub(crate) token_scale: T,
    pub(crate) h: Vec<T>,
    /// The states on their way to the logits, where some are dropped: as `h` from its second block on. Else unused.
    pub(crate) h_dropped: Vec<T>,
    pub(crate) u: Vec<T>,
    pub(crate) dz: Vec<T>,
    pub(crate) forward: ForwardWeights<T>,
    pub(crate) backward: BackwardWeights<T>,
}

impl<T: Scalar> Workspace<T> {
    /// An empty one: buffers grow to the first batch and are kept.
    pub fn new(dims: Dims) -> Self {
        Self::at(simd::level(), dims)
    }

    /// [`Workspace::new`] for a given instruction set.
    pub(crate) fn at(level: Level, dims: Dims) -> Self {
        Workspace {
            dims,
            level,
            wide_output: has_wide_output(dims),
            t: 0,
            starts: Vec::new(),
            inputs: ShardInputs::default(),
            token_scale: T::one(),
            h: Vec::new(),
            h_dropped: Vec::new(),
            u: Vec::new(),
            dz: Vec::new(),
            forward: ForwardWeights::default(),
            backward: BackwardWeights::default(),
        }
    }

    /// How many bytes the workspace of a shard comes to in a training step without dropout.
    pub(crate) fn bytes(dims: Dims, extent: Extent, tokens: bool) -> usize {
        let Dims { n_x, n_h, n_y } = dims;
        let Extent { n, stepped, last } = extent;
        let packed = |k, m| Packed::<T>::len(simd::level(), k, m);
        let inputs = match tokens {
            true => size_of::<u32>(),
            false => n_x * size_of::<T>(),
        };
        let wx = if tokens {
            (n_x + 1) * n_h
        } else {
            packed(n_x, n_h)
        };
        let wy = match has_wide_output(dims) {
            true => 0,
            false => packed(n_h, n_y) + packed(n_y, n_h),
        };
        let weights = wx + 2 * packed(n_h, n_h) + wy;
        (n + stepped - last) * inputs
            + size_of::<T>() * (2 * (n + stepped) * n_h + stepped * n_y + weights)
    }

    /// Sequences in the first block: those that entered it.
    pub(crate) fn n(&self) -> usize {
        self.starts[1]
    }

    /// The rows of block `t` of `h`, `x` and `dz`.
    pub(crate) fn block(&self, t: usize) -> Range<usize> {
        self.starts[t]..self.starts[t + 1]
    }

    /// Sequences that step `t` runs over.
    pub(crate) fn alive(&self, t: usize) -> usize {
        self.block(t + 1).len()
    }

    /// Rows of `x` and of `dz` before its last block.
    pub(crate) fn entered(&self) -> usize {
        self.starts[self.t]
    }

    /// Rows of `u`.
    pub(crate) fn stepped(&self) -> usize {
        self.starts[self.t + 1] - self.n()
    }

    /// The row of `u` at which step `t` begins.
    pub(crate) fn u_start(&self, t: usize) -> usize {
        self.starts[t + 1] - self.n()
    }

    /// Makes room for time steps `steps` of sequences `rows`.
    pub(crate) fn lay_out(&mut self, rows: &Rows, steps: Range<usize>) {
        self.t = steps.len();
        let entered = match steps.start {
            0 => rows.index.len(),
            first => rows.alive(first - 1),
        };
        let blocks = std::iter::once(entered).chain(steps.map(|t| rows.alive(t)));
        self.starts.clear();
        self.starts.push(0);
        let mut end = 0;
        self.starts.extend(blocks.map(|block| {
            end += block;
            end
        }));
        self.h.resize(end * self.dims.n_h, T::zero());
        self.u.resize(self.stepped() * self.dims.n_y, T::zero());
    }

    /// Takes in time steps `steps` of sequences `rows` of a batch; their state is to be set by [`Workspace::start`] or
    /// `go_on`.
    ///
    /// # Panics
    /// If the inputs do not fit the network ([`Inputs::check`]) or have fewer rows or steps.
    pub fn load(&mut self, inputs: &Inputs<'_, T>, rows: &Rows, steps: Range<usize>) {
        self.lay_out(rows, steps.clone());
        let (n_x, entered) = (self.dims.n_x, self.entered());
        match inputs {
            Inputs::Dense(from) => {
                let mut x = match std::mem::take(&mut self.inputs) {
                    ShardInputs::Dense(x) => x,
                    ShardInputs::Tokens(_) => Vec::new(),
                };
                x.resize(entered * n_x, T::zero());
                for (t, step) in steps.enumerate() {
                    let block = self.block(t);
                    let block = &mut x[block.start * n_x..block.end * n_x];
                    let (block, ended) = block.split_at_mut(self.alive(t) * n_x);
                    ended.fill(T::zero());
                    for (to, &row) in block.chunks_exact_mut(n_x).zip(&rows.index) {
                        let from = from.slice(ndarray::s![row, step, ..]);
                        match from.as_slice() {
                            Some(from) => to.copy_from_slice(from),
                            None => to.iter_mut().zip(from).for_each(|(to, &from)| *to = from),
                        }
                    }
                }
                self.inputs = ShardInputs::Dense(x);
            }
            Inputs::Tokens(from) => {
                let mut ids = match std::mem::take(&mut self.inputs) {
                    ShardInputs::Tokens(ids) => ids,
                    ShardInputs::Dense(_) => Vec::new(),
                };
                ids.resize(entered, 0);
                for (t, step) in steps.enumerate() {
                    let block = &mut ids[self.block(t)];
                    let (block, ended) = block.split_at_mut(self.alive(t));
                    ended.fill(n_x as u32);
                    for (to, &row) in block.iter_mut().zip(&rows.index) {
                        *to = from[[row, step]];
                    }
                }
                self.inputs = ShardInputs::Tokens(ids);
            }
        }
    }

    /// The sequences start from rows of `state [N, n_h]`, or from zero.
    ///
    /// # Panics
    /// If `state` has fewer rows or another width.
    pub fn start(&mut self, state: Option<ArrayView2<'_, T>>, rows: &Rows) {
        let (n, n_h) = (self.n(), self.dims.n_h);
        let h0 = &mut self.h[..n * n_h];
        match state {
            Some(state) => {
                for (to, &row) in h0.chunks_exact_mut(n_h).zip(&rows.index) {
                    let from = state.row(row);
                    to.iter_mut().zip(from).for_each(|(to, &from)| *to = from);
                }
            }
            None => h0.fill(T::zero()),
        }
    }

    /// The sequences go on from the states `[n, n_h]` they had after the time step before.
    pub(crate) fn go_on(&mut self, states: &[T]) {
        self.h[..states.len()].copy_from_slice(states);
    }

    /// Drops inputs; `first` is the time step at which those at hand begin, `most` the rows of the shard.
    pub(crate) fn drop_inputs(&mut self, mask: &mut Mask, first: usize, most: usize) {
        let n_x = self.dims.n_x;
        for t in 0..self.t {
            let (start, alive) = (self.starts[t], self.alive(t));
            match &mut self.inputs {
                ShardInputs::Dense(x) => {
                    let x = &mut x[start * n_x..][..alive * n_x];
                    mask.apply(first + t, most * n_x, x);
                }
                ShardInputs::Tokens(ids) => mask.draw(first + t, most, alive, |i, kept| {
                    if !kept {
                        ids[start + i] = n_x as u32;
                    }
                }),
            }
        }
    }

    /// Packs the weights for the forward pass over the inputs at hand.
    pub(crate) fn pack_forward(&mut self, p: &Parameters<T>) {
        self.pack_inputs(p);
        self.forward.wh.pack(self.level, p.wh().reversed_axes());
        if !self.wide_output {
            self.forward.wy.pack(self.level, p.wy().reversed_axes());
        }
    }

    /// Packs those of the inputs alone.
    pub(crate) fn pack_inputs(&mut self, p: &Parameters<T>) {
        let Dims { n_x, n_h, .. } = self.dims;
        match self.inputs {
            ShardInputs::Dense(_) => self.forward.wx.pack(self.level, p.wx().reversed_axes()),
            ShardInputs::Tokens(_) => {
                // The last row is for a token that is none: the bias alone.
                self.forward.table.resize((n_x + 1) * n_h, T::zero());
                let (rows, none) = self.forward.table.split_at_mut(n_x * n_h);
                for (row, wx) in rows.chunks_exact_mut(n_h).zip(p.wx().columns()) {
                    for ((to, &w), &b) in row.iter_mut().zip(wx).zip(p.bh()) {
                        *to = w * self.token_scale + b;
                    }
                }
                none.iter_mut().zip(p.bh()).for_each(|(to, &b)| *to = b);
            }
        }
    }

    /// Packs the weights for the backward pass.
    pub(crate) fn pack_backward(&mut self, p: &Parameters<T>) {
        self.backward.wh.pack(self.level, p.wh());
        if !self.wide_output {
            self.backward.wy.pack(self.level, p.wy());
        }
    }

    /// The states after the last step, of the sequences alive there.
    pub(crate) fn last_states(&self) -> &[T] {
        &self.h[self.starts[self.t] * self.dims.n_h..]
    }

    /// The final states, as far as they are at hand, into rows of `finals [rows, n_h]`: of the sequences that end here, and
    /// of those that go on the states so far.
    pub(crate) fn copy_last_states(&self, finals: &mut [T]) {
        let n_h = self.dims.n_h;
        for t in 0..=self.t {
            // Block t of h holds the states after step t - 1; those that are no more in block t + 1 have ended.
            let first = if t < self.t { self.alive(t) } else { 0 };
            let (block, rows) = (self.block(t), first..self.block(t).len());
            let from = (block.start + first) * n_h..block.end * n_h;
            finals[rows.start * n_h..rows.end * n_h].copy_from_slice(&self.h[from]);
        }
    }
}
