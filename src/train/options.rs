//! What a run is asked for: [`TrainOptions`].

use super::Schedule;
use crate::EngineOptions;
use crate::dropout::Dropout;
use crate::optim::{Clip, OptimizerOptions};
use crate::{Error, Result};

/// How a network is to be trained.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainOptions {
    /// Updates in all.
    pub steps: u64,
    /// The learning rate.
    pub lr: f64,
    /// Its course.
    pub schedule: Schedule,
    /// Updates over which the rate rises to its full size.
    pub warmup: u64,
    /// How gradients become updates.
    pub optimizer: OptimizerOptions,
    /// How the work is divided.
    pub engine: EngineOptions,
    /// What is dropped in training.
    pub dropout: Dropout,
    /// Updates from report to report.
    pub report_every: u64,
    /// The run ends after so many reports without a better validation loss; never, if zero.
    pub patience: u32,
    /// Every window starts from a zero state.
    pub reset_state: bool,
    /// Of a text: the probability that a stream starts a window from a zero state, as every document does, in place of the
    /// state after the window before. Without, training sees a zero state once an epoch, and a young network can fall from
    /// zero into a state that it never leaves ([`ZERO_STATE`]).
    pub zero_state: f64,
    /// The seed of these choices.
    pub seed: u64,
}

/// The usual [`TrainOptions::zero_state`]: any from 0.01 to 0.05 cures what goes wrong without, and costs nothing that could be
/// measured (docs/learning.md).
pub const ZERO_STATE: f64 = 0.02;

impl Default for TrainOptions {
    /// 10,000 steps of Adam at a constant rate of 0.002, norms clipped at 1, a report every 100 steps.
    fn default() -> Self {
        TrainOptions {
            steps: 10_000,
            lr: 2e-3,
            schedule: Schedule::Constant,
            warmup: 0,
            optimizer: OptimizerOptions {
                clip: Clip {
                    norm: Some(1.0),
                    value: None,
                },
                ..OptimizerOptions::default()
            },
            engine: EngineOptions::default(),
            dropout: Dropout::default(),
            report_every: 100,
            patience: 0,
            reset_state: false,
            zero_state: ZERO_STATE,
            seed: 0,
        }
    }
}

impl TrainOptions {
    /// Whether every option is in its range.
    ///
    /// # Errors
    /// [`Error::Option`] naming the one that is not.
    pub fn check(&self) -> Result<()> {
        if !(self.lr > 0.0 && self.lr.is_finite()) {
            return Err(Error::option("lr", self.lr, "a finite number above 0"));
        }
        if self.report_every == 0 {
            return Err(Error::option("report_every", 0, "at least 1"));
        }
        if !(0.0..=1.0).contains(&self.zero_state) {
            let expected = "a probability, from 0 to 1";
            return Err(Error::option("zero_state", self.zero_state, expected));
        }
        self.optimizer.check()?;
        self.dropout.check()
    }
}
