//! The numbers of a network as one flat buffer: [`Parameters`].
//!
//! Weights, gradients and an optimiser's moments are the same type, so that reducing, updating, clipping, saving and sending
//! them is one loop each. Where which tensor lies is said by the table of [`crate::architecture`].

use crate::architecture::{Architecture, Tensor, Which};
use crate::{Error, Result, Scalar};
use ndarray::{ArrayView2, ArrayViewMut2};

/// The parameters of a network, or anything of the same shape: gradients, moments.
///
/// ```
/// use bptt::architecture::Which;
/// use bptt::{Architecture, Head, Input, Parameters};
///
/// let mut p = Parameters::<f32>::zeros(Architecture::new(Input::Features(3), 8, Head::softmax(2)));
/// p.matrix_mut(Which::WeightHh(0))[[1, 2]] = 0.5;
/// assert_eq!(p.norm(), 0.5);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters<T> {
    architecture: Architecture,
    data: Vec<T>,
}

impl<T: Scalar> Parameters<T> {
    /// All zero.
    ///
    /// # Panics
    /// If [`Architecture::check`] refuses the architecture.
    pub fn zeros(architecture: Architecture) -> Self {
        let checked = architecture.check();
        checked.expect("an architecture that was checked");
        Parameters {
            data: vec![T::zero(); architecture.len()],
            architecture,
        }
    }

    /// From a flat buffer in the order of [`Architecture::tensors`], each row-major.
    ///
    /// # Errors
    /// As [`Architecture::check`]; [`Error::Shape`] if the buffer's length is not [`Architecture::len`].
    pub fn from_vec(architecture: Architecture, data: Vec<T>) -> Result<Self> {
        architecture.check()?;
        if data.len() != architecture.len() {
            let expected = format!("{} values for {architecture}", architecture.len());
            return Err(Error::shape("parameters", &[data.len()], expected));
        }
        Ok(Parameters { architecture, data })
    }

    /// What they are the parameters of.
    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// All of them, in the order of [`Architecture::tensors`].
    pub fn as_slice(&self) -> &[T] {
        &self.data
    }

    /// All of them, to write to.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.data
    }

    /// The elements of one tensor.
    pub fn get(&self, which: Which) -> &[T] {
        &self.data[self.architecture.tensor(which).range()]
    }

    /// The elements of one tensor, to write to.
    pub fn get_mut(&mut self, which: Which) -> &mut [T] {
        &mut self.data[self.architecture.tensor(which).range()]
    }

    /// One tensor with its shape; a bias is a matrix of one row.
    pub fn matrix(&self, which: Which) -> ArrayView2<'_, T> {
        let Tensor { rows, columns, .. } = self.architecture.tensor(which);
        ArrayView2::from_shape((rows, columns), self.get(which)).expect("a tensor has its size")
    }

    /// The same, to write to.
    pub fn matrix_mut(&mut self, which: Which) -> ArrayViewMut2<'_, T> {
        let Tensor { rows, columns, .. } = self.architecture.tensor(which);
        let elements = self.get_mut(which);
        ArrayViewMut2::from_shape((rows, columns), elements).expect("a tensor has its size")
    }

    /// Each tensor with its elements.
    pub fn iter(&self) -> impl Iterator<Item = (Tensor, &[T])> {
        let tensors = self.architecture.tensors();
        tensors.map(|tensor| (tensor, &self.data[tensor.range()]))
    }

    /// The same values in another number type, rounded where it is narrower.
    pub fn cast<U: Scalar>(&self) -> Parameters<U> {
        Parameters {
            architecture: self.architecture,
            data: self.data.iter().map(|x| U::from_f64(x.as_f64())).collect(),
        }
    }

    /// Whether every value is a finite number.
    pub fn all_finite(&self) -> bool {
        self.data.iter().all(|value| value.is_finite())
    }

    /// The Euclidean norm of all values, summed in `f64`, in order.
    pub fn norm(&self) -> f64 {
        let squares = self.data.iter().map(|x| x.as_f64() * x.as_f64());
        squares.sum::<f64>().sqrt()
    }
}
