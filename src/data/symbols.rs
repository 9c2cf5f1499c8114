//! The symbols of a text, each with its id: [`Symbols`]. Words are between white space, and a line ends with `<eos>`.

use super::text::TokenKind;
use crate::{Error, Result};
use indexmap::IndexSet;

/// The word that stands for every word the vocabulary lacks.
pub(super) const UNKNOWN: &str = "<unk>";
/// The id of [`UNKNOWN`].
pub(super) const UNKNOWN_ID: u32 = 0;
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
            Some(size @ ..=2) => {
                let expected = "at least 3: `<unk>`, `<eos>` and a word";
                Err(Error::option("vocab_size", size, expected))
            }
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

/// Distinct things in the order of their ids: a character is looked up for every byte of a text, so the hash is a fast one.
pub(super) type Distinct<A> = IndexSet<A, foldhash::fast::RandomState>;

/// Symbols with ids from 0 on.
#[derive(Clone, Debug)]
pub(super) enum Symbols {
    Bytes,
    Chars(Distinct<char>),
    /// The first two are `<unk>` and `<eos>`.
    Words(Distinct<Box<str>>),
}

impl Symbols {
    pub fn kind(&self) -> TokenKind {
        match self {
            Symbols::Bytes => TokenKind::Byte,
            Symbols::Chars(_) => TokenKind::Char,
            Symbols::Words(_) => TokenKind::Word,
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Symbols::Bytes => 256,
            Symbols::Chars(chars) => chars.len(),
            Symbols::Words(words) => words.len(),
        }
    }
}

/// The same symbols with the same ids.
impl PartialEq for Symbols {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Symbols::Bytes, Symbols::Bytes) => true,
            (Symbols::Chars(ours), Symbols::Chars(theirs)) => ours.iter().eq(theirs),
            (Symbols::Words(ours), Symbols::Words(theirs)) => ours.iter().eq(theirs),
            _ => false,
        }
    }
}

impl Eq for Symbols {}
