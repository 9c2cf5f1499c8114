//! The tokens of a text that a process has: [`Tokens`], all of them or its part.
//!
//! ```text
//! text          0 . . . . . . . . 9 | 10 . . . . . . . 19      20 tokens
//! as read       rank 0: 0 .. 10       rank 1: 10 .. 20         each what it has read of the files
//! as needed     rank 0: 0 .. 9        rank 1: 8 .. 17          each what its sequences consist of
//! ```
//!
//! Places are those in the whole text. Knows nothing of why a rank needs which tokens.

use super::ids::Ids;
use crate::ranks::{Ranks, each};
use std::ops::Range;

/// Places that share a factor of the fingerprint's.
const BLOCK: usize = 256;
/// Ranges that are kept before they are merged.
const MANY: usize = 1 << 12;

/// Tokens of a text, by their places in all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tokens {
    ids: Ids,
    held: Vec<Stretch>,
    /// Where the part begins that each rank has read, and the end of the last; of a whole text, nothing.
    cuts: Vec<usize>,
}

/// Tokens in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    /// The place of the first in the text.
    place: usize,
    /// And where its id is among those here.
    at: usize,
}

impl Tokens {
    pub fn whole(ids: Ids) -> Self {
        Tokens {
            ids,
            held: vec![Stretch { place: 0, at: 0 }],
            cuts: Vec::new(),
        }
    }

    /// What each rank has read, in the order of the ranks. The integers are the same everywhere.
    pub fn part(ids: Ids, ranks: &dyn Ranks) -> Self {
        if ranks.size() == 1 {
            return Self::whole(ids);
        }
        let mut cuts = vec![0];
        cuts.extend(each(ranks, ids.len() as u64).iter().scan(0, |end, &own| {
            *end += own as usize;
            Some(*end)
        }));
        let place = cuts[ranks.rank()];
        Tokens {
            ids,
            held: vec![Stretch { place, at: 0 }],
            cuts,
        }
    }

    /// Whether the ranks have read a part each.
    pub fn is_part(&self) -> bool {
        !self.cuts.is_empty()
    }

    /// Those that are here.
    pub fn ids(&self) -> &Ids {
        &self.ids
    }

    /// Copies `out.len()` ids, from a place of the text on.
    ///
    /// # Panics
    /// If they are not here.
    pub fn copy_to(&self, place: usize, out: &mut [u32]) {
        let next = self.held.partition_point(|stretch| stretch.place <= place);
        let stretch = self.held[next.checked_sub(1).expect("the tokens are here")];
        self.ids.copy_to(stretch.at + (place - stretch.place), out);
    }

    /// A number that tells texts apart. Those of the parts of a text add up, wrapping, to that of the whole: it is a sum of
    /// the ids, each multiplied by a number drawn for its place (multilinear hashing).
    pub fn fingerprint(&self) -> u64 {
        let of_place: [u64; BLOCK] = std::array::from_fn(|i| mixed(i as u64) | 1);
        let mut place = self.begin();
        let (mut sum, mut at, mut ids) = (0u64, 0, [0; BLOCK]);
        while at < self.ids.len() {
            let first = place % BLOCK;
            let ids = &mut ids[..(BLOCK - first).min(self.ids.len() - at)];
            self.ids.copy_to(at, ids);
            let block: u64 = (ids.iter().zip(&of_place[first..]))
                .map(|(&id, &factor)| factor.wrapping_mul(u64::from(id) + 1))
                .fold(0, u64::wrapping_add);
            let of_block = mixed(!(place / BLOCK) as u64) | 1;
            sum = sum.wrapping_add(of_block.wrapping_mul(block));
            (at, place) = (at + ids.len(), place + ids.len());
        }
        sum
    }

    /// The place of the first of those that this process has read.
    fn begin(&self) -> usize {
        match self.held[..] {
            [Stretch { place, .. }] => place,
            _ => unreachable!("a text is asked this before its tokens are exchanged"),
        }
    }

    /// `self` keeps what is before a place, the rest is returned.
    pub fn split_off(&mut self, place: usize) -> Self {
        let begin = self.begin();
        let end = begin + self.ids.len();
        let right = self.ids.split_off(place.clamp(begin, end) - begin);
        let cuts = self.cuts.iter().map(|cut| cut.saturating_sub(place));
        let right = Tokens {
            ids: right,
            held: vec![Stretch {
                place: begin.saturating_sub(place),
                at: 0,
            }],
            cuts: cuts.collect(),
        };
        self.cuts.iter_mut().for_each(|cut| *cut = place.min(*cut));
        self.held[0].place = begin.min(place);
        right
    }

    /// Every rank gets from the others what it needs, and gives up what it does not.
    pub fn exchange(&mut self, needs: Needs, ranks: &dyn Ranks) {
        let (me, size) = (ranks.rank(), ranks.size());
        let needs: Vec<_> = needs.of.into_iter().map(Ranges::merged).collect();
        let mut at = 0;
        let held = needs[me].iter().map(|range| {
            let stretch = Stretch {
                place: range.start,
                at,
            };
            at += range.len();
            stretch
        });
        let held = held.collect();
        let own = self.cuts[me];
        let mut ids = self.ids.none();
        // Pair by pair, in the same order everywhere: nobody waits for somebody who waits.
        for from in 0..size {
            let there = self.cuts[from]..self.cuts[from + 1];
            for (to, needs) in needs.iter().enumerate() {
                if from != me && to != me {
                    continue;
                }
                let wanted = || needs.iter().filter_map(|range| common(range, &there));
                let count = wanted().map(|range| range.len()).sum();
                if count == 0 {
                    continue;
                }
                if from != me {
                    ranks.receive(ids.grow(count), from);
                    continue;
                }
                let here = wanted().map(|range| range.start - own..range.end - own);
                let here = here.map(|range| self.ids.bytes(range));
                if to == me {
                    let mut room = ids.grow(count);
                    for bytes in here {
                        let (next, rest) = room.split_at_mut(bytes.len());
                        next.copy_from_slice(bytes);
                        room = rest;
                    }
                } else {
                    ranks.send(&here.collect::<Vec<_>>().concat(), to);
                }
            }
        }
        (self.ids, self.held) = (ids, held);
    }
}

/// Which tokens the ranks need: all that this one does, and of what it has, what the others do.
pub(super) struct Needs {
    of: Vec<Ranges>,
    rank: usize,
    /// What it has.
    here: Range<usize>,
}

impl Needs {
    pub fn new(tokens: &Tokens, ranks: &dyn Ranks) -> Self {
        let rank = ranks.rank();
        Needs {
            of: vec![Ranges::default(); ranks.size()],
            rank,
            here: tokens.cuts[rank]..tokens.cuts[rank + 1],
        }
    }

    /// A rank needs these.
    pub fn push(&mut self, rank: usize, range: Range<usize>) {
        match rank == self.rank {
            true => self.of[rank].push(range),
            false => common(&range, &self.here)
                .into_iter()
                .for_each(|range| self.of[rank].push(range)),
        }
    }
}

/// Ranges of which most meet or overlap others.
#[derive(Clone, Debug, Default)]
struct Ranges {
    list: Vec<Range<usize>>,
    /// How many there were after they were merged last.
    merged: usize,
}

impl Ranges {
    fn push(&mut self, range: Range<usize>) {
        self.list.push(range);
        if self.list.len() > 2 * self.merged + MANY {
            self.merge();
        }
    }

    fn merge(&mut self) {
        self.list.sort_unstable_by_key(|range| range.start);
        self.list.dedup_by(|next, last| {
            let meet = next.start <= last.end;
            if meet {
                last.end = last.end.max(next.end);
            }
            meet
        });
        self.merged = self.list.len();
    }

    /// In order, none meeting another.
    fn merged(mut self) -> Vec<Range<usize>> {
        self.merge();
        self.list
    }
}

/// What is in both, if anything.
fn common(a: &Range<usize>, b: &Range<usize>) -> Option<Range<usize>> {
    let both = a.start.max(b.start)..a.end.min(b.end);
    (!both.is_empty()).then_some(both)
}

/// A number drawn by another (the finaliser of SplitMix64: Steele, Lea and Flood, 2014).
fn mixed(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
