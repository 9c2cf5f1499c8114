//! Predictions of any number of sequences of any length, a part of them at a time: [`Engine::predict_in_parts`].

use super::Engine;
use crate::batch::check_lengths;
use crate::{Inputs, Network, Result, Scalar};
use ndarray::{Array2, Array3, s};

/// Rows that are evaluated or predicted side by side: a full matrix product; not tuned.
pub const ROWS: usize = 64;
/// Steps that are evaluated or predicted at a time. The state is carried on, so this trades memory for the length of the
/// input product alone; not tuned.
pub const STEPS: usize = 128;

/// Sequences that are computed at a time for each shard, if that is more than [`ROWS`]: full matrix products, not tuned
/// beyond that. The state is carried on from [`STEPS`] steps to the next, so that the memory needed beside inputs and
/// answers depends on neither's number; not where a network reads from both ends, or answers once a sequence.
const ROWS_PER_SHARD: usize = 16;

impl<T: Scalar> Engine<T> {
    /// How many of `n` sequences and of their `t` steps are predicted at a time.
    fn part(&self, n: usize, t: usize) -> (usize, usize) {
        let rows = ROWS.max(ROWS_PER_SHARD * self.shards()).min(n);
        let whole = self.architecture.needs_whole_sequences();
        (rows, if whole { t } else { STEPS.min(t) })
    }

    /// Bytes that [`Engine::predict_in_parts`] of `n` sequences of `t` steps takes, the answers among them.
    ///
    /// # Errors
    /// As [`Engine::bytes`].
    pub fn bytes_in_parts(&self, n: usize, t: usize) -> Result<f64> {
        let ((rows, steps), head) = (self.part(n, t), self.architecture.head);
        // The answers to all sequences, and the answers to one part of them, which are copied.
        let answers = n as f64 * head.at.answers(t) as f64 + (rows * steps) as f64;
        let step = self.bytes(rows, steps)?;
        Ok(answers * head.outputs as f64 * size_of::<T>() as f64 + step as f64)
    }

    /// [`Engine::predict_with`] from zero states, in memory for a part of the sequences and steps; `seen` is told how many steps of
    /// sequences each part had, and ends the work by an error.
    ///
    /// # Errors
    /// As [`Engine::predict_with`], and those of `seen`.
    pub fn predict_in_parts<'a>(
        &mut self,
        network: &Network<T>,
        inputs: impl Into<Inputs<'a, T>>,
        lengths: Option<&[usize]>,
        mut seen: impl FnMut(u64) -> Result<()>,
    ) -> Result<Array3<T>> {
        let (inputs, a) = (inputs.into(), self.architecture);
        let (n, t) = inputs.sequences();
        check_lengths(lengths, (n, t), a.head.at)?;
        let ((most_rows, most_steps), answers) = (self.part(n, t), a.head.at.answers(t));
        let mut y = Array3::zeros((n, answers, a.head.outputs));
        for begin in (0..n).step_by(most_rows) {
            let rows = begin..(begin + most_rows).min(n);
            let mut state = Array2::zeros((rows.len(), a.state()));
            for begin in (0..t).step_by(most_steps) {
                let steps = begin..(begin + most_steps).min(t);
                let (r, t) = (rows.clone(), steps.clone());
                let inputs = match inputs {
                    Inputs::Dense(x) => Inputs::Dense(x.slice_move(s![r, t, ..])),
                    Inputs::Tokens(x) => Inputs::Tokens(x.slice_move(s![r, t])),
                };
                let left = |&length: &usize| length.clamp(begin, steps.end) - begin;
                let left: Option<Vec<_>> =
                    lengths.map(|lengths| lengths[rows.clone()].iter().map(left).collect());
                let found =
                    self.predict_with(network, inputs, left.as_deref(), Some(&mut state))?;
                let answers = begin.min(answers - 1)..steps.end.min(answers);
                y.slice_mut(s![rows.clone(), answers, ..]).assign(&found);
                seen((rows.len() * steps.len()) as u64)?;
            }
        }
        Ok(y)
    }
}
