//! Section 0 of the notebook: [`Tanh`] and [`softmax`] of arrays.

use crate::Scalar;
use crate::kernels::simd;
use ndarray::{Array, ArrayRef, Dimension, RemoveAxis};

/// The activation of the hidden layer, element by element.
///
/// ```
/// use bptt::notebook::Tanh;
/// use ndarray::array;
///
/// let x = array![[0.0, 1.0], [-1.0, 100.0]];
/// assert_eq!(Tanh.forward(&x)[[1, 1]], 1.0);
/// assert_eq!(Tanh.derivative(&x)[[0, 0]], 1.0);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Tanh;

impl Tanh {
    /// `tanh(x)`, of any shape.
    pub fn forward<T: Scalar, D: Dimension>(&self, x: &ArrayRef<T, D>) -> Array<T, D> {
        let mut y = x.as_standard_layout().into_owned();
        T::tanh_in_place(simd::level(), elements(&mut y));
        y
    }

    /// `1 - tanh(x)^2`, of any shape.
    pub fn derivative<T: Scalar, D: Dimension>(&self, x: &ArrayRef<T, D>) -> Array<T, D> {
        self.forward(x).mapv_into(|y| T::one() - y * y)
    }
}

/// `exp(x) / sum exp(x)` over the last axis; the maximum is taken off first, so that no exponential overflows.
///
/// ```
/// use bptt::notebook::softmax;
/// use ndarray::array;
///
/// assert_eq!(softmax(&array![[0.0, 0.0], [1e4, -1e4]]), array![[0.5, 0.5], [1.0, 0.0]]);
/// ```
pub fn softmax<T: Scalar, D: RemoveAxis>(x: &ArrayRef<T, D>) -> Array<T, D> {
    let mut y = x.as_standard_layout().into_owned();
    let classes = x.shape().last().copied().unwrap_or(1);
    if classes > 0 {
        T::softmax(simd::level(), elements(&mut y), classes);
    }
    y
}

/// The elements of an array in standard layout.
fn elements<T, D: Dimension>(array: &mut Array<T, D>) -> &mut [T] {
    array.as_slice_mut().expect("standard layout")
}
