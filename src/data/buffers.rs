//! The arrays of a window, gathered from a corpus or a set into buffers that are used again.
//!
//! Knows which steps it was asked for; knows nothing of epochs or orders.

use super::corpus::Corpus;
use super::sequences::{OwnedInputs, OwnedTargets, Sequences};
use super::streams::Streams;
use crate::{Answers, Batch, Inputs, Scalar, Targets};
use ndarray::{ArrayView2, ArrayView3};
use std::ops::Range;

/// The arrays of the current window, each used by some sources only.
#[derive(Clone, Debug)]
pub(super) struct Buffers<T> {
    features: Vec<T>,
    tokens: Vec<u32>,
    classes: Vec<u32>,
    distributions: Vec<T>,
    mask: Vec<bool>,
    lengths: Vec<usize>,
}

impl<T: Scalar> Buffers<T> {
    pub fn new() -> Self {
        Buffers {
            features: Vec::new(),
            tokens: Vec::new(),
            classes: Vec::new(),
            distributions: Vec::new(),
            mask: Vec::new(),
            lengths: Vec::new(),
        }
    }

    /// A window of every stream; masked where a stream is shorter than the window.
    pub fn text(&mut self, corpus: &Corpus, streams: &Streams, window: usize) -> Batch<'_, T> {
        let shape = (streams.count, streams.window_steps(window));
        let steps = shape.1;
        for ids in [&mut self.tokens, &mut self.classes] {
            ids.clear();
            ids.resize(shape.0 * steps, 0);
        }
        self.mask.clear();
        self.mask.resize(shape.0 * steps, true);
        let mut masked = false;
        for stream in 0..shape.0 {
            let (begin, own) = streams.part(stream, window);
            let row = stream * steps..stream * steps + own;
            corpus.ids().copy_to(begin, &mut self.tokens[row.clone()]);
            corpus.ids().copy_to(begin + 1, &mut self.classes[row]);
            self.mask[stream * steps + own..(stream + 1) * steps].fill(false);
            masked |= own < steps;
        }
        Batch {
            inputs: Inputs::Tokens(matrix(shape, &self.tokens)),
            answers: Answers {
                targets: Targets::Classes(matrix(shape, &self.classes)),
                mask: masked.then(|| matrix(shape, &self.mask)),
            },
            lengths: None,
        }
    }

    /// Some steps of some sequences.
    pub fn sequences(
        &mut self,
        set: &Sequences<T>,
        rows: &[usize],
        steps: Range<usize>,
    ) -> Batch<'_, T> {
        let part = Part {
            rows,
            all_steps: set.steps(),
            steps,
        };
        let shape = (rows.len(), part.steps.len());
        let inputs = match set.inputs() {
            OwnedInputs::Dense(x) => {
                part.gather(x.as_slice(), x.dim().2, &mut self.features);
                Inputs::Dense(cube(shape, x.dim().2, &self.features))
            }
            OwnedInputs::Tokens(ids) => {
                part.gather(ids.as_slice(), 1, &mut self.tokens);
                Inputs::Tokens(matrix(shape, &self.tokens))
            }
        };
        let targets = match set.targets() {
            OwnedTargets::Distributions(y) => {
                part.gather(y.as_slice(), y.dim().2, &mut self.distributions);
                Targets::Distributions(cube(shape, y.dim().2, &self.distributions))
            }
            OwnedTargets::Classes(ids) => {
                part.gather(ids.as_slice(), 1, &mut self.classes);
                Targets::Classes(matrix(shape, &self.classes))
            }
        };
        let lengths = set.lengths().map(|lengths| {
            let Range { start, end } = part.steps;
            let own = rows
                .iter()
                .map(|&row| lengths[row].clamp(start, end) - start);
            self.lengths.clear();
            self.lengths.extend(own);
            &self.lengths[..]
        });
        let mask = set.mask().map(|mask| {
            part.gather(mask.as_slice(), 1, &mut self.mask);
            matrix(shape, &self.mask)
        });
        Batch {
            inputs,
            answers: Answers { targets, mask },
            lengths,
        }
    }
}

/// Some steps of some rows of the arrays `[N, T, width]` of a set.
struct Part<'a> {
    rows: &'a [usize],
    all_steps: usize,
    steps: Range<usize>,
}

impl Part<'_> {
    /// `out [rows, steps, width]`.
    fn gather<A: Copy>(&self, array: Option<&[A]>, width: usize, out: &mut Vec<A>) {
        let array = array.expect("the arrays of a set are row-major");
        out.clear();
        for row in self.rows {
            let begin = row * self.all_steps;
            out.extend_from_slice(
                &array[(begin + self.steps.start) * width..(begin + self.steps.end) * width],
            );
        }
    }
}

fn matrix<A>(shape: (usize, usize), data: &[A]) -> ArrayView2<'_, A> {
    ArrayView2::from_shape(shape, data).expect("as many as were gathered")
}

fn cube<A>((n, t): (usize, usize), width: usize, data: &[A]) -> ArrayView3<'_, A> {
    ArrayView3::from_shape((n, t, width), data).expect("as many as were gathered")
}
