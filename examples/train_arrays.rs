//! Training on `ndarray` arrays of one's own: batch-first `[N, T, n]`, views are enough.
//!
//! ```text
//! cargo run --release --example train_arrays
//! ```
//!
//! The task wants memory: at every step, was the sum of the last three inputs above zero? First with a loop of one's own
//! around [`Engine`], which reads views and copies nothing but the transposition to time-major; then with the library's
//! [`Trainer`], which owns a set, shuffles it, and keeps the weights that validated best.

use bptt::data::{Loader, OwnedInputs, OwnedTargets, Padding, Sequences};
use bptt::optim::{Clip, Optimizer, OptimizerOptions};
use bptt::train::{TrainOptions, Trainer, evaluate};
use bptt::{
    Architecture, Batch, Engine, EngineOptions, Head, Init, Input, Inputs, Network, Result, Targets,
};
use ndarray::{Array2, Array3, s};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Sequences, steps, and hidden units.
const SIZES: (usize, usize, usize) = (512, 20, 24);
const BATCH: usize = 64;

fn main() -> Result<()> {
    let (inputs, targets) = task();
    println!(
        "with a loop of one's own   {:.1} % right",
        100.0 * own_loop(&inputs, &targets)?
    );
    println!(
        "with the Trainer           {:.1} % right, on sequences it never saw",
        100.0 * with_trainer(inputs, targets)?
    );
    Ok(())
}

/// One layer of tanh: one feature in, two classes out.
fn architecture() -> Architecture {
    Architecture::new(Input::Features(1), SIZES.2, Head::softmax(2))
}

/// Inputs `[N, T, 1]` between -1 and 1, and classes `[N, T]`.
pub fn task() -> (Array3<f32>, Array2<u32>) {
    let (n, t, _) = SIZES;
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let inputs = Array3::from_shape_simple_fn((n, t, 1), || rng.random_range(-1.0..1.0));
    let targets = Array2::from_shape_fn((n, t), |(i, step)| {
        let recent = inputs.slice(s![i, step.saturating_sub(2)..=step, 0]);
        u32::from(recent.sum() > 0.0)
    });
    (inputs, targets)
}

/// Forty times through the arrays; returns how much of them it then gets right.
pub fn own_loop(inputs: &Array3<f32>, targets: &Array2<u32>) -> Result<f64> {
    let n = inputs.dim().0;
    let mut network = Network::<f32>::new(architecture(), Init::Orthogonal, 0)?;
    let mut engine = Engine::new(architecture(), EngineOptions::default())?;
    let options = OptimizerOptions {
        clip: Clip {
            norm: Some(1.0),
            value: None,
        },
        ..OptimizerOptions::default() // Adam
    };
    let mut adam = Optimizer::new(architecture(), options)?;
    for _ in 0..40 {
        for begin in (0..n).step_by(BATCH) {
            // Any views will do: a slice of a larger array, a transposed one, every second sequence.
            let rows = begin..(begin + BATCH).min(n);
            let batch = Batch::new(
                Inputs::Dense(inputs.slice(s![rows.clone(), .., ..])),
                Targets::Classes(targets.slice(s![rows, ..])),
            );
            engine.gradient(&network, &batch)?;
            engine.update(&mut network, &mut adam, 0.01);
        }
    }
    let metrics = engine.evaluate(&network, &Batch::new(inputs, targets), None)?;
    Ok(metrics.accuracy())
}

/// The same by [`Trainer`], with a quarter of the sequences kept apart; returns how much of those it gets right.
pub fn with_trainer(inputs: Array3<f32>, targets: Array2<u32>) -> Result<f64> {
    let set = Sequences::new(
        OwnedInputs::Dense(inputs),
        OwnedTargets::Classes(targets),
        Padding::default(),
    )?;
    let (train, valid) = set.split(0.25, 0)?;
    let mut run = Trainer::new(
        Network::<f32>::new(architecture(), Init::Orthogonal, 0)?,
        Loader::sequences(train, BATCH, None, 0)?,
        TrainOptions {
            steps: 300,
            lr: 0.01,
            report_every: 50,
            ..TrainOptions::default()
        },
    )?
    .with_validation(Loader::evaluation_sequences(valid.clone())?);
    run.run(&mut ())?;
    let best = Network::from_parameters(run.best().clone());
    let mut engine = Engine::new(best.architecture(), EngineOptions::default())?;
    let mut valid = Loader::evaluation_sequences(valid)?;
    Ok(evaluate(&mut engine, &best, &mut valid, |_| ())?.accuracy())
}
