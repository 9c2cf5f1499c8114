//! Batch to shards to threads to one gradient: [`Engine`].
//!
//! A batch of `N` sequences is cut between sequences into `S` shards. Each shard runs forward, loss and BPTT over its own
//! sequences on one thread, meeting nobody until it is done; then the shards' gradients are added in the order of the
//! shards, every thread owning slices of the flat buffer.
//!
//! Within a shard, a time step runs over the sequences that are still alive.
//!
//! Several processes can be one engine ([`Engine::join`]): each has some of the shards, and the gradient of all of them.
//!
//! Shards are part of the result, threads are not: at a given `S` every bit is the same for any number of threads. The
//! loss is divided by the number of counted steps of the whole batch before the shards begin, so unequal shards and
//! masks need no weighting afterwards.
//!
//! A step allocates nothing once a batch of the same size has been seen, if it is called from inside
//! [`Engine::install`]; from outside, handing the work to the pool costs rayon an allocation every few dozen steps.
//! Knows nothing of optimisers.

use crate::blas::{self, OneThread};
use crate::deal::Deal;
use crate::dropout::Dropout;
use crate::loss::{Tally, softmax_cross_entropy};
use crate::network::check_state;
use crate::ranks::{Ranks, Reduction, Team};
use crate::reduce::Reduce;
use crate::shard::{Pass, Shard};
use crate::{Batch, Dims, Error, Inputs, Parameters, Result, Scalar, activation};
use ndarray::{Array2, Array3, ArrayView1, ArrayView3, Axis, s};
use rayon::prelude::*;
use std::ops::Add;
use std::sync::{Arc, Mutex};

pub use crate::reduce::{REDUCTION_SEGMENT, REDUCTION_SLICE};

/// How an engine divides its work. Zero means: as the machine has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineOptions {
    /// Threads; 0 for all cores.
    pub threads: usize,
    /// Shards, of all ranks together; 0 for one a thread. Results depend on it, within rounding.
    pub shards: usize,
    /// The most bytes that the scratch and gradients of a process's shards may take ([`Engine::bytes`]); `None` for as many as they
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
    deal: Deal,
    /// Those of this process.
    shards: Vec<Shard<T>>,
    /// The other processes, if there are any.
    team: Option<Team>,
    gradients: Parameters<T>,
    /// The sum of squares of each slice of the reduced gradient.
    squares: Vec<f64>,
    pool: Arc<rayon::ThreadPool>,
    _one_thread: OneThread,
}

/// The threads of an engine, for a whole step there: so there is one hand-over, and not one for each part of it. None where
/// the other processes may be talked to from the present thread alone.
pub(crate) struct StepPool(Option<Arc<rayon::ThreadPool>>);

impl StepPool {
    pub fn run<R: Send>(&self, step: impl FnOnce() -> R + Send) -> R {
        match &self.0 {
            Some(pool) => pool.install(step),
            None => step(),
        }
    }
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
            deal: Deal::new(shards),
            shards: (0..shards).map(|index| Shard::new(dims, index)).collect(),
            team: None,
            gradients: Parameters::zeros(dims),
            squares: vec![0.0; dims.len().div_ceil(REDUCTION_SLICE)],
            pool: Arc::new(pool),
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
        if ranks.size() > self.deal.shards {
            return Err(Error::Option {
                name: "shards",
                value: self.deal.shards.to_string(),
                expected: "at least one for each rank",
            });
        }
        let own = self.deal.shards_of(ranks.rank(), ranks.size());
        self.shards.retain(|shard| own.contains(&shard.index));
        self.team = Some(Team::new(ranks, reduction));
        Ok(self)
    }

    /// The number of shards, of all ranks together.
    pub fn shards(&self) -> usize {
        self.deal.shards
    }

    /// Which of several processes this is, from 0.
    pub fn rank(&self) -> usize {
        self.team.as_ref().map_or(0, Team::rank)
    }

    /// How many processes there are: 1 alone.
    pub fn ranks(&self) -> usize {
        self.team.as_ref().map_or(1, Team::size)
    }

    pub(crate) fn team(&self) -> Option<&Team> {
        self.team.as_ref()
    }

    /// The number of threads.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Bytes of scratch and gradients after training steps on `n` sequences of `t` steps, without dropout; of several
    /// ranks, of the one with the most.
    ///
    /// # Errors
    /// [`Error::Memory`] if [`EngineOptions::memory`] is not enough for them.
    pub fn bytes(&self, n: usize, t: usize, tokens: bool) -> Result<usize> {
        self.bytes_dealt(n, t, None, tokens)
    }

    /// [`Engine::bytes`] of sequences of these lengths.
    ///
    /// # Errors
    /// As [`Engine::bytes`].
    pub fn bytes_of(&self, lengths: &[usize], tokens: bool) -> Result<usize> {
        self.bytes_dealt(lengths.len(), 0, Some(lengths), tokens)
    }

    fn bytes_dealt(
        &self,
        n: usize,
        t: usize,
        lengths: Option<&[usize]>,
        tokens: bool,
    ) -> Result<usize> {
        let mut deal = Deal::new(self.deal.shards);
        deal.deal(n, t, lengths);
        Ok(self.bytes_in(&deal, self.segment(&deal, tokens)?, tokens))
    }

    /// Bytes for a batch as it was dealt, in segments: of the rank that needs the most.
    fn bytes_in(&self, deal: &Deal, segment: usize, tokens: bool) -> usize {
        let segments = deal.longest().div_ceil(segment.max(1));
        let bytes = |shard| {
            let extent = deal.extent(shard, segment);
            Shard::<T>::bytes(self.dims, extent, segments, tokens)
        };
        let ranks = self.ranks();
        let of_rank = |rank| deal.shards_of(rank, ranks).map(bytes).sum();
        let most: usize = (0..ranks).map(of_rank).max().expect("there is a rank");
        most + self.dims.len() * size_of::<T>()
    }

    /// The time steps of a segment: as many as the memory has room for.
    fn segment(&self, deal: &Deal, tokens: bool) -> Result<usize> {
        let t = deal.longest();
        let Some(budget) = self.memory else {
            return Ok(t);
        };
        let mut least = usize::MAX;
        for segments in 1..=t {
            let segment = t.div_ceil(segments);
            let bytes = self.bytes_in(deal, segment, tokens);
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
            n: deal.n,
            t,
            budget,
            least,
        })
    }

    /// Runs `f` on the engine's own threads: rayon inside it uses them, and steps taken inside it need no hand-over.
    pub fn install<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        self.pool.install(f)
    }

    /// Where a whole step is best taken.
    pub(crate) fn step_pool(&self) -> StepPool {
        let from_any = self.team.as_ref().is_none_or(Team::takes_any_thread);
        StepPool(from_any.then(|| Arc::clone(&self.pool)))
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
        let reduce = Reduce {
            shards: &self.shards,
            pool: &self.pool,
            deal: &self.deal,
            team: self.team.as_ref(),
        };
        let norm = reduce.run(self.gradients.as_mut_slice(), &mut self.squares);
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

    /// The states after a batch of which nothing counts, and nothing else; `state` as in [`Engine::gradient`].
    ///
    /// # Errors
    /// As [`Engine::predict`].
    pub(crate) fn advance(
        &mut self,
        p: &Parameters<T>,
        batch: &Batch<'_, T>,
        state: &mut Array2<T>,
    ) -> Result<()> {
        let ended = |lengths: &[usize]| lengths.iter().all(|&length| length == 0);
        if batch.lengths.is_some_and(ended) {
            return Ok(());
        }
        let visit = |shard: &mut Shard<T>, pass: &Pass<'_, T>| shard.advance(pass, |_, _| {});
        self.run(p, &batch.inputs, batch.lengths, Some(state), visit)
    }

    /// Probabilities `[N, T, n_y]`; `state` as in [`Engine::gradient`]. Of several ranks, each finds those of its own
    /// sequences; the others are zero.
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
        let (parts, mut rest) = (self.deal.shards, y.view_mut());
        let mut outputs = Vec::with_capacity(parts);
        for s in 0..parts {
            let (rows, later) = rest.split_at(Axis(0), self.deal.count(s, n));
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
        mut state: Option<&mut Array2<T>>,
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
        // Sequences of other lengths are others' than before.
        let moves = lengths.is_some();
        if let Some(state) = state.as_deref_mut().filter(|_| moves) {
            self.gather_state(state);
        }
        self.deal.deal(n, t, lengths);
        for shard in &mut self.shards {
            shard.rows.set(self.deal.rows(shard.index));
        }
        let segment = self.segment(&self.deal, matches!(inputs, Inputs::Tokens(_)))?;
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
            if moves {
                self.exchange(&self.deal, state);
            }
        }
        Ok(())
    }

    /// Every sequence's state, where each rank has those of its own: a collective call. Sequences are whose they are in a
    /// batch of one length; after one of others, every rank has all states already.
    pub(crate) fn gather_state(&self, state: &mut Array2<T>) {
        let mut deal = Deal::new(self.deal.shards);
        deal.deal(state.nrows(), 0, None);
        self.exchange(&deal, state);
    }

    /// The states of the sequences of each rank, as they were dealt, to all.
    fn exchange(&self, deal: &Deal, state: &mut Array2<T>) {
        let (Some(team), width) = (&self.team, self.dims.n_h) else {
            return;
        };
        let rows = |rank| {
            let shards = deal.shards_of(rank, team.size());
            shards.flat_map(|shard| deal.rows(shard).map(|(_, row)| row))
        };
        let own: Vec<T> = rows(team.rank())
            .flat_map(|row| state.row(row).to_vec())
            .collect();
        let mut all = vec![T::zero(); state.len()];
        team.all_gather(&own, |rank| rows(rank).count() * width, &mut all);
        let order = (0..team.size()).flat_map(rows);
        for (row, last) in order.zip(all.chunks_exact(width)) {
            state.row_mut(row).assign(&ArrayView1::from(last));
        }
    }

    /// The tally of all shards, in their order.
    fn tally(&self) -> Tally {
        let own = self.shards.iter().map(|shard| shard.tally);
        match &self.team {
            None => own.fold(Tally::default(), Tally::add),
            Some(team) => {
                let own: Vec<_> = own.map(Tally::to_array).collect();
                let mut all = vec![[0.0; 3]; self.deal.shards];
                let count = |rank| self.deal.shards_of(rank, team.size()).len();
                team.all_gather(&own, count, &mut all);
                all.into_iter()
                    .map(Tally::from_array)
                    .fold(Tally::default(), Tally::add)
            }
        }
    }
}
