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
use bptt::optim::{Clip, Optimizer, OptimizerOptions, Update};
use bptt::train::{TrainOptions, Trainer};
use bptt::{Batch, Dims, Engine, EngineOptions, Init, Inputs, Result, Rnn, Targets};
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
    let (n, _, n_h) = SIZES;
    let mut rnn = Rnn::<f32>::new(Dims::new(1, n_h, 2)?, Init::Orthogonal, 0)?;
    let mut engine = Engine::new(rnn.dims(), EngineOptions::default())?;
    let mut adam = Optimizer::new(rnn.dims(), OptimizerOptions::default())?;
    for _ in 0..40 {
        for begin in (0..n).step_by(BATCH) {
            // Any views will do: a slice of a larger array, a transposed one, every second sequence.
            let rows = begin..(begin + BATCH).min(n);
            let batch = Batch::new(
                Inputs::Dense(inputs.slice(s![rows.clone(), .., ..])),
                Targets::Classes(targets.slice(s![rows, ..])),
            );
            let found = engine.gradient(rnn.parameters(), &batch, None)?;
            let update = Update {
                lr: 0.01,
                norm: found.norm,
                clip: Clip {
                    norm: Some(1.0),
                    value: None,
                },
            };
            adam.step(rnn.parameters_mut(), engine.gradients(), update);
        }
    }
    let tally = engine.evaluate(rnn.parameters(), &Batch::new(inputs, targets), None)?;
    Ok(tally.accuracy())
}

/// The same by [`Trainer`], with a quarter of the sequences kept apart; returns how much of those it gets right.
pub fn with_trainer(inputs: Array3<f32>, targets: Array2<u32>) -> Result<f64> {
    let set = Sequences::new(
        OwnedInputs::Dense(inputs),
        OwnedTargets::Classes(targets),
        Padding::default(),
    )?;
    let (train, valid) = set.split(0.25, 0)?;
    let (n_x, n_y) = set.dims();
    let rnn = Rnn::<f32>::new(Dims::new(n_x, SIZES.2, n_y)?, Init::Orthogonal, 0)?;
    let mut run = Trainer::new(
        rnn,
        Loader::sequences(train, BATCH, None, 0)?,
        Some(Loader::evaluation_sequences(valid.clone())?),
        EngineOptions::default(),
        OptimizerOptions::default(),
        TrainOptions {
            steps: 300,
            lr: 0.01,
            report_every: 50,
            ..TrainOptions::default()
        },
    )?;
    run.run(&mut ())?;
    let best = Rnn::from_parameters(run.best().clone());
    let mut engine = Engine::new(best.dims(), EngineOptions::default())?;
    let batch = valid.batch().expect("a set in memory");
    let tally = engine.evaluate(best.parameters(), &batch, None)?;
    Ok(tally.accuracy())
}
