//! How fast training steps are here, against what this machine can do: [`Workload`], [`Roof`], [`compare`].
//!
//! A [`Workload`] is one network with random data of one [`Shape`]; its step is a whole training step: forward, loss,
//! BPTT, reduction and a gradient-descent update. The [`Roof`] is a matrix product of 2048^3, one on each core at once,
//! each on one BLAS thread: the most that this library's arithmetic could come to. [`compare`] times the two in turn, so
//! that a machine whose speed drifts slows both, and takes medians.
//!
//! What the program's `bench` and the criterion suite share; the only clock beside the trainer's. Knows nothing of how
//! a step is computed.
//!
//! ```no_run
//! use bptt::EngineOptions;
//! use bptt::measure::{Roof, Shape, Workload, compare};
//!
//! let shape: Shape = "charlm".parse()?;
//! let mut workload = Workload::<f32>::new(shape, EngineOptions::default(), false, 0)?;
//! let mut roof = Roof::new(workload.threads())?;
//! let speed = compare(&mut workload, &mut roof, std::time::Duration::from_secs(3), |_| ())?;
//! println!("{:.0} % of the roof", 100.0 * speed.fraction);
//! # Ok::<(), bptt::Error>(())
//! ```

mod shape;

pub use shape::Shape;

use crate::blas::{self, OneThread};
use crate::optim::{Algorithm, Clip, Optimizer, OptimizerOptions, Update};
use crate::ranks::{Ranks, Reduction, Team, Values};
use crate::{Batch, Engine, EngineOptions, Error, Init, Inputs, Result, Rnn, Scalar};
use ndarray::{Array2, Array3};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Rows and columns of the roof's product. Fixed, so that fractions of different days and machines mean the same; one
/// takes a fifth of a second where a core does 80 GFLOP/s.
pub const ROOF_SIZE: usize = 2048;

/// Rounds of roof and steps that [`compare`] takes at least: below three a median is no protection.
pub const LEAST_ROUNDS: usize = 3;

/// The learning rate of the steps: small enough that thousands of them leave the network in the state a young network
/// is in, neither dead nor diverged.
const LR: f64 = 1e-3;

/// A network, an engine and random data of one shape.
#[derive(Debug)]
pub struct Workload<T: Scalar> {
    shape: Shape,
    rnn: Rnn<T>,
    engine: Engine<T>,
    optimizer: Optimizer<T>,
    features: Array3<T>,
    /// Read in place of `features` where that is empty.
    ids: Array2<u32>,
    classes: Array2<u32>,
}

impl<T: Scalar> Workload<T> {
    /// Orthogonal weights; inputs even in [-1, 1) (as the states are, whatever feeds them) or, with `tokens`, ids; classes
    /// as targets.
    ///
    /// # Errors
    /// As [`Engine::new`] and [`Rnn::new`].
    pub fn new(shape: Shape, options: EngineOptions, tokens: bool, seed: u64) -> Result<Self> {
        let Shape { n, t, dims } = shape;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut ids = |limit: usize| {
            let limit = u32::try_from(limit).unwrap_or(u32::MAX);
            Array2::from_shape_simple_fn((n, t), || rng.random_range(0..limit))
        };
        let (inputs, classes) = (ids(dims.n_x), ids(dims.n_y));
        let features = if tokens {
            Array3::zeros((0, 0, 0))
        } else {
            Array3::from_shape_simple_fn((n, t, dims.n_x), || {
                T::from_f64(rng.random_range(-1.0..1.0))
            })
        };
        let descent = OptimizerOptions {
            algorithm: Algorithm::Gd,
            ..OptimizerOptions::default()
        };
        Ok(Workload {
            shape,
            rnn: Rnn::new(dims, Init::Orthogonal, seed)?,
            engine: Engine::new(dims, options)?,
            optimizer: Optimizer::new(dims, descent)?,
            features,
            ids: inputs,
            classes,
        })
    }

    /// The bytes of a workload's data and weights; its step takes [`Workload::bytes`] more. A number that sizes cannot overflow,
    /// for they may be absurd.
    pub fn memory(shape: Shape, tokens: bool) -> f64 {
        let Shape { n, t, dims } = shape;
        let features = if tokens { 0 } else { dims.n_x * size_of::<T>() };
        let ids_and_classes = 2 * size_of::<u32>();
        n as f64 * t as f64 * (features + ids_and_classes) as f64
            + (2 * dims.len() * size_of::<T>()) as f64
    }

    /// This process's part of a workload that several ranks share ([`Engine::join`]); all of them time it together.
    ///
    /// # Errors
    /// As [`Engine::join`].
    pub fn join(mut self, ranks: Arc<dyn Ranks>, reduction: Reduction) -> Result<Self> {
        self.engine = self.engine.join(ranks, reduction)?;
        Ok(self)
    }

    /// Whether any of the ranks says so.
    fn any(&self, own: bool) -> bool {
        self.engine.team().map_or(own, |team| team.any(own))
    }

    /// The sum of what all ranks have.
    fn sum(&self, own: f64) -> f64 {
        let mut sum = [own];
        if let Some(team) = self.engine.team() {
            team.sum(Values::F64(&mut sum));
        }
        sum[0]
    }

    /// The shape.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Whether the inputs are token ids.
    pub fn tokens(&self) -> bool {
        self.features.is_empty()
    }

    /// Shards that the engine cuts the batch into.
    pub fn shards(&self) -> usize {
        self.engine.shards()
    }

    /// Threads of the engine: no more than shards.
    pub fn threads(&self) -> usize {
        self.engine.threads()
    }

    /// Bytes of scratch and gradients, by the engine's formula ([`Engine::bytes`]).
    ///
    /// # Errors
    /// As [`Engine::bytes`].
    pub fn bytes(&self) -> Result<usize> {
        self.engine.bytes(self.shape.n, self.shape.t, self.tokens())
    }

    /// One training step as [`crate::train::Trainer`] takes it; returns the loss before it.
    ///
    /// # Errors
    /// As [`Engine::gradient`].
    pub fn step(&mut self) -> Result<f64> {
        self.engine.step_pool().run(|| self.step_here())
    }

    fn step_here(&mut self) -> Result<f64> {
        let inputs = if self.features.is_empty() {
            Inputs::from(&self.ids)
        } else {
            Inputs::from(&self.features)
        };
        let batch = Batch::new(inputs, &self.classes);
        let gradient = self.engine.gradient(self.rnn.parameters(), &batch, None)?;
        let update = Update {
            lr: LR,
            norm: gradient.norm,
            clip: Clip::default(),
        };
        let (p, g) = (self.rnn.parameters_mut(), self.engine.gradients());
        let optimizer = &mut self.optimizer;
        self.engine.install(|| optimizer.step(p, g, update));
        Ok(gradient.tally.mean_loss())
    }

    /// Takes steps for as long as `least` (one at least) and adds the seconds of each to `seconds`.
    ///
    /// # Errors
    /// As [`Workload::step`].
    pub fn time(&mut self, least: Duration, seconds: &mut Vec<f64>) -> Result<()> {
        let begin = Instant::now();
        loop {
            let step = Instant::now();
            self.step()?;
            seconds.push(step.elapsed().as_secs_f64());
            if self.any(begin.elapsed() >= least) {
                return Ok(());
            }
        }
    }
}

/// The machine's own limit: a product of 2048^3 on each of some cores at once.
#[derive(Debug)]
pub struct Roof<T> {
    pool: rayon::ThreadPool,
    a: Vec<T>,
    b: Vec<T>,
    /// One for each thread.
    c: Vec<Vec<T>>,
    _one_thread: OneThread,
}

impl<T: Scalar> Roof<T> {
    /// Random matrices, and a pool of threads.
    ///
    /// # Errors
    /// [`Error::Threads`] if they cannot be started.
    pub fn new(threads: usize) -> Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .start_handler(|_| blas::prepare_worker())
            .build()
            .map_err(|source| Error::Threads { threads, source })?;
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let mut matrix = || {
            let element = || T::from_f64(rng.random_range(-1.0..1.0));
            std::iter::repeat_with(element)
                .take(ROOF_SIZE * ROOF_SIZE)
                .collect()
        };
        Ok(Roof {
            pool,
            a: matrix(),
            b: matrix(),
            c: vec![vec![T::zero(); ROOF_SIZE * ROOF_SIZE]; threads],
            _one_thread: OneThread::new(),
        })
    }

    /// The bytes of its matrices.
    pub fn memory(threads: usize) -> usize {
        (2 + threads) * ROOF_SIZE * ROOF_SIZE * size_of::<T>()
    }

    /// One product on each thread, all at once; returns floating-point operations per second of all together.
    pub fn run(&mut self) -> f64 {
        let (a, b) = (&self.a, &self.b);
        let threads = self.c.len();
        let begin = Instant::now();
        self.pool.scope(|scope| {
            for c in &mut self.c {
                scope.spawn(move |_| blas::product_tn(a, b, T::zero(), c, [ROOF_SIZE; 3]));
            }
        });
        threads as f64 * Self::flops() / begin.elapsed().as_secs_f64()
    }

    /// Floating-point operations of one product.
    pub fn flops() -> f64 {
        2.0 * (ROOF_SIZE as f64).powi(3)
    }
}

/// What [`compare`] found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speed {
    /// What was timed.
    pub shape: Shape,
    /// The median of the seconds of a step.
    pub step: f64,
    /// The median of the roof's rounds, in operations per second.
    pub roof: f64,
    /// The speed of the steps as a fraction of the roof: the median over the rounds, the steps of each compared with the
    /// roof just before and just after, so that a machine whose speed wanders does not matter.
    pub fraction: f64,
    /// How many steps were timed.
    pub steps: usize,
    /// In how many rounds.
    pub rounds: usize,
    /// Seconds of a step, on average, that this rank spent in communication; the wait for slower ones is part of it.
    pub communication: f64,
}

impl Speed {
    /// Operations per second.
    pub fn flops(&self) -> f64 {
        self.shape.flops() / self.step
    }

    /// Time steps of all sequences, in a second.
    pub fn tokens_per_second(&self) -> f64 {
        self.shape.tokens() as f64 / self.step
    }
}

/// Times the roof and steps in turn, of all ranks at once, for about `time` (at least [`LEAST_ROUNDS`] rounds); steps get as long as the roof
/// takes in each round. `progress` is told which part of the time is over after each round.
///
/// Take a step or two before, so that no buffer is new.
///
/// # Errors
/// As [`Workload::step`].
pub fn compare<T: Scalar>(
    workload: &mut Workload<T>,
    roof: &mut Roof<T>,
    time: Duration,
    mut progress: impl FnMut(f64),
) -> Result<Speed> {
    let mut run_roof = |workload: &Workload<T>| workload.sum(roof.run());
    run_roof(workload);
    workload.step()?;
    let waited = |workload: &Workload<T>| workload.engine.team().map(Team::take_waited);
    let mut communication = Duration::ZERO;
    let begin = Instant::now();
    let (mut roofs, mut steps, mut fractions) = (vec![run_roof(workload)], Vec::new(), Vec::new());
    let (mut round, mut lasted) = (Vec::new(), begin.elapsed());
    while fractions.len() < LEAST_ROUNDS || !workload.any(begin.elapsed() >= time) {
        round.clear();
        let before = roofs[roofs.len() - 1];
        waited(workload);
        workload.time(lasted, &mut round)?;
        communication += waited(workload).unwrap_or_default();
        let turn = Instant::now();
        let after = run_roof(workload);
        lasted = turn.elapsed();
        roofs.push(after);
        steps.extend_from_slice(&round);
        fractions.push(workload.shape().flops() / median(&mut round) * 2.0 / (before + after));
        progress((begin.elapsed().as_secs_f64() / time.as_secs_f64()).min(1.0));
    }
    Ok(Speed {
        shape: workload.shape(),
        communication: communication.as_secs_f64() / steps.len() as f64,
        steps: steps.len(),
        rounds: fractions.len(),
        step: median(&mut steps),
        roof: median(&mut roofs),
        fraction: median(&mut fractions),
    })
}

/// The middle one, or the mean of the two in the middle.
///
/// # Panics
/// If there is none.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) {
        (values[middle - 1] + values[middle]) / 2.0
    } else {
        values[middle]
    }
}

/// Bytes of physical memory that this process has held at most since [`forget_peak_resident`]; `None` where the system
/// does not say (anywhere but on Linux).
pub fn peak_resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(1024 * kibibytes)
}

/// Starts [`peak_resident`] again from what is held now; `false` where that cannot be done.
pub fn forget_peak_resident() -> bool {
    std::fs::write("/proc/self/clear_refs", "5").is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_by_hand() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(median(&mut [7.0]), 7.0);
    }

    #[test]
    fn speed_by_hand() {
        let speed = Speed {
            communication: 0.0,
            shape: Shape::new([2, 5, 3, 4, 1]).unwrap(),
            step: 0.5,
            roof: 7680.0,
            fraction: 0.5,
            steps: 1,
            rounds: 1,
        };
        // 6 x 10 steps x 4 x (4 + 3 + 1) = 1920 operations in half a second.
        assert_eq!(speed.flops(), 3840.0);
        assert_eq!(speed.tokens_per_second(), 20.0);
    }

    #[test]
    fn steps_of_every_kind_train() {
        let shape = Shape::new([4, 6, 5, 16, 5]).unwrap();
        let options = EngineOptions {
            threads: 2,
            shards: 3,
            ..EngineOptions::default()
        };
        for tokens in [false, true] {
            let mut workload = Workload::<f64>::new(shape, options, tokens, 0).unwrap();
            assert_eq!((workload.tokens(), workload.shards()), (tokens, 3));
            let mut seconds = Vec::new();
            workload.time(Duration::ZERO, &mut seconds).unwrap();
            assert!(seconds.len() == 1 && seconds[0] > 0.0, "{seconds:?}");
            let first = workload.step().unwrap();
            for _ in 0..20 {
                workload.step().unwrap();
            }
            let last = workload.step().unwrap();
            assert!(last < first, "{first} {last}: the update descends");
        }
    }

    /// The peak rises with what is touched, and is forgotten when asked.
    #[cfg(target_os = "linux")]
    #[test]
    fn peaks_are_seen_and_forgotten() {
        const BYTES: usize = 200 << 20;
        if !forget_peak_resident() {
            eprintln!("skipped: this system does not let a process forget its peak");
            return;
        }
        let before = peak_resident().unwrap();
        drop(std::hint::black_box(vec![1u8; BYTES]));
        let peak = peak_resident().unwrap();
        assert!(peak >= before + BYTES as u64 / 2, "{before} {peak}");
        assert!(forget_peak_resident());
        let after = peak_resident().unwrap();
        assert!(after <= peak - BYTES as u64 / 2, "{after} {peak}");
    }
}
