//! Which sequences of a shard are alive at which step, and where their rows lie: [`Steps`].
//!
//! The sequences of a shard stand with the longest first ([`Assigned`]), so those still alive at a step are the first of
//! those at the step before. Step `t` has `alive(t)` rows, one step after the other (PyTorch's packed sequence):
//!
//! ```text
//! lengths 4 2 1        rows of step 0: a b c     1: a b     2: a     3: a
//! ```
//!
//! Inputs, sums, outputs and their gradients lie in these rows. States lie there too, with those of the `n` sequences that
//! enter in front: the states before step `t` are the first `alive(t)` rows of the block before.

use std::ops::Range;

/// The sequences of a shard: rows of the batch, the longest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Assigned {
    /// Their rows in the batch.
    pub index: Vec<usize>,
    lengths: Vec<usize>,
}

impl Assigned {
    /// Becomes these `(length, row)`, in falling order of length; allocates only if there are more than ever before.
    pub fn set(&mut self, rows: impl Iterator<Item = (usize, usize)>) {
        self.index.clear();
        self.lengths.clear();
        for (length, row) in rows {
            self.index.push(row);
            self.lengths.push(length);
        }
        debug_assert!(self.lengths.is_sorted_by(|a, b| a >= b));
    }

    /// The steps of the longest.
    pub fn steps(&self) -> usize {
        self.lengths.first().copied().unwrap_or(0)
    }

    /// How many have more than `t` steps.
    fn alive(&self, t: usize) -> usize {
        self.lengths.partition_point(|&length| length > t)
    }
}

/// How many sequences and steps a buffer has to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Sequences that enter.
    pub n: usize,
    /// Steps of all of them together.
    pub rows: usize,
    /// Whether some end before others.
    pub ragged: bool,
}

/// Some time steps of the sequences of a shard.
#[derive(Clone, Debug, Default)]
pub(crate) struct Steps {
    /// Sequences that enter: those alive at the step before.
    pub n: usize,
    /// The first row of each step; one more at the end.
    starts: Vec<usize>,
    /// How many of the steps each sequence that enters has.
    lengths: Vec<usize>,
}

impl Steps {
    /// Becomes time steps `steps` of these sequences.
    pub fn lay_out(&mut self, assigned: &Assigned, steps: Range<usize>) {
        self.n = match steps.start {
            0 => assigned.index.len(),
            first => assigned.alive(first - 1),
        };
        let entering = &assigned.lengths[..self.n];
        let within = |&length: &usize| length.min(steps.end).saturating_sub(steps.start);
        self.lengths.clear();
        self.lengths.extend(entering.iter().map(within));
        self.starts.clear();
        self.starts.push(0);
        let mut end = 0;
        self.starts.extend(steps.map(|t| {
            end += assigned.alive(t);
            end
        }));
    }

    pub fn extent(&self) -> Extent {
        let rows = self.rows_of(0..self.count()).len();
        Extent {
            n: self.n,
            rows,
            ragged: rows < self.n * self.count(),
        }
    }

    /// The number of steps.
    pub fn count(&self) -> usize {
        self.starts.len() - 1
    }

    /// Sequences that step `t` runs over.
    pub fn alive(&self, t: usize) -> usize {
        self.rows(t).len()
    }

    /// The rows of step `t`.
    pub fn rows(&self, t: usize) -> Range<usize> {
        self.starts[t]..self.starts[t + 1]
    }

    /// The rows of some steps.
    pub fn rows_of(&self, steps: Range<usize>) -> Range<usize> {
        self.starts[steps.start]..self.starts[steps.end]
    }

    /// The rows of sequence `i`, from its first step on.
    pub fn rows_of_sequence(&self, i: usize) -> impl Iterator<Item = usize> + '_ {
        let starts = self.starts[..self.lengths[i]].iter();
        starts.map(move |start| start + i)
    }

    /// Every row, with the row that the same step of its sequence has when the sequence is turned over, its last step first.
    pub fn turned(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        (0..self.count()).flat_map(move |t| {
            let turn = move |(i, row)| (row, self.starts[self.lengths[i] - 1 - t] + i);
            self.rows(t).enumerate().map(turn)
        })
    }

    /// The row at which the states before step `t` begin, where those that enter stand in front: as many as there are
    /// sequences in [`Steps::block`].
    pub fn before(&self, t: usize) -> usize {
        self.block(t).start
    }

    /// The rows of states before step `t` of all sequences that came so far, for `t` up to the number of steps.
    pub fn block(&self, t: usize) -> Range<usize> {
        match t {
            0 => 0..self.n,
            t => self.n + self.starts[t - 1]..self.n + self.starts[t],
        }
    }

    /// Whether the states before each of some steps stand row beside row: no sequence ends in between.
    pub fn are_contiguous(&self, steps: Range<usize>) -> bool {
        let mut inner = steps.start..steps.end.saturating_sub(1).max(steps.start);
        inner.all(|t| self.block(t).len() == self.alive(t))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_by_hand() {
        let mut assigned = Assigned::default();
        assigned.set([(4, 7), (2, 0), (1, 3), (0, 5)].into_iter());
        assert_eq!(
            (assigned.steps(), &assigned.index[..]),
            (4, &[7, 0, 3, 5][..])
        );
        let mut steps = Steps::default();
        steps.lay_out(&assigned, 0..4);
        let extent = Extent {
            n: 4,
            rows: 7,
            ragged: true,
        };
        assert_eq!(steps.extent(), extent);
        let rows = [0, 1, 2, 3].map(|t| steps.rows(t));
        assert_eq!(rows, [0..3, 3..5, 5..6, 6..7]);
        assert_eq!([0, 1, 2, 3].map(|t| steps.before(t)), [0, 4, 7, 9]);
        assert_eq!([0, 1, 4].map(|t| steps.block(t)), [0..4, 4..7, 10..11]);
        let turned: Vec<usize> = steps.turned().map(|(_, to)| to).collect();
        assert_eq!(turned, [6, 4, 2, 5, 1, 3, 0]);
        assert_eq!(steps.rows_of_sequence(1).collect::<Vec<_>>(), [1, 4]);
        // Any one step is; two are where no sequence ends before the first of them.
        assert!((0..4).all(|t| steps.are_contiguous(t..t + 1)));
        assert!((0..3).all(|t| !steps.are_contiguous(t..t + 2)));
        // A segment: whoever was alive at the step before enters.
        steps.lay_out(&assigned, 2..4);
        assert_eq!((steps.n, steps.count(), steps.alive(0)), (2, 2, 1));
        // Where none ends, all are.
        assigned.set([(4, 1), (4, 0)].into_iter());
        steps.lay_out(&assigned, 0..4);
        assert!(steps.are_contiguous(0..4));
    }
}
