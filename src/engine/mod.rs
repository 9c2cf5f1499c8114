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
mod memory;
mod parts;
mod run;

pub use alone::LayerGradients;
pub use parts::{ROWS, STEPS};
pub(crate) use run::check_state;

use crate::architecture::Architecture;
use crate::batch::check_lengths;
use crate::dropout::Dropout;
use crate::heads::Metrics;
use crate::kernels::blas::{self, OneThread};
use crate::optim::{Optimizer, SLICE};
use crate::partition::Partition;
use crate::ranks::{Communicator, Ranks, Reduction};
use crate::reduce::Reduce;
use crate::shard::Shard;
use crate::weights::{PackedNetwork, Passes};
use crate::{Batch, Error, Inputs, Network, Parameters, Result, Scalar};
use ndarray::{Array2, Array3};
use run::RowsOut;
use std::sync::Arc;

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
        self.comm.as_ref().map_or(0, |comm| comm.ranks.rank())
    }

    /// How many processes there are: 1 alone.
    pub fn ranks(&self) -> usize {
        self.comm.as_ref().map_or(1, |comm| comm.ranks.size())
    }

    pub(crate) fn comm(&self) -> Option<&Communicator> {
        self.comm.as_ref()
    }

    /// The number of threads.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Runs `f` on the engine's own threads: rayon inside it uses them, and steps taken inside it need no hand-over.
    pub fn install<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        self.pool.install(f)
    }

    /// The threads on which a whole step is best taken: so there is one hand-over, and not one for each part of it. None
    /// where the other processes may be talked to from the present thread alone.
    pub(crate) fn step_pool(&self) -> Option<Arc<rayon::ThreadPool>> {
        let from_any = |comm: &Communicator| comm.ranks.takes_any_thread();
        (self.comm.as_ref().is_none_or(from_any)).then(|| Arc::clone(&self.pool))
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
        let (passes, inputs) = (Passes::Forward, (&batch.inputs, batch.lengths));
        self.run(network, passes, inputs, Some(state), |shard, pass| {
            shard.advance(pass, |_| {});
        })
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
}
