//! The arrays of a window, gathered from a corpus or a set into buffers that are used again.
//!
//! Knows which steps it was asked for; knows nothing of epochs or orders.

use super::documents::Documents;
use super::loader::Row;
use super::sequences::{Array, Sequences};
use super::sharded_ids::{Requests, ShardedIds};
use super::streams::Streams;
use crate::deal::Share;
use crate::{Answers, Batch, Inputs, Result, Scalar, Targets};
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
    /// Of the longest row.
    steps: usize,
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
            steps: 0,
            share: None,
        }
    }

    /// Lays out a window of every stream, a row for each part of a document; returns whether the rows do not just go on
    /// from the same rows of the window before.
    pub fn lay_out_streams(
        &mut self,
        documents: &Documents,
        streams: &Streams,
        window: usize,
    ) -> bool {
        self.parts.clear();
        self.rows.clear();
        for stream in 0..streams.count {
            let (begin, steps) = (streams.begin(stream, window), streams.window_steps(window));
            for part in documents.parts(begin, steps) {
                self.parts.push((part.token, part.steps));
                let fresh = part.begins;
                self.rows.push(Row { stream, fresh });
            }
        }
        let as_before = self.rows.len() == streams.count
            && (window == 0 || self.rows.iter().all(|row| !row.fresh));
        self.lay_out(false);
        !as_before
    }

    /// Lays out a window of pieces of documents.
    pub fn lay_out_pieces(&mut self, rows: impl Iterator<Item = (usize, usize)>) {
        self.parts.clear();
        self.parts.extend(rows);
        self.lay_out(true);
    }

    /// The parts as rows. Where no state is needed after them, one step fewer is masked: cheaper than to sort by length.
    fn lay_out(&mut self, may_mask: bool) {
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
        self.steps = steps;
    }

    /// Adds the tokens that the rows laid out read and predict to those that their ranks need.
    pub fn note(&mut self, needs: &mut Requests) {
        let (n, lengths) = (self.parts.len(), lengths_of(&self.lengths));
        let whose = self.share.as_mut().map(|share| share.of(n, lengths));
        let rows = whose.into_iter().flatten().zip(&self.parts);
        for (&rank, &(token, steps)) in rows.filter(|(_, part)| part.1 > 0) {
            needs.push(rank, token..token + steps + 1);
        }
    }

    /// The rows laid out, zero beyond their ends.
    pub fn gather(&mut self, tokens: &ShardedIds) -> (Batch<'_, T>, &[Row]) {
        let (n, steps) = (self.parts.len(), self.steps);
        let own = Own::new(self.share.as_mut(), n, lengths_of(&self.lengths));
        for (ids, after) in [(&mut self.tokens, 0), (&mut self.classes, 1)] {
            ids.resize(n * steps, 0);
            let rows = ids.chunks_exact_mut(steps).zip(&self.parts).enumerate();
            for (i, (row, &(token, length))) in rows {
                if own.has(i) && length > 0 {
                    tokens.copy_to(token + after, &mut row[..length]);
                }
                row[length..].fill(0);
            }
        }
        let batch = Batch {
            inputs: Inputs::Tokens(matrix((n, steps), &self.tokens)),
            answers: Answers {
                targets: Targets::Classes(matrix((n, steps), &self.classes)),
                mask: (!self.mask.is_empty()).then(|| matrix((n, steps), &self.mask)),
            },
            lengths: lengths_of(&self.lengths),
        };
        (batch, &self.rows)
    }

    /// Some steps of some sequences.
    ///
    /// # Errors
    /// [`crate::Error::File`] if they are in a file, and that is not any more what it was.
    pub fn sequences(
        &mut self,
        set: &Sequences<T>,
        rows: &[usize],
        steps: Range<usize>,
    ) -> Result<Batch<'_, T>> {
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
            own: Own::new(self.share.as_mut(), rows.len(), lengths),
            steps,
        };
        let shape = (rows.len(), part.steps.len());
        let steps = || part.steps.clone();
        let inputs = match set.width(Array::Inputs) {
            Some(n_x) => {
                part.gather(n_x, &mut self.features, |row, out| {
                    set.copy_floats(Array::Inputs, row, steps(), out)
                })?;
                Inputs::Dense(cube(shape, n_x, &self.features))
            }
            None => {
                part.gather(1, &mut self.tokens, |row, out| {
                    set.copy_ids(Array::Inputs, row, steps(), out)
                })?;
                Inputs::Tokens(matrix(shape, &self.tokens))
            }
        };
        let targets = match set.width(Array::Targets) {
            Some(n_y) => {
                part.gather(n_y, &mut self.distributions, |row, out| {
                    set.copy_floats(Array::Targets, row, steps(), out)
                })?;
                Targets::Distributions(cube(shape, n_y, &self.distributions))
            }
            None => {
                part.gather(1, &mut self.classes, |row, out| {
                    set.copy_ids(Array::Targets, row, steps(), out)
                })?;
                Targets::Classes(matrix(shape, &self.classes))
            }
        };
        // Every rank counts all steps that count.
        self.mask.clear();
        for &row in rows {
            let mask = set.mask_of(row, steps());
            self.mask.extend_from_slice(mask.unwrap_or_default());
        }
        let mask = (!self.mask.is_empty()).then(|| matrix(shape, &self.mask));
        Ok(Batch {
            inputs,
            answers: Answers { targets, mask },
            lengths,
        })
    }
}

/// Some steps of some rows of a set.
struct Part<'a> {
    rows: &'a [usize],
    own: Own<'a>,
    steps: Range<usize>,
}

impl Part<'_> {
    /// `out [rows, steps, width]`, a row at a time as `copy` finds it.
    fn gather<A: Copy + Default>(
        &self,
        width: usize,
        out: &mut Vec<A>,
        mut copy: impl FnMut(usize, &mut [A]) -> Result<()>,
    ) -> Result<()> {
        let size = self.steps.len() * width;
        out.resize(self.rows.len() * size, A::default());
        for (i, (&row, out)) in self.rows.iter().zip(out.chunks_exact_mut(size)).enumerate() {
            if self.own.has(i) {
                copy(row, out)?;
            }
        }
        Ok(())
    }
}

/// Which rows of a window are gathered: those of this rank, if there are several.
struct Own<'a>(Option<(usize, &'a [usize])>);

impl<'a> Own<'a> {
    fn new(share: Option<&'a mut Share>, n: usize, lengths: Option<&[usize]>) -> Self {
        Own(share.map(|share| (share.rank, share.of(n, lengths))))
    }

    fn has(&self, row: usize) -> bool {
        self.0.is_none_or(|(rank, whose)| whose[row] == rank)
    }
}

/// Those of the rows, where they differ.
fn lengths_of(lengths: &[usize]) -> Option<&[usize]> {
    (!lengths.is_empty()).then_some(lengths)
}

fn matrix<A>(shape: (usize, usize), data: &[A]) -> ArrayView2<'_, A> {
    ArrayView2::from_shape(shape, data).expect("as many as were gathered")
}

fn cube<A>((n, t): (usize, usize), width: usize, data: &[A]) -> ArrayView3<'_, A> {
    ArrayView3::from_shape((n, t, width), data).expect("as many as were gathered")
}
