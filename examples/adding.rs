//! The adding problem (Hochreiter and Schmidhuber 1997): of 200 random numbers two are marked, and their sum is asked for at
//! the end. What was read a hundred steps ago must be remembered; a network that only knows the mean is off by 0.167.
//!
//! ```text
//! cargo run --release --example adding            # or: --example adding lstm 64 5000
//! ```
//!
//! A loop of one's own: fresh sequences for each update, the answer at the last step, squared error.

use bptt::optim::{Clip, Optimizer, OptimizerOptions};
use bptt::{
    Architecture, Batch, Cell, Engine, EngineOptions, Head, Init, Input, Loss, Network, Result,
};
use ndarray::Array3;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let name = args.next().unwrap_or("gru".into());
    let cell = Cell::ALL.into_iter().find(|cell| cell.name() == name);
    let mut number = |default| {
        args.next()
            .map_or(default, |arg| arg.parse().expect("a number"))
    };
    let (hidden, updates) = (number(64), number(4000) as u64);
    let error = learn(
        cell.expect("tanh, relu, gru or lstm"),
        hidden,
        200,
        updates,
        |update, error| {
            println!("{update:>6} updates: mean squared error {error:.5}");
        },
    )?;
    println!("on new sequences: {error:.6} (guessing the mean: 0.167)");
    Ok(())
}

/// Trains on so many batches, and says how far off the network is on sequences that it has not seen.
pub fn learn(
    cell: Cell,
    hidden: usize,
    steps: usize,
    updates: u64,
    mut progress: impl FnMut(u64, f64),
) -> Result<f64> {
    let head = Head::new(1, Loss::Mse).at_last();
    let architecture = Architecture {
        cell,
        ..Architecture::new(Input::Features(2), hidden, head)
    };
    let mut network = Network::<f32>::new(architecture, Init::Orthogonal, 1)?;
    let mut engine = Engine::new(architecture, EngineOptions::default())?;
    let options = OptimizerOptions {
        clip: Clip {
            norm: Some(1.0),
            ..Clip::default()
        },
        ..OptimizerOptions::default()
    };
    let mut adam = Optimizer::new(architecture, options)?;
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for update in 0..updates {
        let (x, y) = draw(&mut rng, 64, steps);
        let found = engine.gradient(&network, &Batch::new(&x, &y))?;
        // The rate falls to zero along a cosine.
        let part = update as f64 / updates as f64;
        let lr = 0.003 * 0.5 * (1.0 + (std::f64::consts::PI * part).cos());
        engine.update(&mut network, &mut adam, lr);
        if update % 500 == 0 {
            progress(update, found.mean_loss());
        }
    }
    let (x, y) = draw(&mut rng, 2000, steps);
    let metrics = engine.evaluate(&network, &Batch::new(&x, &y), None)?;
    Ok(metrics.mean_loss())
}

/// `n` sequences `[n, steps, 2]` of numbers and marks, and the sums of the marked numbers `[n, 1, 1]`.
pub fn draw(rng: &mut ChaCha8Rng, n: usize, steps: usize) -> (Array3<f32>, Array3<f32>) {
    let (mut x, mut y) = (Array3::zeros((n, steps, 2)), Array3::zeros((n, 1, 1)));
    for i in 0..n {
        for step in 0..steps {
            x[[i, step, 0]] = rng.random_range(0.0..1.0);
        }
        // One mark in each half.
        let half = steps / 2;
        for step in [rng.random_range(0..half), rng.random_range(half..steps)] {
            x[[i, step, 1]] = 1.0;
            y[[i, 0, 0]] += x[[i, step, 0]];
        }
    }
    (x, y)
}
