//! A classifier: one answer for a whole sequence, whatever its length, from both of its ends.
//!
//! ```text
//! cargo run --release --example classifier                          # gestures that are drawn here
//! cargo run --release --example classifier train.npz test.npz       # `inputs` [N, T, n_x], `targets` [N], `lengths` [N]
//! ```
//!
//! A bidirectional LSTM of 100 with dropout, Adam, five seeds. On the Japanese vowels of UCI (9 speakers, 270 utterances of 7 to 29
//! steps to learn from, 370 to be tested on) that is a usual benchmark.

use bptt::data::{Loader, OwnedInputs, OwnedTargets, Padding, Sequences};
use bptt::train::{TrainOptions, Trainer, evaluate};
use bptt::{Architecture, Cell, Dropout, Head, Init, Network, Result};
use ndarray::{Array2, Array3};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::path::Path;

const SEEDS: u64 = 5;

fn main() -> Result<()> {
    let files: Vec<String> = std::env::args().skip(1).collect();
    let (train, test) = match &files[..] {
        [train, test] => (
            Sequences::read_npz(Path::new(train))?,
            Sequences::read_npz(Path::new(test))?,
        ),
        _ => (gestures(300, 1)?, gestures(300, 2)?),
    };
    let mut right = 0.0;
    for seed in 0..SEEDS {
        let accuracy = learn(&train, &test, 60, seed)?;
        println!("seed {seed}: {:.2} % right", 100.0 * accuracy);
        right += accuracy / SEEDS as f64;
    }
    println!("mean  : {:.2} % right", 100.0 * right);
    Ok(())
}

/// Trains for so many epochs, and says how much of the test set is right then.
pub fn learn(train: &Sequences<f32>, test: &Sequences<f32>, epochs: u64, seed: u64) -> Result<f64> {
    let (_, classes) = train.dims();
    let architecture = Architecture {
        cell: Cell::Lstm,
        bidirectional: true,
        ..Architecture::new(train.input(), 100, Head::softmax(classes).at_last())
    };
    let network = Network::new(architecture, Init::Orthogonal, seed)?;
    let loader = Loader::sequences(train.clone(), 27, None, seed)?;
    let options = TrainOptions {
        steps: epochs * loader.windows_per_epoch(),
        lr: 0.002,
        dropout: Dropout {
            outputs: 0.3,
            seed,
            ..Dropout::default()
        },
        ..TrainOptions::default()
    };
    let mut run = Trainer::new(network, loader, options)?;
    run.run(&mut ())?;
    let network = run.network().clone();
    let mut engine = bptt::Engine::new(architecture, bptt::EngineOptions::default())?;
    let mut test = Loader::evaluation_sequences(test.clone())?;
    Ok(evaluate(&mut engine, &network, &mut test, |_| ())?.accuracy())
}

/// Positions of a hand `[N, T, 2]` that goes round in a circle, in an eight, or to and fro, at any speed, 10 to 30 steps of it.
pub fn gestures(n: usize, seed: u64) -> Result<Sequences<f32>> {
    const STEPS: usize = 30;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (mut x, mut classes) = (Array3::zeros((n, STEPS, 2)), Array2::zeros((n, 1)));
    let lengths: Vec<usize> = (0..n).map(|_| rng.random_range(10..=STEPS)).collect();
    for i in 0..n {
        let (class, speed) = (rng.random_range(0..3u32), rng.random_range(0.3..0.6f32));
        let begin = rng.random_range(0.0..6.3f32);
        classes[[i, 0]] = class;
        for step in 0..lengths[i] {
            let angle = begin + speed * step as f32;
            let across = match class {
                0 => angle.cos(),
                1 => (2.0 * angle).cos(),
                _ => 0.0,
            };
            x[[i, step, 0]] = angle.sin() + rng.random_range(-0.3..0.3);
            x[[i, step, 1]] = across + rng.random_range(-0.3..0.3);
        }
    }
    let padding = Padding {
        lengths: Some(lengths),
        mask: None,
    };
    let set = Sequences::new(
        OwnedInputs::Dense(x),
        OwnedTargets::Classes(classes),
        padding,
    )?;
    set.with_dims(2, 3)
}
