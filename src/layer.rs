//! One direction of one layer, there and back: all time steps of the sequences of a shard, of any cell.
//!
//! ```text
//! forward                                          backward
//! for t:  sums_t = b + X_t W_ih^T + H_{t-1} W_hh^T     for t, from the last:  dH_t = above_t + dsums_{t+1} W_hh
//!         cell: sums -> activations, H_t                       cell: dH_t, activations -> dsums_t
//!                                                      dW_ih, dW_hh, db: one product each over many steps
//! ```
//!
//! A product and the cell that follows it meet in the second-level cache: the loop over blocks of rows stands here. Knows
//! nothing of threads, of other layers, of directions (sequences that are read backwards were turned over), or of the loss.

use crate::architecture::{Architecture, Which};
use crate::cells::{Backward, Cell, Form, Forward, State};
use crate::dropout::Dropped;
use crate::kernels::blas::gemm_tn;
use crate::kernels::packed::{Out, Packed, ROW_BLOCK, Source, Start, Token};
use crate::kernels::rows::{Rows, scatter_add};
use crate::kernels::simd;
use crate::scratch::{CHUNK, LayerScratch};
use crate::steps::Steps;
use crate::weights::{BackWeights, ForwardWeights};
use crate::{Parameters, Scalar};
use fearless_simd::Level;
use std::ops::Range;

/// Steps from the last to the first, as many at a time as have [`CHUNK`] rows of one gate, where a row has `columns` of them. At least
/// one chunk, for where there are no steps at all, there are gradients of zero.
pub(crate) fn chunks_back(
    steps: &Steps,
    columns: usize,
) -> impl Iterator<Item = Range<usize>> + '_ {
    let chunk_before = move |end: usize| {
        let is_chunk = |&begin: &usize| steps.rows_of(begin..end).len() * columns >= CHUNK;
        (0..end).rev().find(is_chunk).unwrap_or(0)..end
    };
    let next = move |later: &Range<usize>| (later.start > 0).then(|| chunk_before(later.start));
    std::iter::successors(Some(chunk_before(steps.count())), next)
}

/// Blocks of the rows of a step, so few that their sums stay in the second-level cache until the cell has used them.
fn parts(rows: usize, columns: usize) -> impl Iterator<Item = Range<usize>> {
    let block = ROW_BLOCK / columns;
    let part = move |begin: usize| begin..(begin + block).min(rows);
    (0..rows).step_by(block).map(part)
}

/// What a layer is.
pub(crate) struct Layer {
    level: Level,
    /// Which of the network's recurrences.
    index: usize,
    pub n_h: usize,
    cell: Cell,
    pub form: &'static Form,
}

impl Layer {
    pub fn of(a: &Architecture, index: usize) -> Self {
        Layer {
            level: simd::level(),
            index,
            n_h: a.hidden,
            cell: a.cell,
            form: a.cell.form(),
        }
    }
}

/// What a layer reads at each step.
#[derive(Clone, Copy)]
pub(crate) enum LayerInput<'a, T> {
    /// Rows of the steps.
    Dense(Rows<'a, T>),
    /// Ids of the steps: rows of `table [tokens, gates n_h]`, of size `scale`. (On the way back, the table is not read.)
    Tokens {
        table: &'a [T],
        ids: &'a [u32],
        scale: T,
    },
}

/// From inputs, and the states with which the sequences enter, to the states after every step.
pub(crate) fn forward<T: Scalar>(
    l: &Layer,
    weights: &ForwardWeights<T>,
    bias: &[T],
    steps: &Steps,
    input: LayerInput<'_, T>,
    s: &mut LayerScratch<T>,
) {
    let (n_h, form) = (l.n_h, l.form);
    let width = form.columns * n_h;
    for t in 0..steps.count() {
        let (rows, before) = (steps.rows(t), steps.before(t));
        let after = steps.n + rows.start;
        let (h_past, h_now) = s.states.h.split_at_mut(after * n_h);
        // Of cells with one state, there is nothing to split.
        let c_after = (after * n_h).min(s.states.c.len());
        let (c_past, c_now) = s.states.c.split_at_mut(c_after);
        for part in parts(rows.len(), form.columns) {
            let first = rows.start + part.start;
            let entered = before + part.start..before + part.end;
            let before = State {
                h: part_of(h_past, &entered, n_h),
                c: part_of(c_past, &entered, n_h),
            };
            let h = part_of_mut(h_now, &part, n_h);
            let (sums, h) = match form.in_place {
                true => (h, &mut [][..]),
                false => (&mut s.sums[first * width..][..part.len() * width], h),
            };
            // STEP 1: the sums that the cell asks for.
            for (sum, [ih, hh]) in form.sums.iter().zip(weights) {
                let columns = sum.columns.start * n_h..sum.columns.end * n_h;
                let bias = &bias[columns.clone()];
                let token;
                let (mut start, mut x) = (Start::Bias(bias), None);
                match input {
                    _ if !sum.ih => {}
                    LayerInput::Dense(rows) => {
                        let rows = rows.skip(first);
                        x = Some(Source { rows, weights: ih });
                    }
                    LayerInput::Tokens { table, ids, scale } => {
                        token = Token {
                            table: &table[columns.start..],
                            stride: form.gates * n_h,
                            ids: &ids[first..],
                            scale,
                            bias,
                        };
                        start = Start::Token(&token);
                    }
                }
                let h = sum.hh.as_ref().map(|_| Source {
                    rows: Rows::of(before.h, n_h),
                    weights: hh,
                });
                let out = Out {
                    data: &mut sums[columns.start..],
                    stride: width,
                    n: part.len(),
                    m: columns.len(),
                };
                multiply(l.level, start, [x, h], out);
            }
            // STEP 2: the cell, while these rows are in the second-level cache.
            let c = part_of_mut(c_now, &part, n_h);
            let after = State { h, c };
            let rows = Forward {
                sums,
                before,
                after,
            };
            T::cell_forward(l.cell, l.level, n_h, rows);
        }
    }
}

/// What comes to the states of a layer from above.
#[derive(Clone, Copy)]
pub(crate) enum Above<'a, T> {
    /// The rows of every step times weights.
    Product(Rows<'a, T>, &'a Packed<T>),
    /// What is in `dh` already, for every step.
    Ready,
    /// Nothing.
    Nothing,
}

/// What a pass back takes beside the layer.
pub(crate) struct Back<'a, T> {
    pub weights: &'a BackWeights<T>,
    pub input: LayerInput<'a, T>,
    pub above: Above<'a, T>,
    /// What comes to the state of each sequence after its last step beside that, a row for each of them; if anything does.
    pub ends: Option<Rows<'a, T>>,
    /// Rows of all steps, or room for those of one; of a cell in place they become the gradients of its sums.
    pub dh: &'a mut [T],
    /// Room for the states before some steps, where they do not stand row beside row.
    pub gathered: &'a mut Vec<T>,
    /// Of the layer's outputs, if some are dropped.
    pub dropped: Option<Dropped>,
    /// The weights' gradients are added to those of later steps.
    pub accumulate: bool,
}

/// From the gradient of the outputs to those of the sums, in place, and the weights' gradients `g`.
pub(crate) fn backward<T: Scalar>(
    l: &Layer,
    steps: &Steps,
    s: &mut LayerScratch<T>,
    g: &mut Parameters<T>,
    mut back: Back<'_, T>,
) {
    if !back.accumulate
        && let LayerInput::Tokens { .. } = back.input
    {
        g.get_mut(Which::WeightIh(l.index)).fill(T::zero());
    }
    for chunk in chunks_back(steps, l.form.columns) {
        // STEP 1: through the cell, from the last step to the first.
        for t in chunk.clone().rev() {
            step_back(l, steps, s, t, &mut back);
        }
        // STEP 2: the weights' gradients, each one product over many steps, while these are in the caches.
        weight_gradients(l, steps, chunk, s, g, &mut back);
        back.accumulate = true;
    }
}

/// `dH_t = above_t + dsums_{t+1} W_hh` and what is carried, then back through the cell.
fn step_back<T: Scalar>(
    l: &Layer,
    steps: &Steps,
    s: &mut LayerScratch<T>,
    t: usize,
    back: &mut Back<'_, T>,
) {
    let (n_h, form) = (l.n_h, l.form);
    let width = form.columns * n_h;
    let (rows, before) = (steps.rows(t), steps.before(t));
    let alive = rows.len();
    let after = steps.n + rows.start;
    // The gradients of all sums lie in `dh`, or else `dh` has room for those of one step's states.
    let whole = form.in_place || matches!(back.above, Above::Ready);
    let begin = if whole { rows.start } else { 0 };
    let (dh, dh_later) = match whole {
        true => back.dh[begin * n_h..].split_at_mut(alive * n_h),
        false => (&mut back.dh[..alive * n_h], &mut [][..]),
    };
    let (sums, sums_later) = match form.in_place {
        true => (&mut [][..], &*dh_later),
        false => {
            let (now, later) = s.sums[rows.start * width..].split_at_mut(alive * width);
            (now, &*later)
        }
    };
    let later = match t + 1 == steps.count() {
        true => &s.after[..],
        false => &sums_later[..steps.alive(t + 1) * width],
    };
    let go_on = later.len() / width;
    let mut start = Start::Zero;
    let mut above = None;
    match back.above {
        Above::Ready => start = Start::Out,
        Above::Nothing => {}
        Above::Product(rows_above, weights) => {
            let rows = rows_above.skip(rows.start);
            above = Some(Source { rows, weights });
        }
    }
    if let Some(dropped) = &mut back.dropped {
        // The mask lies between the layer above and the states.
        if let Some(above) = above.take() {
            T::multiply(l.level, start, &[above], Out::whole(dh, n_h));
            start = Start::Out;
        }
        dropped.apply(t, dh);
    }
    for part in parts(alive, form.columns) {
        // Those that have a step after, then those that end here.
        let middle = go_on.clamp(part.start, part.end);
        for (part, goes_on) in [(part.start..middle, true), (middle..part.end, false)] {
            let out = &mut dh[part.start * n_h..part.end * n_h];
            if part.is_empty() {
                continue;
            }
            let above = above.map(|source| Source {
                rows: source.rows.skip(part.start),
                ..source
            });
            let later = Rows::of(later, width).skip(part.start);
            let recurrent = form.sums.iter().zip(&back.weights.hh);
            let recurrent = recurrent.filter(|(sum, _)| sum.hh.is_some() && goes_on);
            let mut recurrent = recurrent.map(|(sum, weights)| Source {
                rows: later.columns(sum.columns.start * n_h),
                weights,
            });
            let sources = [above, recurrent.next()];
            multiply(l.level, start, sources, Out::whole(out, n_h));
            for another in recurrent {
                T::multiply(l.level, Start::Out, &[another], Out::whole(out, n_h));
            }
            if let (false, Some(ends)) = (goes_on, back.ends) {
                let ends = ends.skip(part.start).data.chunks(ends.stride);
                for (out, end) in out.chunks_exact_mut(n_h).zip(ends) {
                    out.iter_mut().zip(end).for_each(|(out, &end)| *out += end);
                }
            }
        }
        // The cell, while these rows are in the second-level cache.
        let [entered, left] = [before, after].map(|row| row + part.start..row + part.end);
        let (State { h, c }, carry) = (&s.states, &mut s.carry);
        let states = |rows| State {
            h: part_of(h, &rows, n_h),
            c: part_of(c, &rows, n_h),
        };
        let rows = Backward {
            sums: part_of_mut(sums, &part, width),
            before: states(entered),
            after: states(left),
            dh: part_of_mut(dh, &part, n_h),
            carry: State {
                h: part_of_mut(&mut carry.h, &part, n_h),
                c: part_of_mut(&mut carry.c, &part, n_h),
            },
        };
        T::cell_backward(l.cell, l.level, n_h, rows);
    }
}

/// Some rows of values; none, if there are no values.
fn part_of<'a, T>(values: &'a [T], rows: &Range<usize>, width: usize) -> &'a [T] {
    match values.is_empty() {
        true => values,
        false => &values[rows.start * width..rows.end * width],
    }
}

/// [`part_of`], to be written.
fn part_of_mut<'a, T>(values: &'a mut [T], rows: &Range<usize>, width: usize) -> &'a mut [T] {
    match values.is_empty() {
        true => values,
        false => &mut values[rows.start * width..rows.end * width],
    }
}

/// The product of whichever sources there are.
fn multiply<T: Scalar>(
    level: Level,
    start: Start<'_, T>,
    sources: [Option<Source<'_, T>>; 2],
    out: Out<'_, T>,
) {
    match sources {
        [Some(first), Some(second)] => T::multiply(level, start, &[first, second], out),
        [Some(only), None] | [None, Some(only)] => T::multiply(level, start, &[only], out),
        [None, None] => T::multiply(level, start, &[], out),
    }
}

/// The gradients of the sums of all steps, as rows.
pub(crate) fn sum_gradients<'a, T>(l: &Layer, sums: &'a [T], dh: &'a [T]) -> Rows<'a, T> {
    let data = if l.form.in_place { dh } else { sums };
    Rows::of(data, l.form.columns * l.n_h)
}

/// The gradients that steps `chunk` give, in place of what is in `g` or added to it.
fn weight_gradients<T: Scalar>(
    l: &Layer,
    steps: &Steps,
    chunk: Range<usize>,
    s: &LayerScratch<T>,
    g: &mut Parameters<T>,
    back: &mut Back<'_, T>,
) {
    let (n_h, form) = (l.n_h, l.form);
    let beta = if back.accumulate { T::one() } else { T::zero() };
    let rows = steps.rows_of(chunk.clone());
    let k = rows.len();
    let gates = form.gates * n_h;
    let sums = sum_gradients(l, &s.sums, back.dh).skip(rows.start);
    let states = states_before(steps, chunk, &s.states.h, n_h, back.gathered);
    let hh = g.get_mut(Which::WeightHh(l.index));
    for sum in form.sums {
        let Some(rows) = &sum.hh else { continue };
        let columns = sums.columns(sum.columns.start * n_h);
        let out = &mut hh[rows.start * n_h * n_h..rows.end * n_h * n_h];
        gemm_tn(columns, states, beta, Out::whole(out, n_h), k);
    }
    let ih = g.get_mut(Which::WeightIh(l.index));
    match back.input {
        LayerInput::Dense(x) => {
            let inputs = ih.len() / gates;
            gemm_tn(sums, x.skip(rows.start), beta, Out::whole(ih, inputs), k);
        }
        LayerInput::Tokens { ids, scale, .. } => {
            scatter_add(sums, &ids[rows.clone()], scale, ih, gates);
        }
    }
    let bias = g.get_mut(Which::Bias(l.index));
    if !back.accumulate {
        bias.fill(T::zero());
    }
    let sums = Rows::of(&sums.data[..k * sums.stride], sums.stride);
    T::sum_rows(l.level, sums, bias);
}

/// The states before each of some steps, row beside row: where they stand so, or gathered.
fn states_before<'a, T: Scalar>(
    steps: &Steps,
    chunk: Range<usize>,
    h: &'a [T],
    n_h: usize,
    gathered: &'a mut Vec<T>,
) -> Rows<'a, T> {
    if chunk.is_empty() || steps.are_contiguous(chunk.clone()) {
        return Rows::of(&h[steps.before(chunk.start) * n_h..], n_h);
    }
    gathered.clear();
    for t in chunk {
        let first = steps.before(t) * n_h;
        gathered.extend_from_slice(&h[first..first + steps.alive(t) * n_h]);
    }
    Rows::of(gathered, n_h)
}
