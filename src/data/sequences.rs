//! Sequences with their targets, checked: [`Sequences`].
//!
//! | | |
//! |---|---|
//! | inputs | features `[N, T, n_x]` or token ids `[N, T]` |
//! | targets | classes `[N, T]` or numbers `[N, T, n_y]`; with one answer a sequence, `[N, 1]` or `[N, 1, n_y]` |
//! | lengths | `[N]`, where each sequence ends; each has all `T` steps where there are none |
//! | mask | `[N, T]`, true where a step counts in the loss; all steps count where there is none |
//!
//! Inputs beyond a sequence's end, and targets of steps that do not count, become zero, whatever they were. The arrays are
//! kept in memory or stay in their file, and are shared by the parts of a set. Knows nothing of file formats or batches.

use super::owned::{OwnedInputs, OwnedTargets, TargetKind, Unlike};
use super::padding::Padding;
use super::store::SetArray;
use crate::{At, Error, Head, Input, Loss, Result, Scalar};
use ndarray::ArrayView2;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use std::path::Path;
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
    pub(super) inputs: Arc<SetArray<T>>,
    pub(super) targets: Arc<SetArray<T>>,
    /// Which rows of the arrays are the sequences; `N` of them.
    pub(super) rows: Vec<usize>,
    t: usize,
    /// The answers of a sequence: one, or one for each step.
    pub(super) answers: usize,
    pub(super) unlike: Unlike,
    padding: Padding,
    run_lengths: Option<Vec<usize>>,
    n_x: usize,
    n_y: usize,
    /// The file they are from.
    pub(super) file: Option<Arc<Path>>,
}

impl<T: Scalar> Sequences<T> {
    /// Checked arrays.
    ///
    /// # Errors
    /// [`Error::Shape`] if they do not fit each other or are empty; [`Error::NotFinite`] for a feature within the length of
    /// its sequence, or a target that counts; [`Error::Invalid`] for a length that is not from 1 to `T`;
    /// [`Error::NothingCounts`].
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
        let ((n, t), shape) = (inputs.sequences(), targets.shape());
        let answers = shape[1];
        if shape[0] != n || ![1, t].contains(&answers) || shape[2..].contains(&0) {
            let expected = format!("{n} sequences of {t} steps as the inputs, or of one answer");
            return Err(Error::shape("targets", shape, expected));
        }
        padding.check((n, t), answers, first_row)?;
        let inputs = match inputs.checked(&padding, first_row)? {
            OwnedInputs::Dense(x) => SetArray::floats(x),
            OwnedInputs::Tokens(ids) => SetArray::ids(ids),
        };
        let (targets, unlike) = targets.checked(&padding, first_row)?;
        let targets = match targets {
            OwnedTargets::Values(y) => SetArray::floats(y),
            OwnedTargets::Classes(ids) => SetArray::ids(ids),
        };
        let set = Self::assembled([inputs, targets], (n, t), answers, padding);
        Ok(Sequences { unlike, ..set })
    }

    /// Arrays that have been checked.
    pub(super) fn assembled(
        [inputs, targets]: [SetArray<T>; 2],
        (n, t): (usize, usize),
        answers: usize,
        padding: Padding,
    ) -> Self {
        Sequences {
            n_x: inputs.size,
            n_y: targets.size,
            inputs: Arc::new(inputs),
            targets: Arc::new(targets),
            rows: (0..n).collect(),
            t,
            answers,
            file: None,
            unlike: Unlike::default(),
            run_lengths: padding.run_lengths(answers == t),
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

    /// At which steps they have answers.
    pub fn at(&self) -> At {
        match self.answers == self.t {
            true => At::Every,
            false => At::Last,
        }
    }

    /// What their targets are, as far as type and numbers tell.
    pub fn target_kind(&self) -> TargetKind {
        match self.targets.width {
            None => TargetKind::Classes,
            // A distribution over one class says nothing.
            Some(2..) if self.unlike.distributions.is_none() => TargetKind::Distributions,
            Some(_) if self.unlike.labels.is_none() => TargetKind::Labels,
            Some(_) => TargetKind::Numbers,
        }
    }

    /// The head that suits their targets.
    pub fn head(&self) -> Head {
        Head {
            at: self.at(),
            ..Head::new(self.n_y, self.target_kind().loss())
        }
    }

    /// Whether a network with this input and head can be trained on them.
    ///
    /// # Errors
    /// [`Error::Id`] or [`Error::Shape`] for what does not fit, of ids that stay in their file and of targets that are
    /// nothing for the head's loss [`Error::Invalid`]; [`Error::NothingCounts`].
    pub fn check(&self, input: Input, head: Head) -> Result<()> {
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
        let fits = self.check_targets(head);
        let fits = fits.and_then(|()| self.check_sizes(input.size(), head.outputs));
        fits.map_err(|e| match &self.file {
            Some(path) => e.in_file(path),
            None => e,
        })
    }

    /// Whether the targets are what a head is judged by.
    fn check_targets(&self, head: Head) -> Result<()> {
        let kind = self.target_kind();
        let problem = match (head.loss, kind) {
            _ if head.at != self.at() && self.t > 1 => String::from(match self.at() {
                At::Every => "they are for every step, and the network answers once a sequence",
                At::Last => "they are one a sequence, and the network answers at every step",
            }),
            (Loss::CrossEntropy, TargetKind::Classes) => return Ok(()),
            (loss, TargetKind::Classes) => format!(
                "they are integer classes, and the loss `{}` is of numbers [N, T, n_y] or [N, n_y]: save them in this \
                 form, or choose `cross-entropy`",
                loss.name()
            ),
            (Loss::CrossEntropy, _) => match &self.unlike.distributions {
                None => return Ok(()),
                Some(place) => format!(
                    "{place}; the loss `cross-entropy` is of classes or distributions, for {kind} choose `{}`",
                    kind.loss().name()
                ),
            },
            (Loss::Binary, _) => match &self.unlike.probabilities {
                None => return Ok(()),
                Some(place) => format!("{place}; for other numbers choose the loss `mse`"),
            },
            (Loss::Mse | Loss::Huber, _) => return Ok(()),
        };
        Err(Error::invalid("targets", problem))
    }

    /// The same of the sizes alone.
    fn check_sizes(&self, n_x: usize, n_y: usize) -> Result<()> {
        self.inputs.check("inputs", n_x, (self.len(), self.t))?;
        self.targets
            .check("targets", n_y, (self.len(), self.answers))?;
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
        self.inputs.width.is_none()
    }

    /// Whether the arrays stay in their file ([`Sequences::open_npz`]).
    pub fn stays_in_file(&self) -> bool {
        self.inputs.stays_in_file()
    }

    /// The bytes of a step, as a batch has it.
    pub(super) fn step_bytes(&self) -> usize {
        self.inputs.step_bytes() + self.targets.step_bytes() + size_of::<bool>()
    }

    /// `[N, T]`, true where a step counts in the loss if its sequence has it; `[N, 1]` where there is one answer a sequence;
    /// `None` if there is no mask.
    pub fn mask(&self) -> Option<ArrayView2<'_, bool>> {
        self.padding.mask.as_ref().map(|mask| mask.view())
    }

    /// `[N]`, where each sequence ends; `None` if each has [`Sequences::steps`] steps.
    pub fn lengths(&self) -> Option<&[usize]> {
        self.padding.lengths.as_deref()
    }

    /// `[N]`, how many steps of each sequence have to be run for the loss of a causal network: up to the last step that
    /// counts. What comes after that changes neither the loss nor a gradient. `None` if each has to be run to its end, and
    /// that is after [`Sequences::steps`] steps. Of sequences of one answer, their lengths.
    ///
    /// A network that reads a sequence from its end has to run [`Sequences::lengths`].
    pub fn run_lengths(&self) -> Option<&[usize]> {
        self.run_lengths.as_deref()
    }

    /// How many steps count in the loss: those within the lengths where the mask is true.
    pub fn counted(&self) -> u64 {
        self.padding.counted((self.len(), self.answers))
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
            run_lengths: padding.run_lengths(self.answers == self.t),
            padding,
            unlike: self.unlike.clone(),
            file: self.file.clone(),
            ..*self
        }
    }

    /// `(train, valid)`: a `valid_fraction` of the sequences, drawn by `seed`, for validation; at least one on each side.
    ///
    /// # Errors
    /// [`Error::Option`] for a fraction that is not between 0 and 1; [`Error::Invalid`] for fewer than two sequences.
    pub fn split(&self, valid_fraction: f64, seed: u64) -> Result<(Self, Self)> {
        if !(valid_fraction > 0.0 && valid_fraction < 1.0) {
            let expected = "above 0 and below 1";
            return Err(Error::option("valid_fraction", valid_fraction, expected));
        }
        let n = self.len();
        if n < 2 {
            let problem = format!(
                "there is {n} in the set, expected at least 2 to keep some for validation; give more, or validate on \
                 another set, or not at all"
            );
            return Err(Error::invalid("sequences", problem));
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
