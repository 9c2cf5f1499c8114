//! What a network should answer, and where that counts: [`Targets`], [`Answers`].
//!
//! Borrowed from the caller's arrays, batch-first; of a network that answers once a sequence ([`At::Last`](crate::At)), `T` is 1 in
//! targets and mask. Knows shapes and ranges; nothing is copied here.

use crate::kernels::number::Number;
use crate::{Error, Result};
use ndarray::{Array2, Array3, ArrayView2, ArrayView3};

/// The targets of a batch.
#[derive(Clone, Copy, Debug)]
pub enum Targets<'a, T> {
    /// Class ids `[N, T]`, each below `n_y`.
    Classes(ArrayView2<'a, u32>),
    /// Numbers `[N, T, n_y]`: weights of the classes, labels from 0 to 1 or values, as the network's [`Loss`](crate::Loss) takes them.
    Values(ArrayView3<'a, T>),
}

impl<'a, T> From<&'a Array3<T>> for Targets<'a, T> {
    fn from(x: &'a Array3<T>) -> Self {
        Targets::Values(x.view())
    }
}

impl<'a, T> From<&'a Array2<u32>> for Targets<'a, T> {
    fn from(ids: &'a Array2<u32>) -> Self {
        Targets::Classes(ids.view())
    }
}

impl<T: Number> Targets<'_, T> {
    /// The answers of a sequence: `T`, or 1.
    pub fn steps(&self) -> usize {
        match self {
            Targets::Classes(ids) => ids.dim().1,
            Targets::Values(y) => y.dim().1,
        }
    }

    /// Whether they are the targets of `n` sequences of `t` steps for a network of `n_y` outputs.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Id`].
    pub fn check(&self, n_y: usize, (n, t): (usize, usize)) -> Result<()> {
        match self {
            Targets::Classes(ids) => {
                check_shape("targets", ids.shape(), &[n, t], " as the inputs")?;
                check_ids("targets", ids, n_y)
            }
            Targets::Values(y) => {
                let whose = " as the inputs and the network";
                check_shape("targets", y.shape(), &[n, t, n_y], whose)
            }
        }
    }
}

/// Whether an array has the shape that is expected of it; `whose` says what that is the shape of.
pub(crate) fn check_shape(
    what: &'static str,
    found: &[usize],
    expected: &[usize],
    whose: &str,
) -> Result<()> {
    match found == expected {
        true => Ok(()),
        false => Err(Error::shape(what, found, format!("{expected:?}{whose}"))),
    }
}

pub(crate) fn check_ids(what: &'static str, ids: &ArrayView2<'_, u32>, limit: usize) -> Result<()> {
    match ids.indexed_iter().find(|&(_, &id)| id as usize >= limit) {
        Some(((row, step), &id)) => Err(Error::Id {
            what,
            row,
            step,
            id,
            limit,
        }),
        None => Ok(()),
    }
}

/// What a network should answer, and where that counts.
#[derive(Clone, Copy, Debug)]
pub struct Answers<'a, T> {
    /// The targets.
    pub targets: Targets<'a, T>,
    /// `[N, T]`, `true` where a step counts in the loss; all of them where there is none.
    pub mask: Option<ArrayView2<'a, bool>>,
}

/// Every step counts.
impl<'a, T, A: Into<Targets<'a, T>>> From<A> for Answers<'a, T> {
    fn from(targets: A) -> Self {
        Answers {
            targets: targets.into(),
            mask: None,
        }
    }
}

impl<T: Number> Answers<'_, T> {
    /// How many of `n` sequences' `t` steps count.
    pub fn counted(&self, (n, t): (usize, usize)) -> u64 {
        match self.mask {
            Some(mask) => mask.iter().filter(|&&counts| counts).count() as u64,
            None => (n * t) as u64,
        }
    }

    /// Whether they are those of `n` sequences of `t` steps for a network of `n_y` outputs.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Id`]; [`Error::NothingCounts`] if the mask is false everywhere.
    pub fn check(&self, n_y: usize, (n, t): (usize, usize)) -> Result<()> {
        self.targets.check(n_y, (n, t))?;
        if let Some(mask) = self.mask {
            check_shape("mask", mask.shape(), &[n, t], " as the inputs")?;
        }
        match self.counted((n, t)) {
            0 => Err(Error::NothingCounts),
            _ => Ok(()),
        }
    }
}

/// Class ids `[N, T]` as distributions `[N, T, n_y]`: 1 at the class, 0 elsewhere.
///
/// # Errors
/// [`Error::Id`] for an id that is not below `n_y`.
pub fn one_hot<T: Number>(classes: ArrayView2<'_, u32>, n_y: usize) -> Result<Array3<T>> {
    check_ids("targets", &classes, n_y)?;
    let (n, t) = classes.dim();
    let mut y = Array3::zeros((n, t, n_y));
    for ((row, step), &class) in classes.indexed_iter() {
        y[[row, step, class as usize]] = T::one();
    }
    Ok(y)
}
