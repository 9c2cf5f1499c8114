//! A text read once: ids in the order of first appearance, then the vocabulary and the map to its ids.
//!
//! ```text
//! "banana"  ->  b=0 a=1 n=2, ids 0 1 2 1 2 1  ->  a b n, map 0->1 1->0 2->2
//! ```
//!
//! So a text is read once, and only its ids are held until its vocabulary is known.

use super::ids::Ids;
use super::symbols::{
    Distinct, END_OF_LINE, END_OF_LINE_ID, Symbols, UNKNOWN, WordLimits, for_each_word,
};
use super::text::{Piece, TokenKind};
use super::vocabulary::Vocabulary;
use crate::ranks::{Ranks, broadcast_bytes};
use bytemuck::{cast_slice, pod_read_unaligned};
use std::cmp::Reverse;

/// The symbols met so far.
pub(super) struct Interner {
    symbols: Symbols,
    /// Of words, how often each was met.
    counts: Vec<u64>,
}

impl Interner {
    pub fn new(kind: TokenKind) -> Self {
        Interner {
            symbols: match kind {
                TokenKind::Byte => Symbols::Bytes,
                TokenKind::Char => Symbols::Chars(std::iter::empty().collect()),
                TokenKind::Word => {
                    Symbols::Words([UNKNOWN, END_OF_LINE].map(Box::from).into_iter().collect())
                }
            },
            counts: vec![0; 2],
        }
    }

    /// Appends a piece of a text; its last line ends even without a line feed.
    pub fn push(&mut self, piece: Piece<'_>, out: &mut Ids) {
        let text = || std::str::from_utf8(piece.text).expect("a piece is UTF-8");
        match &mut self.symbols {
            Symbols::Bytes => out.extend_from_bytes(piece.text),
            Symbols::Chars(chars) => out.extend(text().chars().map(|c| chars.insert(c))),
            Symbols::Words(words) => {
                for_each_word(text(), |word| {
                    out.push(count(words, &mut self.counts, word, 1));
                });
                if piece.open_end {
                    self.counts[END_OF_LINE_ID as usize] += 1;
                    out.push(END_OF_LINE_ID);
                }
            }
        }
    }

    /// Adds the symbols of a text that follows, as if they had been met in it here; returns the map from the ids given there.
    pub fn absorb(&mut self, next: Self) -> Vec<u32> {
        match (&mut self.symbols, next.symbols) {
            (Symbols::Chars(chars), Symbols::Chars(next)) => {
                next.iter().map(|c| chars.insert(c)).collect()
            }
            (Symbols::Words(words), Symbols::Words(next_words)) => {
                let met = next_words.into_iter().zip(next.counts);
                met.map(|(word, times)| count(words, &mut self.counts, &word, times))
                    .collect()
            }
            _ => (0..256).collect(),
        }
    }

    /// The symbols that all ranks have met, as if one process had read the texts of the ranks one after another; and the map
    /// from the ids of this rank to ids of these symbols.
    pub fn merged(self, ranks: &dyn Ranks) -> (Self, Vec<u32>) {
        let (kind, text): (_, String) = match &self.symbols {
            Symbols::Bytes => return (self, (0..256).collect()),
            Symbols::Chars(chars) => (TokenKind::Char, chars.iter().collect()),
            Symbols::Words(words) => {
                let lines = words.iter().flat_map(|word| [&**word, "\n"]);
                (TokenKind::Word, lines.collect())
            }
        };
        let (mut all, mut own) = (Interner::new(kind), Vec::new());
        for from in 0..ranks.size() {
            let text = broadcast_bytes(ranks, text.as_bytes(), from);
            let text = std::str::from_utf8(&text).expect("symbols that another rank has read");
            let counts = broadcast_bytes(ranks, cast_slice(&self.counts), from);
            let counts = counts.chunks_exact(size_of::<u64>());
            let map = all.absorb(Interner {
                symbols: match kind {
                    TokenKind::Word => Symbols::Words(text.lines().map(Box::from).collect()),
                    _ => Symbols::Chars(text.chars().collect()),
                },
                counts: counts.map(pod_read_unaligned).collect(),
            });
            if from == ranks.rank() {
                own = map;
            }
        }
        (all, own)
    }

    /// The vocabulary, and the map from the ids given so far to ids of the vocabulary; words left out become `<unk>`.
    pub fn finish(self, limits: WordLimits) -> (Vocabulary, Vec<u32>) {
        let counts = self.counts;
        match self.symbols {
            Symbols::Bytes => (Vocabulary::bytes(), (0..256).collect()),
            Symbols::Chars(chars) => {
                let sorted = chars.sorted();
                let map = chars.iter().map(|c| sorted.id(c).unwrap_or(0)).collect();
                (Vocabulary::of(Symbols::Chars(sorted)), map)
            }
            Symbols::Words(words) => {
                let mut order: Vec<usize> = (2..words.len())
                    .filter(|&i| counts[i] >= limits.min_count)
                    .collect();
                order.sort_unstable_by_key(|&i| (Reverse(counts[i]), &words[i]));
                order.truncate(limits.vocab_size.map_or(usize::MAX, |size| size - 2));
                let kept = [0, 1].into_iter().chain(order);
                let kept: Distinct<Box<str>> = kept.map(|i| words[i].clone()).collect();
                let id = |word| kept.get_index_of(word).unwrap_or(0) as u32;
                let map = words.iter().map(id).collect();
                (Vocabulary::of(Symbols::Words(kept)), map)
            }
        }
    }
}

/// The id of a word that was met so many times more, the next free one if it is new.
fn count(words: &mut Distinct<Box<str>>, counts: &mut Vec<u64>, word: &str, times: u64) -> u32 {
    let known = words.get_index_of(word);
    let id = known.unwrap_or_else(|| words.insert_full(word.into()).0);
    counts.resize(words.len(), 0);
    counts[id] += times;
    id as u32
}
