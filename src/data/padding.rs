//! Where the sequences of a set end, and which of their steps count in the loss: [`Padding`].
//!
//! ```text
//! step       0 1 2 3 4 5
//! length 5   x x x x x .    the sequence ends after 5 steps; what is in the arrays behind them may be anything
//! mask       . x . x . x    the steps that count, as far as the sequence has them
//! counted      x   x        steps 1 and 3
//! run length x x x x        4 steps: all that the loss of a causal network depends on
//! ```

use crate::{Error, Result};
use ndarray::{Array2, Axis};

/// Where the sequences of a set end, and which of their steps count in the loss.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Padding {
    /// `[N]`, the steps of each sequence, up to `T`, and at least 1 where there is one answer a sequence; without lengths, every sequence has `T` steps.
    pub lengths: Option<Vec<usize>>,
    /// `[N, T]`, true where a step counts in the loss; without a mask, every step of a sequence counts. Where there is one
    /// answer a sequence, `[N, 1]`: whether it counts.
    pub mask: Option<Array2<bool>>,
}

impl Padding {
    /// Whether it is that of `n` sequences of up to `t` steps with so many `answers` each; errors count rows from `first_row`.
    pub(super) fn check(
        &self,
        (n, t): (usize, usize),
        answers: usize,
        first_row: usize,
    ) -> Result<()> {
        let lengths = self.lengths.as_deref().unwrap_or_default();
        if self.lengths.is_some() && lengths.len() != n {
            let expected = format!("[{n}], the steps of each sequence of the inputs");
            return Err(Error::shape("lengths", &[lengths.len()], expected));
        }
        let (least, mut rows) = (usize::from(answers != t), lengths.iter().zip(first_row..));
        if let Some((length, row)) = rows.find(|(length, _)| !(least..=t).contains(*length)) {
            let expected =
                format!("expected a number from {least} to {t}, the steps of the inputs");
            let problem = format!("{length} at [{row}], {expected}");
            return Err(Error::invalid("lengths", problem));
        }
        match &self.mask {
            Some(mask) if mask.dim() != (n, answers) => {
                let expected = format!("[{n}, {answers}] as the targets");
                Err(Error::shape("mask", mask.shape(), expected))
            }
            _ => Ok(()),
        }
    }

    /// Whether a sequence has this step.
    pub(super) fn has(&self, row: usize, step: usize) -> bool {
        (self.lengths.as_ref()).is_none_or(|lengths| step < lengths[row])
    }

    /// Whether a step counts in the loss.
    pub(super) fn counts(&self, row: usize, step: usize) -> bool {
        self.has(row, step) && self.mask.as_ref().is_none_or(|mask| mask[[row, step]])
    }

    /// How many of `t` answers of each of `n` sequences count.
    pub(super) fn counted(&self, (n, t): (usize, usize)) -> u64 {
        match (&self.lengths, &self.mask) {
            (None, None) => (n * t) as u64,
            _ => (0..n * t).filter(|i| self.counts(i / t, i % t)).count() as u64,
        }
    }

    /// How many steps of each sequence have to be run, where there is an answer at `every` step, or else at the last: up to
    /// the last that counts. `None` where that is all steps of all sequences.
    pub(super) fn run_lengths(&self, every: bool) -> Option<Vec<usize>> {
        let Some(mask) = self.mask.as_ref().filter(|_| every) else {
            return self.lengths.clone();
        };
        let last = |row| (0..mask.ncols()).rfind(|&step| self.counts(row, step));
        let run = (0..mask.nrows()).map(|row| last(row).map_or(0, |step| step + 1));
        Some(run.collect())
    }

    /// The padding of some of the sequences.
    pub(super) fn select(&self, rows: &[usize]) -> Self {
        let lengths = self.lengths.as_ref();
        Padding {
            lengths: lengths.map(|lengths| rows.iter().map(|&row| lengths[row]).collect()),
            mask: self.mask.as_ref().map(|mask| mask.select(Axis(0), rows)),
        }
    }
}
