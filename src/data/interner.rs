//! A text read once: ids in the order of first appearance, then the vocabulary and the map to its
//! ids.
//!
//! ```text
//! "banana"  ->  b=0 a=1 n=2, ids 0 1 2 1 2 1  ->  a b n, map 0->1 1->0 2->2
//! ```
//!
//! So a text is read once, and only its ids are held until its vocabulary is known.

use super::ids::Ids;
use super::symbols::{
    CharIds, END_OF_LINE, END_OF_LINE_ID, UNKNOWN, WordIds, WordLimits, for_each_word,
};
use super::text::{Piece, TokenKind, utf8};
use super::vocabulary::Vocabulary;
use crate::ranks::{Ranks, broadcast_bytes};
use bytemuck::{cast_slice, pod_read_unaligned};

/// The symbols met so far.
pub(super) enum Interner {
    Bytes,
    Chars(CharIds),
    Words { ids: WordIds, counts: Vec<u64> },
}

impl Interner {
    pub fn new(kind: TokenKind) -> Self {
        match kind {
            TokenKind::Byte => Interner::Bytes,
            TokenKind::Char => Interner::Chars(CharIds::default()),
            TokenKind::Word => {
                let mut ids = WordIds::default();
                ids.intern(UNKNOWN);
                ids.intern(END_OF_LINE);
                Interner::Words {
                    ids,
                    counts: vec![0; 2],
                }
            }
        }
    }

    /// Appends a piece of a text; its last line ends even without a line feed.
    pub fn push(&mut self, piece: Piece<'_>, out: &mut Ids) -> Result<(), String> {
        let text = piece.text;
        match self {
            Interner::Bytes => out.extend_from_bytes(text),
            Interner::Chars(ids) => {
                let text = utf8(text)?;
                out.reserve(text.chars().count());
                text.chars().for_each(|c| out.push(ids.intern(c)));
            }
            Interner::Words { ids, counts } => {
                let mut push = |id: u32| {
                    match counts.get_mut(id as usize) {
                        Some(count) => *count += 1,
                        None => counts.push(1),
                    }
                    out.push(id);
                };
                for_each_word(utf8(text)?, |word| push(ids.intern(word)));
                if piece.open_end {
                    push(END_OF_LINE_ID);
                }
            }
        }
        Ok(())
    }

    /// The symbols that all ranks have met, as if one process had read the texts of the ranks one after another; and the map
    /// from the ids of this rank to ids of these symbols.
    pub fn merged(self, kind: TokenKind, ranks: &dyn Ranks) -> (Self, Vec<u32>) {
        let (text, counts) = match &self {
            Interner::Bytes => return (self, (0..256).collect()),
            Interner::Chars(ids) => (ids.list.iter().collect(), &[][..]),
            Interner::Words { ids, counts } => (ids.list.join("\n"), &counts[..]),
        };
        let (mut all, mut own) = (Interner::new(kind), Vec::new());
        for from in 0..ranks.size() {
            let text = broadcast_bytes(ranks, text.as_bytes(), from);
            let counts = broadcast_bytes(ranks, cast_slice(counts), from);
            let text = std::str::from_utf8(&text).expect("symbols that another rank has read");
            let map = all.add(
                text,
                counts
                    .chunks_exact(size_of::<u64>())
                    .map(pod_read_unaligned),
            );
            if from == ranks.rank() {
                own = map;
            }
        }
        (all, own)
    }

    /// Adds symbols and how often each occurs, words separated by line feeds; returns the ids of these symbols.
    fn add(&mut self, symbols: &str, counts: impl Iterator<Item = u64>) -> Vec<u32> {
        match self {
            Interner::Bytes => Vec::new(),
            Interner::Chars(ids) => symbols.chars().map(|c| ids.intern(c)).collect(),
            Interner::Words { ids, counts: all } => {
                let words = symbols.split('\n').zip(counts);
                let ids = words.map(|(word, count)| {
                    let id = ids.intern(word);
                    all.resize(all.len().max(id as usize + 1), 0);
                    all[id as usize] += count;
                    id
                });
                ids.collect()
            }
        }
    }

    /// The vocabulary, and the map from the ids given so far to ids of the vocabulary; words left out become `<unk>`.
    pub fn finish(self, limits: WordLimits) -> (Vocabulary, Vec<u32>) {
        match self {
            Interner::Bytes => (Vocabulary::bytes(), (0..256).collect()),
            Interner::Chars(ids) => {
                let mut order: Vec<usize> = (0..ids.list.len()).collect();
                order.sort_unstable_by_key(|&i| ids.list[i]);
                let chars = order.iter().map(|&i| ids.list[i]).collect();
                (
                    Vocabulary::from_distinct_chars(chars),
                    inverse(&order, ids.list.len()),
                )
            }
            Interner::Words { ids, counts } => {
                let words = &ids.list;
                let mut order: Vec<usize> = (2..words.len())
                    .filter(|&i| counts[i] >= limits.min_count)
                    .collect();
                order.sort_unstable_by(|&a, &b| {
                    counts[b]
                        .cmp(&counts[a])
                        .then_with(|| words[a].cmp(&words[b]))
                });
                order.truncate(limits.vocab_size.map_or(usize::MAX, |size| size - 2));
                order.splice(0..0, [0, 1]);
                let kept = order.iter().map(|&i| words[i].clone());
                (
                    Vocabulary::from_distinct_words(kept),
                    inverse(&order, words.len()),
                )
            }
        }
    }
}

/// `map[order[i]] = i`, and 0 for each number that is not in `order`.
fn inverse(order: &[usize], len: usize) -> Vec<u32> {
    let mut map = vec![0; len];
    for (new, &old) in order.iter().enumerate() {
        map[old] = new as u32;
    }
    map
}
