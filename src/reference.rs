//! The seed's equations as plain loops: the oracle of every test.
//!
//! Nothing here is fast, clever or shared with the engine. Everything is batch-first, one number at a time, in the order
//! in which the equations stand:
//!
//! ```text
//! z_t = wx x_t + wh h_{t-1} + bh      h_t = tanh(z_t)
//! u_t = wy h_t + by                   y_t = softmax(u_t)
//! L   = -(1/sum of weights) sum_{n,t} weight_{n,t} sum_k target_k log y_k
//! ```
// Indices, as the equations have them.
#![allow(clippy::needless_range_loop)]

use crate::{Parameters, Scalar};
use ndarray::{Array2, Array3, ArrayView2, ArrayView3};

/// What [`forward`] computed, batch-first.
#[derive(Clone, Debug)]
pub struct Forward<T> {
    /// Pre-activations `[N, T, n_h]`.
    pub z: Array3<T>,
    /// Hidden states `[N, T, n_h]`.
    pub h: Array3<T>,
    /// Logits `[N, T, n_y]`.
    pub u: Array3<T>,
    /// Probabilities `[N, T, n_y]`.
    pub y: Array3<T>,
}

/// All time steps of inputs `[N, T, n_x]` from the initial state `h0 [N, n_h]`.
pub fn forward<T: Scalar>(
    p: &Parameters<T>,
    x: ArrayView3<'_, T>,
    h0: ArrayView2<'_, T>,
) -> Forward<T> {
    let (n, t, _) = x.dim();
    let d = p.dims();
    let mut f = Forward {
        z: Array3::zeros((n, t, d.n_h)),
        h: Array3::zeros((n, t, d.n_h)),
        u: Array3::zeros((n, t, d.n_y)),
        y: Array3::zeros((n, t, d.n_y)),
    };
    for i in 0..n {
        for s in 0..t {
            for j in 0..d.n_h {
                let mut z = p.bh()[j];
                for k in 0..d.n_x {
                    z += p.wx()[[j, k]] * x[[i, s, k]];
                }
                for k in 0..d.n_h {
                    z += p.wh()[[j, k]]
                        * if s == 0 {
                            h0[[i, k]]
                        } else {
                            f.h[[i, s - 1, k]]
                        };
                }
                f.z[[i, s, j]] = z;
                f.h[[i, s, j]] = z.tanh();
            }
            let mut max = T::neg_infinity();
            for j in 0..d.n_y {
                let mut u = p.by()[j];
                for k in 0..d.n_h {
                    u += p.wy()[[j, k]] * f.h[[i, s, k]];
                }
                f.u[[i, s, j]] = u;
                max = max.max(u);
            }
            let mut sum = T::zero();
            for j in 0..d.n_y {
                sum += (f.u[[i, s, j]] - max).exp();
            }
            for j in 0..d.n_y {
                f.y[[i, s, j]] = (f.u[[i, s, j]] - max).exp() / sum;
            }
        }
    }
    f
}

/// The mean cross-entropy of logits `u` against `targets`, both `[N, T, n_y]`, over the steps where `mask [N, T]` is
/// true.
pub fn loss<T: Scalar>(
    u: ArrayView3<'_, T>,
    targets: ArrayView3<'_, T>,
    mask: ArrayView2<'_, bool>,
) -> T {
    let (mut sum, mut counted) = (T::zero(), T::zero());
    for (i, s) in counted_steps(mask) {
        let row = u.slice(ndarray::s![i, s, ..]);
        let max = row.fold(T::neg_infinity(), |a, &b| a.max(b));
        let log_sum = max + row.fold(T::zero(), |a, &b| a + (b - max).exp()).ln();
        for (k, &u) in row.iter().enumerate() {
            sum += targets[[i, s, k]] * (log_sum - u);
        }
        counted += T::one();
    }
    sum / counted
}

/// The gradients of [`loss`] with respect to the five parameters and to the initial state `[N, n_h]`.
pub fn backward<T: Scalar>(
    p: &Parameters<T>,
    x: ArrayView3<'_, T>,
    h0: ArrayView2<'_, T>,
    f: &Forward<T>,
    targets: ArrayView3<'_, T>,
    mask: ArrayView2<'_, bool>,
) -> (Parameters<T>, Array2<T>) {
    let (n, t, _) = x.dim();
    let d = p.dims();
    let counted = T::from_f64(counted_steps(mask).count() as f64);
    let mut gradients = Parameters::zeros(d);
    let mut g = gradients.views_mut();
    let mut dh0 = Array2::zeros((n, d.n_h));
    for i in 0..n {
        let mut dz_next = vec![T::zero(); d.n_h];
        for s in (0..t).rev() {
            let mut du = vec![T::zero(); d.n_y];
            if mask[[i, s]] {
                let mass = targets.slice(ndarray::s![i, s, ..]).sum();
                for j in 0..d.n_y {
                    du[j] = (f.y[[i, s, j]] * mass - targets[[i, s, j]]) / counted;
                }
            }
            for j in 0..d.n_y {
                for k in 0..d.n_h {
                    g.wy[[j, k]] += du[j] * f.h[[i, s, k]];
                }
                g.by[j] += du[j];
            }
            let mut dz = vec![T::zero(); d.n_h];
            for k in 0..d.n_h {
                let mut dh = T::zero();
                for j in 0..d.n_y {
                    dh += p.wy()[[j, k]] * du[j];
                }
                for j in 0..d.n_h {
                    dh += p.wh()[[j, k]] * dz_next[j];
                }
                let h = f.h[[i, s, k]];
                dz[k] = dh * (T::one() - h * h);
            }
            for j in 0..d.n_h {
                for k in 0..d.n_x {
                    g.wx[[j, k]] += dz[j] * x[[i, s, k]];
                }
                for k in 0..d.n_h {
                    g.wh[[j, k]] += dz[j]
                        * if s == 0 {
                            h0[[i, k]]
                        } else {
                            f.h[[i, s - 1, k]]
                        };
                }
                g.bh[j] += dz[j];
            }
            dz_next = dz;
        }
        for k in 0..d.n_h {
            for j in 0..d.n_h {
                dh0[[i, k]] += p.wh()[[j, k]] * dz_next[j];
            }
        }
    }
    (gradients, dh0)
}

/// Gradient descent: every parameter less `learning_rate` times its gradient.
pub fn gradient_descent_step<T: Scalar>(
    p: &mut Parameters<T>,
    gradients: &Parameters<T>,
    learning_rate: T,
) {
    for (p, &g) in p.as_mut_slice().iter_mut().zip(gradients.as_slice()) {
        *p -= learning_rate * g;
    }
}

fn counted_steps(mask: ArrayView2<'_, bool>) -> impl Iterator<Item = (usize, usize)> {
    let (n, t) = mask.dim();
    (0..n)
        .flat_map(move |i| (0..t).map(move |s| (i, s)))
        .filter(move |&(i, s)| mask[[i, s]])
}
