//! Batch to shards to threads to one gradient: [`Engine`].
//!
//! A batch of `N` sequences is cut between sequences into `S` shards. Each shard runs forward, loss and BPTT over its own
//! sequences on one thread, meeting nobody until it is done; then the shards' gradients are added in the order of the
//! shards, every thread owning slices of the flat buffer.
//!
//! Shards are part of the result, threads are not: at a given `S` every bit is the same for any number of threads. The
//! loss is divided by the number of counted steps of the whole batch before the shards begin, so unequal shards and
//! masks need no weighting afterwards.
//!
//! A step allocates nothing once a batch of the same size has been seen, if it is called from inside
//! [`Engine::install`]; from outside, handing the work to the pool costs rayon an allocation every few dozen steps.
//! Knows nothing of optimisers.

use crate::blas::{self, OneThread};
use crate::loss::{Tally, softmax_cross_entropy};
use crate::network::check_state;
use crate::workspace::Workspace;
use crate::{
    Batch, Dims, Error, Inputs, Parameters, Result, Scalar, activation, backward, forward,
};
use ndarray::{Array2, Array3, ArrayView2};
use rayon::prelude::*;
use std::ops::Range;

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
    shards: Vec<Shard<T>>,
    gradients: Parameters<T>,
    /// The sum of squares of each slice of the reduced gradient.
    squares: Vec<f64>,
    pool: rayon::ThreadPool,
    _one_thread: OneThread,
}

/// One part of the batch with all it needs.
#[derive(Debug)]
struct Shard<T> {
    /// Its sequences of the batch at hand.
    rows: Range<usize>,
    ws: Workspace<T>,
    gradients: Parameters<T>,
    tally: Tally,
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
        let shard = || Shard {
            rows: 0..0,
            ws: Workspace::new(dims),
            gradients: Parameters::zeros(dims),
            tally: Tally::default(),
        };
        Ok(Engine {
            dims,
            shards: std::iter::repeat_with(shard).take(shards).collect(),
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

    /// Bytes of scratch and gradients after training steps on `n` sequences of `t` steps.
    pub fn bytes(&self, n: usize, t: usize, tokens: bool) -> usize {
        let parts = self.shards.len();
        let scratch: usize = (0..parts)
            .map(|s| rows_of(s, parts, n))
            .map(|rows| Workspace::<T>::bytes(self.dims, rows.len(), t, tokens))
            .sum();
        scratch + (parts + 1) * self.dims.len() * size_of::<T>()
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
    /// As [`Batch::check`]; [`Error::Shape`] for a state that does not fit. Nothing has changed then.
    pub fn gradient(
        &mut self,
        p: &Parameters<T>,
        batch: &Batch<'_, T>,
        state: Option<&mut Array2<T>>,
    ) -> Result<Gradient> {
        self.check_inputs(p, &batch.inputs, &state)?;
        batch.answers.check(self.dims, batch.inputs.sequences())?;
        let scale = T::from_f64(1.0 / batch.counted() as f64);
        let start = state.as_deref().map(|state| state.view());
        self.run_shards(batch.inputs, start, |shard| {
            forward::forward(p, &mut shard.ws);
            shard.tally =
                softmax_cross_entropy(&mut shard.ws, &batch.answers, shard.rows.clone(), scale);
            backward::backward(p, &mut shard.ws, &mut shard.gradients);
        });
        let norm = self.reduce();
        Ok(Gradient {
            tally: self.collect(state),
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
        self.check_inputs(p, &batch.inputs, &state)?;
        batch.answers.check(self.dims, batch.inputs.sequences())?;
        let start = state.as_deref().map(|state| state.view());
        self.run_shards(batch.inputs, start, |shard| {
            forward::forward(p, &mut shard.ws);
            shard.tally =
                softmax_cross_entropy(&mut shard.ws, &batch.answers, shard.rows.clone(), T::one());
        });
        Ok(self.collect(state))
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
        self.check_inputs(p, &inputs, &state)?;
        let start = state.as_deref().map(|state| state.view());
        self.run_shards(inputs, start, |shard| {
            forward::forward(p, &mut shard.ws);
            activation::softmax_at(shard.ws.level, &mut shard.ws.u, n_y);
        });
        let (n, t) = inputs.sequences();
        let mut y = Array3::zeros((n, t, n_y));
        for shard in self.shards.iter().filter(|shard| !shard.rows.is_empty()) {
            let time_major = ndarray::ArrayView3::from_shape((t, shard.ws.n, n_y), &shard.ws.u)
                .expect("u is [T, n, n_y]");
            y.slice_mut(ndarray::s![shard.rows.clone(), .., ..])
                .assign(&time_major.permuted_axes([1, 0, 2]));
        }
        self.collect(state);
        Ok(y)
    }

    fn check_inputs(
        &self,
        p: &Parameters<T>,
        inputs: &Inputs<'_, T>,
        state: &Option<&mut Array2<T>>,
    ) -> Result<()> {
        assert_eq!(
            p.dims(),
            self.dims,
            "an engine works for networks of one size"
        );
        inputs.check(self.dims)?;
        check_state(
            state.as_deref().map(|state| state.view()),
            inputs.sequences().0,
            self.dims,
        )
    }

    /// Loads each shard with its sequences and runs `work` on it, on the threads of the pool.
    fn run_shards(
        &mut self,
        inputs: Inputs<'_, T>,
        state: Option<ArrayView2<'_, T>>,
        work: impl Fn(&mut Shard<T>) + Sync,
    ) {
        let (n, parts) = (inputs.sequences().0, self.shards.len());
        let shards = &mut self.shards;
        self.pool.install(|| {
            shards
                .par_iter_mut()
                .enumerate()
                .with_max_len(1)
                .for_each(|(s, shard)| {
                    shard.rows = rows_of(s, parts, n);
                    shard.tally = Tally::default();
                    if !shard.rows.is_empty() {
                        shard.ws.load(&inputs, state, shard.rows.clone());
                        work(shard);
                    }
                });
        });
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
                    let mut parts = shards.iter().filter(|shard| !shard.rows.is_empty());
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

    /// The tally of all shards, in their order, and their last states.
    fn collect(&self, state: Option<&mut Array2<T>>) -> Tally {
        let mut tally = Tally::default();
        for shard in &self.shards {
            tally += shard.tally;
        }
        if let Some(state) = state {
            for shard in self.shards.iter().filter(|shard| !shard.rows.is_empty()) {
                state
                    .slice_mut(ndarray::s![shard.rows.clone(), ..])
                    .assign(&shard.ws.last_state());
            }
        }
        tally
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
