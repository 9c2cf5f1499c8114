//! The arrays of a window, gathered from a corpus or a set into buffers that are used again.
//!
//! Knows which steps it was asked for; knows nothing of epochs or orders.

use super::corpus::Corpus;
use super::loader::Row;
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
    /// The first token of each row of text, and its steps.
    parts: Vec<(usize, usize)>,
    rows: Vec<Row>,
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
            parts: Vec::new(),
            rows: Vec::new(),
            share: None,
        }
    }

    /// A window of every stream, a row for each part of a document; and what the rows are, unless each goes on from the
    /// same row of the window before.
    pub fn streams(
        &mut self,
        corpus: &Corpus,
        streams: &Streams,
        window: usize,
    ) -> (Batch<'_, T>, Option<&[Row]>) {
        self.parts.clear();
        self.rows.clear();
        for stream in 0..streams.count {
            let (begin, steps) = (streams.begin(stream, window), streams.window_steps(window));
            for part in corpus.documents.parts(begin, steps) {
                self.parts.push((part.token, part.steps));
                let fresh = part.begins;
                self.rows.push(Row { stream, fresh });
            }
        }
        let as_before = self.rows.len() == streams.count
            && (window == 0 || self.rows.iter().all(|row| !row.fresh));
        let shape = self.gather_parts(corpus, false);
        (self.text(shape), (!as_before).then_some(&self.rows[..]))
    }

    /// A window of pieces of documents.
    pub fn pieces(
        &mut self,
        corpus: &Corpus,
        rows: impl Iterator<Item = (usize, usize)>,
    ) -> Batch<'_, T> {
        self.parts.clear();
        self.parts.extend(rows);
        let shape = self.gather_parts(corpus, true);
        self.text(shape)
    }

    /// The parts as rows, zero beyond their ends. Where no state is needed after them, one step fewer is masked: cheaper than
    /// to sort by length.
    fn gather_parts(&mut self, corpus: &Corpus, may_mask: bool) -> (usize, usize) {
        let lengths = self.parts.iter().map(|part| part.1);
        let least = lengths.clone().min().unwrap_or(0);
        let steps = lengths.clone().max().unwrap_or(0);
        self.mask.clear();
        self.lengths.clear();
        if may_mask && least + 1 == steps {
            let counts = lengths.flat_map(|own| (0..steps).map(move |step| step < own));
            self.mask.extend(counts);
        } else if least < steps {
            self.lengths.extend(lengths);
        }
        let lengths = (!self.lengths.is_empty()).then_some(&self.lengths[..]);
        let ours = self
            .share
            .as_mut()
            .map(|share| share.of(self.parts.len(), lengths));
        for (ids, after) in [(&mut self.tokens, 0), (&mut self.classes, 1)] {
            ids.resize(self.parts.len() * steps, 0);
            let rows = ids.chunks_exact_mut(steps).zip(&self.parts).enumerate();
            for (i, (row, &(token, own))) in rows {
                if ours.is_none_or(|ours| ours[i]) {
                    corpus.ids().copy_to(token + after, &mut row[..own]);
                    row[own..].fill(0);
                }
            }
        }
        (self.parts.len(), steps)
    }

    fn text(&self, shape: (usize, usize)) -> Batch<'_, T> {
        Batch {
            inputs: Inputs::Tokens(matrix(shape, &self.tokens)),
            answers: Answers {
                targets: Targets::Classes(matrix(shape, &self.classes)),
                mask: (!self.mask.is_empty()).then(|| matrix(shape, &self.mask)),
            },
            lengths: (!self.lengths.is_empty()).then_some(&self.lengths[..]),
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
