//! One shard of a batch through a whole pass: forward, loss and BPTT over its own sequences, on one thread.
//!
//! Time is taken in segments where not all of it fits the memory there is: the first pass keeps only the states between
//! segments, and going back, each segment runs forward once more before BPTT runs over it (Chen et al. 2016, with one
//! level). That is one more recurrence for all but the last segment, a third of a training step at most.
//!
//! Knows nothing of the other shards or of threads.

use crate::backward::{Beyond, backward};
use crate::dropout::{Dropout, Dropped, Mask};
use crate::forward::{logits, states};
use crate::loss::{Tally, softmax_cross_entropy};
use crate::workspace::{Extent, Rows, Workspace};
use crate::{Answers, Dims, Inputs, Parameters, Scalar};
use ndarray::ArrayView2;
use std::ops::Range;

/// What every shard of a batch is given.
pub(crate) struct Pass<'a, T> {
    pub parameters: &'a Parameters<T>,
    pub inputs: Inputs<'a, T>,
    /// The initial state `[N, n_h]`; zero, if there is none.
    pub state: Option<ArrayView2<'a, T>>,
    /// Time steps of a segment.
    pub segment: usize,
}

/// One part of the batch with all it needs.
#[derive(Debug)]
pub(crate) struct Shard<T> {
    /// Which of all shards it is.
    pub index: usize,
    pub rows: Rows,
    pub ws: Workspace<T>,
    pub gradients: Parameters<T>,
    pub tally: Tally,
    /// The state of each sequence after its last step `[n, n_h]`, in the order of `rows`.
    pub finals: Vec<T>,
    /// The states with which segments after the first begin, the latest at the end.
    between: Vec<T>,
    /// dZ of the first time step of the segment after.
    dz_after: Vec<T>,
}

impl<T: Scalar> Shard<T> {
    pub fn new(dims: Dims, index: usize) -> Self {
        Shard {
            index,
            rows: Rows::default(),
            ws: Workspace::new(dims),
            gradients: Parameters::zeros(dims),
            tally: Tally::default(),
            finals: Vec::new(),
            between: Vec::new(),
            dz_after: Vec::new(),
        }
    }

    /// Bytes of a shard after a training step without dropout, in so many segments; `extent` is that of the first.
    pub fn bytes(dims: Dims, extent: Extent, segments: usize, tokens: bool) -> usize {
        let states = (1 + segments.max(1)) * extent.n;
        Workspace::<T>::bytes(dims, extent, tokens)
            + (states * dims.n_h + dims.len()) * size_of::<T>()
    }

    /// Forward, loss and BPTT: gradients of `scale` times the summed loss, and the tally.
    ///
    /// `dropout`, if there is any, is that of update `update`.
    pub fn train(
        &mut self,
        pass: &Pass<'_, T>,
        answers: &Answers<'_, T>,
        scale: T,
        dropout: Option<(&Dropout, u64)>,
    ) {
        let [mut drop_x, mut drop_h] = match dropout {
            Some((dropout, update)) => dropout.masks(update, self.index),
            None => [None, None],
        };
        let p = pass.parameters;

        // STEP 1: the states of all segments, of which those between them and those of the last are kept.
        let last = self.segments(pass) - 1;
        for s in 0..=last {
            self.run_states(pass, s, &mut drop_x);
            self.ws.copy_last_states(&mut self.finals);
            if s < last {
                self.between.extend_from_slice(self.ws.last_states());
            }
        }
        // STEP 2: from the last segment to the first: logits, loss, BPTT.
        self.ws.pack_backward(p);
        self.dz_after.clear();
        for s in (0..=last).rev() {
            if s < last {
                // Backward has gathered its gradient in the table of tokens.
                self.ws.pack_inputs(p);
                self.run_states(pass, s, &mut drop_x);
            }
            let first = s * pass.segment;
            let (ws, most) = (&mut self.ws, self.rows.index().len() * p.dims().n_h);
            let mut dropped = drop_h.as_mut().map(|mask| Dropped { mask, first, most });
            logits(p, ws, dropped.as_mut());
            self.tally += softmax_cross_entropy(ws, answers, &self.rows, first, scale);
            let beyond = Beyond {
                dz: &self.dz_after,
                accumulate: s < last,
            };
            backward(p, ws, &mut self.gradients, &beyond, dropped.as_mut());
            let entered = ws.n() * p.dims().n_h;
            self.dz_after.clear();
            self.dz_after.extend_from_slice(&ws.dz[..entered]);
            self.between
                .truncate(self.between.len().saturating_sub(entered));
        }
    }

    /// Forward alone; `visit` sees the workspace with the logits of each segment and the time step at which it begins.
    pub fn infer(&mut self, pass: &Pass<'_, T>, mut visit: impl FnMut(&mut Self, usize)) {
        self.advance(pass, |shard, first| {
            logits(pass.parameters, &mut shard.ws, None);
            visit(shard, first);
        });
    }

    /// The states alone; `visit` sees those of each segment and the time step at which it begins.
    pub fn advance(&mut self, pass: &Pass<'_, T>, mut visit: impl FnMut(&mut Self, usize)) {
        for s in 0..self.segments(pass) {
            self.run_states(pass, s, &mut None);
            self.ws.copy_last_states(&mut self.finals);
            visit(self, s * pass.segment);
            self.between.clear();
            self.between.extend_from_slice(self.ws.last_states());
        }
    }

    fn segments(&self, pass: &Pass<'_, T>) -> usize {
        self.rows.steps().div_ceil(pass.segment).max(1)
    }

    /// The states of a segment, from those at the end of `between`, or from the initial ones.
    fn run_states(&mut self, pass: &Pass<'_, T>, s: usize, drop_x: &mut Option<Mask>) {
        let steps = self.steps(pass, s);
        let (ws, first) = (&mut self.ws, steps.start);
        ws.load(&pass.inputs, &self.rows, steps);
        if let Some(mask) = drop_x {
            ws.drop_inputs(mask, first, self.rows.index().len());
        }
        if s == 0 {
            ws.start(pass.state, &self.rows);
            ws.token_scale = drop_x.as_ref().map_or(T::one(), Mask::scale);
            ws.pack_forward(pass.parameters);
            self.finals.resize(ws.n() * ws.dims.n_h, T::zero());
        } else {
            let begin = self.between.len() - ws.n() * ws.dims.n_h;
            ws.go_on(&self.between[begin..]);
        }
        states(pass.parameters, ws);
    }

    fn steps(&self, pass: &Pass<'_, T>, s: usize) -> Range<usize> {
        s * pass.segment..((s + 1) * pass.segment).min(self.rows.steps())
    }

    /// Nothing to do with the batch at hand.
    pub fn clear(&mut self) {
        self.tally = Tally::default();
        self.between.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Batch, Inputs};
    use ndarray::{Array2, Array3};

    /// A shard's results, after whatever it did before.
    fn run(
        shard: &mut Shard<f64>,
        n: usize,
        t: usize,
        segment: usize,
    ) -> (Parameters<f64>, Tally, Vec<f64>) {
        let dims = shard.ws.dims;
        let x = Array3::from_shape_fn((n, t, dims.n_x), |(i, t, j)| {
            ((i + 2 * t + 3 * j) as f64).sin()
        });
        let classes = Array2::from_shape_fn((n, t), |(i, t)| ((i + t) % dims.n_y) as u32);
        let weights = (0..dims.len()).map(|i| (i as f64).cos() / 4.0).collect();
        let parameters = Parameters::from_vec(dims, weights).unwrap();
        let pass = Pass {
            parameters: &parameters,
            inputs: Inputs::from(&x),
            state: None,
            segment,
        };
        let dropout = Dropout {
            inputs: 0.1,
            outputs: 0.2,
            seed: 3,
        };
        // The first a step shorter than the others.
        shard
            .rows
            .set((0..n).map(|row| (t - usize::from(row + 1 == n), row)));
        shard.clear();
        let batch = Batch::new(&x, &classes);
        shard.train(&pass, &batch.answers, 0.5, Some((&dropout, 1)));
        (shard.gradients.clone(), shard.tally, shard.finals.clone())
    }

    #[test]
    fn what_is_in_the_scratch_does_not_matter() {
        let dims = Dims::new(3, 10, 4).unwrap();
        for segment in [7, 3] {
            let clean = run(&mut Shard::new(dims, 0), 3, 7, segment);
            let mut shard = Shard::new(dims, 0);
            run(&mut shard, 4, 9, 9);
            let Shard {
                ws,
                gradients,
                finals,
                between,
                dz_after,
                ..
            } = &mut shard;
            let buffers = [
                &mut ws.h,
                &mut ws.h_dropped,
                &mut ws.u,
                &mut ws.dz,
                finals,
                between,
                dz_after,
            ];
            buffers.into_iter().for_each(|buffer| buffer.fill(f64::NAN));
            ws.forward.table.fill(f64::NAN);
            gradients.as_mut_slice().fill(f64::NAN);
            if let crate::workspace::ShardInputs::Dense(x) = &mut ws.inputs {
                x.fill(f64::NAN);
            }
            let dirty = run(&mut shard, 3, 7, segment);
            assert!(dirty == clean, "{dirty:?}\n{clean:?}");
        }
    }
}
