//! The arithmetic that every kernel is written in: [`Number`] is `f32` or `f64`.
//!
//! Imports nothing of the crate but the vectors of [`super::simd`]'s library: the kernels stand on it.

use fearless_simd::{Simd, SimdFloat, SimdFloatElement};

/// A real number type with a vector of it for every instruction set. Sealed: the accuracy bounds of the kernels exist for
/// `f32` and `f64` only.
pub trait Number:
    ndarray::NdFloat + SimdFloatElement + num_traits::ToBytes + bytemuck::Pod + Default + sealed::Sealed
{
    /// The vector type of an instruction set.
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

    /// Numbers of this type as [`Values`], for connections that add them.
    fn values(x: &mut [Self]) -> Values<'_>;
}

/// Numbers of one of two types, where a generic function will not do.
#[derive(Debug)]
pub enum Values<'a> {
    /// Single precision.
    F32(&'a mut [f32]),
    /// Double precision.
    F64(&'a mut [f64]),
}

impl Number for f32 {
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

impl Number for f64 {
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

/// What the shared exponential ([`super::exp`]) needs to know of a number type.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct ExpConstants<T: 'static> {
    /// `1 / ln 2`.
    pub(super) log2_e: T,
    /// The leading bits of `ln 2`, few enough that `k * ln2_hi` is exact for every `k` met.
    pub(super) ln2_hi: T,
    /// `ln 2 - ln2_hi`.
    pub(super) ln2_lo: T,
    /// `1.5 * 2^mantissa_bits + exponent bias`: adding it leaves `k + bias`, rounded to nearest, in the low bits.
    pub(super) magic: T,
    pub(super) mantissa_bits: u32,
    /// `1/2!, 1/3!, …`: of `exp(r) - 1 = r + r^2 (1/2! + r (1/3! + …))`.
    pub(super) taylor: &'static [T],
    /// `tanh` is 1 to the last bit from here on.
    pub(super) tanh_limit: T,
    /// Below this the exponential is zero (it would leave the normal numbers).
    pub(super) underflow: T,
}

impl ExpConstants<f32> {
    pub(super) const F32: Self = Self {
        log2_e: std::f32::consts::LOG2_E,
        ln2_hi: 355.0 / 512.0, // exact, with nine significant bits: n * ln2_hi rounds nothing
        ln2_lo: -2.121_944_4e-4,
        magic: 12_582_912.0 + 127.0,
        mantissa_bits: 23,
        taylor: &[
            0.5,
            1.0 / 6.0,
            1.0 / 24.0,
            1.0 / 120.0,
            1.0 / 720.0,
            1.0 / 5040.0,
        ],
        tanh_limit: 9.1,
        underflow: -87.0,
    };
}

impl ExpConstants<f64> {
    pub(super) const F64: Self = Self {
        log2_e: std::f64::consts::LOG2_E,
        ln2_hi: 6.931_471_803_691_238e-1,
        ln2_lo: 1.908_214_929_270_587_7e-10,
        magic: 6_755_399_441_055_744.0 + 1023.0,
        mantissa_bits: 52,
        taylor: &[
            0.5,
            1.0 / 6.0,
            1.0 / 24.0,
            1.0 / 120.0,
            1.0 / 720.0,
            1.0 / 5040.0,
            1.0 / 40320.0,
            1.0 / 362_880.0,
            1.0 / 3_628_800.0,
            1.0 / 39_916_800.0,
            1.0 / 479_001_600.0,
            1.0 / 6_227_020_800.0,
        ],
        tanh_limit: 19.1,
        underflow: -708.0,
    };
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}
