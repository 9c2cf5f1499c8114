//! Steps of whole runs beside bare steps: what windows, checks, reports and the optimiser cost beside forward, BPTT and an update
//! by gradient descent. The two take turns, so that a machine whose speed wanders slows both; medians over the turns.
//!
//! `cargo bench --bench runs [SECONDS]`, for each row, 20 by default.

use bptt::data::{Loader, OwnedInputs, OwnedTargets, Padding, Sequences};
use bptt::internal::measure::{Shape, Workload, median};
use bptt::optim::{Algorithm, OptimizerOptions};
use bptt::train::{Control, Observer, StepReport, TrainOptions, Trainer};
use bptt::{Cell, EngineOptions, Init, Network, Result};
use ndarray::{Array2, Array3};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::time::{Duration, Instant};

/// Batches in an epoch: what is read next is in no cache.
const BATCHES: usize = 20;

const TURN: Duration = Duration::from_millis(300);

/// Ends a turn of a run.
struct Turn(Instant);

impl Observer<f32> for Turn {
    fn step(&mut self, _: &Trainer<f32>, _: &StepReport) -> Result<Control> {
        Ok(match self.0.elapsed() < TURN {
            true => Control::Continue,
            false => Control::Stop,
        })
    }
}

/// A run on random sequences of a shape.
fn trainer(shape: Shape, algorithm: Algorithm) -> Result<Trainer<f32>> {
    let [n, t, n_x, _, n_y] = shape.sizes();
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut ids = |limit: usize| {
        Array2::from_shape_simple_fn((n * BATCHES, t), || rng.random_range(0..limit as u32))
    };
    let targets = OwnedTargets::Classes(ids(n_y));
    let inputs = if shape.architecture.input.is_tokens() {
        OwnedInputs::Tokens(ids(n_x))
    } else {
        let feature = || rng.random_range(-1.0..1.0);
        OwnedInputs::Dense(Array3::from_shape_simple_fn((n * BATCHES, t, n_x), feature))
    };
    let set = Sequences::new(inputs, targets, Padding::default())?.with_dims(n_x, n_y)?;
    let network = Network::new(shape.architecture, Init::Orthogonal, 0)?;
    let options = TrainOptions {
        steps: u64::MAX,
        lr: 1e-3,
        optimizer: OptimizerOptions {
            algorithm,
            ..OptimizerOptions::default()
        },
        ..TrainOptions::default()
    };
    Trainer::new(network, Loader::sequences(set, n, None, 0)?, options)
}

/// Seconds of a step of a run over those of a bare one.
fn ratio(shape: Shape, algorithm: Algorithm, time: Duration) -> Result<f64> {
    let mut run = trainer(shape, algorithm)?;
    let mut bare = Workload::<f32>::new(shape, EngineOptions::default(), 0)?;
    let (begin, mut ratios) = (Instant::now(), Vec::new());
    while ratios.len() < 2 || begin.elapsed() < time {
        let (turn, before) = (Instant::now(), run.progress().step);
        run.run(&mut Turn(turn))?;
        let of_run = turn.elapsed().as_secs_f64() / (run.progress().step - before) as f64;
        let (turn, mut steps) = (Instant::now(), Vec::new());
        bare.time(TURN, &mut steps)?;
        ratios.push(of_run * steps.len() as f64 / turn.elapsed().as_secs_f64());
    }
    // The first turn fills the buffers.
    Ok(median(&mut ratios[1..]))
}

fn main() -> Result<()> {
    let seconds = std::env::args().skip(1).find_map(|word| word.parse().ok());
    let test = std::env::args().any(|word| word == "--test");
    let time = Duration::from_secs_f64(if test { 0.0 } else { seconds.unwrap_or(20.0) });
    let words: Shape = "20,35,10000,200,10000".parse()?;
    let mut shapes = Vec::new();
    for name in ["notebook", "small", "charlm"] {
        shapes.push((name, name.parse::<Shape>()?));
    }
    shapes.push(("words", words.of(Cell::Tanh, 1, true)?));
    println!("bare step / step of a run, 1 where the rest costs nothing");
    println!("{:<10}{:>8}{:>8}", "", "gd", "Adam");
    for (name, shape) in shapes {
        let gd = ratio(shape, Algorithm::Gd, time)?;
        let adam = ratio(shape, Algorithm::Adam, time)?;
        println!("{name:<10}{:>8.3}{:>8.3}", 1.0 / gd, 1.0 / adam);
    }
    Ok(())
}
