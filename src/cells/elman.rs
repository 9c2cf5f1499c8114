//! The vanilla recurrent cell (Elman 1990), with a hyperbolic tangent or a rectifier.
//!
//! ```text
//! h_t = f(a)        a = W_ih x_t + W_hh h_{t-1} + b        f = tanh, or max(0, a)
//! back:  da = dh (1 - h_t^2), or dh where h_t > 0
//! ```

use super::{Backward, CellMath, Form, Forward, Sum};
use crate::kernels::exp::tanh_slice;
use crate::kernels::number::Number;
use crate::kernels::simd::{load, load_all, store};
use fearless_simd::{Level, Select, Simd, SimdBase, dispatch};

pub(super) static FORM: Form = Form {
    gates: 1,
    columns: 1,
    states: 1,
    passes_h: false,
    in_place: true,
    sums: &[Sum {
        columns: 0..1,
        ih: true,
        hh: Some(0..1),
    }],
};

/// `f = tanh`.
pub(crate) struct Tanh;

/// `f = max(0, a)`.
pub(crate) struct Relu;

impl<T: Number> CellMath<T> for Tanh {
    fn forward(&self, level: Level, _: usize, rows: Forward<'_, T>) {
        dispatch!(level, simd => tanh_slice(simd, rows.after.h));
    }

    fn backward(&self, level: Level, _: usize, rows: Backward<'_, T>) {
        dispatch!(level, simd => tanh_back(simd, rows));
    }
}

impl<T: Number> CellMath<T> for Relu {
    fn forward(&self, level: Level, _: usize, rows: Forward<'_, T>) {
        dispatch!(level, simd => relu(simd, rows.after.h));
    }

    fn backward(&self, level: Level, _: usize, rows: Backward<'_, T>) {
        dispatch!(level, simd => relu_back(simd, rows));
    }
}

#[inline(always)]
fn tanh_back<T: Number, S: Simd>(simd: S, rows: Backward<'_, T>) {
    let one = T::Vector::<S>::splat(simd, T::one());
    back(simd, rows, |dh, h| dh * (one - h * h));
}

/// A NaN stays one.
#[inline(always)]
fn relu<T: Number, S: Simd>(simd: S, h: &mut [T]) {
    let zero = T::Vector::<S>::splat(simd, T::zero());
    for h in h.chunks_mut(T::Vector::<S>::LEN) {
        let a = load::<T, S>(simd, h, T::zero());
        store::<T, S>(a.simd_lt(zero).select(zero, a), h);
    }
}

#[inline(always)]
fn relu_back<T: Number, S: Simd>(simd: S, rows: Backward<'_, T>) {
    let zero = T::Vector::<S>::splat(simd, T::zero());
    back(simd, rows, |dh, h| h.simd_gt(zero).select(dh, zero));
}

/// Replaces `dh` by `f(dh, h)`: nothing goes past the product to the step before.
#[inline(always)]
fn back<T: Number, S: Simd>(
    simd: S,
    rows: Backward<'_, T>,
    f: impl Fn(T::Vector<S>, T::Vector<S>) -> T::Vector<S>,
) {
    let lanes = T::Vector::<S>::LEN;
    for (dh, h) in rows.dh.chunks_mut(lanes).zip(rows.after.h.chunks(lanes)) {
        let [value, h] = load_all::<T, S, 2>(simd, [dh, h], &(0..h.len()));
        store::<T, S>(f(value, h), dh);
    }
}
