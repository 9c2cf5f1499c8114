//! What a network is trained on: [`Batch`], [`Inputs`] and [`Answers`] with lengths, borrowed from the caller's arrays, batch-first.
//!
//! Lengths and mask are two things: a length says where a sequence ends, a mask which of its steps count in the loss.
//! Knows shapes and ranges; nothing is copied here.

use crate::architecture::{Architecture, At, Input};
use crate::heads::Loss;
use crate::targets::{Answers, Targets, check_ids};
use crate::{Error, Result, Scalar};
use ndarray::{Array2, Array3, ArrayView2, ArrayView3, s};

/// The inputs of a batch.
#[derive(Clone, Copy, Debug)]
pub enum Inputs<'a, T> {
    /// Any real features `[N, T, n_x]`.
    Dense(ArrayView3<'a, T>),
    /// Token ids `[N, T]`, each below `n_x`: one-hot rows without the rows.
    Tokens(ArrayView2<'a, u32>),
}

impl<'a, T> From<&'a Array3<T>> for Inputs<'a, T> {
    fn from(x: &'a Array3<T>) -> Self {
        Inputs::Dense(x.view())
    }
}

impl<'a, T> From<&'a Array2<u32>> for Inputs<'a, T> {
    fn from(ids: &'a Array2<u32>) -> Self {
        Inputs::Tokens(ids.view())
    }
}

impl<T: Scalar> Inputs<'_, T> {
    /// `(N, T)`.
    pub fn sequences(&self) -> (usize, usize) {
        match self {
            Inputs::Dense(x) => (x.dim().0, x.dim().1),
            Inputs::Tokens(ids) => ids.dim(),
        }
    }

    /// The same, borrowed for a shorter time: the compiler does not shorten what ndarray's views borrow.
    pub(crate) fn reborrow(&self) -> Inputs<'_, T> {
        match self {
            Inputs::Dense(x) => Inputs::Dense(x.view()),
            Inputs::Tokens(ids) => Inputs::Tokens(ids.view()),
        }
    }

    /// Whether a network with this input can read them.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Id`].
    pub fn check(&self, input: Input) -> Result<()> {
        let ((n, t), n_x) = (self.sequences(), input.size());
        let (found, fits) = match self {
            Inputs::Dense(x) => (x.shape(), x.dim().2 == n_x),
            Inputs::Tokens(ids) => (ids.shape(), true),
        };
        let expected = match (input.is_tokens(), self) {
            (true, Inputs::Dense(_)) => {
                format!("[N, T] ids, for the network reads one of {n_x} tokens a step")
            }
            (false, Inputs::Tokens(_)) => {
                format!("[N, T, {n_x}], for the network reads {n_x} features a step")
            }
            (true, Inputs::Tokens(ids)) if n > 0 && t > 0 => return check_ids("inputs", ids, n_x),
            (false, Inputs::Dense(_)) if n > 0 && t > 0 && fits => return Ok(()),
            (true, _) => "[N, T] with N and T at least 1".into(),
            (false, _) => format!("[N, T, {n_x}] with N and T at least 1"),
        };
        Err(Error::shape("inputs", found, expected))
    }
}

/// Sequences with their targets, and which of their steps count.
///
/// ```
/// use bptt::{Architecture, Batch, Head, Input};
/// use ndarray::array;
///
/// let (inputs, targets) = (array![[0u32, 1, 2]], array![[1u32, 2, 0]]);
/// let batch = Batch::<f32>::new(&inputs, &targets);
/// assert_eq!(batch.counted(), 3);
/// let last_step_only = array![[false, false, true]];
/// assert_eq!(batch.with_mask(last_step_only.view()).counted(), 1);
/// let network = Architecture::new(Input::Tokens(2), 8, Head::softmax(3));
/// assert!(batch.check(&network).is_err()); // token 2 of an alphabet of two
/// # Ok::<(), bptt::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a, T> {
    /// What the network reads.
    pub inputs: Inputs<'a, T>,
    /// What it should answer.
    pub answers: Answers<'a, T>,
    /// The steps of each sequence, `[N]`, from 0 to `T`; all `T`, where there are none. A sequence's state is that after
    /// its own last step.
    pub lengths: Option<&'a [usize]>,
}

impl<'a, T: Scalar> Batch<'a, T> {
    /// All steps count.
    pub fn new(inputs: impl Into<Inputs<'a, T>>, targets: impl Into<Targets<'a, T>>) -> Self {
        Batch {
            inputs: inputs.into(),
            answers: targets.into().into(),
            lengths: None,
        }
    }

    /// Sequence `n` has the first `lengths[n]` of the `T` steps; time is spent on these alone.
    ///
    /// ```
    /// use bptt::Batch;
    /// use ndarray::array;
    ///
    /// let (inputs, targets) = (array![[0u32, 1, 2], [2, 9, 9]], array![[1u32, 2, 0], [0, 9, 9]]);
    /// assert_eq!(Batch::<f32>::new(&inputs, &targets).with_lengths(&[3, 1]).counted(), 4);
    /// ```
    pub fn with_lengths(mut self, lengths: &'a [usize]) -> Self {
        self.lengths = Some(lengths);
        self
    }

    /// Only the steps where `mask [N, T]` is true count.
    pub fn with_mask(mut self, mask: ArrayView2<'a, bool>) -> Self {
        self.answers.mask = Some(mask);
        self
    }

    /// How many answers count: steps, or sequences that are answered once.
    pub fn counted(&self) -> u64 {
        let (n, t) = self.inputs.sequences();
        match (self.lengths, self.answers.mask) {
            (_, _) if self.answers.targets.steps() != t => self.answers.counted((n, 1)),
            (None, _) => self.answers.counted((n, t)),
            (Some(lengths), None) => lengths.iter().map(|&length| length as u64).sum(),
            (Some(lengths), Some(mask)) => (mask.rows().into_iter().zip(lengths))
                .map(|(row, &length)| {
                    row.iter().take(length).filter(|&&counts| counts).count() as u64
                })
                .sum(),
        }
    }

    /// The mask of the answers that count, lengths and mask together; `None` where all do.
    pub fn counts(&self) -> Option<Array2<bool>> {
        let (n, t) = self.inputs.sequences();
        if self.answers.targets.steps() != t {
            return self.answers.mask.map(|mask| mask.to_owned());
        }
        let mut mask = match self.answers.mask {
            Some(mask) => mask.to_owned(),
            None if self.lengths.is_none() => return None,
            None => Array2::from_elem((n, t), true),
        };
        let rows = mask.rows_mut().into_iter();
        for (mut row, &length) in rows.zip(self.lengths.unwrap_or_default()) {
            row.slice_mut(s![length..]).fill(false);
        }
        Some(mask)
    }

    /// Whether inputs, targets, mask and lengths fit each other and a network.
    ///
    /// Ids beyond the lengths are looked at as well: give them 0.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Id`] of the first that does not; [`Error::Invalid`] for targets of another kind than the
    /// network's loss takes; [`Error::NothingCounts`].
    pub fn check(&self, architecture: &Architecture) -> Result<()> {
        self.inputs.check(architecture.input)?;
        let (n, t) = self.inputs.sequences();
        let head = architecture.head;
        self.answers.check(head.outputs, (n, head.at.answers(t)))?;
        check_lengths(self.lengths, (n, t), head.at)?;
        self.check_kind(head.loss)?;
        match self.counted() {
            0 => Err(Error::NothingCounts),
            _ => Ok(()),
        }
    }

    /// Whether the targets that count are of the kind that a loss takes.
    fn check_kind(&self, loss: Loss) -> Result<()> {
        match (loss, &self.answers.targets) {
            (Loss::CrossEntropy, _) | (Loss::Mse | Loss::Huber, Targets::Values(_)) => Ok(()),
            (Loss::Binary, Targets::Values(y)) => {
                for ((row, step, k), y) in y.indexed_iter() {
                    let is_label = (T::zero()..=T::one()).contains(y);
                    if !is_label && self.has_answer(row, step) {
                        let expected = "a label is from 0 to 1";
                        let problem = format!("[{row}, {step}, {k}] is {y}: {expected}");
                        return Err(Error::invalid("targets", problem));
                    }
                }
                Ok(())
            }
            (_, Targets::Classes(_)) => {
                let (title, answers) = (loss.title(), loss.answers());
                let takes = format!("the network's loss, {title}, takes {answers}");
                let problem = format!("they are ids of classes, and {takes}");
                Err(Error::invalid("targets", problem))
            }
        }
    }

    /// Whether an answer counts.
    fn has_answer(&self, row: usize, step: usize) -> bool {
        let masked = self.answers.mask.is_some_and(|mask| !mask[[row, step]]);
        // Of one answer a sequence, which has steps, lengths say nothing.
        !masked && self.lengths.is_none_or(|lengths| lengths[row] > step)
    }
}

/// Whether lengths, if there are any, are those of `n` sequences of at most `t` steps, and of at least one where the last is to be
/// answered.
pub(crate) fn check_lengths(
    lengths: Option<&[usize]>,
    (n, t): (usize, usize),
    at: At,
) -> Result<()> {
    let Some(lengths) = lengths else {
        return Ok(());
    };
    let longest = lengths.iter().copied().max().unwrap_or(0);
    if lengths.len() != n || longest > t {
        let expected = format!("[{n}] numbers of at most {t}, as the inputs");
        return Err(Error::shape("lengths", &[lengths.len(), longest], expected));
    }
    match lengths.iter().position(|&length| length == 0) {
        Some(row) if at == At::Last => {
            let why = "the network answers at a sequence's last step: leave such sequences out";
            let problem = format!("[{row}] is 0, and {why}");
            Err(Error::invalid("lengths", problem))
        }
        _ => Ok(()),
    }
}
