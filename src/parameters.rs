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
        architecture
            .check()
            .expect("an architecture that was checked");
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
            return Err(Error::Shape {
                what: "parameters",
                found: vec![data.len()],
                expected: format!("{} values for {architecture}", architecture.len()),
            });
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
        ArrayViewMut2::from_shape((rows, columns), self.get_mut(which))
            .expect("a tensor has its size")
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
        self.data
            .iter()
            .map(|x| x.as_f64() * x.as_f64())
            .sum::<f64>()
            .sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Head, Input};

    #[test]
    fn every_tensor_is_its_own_slice() {
        let architecture = Architecture::new(Input::Features(2), 3, Head::softmax(4));
        let numbers = (0..architecture.len()).map(|i| i as f64).collect();
        let mut p = Parameters::from_vec(architecture, numbers).unwrap();
        assert_eq!(p.matrix(Which::WeightIh(0))[[2, 1]], 5.0);
        assert_eq!(p.matrix(Which::WeightHh(0))[[0, 0]], 6.0);
        assert_eq!(p.matrix(Which::Decoder)[[3, 2]], 26.0);
        assert_eq!(
            (p.get(Which::Bias(0))[0], p.get(Which::DecoderBias)[3]),
            (27.0, 33.0)
        );
        for (tensor, elements) in p.iter() {
            assert_eq!(elements, p.get(tensor.which), "{:?}", tensor.which);
        }
        p.matrix_mut(Which::Decoder)[[0, 0]] = -1.0;
        assert_eq!(p.as_slice()[15], -1.0);
        assert!(Parameters::from_vec(architecture, vec![0.0f32; 4]).is_err());
    }
}
