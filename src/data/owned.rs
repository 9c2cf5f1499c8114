//! The arrays that a set is made of, and what they must hold: [`OwnedInputs`], [`OwnedTargets`]; and what the numbers of
//! targets can be: [`TargetKind`].

use super::padding::Padding;
use crate::ranks::{Ranks, broadcast_values};
use crate::{Error, Inputs, Loss, Result, Scalar};
use ndarray::{Array, Array2, Array3, Dimension};
use num_traits::Zero;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How far from 1 a distribution may sum: the rounding of `f16` probabilities of many classes, not a wrong array.
const SUM_TOLERANCE: f64 = 1e-3;

/// The inputs of a set, `Inputs` that own their arrays.
#[derive(Clone, Debug, PartialEq)]
pub enum OwnedInputs<T> {
    /// Features `[N, T, n_x]`.
    Dense(Array3<T>),
    /// Token ids `[N, T]`.
    Tokens(Array2<u32>),
}

/// The targets of a set, `Targets` that own their arrays; where there is one answer a sequence, `T` is 1.
#[derive(Clone, Debug, PartialEq)]
pub enum OwnedTargets<T> {
    /// Numbers `[N, T, n_y]`: distributions, labels or values.
    Values(Array3<T>),
    /// Class ids `[N, T]`.
    Classes(Array2<u32>),
}

/// What targets are, as far as their type and numbers tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// Ids of classes.
    Classes,
    /// Weights of classes, none negative, which sum to 1.
    Distributions,
    /// 0 or 1 for each of several labels.
    Labels,
    /// Any numbers.
    Numbers,
}

impl TargetKind {
    /// The loss that suits them.
    pub fn loss(self) -> Loss {
        match self {
            TargetKind::Classes | TargetKind::Distributions => Loss::CrossEntropy,
            TargetKind::Labels => Loss::Binary,
            TargetKind::Numbers => Loss::Mse,
        }
    }
}

/// `integer classes` and the like.
impl fmt::Display for TargetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TargetKind::Classes => "integer classes",
            TargetKind::Distributions => "distributions over classes",
            TargetKind::Labels => "labels of 0 and 1",
            TargetKind::Numbers => "numbers",
        })
    }
}

/// What targets are no part of, each with the first place that shows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Unlike {
    pub distributions: Option<String>,
    pub labels: Option<String>,
    /// Numbers from 0 to 1.
    pub probabilities: Option<String>,
}

impl Unlike {
    /// What is known, and what other rows of the same set show.
    pub fn or(self, other: Self) -> Self {
        Unlike {
            distributions: self.distributions.or(other.distributions),
            labels: self.labels.or(other.labels),
            probabilities: self.probabilities.or(other.probabilities),
        }
    }

    /// What all ranks know, the first of them first.
    pub fn of_all(self, ranks: &dyn Ranks) -> Self {
        let own = serde_json::to_vec(&self).expect("strings are JSON");
        let of_rank = |rank| serde_json::from_slice(&broadcast_values(ranks, &own, rank));
        let all = (0..ranks.size()).map(|rank| of_rank(rank).expect("what a rank has found"));
        all.fold(Unlike::default(), Unlike::or)
    }

    /// Adds what `target` at this place shows.
    fn look<T: Scalar>(&mut self, place: &[usize], target: &[T]) {
        let [zero, one] = [T::zero(), T::one()];
        let first = |is_wrong: &dyn Fn(T) -> bool, expected: &str| {
            let wrong = target.iter().find(|&&x| is_wrong(x))?;
            Some(format!("{place:?}: {wrong}{expected}"))
        };
        if self.labels.is_none() {
            self.labels = first(&|x| x != zero && x != one, ", expected 0 or 1");
        }
        if self.probabilities.is_none() {
            self.probabilities = first(&|x| x < zero || x > one, ", expected 0 to 1");
        }
        if self.distributions.is_none() {
            let sum: f64 = target.iter().map(|p| p.as_f64()).sum();
            let problem = " in a distribution, expected no negative number";
            self.distributions = first(&|p| p < zero, problem).or_else(|| {
                ((sum - 1.0).abs() > SUM_TOLERANCE).then(|| {
                    format!(
                        "{place:?}: the distribution sums to {sum}, expected 1; normalise it, or mask the step"
                    )
                })
            });
        }
    }
}

impl<T: Scalar> OwnedInputs<T> {
    /// `(N, T)`.
    pub fn sequences(&self) -> (usize, usize) {
        self.view().sequences()
    }

    /// The arrays, borrowed.
    pub fn view(&self) -> Inputs<'_, T> {
        match self {
            OwnedInputs::Dense(x) => x.into(),
            OwnedInputs::Tokens(ids) => ids.into(),
        }
    }

    /// Inputs in C order, zero where a sequence has no step, not empty, and every number finite; errors count rows from
    /// `first_row`.
    pub(super) fn checked(self, padding: &Padding, first_row: usize) -> Result<Self> {
        let shape = match &self {
            OwnedInputs::Dense(x) => x.shape(),
            OwnedInputs::Tokens(ids) => ids.shape(),
        };
        if shape.contains(&0) {
            return Err(Error::shape("inputs", shape, "no axis of length 0"));
        }
        let used = |row, step| padding.has(row, step);
        Ok(match self {
            OwnedInputs::Dense(x) => {
                OwnedInputs::Dense(finite("inputs", zero_unless(used, x), first_row)?)
            }
            OwnedInputs::Tokens(ids) => OwnedInputs::Tokens(zero_unless(used, ids)),
        })
    }
}

impl<T: Scalar> OwnedTargets<T> {
    pub(super) fn shape(&self) -> &[usize] {
        match self {
            OwnedTargets::Values(y) => y.shape(),
            OwnedTargets::Classes(ids) => ids.shape(),
        }
    }

    /// Targets in C order, zero where they do not count, and every number finite; errors count rows from `first_row`. And what
    /// they are not.
    pub(super) fn checked(self, padding: &Padding, first_row: usize) -> Result<(Self, Unlike)> {
        let counts = |row, step| padding.counts(row, step);
        let mut unlike = Unlike::default();
        Ok(match self {
            OwnedTargets::Classes(ids) => (OwnedTargets::Classes(zero_unless(counts, ids)), unlike),
            OwnedTargets::Values(y) => {
                let y = finite("targets", zero_unless(counts, y), first_row)?;
                let (_, t, n_y) = y.dim();
                let steps = y.as_slice().expect("in C order").chunks_exact(n_y);
                for (i, target) in steps.enumerate() {
                    if counts(i / t, i % t) {
                        unlike.look(&[first_row + i / t, i % t], target);
                    }
                }
                (OwnedTargets::Values(y), unlike)
            }
        })
    }
}

/// An array `[N, T, ..]` in C order, and zero at each row and step where `used` is false.
fn zero_unless<A: Clone + Zero, D: Dimension>(
    used: impl Fn(usize, usize) -> bool,
    array: Array<A, D>,
) -> Array<A, D> {
    let mut array = match array.is_standard_layout() {
        true => array,
        false => array.as_standard_layout().into_owned(),
    };
    let (n, t) = (array.shape()[0], array.shape()[1]);
    let width = array.len() / (n * t);
    let values = array.as_slice_mut().expect("in C order");
    for (i, values) in values.chunks_exact_mut(width).enumerate() {
        if !used(i / t, i % t) {
            values.fill(A::zero());
        }
    }
    array
}

/// The array, if every number in it is finite.
fn finite<T: Scalar>(what: &str, array: Array3<T>, first_row: usize) -> Result<Array3<T>> {
    match array.indexed_iter().find(|(_, value)| !value.is_finite()) {
        Some(((row, step, k), value)) => Err(Error::NotFinite {
            what: what.to_owned(),
            value: value.as_f64(),
            position: vec![first_row + row, step, k],
        }),
        None => Ok(array),
    }
}
