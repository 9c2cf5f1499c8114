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
use crate::kernels::simd::{load_all, store};
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
    let (c, h) = (rows.after.c, rows.after.h);
    let after = c.chunks_exact_mut(n_h).zip(h.chunks_exact_mut(n_h));
    let states = rows.before.c.chunks_exact(n_h).zip(after);
    for (a, (c0, (c, h))) in rows.sums.chunks_exact_mut(4 * n_h).zip(states) {
        let [i, f, g, o] = quarters(a, n_h);
        for j in (0..n_h).step_by(lanes) {
            let j = j..(j + lanes).min(n_h);
            let all = [&*i, &*f, &*g, &*o, c0];
            let [ai, af, ag, ao, v0] = load_all::<T, S, 5>(simd, all, &j);
            let (vi, vf) = (sigmoid::<T, S>(simd, ai), sigmoid::<T, S>(simd, af));
            let (vg, vo) = (tanh::<T, S>(simd, ag), sigmoid::<T, S>(simd, ao));
            let vc = vf.mul_add(v0, vi * vg);
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
    let (before, after) = (rows.before.c, rows.after.c);
    let states = before.chunks_exact(n_h).zip(after.chunks_exact(n_h));
    let carry = rows.carry.c.chunks_exact_mut(n_h);
    let rest = states.zip(rows.dh.chunks_exact(n_h).zip(carry));
    for (a, ((c0, c), (dh, dc))) in rows.sums.chunks_exact_mut(4 * n_h).zip(rest) {
        let [i, f, g, o] = quarters(a, n_h);
        for j in (0..n_h).step_by(lanes) {
            let j = j..(j + lanes).min(n_h);
            let all = [&*i, &*f, &*g, &*o, c0, c, dh, &*dc];
            let [vi, vf, vg, vo, v0, now, vh, carried] = load_all::<T, S, 8>(simd, all, &j);
            let s = tanh::<T, S>(simd, now);
            let vc = (vh * vo).mul_add(one - s * s, carried);
            let di = vc * vg * (vi * (one - vi));
            let df = vc * v0 * (vf * (one - vf));
            let dg = vc * vi * (one - vg * vg);
            let d_o = vh * s * (vo * (one - vo));
            for (to, value) in [(&mut *i, di), (&mut *f, df), (&mut *g, dg), (&mut *o, d_o)] {
                store::<T, S>(value, &mut to[j.clone()]);
            }
            store::<T, S>(vc * vf, &mut dc[j]);
        }
    }
}
