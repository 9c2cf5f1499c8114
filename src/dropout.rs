//! Dropout on what enters the first layer and what leaves each layer, never on the way from step to step.
//!
//! ```text
//! x~ = x * m / (1 - p)        m = 0 with probability p, else 1, for each element
//! h_t = f(W_ih x~_t + W_hh h_{t-1} + b)      u_t = W_decoder h~_t + b_decoder
//! ```
//!
//! (Srivastava et al. 2014; where to put it in a recurrent network: Zaremba et al. 2014.) A token is an element of its
//! one-hot row: dropped, it leaves the bias alone.
//!
//! Masks come from a counter-based generator, ChaCha8 keyed by seed, update and layer, its stream by shard, its position by
//! time step: they are drawn where they are needed, in any order, on any thread, and never stored.

use crate::steps::Steps;
use crate::{Error, Result, Scalar};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The random numbers of an update for one purpose: whichever are needed, in any order.
pub(crate) fn update_rng(seed: u64, update: u64, purpose: &[u8; 7], number: u8) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&update.to_le_bytes());
    key[16..23].copy_from_slice(purpose);
    key[23] = number;
    ChaCha8Rng::from_seed(key)
}

/// How much is dropped in training; nothing, by default. Evaluation and prediction never drop.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Dropout {
    /// The probability for an input of the first layer.
    pub inputs: f64,
    /// The probability for an output of a layer, on its way to the layer above or to the classes.
    pub outputs: f64,
    /// The same seed drops the same.
    pub seed: u64,
}

impl Dropout {
    /// Whether the probabilities are at least 0 and less than 1.
    ///
    /// # Errors
    /// [`Error::Option`].
    pub fn check(&self) -> Result<()> {
        for p in [self.inputs, self.outputs] {
            if !(0.0..1.0).contains(&p) {
                return Err(Error::option("dropout", p, "at least 0 and less than 1"));
            }
        }
        Ok(())
    }
}

/// What is dropped in a pass over some of the time steps of a shard; by default nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Dropping {
    /// Which dropout at which update; `None` where nothing is dropped.
    pub dropout: Option<(Dropout, u64)>,
    /// Which of all shards it is.
    pub shard: usize,
    /// The time step of the whole at which the pass begins.
    pub first: usize,
    /// The sequences of the shard: no time step has more.
    pub most: usize,
    /// Whether there is a head, for which what leaves the highest layer is dropped too: not where the layers run alone.
    pub head: bool,
}

impl Dropping {
    /// The mask of the inputs, `width` elements for each sequence.
    pub fn inputs(&self, width: usize) -> Option<Dropped> {
        self.mask(self.dropout?.0.inputs, 0, 0, width)
    }

    /// The mask of the outputs of a layer, which is the `depth`th from the top.
    pub fn outputs(&self, depth: usize, width: usize) -> Option<Dropped> {
        let p = self.dropout?.0.outputs;
        self.mask(p, 1, depth, width)
            .filter(|_| depth > 0 || self.head)
    }

    fn mask(&self, p: f64, kind: u64, depth: usize, width: usize) -> Option<Dropped> {
        let (dropout, update) = self.dropout.filter(|_| p > 0.0)?;
        let mut rng = update_rng(dropout.seed, update, b"dropout", depth as u8);
        rng.set_stream(2 * self.shard as u64 + kind);
        let threshold = (p * f64::from(1u32 << Draw::BITS)).round();
        Some(Dropped {
            rng,
            threshold: threshold.min(Draw::MAX.into()) as Draw,
            first: self.first,
            most: self.most * width,
        })
    }
}

/// Random bits for each element of a mask: the probability is met to 1 in 65,536.
type Draw = u16;

/// The masks of a pass over some of the time steps.
pub(crate) struct Dropped {
    rng: ChaCha8Rng,
    /// Drawn below this, an element is dropped.
    threshold: Draw,
    /// The time step of the whole at which the pass begins.
    first: usize,
    /// Elements of the longest time step.
    most: usize,
}

impl Dropped {
    /// What kept elements are multiplied with.
    pub fn scale<T: Scalar>(&self) -> T {
        let size = f64::from(1u32 << Draw::BITS);
        T::from_f64(size / (size - f64::from(self.threshold)))
    }

    /// Calls `element(i, kept)` for elements `0..count` of the pass's time step `t`.
    pub fn draw(&mut self, t: usize, count: usize, mut element: impl FnMut(usize, bool)) {
        const BLOCK: usize = 256;
        let per_word = size_of::<u32>() / size_of::<Draw>();
        let words = self.most.next_multiple_of(BLOCK) / per_word;
        let position = (self.first + t) as u128 * words as u128;
        self.rng.set_word_pos(position);
        let mut bytes = [0; BLOCK * size_of::<Draw>()];
        for from in (0..count).step_by(BLOCK) {
            self.rng.fill_bytes(&mut bytes);
            let (draws, _) = bytes.as_chunks();
            for (i, &draw) in draws.iter().take(count - from).enumerate() {
                element(from + i, Draw::from_le_bytes(draw) >= self.threshold);
            }
        }
    }

    /// Multiplies the elements of the pass's time step `t` with their mask.
    pub fn apply<T: Scalar>(&mut self, t: usize, values: &mut [T]) {
        let scale: T = self.scale();
        self.draw(t, values.len(), |i, kept| {
            values[i] = if kept { values[i] * scale } else { T::zero() };
        });
    }

    /// The same for all time steps, whose rows are `width` elements.
    pub fn apply_to_steps<T: Scalar>(&mut self, steps: &Steps, values: &mut [T], width: usize) {
        for t in 0..steps.count() {
            let rows = steps.rows(t);
            self.apply(t, &mut values[rows.start * width..rows.end * width]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No mask is a piece of that of another time step, of the same numbers from another place on.
    #[test]
    fn each_time_step_has_numbers_of_its_own() {
        let (inputs, outputs, seed) = (0.0, 0.5, 1);
        let dropout = Dropout {
            inputs,
            outputs,
            seed,
        };
        let dropping = Dropping {
            dropout: Some((dropout, 1)),
            shard: 0,
            first: 0,
            most: 3,
            head: true,
        };
        let mut dropped = dropping.outputs(0, 500).unwrap();
        let masks = [0, 1, 2].map(|t| {
            let mut mask = Vec::new();
            dropped.draw(t, 1500, |_, kept| mask.push(kept));
            mask
        });
        for (one, other) in [(0, 1), (1, 0), (1, 2), (2, 1), (0, 2), (2, 0)] {
            for shift in 0..1000 {
                let pairs = masks[one].iter().skip(shift).zip(&masks[other]);
                let (all, equal) = (pairs.clone().count(), pairs.filter(|(a, b)| a == b).count());
                let part = equal as f64 / all as f64;
                assert!(
                    (part - 0.5).abs() < 0.12,
                    "{one}, {other} from {shift}: {part}"
                );
            }
        }
    }
}
