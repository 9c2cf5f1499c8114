//! The arrays of a window, filled from a text or a set; each window uses the memory of the one before: [`Collator`].
//!
//! Knows which steps it was asked for; knows nothing of epochs or orders.

use super::cut::{Cut, Rows};
use super::documents::Documents;
use super::sequences::Sequences;
use super::sharded_ids::{Requests, ShardedIds};
use super::store::{Buffer, view};
use crate::partition::Share;
use crate::{Answers, At, Batch, Inputs, Result, Scalar, Targets};
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
    /// Sequences are run to their ends, whichever of their steps count.
    pub whole: bool,
    /// Steps that predict this token of a text do not count.
    pub left_out: Option<u32>,
    /// With several ranks, which rank has which row. A rank fills in only its own rows; inputs and targets of the other
    /// rows may be anything.
    pub share: Option<Share>,
    /// Whether each row is this rank's own.
    own: Vec<bool>,
    /// What the rows are.
    rows: Rows,
}

impl<T: Scalar> Collator<T> {
    /// Lays out a window of text.
    pub fn lay_out(&mut self, cut: &Cut, documents: &Documents, window: usize) {
        cut.lay_out(documents, window, &mut self.rows);
        let lengths = self.rows.parts.iter().map(|part| part.1);
        self.steps = lengths.clone().max().unwrap_or(0);
        self.lengths.clear();
        if lengths.clone().any(|steps| steps < self.steps) {
            self.lengths.extend(lengths);
        }
    }

    /// Adds the tokens that the rows laid out read and predict to what the rows' ranks request.
    pub fn request(&mut self, requests: &mut Requests) {
        let (n, lengths) = (self.rows.parts.len(), lengths_of(&self.lengths));
        let ranks = self.share.as_mut().map(|share| share.of(n, lengths));
        let rows = ranks.into_iter().flatten().zip(&self.rows.parts);
        for (&rank, &(token, steps)) in rows.filter(|(_, part)| part.1 > 0) {
            requests.push(rank, token..token + steps + 1);
        }
    }

    /// The rows of text that were laid out, zero beyond their ends.
    pub fn text(&mut self, tokens: &ShardedIds) -> (Batch<'_, T>, &Rows) {
        let (n, steps) = (self.rows.parts.len(), self.steps);
        self.find_own(n);
        for (ids, after) in [(&mut self.inputs.ids, 0), (&mut self.targets.ids, 1)] {
            ids.resize(n * steps, 0);
            let rows = ids.chunks_exact_mut(steps).zip(&self.rows.parts);
            for ((row, &(token, length)), &own) in rows.zip(&self.own) {
                if own && length > 0 {
                    tokens.copy_to(token + after, &mut row[..length]);
                }
                row[length..].fill(0);
            }
        }
        self.mask.clear();
        if let Some(token) = self.left_out {
            self.mask
                .extend(self.targets.ids.iter().map(|&id| id != token));
        }
        let batch = Batch {
            inputs: Inputs::Tokens(view((n, steps), &self.inputs.ids)),
            answers: Answers {
                targets: Targets::Classes(view((n, steps), &self.targets.ids)),
                mask: (!self.mask.is_empty()).then(|| view((n, steps), &self.mask)),
            },
            lengths: lengths_of(&self.lengths),
        };
        (batch, &self.rows)
    }

    /// Some steps of some sequences, whole or as far as they have to be run for the loss of a causal network; zero beyond.
    ///
    /// Nothing that is left out can be missed there: after the last step of a sequence that counts, no state of it is used again.
    ///
    /// # Errors
    /// [`crate::Error::File`] if they are in a file, and that is not any more what it was.
    pub fn sequences(
        &mut self,
        set: &Sequences<T>,
        rows: &[usize],
        steps: Range<usize>,
    ) -> Result<(Batch<'_, T>, &Rows)> {
        (self.rows.fresh, self.rows.as_before) = (steps.start == 0, true);
        self.lengths.clear();
        let run = match self.whole {
            true => set.lengths(),
            false => set.run_lengths(),
        };
        if let Some(run) = run {
            let within = |&row: &usize| run[row].clamp(steps.start, steps.end) - steps.start;
            self.lengths.extend(rows.iter().map(within));
        }
        self.mask.clear();
        let answers = match set.at() {
            At::Every => steps.clone(),
            At::Last => 0..1,
        };
        // Every rank counts all steps that count.
        if let Some(mask) = set.mask() {
            for &row in rows {
                self.mask.extend(mask.slice(s![row, answers.clone()]));
            }
        }
        self.find_own(rows.len());
        let Sequences {
            inputs, targets, ..
        } = set;
        let [t, t_y] = [steps.len(), answers.len()];
        let [shape, shape_y] = [t, t_y].map(|t| (rows.len(), t));
        self.inputs.make_room(inputs, shape);
        self.targets.make_room(targets, shape_y);
        for (i, &sequence) in rows.iter().enumerate().filter(|(i, _)| self.own[*i]) {
            let run = lengths_of(&self.lengths).map_or(t, |lengths| lengths[i]);
            let row = set.rows[sequence];
            let from = row * set.steps() + steps.start;
            self.inputs.copy(inputs, from, run, |_| true, (i, t))?;
            let from = row * set.answers + answers.start;
            let counts = |step| self.mask.is_empty() || self.mask[i * t_y + step];
            self.targets
                .copy(targets, from, run.min(t_y), counts, (i, t_y))?;
        }
        let batch = Batch {
            inputs: self.inputs.inputs(inputs, shape),
            answers: Answers {
                targets: self.targets.targets(targets, shape_y),
                mask: (!self.mask.is_empty()).then(|| view(shape_y, &self.mask)),
            },
            lengths: lengths_of(&self.lengths),
        };
        Ok((batch, &self.rows))
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

/// The lengths of the rows; `None` where there are none.
fn lengths_of(lengths: &[usize]) -> Option<&[usize]> {
    (!lengths.is_empty()).then_some(lengths)
}
