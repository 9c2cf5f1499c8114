//! The one numeric bound of the crate: [`Scalar`] is `f32` or `f64`.
//!
//! It names what the rest needs of a number (arithmetic from `ndarray`, a vector of them for the kernels, the
//! products of BLAS) and knows nothing of networks.

use crate::activation::ExpConstants;
use fearless_simd::{Simd, SimdFloat, SimdFloatElement};

/// A real number type a network can be computed in: `f32` (the default everywhere) or `f64`.
///
/// Sealed: the foreign products and the accuracy bounds of the kernels exist for these two only.
pub trait Scalar:
    ndarray::NdFloat + SimdFloatElement + num_traits::ToBytes + Default + sealed::Sealed
{
    /// As many of them as one instruction of `S` takes.
    type Vector<S: Simd>: SimdFloat<S, Element = Self>;

    /// The name of the type as the program and the model file spell it: `"f32"` or `"f64"`.
    const NAME: &'static str;

    /// What the exponential's range reduction and polynomial need at this precision.
    #[doc(hidden)]
    const EXP: ExpConstants<Self>;

    /// `x`, rounded to this type.
    fn from_f64(x: f64) -> Self;

    /// `self`, exactly.
    fn as_f64(self) -> f64;

    /// The foreign general matrix product, row-major: `C = alpha op(A) op(B) + beta C`.
    #[doc(hidden)]
    fn gemm(call: crate::blas::Gemm<'_, Self>);
}

impl Scalar for f32 {
    type Vector<S: Simd> = S::f32s;
    const NAME: &'static str = "f32";
    const EXP: ExpConstants<f32> = ExpConstants::F32;

    fn from_f64(x: f64) -> f32 {
        x as f32
    }

    fn as_f64(self) -> f64 {
        f64::from(self)
    }

    fn gemm(call: crate::blas::Gemm<'_, f32>) {
        call.sgemm();
    }
}

impl Scalar for f64 {
    type Vector<S: Simd> = S::f64s;
    const NAME: &'static str = "f64";
    const EXP: ExpConstants<f64> = ExpConstants::F64;

    fn from_f64(x: f64) -> f64 {
        x
    }

    fn as_f64(self) -> f64 {
        self
    }

    fn gemm(call: crate::blas::Gemm<'_, f64>) {
        call.dgemm();
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}
