//! Long short-term memory (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000), as PyTorch's.
//!
//! ```text
//! i = σ(a_i)   f = σ(a_f)   g = tanh(a_g)   o = σ(a_o)        a = W_ih x_t + W_hh h_{t-1} + b
//! c_t = f c_{t-1} + i g         h_t = o tanh(c_t)
//!
//! back, with the gradients dh and dc of the new states:
//! s = tanh(c_t)     dc += dh o (1 - s²)
//! da_i = dc g i (1 - i)    da_f = dc c_{t-1} f (1 - f)    da_g = dc i (1 - g²)    da_o = dh s o (1 - o)
//! dc_{t-1} = dc f
//! ```
//!
//! The sums `[i f g o]` become the activations, and these the gradients of the sums, in place.

use super::{Backward, Form, Forward, Sum, quarters};
use crate::kernels::exp::{sigmoid, tanh};
use crate::kernels::number::Number;
use crate::kernels::simd::{load, store};
use fearless_simd::{Simd, SimdBase, SimdFloat};

pub(super) static FORM: Form = Form {
    gates: 4,
    columns: 4,
    states: 2,
    passes_h: false,
    in_place: false,
    sums: &[Sum::of(0..4, true, Some(0..4))],
};

#[inline(always)]
pub(super) fn forward<T: Number, S: Simd>(simd: S, n_h: usize, rows: Forward<'_, T>) {
    let lanes = T::Vector::<S>::LEN;
    let (c0, c, h) = (rows.before.c, rows.after.c, rows.after.h);
    let states = c0
        .chunks_exact(n_h)
        .zip(c.chunks_exact_mut(n_h))
        .zip(h.chunks_exact_mut(n_h));
    for (a, ((c0, c), h)) in rows.sums.chunks_exact_mut(4 * n_h).zip(states) {
        let [i, f, g, o] = quarters(a, n_h);
        for j in (0..n_h).step_by(lanes) {
            let j = j..(j + lanes).min(n_h);
            let at = |x: &[T]| load::<T, S>(simd, x, T::zero());
            let [vi, vf, vo] =
                [&i[j.clone()], &f[j.clone()], &o[j.clone()]].map(|x| sigmoid::<T, S>(simd, at(x)));
            let vg = tanh::<T, S>(simd, at(&g[j.clone()]));
            let vc = vf.mul_add(at(&c0[j.clone()]), vi * vg);
            let vh = vo * tanh::<T, S>(simd, vc);
            for (to, value) in [(&mut *i, vi), (&mut *f, vf), (&mut *g, vg), (&mut *o, vo)] {
                store::<T, S>(value, &mut to[j.clone()]);
            }
            store::<T, S>(vc, &mut c[j.clone()]);
            store::<T, S>(vh, &mut h[j]);
        }
    }
}

#[inline(always)]
pub(super) fn backward<T: Number, S: Simd>(simd: S, n_h: usize, rows: Backward<'_, T>) {
    let lanes = T::Vector::<S>::LEN;
    let one = T::Vector::<S>::splat(simd, T::one());
    let states = rows
        .before
        .c
        .chunks_exact(n_h)
        .zip(rows.after.c.chunks_exact(n_h));
    let gradients = rows
        .dh
        .chunks_exact(n_h)
        .zip(rows.carry.c.chunks_exact_mut(n_h));
    let rows = rows
        .sums
        .chunks_exact_mut(4 * n_h)
        .zip(states.zip(gradients));
    for (a, ((c0, c), (dh, dc))) in rows {
        let [i, f, g, o] = quarters(a, n_h);
        for j in (0..n_h).step_by(lanes) {
            let j = j..(j + lanes).min(n_h);
            let at = |x: &[T]| load::<T, S>(simd, x, T::zero());
            let [vi, vf, vg, vo] =
                [&i[j.clone()], &f[j.clone()], &g[j.clone()], &o[j.clone()]].map(at);
            let s = tanh::<T, S>(simd, at(&c[j.clone()]));
            let vh = at(&dh[j.clone()]);
            let vc = (vh * vo).mul_add(one - s * s, at(&dc[j.clone()]));
            let di = vc * vg * (vi * (one - vi));
            let df = vc * at(&c0[j.clone()]) * (vf * (one - vf));
            let dg = vc * vi * (one - vg * vg);
            let d_o = vh * s * (vo * (one - vo));
            for (to, value) in [(&mut *i, di), (&mut *f, df), (&mut *g, dg), (&mut *o, d_o)] {
                store::<T, S>(value, &mut to[j.clone()]);
            }
            store::<T, S>(vc * vf, &mut dc[j]);
        }
    }
}
