//! A text read once: ids in the order of first appearance, then the vocabulary and the map to its ids.
//!
//! ```text
//! "banana"  ->  b=0 a=1 n=2, ids 0 1 2 1 2 1  ->  a b n, map 0->1 1->0 2->2
//! ```
//!
//! So a text is read once, and only its ids are held until its vocabulary is known.

use super::ids::Ids;
use super::symbols::{Chars, Distinct, END_OF_LINE, Symbols, UNKNOWN, WordLimits, for_each_word};
use super::text::Piece;
use super::vocabulary::Vocabulary;
use crate::ranks::{Ranks, broadcast_values};
use std::cmp::Reverse;

/// The symbols met so far.
pub(super) enum Interner {
    Chars(Chars),
    Words {
        words: Distinct<Box<str>>,
        /// How often each was met.
        counts: Vec<u64>,
    },
}

impl Interner {
    /// Of words, or else of characters.
    pub fn new(of_words: bool) -> Self {
        match of_words {
            false => Interner::Chars(std::iter::empty().collect()),
            true => Interner::Words {
                words: [UNKNOWN, END_OF_LINE].map(Box::from).into_iter().collect(),
                counts: vec![0; 2],
            },
        }
    }

    /// Appends a piece of a text; its last line ends even without a line feed.
    pub fn push(&mut self, piece: Piece<'_>, out: &mut Ids) {
        let text = std::str::from_utf8(piece.text).expect("a piece is UTF-8");
        match self {
            Interner::Chars(chars) => out.extend(text.chars().map(|c| chars.insert(c))),
            Interner::Words { words, counts } => {
                for_each_word(text, |word| out.push(count(words, counts, word, 1)));
                if piece.open_end {
                    out.push(count(words, counts, END_OF_LINE, 1));
                }
            }
        }
    }

    /// Adds the symbols of a text that follows, as if they had been met in it here; returns the map from the ids given there.
    ///
    /// # Panics
    /// If one has words and the other characters.
    pub fn absorb(&mut self, next: Self) -> Vec<u32> {
        match (self, next) {
            (Interner::Chars(chars), Interner::Chars(next)) => {
                next.iter().map(|c| chars.insert(c)).collect()
            }
            (
                Interner::Words { words, counts },
                Interner::Words {
                    words: next,
                    counts: times,
                },
            ) => {
                let met = next.into_iter().zip(times);
                met.map(|(word, times)| count(words, counts, &word, times))
                    .collect()
            }
            _ => panic!("words and characters"),
        }
    }

    /// The symbols that all ranks have met, as if one process had read the texts of the ranks one after another; and the map
    /// from the ids of this rank to ids of these symbols.
    pub fn merged(self, ranks: &dyn Ranks) -> (Self, Vec<u32>) {
        let (text, counts): (String, _) = match &self {
            Interner::Chars(chars) => (chars.iter().collect(), &[][..]),
            Interner::Words { words, counts } => {
                let lines = words.iter().flat_map(|word| [&**word, "\n"]);
                (lines.collect(), &counts[..])
            }
        };
        let of_words = matches!(self, Interner::Words { .. });
        let (mut all, mut own) = (Interner::new(of_words), Vec::new());
        for from in 0..ranks.size() {
            let text = broadcast_values(ranks, text.as_bytes(), from);
            let text = std::str::from_utf8(&text).expect("symbols that another rank has read");
            let counts = broadcast_values(ranks, counts, from);
            let map = all.absorb(match of_words {
                false => Interner::Chars(text.chars().collect()),
                true => Interner::Words {
                    words: text.lines().map(Box::from).collect(),
                    counts,
                },
            });
            if from == ranks.rank() {
                own = map;
            }
        }
        (all, own)
    }

    /// The vocabulary, and the map from the ids given so far to ids of the vocabulary; words left out become `<unk>`.
    pub fn finish(self, limits: WordLimits) -> (Vocabulary, Vec<u32>) {
        match self {
            Interner::Chars(chars) => {
                let sorted = chars.sorted();
                let map = chars.iter().map(|c| sorted.id(c).unwrap_or(0)).collect();
                (Vocabulary::of(Symbols::Chars(sorted)), map)
            }
            Interner::Words { words, counts } => {
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
