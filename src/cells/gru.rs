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
use crate::kernels::simd::{load_all, store};
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
    let (before, after) = (rows.before.h, rows.after.h);
    let states = before.chunks_exact(n_h).zip(after.chunks_exact_mut(n_h));
    for (a, (h0, h)) in rows.sums.chunks_exact_mut(4 * n_h).zip(states) {
        let [r, z, n, q] = quarters(a, n_h);
        for j in (0..n_h).step_by(lanes) {
            let j = j..(j + lanes).min(n_h);
            let all = [&*r, &*z, &*n, &*q, h0];
            let [ar, az, an, vq, v0] = load_all::<T, S, 5>(simd, all, &j);
            let (vr, vz) = (sigmoid::<T, S>(simd, ar), sigmoid::<T, S>(simd, az));
            let vn = tanh::<T, S>(simd, vr.mul_add(vq, an));
            // n + z (h - n)
            let vh = vz.mul_add(v0 - vn, vn);
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
    let carry = rows.carry.h.chunks_exact_mut(n_h);
    let gradients = rows.dh.chunks_exact(n_h).zip(carry);
    let states = rows.before.h.chunks_exact(n_h).zip(gradients);
    for (a, (h0, (dh, carry))) in rows.sums.chunks_exact_mut(4 * n_h).zip(states) {
        let [r, z, n, q] = quarters(a, n_h);
        for j in (0..n_h).step_by(lanes) {
            let j = j..(j + lanes).min(n_h);
            let all = [&*r, &*z, &*n, &*q, h0, dh, &*carry];
            let [vr, vz, vn, vq, v0, above, carried] = load_all::<T, S, 7>(simd, all, &j);
            let vh = above + carried;
            let dn = vh * (one - vz) * (one - vn * vn);
            let dz = vh * (v0 - vn) * (vz * (one - vz));
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
