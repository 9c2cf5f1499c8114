//! Which sequences of a batch are whose: [`Partition`].
//!
//! Sequences of one length go to the shards in one piece each, as even as can be; others are dealt out with the longest
//! first, so that each shard has its part of the long ones. Shards go to ranks in one piece each. All of it follows from
//! the batch and the number of shards alone, so every rank knows what the others have.

use crate::steps::Extent;
use std::cmp::Reverse;
use std::ops::Range;

/// A batch of sequences among all shards of all ranks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Partition {
    /// All shards there are.
    pub shards: usize,
    pub n: usize,
    t: usize,
    /// `(length, sequence)` of a batch of different lengths, the longest first.
    order: Vec<(Reverse<usize>, usize)>,
}

impl Partition {
    pub fn new(shards: usize) -> Self {
        Partition {
            shards,
            ..Partition::default()
        }
    }

    /// The shards of a rank.
    pub fn shards_of(&self, rank: usize, ranks: usize) -> Range<usize> {
        even_share(rank, ranks, self.shards)
    }

    /// A batch of `n` sequences of `t` steps, or of these lengths.
    pub fn divide(&mut self, n: usize, t: usize, lengths: Option<&[usize]>) {
        (self.n, self.t) = (n, t);
        self.order.clear();
        if let Some(lengths) = lengths {
            self.order
                .extend(lengths.iter().copied().map(Reverse).zip(0..));
            self.order.sort_unstable();
        }
    }

    /// `(length, sequence)` of the sequences of a shard, the longest first.
    pub fn rows(&self, shard: usize) -> impl Iterator<Item = (usize, usize)> {
        let n = if self.order.is_empty() { self.n } else { 0 };
        let equal = even_share(shard, self.shards, n);
        let dealt = self.order.iter().skip(shard).step_by(self.shards);
        let dealt = dealt.map(|&(Reverse(length), row)| (length, row));
        equal.map(|row| (self.t, row)).chain(dealt)
    }

    /// The steps of the longest sequence.
    pub fn longest(&self) -> usize {
        (self.order.first()).map_or(self.t, |&(Reverse(length), _)| length)
    }

    /// The size of a shard's first `segment` steps: no later segment is larger.
    pub fn extent(&self, shard: usize, segment: usize) -> Extent {
        let lengths = || self.rows(shard).map(|(length, _)| length);
        let steps = lengths().next().unwrap_or(0).min(segment);
        Extent {
            n: lengths().count(),
            rows: lengths().map(|length| length.min(steps)).sum(),
            ragged: lengths().last() < lengths().next(),
        }
    }

    /// Whether any of these shards has a sequence.
    pub fn any(&self, mut shards: Range<usize>) -> bool {
        shards.any(|shard| self.rows(shard).next().is_some())
    }
}

/// Which rank has which sequences of every batch.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    pub rank: usize,
    ranks: usize,
    partition: Partition,
    whose: Vec<usize>,
}

impl Share {
    pub fn new(rank: usize, ranks: usize, shards: usize) -> Self {
        Share {
            rank,
            ranks,
            partition: Partition::new(shards),
            whose: Vec::new(),
        }
    }

    /// The rank of each sequence of a batch of `n`, of these lengths where they differ.
    pub fn of(&mut self, n: usize, lengths: Option<&[usize]>) -> &[usize] {
        self.partition.divide(n, 0, lengths);
        self.whose.resize(n, 0);
        for rank in 0..self.ranks {
            let shards = self.partition.shards_of(rank, self.ranks);
            for (_, row) in shards.flat_map(|shard| self.partition.rows(shard)) {
                self.whose[row] = rank;
            }
        }
        &self.whose
    }
}

/// Piece `i` of `n` things in `parts` pieces: as even as can be.
pub(crate) fn even_share(i: usize, parts: usize, n: usize) -> Range<usize> {
    // The bytes of files are things too, and may be many.
    let begin = |i| (i as u128 * n as u128 / parts as u128) as usize;
    begin(i)..begin(i + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_are_dealt_first() {
        let mut partition = Partition::new(2);
        partition.divide(5, 9, Some(&[3, 9, 1, 7, 8]));
        let rows = |shard| partition.rows(shard).collect::<Vec<_>>();
        assert_eq!(rows(0), [(9, 1), (7, 3), (1, 2)]);
        assert_eq!(rows(1), [(8, 4), (3, 0)]);
        partition.divide(3, 9, None);
        assert_eq!(partition.rows(1).collect::<Vec<_>>(), [(9, 1), (9, 2)]);
    }
}
