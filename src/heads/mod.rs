//! Heads: how a network's outputs are judged, one file a loss.
//!
//! A head turns the outputs of a step into their gradients, in place, and counts ([`Metrics`]). It knows neither layers nor
//! weights.
//!
//! To add a loss: a file here, a variant of [`Loss`] with its names, its lines in [`kernel`] and [`respond`], and its plain loop
//! in `reference/heads.rs`.

mod binary;
mod cross_entropy;
mod metrics;
mod regression;

pub use metrics::Metrics;

use crate::kernels::exp::sigmoid_at;
use crate::kernels::number::Number;
use crate::kernels::softmax::softmax_at;
use crate::targets::Answers;
use fearless_simd::{Level, dispatch};
use serde::{Deserialize, Serialize};

/// How the answer of a step is judged. What a loss adds up over the outputs of a step it divides by their number, and what it
/// adds up over steps by the number of those that count: the mean that PyTorch's losses take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// One of `n_y` classes, or a distribution over them: `-sum_k target_k ln softmax(u)_k`, in nats (`nn.CrossEntropyLoss`).
    #[default]
    CrossEntropy,
    /// `n_y` labels, each there or not: the mean over labels of `-target ln s - (1 - target) ln (1 - s)` with `s = sigmoid(u)`,
    /// in nats (`nn.BCEWithLogitsLoss`).
    Binary,
    /// `n_y` numbers: the mean of `(u - target)^2` (`nn.MSELoss`).
    Mse,
    /// `n_y` numbers: the mean of `e^2 / 2` where `|e| <= 1`, else `|e| - 1/2`, with `e = u - target` (`nn.HuberLoss`): outliers
    /// count less than by their square.
    Huber,
}

impl Loss {
    /// Every loss.
    pub const ALL: [Loss; 4] = [Loss::CrossEntropy, Loss::Binary, Loss::Mse, Loss::Huber];

    /// Its name, its title, and what the outputs are.
    fn words(self) -> [&'static str; 3] {
        match self {
            Loss::CrossEntropy => ["cross-entropy", "cross-entropy", "classes"],
            Loss::Binary => ["binary", "binary cross-entropy", "labels"],
            Loss::Mse => ["mse", "mean squared error", "numbers"],
            Loss::Huber => ["huber", "Huber loss", "numbers"],
        }
    }

    /// The name on the command line and in files.
    pub fn name(self) -> &'static str {
        self.words()[0]
    }

    /// What a report calls the number.
    pub fn title(self) -> &'static str {
        self.words()[1]
    }

    /// What the outputs are: classes, labels or numbers.
    pub fn answers(self) -> &'static str {
        self.words()[2]
    }
}

/// Which answers belong to the outputs `[rows, n_y]` of one time step.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct LossStep<'a, 'b, T> {
    pub answers: &'a Answers<'b, T>,
    /// The sequence of the batch that each row is of.
    pub rows: &'a [usize],
    /// The time step.
    pub step: usize,
    pub n_y: usize,
    /// What every gradient is multiplied with.
    pub scale: T,
    /// Whether it is also counted how often the target is among the likeliest few: evaluation wants to know.
    pub ranks: bool,
}

impl<T: Number> LossStep<'_, '_, T> {
    /// Calls `judge(outputs, row)` for each sequence whose step counts; the other outputs become zero, for their gradient is.
    #[inline(always)]
    fn each_counted(&self, u: &mut [T], mut judge: impl FnMut(&mut [T], usize)) {
        for (u, &row) in u.chunks_exact_mut(self.n_y).zip(self.rows) {
            match self.answers.mask {
                Some(mask) if !mask[[row, self.step]] => u.fill(T::zero()),
                _ => judge(u, row),
            }
        }
    }
}

/// Turns outputs `[rows, n_y]` into `scale` times the gradient of their summed loss, zero where the mask is false.
pub(crate) fn kernel<T: Number>(
    level: Level,
    loss: Loss,
    u: &mut [T],
    step: LossStep<'_, '_, T>,
) -> Metrics {
    match loss {
        Loss::CrossEntropy => dispatch!(level, simd => cross_entropy::classes(simd, u, step)),
        Loss::Binary => dispatch!(level, simd => binary::labels(simd, u, step)),
        Loss::Mse => regression::squared(u, step),
        Loss::Huber => regression::huber(u, step),
    }
}

/// Turns outputs `[rows, n_y]` into what the network answers: probabilities of classes, of labels, or numbers as they are.
pub(crate) fn respond<T: Number>(level: Level, loss: Loss, u: &mut [T], n_y: usize) {
    match loss {
        Loss::CrossEntropy => softmax_at(level, u, n_y),
        Loss::Binary => sigmoid_at(level, u),
        Loss::Mse | Loss::Huber => {}
    }
}
