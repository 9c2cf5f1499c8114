//! Choosing the next token from the probabilities of all: [`Sampler`].
//!
//! ```text
//! q_k = p_k^(1/temperature) / sum over the top_k likeliest, 0 elsewhere
//! ```

use crate::{Error, Result, Scalar};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How tokens are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampleOptions {
    /// 1 as the network says, less to play safe, 0 for always the likeliest.
    pub temperature: f64,
    /// Only so many of the likeliest are chosen from.
    pub top_k: Option<usize>,
    /// The same seed gives the same tokens.
    pub seed: u64,
}

impl Default for SampleOptions {
    /// As the network says, from all.
    fn default() -> Self {
        SampleOptions {
            temperature: 1.0,
            top_k: None,
            seed: 0,
        }
    }
}

/// A seeded choice of tokens.
///
/// ```
/// use bptt::sample::{SampleOptions, Sampler};
///
/// let greedy = SampleOptions { temperature: 0.0, ..SampleOptions::default() };
/// assert_eq!(Sampler::new(greedy)?.choose(&[0.2, 0.5, 0.3]), 1);
/// # Ok::<(), bptt::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Sampler {
    options: SampleOptions,
    rng: ChaCha8Rng,
    /// Weight and token, kept to be used again.
    candidates: Vec<(f64, u32)>,
}

impl Sampler {
    /// A sampler at the start of its random numbers.
    ///
    /// # Errors
    /// [`Error::Option`] for a temperature that is negative or not finite, or a `top_k` of zero.
    pub fn new(options: SampleOptions) -> Result<Self> {
        if !(options.temperature >= 0.0 && options.temperature.is_finite()) {
            let expected = "a number from 0 up";
            return Err(Error::option("temperature", options.temperature, expected));
        }
        if options.top_k == Some(0) {
            return Err(Error::option("top_k", 0, "at least 1"));
        }
        Ok(Sampler {
            options,
            rng: ChaCha8Rng::seed_from_u64(options.seed),
            candidates: Vec::new(),
        })
    }

    /// A token, given the probabilities of all.
    ///
    /// # Panics
    /// If there are none.
    pub fn choose<T: Scalar>(&mut self, probabilities: &[T]) -> u32 {
        assert!(!probabilities.is_empty(), "a token to choose");
        let (temperature, top_k) = (self.options.temperature, self.options.top_k);
        let list = &mut self.candidates;
        list.clear();
        list.extend(probabilities.iter().map(|p| p.as_f64()).zip(0..));
        // The likeliest first; of equals the first.
        let order = |a: &(f64, u32), b: &(f64, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        let keep = match top_k {
            _ if temperature == 0.0 => 1,
            Some(k) => k.min(list.len()),
            None => list.len(),
        };
        if keep < list.len() {
            list.select_nth_unstable_by(keep - 1, order);
            list.truncate(keep);
            list.sort_unstable_by(order);
        }
        let largest = list.iter().fold(0.0f64, |max, &(p, _)| max.max(p));
        if keep == 1 || largest <= 0.0 {
            return list[0].1;
        }
        for (p, _) in list.iter_mut() {
            *p = (*p / largest).powf(1.0 / temperature);
        }
        let mut left = self.rng.random::<f64>() * list.iter().map(|&(w, _)| w).sum::<f64>();
        for &(weight, token) in list.iter() {
            left -= weight;
            if left < 0.0 {
                return token;
            }
        }
        // Rounding has used up the sum: the last that could have been chosen.
        let last = list.iter().rev().find(|&&(weight, _)| weight > 0.0);
        last.map_or(0, |&(_, token)| token)
    }
}
