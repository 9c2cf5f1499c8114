//! The gated recurrent unit (Cho et al. 2014), as PyTorch's: the reset gate works on the recurrent sum, its bias included.
//!
//! ```text
//! r = σ(a_r)   z = σ(a_z)        a_r, a_z = W_ih x_t + W_hh h_{t-1} + b
//! n = tanh(a_n + r q)            a_n = W_in x_t + b_in        q = W_hn h_{t-1} + b_hn
//! h_t = (1 - z) n + z h_{t-1}
//!
//! back, with the gradient dh of the new state:
//! da_n = dh (1 - z) (1 - n²)      dq = da_n r       da_r = da_n q r (1 - r)
//! da_z = dh (h_{t-1} - n) z (1 - z)                 dh_{t-1} += dh z
//! ```
//!
//! The sums `[r z n q]` become `r`, `z` and `n` beside `q`, and these the gradients of the sums, in place: the first three
//! columns are those of the inputs, `r`, `z` and `q` those of the states.

use super::{Backward, Form, Forward, Sum, quarters};
use crate::kernels::exp::{sigmoid, tanh};
use crate::kernels::number::Number;
use crate::kernels::simd::{load, store};
use fearless_simd::{Simd, SimdBase, SimdFloat};

pub(super) static FORM: Form = Form {
    gates: 3,
    columns: 4,
    states: 1,
    passes_h: true,
    in_place: false,
    sums: &[
        Sum::of(0..2, true, Some(0..2)),
        Sum::of(2..3, true, None),
        Sum::of(3..4, false, Some(2..3)),
    ],
};

#[inline(always)]
pub(super) fn forward<T: Number, S: Simd>(simd: S, n_h: usize, rows: Forward<'_, T>) {
    let lanes = T::Vector::<S>::LEN;
    let states = rows
        .before
        .h
        .chunks_exact(n_h)
        .zip(rows.after.h.chunks_exact_mut(n_h));
    for (a, (h0, h)) in rows.sums.chunks_exact_mut(4 * n_h).zip(states) {
        let [r, z, n, q] = quarters(a, n_h);
        for j in (0..n_h).step_by(lanes) {
            let j = j..(j + lanes).min(n_h);
            let at = |x: &[T]| load::<T, S>(simd, x, T::zero());
            let [vr, vz] = [&r[j.clone()], &z[j.clone()]].map(|x| sigmoid::<T, S>(simd, at(x)));
            let vn = tanh::<T, S>(simd, vr.mul_add(at(&q[j.clone()]), at(&n[j.clone()])));
            // n + z (h - n)
            let vh = vz.mul_add(at(&h0[j.clone()]) - vn, vn);
            for (to, value) in [(&mut *r, vr), (&mut *z, vz), (&mut *n, vn)] {
                store::<T, S>(value, &mut to[j.clone()]);
            }
            store::<T, S>(vh, &mut h[j]);
        }
    }
}

#[inline(always)]
pub(super) fn backward<T: Number, S: Simd>(simd: S, n_h: usize, rows: Backward<'_, T>) {
    let lanes = T::Vector::<S>::LEN;
    let one = T::Vector::<S>::splat(simd, T::one());
    let gradients = rows
        .dh
        .chunks_exact(n_h)
        .zip(rows.carry.h.chunks_exact_mut(n_h));
    let states = rows.before.h.chunks_exact(n_h).zip(gradients);
    for (a, (h0, (dh, carry))) in rows.sums.chunks_exact_mut(4 * n_h).zip(states) {
        let [r, z, n, q] = quarters(a, n_h);
        for j in (0..n_h).step_by(lanes) {
            let j = j..(j + lanes).min(n_h);
            let at = |x: &[T]| load::<T, S>(simd, x, T::zero());
            let [vr, vz, vn, vq] =
                [&r[j.clone()], &z[j.clone()], &n[j.clone()], &q[j.clone()]].map(at);
            let vh = at(&dh[j.clone()]) + at(&carry[j.clone()]);
            let dn = vh * (one - vz) * (one - vn * vn);
            let dz = vh * (at(&h0[j.clone()]) - vn) * (vz * (one - vz));
            let dr = dn * vq * (vr * (one - vr));
            for (to, value) in [
                (&mut *r, dr),
                (&mut *z, dz),
                (&mut *n, dn),
                (&mut *q, dn * vr),
            ] {
                store::<T, S>(value, &mut to[j.clone()]);
            }
            store::<T, S>(vh * vz, &mut carry[j]);
        }
    }
}
