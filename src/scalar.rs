//! The one numeric bound of the crate: [`Scalar`] is `f32` or `f64`, with the kernels of networks.

use crate::cells::{Cell, CellMath, elman, gru, lstm};
use crate::heads::{self, Loss, LossStep, Metrics};
use crate::kernels::blas::Blas;
use crate::kernels::exp;
use crate::kernels::number::Number;
use crate::kernels::packed::{self, Out, Source, Start};
use crate::kernels::rows::{self, Rows};
use crate::kernels::softmax;
use fearless_simd::Level;

/// A real number type a network can be computed in: `f32` (the default everywhere) or `f64`.
///
/// It names the kernels for each type. They are generic code; named here, they are compiled into this crate once, and not
/// again into every program that trains something, which would take minutes.
pub trait Scalar: Number + Blas {
    #[doc(hidden)]
    fn multiply(
        level: Level,
        start: Start<'_, Self>,
        sources: &[Source<'_, Self>],
        out: Out<'_, Self>,
    );
    #[doc(hidden)]
    fn sum_rows(level: Level, rows: Rows<'_, Self>, sums: &mut [Self]);
    #[doc(hidden)]
    fn tanh_in_place(level: Level, x: &mut [Self]);
    #[doc(hidden)]
    fn softmax(level: Level, u: &mut [Self], n: usize);
    #[doc(hidden)]
    fn respond(level: Level, loss: Loss, u: &mut [Self], n_y: usize);
    #[doc(hidden)]
    fn judge(level: Level, loss: Loss, u: &mut [Self], step: LossStep<'_, '_, Self>) -> Metrics;
    #[doc(hidden)]
    fn cell(cell: Cell) -> &'static dyn CellMath<Self>;
}

macro_rules! scalar {
    ($($t:ty)*) => {$(
        impl Scalar for $t {
            fn multiply(level: Level, start: Start<'_, $t>, sources: &[Source<'_, $t>], out: Out<'_, $t>) {
                packed::product(level, start, sources, out);
            }
            fn sum_rows(level: Level, rows: Rows<'_, $t>, sums: &mut [$t]) {
                rows::sum_rows(level, rows, sums);
            }
            fn tanh_in_place(level: Level, x: &mut [$t]) {
                exp::tanh_at(level, x);
            }
            fn softmax(level: Level, u: &mut [$t], n: usize) {
                softmax::softmax_at(level, u, n);
            }
            fn respond(level: Level, loss: Loss, u: &mut [$t], n_y: usize) {
                heads::respond(level, loss, u, n_y);
            }
            fn judge(level: Level, loss: Loss, u: &mut [$t], step: LossStep<'_, '_, $t>) -> Metrics {
                heads::kernel(level, loss, u, step)
            }
            fn cell(cell: Cell) -> &'static dyn CellMath<$t> {
                match cell {
                    Cell::Tanh => &elman::Tanh,
                    Cell::Relu => &elman::Relu,
                    Cell::Gru => &gru::Gru,
                    Cell::Lstm => &lstm::Lstm,
                }
            }
        }
    )*};
}
scalar!(f32 f64);
