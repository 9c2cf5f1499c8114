//! The arrays of a window, gathered from a corpus or a set into buffers that are used again.
//!
//! Knows which steps it was asked for; knows nothing of epochs or orders.

use super::corpus::Corpus;
use super::sequences::{OwnedInputs, OwnedTargets, Sequences};
use super::streams::Streams;
use crate::deal::Share;
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
    /// Of several ranks, which sequences are gathered; inputs and targets of the others are anything.
    pub share: Option<Share>,
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
            share: None,
        }
    }

    /// A window of every stream; masked where a stream is shorter than the window.
    pub fn text(&mut self, corpus: &Corpus, streams: &Streams, window: usize) -> Batch<'_, T> {
        let shape = (streams.count, streams.window_steps(window));
        let steps = shape.1;
        for ids in [&mut self.tokens, &mut self.classes] {
            ids.resize(shape.0 * steps, 0);
        }
        let ours = self.share.as_mut().map(|share| share.of(shape.0, None));
        self.mask.clear();
        self.mask.resize(shape.0 * steps, true);
        let mut masked = false;
        for stream in 0..shape.0 {
            let (begin, own) = streams.part(stream, window);
            let (row, rest) = (
                stream * steps..stream * steps + own,
                own + stream * steps..(stream + 1) * steps,
            );
            if ours.as_ref().is_none_or(|ours| ours[stream]) {
                for (ids, begin) in [(&mut self.tokens, begin), (&mut self.classes, begin + 1)] {
                    corpus.ids().copy_to(begin, &mut ids[row.clone()]);
                    ids[rest.clone()].fill(0);
                }
            }
            self.mask[rest].fill(false);
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
        let lengths = set.lengths().map(|lengths| {
            let own = rows
                .iter()
                .map(|&row| lengths[row].clamp(steps.start, steps.end) - steps.start);
            self.lengths.clear();
            self.lengths.extend(own);
            &self.lengths[..]
        });
        let part = Part {
            rows,
            own: self
                .share
                .as_mut()
                .map(|share| share.of(rows.len(), lengths)),
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
        let mask = set.mask().map(|mask| {
            // Every rank counts all steps that count.
            let all = Part { own: None, ..part };
            all.gather(mask.as_slice(), 1, &mut self.mask);
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
    /// Which of them are gathered, if not all.
    own: Option<&'a [bool]>,
    all_steps: usize,
    steps: Range<usize>,
}

impl Part<'_> {
    /// `out [rows, steps, width]`.
    fn gather<A: Copy + Default>(&self, array: Option<&[A]>, width: usize, out: &mut Vec<A>) {
        let array = array.expect("the arrays of a set are row-major");
        let size = self.steps.len() * width;
        out.resize(self.rows.len() * size, A::default());
        for (i, (row, out)) in self.rows.iter().zip(out.chunks_exact_mut(size)).enumerate() {
            if self.own.is_none_or(|own| own[i]) {
                let begin = (row * self.all_steps + self.steps.start) * width;
                out.copy_from_slice(&array[begin..begin + size]);
            }
        }
    }
}

fn matrix<A>(shape: (usize, usize), data: &[A]) -> ArrayView2<'_, A> {
    ArrayView2::from_shape(shape, data).expect("as many as were gathered")
}

fn cube<A>((n, t): (usize, usize), width: usize, data: &[A]) -> ArrayView3<'_, A> {
    ArrayView3::from_shape((n, t, width), data).expect("as many as were gathered")
}
