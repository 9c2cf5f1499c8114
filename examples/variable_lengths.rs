//! Sequences of different lengths in one batch: padded to the longest, which costs nothing.
//!
//! ```text
//! cargo run --release --example variable_lengths
//! ```
//!
//! Lengths say where each sequence ends: what follows is never computed, and counts neither in the loss, which is the mean
//! over the steps that there are, nor in the gradient. A mask says which steps count: in a many-to-one task only the last of
//! each sequence. Here a network reads strings of the letters `a` and `b`, of 3 to 12 letters, and says at the end whether
//! there were more `a`.

use bptt::optim::{Optimizer, OptimizerOptions};
use bptt::{Architecture, Batch, Engine, EngineOptions, Head, Init, Input, Network, Result};
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

    /// As a batch in which the steps of `mask` count.
    fn asked_at<'a>(&'a self, mask: &'a Array2<bool>) -> Batch<'a, f32> {
        Batch::new(&self.ids, &self.answers)
            .with_lengths(&self.lengths)
            .with_mask(mask.view())
    }

    /// True at the last step of each sequence.
    pub fn last(&self) -> Array2<bool> {
        Array2::from_shape_fn(self.ids.dim(), |(i, t)| t + 1 == self.lengths[i])
    }
}

/// One layer of tanh that reads two letters and knows two answers.
fn architecture(units: usize) -> Architecture {
    Architecture::new(Input::Tokens(2), units, Head::softmax(2))
}

/// How far the gradient of the whole batch is from that of every sequence by itself, weighted by its steps, as a part of
/// its norm: rounding.
pub fn apart(strings: &Strings) -> Result<f64> {
    let network = Network::<f64>::new(architecture(16), Init::Glorot, 1)?;
    let mut engine = Engine::new(network.architecture(), EngineOptions::default())?;
    let batch = Batch::new(&strings.ids, &strings.answers).with_lengths(&strings.lengths);
    let total = batch.counted() as f64;
    engine.gradient(&network, &batch)?;
    let together = engine.gradients().clone();

    let mut difference = together.clone();
    for (i, &length) in strings.lengths.iter().enumerate() {
        let row = |array: &Array2<u32>| array.slice(ndarray::s![i..=i, ..length]).to_owned();
        let (ids, answers) = (row(&strings.ids), row(&strings.answers));
        engine.gradient(&network, &Batch::new(&ids, &answers))?;
        let alone = engine.gradients().as_slice();
        let weight = length as f64 / total;
        for (d, g) in difference.as_mut_slice().iter_mut().zip(alone) {
            *d -= weight * g;
        }
    }
    Ok(difference.norm() / together.norm())
}

/// Learns to answer at the end of each string; returns how often it is right on strings it never saw.
pub fn learn(strings: &Strings) -> Result<f64> {
    let mut network = Network::<f32>::new(architecture(24), Init::Orthogonal, 0)?;
    let mut engine = Engine::new(network.architecture(), EngineOptions::default())?;
    let mut adam = Optimizer::new(network.architecture(), OptimizerOptions::default())?;
    let last = strings.last();
    let batch = strings.asked_at(&last);
    for _ in 0..300 {
        engine.gradient(&network, &batch)?;
        engine.update(&mut network, &mut adam, 0.01);
    }
    let unseen = Strings::draw(400, 1);
    let last = unseen.last();
    let metrics = engine.evaluate(&network, &unseen.asked_at(&last), None)?;
    Ok(metrics.accuracy())
}
