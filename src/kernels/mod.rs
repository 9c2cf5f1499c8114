//! The arithmetic that takes the time, for `f32` and `f64` and whatever vectors the processor has.
//!
//! Knows rows and matrices; knows nothing of networks. In the order in which the files stand on each other:
//! `number`, `simd`, `exp`, `softmax`, `rows`, `packed`, `blas`.

pub mod blas;
pub(crate) mod exp;
pub(crate) mod number;
pub(crate) mod packed;
pub(crate) mod rows;
pub mod simd;
pub(crate) mod softmax;
