//! The ids of a text among several ranks: [`ShardedIds`], those that this process has.
//!
//! ```text
//! text          0 . . . . . . . . 9 | 10 . . . . . . . 19      20 tokens
//! as read       rank 0: 0 .. 10       rank 1: 10 .. 20         each what it has read of the files
//! as requested  rank 0: 0 .. 9        rank 1: 8 .. 17          each what its sequences consist of
//! ```
//!
//! A place is always that of a token in the whole text. Knows nothing of why a rank requests which tokens.

use super::ids::Ids;
use crate::ranks::{Ranks, gather_values};
use rangemap::RangeSet;
use std::ops::Range;

/// Consecutive places of the text that share a factor in the fingerprint.
const BLOCK: usize = 256;

/// The ids of those tokens of a text that this process has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ShardedIds {
    ids: Ids,
    /// The runs of tokens that `ids` consists of, in the order of the text.
    runs: Vec<Run>,
    /// Where the part that each rank has read begins, and where the last part ends; empty if this process has the whole text.
    cuts: Vec<usize>,
}

/// Consecutive tokens of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    /// The place of the first token in the text.
    place: usize,
    /// The index of that token's id in [`ShardedIds::ids`].
    at: usize,
}

impl ShardedIds {
    pub fn whole(ids: Ids) -> Self {
        ShardedIds {
            ids,
            runs: vec![Run { place: 0, at: 0 }],
            cuts: Vec::new(),
        }
    }

    /// What this rank has read of a text, whose parts are in the order of the ranks. All ranks have integers of the same width.
    pub fn part(ids: Ids, ranks: &dyn Ranks) -> Self {
        if ranks.size() == 1 {
            return Self::whole(ids);
        }
        let mut cuts = vec![0];
        for tokens in gather_values(ranks, ids.len() as u64) {
            cuts.push(cuts[cuts.len() - 1] + tokens as usize);
        }
        let place = cuts[ranks.rank()];
        ShardedIds {
            ids,
            runs: vec![Run { place, at: 0 }],
            cuts,
        }
    }

    /// Whether each rank has read a part of the text.
    pub fn is_part(&self) -> bool {
        !self.cuts.is_empty()
    }

    /// The ids that this process has.
    pub fn ids(&self) -> &Ids {
        &self.ids
    }

    /// Copies `out.len()` ids, from a place of the text on.
    ///
    /// # Panics
    /// If this process does not have them.
    pub fn copy_to(&self, place: usize, out: &mut [u32]) {
        let next = self.runs.partition_point(|run| run.place <= place);
        let run = self.runs[next.checked_sub(1).expect("the tokens were requested")];
        self.ids.copy_to(run.at + (place - run.place), out);
    }

    /// A number that tells texts apart: the wrapping sum of the ids, each multiplied by a hash of its place (multilinear
    /// hashing). So the numbers of the parts of a text add up to the number of the whole.
    pub fn fingerprint(&self) -> u64 {
        let of_place: [u64; BLOCK] = std::array::from_fn(|i| hash64(i as u64) | 1);
        let mut place = self.begin();
        let (mut sum, mut at, mut ids) = (0u64, 0, [0; BLOCK]);
        while at < self.ids.len() {
            let first = place % BLOCK;
            let ids = &mut ids[..(BLOCK - first).min(self.ids.len() - at)];
            self.ids.copy_to(at, ids);
            let block: u64 = (ids.iter().zip(&of_place[first..]))
                .map(|(&id, &factor)| factor.wrapping_mul(u64::from(id) + 1))
                .fold(0, u64::wrapping_add);
            let of_block = hash64(!(place / BLOCK) as u64) | 1;
            sum = sum.wrapping_add(of_block.wrapping_mul(block));
            (at, place) = (at + ids.len(), place + ids.len());
        }
        sum
    }

    /// The place of the first token that this process has read.
    fn begin(&self) -> usize {
        match self.runs[..] {
            [Run { place, .. }] => place,
            _ => panic!("a text is asked this before its tokens are exchanged"),
        }
    }

    /// `self` keeps what is before a place, the rest is returned.
    pub fn split_off(&mut self, place: usize) -> Self {
        let begin = self.begin();
        let end = begin + self.ids.len();
        let right = self.ids.split_off(place.clamp(begin, end) - begin);
        let cuts = self.cuts.iter().map(|cut| cut.saturating_sub(place));
        let right = ShardedIds {
            ids: right,
            runs: vec![Run {
                place: begin.saturating_sub(place),
                at: 0,
            }],
            cuts: cuts.collect(),
        };
        self.cuts.iter_mut().for_each(|cut| *cut = place.min(*cut));
        self.runs[0].place = begin.min(place);
        right
    }

    /// Every rank gets the tokens that it requests from the ranks that have read them, and drops all others.
    pub fn exchange(&mut self, requests: Requests, ranks: &dyn Ranks) {
        let (me, size) = (ranks.rank(), ranks.size());
        let requests = requests.by_rank;
        let (mut runs, mut at) = (Vec::new(), 0);
        for range in requests[me].iter() {
            let place = range.start;
            runs.push(Run { place, at });
            at += range.len();
        }
        let own = self.cuts[me];
        let mut ids = self.ids.split_off(self.ids.len());
        // Pair by pair, in the same order on all ranks, so that no two ranks wait for each other.
        for from in 0..size {
            let there = self.cuts[from]..self.cuts[from + 1];
            for (to, requested) in requests.iter().enumerate() {
                if from != me && to != me {
                    continue;
                }
                let wanted = requested.iter().filter_map(|range| common(range, &there));
                let wanted: Vec<_> = wanted.collect();
                let here = wanted
                    .iter()
                    .map(|range| range.start - own..range.end - own);
                match (from == me, to == me) {
                    _ if wanted.is_empty() => {}
                    (true, true) => here.for_each(|range| ids.append(&self.ids, range)),
                    (true, false) => {
                        let bytes: Vec<_> = here.map(|range| self.ids.bytes(range)).collect();
                        ranks.send(&bytes.concat(), to);
                    }
                    (false, _) => {
                        let count = wanted.iter().map(|range| range.len()).sum();
                        ranks.receive(ids.grow(count), from);
                    }
                }
            }
        }
        (self.ids, self.runs) = (ids, runs);
    }
}

/// The tokens that ranks request: all that this rank requests, and those that other ranks request from this one.
pub(super) struct Requests {
    /// Ranges of places; those that meet or overlap become one.
    by_rank: Vec<RangeSet<usize>>,
    rank: usize,
    /// The places of the tokens that this rank has read.
    here: Range<usize>,
}

impl Requests {
    pub fn new(tokens: &ShardedIds, ranks: &dyn Ranks) -> Self {
        let rank = ranks.rank();
        Requests {
            by_rank: vec![RangeSet::new(); ranks.size()],
            rank,
            here: tokens.cuts[rank]..tokens.cuts[rank + 1],
        }
    }

    /// Adds tokens that a rank requests.
    pub fn push(&mut self, rank: usize, range: Range<usize>) {
        let range = match rank == self.rank {
            true => Some(range),
            false => common(&range, &self.here),
        };
        self.by_rank[rank].extend(range);
    }
}

/// The part that two ranges have in common, if there is one.
fn common(a: &Range<usize>, b: &Range<usize>) -> Option<Range<usize>> {
    let both = a.start.max(b.start)..a.end.min(b.end);
    (!both.is_empty()).then_some(both)
}

/// A hash of 64 bits (the finaliser of SplitMix64: Steele, Lea and Flood, 2014).
fn hash64(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
