//! The symbols of a text, each with its id: [`CharIds`], [`WordIds`]. Words are between white space, and a line ends with
//! `<eos>`.

use crate::{Error, Result};
use std::collections::HashMap;

/// The word that stands for every word the vocabulary lacks.
pub(super) const UNKNOWN: &str = "<unk>";
/// The word that ends a line.
pub(super) const END_OF_LINE: &str = "<eos>";
/// The id of [`END_OF_LINE`].
pub(super) const END_OF_LINE_ID: u32 = 1;
/// The most symbols a network can read, as [`crate::Architecture::check`] limits them.
pub(super) const MOST_SYMBOLS: usize = 1 << 24;

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
                name: "vocab_size",
                value: size.to_string(),
                expected: "at least 3: `<unk>`, `<eos>` and a word",
            }),
            _ => Ok(()),
        }
    }
}

/// The words of a text in order, with `<eos>` for every line feed.
pub(super) fn for_each_word(text: &str, mut act: impl FnMut(&str)) {
    for line in text.split_inclusive('\n') {
        line.split_whitespace().for_each(&mut act);
        if line.ends_with('\n') {
            act(END_OF_LINE);
        }
    }
}

/// What the table of ASCII characters holds for a character that has no id.
const ABSENT: u32 = u32::MAX;

/// Characters in the order of their ids, and the ids by character: a table for ASCII, a hash for all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CharIds {
    pub list: Vec<char>,
    ascii: Box<[u32; 128]>,
    others: HashMap<char, u32>,
}

impl Default for CharIds {
    fn default() -> Self {
        CharIds {
            list: Vec::new(),
            ascii: Box::new([ABSENT; 128]),
            others: HashMap::new(),
        }
    }
}

impl CharIds {
    pub fn get(&self, c: char) -> Option<u32> {
        match self.ascii.get(c as usize) {
            Some(&ABSENT) => None,
            Some(&id) => Some(id),
            None => self.others.get(&c).copied(),
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
                self.others.insert(c, id);
            }
        }
        id
    }
}

/// Words in the order of their ids, and the ids by word.
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
