//! The equations as plain loops: the oracle of every test.
//!
//! Nothing here is fast, clever or shared with the engine. Everything is batch-first, one sequence and one number at a time,
//! in the order in which the equations stand. Weights are read by name from [`Parameters`].

// Indices, as the equations have them.
#![allow(clippy::needless_range_loop)]

mod cells;
mod heads;

use crate::architecture::{Architecture, At, Input, Which};
use crate::{Parameters, Scalar};
use ndarray::{
    Array1, Array2, Array3, ArrayBase, ArrayView1, ArrayView2, ArrayView3, ArrayViewMut2, Ix2,
    RawData, s,
};

/// A problem: inputs, initial states, targets, the answers that count, and the steps of each sequence. `A` answers a sequence are
/// `T`, or 1 of a network that answers at the last step.
#[derive(Clone, Copy, Debug)]
pub struct Problem<'a, T> {
    /// Inputs `[N, T, n_x]`; of tokens, embedded or not, one-hot rows.
    pub x: ArrayView3<'a, T>,
    /// Initial states `[N, W]`.
    pub state: ArrayView2<'a, T>,
    /// Weights of each class, labels or numbers `[N, A, n_y]`.
    pub targets: ArrayView3<'a, T>,
    /// `true` where an answer counts `[N, A]`.
    pub mask: ArrayView2<'a, bool>,
    /// The steps of each sequence.
    pub lengths: &'a [usize],
}

/// What [`forward`] computed, batch-first; zero beyond a sequence's length.
#[derive(Clone, Debug)]
pub struct Forward<T> {
    /// The network.
    pub architecture: Architecture,
    /// What leaves each layer `[N, T, D n_h]`.
    pub h: Vec<Array3<T>>,
    /// Logits `[N, A, n_y]`.
    pub u: Array3<T>,
    /// Answers `[N, A, n_y]`: probabilities, or numbers.
    pub y: Array3<T>,
    /// States after each sequence's last step `[N, W]`.
    pub state: Array2<T>,
}

fn sigmoid<T: Scalar>(a: T) -> T {
    T::one() / (T::one() + (-a).exp())
}

/// `y += x`.
fn add<T: Scalar>(y: &mut [T], x: &[T]) {
    for j in 0..x.len() {
        y[j] += x[j];
    }
}

/// `y += W x`.
fn add_product<T: Scalar>(y: &mut [T], w: ArrayView2<'_, T>, x: &[T]) {
    for j in 0..y.len() {
        for k in 0..x.len() {
            y[j] += w[[j, k]] * x[k];
        }
    }
}

/// `W += y x^T`.
fn add_outer<T: Scalar>(mut w: ArrayViewMut2<'_, T>, y: &[T], x: &[T]) {
    for j in 0..y.len() {
        for k in 0..x.len() {
            w[[j, k]] += y[j] * x[k];
        }
    }
}

/// What an array has of sequence `i` at `step` becomes `values`.
fn set_row<T: Scalar>(array: &mut Array3<T>, i: usize, step: usize, values: &[T]) {
    let mut row = array.slice_mut(s![i, step, ..]);
    row.assign(&ArrayView1::from(values));
}

/// Input weights, or their gradients, as `[row, column]`: those of one-hot tokens lie transposed.
fn rows_of_gates<S: RawData>(
    a: Architecture,
    index: usize,
    w: ArrayBase<S, Ix2>,
) -> ArrayBase<S, Ix2> {
    match a.input {
        Input::Tokens(_) if index < a.directions() => w.reversed_axes(),
        _ => w,
    }
}

/// One sequence through all layers.
struct Run<T> {
    /// What each layer reads at each step, and at last what leaves the highest: `[layer][step]`.
    x: Vec<Vec<Vec<T>>>,
    /// The states of each recurrence before each step that it takes, and after the last: `[recurrence][step]`.
    states: Vec<Vec<Vec<T>>>,
}

/// The steps in the order in which a direction takes them.
fn order(direction: usize, steps: usize) -> Vec<usize> {
    match direction {
        0 => (0..steps).collect(),
        _ => (0..steps).rev().collect(),
    }
}

fn run<T: Scalar>(p: &Parameters<T>, problem: &Problem<'_, T>, i: usize) -> Run<T> {
    let a = p.architecture();
    let (steps, of_recurrence) = (problem.lengths[i], a.cell.states() * a.hidden);
    let rows = (0..steps).map(|step| embed(p, &problem.x.slice(s![i, step, ..]).to_vec()));
    let mut run = Run {
        x: vec![rows.collect()],
        states: Vec::new(),
    };
    for layer in 0..a.layers {
        let mut outputs = vec![Vec::new(); steps];
        for direction in 0..a.directions() {
            let index = run.states.len();
            let begin = index * of_recurrence;
            let state = problem.state.slice(s![i, begin..begin + of_recurrence]);
            let mut state = state.to_vec();
            let mut states = vec![state.clone()];
            for step in order(direction, steps) {
                cells::forward(p, index, &run.x[layer][step], &mut state);
                outputs[step].extend(&state[..a.hidden]);
                states.push(state.clone());
            }
            run.states.push(states);
        }
        run.x.push(outputs);
    }
    run
}

/// What the first layer reads: `encoder^T x` for a one-hot row, or the features as they are.
fn embed<T: Scalar>(p: &Parameters<T>, x: &[T]) -> Vec<T> {
    let Input::Embedding { size, .. } = p.architecture().input else {
        return x.to_vec();
    };
    let mut embedded = vec![T::zero(); size];
    add_product(&mut embedded, p.matrix(Which::Encoder).t(), x);
    embedded
}

/// What the head reads for answer `s`: what leaves the highest layer at a step, or the last states of its recurrences.
fn answered_from<T: Scalar>(a: Architecture, run: &Run<T>, step: usize) -> Vec<T> {
    if a.head.at == At::Every {
        return run.x[a.layers][step].clone();
    }
    let mut h = Vec::new();
    for states in &run.states[(a.layers - 1) * a.directions()..] {
        h.extend(&states.last().expect("there is the initial one")[..a.hidden]);
    }
    h
}

/// All time steps.
pub fn forward<T: Scalar>(p: &Parameters<T>, problem: &Problem<'_, T>) -> Forward<T> {
    let a = p.architecture();
    let (n, t, _) = problem.x.dim();
    let (answers, n_y) = (problem.mask.ncols(), a.head.outputs);
    let mut f = Forward {
        architecture: a,
        h: vec![Array3::zeros((n, t, a.directions() * a.hidden)); a.layers],
        u: Array3::zeros((n, answers, n_y)),
        y: Array3::zeros((n, answers, n_y)),
        state: Array2::zeros((n, a.state())),
    };
    let decoder = p.matrix(Which::Decoder);
    for i in 0..n {
        let run = run(p, problem, i);
        for layer in 0..a.layers {
            for step in 0..problem.lengths[i] {
                set_row(&mut f.h[layer], i, step, &run.x[layer + 1][step]);
            }
        }
        let last = run.states.iter().flat_map(|states| states.last());
        let last = last.flatten().copied().collect();
        f.state.row_mut(i).assign(&Array1::from_vec(last));
        for step in 0..answers.min(problem.lengths[i]) {
            let mut u = p.get(Which::DecoderBias).to_vec();
            add_product(&mut u, decoder, &answered_from(a, &run, step));
            set_row(&mut f.u, i, step, &u);
            set_row(&mut f.y, i, step, &heads::answer(a.head.loss, &u));
        }
    }
    f
}

/// The mean loss of the answers that count.
pub fn loss<T: Scalar>(f: &Forward<T>, problem: &Problem<'_, T>) -> T {
    let (mut sum, mut counted) = (T::zero(), T::zero());
    for (i, step) in counted_answers(problem) {
        let u = f.u.slice(s![i, step, ..]).to_vec();
        let target = problem.targets.slice(s![i, step, ..]).to_vec();
        sum += heads::loss(f.architecture.head.loss, &u, &target);
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
    let (n, t, _) = problem.x.dim();
    let (width, of_recurrence) = (a.directions() * a.hidden, a.cell.states() * a.hidden);
    let f = forward(p, problem);
    let counted = T::from_f64(counted_answers(problem).count() as f64);
    let mut g = Parameters::zeros(a);
    let mut d_hidden = Array3::zeros((n, t, width));
    let mut d_state = Array2::zeros((n, a.state()));
    for (i, step) in counted_answers(problem) {
        let h = answered_from(a, &run(p, problem, i), step);
        let u = f.u.slice(s![i, step, ..]).to_vec();
        let target = problem.targets.slice(s![i, step, ..]).to_vec();
        let mut du = heads::gradient(a.head.loss, &u, &target);
        du.iter_mut().for_each(|du| *du /= counted);
        add(g.get_mut(Which::DecoderBias), &du);
        add_outer(g.matrix_mut(Which::Decoder), &du, &h);
        let mut dh = vec![T::zero(); width];
        add_product(&mut dh, p.matrix(Which::Decoder).t(), &du);
        if a.head.at == At::Every {
            set_row(&mut d_hidden, i, step, &dh);
            continue;
        }
        for (direction, dh) in dh.chunks(a.hidden).enumerate() {
            let begin = ((a.layers - 1) * a.directions() + direction) * of_recurrence;
            for j in 0..a.hidden {
                d_state[[i, begin + j]] += dh[j];
            }
        }
    }
    let (_, d_state) = layers_backward(p, problem, &d_hidden, &d_state, &mut g);
    (g, d_state)
}

/// From the gradients of what leaves the highest layer `[N, T, D n_h]` and of the states after the last steps `[N, W]` to those of
/// the weights, added to `g`; returns those of the inputs `[N, T, n_x]` and of the initial states `[N, W]`.
pub fn layers_backward<T: Scalar>(
    p: &Parameters<T>,
    problem: &Problem<'_, T>,
    d_hidden: &Array3<T>,
    d_state: &Array2<T>,
    g: &mut Parameters<T>,
) -> (Array3<T>, Array2<T>) {
    let a = p.architecture();
    let (n_h, of_recurrence) = (a.hidden, a.cell.states() * a.hidden);
    let mut d_x = Array3::zeros(problem.x.dim());
    let mut d_state = d_state.clone();
    for i in 0..problem.x.dim().0 {
        let (run, steps) = (run(p, problem, i), problem.lengths[i]);
        let d_hidden = |step| d_hidden.slice(s![i, step, ..]).to_vec();
        let mut d_out: Vec<Vec<T>> = (0..steps).map(d_hidden).collect();
        for layer in (0..a.layers).rev() {
            let zeros = run.x[layer].iter().map(|x| vec![T::zero(); x.len()]);
            let mut d_in: Vec<Vec<T>> = zeros.collect();
            for direction in 0..a.directions() {
                let index = layer * a.directions() + direction;
                let own = index * of_recurrence..(index + 1) * of_recurrence;
                let mut d = d_state.slice_mut(s![i, own]);
                let mut d_after = d.to_vec();
                for (k, step) in order(direction, steps).into_iter().enumerate().rev() {
                    add(&mut d_after, &d_out[step][direction * n_h..][..n_h]);
                    let (x, before) = (&run.x[layer][step], &run.states[index][k]);
                    let dx = cells::backward(p, index, x, before, &mut d_after, g);
                    add(&mut d_in[step], &dx);
                }
                d.assign(&ArrayView1::from(&d_after));
            }
            d_out = d_in;
        }
        for step in 0..steps {
            let Input::Embedding { .. } = a.input else {
                set_row(&mut d_x, i, step, &d_out[step]);
                continue;
            };
            let x = problem.x.slice(s![i, step, ..]).to_vec();
            let mut dx = vec![T::zero(); x.len()];
            add_product(&mut dx, p.matrix(Which::Encoder), &d_out[step]);
            set_row(&mut d_x, i, step, &dx);
            add_outer(g.matrix_mut(Which::Encoder), &x, &d_out[step]);
        }
    }
    (d_x, d_state)
}

/// Sequence and answer of all that count.
fn counted_answers<'a, T: Scalar>(
    problem: &'a Problem<'_, T>,
) -> impl Iterator<Item = (usize, usize)> + 'a {
    let (n, answers) = problem.mask.dim();
    (0..n)
        .flat_map(move |i| (0..answers).map(move |step| (i, step)))
        .filter(|&(i, step)| step < problem.lengths[i] && problem.mask[[i, step]])
}
