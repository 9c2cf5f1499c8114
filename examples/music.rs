//! A model of music: which of 88 notes sound next, several at once. Each is a label of its own, there or not.
//!
//! ```text
//! cargo run --release --example music                                        # cadences that are made up here
//! cargo run --release --example music train.npz valid.npz test.npz           # `inputs` and `targets` [N, T, 88], `lengths` [N]
//! ```
//!
//! An LSTM with dropout, the weights that are best on the validation set. The loss is given as the field gives it, summed over the
//! notes of a step (Boulanger-Lewandowski et al. 2012; on Bach's chorales, Bai et al. 2018: LSTM 8.45, GRU 8.43, tanh 8.91).

use bptt::data::{Loader, OwnedInputs, OwnedTargets, Padding, Sequences};
use bptt::train::{Schedule, TrainOptions, Trainer, evaluate};
use bptt::{Architecture, Cell, Dropout, Engine, EngineOptions, Head, Init, Loss, Network, Result};
use ndarray::Array3;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::path::Path;

/// The notes of a piano.
const NOTES: usize = 88;

fn main() -> Result<()> {
    let files: Vec<String> = std::env::args().skip(1).collect();
    let [train, valid, test] = match &files[..] {
        [train, valid, test] => {
            let read = |path: &String| Sequences::read_npz(Path::new(path));
            [read(train)?, read(valid)?, read(test)?]
        }
        _ => [cadences(60, 1)?, cadences(20, 2)?, cadences(20, 3)?],
    };
    let epochs = if files.is_empty() { 20 } else { 150 };
    let (loss, f1) = learn(train, valid, test, 200, epochs)?;
    println!("on the test set: {loss:.3} nats a step, F1 {f1:.3}");
    Ok(())
}

/// Trains for so many epochs, and says of the test set the loss, summed over the notes of a step, and F1.
pub fn learn(
    train: Sequences<f32>,
    valid: Sequences<f32>,
    test: Sequences<f32>,
    hidden: usize,
    epochs: u64,
) -> Result<(f64, f64)> {
    let architecture = Architecture {
        cell: Cell::Lstm,
        ..Architecture::new(train.input(), hidden, Head::new(NOTES, Loss::Binary))
    };
    let network = Network::new(architecture, Init::Orthogonal, 0)?;
    let loader = Loader::sequences(train, 4, None, 0)?;
    let options = TrainOptions {
        steps: epochs * loader.windows_per_epoch(),
        lr: 0.005,
        schedule: Schedule::Cosine,
        report_every: loader.windows_per_epoch(),
        dropout: Dropout {
            outputs: 0.5,
            ..Dropout::default()
        },
        ..TrainOptions::default()
    };
    let mut run = Trainer::new(network, loader, options)?
        .with_validation(Loader::evaluation_sequences(valid)?);
    run.run(&mut ())?;
    let best = Network::from_parameters(run.best().clone());
    let mut engine = Engine::new(architecture, EngineOptions::default())?;
    let mut test = Loader::evaluation_sequences(test)?;
    let metrics = evaluate(&mut engine, &best, &mut test, |_| ())?;
    // The loss is the mean over notes, as PyTorch's is.
    Ok((NOTES as f64 * metrics.mean_loss(), metrics.f1()))
}

/// The chords I, IV, V and I in one of six keys, four steps each, again and again in another key.
pub fn cadences(n: usize, seed: u64) -> Result<Sequences<f32>> {
    const STEPS: usize = 64;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut notes = Array3::zeros((n, STEPS + 1, NOTES));
    for i in 0..n {
        let mut key = 0;
        for step in 0..=STEPS {
            if step % 16 == 0 {
                key = rng.random_range(30..36);
            }
            let root = key + [0, 5, 7, 0][step / 4 % 4];
            for interval in [0, 4, 7, 12] {
                notes[[i, step, root + interval]] = 1.0;
            }
        }
    }
    let steps = |range: std::ops::Range<usize>| notes.slice(ndarray::s![.., range, ..]).to_owned();
    let (inputs, targets) = (steps(0..STEPS), steps(1..STEPS + 1));
    Sequences::new(
        OwnedInputs::Dense(inputs),
        OwnedTargets::Values(targets),
        Padding::default(),
    )
}
