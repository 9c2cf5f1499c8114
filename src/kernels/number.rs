//! The arithmetic that every kernel is written in: [`Number`] is `f32` or `f64`.
//!
//! Imports nothing of the crate but the vectors of [`super::simd`]'s library: the kernels stand on it.

use fearless_simd::{Simd, SimdFloat, SimdFloatElement};

/// A real number type with a vector of it for every instruction set. Sealed: the accuracy bounds of the kernels exist for
/// `f32` and `f64` only.
pub trait Number:
    ndarray::NdFloat + SimdFloatElement + bytemuck::Pod + Default + sealed::Sealed
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

/// `[1/2!, 1/3!, ...]`: the factorials are exact.
macro_rules! inverse_factorials {
    ($t:ty, $count:literal) => {{
        let (mut terms, mut factorial, mut i) = ([0.0; $count], 1.0 as $t, 0);
        while i < $count {
            factorial *= (i + 2) as $t;
            terms[i] = 1.0 / factorial;
            i += 1;
        }
        terms
    }};
}

macro_rules! number {
    ($t:ident, $vector:ident, $values:ident, $constants:expr) => {
        impl Number for $t {
            type Vector<S: Simd> = S::$vector;
            const NAME: &'static str = stringify!($t);
            const EXP: ExpConstants<$t> = $constants;

            fn from_f64(x: f64) -> $t {
                x as $t
            }

            fn as_f64(self) -> f64 {
                f64::from(self)
            }

            fn values(x: &mut [$t]) -> Values<'_> {
                Values::$values(x)
            }
        }

        impl sealed::Sealed for $t {}
    };
}

number!(f32, f32s, F32, {
    const TAYLOR: [f32; 6] = inverse_factorials!(f32, 6);
    ExpConstants {
        log2_e: std::f32::consts::LOG2_E,
        ln2_hi: 355.0 / 512.0, // exact, with nine significant bits: n * ln2_hi rounds nothing
        ln2_lo: -2.121_944_4e-4,
        magic: 12_582_912.0 + 127.0,
        mantissa_bits: 23,
        taylor: &TAYLOR,
        tanh_limit: 9.1,
        underflow: -87.0,
    }
});

number!(f64, f64s, F64, {
    const TAYLOR: [f64; 12] = inverse_factorials!(f64, 12);
    ExpConstants {
        log2_e: std::f64::consts::LOG2_E,
        ln2_hi: 6.931_471_803_691_238e-1,
        ln2_lo: 1.908_214_929_270_587_7e-10,
        magic: 6_755_399_441_055_744.0 + 1023.0,
        mantissa_bits: 52,
        taylor: &TAYLOR,
        tanh_limit: 19.1,
        underflow: -708.0,
    }
});

mod sealed {
    pub trait Sealed {}
}
