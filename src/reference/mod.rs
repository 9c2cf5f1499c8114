//! The equations as plain loops: the oracle of every test.
//!
//! Nothing here is fast, clever or shared with the engine. Everything is batch-first, one sequence and one number at a time,
//! in the order in which the equations stand. Weights are read by name from [`Parameters`].

// Indices, as the equations have them.
#![allow(clippy::needless_range_loop)]

mod cells;

use crate::architecture::{Architecture, Input, Which};
use crate::{Parameters, Scalar};
use ndarray::{Array2, Array3, ArrayBase, ArrayView2, ArrayView3, Ix2, RawData};

/// A problem: inputs `[N, T, n_x]` (of tokens, one-hot rows), initial states `[N, W]`, targets `[N, T, n_y]`, the steps that
/// count `[N, T]`, and the steps of each sequence.
#[derive(Clone, Copy, Debug)]
pub struct Problem<'a, T> {
    /// Inputs `[N, T, n_x]`.
    pub x: ArrayView3<'a, T>,
    /// Initial states `[N, W]`.
    pub state: ArrayView2<'a, T>,
    /// Weights of each class `[N, T, n_y]`.
    pub targets: ArrayView3<'a, T>,
    /// `true` where a step counts `[N, T]`.
    pub mask: ArrayView2<'a, bool>,
    /// The steps of each sequence.
    pub lengths: &'a [usize],
}

/// What [`forward`] computed, batch-first; zero beyond a sequence's length.
#[derive(Clone, Debug)]
pub struct Forward<T> {
    /// Hidden states of each layer `[N, T, n_h]`.
    pub h: Vec<Array3<T>>,
    /// Logits `[N, T, n_y]`.
    pub u: Array3<T>,
    /// Probabilities `[N, T, n_y]`.
    pub y: Array3<T>,
    /// States after each sequence's last step `[N, W]`.
    pub state: Array2<T>,
}

/// One layer's weights as rows of gates, looked up once.
struct Layer<'a, T> {
    architecture: Architecture,
    index: usize,
    ih: ArrayView2<'a, T>,
    hh: ArrayView2<'a, T>,
    bias: &'a [T],
}

impl<'a, T: Scalar> Layer<'a, T> {
    fn new(p: &'a Parameters<T>, index: usize) -> Self {
        Layer {
            architecture: p.architecture(),
            index,
            ih: rows_of_gates(p.architecture(), index, p.matrix(Which::WeightIh(index))),
            hh: p.matrix(Which::WeightHh(index)),
            bias: p.get(Which::Bias(index)),
        }
    }
}

/// Input weights, or their gradients, as `[row, column]`: those of tokens lie transposed.
fn rows_of_gates<S: RawData>(
    architecture: Architecture,
    layer: usize,
    w: ArrayBase<S, Ix2>,
) -> ArrayBase<S, Ix2> {
    match architecture.input {
        Input::Tokens(_) if layer == 0 => w.reversed_axes(),
        _ => w,
    }
}

/// All time steps.
pub fn forward<T: Scalar>(p: &Parameters<T>, problem: &Problem<'_, T>) -> Forward<T> {
    let a = p.architecture();
    let (n, t, _) = problem.x.dim();
    let (n_h, n_y, of_layer) = (a.hidden, a.head.outputs, a.layer_state());
    let mut f = Forward {
        h: vec![Array3::zeros((n, t, n_h)); a.layers],
        u: Array3::zeros((n, t, n_y)),
        y: Array3::zeros((n, t, n_y)),
        state: problem.state.to_owned(),
    };
    let (decoder, bias) = (p.matrix(Which::Decoder), p.get(Which::DecoderBias));
    for i in 0..n {
        for s in 0..problem.lengths[i] {
            let mut x = problem.x.slice(ndarray::s![i, s, ..]).to_vec();
            for index in 0..a.layers {
                let layer = Layer::new(p, index);
                let mut state = f.state.row_mut(i);
                let state = &mut state.as_slice_mut().expect("rows are contiguous")
                    [index * of_layer..][..of_layer];
                cells::forward(&layer, &x, state);
                x = state[..n_h].to_vec();
                for j in 0..n_h {
                    f.h[index][[i, s, j]] = x[j];
                }
            }
            let mut max = T::neg_infinity();
            for j in 0..n_y {
                let mut u = bias[j];
                for k in 0..n_h {
                    u += decoder[[j, k]] * x[k];
                }
                f.u[[i, s, j]] = u;
                max = max.max(u);
            }
            let mut sum = T::zero();
            for j in 0..n_y {
                sum += (f.u[[i, s, j]] - max).exp();
            }
            for j in 0..n_y {
                f.y[[i, s, j]] = (f.u[[i, s, j]] - max).exp() / sum;
            }
        }
    }
    f
}

/// The mean cross-entropy over the steps that count.
pub fn loss<T: Scalar>(f: &Forward<T>, problem: &Problem<'_, T>) -> T {
    let (mut sum, mut counted) = (T::zero(), T::zero());
    for (i, s) in counted_steps(problem) {
        let row = f.u.slice(ndarray::s![i, s, ..]);
        let max = row.fold(T::neg_infinity(), |a, &b| a.max(b));
        let log_sum = max + row.fold(T::zero(), |a, &b| a + (b - max).exp()).ln();
        for (k, &u) in row.iter().enumerate() {
            sum += problem.targets[[i, s, k]] * (log_sum - u);
        }
        counted += T::one();
    }
    sum / counted
}

/// The gradients of [`loss`] with respect to the parameters and to the initial states `[N, W]`.
pub fn backward<T: Scalar>(
    p: &Parameters<T>,
    problem: &Problem<'_, T>,
) -> (Parameters<T>, Array2<T>) {
    let a = p.architecture();
    let (n, n_h, n_y, of_layer) = (problem.x.dim().0, a.hidden, a.head.outputs, a.layer_state());
    let f = forward(p, problem);
    let counted = T::from_f64(counted_steps(problem).count() as f64);
    let mut g = Parameters::zeros(a);
    let mut d_state = Array2::zeros((n, a.state()));
    for i in 0..n {
        // The states before each step, from the first one on.
        let mut states = vec![problem.state.row(i).to_vec()];
        for s in 0..problem.lengths[i] {
            let mut x = problem.x.slice(ndarray::s![i, s, ..]).to_vec();
            let mut state = states[s].clone();
            for index in 0..a.layers {
                let layer = Layer::new(p, index);
                let state = &mut state[index * of_layer..][..of_layer];
                cells::forward(&layer, &x, state);
                x = state[..n_h].to_vec();
            }
            states.push(state);
        }
        let mut d = vec![T::zero(); a.state()];
        for s in (0..problem.lengths[i]).rev() {
            // What comes to the highest layer from the loss of this step.
            let mut above = vec![T::zero(); n_h];
            if problem.mask[[i, s]] {
                let target = problem.targets.slice(ndarray::s![i, s, ..]);
                let mass = target.sum();
                let decoder = p.matrix(Which::Decoder);
                for j in 0..n_y {
                    let du = (f.y[[i, s, j]] * mass - target[j]) / counted;
                    let mut g_decoder = g.matrix_mut(Which::Decoder);
                    for k in 0..n_h {
                        g_decoder[[j, k]] += du * f.h[a.layers - 1][[i, s, k]];
                        above[k] += decoder[[j, k]] * du;
                    }
                    g.get_mut(Which::DecoderBias)[j] += du;
                }
            }
            for index in (0..a.layers).rev() {
                let layer = Layer::new(p, index);
                let x = match index {
                    0 => problem.x.slice(ndarray::s![i, s, ..]).to_vec(),
                    _ => f.h[index - 1].slice(ndarray::s![i, s, ..]).to_vec(),
                };
                let of = index * of_layer..(index + 1) * of_layer;
                for j in 0..n_h {
                    d[of.start + j] += above[j];
                }
                above = cells::backward(&layer, &x, &states[s][of.clone()], &mut d[of], &mut g);
            }
        }
        for k in 0..a.state() {
            d_state[[i, k]] = d[k];
        }
    }
    (g, d_state)
}

fn counted_steps<'a, T: Scalar>(
    problem: &'a Problem<'_, T>,
) -> impl Iterator<Item = (usize, usize)> + 'a {
    let (n, t) = problem.mask.dim();
    (0..n)
        .flat_map(move |i| (0..t).map(move |s| (i, s)))
        .filter(|&(i, s)| s < problem.lengths[i] && problem.mask[[i, s]])
}
