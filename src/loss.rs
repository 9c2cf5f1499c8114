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
use crate::workspace::{Rows, Workspace};
use crate::{Error, Result, Scalar, Targets};
use fearless_simd::{Level, Simd, dispatch};
use ndarray::ArrayView3;

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

    /// As numbers that go from rank to rank; exact, for nobody counts beyond 2^53.
    pub(crate) fn to_array(self) -> [f64; 3] {
        [self.loss, self.counted as f64, self.correct as f64]
    }

    pub(crate) fn from_array([loss, counted, correct]: [f64; 3]) -> Self {
        Tally {
            loss,
            counted: counted as u64,
            correct: correct as u64,
        }
    }
}

impl std::ops::Add for Tally {
    type Output = Tally;

    fn add(mut self, other: Tally) -> Tally {
        self += other;
        self
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
/// `rows` of the batch and the time steps from `first` on that `ws` was loaded with.
pub(crate) fn softmax_cross_entropy<T: Scalar>(
    ws: &mut Workspace<T>,
    answers: &Answers<'_, T>,
    rows: &Rows,
    first: usize,
    scale: T,
) -> Tally {
    let n_y = ws.dims.n_y;
    let mut tally = Tally::default();
    for t in 0..ws.t {
        let block = ws.u_start(t) * n_y..ws.u_start(t + 1) * n_y;
        let step = LossStep {
            answers,
            rows: rows.index(),
            step: first + t,
            n_y,
            scale,
        };
        tally += T::run_cross_entropy(ws.level, &mut ws.u[block], step);
    }
    tally
}

/// Which answers belong to the logits `[rows, n_y]` of one time step.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct LossStep<'a, 'b, T> {
    answers: &'a Answers<'b, T>,
    rows: &'a [usize],
    step: usize,
    n_y: usize,
    scale: T,
}

pub(crate) fn kernel<T: Scalar>(level: Level, u: &mut [T], step: LossStep<'_, '_, T>) -> Tally {
    dispatch!(level, simd => one_step(simd, u, step))
}

#[inline(always)]
fn one_step<T: Scalar, S: Simd>(simd: S, u: &mut [T], step: LossStep<'_, '_, T>) -> Tally {
    let LossStep {
        answers,
        rows,
        step,
        n_y,
        scale,
    } = step;
    let mut tally = Tally::default();
    for (u, &row) in u.chunks_exact_mut(n_y).zip(rows) {
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
    let (mut ws, rows) = (Workspace::new(dims), Rows::all(0..n, t));
    ws.lay_out(&rows, 0..t);
    ws.u = logits.permuted_axes([1, 0, 2]).iter().copied().collect();
    Ok(softmax_cross_entropy(&mut ws, &answers, &rows, 0, T::one()).mean_loss())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dims;
    use ndarray::{Array3, array};

    /// Two sequences of two steps and three classes; time-major in the workspace.
    fn workspace(level: fearless_simd::Level, logits: &Array3<f64>) -> Workspace<f64> {
        let mut ws = Workspace::at(level, Dims::new(1, 1, 3).unwrap());
        let (n, t, _) = logits.dim();
        ws.lay_out(&Rows::all(0..n, t), 0..t);
        ws.u = logits
            .view()
            .permuted_axes([1, 0, 2])
            .iter()
            .copied()
            .collect();
        ws
    }

    #[test]
    fn loss_gradient_and_counts_by_hand() {
        let (a, b) = (2f64.ln(), 3f64.ln());
        // Probabilities (1, 2, 3)/6, (1, 1, 1)/3, (1, 1, 2)/4, masked.
        let logits = array![
            [[0.0, a, b], [7.0, 7.0, 7.0]],
            [[0.0, 0.0, a], [9.0, f64::NAN, -9.0]]
        ];
        let classes = array![[2u32, 0], [1, 0]];
        let mask = array![[true, true], [true, false]];
        for level in crate::simd::levels() {
            let mut ws = workspace(level, &logits);
            let answers = Answers {
                targets: Targets::from(&classes),
                mask: Some(mask.view()),
            };
            let tally = softmax_cross_entropy(&mut ws, &answers, &Rows::all(0..2, 2), 0, 0.1);
            let expected = 2f64.ln() + 3f64.ln() + 4f64.ln();
            assert!((tally.loss - expected).abs() < 1e-14, "{level:?}");
            // Right: class 2 of the first; class 0 of the second, the first of equals.
            assert_eq!((tally.counted, tally.correct), (3, 2));
            let du = [
                [1.0 / 6.0, 2.0 / 6.0, -0.5],
                [0.25, -0.75, 0.5],
                [1.0 / 3.0 - 1.0, 1.0 / 3.0, 1.0 / 3.0],
                [0.0; 3],
            ];
            for (du, expected) in ws.u.iter().zip(du.as_flattened()) {
                assert!((du - 0.1 * expected).abs() < 1e-15, "{level:?}: {du}");
            }
        }
    }

    #[test]
    fn distributions_need_not_sum_to_one() {
        let logits = array![[[0.0, 2f64.ln(), 3f64.ln()]]];
        let weights = array![[[0.5, 0.0, 1.0]]];
        let mut ws = workspace(crate::simd::level(), &logits);
        let answers = Answers {
            targets: Targets::from(&weights),
            mask: None,
        };
        let tally = softmax_cross_entropy(&mut ws, &answers, &Rows::all(0..1, 1), 0, 1.0);
        assert!((tally.loss - (0.5 * 6f64.ln() + 2f64.ln())).abs() < 1e-15);
        assert_eq!(tally.correct, 1);
        for (du, expected) in ws.u.iter().zip([0.25 - 0.5, 0.5, 0.75 - 1.0]) {
            assert!((du - expected).abs() < 1e-15);
        }
    }

    #[test]
    fn exact_where_the_probability_underflows() {
        let logits = array![[[1e4f32, -1e4, f32::NEG_INFINITY]]];
        assert_eq!(cross_entropy(logits.view(), &array![[1u32]]).unwrap(), 2e4);
        assert_eq!(
            cross_entropy(logits.view(), &array![[[1.0f32, 0.0, 0.0]]]).unwrap(),
            0.0
        );
        assert!(cross_entropy(logits.view(), &array![[3u32]]).is_err());
        assert!(cross_entropy(logits.view(), &array![[0u32, 1]]).is_err());
    }
}
