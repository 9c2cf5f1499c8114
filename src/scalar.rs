//! The one numeric bound of the crate: [`Scalar`] is `f32` or `f64`.
//!
//! It names what the rest needs of a number (arithmetic from `ndarray`, a vector of them for the kernels, the kernels
//! themselves) and knows nothing of networks.

use crate::activation::{self, ExpConstants};
use crate::backward;
use crate::blas::Gemm;
use crate::loss::{self, LossStep, Tally};
use crate::packed::Job;
use crate::ranks::Values;
use fearless_simd::{Level, Simd, SimdFloat, SimdFloatElement};

/// A real number type a network can be computed in: `f32` (the default everywhere) or `f64`.
///
/// Sealed: the foreign products and the accuracy bounds of the kernels exist for these two only.
pub trait Scalar:
    ndarray::NdFloat
    + SimdFloatElement
    + num_traits::ToBytes
    + bytemuck::Pod
    + Default
    + sealed::Sealed
    + Kernels
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

    /// Numbers of this type, for ranks to add.
    fn values(x: &mut [Self]) -> Values<'_>;
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

    fn values(x: &mut [f32]) -> Values<'_> {
        Values::F32(x)
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

    fn values(x: &mut [f64]) -> Values<'_> {
        Values::F64(x)
    }
}

/// The kernels of a number type, as the rest calls them.
///
/// They are generic code; named here for each type, they are compiled into this crate once, and not again into every
/// program that trains something: that would take each of them a minute.
#[doc(hidden)]
pub trait Kernels: Sized {
    fn gemm(call: Gemm<'_, Self>);
    fn run_product(level: Level, job: Job<'_, Self>, out: &mut [Self]);
    fn run_tanh(level: Level, x: &mut [Self]);
    fn run_softmax(level: Level, u: &mut [Self], n: usize);
    fn run_cross_entropy(level: Level, u: &mut [Self], step: LossStep<'_, '_, Self>) -> Tally;
    fn run_sum_rows(level: Level, rows: &[Self], sums: &mut [Self]);
}

macro_rules! kernels {
    ($t:ty, $gemm:ident) => {
        impl Kernels for $t {
            fn gemm(call: Gemm<'_, $t>) {
                call.$gemm();
            }
            fn run_product(level: Level, job: Job<'_, $t>, out: &mut [$t]) {
                job.dispatch(level, out);
            }
            fn run_tanh(level: Level, x: &mut [$t]) {
                activation::tanh_kernel(level, x);
            }
            fn run_softmax(level: Level, u: &mut [$t], n: usize) {
                activation::softmax_kernel(level, u, n);
            }
            fn run_cross_entropy(level: Level, u: &mut [$t], step: LossStep<'_, '_, $t>) -> Tally {
                loss::kernel(level, u, step)
            }
            fn run_sum_rows(level: Level, rows: &[$t], sums: &mut [$t]) {
                backward::sum_rows_kernel(level, rows, sums);
            }
        }
    };
}
kernels!(f32, sgemm);
kernels!(f64, dgemm);

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}
