//! One shard of a batch through a whole pass: forward, loss and BPTT over its own sequences, on one thread.
//!
//! Time is taken in segments where not all of it fits the memory there is: the first pass keeps only the states between
//! segments, and going back, each segment runs forward once more before BPTT runs over it (Chen et al. 2016, with one
//! level). That is one more recurrence for all but the last segment, a third of a training step at most.
//!
//! Knows nothing of the other shards or of threads.

use crate::architecture::{Architecture, At, Head, Input, Which};
use crate::dropout::{Dropout, Dropping};
use crate::heads::Metrics;
use crate::kernels::simd;
use crate::scratch::{Filled, LayerScratch, Scratch, copy_rows};
use crate::stack::{self, Weights};
use crate::steps::{Assigned, Extent};
use crate::targets::Answers;
use crate::weights::PackedNetwork;
use crate::{Inputs, Parameters, Scalar};
use ndarray::{ArrayView2, ArrayView3};

/// What every shard of a batch is given.
pub(crate) struct Pass<'a, T: Scalar> {
    pub weights: Weights<'a, T>,
    pub inputs: Inputs<'a, T>,
    /// The initial states `[N, W]`; zero, if there are none.
    pub state: Option<ArrayView2<'a, T>>,
    /// Time steps of a segment.
    pub segment: usize,
    /// Dropout, if there is any, and the number of the update.
    pub dropout: Option<(&'a Dropout, u64)>,
    /// Whether there is a head: not where the layers run alone.
    pub head: bool,
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
    pub fn train(&mut self, pass: &Pass<'_, T>, answers: &Answers<'_, T>, scale: T) {
        // STEP 1: the states of all segments, of which those between them and those of the last are kept.
        let last = self.segments(pass) - 1;
        for s in 0..=last {
            self.run_states(pass, s);
            self.scratch.copy_last_states(&mut self.finals);
            if s < last {
                self.keep_states();
            }
        }
        self.begin_carry();
        let at = self.architecture().head.at;
        if at == At::Last {
            stack::take_last(&mut self.scratch, &self.finals);
            self.head_back(pass, answers, scale, false);
        }
        // STEP 2: from the last segment to the first: logits, loss, BPTT.
        for s in (0..=last).rev() {
            let accumulate = s < last;
            if accumulate {
                self.run_states(pass, s);
            }
            match at {
                At::Every => self.head_back(pass, answers, scale, accumulate),
                At::Last => self.scratch.make_room(Filled::Back),
            }
            let (scratch, gradients) = (&mut self.scratch, &mut self.gradients);
            stack::layers_back(pass.weights.packed, scratch, gradients, accumulate);
            let entered = scratch.steps.n * scratch.architecture.state();
            let left = self.between.len().saturating_sub(entered);
            self.between.truncate(left);
        }
    }

    /// Logits, loss and the way back through the head.
    fn head_back(
        &mut self,
        pass: &Pass<'_, T>,
        answers: &Answers<'_, T>,
        scale: T,
        accumulate: bool,
    ) {
        self.judge(pass, answers, (scale, false));
        self.scratch.make_room(Filled::Back);
        let (scratch, gradients) = (&mut self.scratch, &mut self.gradients);
        stack::head_back(pass.weights, scratch, gradients, accumulate);
    }

    /// Logits, which become their gradients; `how` is their scale, and whether ranks are counted.
    fn judge(&mut self, pass: &Pass<'_, T>, answers: &Answers<'_, T>, how: (T, bool)) {
        stack::logits(pass.weights, &mut self.scratch);
        self.metrics += stack::loss(&mut self.scratch, answers, &self.assigned.index, how);
    }

    /// The metrics of a pass forward.
    pub fn evaluate(&mut self, pass: &Pass<'_, T>, answers: &Answers<'_, T>) {
        self.infer(pass, |shard| shard.judge(pass, answers, (T::one(), true)));
    }

    /// What the network answers: `visit` sees the rows of each segment in `scratch.u`.
    pub fn predict(&mut self, pass: &Pass<'_, T>, visit: impl Fn(&Self)) {
        let Head { outputs, loss, .. } = self.architecture().head;
        self.infer(pass, |shard| {
            stack::logits(pass.weights, &mut shard.scratch);
            T::respond(simd::level(), loss, &mut shard.scratch.u, outputs);
            visit(shard);
        });
    }

    /// States alone; `answer` is called where the head has what it reads.
    fn infer(&mut self, pass: &Pass<'_, T>, answer: impl Fn(&mut Self)) {
        let at = self.architecture().head.at;
        self.advance(pass, |shard| {
            if at == At::Every {
                answer(shard);
            }
        });
        if at == At::Last {
            stack::take_last(&mut self.scratch, &self.finals);
            answer(self);
        }
    }

    /// The states alone; `visit` sees those of each segment.
    pub fn advance(&mut self, pass: &Pass<'_, T>, visit: impl Fn(&mut Self)) {
        for s in 0..self.segments(pass) {
            self.run_states(pass, s);
            self.scratch.copy_last_states(&mut self.finals);
            visit(self);
            self.between.clear();
            self.keep_states();
        }
    }

    /// After [`Shard::advance`] in one segment: the gradients of the layers, of the inputs and of the initial states from those of
    /// the hidden states `[N, T, D n_h]` and of the states after the last steps `[N, W]`.
    pub fn layers_back(
        &mut self,
        packed: &PackedNetwork<T>,
        d_hidden: &ArrayView3<'_, T>,
        d_state: Option<ArrayView2<'_, T>>,
    ) {
        let a = self.architecture();
        let scratch = &mut self.scratch;
        scratch.make_room(Filled::Back);
        let (rows, width) = (scratch.steps.extent().rows, a.outputs_of_layer());
        if let Input::Features(n_x) = a.input {
            let dx = &mut scratch.dx[a.layers % 2];
            dx.resize(dx.len().max(rows * n_x), T::zero());
        }
        let [dx, dh] = [&mut scratch.dx[0], &mut scratch.dh[0]];
        let to = if a.bidirectional { dx } else { dh };
        to.resize(to.len().max(rows * width), T::zero());
        copy_rows(&scratch.steps, &self.assigned, d_hidden, 0, to, width);
        scratch.d_state.clear();
        if let Some(d) = &d_state {
            let rows = self.assigned.index.iter();
            rows.for_each(|&row| scratch.d_state.extend(d.row(row)));
        }
        let states = self.assigned.index.len() * a.state();
        scratch.d_state.resize(states, T::zero());
        self.begin_carry();
        let (scratch, g) = (&mut self.scratch, &mut self.gradients);
        // To a cell's second state, the gradient comes through no product.
        for (i, recurrence) in scratch.recurrences.iter_mut().enumerate() {
            let carry = recurrence.carry.c.chunks_exact_mut(a.hidden);
            for (to, from) in carry.zip(scratch.d_state.chunks_exact(a.state())) {
                let from = &from[i * a.recurrence_state() + a.hidden..];
                to.copy_from_slice(&from[..a.hidden]);
            }
        }
        // Those of the head; all others are written by the layers.
        if !a.head.tied {
            g.get_mut(Which::Decoder).fill(T::zero());
        }
        g.get_mut(Which::DecoderBias).fill(T::zero());
        stack::layers_back(packed, scratch, g, false);
    }

    fn segments(&self, pass: &Pass<'_, T>) -> usize {
        self.assigned.steps().div_ceil(pass.segment).max(1)
    }

    /// The states of a segment, from those at the end of `between`, or from the initial ones. Does not touch `finals`, which
    /// a segment that runs a second time would take back to its own end.
    fn run_states(&mut self, pass: &Pass<'_, T>, s: usize) {
        let first = s * pass.segment;
        let steps = first..(first + pass.segment).min(self.assigned.steps());
        let (scratch, width) = (&mut self.scratch, self.gradients.architecture().state());
        scratch.dropping = Dropping {
            dropout: pass.dropout.map(|(dropout, update)| (*dropout, update)),
            shard: self.index,
            first,
            most: self.assigned.index.len(),
            head: pass.head,
        };
        scratch.load(&pass.inputs, &self.assigned, steps);
        let entering = scratch.steps.n * width;
        if s == 0 {
            let index = &self.assigned.index;
            match &pass.state {
                Some(state) => scratch.enter(|i, k| state[[index[i], k]]),
                None => scratch.enter(|_, _| T::zero()),
            }
            self.finals.resize(entering, T::zero());
        } else {
            let states = &self.between[self.between.len() - entering..];
            scratch.enter(|i, k| states[i * width + k]);
        }
        stack::states(pass.weights, scratch);
    }

    /// The states after a segment, with which the next one begins.
    fn keep_states(&mut self) {
        let alive = self.scratch.last_alive() * self.architecture().state();
        self.between.extend_from_slice(&self.finals[..alive]);
    }

    /// Nothing comes from beyond the last step.
    fn begin_carry(&mut self) {
        let a = self.architecture();
        let (form, len) = (a.cell.form(), self.assigned.index.len() * a.hidden);
        for LayerScratch { after, carry, .. } in &mut self.scratch.recurrences {
            after.clear();
            carry.h.clear();
            carry.c.clear();
            carry.h.resize(len * form.passes_h as usize, T::zero());
            carry.c.resize(len * (form.states == 2) as usize, T::zero());
        }
    }

    /// Nothing to do with the batch at hand.
    pub fn clear(&mut self) {
        self.metrics = Metrics::default();
        self.between.clear();
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
        let answers = architecture.head.at.answers(t);
        let classes = Array2::from_shape_fn((n, answers), |(i, t)| ((i + t) % n_y) as u32);
        let weights = (0..architecture.len()).map(|i| (i as f64).cos() / 4.0);
        let parameters = Parameters::from_vec(architecture, weights.collect()).unwrap();
        let mut packed = PackedNetwork::default();
        packed.pack(&parameters, Passes::ForwardAndBack, false);
        let dropout = Dropout {
            inputs: 0.1,
            outputs: 0.2,
            seed: 3,
        };
        let pass = Pass {
            weights: Weights {
                parameters: &parameters,
                packed: &packed,
            },
            inputs: Inputs::from(&x),
            state: None,
            segment,
            dropout: Some((&dropout, 1)),
            head: true,
        };
        // The last a step shorter than the others.
        let rows = (0..n).map(|row| (t - usize::from(row + 1 == n), row));
        shard.assigned.set(rows);
        shard.clear();
        let batch = Batch::new(&x, &classes);
        shard.train(&pass, &batch.answers, 0.5);
        (shard.gradients.clone(), shard.metrics, shard.finals.clone())
    }

    #[test]
    fn what_is_in_the_scratch_does_not_matter() {
        let kinds = [
            (1, false, Head::softmax(4)),
            (2, false, Head::softmax(4)),
            (2, true, Head::softmax(4)),
            (1, true, Head::softmax(4).at_last()),
            (2, false, Head::softmax(4).at_last()),
        ];
        let each = |cell| kinds.map(|kind| (cell, kind));
        for (cell, (layers, bidirectional, head)) in Cell::ALL.into_iter().flat_map(each) {
            let architecture = Architecture {
                cell,
                layers,
                bidirectional,
                ..Architecture::new(Input::Features(3), 10, head)
            };
            for segment in [7, if bidirectional { 7 } else { 3 }] {
                let clean = run(&mut Shard::new(architecture, 0), 3, 7, segment);
                let mut shard = Shard::new(architecture, 0);
                run(&mut shard, 4, 9, 9);
                shard.scratch.each_buffer(|buffer| buffer.fill(f64::NAN));
                shard.finals.fill(f64::NAN);
                shard.between.fill(f64::NAN);
                shard.gradients.as_mut_slice().fill(f64::NAN);
                let dirty = run(&mut shard, 3, 7, segment);
                assert!(dirty == clean, "{architecture}: {dirty:?}\n{clean:?}");
            }
        }
    }
}
