//! Batch to shards to threads to one gradient: [`Engine`].
//!
//! A batch of `N` sequences is cut between sequences into `S` shards. Each shard runs forward, loss and BPTT over its own
//! sequences on one thread, meeting nobody until it is done; then the shards' gradients are added in the order of the
//! shards, every thread owning slices of the flat buffer.
//!
//! Sequences of different lengths are dealt to the shards with the longest first, so that each shard has its part of the
//! long ones, and within a shard a time step runs over those that are still alive.
//!
//! Shards are part of the result, threads are not: at a given `S` every bit is the same for any number of threads. The
//! loss is divided by the number of counted steps of the whole batch before the shards begin, so unequal shards and
//! masks need no weighting afterwards.
//!
//! A step allocates nothing once a batch of the same size has been seen, if it is called from inside
//! [`Engine::install`]; from outside, handing the work to the pool costs rayon an allocation every few dozen steps.
//! Knows nothing of optimisers.

use crate::blas::{self, OneThread};
use crate::dropout::Dropout;
use crate::loss::{Tally, softmax_cross_entropy};
use crate::network::check_state;
use crate::shard::{Pass, Shard};
use crate::workspace::{Extent, Rows};
use crate::{Batch, Dims, Error, Inputs, Parameters, Result, Scalar, activation};
use ndarray::{Array2, Array3, ArrayView1, ArrayView3, Axis, s};
use rayon::prelude::*;
use std::cmp::Reverse;
use std::ops::Range;
use std::sync::Mutex;

/// Elements of the flat buffer that one thread reduces at a time. Part of the result (the gradient norm is summed slice by
/// slice), so a constant; 32 KiB of `f32`, half a first-level cache.
pub const REDUCTION_SLICE: usize = 8192;

/// How an engine divides its work. Zero means: as the machine has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineOptions {
    /// Threads; 0 for all cores.
    pub threads: usize,
    /// Shards; 0 for one a thread. Results depend on it, within rounding.
    pub shards: usize,
    /// The most bytes that all shards' scratch and gradients may take ([`Engine::bytes`]); `None` for as many as they
    /// like. With less than that, time is taken in segments and their states are computed twice: the same gradients within
    /// rounding, for at most a third more time. Results depend on it, within rounding.
    pub memory: Option<usize>,
}

/// What a training step found, before any update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gradient {
    /// Losses and counts of the batch.
    pub tally: Tally,
    /// The Euclidean norm of the gradient of the mean loss.
    pub norm: f64,
}

/// Computes gradients, losses and predictions of batches on several threads.
///
/// ```
/// use bptt::{Batch, Dims, Engine, EngineOptions, Init, Rnn};
/// use ndarray::array;
///
/// let mut rnn = Rnn::<f32>::new(Dims::new(3, 8, 3)?, Init::Orthogonal, 0)?;
/// let mut engine = Engine::new(rnn.dims(), EngineOptions::default())?;
/// let (inputs, targets) = (array![[0u32, 1], [1, 2], [2, 0]], array![[1u32, 2], [2, 0], [0, 1]]);
/// let batch = Batch::new(&inputs, &targets);
/// for _ in 0..50 {
///     engine.gradient(rnn.parameters(), &batch, None)?;
///     bptt::optim::gradient_descent_step(rnn.parameters_mut(), engine.gradients(), 1.0);
/// }
/// assert!(engine.evaluate(rnn.parameters(), &batch, None)?.accuracy() == 1.0);
/// # Ok::<(), bptt::Error>(())
/// ```
#[derive(Debug)]
pub struct Engine<T: Scalar> {
    dims: Dims,
    memory: Option<usize>,
    shards: Vec<Shard<T>>,
    /// `(length, sequence)` of a batch of different lengths, the longest first.
    order: Vec<(Reverse<usize>, usize)>,
    gradients: Parameters<T>,
    /// The sum of squares of each slice of the reduced gradient.
    squares: Vec<f64>,
    pool: rayon::ThreadPool,
    _one_thread: OneThread,
}

impl<T: Scalar> Engine<T> {
    /// An engine for networks of these sizes, with its own pool of threads.
    ///
    /// More threads than OpenBLAS has buffers for ([`blas::Library::max_workers`]) are not started; nor are more than
    /// there are shards, for they would have nothing to do.
    ///
    /// # Errors
    /// [`Error::Option`] for more than 65,536 shards, [`Error::Threads`] if the threads cannot be started.
    pub fn new(dims: Dims, options: EngineOptions) -> Result<Self> {
        let threads = match options.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        };
        let shards = if options.shards == 0 {
            threads
        } else {
            options.shards
        };
        if shards > 1 << 16 {
            return Err(Error::Option {
                name: "shards",
                value: shards.to_string(),
                expected: "at most 65536",
            });
        }
        let threads = threads.min(blas::library().max_workers).min(shards);
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("bptt-{i}"))
            .start_handler(|_| blas::prepare_worker())
            .build()
            .map_err(|source| Error::Threads { threads, source })?;
        Ok(Engine {
            dims,
            memory: options.memory,
            shards: (0..shards).map(|index| Shard::new(dims, index)).collect(),
            order: Vec::new(),
            gradients: Parameters::zeros(dims),
            squares: vec![0.0; dims.len().div_ceil(REDUCTION_SLICE)],
            pool,
            _one_thread: OneThread::new(),
        })
    }

    /// The number of shards.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// The number of threads.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Bytes of scratch and gradients after training steps on `n` sequences of `t` steps, without dropout.
    ///
    /// # Errors
    /// [`Error::Memory`] if [`EngineOptions::memory`] is not enough for them.
    pub fn bytes(&self, n: usize, t: usize, tokens: bool) -> Result<usize> {
        let parts = self.shards.len();
        let bytes = |segment: usize| {
            let extents =
                (0..parts).map(|s| Extent::of(rows_of(s, parts, n).len(), segment.min(t)));
            self.bytes_in(extents, t, segment, tokens)
        };
        Ok(bytes(self.segment(n, t, bytes)?))
    }

    /// [`Engine::bytes`] of sequences of these lengths.
    ///
    /// # Errors
    /// As [`Engine::bytes`].
    pub fn bytes_of(&self, lengths: &[usize], tokens: bool) -> Result<usize> {
        let (n, t) = (lengths.len(), lengths.iter().copied().max().unwrap_or(0));
        let mut rows = vec![Rows::default(); self.shards.len()];
        deal(&mut Vec::new(), rows.iter_mut(), lengths);
        let bytes = |segment| {
            let extents = rows.iter().map(|rows| rows.extent(segment));
            self.bytes_in(extents, t, segment, tokens)
        };
        Ok(bytes(self.segment(n, t, bytes)?))
    }

    /// Bytes of shards of these extents, of up to `t` steps in segments.
    fn bytes_in(
        &self,
        extents: impl Iterator<Item = Extent>,
        t: usize,
        segment: usize,
        tokens: bool,
    ) -> usize {
        let segments = t.div_ceil(segment.max(1));
        let shards = extents.map(|extent| Shard::<T>::bytes(self.dims, extent, segments, tokens));
        shards.sum::<usize>() + self.dims.len() * size_of::<T>()
    }

    /// The time steps of a segment: as many as the memory has room for.
    fn segment(&self, n: usize, t: usize, bytes: impl Fn(usize) -> usize) -> Result<usize> {
        let Some(budget) = self.memory else {
            return Ok(t);
        };
        let mut least = usize::MAX;
        for segments in 1..=t {
            let segment = t.div_ceil(segments);
            let bytes = bytes(segment);
            if bytes <= budget {
                return Ok(segment);
            }
            // Scratch shrinks with shorter segments, the states between them grow: past the least, nothing fits.
            if bytes > least.saturating_mul(2) {
                break;
            }
            least = least.min(bytes);
        }
        Err(Error::Memory {
            n,
            t,
            budget,
            least,
        })
    }

    /// Runs `f` on the engine's own threads: rayon inside it uses them, and steps taken inside it need no hand-over.
    pub fn install<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        self.pool.install(f)
    }

    /// The gradient of the mean loss over the counted steps of `batch`, to be found in [`Engine::gradients`].
    ///
    /// With a `state [N, n_h]`, the sequences start from it, and it becomes the state after their last step.
    ///
    /// # Errors
    /// As [`Batch::check`]; [`Error::Shape`] for a state that does not fit; [`Error::Memory`]. Nothing has changed then.
    pub fn gradient(
        &mut self,
        p: &Parameters<T>,
        batch: &Batch<'_, T>,
        state: Option<&mut Array2<T>>,
    ) -> Result<Gradient> {
        self.gradient_with(p, batch, state, None)
    }

    /// [`Engine::gradient`] with dropout; its masks are those of update `update`.
    ///
    /// # Errors
    /// As [`Engine::gradient`] and [`Dropout::check`].
    pub fn gradient_with_dropout(
        &mut self,
        p: &Parameters<T>,
        batch: &Batch<'_, T>,
        state: Option<&mut Array2<T>>,
        dropout: &Dropout,
        update: u64,
    ) -> Result<Gradient> {
        dropout.check()?;
        self.gradient_with(p, batch, state, Some((dropout, update)))
    }

    fn gradient_with(
        &mut self,
        p: &Parameters<T>,
        batch: &Batch<'_, T>,
        state: Option<&mut Array2<T>>,
        dropout: Option<(&Dropout, u64)>,
    ) -> Result<Gradient> {
        batch.check(self.dims)?;
        let scale = T::from_f64(1.0 / batch.counted() as f64);
        self.run(p, &batch.inputs, batch.lengths, state, |shard, pass| {
            shard.train(pass, &batch.answers, scale, dropout);
        })?;
        let norm = self.reduce();
        Ok(Gradient {
            tally: self.tally(),
            norm,
        })
    }

    /// The gradient that the last [`Engine::gradient`] found.
    pub fn gradients(&self) -> &Parameters<T> {
        &self.gradients
    }

    /// That gradient, to be clipped in place.
    pub fn gradients_mut(&mut self) -> &mut Parameters<T> {
        &mut self.gradients
    }

    /// Losses and right answers of a batch; `state` as in [`Engine::gradient`].
    ///
    /// # Errors
    /// As [`Engine::gradient`].
    pub fn evaluate(
        &mut self,
        p: &Parameters<T>,
        batch: &Batch<'_, T>,
        state: Option<&mut Array2<T>>,
    ) -> Result<Tally> {
        batch.check(self.dims)?;
        self.run(p, &batch.inputs, batch.lengths, state, |shard, pass| {
            shard.infer(pass, |shard, first| {
                let (ws, answers) = (&mut shard.ws, &batch.answers);
                shard.tally += softmax_cross_entropy(ws, answers, &shard.rows, first, T::one());
            });
        })?;
        Ok(self.tally())
    }

    /// Probabilities `[N, T, n_y]`; `state` as in [`Engine::gradient`].
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Id`] if inputs or state do not fit the network.
    pub fn predict<'a>(
        &mut self,
        p: &Parameters<T>,
        inputs: impl Into<Inputs<'a, T>>,
        state: Option<&mut Array2<T>>,
    ) -> Result<Array3<T>> {
        let (inputs, n_y) = (inputs.into(), self.dims.n_y);
        let (n, t) = inputs.sequences();
        let mut y = Array3::zeros((n, t, n_y));
        // Each shard writes rows of its own; the locks only say so.
        let (parts, mut rest) = (self.shards.len(), y.view_mut());
        let mut outputs = Vec::with_capacity(parts);
        for s in 0..parts {
            let (rows, later) = rest.split_at(Axis(0), rows_of(s, parts, n).len());
            outputs.push(Mutex::new(rows));
            rest = later;
        }
        self.run(p, &inputs, None, state, |shard, pass| {
            let mut y = outputs[shard.index].lock().expect("of this shard alone");
            shard.infer(pass, |shard, first| {
                let ws = &mut shard.ws;
                activation::softmax_at(ws.level, &mut ws.u, n_y);
                let time_major = ArrayView3::from_shape((ws.t, ws.n(), n_y), &ws.u);
                y.slice_mut(s![.., first..first + ws.t, ..]).assign(
                    &time_major
                        .expect("u is [T, n, n_y]")
                        .permuted_axes([1, 0, 2]),
                );
            });
        })?;
        drop(outputs);
        Ok(y)
    }

    /// Deals the sequences to the shards and runs `work` on each, on the threads of the pool.
    fn run(
        &mut self,
        p: &Parameters<T>,
        inputs: &Inputs<'_, T>,
        lengths: Option<&[usize]>,
        state: Option<&mut Array2<T>>,
        work: impl Fn(&mut Shard<T>, &Pass<'_, T>) + Sync,
    ) -> Result<()> {
        let (n, t) = inputs.sequences();
        assert_eq!(
            p.dims(),
            self.dims,
            "an engine works for networks of one size"
        );
        inputs.check(self.dims)?;
        check_state(state.as_deref().map(|state| state.view()), n, self.dims)?;
        match lengths {
            Some(lengths) => {
                let rows = self.shards.iter_mut().map(|shard| &mut shard.rows);
                deal(&mut self.order, rows, lengths);
            }
            None => {
                let parts = self.shards.len();
                for (s, shard) in self.shards.iter_mut().enumerate() {
                    shard.rows.set(rows_of(s, parts, n).map(|row| (t, row)));
                }
            }
        }
        let longest = self.shards.iter().map(|shard| shard.rows.steps()).max();
        let longest = longest.expect("there is a shard");
        let segment = self.segment(n, longest, |segment| {
            let extents = self.shards.iter().map(|shard| shard.rows.extent(segment));
            let tokens = matches!(inputs, Inputs::Tokens(_));
            self.bytes_in(extents, longest, segment, tokens)
        })?;
        let pass = Pass {
            parameters: p,
            inputs: inputs.reborrow(),
            state: state.as_deref().map(|state| state.view()),
            segment,
        };
        let shards = &mut self.shards;
        self.pool.install(|| {
            let shards = shards.par_iter_mut().with_max_len(1);
            shards.for_each(|shard| {
                shard.clear();
                if !shard.rows.index().is_empty() {
                    work(shard, &pass);
                }
            });
        });
        if let Some(state) = state {
            for shard in &self.shards {
                let finals = shard.finals.chunks_exact(self.dims.n_h);
                for (&row, last) in shard.rows.index().iter().zip(finals) {
                    state.row_mut(row).assign(&ArrayView1::from(last));
                }
            }
        }
        Ok(())
    }

    /// Adds the shards' gradients in their order; returns the norm of the sum.
    fn reduce(&mut self) -> f64 {
        let (shards, gradients, squares) = (&self.shards, &mut self.gradients, &mut self.squares);
        self.pool.install(|| {
            let slices = gradients.as_mut_slice().par_chunks_mut(REDUCTION_SLICE);
            slices
                .zip(squares.par_iter_mut())
                .enumerate()
                .for_each(|(i, (sum, square))| {
                    let range = i * REDUCTION_SLICE..i * REDUCTION_SLICE + sum.len();
                    let mut parts = shards.iter().filter(|shard| !shard.rows.index().is_empty());
                    let first = parts
                        .next()
                        .expect("a batch has a sequence, so one shard has");
                    sum.copy_from_slice(&first.gradients.as_slice()[range.clone()]);
                    for shard in parts {
                        sum.iter_mut()
                            .zip(&shard.gradients.as_slice()[range.clone()])
                            .for_each(|(a, &b)| *a += b);
                    }
                    *square = sum_of_squares(sum);
                });
        });
        squares.iter().sum::<f64>().sqrt()
    }

    /// The tally of all shards, in their order.
    fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for shard in &self.shards {
            tally += shard.tally;
        }
        tally
    }
}

/// Deals sequences of different lengths out to the shards, the longest first.
fn deal<'a>(
    order: &mut Vec<(Reverse<usize>, usize)>,
    shards: impl ExactSizeIterator<Item = &'a mut Rows>,
    lengths: &[usize],
) {
    let parts = shards.len();
    order.clear();
    order.extend(lengths.iter().map(|&length| Reverse(length)).zip(0..));
    order.sort_unstable();
    for (s, rows) in shards.enumerate() {
        let own = order.iter().skip(s).step_by(parts);
        rows.set(own.map(|&(Reverse(length), row)| (length, row)));
    }
}

/// The sequences of shard `s` of `parts`: as even as can be.
fn rows_of(s: usize, parts: usize, n: usize) -> Range<usize> {
    s * n / parts..(s + 1) * n / parts
}

/// In `f64`, in eight running sums so that it vectorises, always in the same order.
fn sum_of_squares<T: Scalar>(x: &[T]) -> f64 {
    let mut sums = [0.0f64; 8];
    let chunks = x.chunks_exact(8);
    let rest: f64 = chunks
        .remainder()
        .iter()
        .map(|x| x.as_f64() * x.as_f64())
        .sum();
    for chunk in chunks {
        for (sum, x) in sums.iter_mut().zip(chunk) {
            *sum += x.as_f64() * x.as_f64();
        }
    }
    sums.iter().sum::<f64>() + rest
}
