//! All that a run depends on: [`Checkpoint`].

use crate::data::Position;
use crate::loss::Tally;
use crate::{Parameters, Scalar};
use ndarray::Array2;
use std::borrow::Cow;

/// A run at one moment, between two updates.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint<T> {
    /// The weights.
    pub parameters: Parameters<T>,
    /// The best weights so far.
    pub best: Parameters<T>,
    /// What the optimiser remembers.
    pub moments: Vec<Parameters<T>>,
    /// The state carried into the next window, `[N, n_h]`.
    pub state: Array2<T>,
    /// Counters.
    pub progress: Progress,
}

/// The parts of a checkpoint, wherever they are: a run is saved without being copied.
pub(crate) struct Borrowed<'a, T: Clone> {
    pub parameters: &'a Parameters<T>,
    pub best: &'a Parameters<T>,
    pub moments: &'a [Parameters<T>],
    pub state: Cow<'a, Array2<T>>,
    pub progress: &'a Progress,
}

impl<T: Scalar> Borrowed<'_, T> {
    /// Whether all weights and moments are finite numbers.
    pub fn all_finite(&self) -> bool {
        let mut all = [self.parameters, self.best].into_iter().chain(self.moments);
        all.all(Parameters::all_finite)
    }

    pub fn into_checkpoint(self) -> Checkpoint<T> {
        Checkpoint {
            parameters: self.parameters.clone(),
            best: self.best.clone(),
            moments: self.moments.to_vec(),
            state: self.state.into_owned(),
            progress: self.progress.clone(),
        }
    }
}

impl<T: Scalar> Checkpoint<T> {
    pub(crate) fn borrow(&self) -> Borrowed<'_, T> {
        Borrowed {
            parameters: &self.parameters,
            best: &self.best,
            moments: &self.moments,
            state: Cow::Borrowed(&self.state),
            progress: &self.progress,
        }
    }
}

/// Where a run is: every number of it that is not a tensor.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Progress {
    /// Updates so far.
    pub step: u64,
    /// Updates the optimiser has made (fewer after its moments were reset).
    pub optimizer_steps: u64,
    /// Counted tokens so far.
    pub tokens: u64,
    /// The next window.
    pub position: Position,
    /// The learning rate of the last update.
    pub lr: f64,
    /// What halving has made of the learning rate, as a factor.
    pub lr_factor: f64,
    /// Steps dropped because they were not finite.
    pub divergences: u32,
    /// The lowest validation loss at a report.
    pub best_loss: Option<f64>,
    /// The step of that report.
    pub best_step: u64,
    /// Reports since then.
    pub since_best: u32,
    /// Reports since then or since the rate was halved.
    pub plateau: u32,
    /// Reports so far.
    pub reports: u64,
    /// Sums since the last report.
    pub pending: Pending,
}

impl Default for Progress {
    fn default() -> Self {
        Progress {
            step: 0,
            optimizer_steps: 0,
            tokens: 0,
            position: Position::default(),
            lr: 0.0,
            lr_factor: 1.0,
            divergences: 0,
            best_loss: None,
            best_step: 0,
            since_best: 0,
            plateau: 0,
            reports: 0,
            pending: Pending::default(),
        }
    }
}

/// No counter of a run comes near this: more than any machine counts to, less than where numbers overflow.
const MOST: u64 = 1 << 53;

impl Progress {
    /// What no run can have counted, in a file that somebody wrote.
    pub(crate) fn check(&self) -> Result<(), String> {
        let Pending { steps, counted, .. } = self.pending;
        let counters = [
            ("step", self.step, MOST),
            ("optimizer_steps", self.optimizer_steps, self.step),
            ("tokens", self.tokens, MOST),
            ("position.epoch", self.position.epoch, MOST),
            ("position.window", self.position.window, MOST),
            ("divergences", self.divergences.into(), u32::MAX as u64 / 2),
            ("best_step", self.best_step, self.step),
            ("since_best", self.since_best.into(), u32::MAX as u64 / 2),
            ("plateau", self.plateau.into(), u32::MAX as u64 / 2),
            ("reports", self.reports, self.step.saturating_add(1)),
            ("pending.steps", steps, self.step),
            ("pending.counted", counted, self.tokens),
        ];
        for (name, value, most) in counters {
            if value > most {
                return Err(format!(
                    "`progress.{name}` is {value}, expected at most {most}"
                ));
            }
        }
        if !(self.lr_factor > 0.0 && self.lr_factor <= 1.0) {
            let factor = self.lr_factor;
            return Err(format!("`progress.lr_factor` is {factor}, expected 0 to 1"));
        }
        if counted < steps || (steps == 0 && self.pending != Pending::default()) {
            let pending = self.pending;
            return Err(format!(
                "`progress.pending` is {pending:?}, which no steps come to"
            ));
        }
        Ok(())
    }

    /// Whether steps were taken since the last report.
    pub fn has_pending(&self) -> bool {
        self.pending.steps > 0
    }
}

/// Sums over the steps since the last report.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Pending {
    steps: u64,
    loss: f64,
    counted: u64,
    norm: f64,
}

impl Pending {
    pub(crate) fn add(&mut self, tally: &Tally, norm: f64) {
        self.steps += 1;
        self.loss += tally.loss;
        self.counted += tally.counted;
        self.norm += norm;
    }

    pub(crate) fn mean_loss(&self) -> f64 {
        self.loss / self.counted as f64
    }

    pub(crate) fn mean_norm(&self) -> f64 {
        self.norm / self.steps as f64
    }
}
