//! Sequences of different lengths in one batch: padded to the longest, and masked.
//!
//! ```text
//! cargo run --release --example variable_lengths
//! ```
//!
//! The steps beyond a sequence's end do not count: neither in the loss, which is the mean over the steps that do, nor in
//! the gradient. The same mask makes a many-to-one task, in which only the last step of each sequence counts. Here a
//! network reads strings of the letters `a` and `b`, of 3 to 12 letters, and says at the end whether there were more `a`.

use bptt::optim::{Clip, Optimizer, OptimizerOptions, Update};
use bptt::{Batch, Dims, Engine, EngineOptions, Init, Result, Rnn};
use ndarray::Array2;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn main() -> Result<()> {
    let strings = Strings::draw(400, 0);
    println!(
        "gradient of the batch against those of each alone: {:.1e} apart",
        apart(&strings)?
    );
    println!(
        "more a than b, asked at the end: {:.1} % right",
        100.0 * learn(&strings)?
    );
    Ok(())
}

/// Token ids `[N, T]` padded with zeros, their lengths, and the right answers `[N, T]`.
pub struct Strings {
    pub ids: Array2<u32>,
    pub lengths: Vec<usize>,
    pub answers: Array2<u32>,
}

impl Strings {
    pub fn draw(n: usize, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let lengths: Vec<usize> = (0..n).map(|_| rng.random_range(3..=12)).collect();
        let mut ids = Array2::zeros((n, 12));
        let mut answers = Array2::zeros((n, 12));
        for (i, &length) in lengths.iter().enumerate() {
            let mut more = 0;
            for t in 0..length {
                let b = rng.random_bool(0.5);
                more += if b { -1 } else { 1 };
                ids[[i, t]] = u32::from(b);
                answers[[i, t]] = u32::from(more > 0);
            }
        }
        Strings {
            ids,
            lengths,
            answers,
        }
    }

    /// True within each sequence.
    pub fn within(&self) -> Array2<bool> {
        Array2::from_shape_fn(self.ids.dim(), |(i, t)| t < self.lengths[i])
    }

    /// True at the last step of each sequence.
    pub fn last(&self) -> Array2<bool> {
        Array2::from_shape_fn(self.ids.dim(), |(i, t)| t + 1 == self.lengths[i])
    }
}

/// How far the gradient of the whole batch is from that of every sequence by itself, weighted by its steps, as a part of
/// its norm: rounding.
pub fn apart(strings: &Strings) -> Result<f64> {
    let rnn = Rnn::<f64>::new(Dims::new(2, 16, 2)?, Init::Glorot, 1)?;
    let mut engine = Engine::new(rnn.dims(), EngineOptions::default())?;
    let within = strings.within();
    let batch = Batch::new(&strings.ids, &strings.answers).with_mask(within.view());
    let total = batch.counted() as f64;
    engine.gradient(rnn.parameters(), &batch, None)?;
    let together = engine.gradients().clone();

    let mut difference = together.clone();
    for (i, &length) in strings.lengths.iter().enumerate() {
        let row = |array: &Array2<u32>| array.slice(ndarray::s![i..=i, ..length]).to_owned();
        let (ids, answers) = (row(&strings.ids), row(&strings.answers));
        let alone = rnn.backward(&Batch::new(&ids, &answers))?.parameters;
        let weight = length as f64 / total;
        for (d, g) in difference.as_mut_slice().iter_mut().zip(alone.as_slice()) {
            *d -= weight * g;
        }
    }
    Ok(difference.norm() / together.norm())
}

/// Learns to answer at the end of each string; returns how often it is right on strings it never saw.
pub fn learn(strings: &Strings) -> Result<f64> {
    let mut rnn = Rnn::<f32>::new(Dims::new(2, 24, 2)?, Init::Orthogonal, 0)?;
    let mut engine = Engine::new(rnn.dims(), EngineOptions::default())?;
    let mut adam = Optimizer::new(rnn.dims(), OptimizerOptions::default())?;
    let last = strings.last();
    let batch = Batch::new(&strings.ids, &strings.answers).with_mask(last.view());
    for _ in 0..300 {
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
    let unseen = Strings::draw(400, 1);
    let last = unseen.last();
    let batch = Batch::new(&unseen.ids, &unseen.answers).with_mask(last.view());
    Ok(engine.evaluate(rnn.parameters(), &batch, None)?.accuracy())
}
