//! What is timed: one network with random data of one shape, [`Workload`].

use super::Shape;
use crate::architecture::Input;
use crate::data::OwnedInputs;
use crate::kernels::number::Values;
use crate::optim::{Algorithm, Optimizer, OptimizerOptions};
use crate::ranks::{Communicator, Ranks, Reduction};
use crate::{Batch, Engine, EngineOptions, Init, Network, Result, Scalar};
use ndarray::{Array2, Array3};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The learning rate of the steps: small enough that thousands of them leave the network in the state a young network
/// is in, neither dead nor diverged.
const LR: f64 = 1e-3;

/// A network, an engine and random data of one shape.
#[derive(Debug)]
pub struct Workload<T: Scalar> {
    /// What is timed.
    pub shape: Shape,
    network: Network<T>,
    /// What it runs on.
    pub engine: Engine<T>,
    optimizer: Optimizer<T>,
    inputs: OwnedInputs<T>,
    classes: Array2<u32>,
}

impl<T: Scalar> Workload<T> {
    /// Orthogonal weights; inputs even in [-1, 1) (as the states are, whatever feeds them) or ids; classes as targets.
    pub fn new(shape: Shape, options: EngineOptions, seed: u64) -> Result<Self> {
        let Shape { n, t, architecture } = shape;
        let n_x = architecture.input.size();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut ids = |limit: usize| {
            let limit = u32::try_from(limit).unwrap_or(u32::MAX);
            Array2::from_shape_simple_fn((n, t), || rng.random_range(0..limit))
        };
        let (ids, classes) = (ids(n_x), ids(architecture.head.outputs));
        let feature = || T::from_f64(rng.random_range(-1.0..1.0));
        let inputs = match architecture.input.is_tokens() {
            true => OwnedInputs::Tokens(ids),
            false => OwnedInputs::Dense(Array3::from_shape_simple_fn((n, t, n_x), feature)),
        };
        let descent = OptimizerOptions {
            algorithm: Algorithm::Gd,
            ..OptimizerOptions::default()
        };
        Ok(Workload {
            shape,
            network: Network::new(architecture, Init::Orthogonal, seed)?,
            engine: Engine::new(architecture, options)?,
            optimizer: Optimizer::new(architecture, descent)?,
            inputs,
            classes,
        })
    }

    /// The bytes of a workload's data and weights; its step takes [`Engine::bytes`] more. A number that sizes cannot overflow,
    /// for they may be absurd.
    pub fn memory(shape: Shape) -> f64 {
        let Shape { n, t, architecture } = shape;
        let features = match architecture.input {
            Input::Tokens(_) | Input::Embedding { .. } => 0,
            Input::Features(n_x) => n_x * size_of::<T>(),
        };
        let ids_and_classes = 2 * size_of::<u32>();
        n as f64 * t as f64 * (features + ids_and_classes) as f64
            + 2.0 * architecture.parameters() * size_of::<T>() as f64
    }

    /// This process's part of a workload that several ranks share ([`Engine::join`]); all of them time it together.
    pub fn join(mut self, ranks: Arc<dyn Ranks>, reduction: Reduction) -> Result<Self> {
        self.engine = self.engine.join(ranks, reduction)?;
        Ok(self)
    }

    /// Whether any of the ranks says so.
    pub(super) fn any(&self, own: bool) -> bool {
        self.engine.comm().map_or(own, |comm| comm.any_rank(own))
    }

    /// The sum of what all ranks have.
    pub(super) fn sum(&self, own: f64) -> f64 {
        let mut sum = [own];
        if let Some(comm) = self.engine.comm() {
            comm.timed(|ranks| ranks.sum(Values::F64(&mut sum)));
        }
        sum[0]
    }

    /// One training step as [`crate::train::Trainer`] takes it; returns the loss before it.
    pub fn step(&mut self) -> Result<f64> {
        match self.engine.step_pool() {
            Some(pool) => pool.install(|| self.step_here()),
            None => self.step_here(),
        }
    }

    fn step_here(&mut self) -> Result<f64> {
        let batch = Batch::new(self.inputs.view(), &self.classes);
        let gradient = self.engine.gradient(&self.network, &batch)?;
        let network = &mut self.network;
        self.engine.update(network, &mut self.optimizer, LR);
        Ok(gradient.mean_loss())
    }

    /// Takes steps for as long as `least` (one at least) and adds the seconds of each to `seconds`.
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

    /// Time in communication since this was asked for last.
    pub(super) fn take_waited(&self) -> Duration {
        let waited = self.engine.comm().map(Communicator::take_waited);
        waited.unwrap_or_default()
    }
}
