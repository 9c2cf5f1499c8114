//! Softmax, cross-entropy and the gradient of both, in one pass over the logits.
//!
//! ```text
//! y = softmax(u)      l = -sum_k target_k log y_k = sum_k target_k (max + ln sum_j exp(u_j - max) - u_k)
//! L = (1 / counted) sum l        dU = dL/du = (y sum_k target_k - target) / counted
//! ```
//!
//! The logarithm is taken of the sum, never of a probability, so a loss is exact where its probability underflows.
//! Losses are added up in `f64`.

use crate::activation::{exp_row, max_row, scale_row};
use crate::batch::Answers;
use crate::workspace::Workspace;
use crate::{Error, Result, Scalar, Targets};
use fearless_simd::{Simd, dispatch};
use ndarray::ArrayView3;
use std::ops::Range;

/// Sums over the counted steps of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    /// The sum of the steps' losses, in nats.
    pub loss: f64,
    /// How many steps counted.
    pub counted: u64,
    /// How many of them had their target as the likeliest class (the first of equals); with distributions, the class of
    /// the largest weight.
    pub correct: u64,
}

impl Tally {
    /// The mean loss of a step, in nats; NaN if none counted.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.counted as f64
    }

    /// The share of steps whose target was the likeliest class; NaN if none counted.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.counted as f64
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.loss += other.loss;
        self.counted += other.counted;
        self.correct += other.correct;
    }
}

/// Turns the logits in `ws.u` into `dU = scale (y sum target - target)`, zero where the mask is false, for the sequences
/// `rows` of the batch that `ws` was loaded with.
pub(crate) fn softmax_cross_entropy<T: Scalar>(
    ws: &mut Workspace<T>,
    answers: &Answers<'_, T>,
    rows: Range<usize>,
    scale: T,
) -> Tally {
    dispatch!(ws.level, simd => kernel(simd, ws, answers, rows, scale))
}

#[inline(always)]
fn kernel<T: Scalar, S: Simd>(
    simd: S,
    ws: &mut Workspace<T>,
    answers: &Answers<'_, T>,
    rows: Range<usize>,
    scale: T,
) -> Tally {
    let (n, n_y) = (ws.n, ws.dims.n_y);
    let mut tally = Tally::default();
    for (i, u) in ws.u.chunks_exact_mut(n_y).enumerate() {
        let (step, row) = (i / n, rows.start + i % n);
        if answers.mask.is_some_and(|mask| !mask[[row, step]]) {
            u.fill(T::zero());
            continue;
        }
        // STEP 1: what the loss needs of the logits, before they are overwritten.
        let max = max_row::<T, S>(simd, u);
        let (likeliest, target_mass, target_logits) = match &answers.targets {
            Targets::Classes(ids) => {
                let class = ids[[row, step]] as usize;
                (
                    is_likeliest(u, class, max),
                    T::one(),
                    (u[class] - max).as_f64(),
                )
            }
            Targets::Distributions(target) => {
                let target = target.slice(ndarray::s![row, step, ..]);
                let (mut class, mut mass, mut logits) = (0, T::zero(), 0.0);
                for (k, &weight) in target.iter().enumerate() {
                    if weight > target[class] {
                        class = k;
                    }
                    // A weight of zero times a logit of -inf is nothing, not NaN.
                    if weight != T::zero() {
                        mass += weight;
                        logits += weight.as_f64() * (u[k] - max).as_f64();
                    }
                }
                (is_likeliest(u, class, max), mass, logits)
            }
        };
        // STEP 2: softmax in place, and the loss.
        let sum = exp_row::<T, S>(simd, u, max);
        tally.loss += target_mass.as_f64() * sum.as_f64().ln() - target_logits;
        tally.counted += 1;
        tally.correct += u64::from(likeliest);
        // STEP 3: dU.
        scale_row::<T, S>(simd, u, scale * target_mass / sum);
        match &answers.targets {
            Targets::Classes(ids) => u[ids[[row, step]] as usize] -= scale,
            Targets::Distributions(target) => {
                for (du, &weight) in u.iter_mut().zip(target.slice(ndarray::s![row, step, ..])) {
                    *du -= scale * weight;
                }
            }
        }
    }
    tally
}

/// Whether `class` is the first of the largest logits.
#[inline(always)]
fn is_likeliest<T: Scalar>(u: &[T], class: usize, max: T) -> bool {
    u[class] == max && !u[..class].contains(&max)
}

/// The mean cross-entropy of logits `[N, T, n_y]` over all steps, in nats: the notebook's `compute_cost`, from logits.
///
/// # Errors
/// [`Error::Shape`] or [`Error::Id`] where the targets do not fit the logits, [`Error::NothingCounts`] where there are
/// none.
///
/// ```
/// use bptt::loss::cross_entropy;
/// use ndarray::array;
///
/// let logits = array![[[0.0, 0.0], [-1e4, 1e4]]];
/// let classes = array![[0u32, 0]];
/// let loss = cross_entropy(logits.view(), &classes)?;
/// assert_eq!(loss, (2f64.ln() + 2e4) / 2.0); // exact, though the second probability is 0 in any float
/// # Ok::<(), bptt::Error>(())
/// ```
pub fn cross_entropy<'a, T: Scalar>(
    logits: ArrayView3<'_, T>,
    targets: impl Into<Targets<'a, T>>,
) -> Result<f64> {
    let (n, t, n_y) = logits.dim();
    if logits.is_empty() {
        return Err(Error::NothingCounts);
    }
    let dims = crate::Dims::new(1, 1, n_y)?;
    let answers = Answers {
        targets: targets.into(),
        mask: None,
    };
    answers.check(dims, (n, t))?;
    let mut ws = Workspace::new(dims);
    (ws.n, ws.t) = (n, t);
    ws.u = logits.permuted_axes([1, 0, 2]).iter().copied().collect();
    Ok(softmax_cross_entropy(&mut ws, &answers, 0..n, T::one()).mean_loss())
}
