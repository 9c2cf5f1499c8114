//! The arrays of a window, filled from a text or a set; each window uses the memory of the one before: [`Collator`].
//!
//! Knows which steps it was asked for; knows nothing of epochs or orders.

use super::documents::Documents;
use super::sequences::Sequences;
use super::sharded_ids::{Requests, ShardedIds};
use super::store::{SetArray, Store, matrix};
use super::streams::Streams;
use super::window::Row;
use crate::partition::Share;
use crate::{Answers, Batch, Inputs, Result, Scalar, Targets};
use ndarray::s;
use std::ops::Range;

/// The arrays of the current window.
#[derive(Clone, Debug, Default)]
pub(super) struct Collator<T> {
    inputs: Buffer<T>,
    targets: Buffer<T>,
    /// Empty if there is no mask.
    mask: Vec<bool>,
    /// How many steps of each row are run; empty if all rows have the steps of the window.
    lengths: Vec<usize>,
    /// The steps of the longest row.
    steps: usize,
    /// With several ranks, which rank has which row. A rank fills in only its own rows; inputs and targets of the other
    /// rows may be anything.
    pub share: Option<Share>,
    /// Whether each row is this rank's own.
    own: Vec<bool>,
    /// Of a window of text, the first token that each row reads, and the row's steps.
    parts: Vec<(usize, usize)>,
    rows: Vec<Row>,
}

/// Inputs or targets of the window: floats or ids.
#[derive(Clone, Debug, Default)]
struct Buffer<T> {
    floats: Vec<T>,
    ids: Vec<u32>,
}

impl<T: Scalar> Collator<T> {
    /// Lays out a window of every stream, a row for each part of a document. Returns whether the rows are others than those
    /// of the window before, or begin documents.
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
        self.lay_out();
        !as_before
    }

    /// Lays out a window of text whose rows are given by their first token and their steps.
    pub fn lay_out_rows(&mut self, rows: impl Iterator<Item = (usize, usize)>) {
        self.parts.clear();
        self.parts.extend(rows);
        self.lay_out();
    }

    fn lay_out(&mut self) {
        let lengths = self.parts.iter().map(|part| part.1);
        self.steps = lengths.clone().max().unwrap_or(0);
        self.lengths.clear();
        if lengths.clone().any(|steps| steps < self.steps) {
            self.lengths.extend(lengths);
        }
    }

    /// Adds the tokens that the rows laid out read and predict to what the rows' ranks request.
    pub fn request(&mut self, requests: &mut Requests) {
        let (n, lengths) = (self.parts.len(), lengths_of(&self.lengths));
        let ranks = self.share.as_mut().map(|share| share.of(n, lengths));
        let rows = ranks.into_iter().flatten().zip(&self.parts);
        for (&rank, &(token, steps)) in rows.filter(|(_, part)| part.1 > 0) {
            requests.push(rank, token..token + steps + 1);
        }
    }

    /// The rows of text that were laid out, zero beyond their ends.
    pub fn text(&mut self, tokens: &ShardedIds) -> (Batch<'_, T>, &[Row]) {
        let (n, steps) = (self.parts.len(), self.steps);
        self.find_own(n);
        for (ids, after) in [(&mut self.inputs.ids, 0), (&mut self.targets.ids, 1)] {
            ids.resize(n * steps, 0);
            let rows = ids.chunks_exact_mut(steps).zip(&self.parts);
            for ((row, &(token, length)), &own) in rows.zip(&self.own) {
                if own && length > 0 {
                    tokens.copy_to(token + after, &mut row[..length]);
                }
                row[length..].fill(0);
            }
        }
        let batch = Batch {
            inputs: Inputs::Tokens(matrix((n, steps), &self.inputs.ids)),
            answers: Answers {
                targets: Targets::Classes(matrix((n, steps), &self.targets.ids)),
                mask: None,
            },
            lengths: lengths_of(&self.lengths),
        };
        (batch, &self.rows)
    }

    /// Some steps of some sequences, as far as they have to be run for the loss of a causal network; zero beyond.
    ///
    /// Nothing that is left out can be missed: after the last step of a sequence that counts, no state of it is used again.
    ///
    /// # Errors
    /// [`crate::Error::File`] if they are in a file, and that is not any more what it was.
    pub fn sequences(
        &mut self,
        set: &Sequences<T>,
        rows: &[usize],
        steps: Range<usize>,
    ) -> Result<Batch<'_, T>> {
        self.lengths.clear();
        if let Some(run) = set.run_lengths() {
            let within = |&row: &usize| run[row].clamp(steps.start, steps.end) - steps.start;
            self.lengths.extend(rows.iter().map(within));
        }
        self.mask.clear();
        // Every rank counts all steps that count.
        if let Some(mask) = set.mask() {
            for &row in rows {
                self.mask.extend(mask.slice(s![row, steps.clone()]));
            }
        }
        self.find_own(rows.len());
        let part = Part {
            rows,
            steps,
            own: &self.own,
            lengths: lengths_of(&self.lengths),
        };
        let shape = (rows.len(), part.steps.len());
        let (inputs, targets) = set.arrays();
        part.fill(inputs, &[], &mut self.inputs)?;
        part.fill(targets, &self.mask, &mut self.targets)?;
        Ok(Batch {
            inputs: inputs.as_inputs(shape, &self.inputs.floats, &self.inputs.ids),
            answers: Answers {
                targets: targets.as_targets(shape, &self.targets.floats, &self.targets.ids),
                mask: (!self.mask.is_empty()).then(|| matrix(shape, &self.mask)),
            },
            lengths: lengths_of(&self.lengths),
        })
    }

    /// Finds out which of `n` rows are this rank's own.
    fn find_own(&mut self, n: usize) {
        self.own.clear();
        match &mut self.share {
            None => self.own.resize(n, true),
            Some(share) => {
                let own = share.rank;
                let ranks = share.of(n, lengths_of(&self.lengths)).iter();
                self.own.extend(ranks.map(|&rank| rank == own));
            }
        }
    }
}

/// Some steps of some rows of a set.
struct Part<'a> {
    rows: &'a [usize],
    steps: Range<usize>,
    own: &'a [bool],
    /// How many of the steps are run.
    lengths: Option<&'a [usize]>,
}

impl Part<'_> {
    fn fill<T: Scalar>(
        &self,
        array: &SetArray<T>,
        mask: &[bool],
        out: &mut Buffer<T>,
    ) -> Result<()> {
        match array {
            SetArray::Floats { width, store } => {
                self.gather(&**store, *width, mask, &mut out.floats)
            }
            SetArray::Ids { store, .. } => self.gather(&**store, 1, mask, &mut out.ids),
        }
    }

    /// `out [rows, steps, width]`, a row at a time; the mask is that of these rows and steps, or empty.
    fn gather<A: Copy + Default>(
        &self,
        store: &dyn Store<A>,
        width: usize,
        mask: &[bool],
        out: &mut Vec<A>,
    ) -> Result<()> {
        let t = self.steps.len();
        out.resize(self.rows.len() * t * width, A::default());
        let rows = self.rows.iter().zip(out.chunks_exact_mut(t * width));
        for (i, (&row, out)) in rows.enumerate().filter(|(i, _)| self.own[*i]) {
            let run = self.lengths.map_or(t, |lengths| lengths[i]);
            let (out, beyond) = out.split_at_mut(run * width);
            beyond.fill(A::default());
            if run > 0 {
                let steps = self.steps.start..self.steps.start + run;
                store.copy(row, steps, mask.get(i * t..i * t + run), out)?;
            }
        }
        Ok(())
    }
}

/// The lengths of the rows; `None` where there are none.
fn lengths_of(lengths: &[usize]) -> Option<&[usize]> {
    (!lengths.is_empty()).then_some(lengths)
}
