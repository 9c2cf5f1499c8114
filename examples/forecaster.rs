//! A forecaster: the NARMA-10 system (Atiya and Parlos 2000), whose next value depends on ten values and inputs before it,
//! followed from its inputs alone. One number at every step, squared error.
//!
//! ```text
//! cargo run --release --example forecaster
//! ```
//!
//! ```text
//! y_{t+1} = 0.3 y_t + 0.05 y_t (y_t + ... + y_{t-9}) + 1.5 u_{t-9} u_t + 0.1        u_t even in [0, 0.5]
//! ```
//!
//! 4,000 steps to learn from, the next 1,000 to be tested on; the error is given relative to the variance of the values
//! (published recurrent networks: 0.061 to 0.076).

use bptt::optim::{Clip, Optimizer, OptimizerOptions};
use bptt::{
    Architecture, Batch, Cell, Engine, EngineOptions, Head, Init, Input, Loss, Network, Result,
};
use ndarray::{Array2, Array3, s};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Steps to learn from, and to be tested on.
const TRAIN: usize = 4000;
const TEST: usize = 1000;

/// Steps of a window, of which the first ones only warm the state up.
const WINDOW: usize = 150;
const WARM: usize = 30;

fn main() -> Result<()> {
    let error = learn(Cell::Gru, 64, 3000, |update, error| {
        println!("{update:>6} updates: error {error:.4} of the variance");
    })?;
    println!("on the {TEST} steps that follow: {error:.4} of the variance");
    Ok(())
}

/// Trains on windows of the first steps, and says how far off the network is on the last, relative to their variance.
pub fn learn(
    cell: Cell,
    hidden: usize,
    updates: u64,
    mut progress: impl FnMut(u64, f64),
) -> Result<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let (u, y) = system(&mut rng, TRAIN + TEST);
    // Inputs and targets of mean 0 and size 1, by what is known in training.
    let (u, _) = standardised(&u);
    let (y, variance_of_test) = standardised(&y);

    let head = Head::new(1, Loss::Mse);
    let architecture = Architecture {
        cell,
        ..Architecture::new(Input::Features(1), hidden, head)
    };
    let mut network = Network::<f32>::new(architecture, Init::Orthogonal, 1)?;
    let mut engine = Engine::new(architecture, EngineOptions::default())?;
    let mut adam = Optimizer::new(
        architecture,
        OptimizerOptions {
            clip: Clip {
                norm: Some(1.0),
                ..Clip::default()
            },
            ..OptimizerOptions::default()
        },
    )?;
    const N: usize = 16;
    let mask = Array2::from_shape_fn((N, WINDOW), |(_, step)| step >= WARM);
    for update in 0..updates {
        let first: Vec<usize> = (0..N)
            .map(|_| rng.random_range(0..TRAIN - WINDOW))
            .collect();
        let windows =
            |of: &[f32]| Array3::from_shape_fn((N, WINDOW, 1), |(i, step, _)| of[first[i] + step]);
        let (inputs, targets) = (windows(&u), windows(&y));
        let batch = Batch::new(&inputs, &targets).with_mask(mask.view());
        let found = engine.gradient(&network, &batch)?;
        let part = update as f64 / updates as f64;
        let lr = 0.005 * 0.5 * (1.0 + (std::f64::consts::PI * part).cos());
        engine.update(&mut network, &mut adam, lr);
        if update % 500 == 0 {
            progress(update, found.mean_loss());
        }
    }
    // The state after all that was learned from is where the test begins.
    let all = Array3::from_shape_vec((1, u.len(), 1), u).expect("a row");
    let answers = engine.predict(&network, &all, None)?;
    let squared: f32 = answers
        .slice(s![0, TRAIN.., 0])
        .iter()
        .zip(&y[TRAIN..])
        .map(|(a, b)| (a - b).powi(2))
        .sum();
    Ok(f64::from(squared) / TEST as f64 / variance_of_test)
}

/// Inputs and values of the system; the value belongs to the step whose input is the last that it depends on.
pub fn system(rng: &mut ChaCha8Rng, steps: usize) -> (Vec<f64>, Vec<f64>) {
    const BEFORE: usize = 200;
    let u: Vec<f64> = (0..BEFORE + steps)
        .map(|_| rng.random_range(0.0..0.5))
        .collect();
    let mut y = vec![0.0; 10];
    for t in 9..u.len() - 1 {
        let sum: f64 = y[t - 9..=t].iter().sum();
        y.push(0.3 * y[t] + 0.05 * y[t] * sum + 1.5 * u[t - 9] * u[t] + 0.1);
    }
    // y[t + 1] follows from u[t].
    let y = (0..steps).map(|t| y[BEFORE - 1 + t + 1]).collect();
    (u[BEFORE - 1..BEFORE - 1 + steps].to_vec(), y)
}

/// Of mean 0 and variance 1 over the training steps; and the variance of the test steps on that scale.
fn standardised(values: &[f64]) -> (Vec<f32>, f64) {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let variance = |values: &[f64]| {
        let middle = mean(values);
        values
            .iter()
            .map(|value| (value - middle).powi(2))
            .sum::<f64>()
            / values.len() as f64
    };
    let (middle, size) = (mean(&values[..TRAIN]), variance(&values[..TRAIN]).sqrt());
    let scaled = values.iter().map(|value| ((value - middle) / size) as f32);
    (scaled.collect(), variance(&values[TRAIN..]) / (size * size))
}
