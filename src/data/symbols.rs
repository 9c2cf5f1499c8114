//! The symbols of a text, each with its id: [`Symbols`]. Words are between white space, and a line ends with `<eos>`.

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

/// The words of a text in order, with `<eos>` for every line feed.
pub(super) fn for_each_word(text: &str, mut act: impl FnMut(&str)) {
    for line in text.split_inclusive('\n') {
        line.split_whitespace().for_each(&mut act);
        if line.ends_with('\n') {
            act(END_OF_LINE);
        }
    }
}

/// Distinct things in the order of their ids: one is looked up for every word of a text, so the hash is a fast one.
pub(super) type Distinct<A> = IndexSet<A, foldhash::fast::RandomState>;

/// Distinct characters in the order of their ids.
#[derive(Clone, Debug)]
pub(super) struct Chars {
    all: Distinct<char>,
    /// The ids of the first characters there are, [`NO_ID`] of those that were not met: to look one up by its hash takes three
    /// times as long as all else that is done with a character.
    first: Box<[u32]>,
}

/// The characters of up to two bytes of UTF-8.
const FIRST_CHARS: usize = 0x800;
const NO_ID: u32 = u32::MAX;

impl Chars {
    /// The id of a character, which gets the next one if it is new.
    #[inline]
    pub fn insert(&mut self, c: char) -> u32 {
        if let Some(id) = self.id(c) {
            return id;
        }
        let id = self.all.insert_full(c).0 as u32;
        if let Some(first) = self.first.get_mut(c as usize) {
            *first = id;
        }
        id
    }

    #[inline]
    pub fn id(&self, c: char) -> Option<u32> {
        match self.first.get(c as usize) {
            Some(&id) => Some(id).filter(|&id| id != NO_ID),
            None => self.all.get_index_of(&c).map(|id| id as u32),
        }
    }

    /// The character of an id.
    pub fn get(&self, id: u32) -> char {
        self.all[id as usize]
    }

    pub fn iter(&self) -> impl Iterator<Item = char> + '_ {
        self.all.iter().copied()
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// The same characters in the order of their code points.
    pub fn sorted(&self) -> Self {
        let mut all = self.all.clone();
        all.sort_unstable();
        all.into_iter().collect()
    }
}

impl FromIterator<char> for Chars {
    fn from_iter<I: IntoIterator<Item = char>>(chars: I) -> Self {
        let mut all = Chars {
            all: Distinct::default(),
            first: vec![NO_ID; FIRST_CHARS].into(),
        };
        for c in chars {
            all.insert(c);
        }
        all
    }
}

/// Symbols with ids from 0 on.
#[derive(Clone, Debug)]
pub(super) enum Symbols {
    Bytes,
    Chars(Chars),
    /// The first two are `<unk>` and `<eos>`.
    Words(Distinct<Box<str>>),
}

/// The same symbols with the same ids.
impl PartialEq for Symbols {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Symbols::Bytes, Symbols::Bytes) => true,
            (Symbols::Chars(ours), Symbols::Chars(theirs)) => ours.iter().eq(theirs.iter()),
            (Symbols::Words(ours), Symbols::Words(theirs)) => ours.iter().eq(theirs),
            _ => false,
        }
    }
}

impl Eq for Symbols {}
