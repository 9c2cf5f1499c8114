//! A text read once: ids in the order of first appearance, then the vocabulary and the map to its
//! ids.
//!
//! ```text
//! "banana"  ->  b=0 a=1 n=2, ids 0 1 2 1 2 1  ->  a b n, map 0->1 1->0 2->2
//! ```
//!
//! So no text has to be held, or read again, until its vocabulary is known.

use super::ids::Ids;
use super::text::Piece;
use super::vocabulary::{
    END_OF_LINE, END_OF_LINE_ID, TokenKind, UNKNOWN, Vocabulary, for_each_word, utf8,
};
use crate::ranks::{Ranks, broadcast_bytes};
use crate::{Error, Result};
use bytemuck::{cast_slice, pod_read_unaligned};
use std::collections::HashMap;

/// Which words of a text become part of the vocabulary; the rest is `<unk>`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WordLimits {
    /// A word must occur at least this often.
    pub min_count: u64,
    /// At most this many symbols, `<unk>` and `<eos>` among them, the frequent ones first.
    pub vocab_size: Option<usize>,
}

impl WordLimits {
    /// # Errors
    /// [`Error::Option`] for a vocabulary that has no room for a word.
    pub(super) fn check(self) -> Result<()> {
        match self.vocab_size {
            Some(size @ ..=2) => Err(Error::Option {
                name: "--vocab-size",
                value: size.to_string(),
                expected: "at least 3: `<unk>`, `<eos>` and a word",
            }),
            _ => Ok(()),
        }
    }
}

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

    /// The symbols that all ranks have met, as if one had read their texts one after another; and for each id given so far
    /// the one among them.
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

    /// Symbols and how often they occur, the words a line each; returns their ids.
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

    /// The vocabulary, and for each id given so far the vocabulary's.
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

/// `map[order[i]] = i`; 0 for what is not in `order`.
fn inverse(order: &[usize], len: usize) -> Vec<u32> {
    let mut map = vec![0; len];
    for (new, &old) in order.iter().enumerate() {
        map[old] = new as u32;
    }
    map
}

/// No id.
const ABSENT: u32 = u32::MAX;

/// Characters in the order of their ids, and the way back: a table for ASCII, a hash for the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CharIds {
    pub list: Vec<char>,
    ascii: Box<[u32; 128]>,
    rest: HashMap<char, u32>,
}

impl Default for CharIds {
    fn default() -> Self {
        CharIds {
            list: Vec::new(),
            ascii: Box::new([ABSENT; 128]),
            rest: HashMap::new(),
        }
    }
}

impl CharIds {
    pub fn get(&self, c: char) -> Option<u32> {
        match self.ascii.get(c as usize) {
            Some(&ABSENT) => None,
            Some(&id) => Some(id),
            None => self.rest.get(&c).copied(),
        }
    }

    /// The id of `c`, the next free one if it is new.
    pub fn intern(&mut self, c: char) -> u32 {
        if let Some(id) = self.get(c) {
            return id;
        }
        let id = self.list.len() as u32;
        self.list.push(c);
        match self.ascii.get_mut(c as usize) {
            Some(entry) => *entry = id,
            None => {
                self.rest.insert(c, id);
            }
        }
        id
    }
}

/// Words in the order of their ids, and the way back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct WordIds {
    pub list: Vec<Box<str>>,
    ids: HashMap<Box<str>, u32>,
}

impl WordIds {
    pub fn get(&self, word: &str) -> Option<u32> {
        self.ids.get(word).copied()
    }

    /// The id of `word`, the next free one if it is new.
    pub fn intern(&mut self, word: &str) -> u32 {
        if let Some(id) = self.get(word) {
            return id;
        }
        let id = self.list.len() as u32;
        self.list.push(word.into());
        self.ids.insert(word.into(), id);
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: TokenKind, limits: WordLimits, texts: &[&str]) -> (Vocabulary, Vec<u32>) {
        let (mut interner, mut ids) = (Interner::new(kind), Ids::default());
        for text in texts {
            let piece = Piece {
                file: 0,
                path: "".as_ref(),
                text: text.as_bytes(),
                place: Default::default(),
                open_end: !text.ends_with('\n'),
            };
            interner.push(piece, &mut ids).unwrap();
        }
        let (vocabulary, map) = interner.finish(limits);
        let ids = (0..ids.len()).map(|i| map[ids.get(i) as usize]).collect();
        (vocabulary, ids)
    }

    #[test]
    fn reading_once_is_as_reading_twice() {
        let text = "banana\n\u{1F600}brea é";
        let (vocabulary, ids) = read(TokenKind::Char, WordLimits::default(), &[text]);
        assert_eq!(vocabulary, Vocabulary::of_chars(text));
        assert_eq!(ids, vocabulary.encode(text.as_bytes()).unwrap());
    }

    #[test]
    fn words_are_ordered_by_frequency_then_spelling() {
        let limits = WordLimits::default();
        let (vocabulary, ids) = read(TokenKind::Word, limits, &["b a c\nc", "d\n"]);
        let expected = ["<unk>", "<eos>", "c", "a", "b", "d"].map(Box::from);
        assert_eq!(vocabulary, Vocabulary::from_distinct_words(expected));
        assert_eq!(ids, [4, 3, 2, 1, 2, 1, 5, 1]);
    }

    #[test]
    fn limits_send_the_rest_to_unk() {
        let text = ["x y y z z z <unk> w w w w\n"];
        let limits = WordLimits {
            min_count: 2,
            vocab_size: Some(4),
        };
        let (vocabulary, ids) = read(TokenKind::Word, limits, &text);
        assert_eq!(vocabulary.len(), 4);
        assert_eq!(ids, [0, 0, 0, 3, 3, 3, 0, 2, 2, 2, 2, 1]);
        let limits = WordLimits {
            min_count: 3,
            vocab_size: None,
        };
        assert_eq!(read(TokenKind::Word, limits, &text).0.len(), 4);
        let too_small = WordLimits {
            min_count: 0,
            vocab_size: Some(2),
        };
        assert!(
            too_small
                .check()
                .unwrap_err()
                .to_string()
                .contains("--vocab-size: 2")
        );
    }
}
