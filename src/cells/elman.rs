//! The vanilla recurrent cell (Elman 1990), with a hyperbolic tangent or a rectifier.
//!
//! ```text
//! h_t = f(a)        a = W_ih x_t + W_hh h_{t-1} + b        f = tanh, or max(0, a)
//! back:  da = dh (1 - h_t^2), or dh where h_t > 0
//! ```

use super::{Backward, Form, Sum};
use crate::kernels::number::Number;
use crate::kernels::simd::{load_all, map, store};
use fearless_simd::{Select, Simd, SimdBase};

pub(super) static FORM: Form = Form {
    gates: 1,
    columns: 1,
    states: 1,
    passes_h: false,
    in_place: true,
    sums: &[Sum::of(0..1, true, Some(0..1))],
};

#[inline(always)]
pub(super) fn tanh_back<T: Number, S: Simd>(simd: S, rows: Backward<'_, T>) {
    let one = T::Vector::<S>::splat(simd, T::one());
    back(simd, rows, |dh, h| dh * (one - h * h));
}

/// A NaN stays one.
#[inline(always)]
pub(super) fn relu<T: Number, S: Simd>(simd: S, h: &mut [T]) {
    let zero = T::Vector::<S>::splat(simd, T::zero());
    map(
        simd,
        h,
        #[inline(always)]
        |a| a.simd_lt(zero).select(zero, a),
    );
}

#[inline(always)]
pub(super) fn relu_back<T: Number, S: Simd>(simd: S, rows: Backward<'_, T>) {
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
