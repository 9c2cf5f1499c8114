//! The arrays that a set is made of, and what they must hold: [`OwnedInputs`], [`OwnedTargets`].

use super::padding::Padding;
use crate::{Error, Inputs, Result, Scalar};
use ndarray::{Array, Array2, Array3, Dimension};
use num_traits::Zero;

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
    /// Numbers `[N, T, n_y]`: distributions, labels or values.
    Values(Array3<T>),
    /// Class ids `[N, T]`.
    Classes(Array2<u32>),
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
            return Err(Error::Shape {
                what: "inputs",
                found: shape.to_vec(),
                expected: "no axis of length 0".to_owned(),
            });
        }
        padding.check((shape[0], shape[1]), first_row)?;
        let used = |row, step| padding.has(row, step);
        Ok(match self {
            OwnedInputs::Dense(x) => {
                let x = zero_unless(used, x);
                check_finite("inputs", &x, first_row)?;
                OwnedInputs::Dense(x)
            }
            OwnedInputs::Tokens(ids) => OwnedInputs::Tokens(zero_unless(used, ids)),
        })
    }
}

impl<T: Scalar> OwnedTargets<T> {
    /// Targets of `n` sequences of `t` steps in C order, zero where a step does not count, and a distribution everywhere
    /// else if they are none of classes; errors count rows from `first_row`.
    pub(super) fn checked(
        self,
        (n, t): (usize, usize),
        padding: &Padding,
        first_row: usize,
    ) -> Result<Self> {
        let shape = match &self {
            OwnedTargets::Classes(ids) => ids.shape(),
            OwnedTargets::Values(y) => y.shape(),
        };
        if shape[..2] != [n, t] || shape.contains(&0) {
            return Err(Error::Shape {
                what: "targets",
                found: shape.to_vec(),
                expected: format!("{n} sequences of {t} steps as the inputs"),
            });
        }
        let counts = |row, step| padding.counts(row, step);
        Ok(match self {
            OwnedTargets::Classes(ids) => OwnedTargets::Classes(zero_unless(counts, ids)),
            OwnedTargets::Values(y) => {
                let y = zero_unless(counts, y);
                check_distributions(&y, counts, first_row)?;
                OwnedTargets::Values(y)
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

/// Whether the targets of every step that counts are a distribution.
fn check_distributions<T: Scalar>(
    y: &Array3<T>,
    counts: impl Fn(usize, usize) -> bool,
    first_row: usize,
) -> Result<()> {
    check_finite("targets", y, first_row)?;
    for (i, distribution) in y.rows().into_iter().enumerate() {
        let (row, step) = (i / y.dim().1, i % y.dim().1);
        if !counts(row, step) {
            continue;
        }
        let invalid = |problem: String| {
            Error::invalid(
                "targets",
                format!("[{}, {step}]: {problem}", first_row + row),
            )
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
