//! The one numeric bound of the crate: [`Scalar`] is `f32` or `f64`, with the kernels of networks.

use crate::cells::{self, Backward, Cell, Forward};
use crate::heads::{self, Loss, LossStep, Metrics};
use crate::kernels::blas::Blas;
use crate::kernels::exp;
use crate::kernels::number::Number;
use crate::kernels::packed::{self, Out, Source, Start};
use crate::kernels::rows::{self, Rows};
use crate::kernels::softmax;
use fearless_simd::Level;

/// Makes the trait of a table of kernels, and names each of them for each type.
macro_rules! kernels {
    ($(#[$doc:meta])* $(fn $name:ident($($arg:ident: $type:ty),*) $(-> $found:ty)? = $kernel:path;)*) => {
        $(#[$doc])*
        pub trait Scalar: Number + Blas {
            $(#[doc(hidden)] fn $name($($arg: $type),*) $(-> $found)?;)*
        }
        impl Scalar for f32 {
            $(fn $name($($arg: $type),*) $(-> $found)? { $kernel($($arg),*) })*
        }
        impl Scalar for f64 {
            $(fn $name($($arg: $type),*) $(-> $found)? { $kernel($($arg),*) })*
        }
    };
}

kernels! {
    /// A real number type a network can be computed in: `f32` (the default everywhere) or `f64`.
    ///
    /// It names the kernels for each type. They are generic code; named here, they are compiled into this crate once, and not
    /// again into every program that trains something, which would take minutes.
    fn multiply(level: Level, start: Start<'_, Self>, sources: &[Source<'_, Self>], out: Out<'_, Self>) = packed::product;
    fn sum_rows(level: Level, rows: Rows<'_, Self>, sums: &mut [Self]) = rows::sum_rows;
    fn tanh_in_place(level: Level, x: &mut [Self]) = exp::tanh_at;
    fn softmax(level: Level, u: &mut [Self], n: usize) = softmax::softmax_at;
    fn respond(level: Level, loss: Loss, u: &mut [Self], n_y: usize) = heads::respond;
    fn judge(level: Level, loss: Loss, u: &mut [Self], step: LossStep<'_, '_, Self>) -> Metrics = heads::kernel;
    fn cell_forward(cell: Cell, level: Level, n_h: usize, rows: Forward<'_, Self>) = cells::forward;
    fn cell_backward(cell: Cell, level: Level, n_h: usize, rows: Backward<'_, Self>) = cells::backward;
}
