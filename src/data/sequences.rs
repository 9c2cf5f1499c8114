//! Sequences with their targets, checked: [`Sequences`].
//!
//! | | |
//! |---|---|
//! | inputs | features `[N, T, n_x]` or token ids `[N, T]` |
//! | targets | classes `[N, T]` or distributions `[N, T, n_y]` |
//! | lengths | `[N]`, where each sequence ends; each has all `T` steps where there are none |
//! | mask | `[N, T]`, true where a step counts in the loss; all steps count where there is none |
//!
//! Inputs beyond a sequence's end, and targets of steps that do not count, become zero, whatever they were. The arrays are
//! kept in memory or stay in their file, and are shared by the parts of a set. Knows nothing of file formats or batches.

use super::owned::{OwnedInputs, OwnedTargets};
use super::padding::Padding;
use super::store::SetArray;
use crate::{Error, Input, Result, Scalar};
use ndarray::ArrayView2;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;

/// A set of sequences with up to `T` steps each.
///
/// ```
/// use bptt::data::{OwnedInputs, OwnedTargets, Padding, Sequences};
/// use ndarray::array;
///
/// let inputs = OwnedInputs::<f32>::Tokens(array![[0, 1, 2], [2, 1, 0]]);
/// let targets = OwnedTargets::Classes(array![[1, 1, 0], [0, 1, 1]]);
/// let set = Sequences::new(inputs.clone(), targets.clone(), Padding::default())?;
/// assert_eq!((set.len(), set.steps(), set.dims()), (2, 3, (3, 2)));
/// let (train, valid) = set.split(0.5, 0)?;
/// assert_eq!((train.len(), valid.len()), (1, 1));
///
/// // The second sequence has two steps, and the first steps do not count.
/// let padding = Padding {
///     lengths: Some(vec![3, 2]),
///     mask: Some(array![[false, true, true], [false, true, true]]),
/// };
/// assert_eq!(Sequences::new(inputs, targets, padding)?.counted(), 3);
/// # Ok::<(), bptt::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Sequences<T> {
    inputs: Arc<SetArray<T>>,
    targets: Arc<SetArray<T>>,
    /// Which rows of the arrays are the sequences; `N` of them.
    rows: Vec<usize>,
    t: usize,
    padding: Padding,
    run_lengths: Option<Vec<usize>>,
    n_x: usize,
    n_y: usize,
}

impl<T: Scalar> Sequences<T> {
    /// Checked arrays.
    ///
    /// # Errors
    /// [`Error::Shape`] if they do not fit each other or are empty; [`Error::NotFinite`] for a feature within the length of
    /// its sequence, or a target that counts; [`Error::Invalid`] for a length that is not from 1 to `T`, and for a target
    /// that counts and is no distribution; [`Error::NothingCounts`].
    pub fn new(inputs: OwnedInputs<T>, targets: OwnedTargets<T>, padding: Padding) -> Result<Self> {
        let set = Self::checked(inputs, targets, padding, 0)?;
        match set.counted() {
            0 => Err(Error::NothingCounts),
            _ => Ok(set),
        }
    }

    /// [`Sequences::new`] without the last error: in a part of a set, it may be that nothing counts. Errors count rows from
    /// `first_row`.
    pub(super) fn checked(
        inputs: OwnedInputs<T>,
        targets: OwnedTargets<T>,
        padding: Padding,
        first_row: usize,
    ) -> Result<Self> {
        let inputs = inputs.checked(&padding, first_row)?;
        let shape = inputs.sequences();
        let targets = targets.checked(shape, &padding, first_row)?;
        let inputs = match inputs {
            OwnedInputs::Dense(x) => SetArray::floats(x),
            OwnedInputs::Tokens(ids) => SetArray::ids(ids),
        };
        let targets = match targets {
            OwnedTargets::Values(y) => SetArray::floats(y),
            OwnedTargets::Classes(ids) => SetArray::ids(ids),
        };
        Ok(Self::assembled(inputs, targets, shape, padding))
    }

    /// Arrays that have been checked.
    pub(super) fn assembled(
        inputs: SetArray<T>,
        targets: SetArray<T>,
        (n, t): (usize, usize),
        padding: Padding,
    ) -> Self {
        Sequences {
            n_x: inputs.size(),
            n_y: targets.size(),
            inputs: Arc::new(inputs),
            targets: Arc::new(targets),
            rows: (0..n).collect(),
            t,
            run_lengths: padding.run_lengths(),
            padding,
        }
    }

    /// The same with `n_x` and `n_y` stated instead of inferred from the largest ids.
    ///
    /// # Errors
    /// As [`Sequences::check`].
    pub fn with_dims(mut self, n_x: usize, n_y: usize) -> Result<Self> {
        self.check_sizes(n_x, n_y)?;
        (self.n_x, self.n_y) = (n_x, n_y);
        Ok(self)
    }

    /// The input of a network for them.
    pub fn input(&self) -> Input {
        match self.reads_tokens() {
            true => Input::Tokens(self.n_x),
            false => Input::Features(self.n_x),
        }
    }

    /// Whether a network with this input and `n_y` outputs can be trained on them.
    ///
    /// # Errors
    /// [`Error::Id`] or [`Error::Shape`] for what does not fit, of ids that stay in their file [`Error::Invalid`];
    /// [`Error::NothingCounts`].
    pub fn check(&self, input: Input, n_y: usize) -> Result<()> {
        if input.is_tokens() != self.reads_tokens() {
            let (reads, holds) = match input {
                Input::Tokens(n) | Input::Embedding { tokens: n, .. } => {
                    (format!("one of {n} tokens a step"), "features")
                }
                Input::Features(n) => (format!("{n} features a step"), "token ids"),
            };
            let problem = format!("they are {holds}, and the network reads {reads}");
            return Err(Error::invalid("inputs", problem));
        }
        self.check_sizes(input.size(), n_y)
    }

    /// The same of the sizes alone.
    fn check_sizes(&self, n_x: usize, n_y: usize) -> Result<()> {
        self.inputs.check("inputs", n_x, (self.len(), self.t))?;
        self.targets.check("targets", n_y, (self.len(), self.t))?;
        match self.counted() {
            0 => Err(Error::NothingCounts),
            _ => Ok(()),
        }
    }

    /// `(n_x, n_y)`: the last axes, one more than the largest ids, or what was stated.
    pub fn dims(&self) -> (usize, usize) {
        (self.n_x, self.n_y)
    }

    /// `N`, the number of sequences.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether nothing was selected.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `T`, the most steps that a sequence can have.
    pub fn steps(&self) -> usize {
        self.t
    }

    /// Whether the inputs are token ids.
    pub fn reads_tokens(&self) -> bool {
        matches!(*self.inputs, SetArray::Ids { .. })
    }

    /// Whether the arrays stay in their file ([`Sequences::open_npz`]).
    pub fn stays_in_file(&self) -> bool {
        self.inputs.stays_in_file()
    }

    /// The bytes of a step, as a batch has it.
    pub(super) fn step_bytes(&self) -> usize {
        self.inputs.step_bytes() + self.targets.step_bytes() + size_of::<bool>()
    }

    /// The inputs and the targets.
    pub(super) fn arrays(&self) -> (&SetArray<T>, &SetArray<T>) {
        (&self.inputs, &self.targets)
    }

    /// Where a sequence is in the arrays: its row, and the steps of a row.
    pub(super) fn place(&self, sequence: usize) -> (usize, usize) {
        (self.rows[sequence], self.t)
    }

    /// `[N, T]`, true where a step counts in the loss if its sequence has it; `None` if there is no mask.
    pub fn mask(&self) -> Option<ArrayView2<'_, bool>> {
        self.padding.mask.as_ref().map(|mask| mask.view())
    }

    /// `[N]`, where each sequence ends; `None` if each has [`Sequences::steps`] steps.
    pub fn lengths(&self) -> Option<&[usize]> {
        self.padding.lengths.as_deref()
    }

    /// `[N]`, how many steps of each sequence have to be run for the loss of a causal network: up to the last step that
    /// counts. What comes after that changes neither the loss nor a gradient. `None` if each has to be run to its end, and
    /// that is after [`Sequences::steps`] steps.
    ///
    /// A network that reads a sequence from its end, or answers at it, has to run [`Sequences::lengths`].
    pub fn run_lengths(&self) -> Option<&[usize]> {
        self.run_lengths.as_deref()
    }

    /// How many steps count in the loss: those within the lengths where the mask is true.
    pub fn counted(&self) -> u64 {
        self.padding.counted((self.len(), self.t))
    }

    /// Some of the sequences, in the order given; the sizes stay those of the set.
    ///
    /// # Panics
    /// If a row is not below [`Sequences::len`].
    pub fn select(&self, rows: &[usize]) -> Self {
        let padding = self.padding.select(rows);
        Sequences {
            inputs: Arc::clone(&self.inputs),
            targets: Arc::clone(&self.targets),
            rows: rows.iter().map(|&row| self.rows[row]).collect(),
            run_lengths: padding.run_lengths(),
            padding,
            ..*self
        }
    }

    /// `(train, valid)`: a `valid_fraction` of the sequences, drawn by `seed`, for validation; at least one on each side.
    ///
    /// # Errors
    /// [`Error::Option`] for a fraction that is not between 0 and 1; [`Error::Invalid`] for fewer
    /// than two sequences.
    pub fn split(&self, valid_fraction: f64, seed: u64) -> Result<(Self, Self)> {
        if !(valid_fraction > 0.0 && valid_fraction < 1.0) {
            return Err(Error::Option {
                name: "valid_fraction",
                value: valid_fraction.to_string(),
                expected: "above 0 and below 1",
            });
        }
        let n = self.len();
        if n < 2 {
            return Err(Error::invalid(
                "sequences",
                format!(
                    "there is {n} in the set, expected at least 2 to keep some for validation; give more, or validate on \
                     another set, or not at all"
                ),
            ));
        }
        let valid = ((n as f64 * valid_fraction).round() as usize).clamp(1, n - 1);
        let mut rows: Vec<usize> = (0..n).collect();
        rows.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        let (valid, train) = rows.split_at_mut(valid);
        valid.sort_unstable();
        train.sort_unstable();
        Ok((self.select(train), self.select(valid)))
    }
}
