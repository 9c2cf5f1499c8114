//! One shard of a batch through a whole pass: forward, loss and BPTT over its own sequences, on one thread.
//!
//! Time is taken in segments where not all of it fits the memory there is: the first pass keeps only the states between
//! segments, and going back, each segment runs forward once more before BPTT runs over it (Chen et al. 2016, with one
//! level). That is one more recurrence for all but the last segment, a third of a training step at most.
//!
//! Knows nothing of the other shards or of threads.

use crate::architecture::Architecture;
use crate::dropout::{Dropout, Dropping};
use crate::heads::Metrics;
use crate::scratch::{NO_TOKEN, Scratch};
use crate::stack::{self, Weights};
use crate::steps::{Assigned, Extent};
use crate::targets::Answers;
use crate::{Inputs, Parameters, Scalar};
use ndarray::ArrayView2;
use std::ops::Range;

/// What every shard of a batch is given.
pub(crate) struct Pass<'a, T: Scalar> {
    pub weights: Weights<'a, T>,
    pub inputs: Inputs<'a, T>,
    /// The initial states `[N, W]`; zero, if there are none.
    pub state: Option<ArrayView2<'a, T>>,
    /// Time steps of a segment.
    pub segment: usize,
}

/// One part of the batch with all it needs.
#[derive(Debug)]
pub(crate) struct Shard<T> {
    /// Which of all shards it is.
    pub index: usize,
    pub assigned: Assigned,
    pub scratch: Scratch<T>,
    pub gradients: Parameters<T>,
    pub metrics: Metrics,
    /// The state of each sequence after its last step `[n, W]`, in the order of `assigned`.
    pub finals: Vec<T>,
    /// The states with which segments after the first begin, the latest at the end.
    between: Vec<T>,
}

impl<T: Scalar> Shard<T> {
    pub fn new(architecture: Architecture, index: usize) -> Self {
        Shard {
            index,
            assigned: Assigned::default(),
            scratch: Scratch::new(architecture),
            gradients: Parameters::zeros(architecture),
            metrics: Metrics::default(),
            finals: Vec::new(),
            between: Vec::new(),
        }
    }

    fn architecture(&self) -> Architecture {
        self.gradients.architecture()
    }

    /// Bytes of a shard after a training step without dropout, in so many segments; `extent` is that of the first.
    pub fn bytes(architecture: &Architecture, extent: Extent, segments: usize) -> usize {
        let states = (1 + segments.max(1)) * extent.n * architecture.state();
        Scratch::<T>::bytes(architecture, extent) + (states + architecture.len()) * size_of::<T>()
    }

    /// Forward, loss and BPTT: gradients of `scale` times the summed loss, and the metrics.
    ///
    /// `dropout`, if there is any, is that of update `update`.
    pub fn train(
        &mut self,
        pass: &Pass<'_, T>,
        answers: &Answers<'_, T>,
        scale: T,
        dropout: Option<(&Dropout, u64)>,
    ) {
        // STEP 1: the states of all segments, of which those between them and those of the last are kept.
        let last = self.segments(pass) - 1;
        for s in 0..=last {
            self.run_states(pass, s, dropout);
            self.scratch.copy_last_states(&mut self.finals);
            if s < last {
                self.keep_states();
            }
        }
        // STEP 2: from the last segment to the first: logits, loss, BPTT.
        self.begin_carry();
        for s in (0..=last).rev() {
            let dropping = self.dropping(pass, s, dropout);
            if s < last {
                self.run_states(pass, s, dropout);
            }
            let n_y = self.architecture().head.outputs;
            let (scratch, index) = (&mut self.scratch, self.assigned.index());
            stack::logits(pass.weights, scratch);
            self.metrics += stack::loss(scratch, answers, index, n_y, dropping.first, scale);
            let gradients = &mut self.gradients;
            stack::back(pass.weights, scratch, gradients, &dropping, s < last);
            let entered = scratch.steps.n() * gradients.architecture().state();
            self.between
                .truncate(self.between.len().saturating_sub(entered));
        }
    }

    /// Forward alone; `visit` sees the scratch with the logits of each segment and the time step at which it begins.
    pub fn infer(&mut self, pass: &Pass<'_, T>, mut visit: impl FnMut(&mut Self, usize)) {
        self.advance(pass, |shard, first| {
            stack::logits(pass.weights, &mut shard.scratch);
            visit(shard, first);
        });
    }

    /// The states alone; `visit` sees those of each segment and the time step at which it begins.
    pub fn advance(&mut self, pass: &Pass<'_, T>, mut visit: impl FnMut(&mut Self, usize)) {
        for s in 0..self.segments(pass) {
            self.run_states(pass, s, None);
            self.scratch.copy_last_states(&mut self.finals);
            visit(self, s * pass.segment);
            self.between.clear();
            self.keep_states();
        }
    }

    fn segments(&self, pass: &Pass<'_, T>) -> usize {
        self.assigned.steps().div_ceil(pass.segment).max(1)
    }

    fn dropping<'d>(
        &self,
        pass: &Pass<'_, T>,
        s: usize,
        dropout: Option<(&'d Dropout, u64)>,
    ) -> Dropping<'d> {
        Dropping {
            dropout,
            shard: self.index,
            first: s * pass.segment,
            most: self.assigned.len(),
        }
    }

    /// The states of a segment, from those at the end of `between`, or from the initial ones. Does not touch `finals`, which
    /// a segment that runs a second time would take back to its own end.
    fn run_states(&mut self, pass: &Pass<'_, T>, s: usize, dropout: Option<(&Dropout, u64)>) {
        let dropping = self.dropping(pass, s, dropout);
        let steps = self.steps(pass, s);
        let width = self.architecture().state();
        let scratch = &mut self.scratch;
        scratch.load(&pass.inputs, &self.assigned, steps);
        drop_inputs(scratch, &dropping);
        if s == 0 {
            scratch.begin(pass.state, &self.assigned);
            self.finals.resize(scratch.steps.n() * width, T::zero());
        } else {
            let begin = self.between.len() - scratch.steps.n() * width;
            scratch.go_on(&self.between[begin..]);
        }
        stack::states(pass.weights, scratch, &dropping);
    }

    /// The states after a segment, with which the next one begins.
    fn keep_states(&mut self) {
        let alive = self.scratch.last_alive() * self.architecture().state();
        self.between.extend_from_slice(&self.finals[..alive]);
    }

    /// Nothing comes from beyond the last step.
    fn begin_carry(&mut self) {
        let form = self.architecture().cell.form();
        let carried = self.assigned.len() * self.architecture().hidden;
        for layer in &mut self.scratch.layers {
            layer.after.clear();
            let carry = &mut layer.carry;
            for (carry, is_carried) in [
                (&mut carry.h, form.passes_h),
                (&mut carry.c, form.states == 2),
            ] {
                carry.clear();
                if is_carried {
                    carry.resize(carried, T::zero());
                }
            }
        }
    }

    fn steps(&self, pass: &Pass<'_, T>, s: usize) -> Range<usize> {
        s * pass.segment..((s + 1) * pass.segment).min(self.assigned.steps())
    }

    /// Nothing to do with the batch at hand.
    pub fn clear(&mut self) {
        self.metrics = Metrics::default();
        self.between.clear();
    }
}

/// Drops inputs, or tokens; what is kept is made larger.
fn drop_inputs<T: Scalar>(s: &mut Scratch<T>, dropping: &Dropping<'_>) {
    s.token_scale = T::one();
    // A token is one element of its one-hot row.
    let width = s.input_width();
    let Some(mut dropped) = dropping.inputs(width) else {
        return;
    };
    for t in 0..s.steps.count() {
        let rows = s.steps.rows(t);
        if s.x.is_empty() {
            s.token_scale = dropped.mask.scale();
            let ids = &mut s.ids[rows];
            dropped.draw(t, ids.len(), |i, kept| {
                if !kept {
                    ids[i] = NO_TOKEN;
                }
            });
        } else {
            dropped.apply(t, &mut s.x[rows.start * width..rows.end * width]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Batch;
    use crate::architecture::{Head, Input};
    use crate::cells::Cell;
    use crate::weights::{PackedNetwork, Passes};
    use ndarray::{Array2, Array3};

    /// A shard's results, after whatever it did before.
    fn run(
        shard: &mut Shard<f64>,
        n: usize,
        t: usize,
        segment: usize,
    ) -> (Parameters<f64>, Metrics, Vec<f64>) {
        let architecture = shard.architecture();
        let n_y = architecture.head.outputs;
        let x = Array3::from_shape_fn((n, t, architecture.input.size()), |(i, t, j)| {
            ((i + 2 * t + 3 * j) as f64).sin()
        });
        let classes = Array2::from_shape_fn((n, t), |(i, t)| ((i + t) % n_y) as u32);
        let weights = (0..architecture.len()).map(|i| (i as f64).cos() / 4.0);
        let parameters = Parameters::from_vec(architecture, weights.collect()).unwrap();
        let mut packed = PackedNetwork::default();
        packed.pack(&parameters, Passes::ForwardAndBack, false);
        let pass = Pass {
            weights: Weights {
                parameters: &parameters,
                packed: &packed,
            },
            inputs: Inputs::from(&x),
            state: None,
            segment,
        };
        let dropout = Dropout {
            inputs: 0.1,
            outputs: 0.2,
            seed: 3,
        };
        // The last a step shorter than the others.
        shard
            .assigned
            .set((0..n).map(|row| (t - usize::from(row + 1 == n), row)));
        shard.clear();
        let batch = Batch::new(&x, &classes);
        shard.train(&pass, &batch.answers, 0.5, Some((&dropout, 1)));
        (shard.gradients.clone(), shard.metrics, shard.finals.clone())
    }

    #[test]
    fn what_is_in_the_scratch_does_not_matter() {
        for (cell, layers) in Cell::ALL
            .into_iter()
            .flat_map(|cell| [(cell, 1), (cell, 2)])
        {
            let architecture = Architecture {
                cell,
                layers,
                ..Architecture::new(Input::Features(3), 10, Head::softmax(4))
            };
            for segment in [7, 3] {
                let clean = run(&mut Shard::new(architecture, 0), 3, 7, segment);
                let mut shard = Shard::new(architecture, 0);
                run(&mut shard, 4, 9, 9);
                let Shard {
                    scratch,
                    gradients,
                    finals,
                    between,
                    ..
                } = &mut shard;
                let mut buffers = vec![finals, between, &mut scratch.x, &mut scratch.u];
                buffers.extend(&mut scratch.dh);
                buffers.push(&mut scratch.gathered);
                for layer in &mut scratch.layers {
                    buffers.extend([&mut layer.states.h, &mut layer.states.c, &mut layer.sums]);
                    buffers.extend([&mut layer.dropped, &mut layer.after]);
                    buffers.extend([&mut layer.carry.h, &mut layer.carry.c]);
                }
                buffers.into_iter().for_each(|buffer| buffer.fill(f64::NAN));
                gradients.as_mut_slice().fill(f64::NAN);
                let dirty = run(&mut shard, 3, 7, segment);
                assert!(dirty == clean, "{architecture}: {dirty:?}\n{clean:?}");
            }
        }
    }
}
