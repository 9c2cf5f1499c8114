//! Batch to shards to threads to one gradient: [`Engine`].
//!
//! A batch of `N` sequences is cut between sequences into `S` shards. Each shard runs forward, loss and BPTT over its own
//! sequences on one thread, meeting nobody until it is done; then the shards' gradients are added in the order of the
//! shards, every thread owning slices of the flat buffer.
//!
//! Several processes can be one engine ([`Engine::join`]): each has some of the shards, and the gradient of all of them.
//!
//! Shards are part of the result, threads are not: at a given `S` every bit is the same for any number of threads. The
//! loss is divided by the number of counted steps of the whole batch before the shards begin, so unequal shards and
//! masks need no weighting afterwards.
//!
//! A step of one process allocates nothing once a batch of the same size has been seen, if it is called from inside
//! [`Engine::install`]; from outside, handing the work to the pool costs rayon an allocation every few dozen steps.

mod alone;
mod parts;

pub use alone::LayerGradients;
pub use parts::{ROWS, STEPS};

use crate::architecture::{Architecture, At};
use crate::batch::check_lengths;
use crate::dropout::Dropout;
use crate::heads::Metrics;
use crate::kernels::blas::{self, OneThread};
use crate::optim::{Optimizer, SLICE};
use crate::partition::Partition;
use crate::ranks::{Communicator, Ranks, Reduction};
use crate::reduce::Reduce;
use crate::shard::{Pass, Shard};
use crate::stack::Weights;
use crate::weights::{PackedNetwork, Passes, has_wide_decoder};
use crate::{Batch, Error, Inputs, Network, Parameters, Result, Scalar};
use ndarray::{Array2, Array3, ArrayBase, ArrayView1, ArrayView2, ArrayViewMut2, DataMut, Ix3};
use rayon::prelude::*;
use std::ops::Add;
use std::sync::{Arc, Mutex};

/// The most bytes of outputs, of all steps and sequences together, for which time is not taken in segments where no other limit
/// is given: of a million words, those of 64 steps would be most of what a training step needs.
const LOGITS: usize = 1 << 30;

/// How an engine divides its work. Zero means: as the machine has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineOptions {
    /// Threads; 0 for all cores.
    pub threads: usize,
    /// Shards, of all ranks together; 0 for one a thread. Results depend on it, within rounding.
    pub shards: usize,
    /// The most bytes that a process's scratch, packed weights and gradients may take ([`Engine::bytes`]); `None` for as many as they
    /// like, of which a gigabyte of outputs. Where more would be needed, time is taken in segments and their states are computed
    /// twice: the same gradients within rounding, for at most a third more time. Results depend on it, within rounding.
    pub memory: Option<usize>,
}

/// What a training step found, before any update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gradient {
    /// Losses and counts of the batch.
    pub metrics: Metrics,
    /// The Euclidean norm of the gradient of the mean loss.
    pub norm: f64,
}

impl Gradient {
    /// The mean loss of a counted step of the batch, in nats.
    pub fn mean_loss(&self) -> f64 {
        self.metrics.mean_loss()
    }
}

/// What a gradient may take into account beside the batch: by default zero states, and nothing dropped.
#[derive(Debug, Default)]
pub struct GradientOptions<'a, T> {
    /// States `[N, W]` from which the sequences start, and which become the states after their last steps; from zero, where
    /// there are none.
    pub state: Option<&'a mut Array2<T>>,
    /// Dropout, and the number of the update: each has masks of its own.
    pub dropout: Option<(&'a Dropout, u64)>,
}

/// From these states, nothing dropped.
impl<'a, T> From<Option<&'a mut Array2<T>>> for GradientOptions<'a, T> {
    fn from(state: Option<&'a mut Array2<T>>) -> Self {
        GradientOptions {
            state,
            dropout: None,
        }
    }
}

/// Computes gradients, losses and predictions of batches on several threads, and updates networks there.
///
/// ```
/// use bptt::optim::{Optimizer, OptimizerOptions};
/// use bptt::{Architecture, Batch, Engine, EngineOptions, Head, Init, Input, Network};
/// use ndarray::array;
///
/// let architecture = Architecture::new(Input::Tokens(3), 8, Head::softmax(3));
/// let mut network = Network::<f32>::new(architecture, Init::Orthogonal, 0)?;
/// let mut engine = Engine::new(architecture, EngineOptions::default())?;
/// let mut adam = Optimizer::new(architecture, OptimizerOptions::default())?;
/// let (inputs, targets) = (array![[0u32, 1], [1, 2], [2, 0]], array![[1u32, 2], [2, 0], [0, 1]]);
/// let batch = Batch::new(&inputs, &targets);
/// for _ in 0..50 {
///     engine.gradient(&network, &batch)?;
///     engine.update(&mut network, &mut adam, 0.1);
/// }
/// assert!(engine.evaluate(&network, &batch, None)?.accuracy() == 1.0);
/// # Ok::<(), bptt::Error>(())
/// ```
#[derive(Debug)]
pub struct Engine<T: Scalar> {
    architecture: Architecture,
    memory: Option<usize>,
    partition: Partition,
    /// Those of this process.
    shards: Vec<Shard<T>>,
    /// The weights that all of them multiply with.
    packed: PackedNetwork<T>,
    /// The other processes, if there are any.
    comm: Option<Communicator>,
    gradients: Parameters<T>,
    /// Its Euclidean norm; `None` before the first gradient.
    norm: Option<f64>,
    /// The sum of squares of each slice of the reduced gradient.
    squares: Vec<f64>,
    /// The sequences and steps that [`Engine::forward`] ran on, if it was the last that ran.
    alone: Option<[usize; 2]>,
    pool: Arc<rayon::ThreadPool>,
    _one_thread: OneThread,
}

impl<T: Scalar> Engine<T> {
    /// An engine for networks of this architecture, with its own pool of threads.
    ///
    /// More threads than OpenBLAS has buffers for are not started; nor are more than there are shards, for they would have
    /// nothing to do.
    ///
    /// # Errors
    /// As [`Architecture::check`]; [`Error::Option`] for more than 65,536 shards, [`Error::Threads`] if the threads cannot be
    /// started.
    pub fn new(architecture: Architecture, options: EngineOptions) -> Result<Self> {
        architecture.check()?;
        let threads = match options.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        };
        let shards = match options.shards {
            0 => threads,
            n => n,
        };
        if shards > 1 << 16 {
            return Err(Error::option("shards", shards, "at most 65536"));
        }
        let threads = threads.min(blas::library().max_workers).min(shards);
        let new_shards = (0..shards).map(|index| Shard::new(architecture, index));
        Ok(Engine {
            architecture,
            memory: options.memory,
            partition: Partition::new(shards),
            shards: new_shards.collect(),
            packed: PackedNetwork::default(),
            comm: None,
            gradients: Parameters::zeros(architecture),
            norm: None,
            squares: vec![0.0; architecture.len().div_ceil(SLICE)],
            alone: None,
            pool: Arc::new(blas::pool(threads)?),
            _one_thread: OneThread::new(),
        })
    }

    /// One of several processes that train one network: this one keeps its part of the shards, and every result is that
    /// of all of them. All must have been made with as many shards, and be given the same batches; of inputs and targets
    /// a process reads the sequences of its own shards alone.
    ///
    /// # Errors
    /// [`Error::Option`] if there are fewer shards than ranks.
    pub fn join(mut self, ranks: Arc<dyn Ranks>, reduction: Reduction) -> Result<Self> {
        if ranks.size() > self.partition.shards {
            let expected = "at least one for each rank";
            return Err(Error::option("shards", self.shards(), expected));
        }
        let own = self.partition.shards_of(ranks.rank(), ranks.size());
        self.shards.retain(|shard| own.contains(&shard.index));
        self.comm = Some(Communicator::new(ranks, reduction));
        Ok(self)
    }

    /// Of the networks that it works for.
    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// The number of shards, of all ranks together.
    pub fn shards(&self) -> usize {
        self.partition.shards
    }

    /// Which of several processes this is, from 0.
    pub fn rank(&self) -> usize {
        self.comm.as_ref().map_or(0, Communicator::rank)
    }

    /// How many processes there are: 1 alone.
    pub fn ranks(&self) -> usize {
        self.comm.as_ref().map_or(1, Communicator::size)
    }

    pub(crate) fn comm(&self) -> Option<&Communicator> {
        self.comm.as_ref()
    }

    /// The number of threads.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Bytes of scratch, packed weights and gradients after training steps on `n` sequences of `t` steps, without dropout; of
    /// several ranks, of the one with the most.
    ///
    /// # Errors
    /// [`Error::Memory`] if [`EngineOptions::memory`] is not enough for them.
    pub fn bytes(&self, n: usize, t: usize) -> Result<usize> {
        self.bytes_divided(n, t, None)
    }

    /// [`Engine::bytes`] of sequences of these lengths.
    ///
    /// # Errors
    /// As [`Engine::bytes`].
    pub fn bytes_of(&self, lengths: &[usize]) -> Result<usize> {
        self.bytes_divided(lengths.len(), 0, Some(lengths))
    }

    fn bytes_divided(&self, n: usize, t: usize, lengths: Option<&[usize]>) -> Result<usize> {
        let mut partition = Partition::new(self.partition.shards);
        partition.divide(n, t, lengths);
        Ok(self.bytes_in(&partition, self.segment(&partition, false)?))
    }

    /// Bytes for a batch as it was divided, in segments: of the rank that needs the most.
    fn bytes_in(&self, partition: &Partition, segment: usize) -> usize {
        let segments = partition.longest().div_ceil(segment.max(1));
        let bytes = |shard| {
            let extent = partition.extent(shard, segment);
            Shard::<T>::bytes(&self.architecture, extent, segments)
        };
        let ranks = self.ranks();
        let of_rank = |rank| partition.shards_of(rank, ranks).map(bytes).sum();
        let most: usize = (0..ranks).map(of_rank).max().expect("there is a rank");
        let gradients = self.architecture.len() * size_of::<T>();
        most + gradients + PackedNetwork::<T>::bytes(&self.architecture)
    }

    /// The time steps of a segment: as many as the memory has room for, or if time is to be taken as a `whole`, all.
    fn segment(&self, partition: &Partition, whole: bool) -> Result<usize> {
        let (t, a) = (partition.longest(), self.architecture);
        // With both directions, no step can be taken before the last one was read: there is one segment.
        let whole = whole || a.bidirectional;
        let Some(budget) = self.memory else {
            let few = whole || a.head.at == At::Last;
            let of_step = if few { 0 } else { partition.n * a.head.outputs };
            let segments = (t * of_step * size_of::<T>()).div_ceil(LOGITS);
            return Ok(t.div_ceil(segments.clamp(1, t.max(1))));
        };
        let mut least = usize::MAX;
        let most = if whole { 1 } else { t.max(1) };
        for segments in 1..=most {
            let segment = t.div_ceil(segments);
            let bytes = self.bytes_in(partition, segment);
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
            n: partition.n,
            t,
            budget,
            least,
        })
    }

    /// Runs `f` on the engine's own threads: rayon inside it uses them, and steps taken inside it need no hand-over.
    pub fn install<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        self.pool.install(f)
    }

    /// The threads on which a whole step is best taken: so there is one hand-over, and not one for each part of it. None
    /// where the other processes may be talked to from the present thread alone.
    pub(crate) fn step_pool(&self) -> Option<Arc<rayon::ThreadPool>> {
        let from_any = self.comm().is_none_or(Communicator::takes_any_thread);
        from_any.then(|| Arc::clone(&self.pool))
    }

    /// The gradient of the mean loss over the counted steps of `batch`, to be found in [`Engine::gradients`].
    ///
    /// # Errors
    /// As [`Batch::check`]; [`Error::Memory`]. Nothing has changed then.
    pub fn gradient(&mut self, network: &Network<T>, batch: &Batch<'_, T>) -> Result<Gradient> {
        self.gradient_with(network, batch, GradientOptions::default())
    }

    /// [`Engine::gradient`] of sequences that start from given states, with dropout.
    ///
    /// # Errors
    /// As [`Engine::gradient`] and [`Dropout::check`]; [`Error::Shape`] for states that do not fit.
    pub fn gradient_with(
        &mut self,
        network: &Network<T>,
        batch: &Batch<'_, T>,
        options: GradientOptions<'_, T>,
    ) -> Result<Gradient> {
        batch.check(&self.architecture)?;
        let scale = T::from_f64(1.0 / batch.counted() as f64);
        let (passes, inputs) = (Passes::ForwardAndBack, (&batch.inputs, batch.lengths));
        self.run(network, passes, inputs, options, |shard, pass| {
            shard.train(pass, &batch.answers, scale);
        })?;
        let norm = self.reduce();
        let metrics = self.metrics();
        Ok(Gradient { metrics, norm })
    }

    /// The sum of the shards' gradients, and its norm.
    fn reduce(&mut self) -> f64 {
        let reduce = Reduce {
            shards: &self.shards,
            pool: &self.pool,
            partition: &self.partition,
            comm: self.comm.as_ref(),
        };
        let norm = reduce.run(self.gradients.as_mut_slice(), &mut self.squares);
        self.norm = Some(norm);
        norm
    }

    /// Updates the network by the gradient that was found last, at learning rate `lr`, on the engine's threads.
    ///
    /// # Panics
    /// If no gradient was found yet, or network or optimiser are of another architecture.
    pub fn update(&self, network: &mut Network<T>, optimizer: &mut Optimizer<T>, lr: f64) {
        let (norm, weights) = (self.norm, network.parameters_mut());
        let norm = norm.expect("an update needs a gradient: call `gradient` first");
        self.install(|| optimizer.step(weights, &self.gradients, norm, lr));
    }

    /// The gradient that the last [`Engine::gradient`] found.
    pub fn gradients(&self) -> &Parameters<T> {
        &self.gradients
    }

    /// Losses and right answers of a batch; `state` as in [`GradientOptions::state`].
    ///
    /// # Errors
    /// As [`Engine::gradient`].
    pub fn evaluate(
        &mut self,
        network: &Network<T>,
        batch: &Batch<'_, T>,
        state: Option<&mut Array2<T>>,
    ) -> Result<Metrics> {
        batch.check(&self.architecture)?;
        let inputs = (&batch.inputs, batch.lengths);
        self.run(network, Passes::Forward, inputs, state, |shard, pass| {
            shard.evaluate(pass, &batch.answers);
        })?;
        Ok(self.metrics())
    }

    /// The states after a batch of which nothing counts, and nothing else; `state` as in [`GradientOptions::state`].
    pub(crate) fn advance(
        &mut self,
        network: &Network<T>,
        batch: &Batch<'_, T>,
        state: &mut Array2<T>,
    ) -> Result<()> {
        let ended = |lengths: &[usize]| lengths.iter().all(|&length| length == 0);
        if batch.lengths.is_some_and(ended) {
            return Ok(());
        }
        let inputs = (&batch.inputs, batch.lengths);
        self.run(
            network,
            Passes::Forward,
            inputs,
            Some(state),
            |shard, pass| {
                shard.advance(pass, |_| {});
            },
        )
    }

    /// What the network answers, `[N, T, n_y]`, or once a sequence `[N, 1, n_y]`: probabilities of classes or labels, or
    /// numbers; `state` as in [`GradientOptions::state`]. Of several ranks, each finds those of its own sequences; the others
    /// are zero.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Id`] if inputs or state do not fit the network.
    pub fn predict<'a>(
        &mut self,
        network: &Network<T>,
        inputs: impl Into<Inputs<'a, T>>,
        state: Option<&mut Array2<T>>,
    ) -> Result<Array3<T>> {
        self.predict_with(network, inputs, None, state)
    }

    /// [`Engine::predict`] of sequences of these lengths; zero beyond them.
    ///
    /// # Errors
    /// As [`Engine::predict`]; [`Error::Shape`] or [`Error::Invalid`] for lengths that do not fit.
    pub fn predict_with<'a>(
        &mut self,
        network: &Network<T>,
        inputs: impl Into<Inputs<'a, T>>,
        lengths: Option<&[usize]>,
        state: Option<&mut Array2<T>>,
    ) -> Result<Array3<T>> {
        let (inputs, head) = (inputs.into(), self.architecture.head);
        let (n, t) = inputs.sequences();
        check_lengths(lengths, (n, t), head.at)?;
        let mut y = Array3::zeros((n, head.at.answers(t), head.outputs));
        let (rows, inputs) = (RowsOut::new(&mut y), (&inputs, lengths));
        self.run(network, Passes::Forward, inputs, state, |shard, pass| {
            shard.predict(pass, |shard| rows.write(shard, &shard.scratch.u, head.at));
        })?;
        drop(rows);
        Ok(y)
    }

    /// Divides the sequences among the shards and runs `work` on each, on the threads of the pool.
    fn run<'a>(
        &mut self,
        network: &Network<T>,
        passes: Passes,
        (inputs, lengths): (&Inputs<'_, T>, Option<&[usize]>),
        options: impl Into<GradientOptions<'a, T>>,
        work: impl Fn(&mut Shard<T>, &Pass<'_, T>) + Sync,
    ) -> Result<()> {
        let GradientOptions { mut state, dropout } = options.into();
        dropout.map_or(Ok(()), |(dropout, _)| dropout.check())?;
        let (n, t) = inputs.sequences();
        let (p, a) = (network.parameters(), self.architecture);
        let (own, width) = (p.architecture() == a, a.state());
        assert!(own, "an engine of {a} works for no {}", p.architecture());
        inputs.check(a.input)?;
        self.alone = None;
        check_state(state.as_deref().map(|state| state.view()), n, width)?;
        // With lengths, sequences may be another rank's than before.
        let moves = lengths.is_some();
        if let Some(state) = state.as_deref_mut().filter(|_| moves) {
            self.gather_state(state);
        }
        self.partition.divide(n, t, lengths);
        for shard in &mut self.shards {
            shard.assigned.set(self.partition.rows(shard.index));
        }
        let alone = passes == Passes::BackToInputs;
        let segment = self.segment(&self.partition, alone)?;
        let (shards, packed) = (&mut self.shards, &mut self.packed);
        let state_view = state.as_deref().map(|state| state.view());
        self.pool.install(|| {
            packed.pack(p, passes, has_wide_decoder(&p.architecture()));
            let pass = Pass {
                weights: Weights {
                    parameters: p,
                    packed,
                },
                inputs: inputs.reborrow(),
                state: state_view,
                segment,
                dropout,
                head: !alone,
            };
            let shards = shards.par_iter_mut().with_max_len(1);
            shards.for_each(|shard| {
                shard.clear();
                if !shard.assigned.index().is_empty() {
                    work(shard, &pass);
                }
            });
        });
        if let Some(state) = state {
            for shard in &self.shards {
                assign_rows(state, shard.assigned.index().iter().copied(), &shard.finals);
            }
            if moves {
                self.exchange(&self.partition, state);
            }
        }
        Ok(())
    }

    /// Every sequence's state, where each rank has those of its own: a collective call. Sequences are whose they are in a
    /// batch of one length; after one of others, every rank has all states already.
    pub(crate) fn gather_state(&self, state: &mut Array2<T>) {
        let mut partition = Partition::new(self.partition.shards);
        partition.divide(state.nrows(), 0, None);
        self.exchange(&partition, state);
    }

    /// The states of the sequences of each rank, as they were dealt, to all.
    fn exchange(&self, partition: &Partition, state: &mut Array2<T>) {
        let (Some(comm), width) = (&self.comm, self.architecture.state()) else {
            return;
        };
        let rows = |rank| {
            let shards = partition.shards_of(rank, comm.size());
            shards.flat_map(|shard| partition.rows(shard).map(|(_, row)| row))
        };
        let own = rows(comm.rank()).flat_map(|row| state.row(row).to_vec());
        let own: Vec<T> = own.collect();
        let mut all = vec![T::zero(); state.len()];
        comm.all_gather(&own, |rank| rows(rank).count() * width, &mut all);
        assign_rows(state, (0..comm.size()).flat_map(rows), &all);
    }

    /// The metrics of all shards, in their order.
    fn metrics(&self) -> Metrics {
        let own = self.shards.iter().map(|shard| shard.metrics);
        let Some(comm) = &self.comm else {
            return own.fold(Metrics::default(), Metrics::add);
        };
        let own: Vec<_> = own.collect();
        let mut all = vec![Metrics::default(); self.partition.shards];
        let count = |rank| self.partition.shards_of(rank, comm.size()).len();
        comm.all_gather(&own, count, &mut all);
        all.into_iter().fold(Metrics::default(), Metrics::add)
    }
}

/// Rows `[T, width]` of each sequence of a batch, to be written by the shards that have the sequences: each by one alone, the
/// locks only say so.
struct RowsOut<'a, T>(Vec<Mutex<ArrayViewMut2<'a, T>>>);

impl<'a, T: Scalar> RowsOut<'a, T> {
    fn new(y: &'a mut ArrayBase<impl DataMut<Elem = T>, Ix3>) -> Self {
        RowsOut(y.outer_iter_mut().map(Mutex::new).collect())
    }

    /// Writes a shard's rows: those of its steps, or one for each sequence.
    fn write(&self, shard: &Shard<T>, rows: &[T], at: At) {
        let (steps, first) = (&shard.scratch.steps, shard.scratch.dropping.first);
        for (i, &sequence) in shard.assigned.index().iter().enumerate() {
            let mut y = self.0[sequence].lock().expect("of this shard alone");
            let width = y.ncols();
            let mut write = |t: usize, row: usize| {
                let row = ArrayView1::from(&rows[row * width..][..width]);
                y.row_mut(t).assign(&row);
            };
            match at {
                At::Every if i >= steps.n() => break,
                At::Every => {
                    let rows = steps.rows_of_sequence(i).enumerate();
                    rows.for_each(|(t, row)| write(first + t, row));
                }
                At::Last => write(0, i),
            }
        }
    }
}

/// Assigns values, row after row, to these rows of an array.
fn assign_rows<T: Scalar>(to: &mut Array2<T>, rows: impl Iterator<Item = usize>, values: &[T]) {
    let values = values.chunks_exact(to.ncols());
    for (row, values) in rows.zip(values) {
        to.row_mut(row).assign(&ArrayView1::from(values));
    }
}

/// Whether states, if there are any, are `[n, width]`.
pub(crate) fn check_state<T>(
    state: Option<ArrayView2<'_, T>>,
    n: usize,
    width: usize,
) -> Result<()> {
    match state.filter(|state| state.dim() != (n, width)) {
        Some(state) => {
            let expected = format!("[{n}, {width}]");
            Err(Error::shape("state", state.shape(), expected))
        }
        None => Ok(()),
    }
}
