//! Sequences with their targets, owned and checked: [`Sequences`].
//!
//! | | |
//! |---|---|
//! | inputs | features `[N, T, n_x]` or token ids `[N, T]` |
//! | targets | classes `[N, T]` or distributions `[N, T, n_y]` |
//! | mask | `[N, T]`, `true` where a step counts in the loss; all count where there is none |
//!
//! Targets where no step counts are set to zero, whatever they were. The arrays are in memory, or stay in their file
//! ([`Sequences::open_npz`]). Knows nothing of file formats or batches.

use super::npz_on_disk::Stored;
use crate::{Answers, Batch, Error, Inputs, Result, Scalar, Targets};
use ndarray::{Array2, Array3, ArrayView2, Axis};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use std::ops::Range;

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

    /// Row-major, not empty, every number finite; errors count rows from `first_row`.
    pub(super) fn checked(self, first_row: usize) -> Result<Self> {
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
                check_finite("inputs", &x, first_row)?;
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
    store: Store<T>,
    n: usize,
    t: usize,
    mask: Option<Array2<bool>>,
    /// One more than the last step that counts, for each sequence: no step after that is ever run.
    lengths: Option<Vec<usize>>,
    n_x: usize,
    n_y: usize,
}

/// Where inputs and targets are.
#[derive(Clone, Debug, PartialEq)]
enum Store<T> {
    Memory(OwnedInputs<T>, OwnedTargets<T>),
    File(Stored),
}

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Array {
    Inputs,
    Targets,
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
        let set = Self::checked(inputs, targets, mask, 0)?;
        match set.counted() {
            0 => Err(Error::NothingCounts),
            _ => Ok(set),
        }
    }

    /// [`Sequences::new`] of which it may be that nothing counts; errors count rows from `first_row`.
    pub(super) fn checked(
        inputs: OwnedInputs<T>,
        targets: OwnedTargets<T>,
        mask: Option<Array2<bool>>,
        first_row: usize,
    ) -> Result<Self> {
        let inputs = inputs.checked(first_row)?;
        let (n, t) = inputs.sequences();
        let mismatch = |what, found: &[usize]| Error::Shape {
            what,
            found: found.to_vec(),
            expected: format!("{n} sequences of {t} steps as the inputs"),
        };
        let mask = mask.map(row_major2);
        if let Some(mask) = mask.as_ref().filter(|mask| mask.dim() != (n, t)) {
            return Err(mismatch("mask", mask.shape()));
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
                check_distributions(&y, mask.as_ref(), first_row)?;
                OwnedTargets::Distributions(y)
            }
            OwnedTargets::Classes(ids) => return Err(mismatch("targets", ids.shape())),
            OwnedTargets::Distributions(y) => return Err(mismatch("targets", y.shape())),
        };
        Ok(Sequences {
            n_x: inputs.n_x(),
            n_y: targets.n_y(),
            store: Store::Memory(inputs, targets),
            n,
            t,
            lengths: mask.as_ref().map(lengths),
            mask,
        })
    }

    /// A set that stays in its file, checked before.
    pub(super) fn stored(
        stored: Stored,
        (n, t): (usize, usize),
        mask: Option<Array2<bool>>,
        (n_x, n_y): (usize, usize),
    ) -> Self {
        Sequences {
            store: Store::File(stored),
            n,
            t,
            lengths: mask.as_ref().map(lengths),
            mask,
            n_x,
            n_y,
        }
    }

    /// The same with `n_x` and `n_y` stated instead of inferred from the largest ids.
    ///
    /// # Errors
    /// [`Error::Id`] or [`Error::Shape`] for what does not fit them.
    pub fn with_dims(mut self, n_x: usize, n_y: usize) -> Result<Self> {
        self.check(crate::Dims { n_x, n_h: 1, n_y })?;
        (self.n_x, self.n_y) = (n_x, n_y);
        Ok(self)
    }

    /// Whether a network of these sizes can be trained on them.
    ///
    /// # Errors
    /// [`Error::Id`] or [`Error::Shape`] for what does not fit, of ids that stay in their file [`Error::Invalid`];
    /// [`Error::NothingCounts`].
    pub fn check(&self, dims: crate::Dims) -> Result<()> {
        match &self.store {
            Store::Memory(..) => self.batch().check(dims),
            Store::File(stored) => stored.check(dims),
        }
    }

    /// `(n_x, n_y)`: the last axes, one more than the largest ids, or what was stated.
    pub fn dims(&self) -> (usize, usize) {
        (self.n_x, self.n_y)
    }

    /// `N`, the number of sequences.
    pub fn len(&self) -> usize {
        self.n
    }

    /// Whether nothing was selected.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `T`, the steps of each.
    pub fn steps(&self) -> usize {
        self.t
    }

    /// Whether the inputs are token ids.
    pub fn reads_tokens(&self) -> bool {
        self.width(Array::Inputs).is_none()
    }

    /// Whether they stay in their file ([`Sequences::open_npz`]).
    pub fn stays_in_file(&self) -> bool {
        matches!(self.store, Store::File(_))
    }

    /// Bytes of the inputs and targets of a step, as a batch has them.
    pub(super) fn step_bytes(&self) -> usize {
        let bytes = |array| match self.width(array) {
            Some(floats) => floats * size_of::<T>(),
            None => size_of::<u32>(),
        };
        bytes(Array::Inputs) + bytes(Array::Targets)
    }

    /// The floats of a step, `n_x` or `n_y`; none where there is an id.
    pub(super) fn width(&self, array: Array) -> Option<usize> {
        match (&self.store, array) {
            (Store::Memory(OwnedInputs::Dense(x), _), Array::Inputs) => Some(x.dim().2),
            (Store::Memory(_, OwnedTargets::Distributions(y)), Array::Targets) => Some(y.dim().2),
            (Store::Memory(..), _) => None,
            (Store::File(stored), array) => stored.kept(array).width(),
        }
    }

    /// Some steps of a sequence, where [`Sequences::width`] says that they are floats.
    ///
    /// # Errors
    /// [`Error::File`] if they are in a file that is not any more what it was.
    pub(super) fn copy_floats(
        &self,
        array: Array,
        row: usize,
        steps: Range<usize>,
        out: &mut [T],
    ) -> Result<()> {
        let all = match (&self.store, array) {
            (Store::File(stored), _) => {
                let mask = self.mask_of(row, steps.clone());
                return stored.kept(array).floats(stored.row(row), steps, mask, out);
            }
            (Store::Memory(OwnedInputs::Dense(x), _), Array::Inputs) => x.as_slice(),
            (Store::Memory(_, OwnedTargets::Distributions(y)), Array::Targets) => y.as_slice(),
            _ => unreachable!("floats of {array:?} that have none"),
        };
        self.copy(all, row, steps, out);
        Ok(())
    }

    /// Some steps of a sequence, where [`Sequences::width`] says that they are ids.
    ///
    /// # Errors
    /// As [`Sequences::copy_floats`].
    pub(super) fn copy_ids(
        &self,
        array: Array,
        row: usize,
        steps: Range<usize>,
        out: &mut [u32],
    ) -> Result<()> {
        let all = match (&self.store, array) {
            (Store::File(stored), _) => {
                let mask = self.mask_of(row, steps.clone());
                return stored.kept(array).ids(stored.row(row), steps, mask, out);
            }
            (Store::Memory(OwnedInputs::Tokens(ids), _), Array::Inputs) => ids.as_slice(),
            (Store::Memory(_, OwnedTargets::Classes(ids)), Array::Targets) => ids.as_slice(),
            _ => unreachable!("ids of {array:?} that have none"),
        };
        self.copy(all, row, steps, out);
        Ok(())
    }

    /// Some steps of a sequence from all `[N, T, width]`.
    fn copy<A: Copy>(&self, all: Option<&[A]>, row: usize, steps: Range<usize>, out: &mut [A]) {
        let width = out.len() / steps.len();
        let begin = (row * self.t + steps.start) * width;
        out.copy_from_slice(&all.expect("row-major")[begin..begin + out.len()]);
    }

    /// Where some steps of a sequence count, unless all do.
    pub(super) fn mask_of(&self, row: usize, steps: Range<usize>) -> Option<&[bool]> {
        let mask = self.mask.as_ref()?.as_slice().expect("row-major");
        Some(&mask[row * self.t..][steps])
    }

    /// The inputs.
    ///
    /// # Panics
    /// If they stay in their file.
    pub fn inputs(&self) -> &OwnedInputs<T> {
        self.in_memory().0
    }

    /// The targets.
    ///
    /// # Panics
    /// If they stay in their file.
    pub fn targets(&self) -> &OwnedTargets<T> {
        self.in_memory().1
    }

    fn in_memory(&self) -> (&OwnedInputs<T>, &OwnedTargets<T>) {
        match &self.store {
            Store::Memory(inputs, targets) => (inputs, targets),
            Store::File(_) => panic!("the arrays of a set from `open_npz` stay in their file"),
        }
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
        match &self.mask {
            Some(mask) => mask.iter().filter(|&&counts| counts).count() as u64,
            None => (self.n * self.t) as u64,
        }
    }

    /// All sequences as one batch.
    ///
    /// # Panics
    /// If they stay in their file.
    pub fn batch(&self) -> Batch<'_, T> {
        Batch {
            inputs: self.inputs().view(),
            answers: Answers {
                targets: self.targets().view(),
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
        let store = match &self.store {
            Store::Memory(inputs, targets) => {
                let inputs = match inputs {
                    OwnedInputs::Dense(x) => OwnedInputs::Dense(x.select(Axis(0), rows)),
                    OwnedInputs::Tokens(ids) => OwnedInputs::Tokens(ids.select(Axis(0), rows)),
                };
                let targets = match targets {
                    OwnedTargets::Distributions(y) => {
                        OwnedTargets::Distributions(y.select(Axis(0), rows))
                    }
                    OwnedTargets::Classes(ids) => OwnedTargets::Classes(ids.select(Axis(0), rows)),
                };
                Store::Memory(inputs, targets)
            }
            Store::File(stored) => Store::File(stored.select(rows)),
        };
        Sequences {
            store,
            n: rows.len(),
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

fn check_finite<T: Scalar>(what: &str, array: &Array3<T>, first_row: usize) -> Result<()> {
    match array.indexed_iter().find(|(_, value)| !value.is_finite()) {
        Some(((row, step, k), value)) => Err(Error::NotFinite {
            what: what.to_owned(),
            value: value.as_f64(),
            position: vec![first_row + row, step, k],
        }),
        None => Ok(()),
    }
}

/// Whether every distribution that counts is one.
fn check_distributions<T: Scalar>(
    y: &Array3<T>,
    mask: Option<&Array2<bool>>,
    first_row: usize,
) -> Result<()> {
    check_finite("targets", y, first_row)?;
    for (i, distribution) in y.rows().into_iter().enumerate() {
        let (row, step) = (i / y.dim().1, i % y.dim().1);
        if mask.is_some_and(|mask| !mask[[row, step]]) {
            continue;
        }
        let invalid = |problem: String| Error::Invalid {
            what: "targets",
            problem: format!("[{}, {step}]: {problem}", first_row + row),
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
mod tests;
