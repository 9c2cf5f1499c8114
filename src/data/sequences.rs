//! Sequences with their targets, owned and checked: [`Sequences`].
//!
//! | | |
//! |---|---|
//! | inputs | features `[N, T, n_x]` or token ids `[N, T]` |
//! | targets | classes `[N, T]` or distributions `[N, T, n_y]` |
//! | mask | `[N, T]`, `true` where a step counts in the loss; all count where there is none |
//!
//! Targets where no step counts are set to zero, whatever they were. Knows nothing of files or
//! batches.

use crate::{Answers, Batch, Error, Inputs, Result, Scalar, Targets};
use ndarray::{Array2, Array3, ArrayView2, Axis};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// How far from 1 a distribution may sum: the rounding of `f16` probabilities of many classes, not
/// a wrong array.
const SUM_TOLERANCE: f64 = 1e-3;

/// The inputs of a set, `Inputs` that own their arrays.
#[derive(Clone, Debug, PartialEq)]
pub enum OwnedInputs<T> {
    /// Features `[N, T, n_x]`.
    Dense(Array3<T>),
    /// Token ids `[N, T]`.
    Tokens(Array2<u32>),
}

/// The targets of a set, `Targets` that own their arrays.
#[derive(Clone, Debug, PartialEq)]
pub enum OwnedTargets<T> {
    /// Distributions `[N, T, n_y]`.
    Distributions(Array3<T>),
    /// Class ids `[N, T]`.
    Classes(Array2<u32>),
}

impl<T: Scalar> OwnedInputs<T> {
    /// `(N, T)`.
    pub fn sequences(&self) -> (usize, usize) {
        self.view().sequences()
    }

    /// `n_x`: the last axis, or one more than the largest id.
    pub fn n_x(&self) -> usize {
        match self {
            OwnedInputs::Dense(x) => x.dim().2,
            OwnedInputs::Tokens(ids) => one_more_than_largest(ids),
        }
    }

    /// The arrays, borrowed.
    pub fn view(&self) -> Inputs<'_, T> {
        match self {
            OwnedInputs::Dense(x) => x.into(),
            OwnedInputs::Tokens(ids) => ids.into(),
        }
    }

    /// Row-major, not empty, every number finite.
    pub(super) fn checked(self) -> Result<Self> {
        let (n, t) = self.sequences();
        if n == 0 || t == 0 || self.n_x() == 0 {
            return Err(Error::Shape {
                what: "inputs",
                found: match &self {
                    OwnedInputs::Dense(x) => x.shape().to_vec(),
                    OwnedInputs::Tokens(ids) => ids.shape().to_vec(),
                },
                expected: "no axis of length 0".to_owned(),
            });
        }
        Ok(match self {
            OwnedInputs::Dense(x) => {
                check_finite("inputs", &x)?;
                OwnedInputs::Dense(row_major3(x))
            }
            OwnedInputs::Tokens(ids) => OwnedInputs::Tokens(row_major2(ids)),
        })
    }
}

impl<T: Scalar> OwnedTargets<T> {
    /// `n_y`: the last axis, or one more than the largest class.
    pub fn n_y(&self) -> usize {
        match self {
            OwnedTargets::Distributions(y) => y.dim().2,
            OwnedTargets::Classes(ids) => one_more_than_largest(ids),
        }
    }

    /// The arrays, borrowed.
    pub fn view(&self) -> Targets<'_, T> {
        match self {
            OwnedTargets::Distributions(y) => y.into(),
            OwnedTargets::Classes(ids) => ids.into(),
        }
    }
}

/// A set of sequences of equal length, with a mask where some are shorter.
///
/// ```
/// use bptt::data::{OwnedInputs, OwnedTargets, Sequences};
/// use ndarray::array;
///
/// let inputs = OwnedInputs::<f32>::Tokens(array![[0, 1, 2], [2, 1, 0]]);
/// let targets = OwnedTargets::Classes(array![[1, 1, 0], [0, 1, 1]]);
/// let set = Sequences::new(inputs, targets, None)?;
/// assert_eq!((set.len(), set.steps(), set.dims()), (2, 3, (3, 2)));
/// let (train, valid) = set.split(0.5, 0)?;
/// assert_eq!((train.len(), valid.len()), (1, 1));
/// # Ok::<(), bptt::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Sequences<T> {
    inputs: OwnedInputs<T>,
    targets: OwnedTargets<T>,
    mask: Option<Array2<bool>>,
    /// One more than the last step that counts, for each sequence: no step after that is ever run.
    lengths: Option<Vec<usize>>,
    n_x: usize,
    n_y: usize,
}

impl<T: Scalar> Sequences<T> {
    /// Checked arrays; targets of steps that do not count become zero.
    ///
    /// # Errors
    /// [`Error::Shape`] if they do not fit each other or are empty; [`Error::NotFinite`] for a
    /// feature, or a target that counts; [`Error::Invalid`] for a target that counts and is no
    /// distribution; [`Error::NothingCounts`].
    pub fn new(
        inputs: OwnedInputs<T>,
        targets: OwnedTargets<T>,
        mask: Option<Array2<bool>>,
    ) -> Result<Self> {
        let inputs = inputs.checked()?;
        let (n, t) = inputs.sequences();
        let mismatch = |what, found: &[usize]| Error::Shape {
            what,
            found: found.to_vec(),
            expected: format!("{n} sequences of {t} steps as the inputs"),
        };
        let mask = mask.map(row_major2);
        if let Some(mask) = &mask {
            if mask.dim() != (n, t) {
                return Err(mismatch("mask", mask.shape()));
            }
            if !mask.iter().any(|&counts| counts) {
                return Err(Error::NothingCounts);
            }
        }
        let targets = match targets {
            OwnedTargets::Classes(ids) if ids.dim() == (n, t) => {
                let mut ids = row_major2(ids);
                if let Some(mask) = &mask {
                    ids.zip_mut_with(mask, |id, &counts| *id *= u32::from(counts));
                }
                OwnedTargets::Classes(ids)
            }
            OwnedTargets::Distributions(y) if y.shape()[..2] == [n, t] && y.dim().2 > 0 => {
                let mut y = row_major3(y);
                for ((row, step), _) in mask.iter().flat_map(|m| m.indexed_iter()).filter(|m| !m.1)
                {
                    y.slice_mut(ndarray::s![row, step, ..]).fill(T::zero());
                }
                check_distributions(&y, mask.as_ref())?;
                OwnedTargets::Distributions(y)
            }
            OwnedTargets::Classes(ids) => return Err(mismatch("targets", ids.shape())),
            OwnedTargets::Distributions(y) => return Err(mismatch("targets", y.shape())),
        };
        Ok(Sequences {
            n_x: inputs.n_x(),
            n_y: targets.n_y(),
            inputs,
            targets,
            lengths: mask.as_ref().map(lengths),
            mask,
        })
    }

    /// The same with `n_x` and `n_y` stated instead of inferred from the largest ids.
    ///
    /// # Errors
    /// [`Error::Id`] or [`Error::Shape`] for what does not fit them.
    pub fn with_dims(mut self, n_x: usize, n_y: usize) -> Result<Self> {
        let dims = crate::Dims { n_x, n_h: 1, n_y };
        self.batch().check(dims)?;
        (self.n_x, self.n_y) = (n_x, n_y);
        Ok(self)
    }

    /// `(n_x, n_y)`: the last axes, one more than the largest ids, or what was stated.
    pub fn dims(&self) -> (usize, usize) {
        (self.n_x, self.n_y)
    }

    /// `N`, the number of sequences.
    pub fn len(&self) -> usize {
        self.inputs.sequences().0
    }

    /// Whether nothing was selected.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `T`, the steps of each.
    pub fn steps(&self) -> usize {
        self.inputs.sequences().1
    }

    /// The inputs.
    pub fn inputs(&self) -> &OwnedInputs<T> {
        &self.inputs
    }

    /// The targets.
    pub fn targets(&self) -> &OwnedTargets<T> {
        &self.targets
    }

    /// `[N, T]`, `true` where a step counts.
    pub fn mask(&self) -> Option<ArrayView2<'_, bool>> {
        self.mask.as_ref().map(|mask| mask.view())
    }

    /// `[N]`, the steps of each sequence up to the last that counts, where there is a mask.
    pub fn lengths(&self) -> Option<&[usize]> {
        self.lengths.as_deref()
    }

    /// How many steps count in the loss.
    pub fn counted(&self) -> u64 {
        self.batch().counted()
    }

    /// All sequences as one batch.
    pub fn batch(&self) -> Batch<'_, T> {
        Batch {
            inputs: self.inputs.view(),
            answers: Answers {
                targets: self.targets.view(),
                mask: self.mask(),
            },
            lengths: self.lengths(),
        }
    }

    /// Some of the sequences, in the order given; the sizes stay those of the set.
    ///
    /// # Panics
    /// If a row is not below [`Sequences::len`].
    pub fn select(&self, rows: &[usize]) -> Self {
        Sequences {
            inputs: match &self.inputs {
                OwnedInputs::Dense(x) => OwnedInputs::Dense(x.select(Axis(0), rows)),
                OwnedInputs::Tokens(ids) => OwnedInputs::Tokens(ids.select(Axis(0), rows)),
            },
            targets: match &self.targets {
                OwnedTargets::Distributions(y) => {
                    OwnedTargets::Distributions(y.select(Axis(0), rows))
                }
                OwnedTargets::Classes(ids) => OwnedTargets::Classes(ids.select(Axis(0), rows)),
            },
            mask: self.mask.as_ref().map(|mask| mask.select(Axis(0), rows)),
            lengths: (self.lengths.as_ref())
                .map(|lengths| rows.iter().map(|&row| lengths[row]).collect()),
            ..*self
        }
    }

    /// `(train, valid)`: a `fraction` of the sequences, drawn by `seed`, for validation; at least
    /// one on each side.
    ///
    /// # Errors
    /// [`Error::Option`] for a fraction that is not between 0 and 1; [`Error::Invalid`] for fewer
    /// than two sequences.
    pub fn split(&self, fraction: f64, seed: u64) -> Result<(Self, Self)> {
        if !(fraction > 0.0 && fraction < 1.0) {
            return Err(Error::Option {
                name: "--valid-fraction",
                value: fraction.to_string(),
                expected: "above 0 and below 1",
            });
        }
        let n = self.len();
        if n < 2 {
            return Err(Error::Invalid {
                what: "sequences",
                problem: format!(
                    "there is {n} in the set, expected at least 2 to keep some for validation; \
                     give more, or `--valid-fraction 0`, or a set of its own with `--valid`"
                ),
            });
        }
        let valid = ((n as f64 * fraction).round() as usize).clamp(1, n - 1);
        let mut rows: Vec<usize> = (0..n).collect();
        rows.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        let (valid, train) = rows.split_at_mut(valid);
        valid.sort_unstable();
        train.sort_unstable();
        Ok((self.select(train), self.select(valid)))
    }
}

/// One more than the last step that counts, for each sequence.
fn lengths(mask: &Array2<bool>) -> Vec<usize> {
    let rows = mask.rows().into_iter();
    rows.map(|row| (0..row.len()).rfind(|&t| row[t]).map_or(0, |t| t + 1))
        .collect()
}

fn one_more_than_largest(ids: &Array2<u32>) -> usize {
    ids.iter().max().map_or(0, |&id| id as usize + 1)
}

fn row_major2<A: Clone>(array: Array2<A>) -> Array2<A> {
    match array.is_standard_layout() {
        true => array,
        false => array.as_standard_layout().into_owned(),
    }
}

fn row_major3<A: Clone>(array: Array3<A>) -> Array3<A> {
    match array.is_standard_layout() {
        true => array,
        false => array.as_standard_layout().into_owned(),
    }
}

fn check_finite<T: Scalar>(what: &str, array: &Array3<T>) -> Result<()> {
    match array.indexed_iter().find(|(_, value)| !value.is_finite()) {
        Some(((row, step, k), value)) => Err(Error::NotFinite {
            what: what.to_owned(),
            value: value.as_f64(),
            position: vec![row, step, k],
        }),
        None => Ok(()),
    }
}

/// Whether every distribution that counts is one.
fn check_distributions<T: Scalar>(y: &Array3<T>, mask: Option<&Array2<bool>>) -> Result<()> {
    check_finite("targets", y)?;
    for (i, distribution) in y.rows().into_iter().enumerate() {
        let (row, step) = (i / y.dim().1, i % y.dim().1);
        if mask.is_some_and(|mask| !mask[[row, step]]) {
            continue;
        }
        let invalid = |problem: String| Error::Invalid {
            what: "targets",
            problem: format!("[{row}, {step}]: {problem}"),
        };
        if let Some(negative) = distribution.iter().find(|&&p| p < T::zero()) {
            return Err(invalid(format!(
                "{negative} in a distribution, expected no negative number"
            )));
        }
        let sum: f64 = distribution.iter().map(|p| p.as_f64()).sum();
        if (sum - 1.0).abs() > SUM_TOLERANCE {
            return Err(invalid(format!(
                "the distribution sums to {sum}, expected 1; normalise it, or mask the step"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "sequences_tests.rs"]
mod tests;
