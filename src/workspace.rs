//! One shard's scratch, allocated once: [`Workspace`].
//!
//! With `n` sequences of `T` steps in the shard, everything time-major, so that a time step is one contiguous block:
//!
//! | buffer | shape | forward | loss | backward |
//! |---|---|---|---|---|
//! | `x` or `ids` | `[T, n, n_x]` or `[T, n]` | the inputs | | the inputs |
//! | `h` | `[T+1, n, n_h]` | `h[0]` the initial state, `h[t+1]` the state after step `t` | | the states |
//! | `u` | `[T, n, n_y]` | logits | become dU | dU |
//! | `dz` | `[T+1, n, n_h]` | | | `dz[t]` of step `t`; `dz[T]` is what reaches the last state from beyond: zero |
//!
//! That is `2 n_h + n_y` values per sequence and step beside the inputs (and one row of `h` and `dz` more), and packed
//! weights. Contents are unspecified between calls. Knows where things lie; knows nothing of what they mean.

use crate::packed::Packed;
use crate::{Dims, Inputs, Parameters, Scalar};
use fearless_simd::Level;
use ndarray::ArrayView2;
use std::ops::Range;

/// The inputs of a shard, time-major.
#[derive(Clone, Debug)]
pub(crate) enum ShardInputs<T> {
    /// `[T, n, n_x]`.
    Dense(Vec<T>),
    /// `[T, n]`.
    Tokens(Vec<u32>),
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

/// The scratch of one shard; the module shows what lies where.
#[derive(Clone, Debug)]
pub struct Workspace<T> {
    pub(crate) dims: Dims,
    pub(crate) level: Level,
    /// Sequences of the batch at hand.
    pub(crate) n: usize,
    /// Time steps of the batch at hand.
    pub(crate) t: usize,
    pub(crate) inputs: ShardInputs<T>,
    pub(crate) h: Vec<T>,
    pub(crate) u: Vec<T>,
    pub(crate) dz: Vec<T>,
    pub(crate) forward: ForwardWeights<T>,
    pub(crate) backward: BackwardWeights<T>,
}

impl<T: Scalar> Workspace<T> {
    /// An empty one: buffers grow to the first batch and are kept.
    pub fn new(dims: Dims) -> Self {
        Self::at(Level::new(), dims)
    }

    /// [`Workspace::new`] for a given instruction set.
    pub(crate) fn at(level: Level, dims: Dims) -> Self {
        Workspace {
            dims,
            level,
            n: 0,
            t: 0,
            inputs: ShardInputs::Tokens(Vec::new()),
            h: Vec::new(),
            u: Vec::new(),
            dz: Vec::new(),
            forward: ForwardWeights::default(),
            backward: BackwardWeights::default(),
        }
    }

    /// How many bytes the workspace of a shard of `n` sequences of `t` steps comes to in a training step.
    pub fn bytes(dims: Dims, n: usize, t: usize, tokens: bool) -> usize {
        let Dims { n_x, n_h, n_y } = dims;
        let packed = |k, m| Packed::<T>::len(Level::new(), k, m);
        let inputs = if tokens {
            n * t * size_of::<u32>()
        } else {
            n * t * n_x * size_of::<T>()
        };
        let wx = if tokens { n_x * n_h } else { packed(n_x, n_h) };
        let weights = wx + 2 * packed(n_h, n_h) + packed(n_h, n_y) + packed(n_y, n_h);
        inputs + size_of::<T>() * (2 * (t + 1) * n * n_h + t * n * n_y + weights)
    }

    /// Takes in sequences `rows` of a batch and their initial states (zero where there are none).
    ///
    /// # Panics
    /// If the inputs do not fit the network ([`Inputs::check`]), or the state is not `[N, n_h]`.
    pub fn load(
        &mut self,
        inputs: &Inputs<'_, T>,
        state: Option<ArrayView2<'_, T>>,
        rows: Range<usize>,
    ) {
        let Dims { n_x, n_h, n_y } = self.dims;
        let (n, t) = (rows.len(), inputs.sequences().1);
        (self.n, self.t) = (n, t);
        self.h.resize((t + 1) * n * n_h, T::zero());
        self.u.resize(t * n * n_y, T::zero());

        match inputs {
            Inputs::Dense(from) => {
                if !matches!(self.inputs, ShardInputs::Dense(_)) {
                    self.inputs = ShardInputs::Dense(Vec::new());
                }
                let ShardInputs::Dense(x) = &mut self.inputs else {
                    unreachable!("set above")
                };
                x.resize(t * n * n_x, T::zero());
                for (i, row) in rows.clone().enumerate() {
                    for step in 0..t {
                        let to = &mut x[(step * n + i) * n_x..][..n_x];
                        let from = from.slice(ndarray::s![row, step, ..]);
                        match from.as_slice() {
                            Some(from) => to.copy_from_slice(from),
                            None => to.iter_mut().zip(from).for_each(|(to, &from)| *to = from),
                        }
                    }
                }
            }
            Inputs::Tokens(from) => {
                if !matches!(self.inputs, ShardInputs::Tokens(_)) {
                    self.inputs = ShardInputs::Tokens(Vec::new());
                }
                let ShardInputs::Tokens(ids) = &mut self.inputs else {
                    unreachable!("set above")
                };
                ids.resize(t * n, 0);
                for (i, row) in rows.clone().enumerate() {
                    for (step, &id) in from.row(row).iter().enumerate() {
                        ids[step * n + i] = id;
                    }
                }
            }
        }

        let h0 = &mut self.h[..n * n_h];
        match state {
            Some(state) => {
                for (to, from) in h0
                    .chunks_exact_mut(n_h)
                    .zip(state.slice(ndarray::s![rows, ..]).rows())
                {
                    to.iter_mut().zip(from).for_each(|(to, &from)| *to = from);
                }
            }
            None => h0.fill(T::zero()),
        }
    }

    /// Packs the weights for the forward pass over the inputs at hand.
    pub(crate) fn pack_forward(&mut self, p: &Parameters<T>) {
        let Dims { n_x, n_h, .. } = self.dims;
        match self.inputs {
            ShardInputs::Dense(_) => self.forward.wx.pack(self.level, p.wx().reversed_axes()),
            ShardInputs::Tokens(_) => {
                self.forward.table.resize(n_x * n_h, T::zero());
                let rows = self.forward.table.chunks_exact_mut(n_h);
                for (row, wx) in rows.zip(p.wx().columns()) {
                    for ((to, &w), &b) in row.iter_mut().zip(wx).zip(p.bh()) {
                        *to = w + b;
                    }
                }
            }
        }
        self.forward.wh.pack(self.level, p.wh().reversed_axes());
        self.forward.wy.pack(self.level, p.wy().reversed_axes());
    }

    /// Packs the weights for the backward pass.
    pub(crate) fn pack_backward(&mut self, p: &Parameters<T>) {
        self.backward.wh.pack(self.level, p.wh());
        self.backward.wy.pack(self.level, p.wy());
    }

    /// The state after the last step, `[n, n_h]`.
    pub fn last_state(&self) -> ArrayView2<'_, T> {
        let n_h = self.dims.n_h;
        ArrayView2::from_shape((self.n, n_h), &self.h[self.t * self.n * n_h..])
            .expect("h is [T+1, n, n_h]")
    }

    /// Fills every buffer with NaN: whatever is read before it is written shows.
    #[cfg(test)]
    pub(crate) fn poison(&mut self) {
        for buffer in [
            &mut self.h,
            &mut self.u,
            &mut self.dz,
            &mut self.forward.table,
        ] {
            buffer.fill(T::nan());
        }
        if let ShardInputs::Dense(x) = &mut self.inputs {
            x.fill(T::nan());
        }
    }
}
