//! What a token is: [`Vocabulary`], symbols to ids and back.
//!
//! | kind | symbol | ids |
//! |---|---|---|
//! | `byte` | any byte | the byte itself, always 256 |
//! | `char` | a Unicode character | in the order of code points |
//! | `word` | between white space, or the end of a line | `<unk>`, `<eos>`, then the frequent |
//!
//! Knows nothing of files or of how often a symbol occurs.

use super::symbols::{
    Chars, Distinct, END_OF_LINE, END_OF_LINE_ID, MOST_SYMBOLS, Symbols, UNKNOWN, for_each_word,
};
use super::text::{TokenKind, located, no_utf8};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Read;

/// Of unknown characters, so many are named, and so many bytes of a text are looked through for them.
const MOST_NAMED: usize = 20;
const MOST_READ: u64 = 64 << 20;

/// The symbols a model knows, each with its id.
///
/// ```
/// use bptt::data::Vocabulary;
///
/// let vocabulary = Vocabulary::of_chars("hello");
/// assert_eq!(vocabulary.encode(b"hole")?, [1, 3, 2, 0]); // e h l o
/// let mut text = Vec::new();
/// vocabulary.push_decoded(3, &mut text);
/// assert_eq!(text, b"o");
/// assert!(vocabulary.encode(b"help").is_err());
/// # Ok::<(), bptt::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vocabulary {
    symbols: Symbols,
}

/// The form of a vocabulary in a model file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct VocabularyJson {
    kind: TokenKind,
    /// The characters of kind `char`, in the order of their ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chars: Option<String>,
    /// The words of kind `word`, in the order of their ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    words: Option<Vec<String>>,
}

impl Vocabulary {
    /// All 256 bytes.
    pub fn bytes() -> Self {
        Self::of(Symbols::Bytes)
    }

    /// The distinct characters of a text, in the order of their code points.
    pub fn of_chars(text: &str) -> Self {
        let chars: Chars = text.chars().collect();
        Self::of(Symbols::Chars(chars.sorted()))
    }

    pub(super) fn of(symbols: Symbols) -> Self {
        Vocabulary { symbols }
    }

    /// What a token is.
    pub fn kind(&self) -> TokenKind {
        match self.symbols {
            Symbols::Bytes => TokenKind::Byte,
            Symbols::Chars(_) => TokenKind::Char,
            Symbols::Words(_) => TokenKind::Word,
        }
    }

    /// How many symbols there are: `n_x` and `n_y` of a model of this text.
    pub fn len(&self) -> usize {
        match &self.symbols {
            Symbols::Bytes => 256,
            Symbols::Chars(chars) => chars.len(),
            Symbols::Words(words) => words.len(),
        }
    }

    /// Whether there is no symbol: the characters of an empty text.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As a model file's metadata hold it: `{"kind":"char","chars":"\n abc"}`.
    pub fn to_json(&self) -> String {
        let (chars, words) = match &self.symbols {
            Symbols::Bytes => (None, None),
            Symbols::Chars(chars) => (Some(chars.iter().collect()), None),
            Symbols::Words(words) => (None, Some(words.iter().map(|w| w.to_string()).collect())),
        };
        let json = VocabularyJson {
            kind: self.kind(),
            chars,
            words,
        };
        serde_json::to_string(&json).expect("strings are JSON")
    }

    /// From what [`Vocabulary::to_json`] wrote.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is not such a description, is empty or has a symbol twice.
    pub fn from_json(json: &str) -> Result<Self> {
        parse(json).map_err(|problem| Error::invalid("vocabulary", problem))
    }

    /// The ids of a text. Of words, one `<eos>` for every line feed.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the first symbol that is not in the vocabulary, its line and
    /// column; text that is not UTF-8, except of bytes. An unknown word is no error but `<unk>`.
    pub fn encode(&self, text: &[u8]) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        let encoded = self.encode_each(text, |id| ids.push(id));
        encoded.map_err(|(at, problem)| self.error_in(text, at, &problem))?;
        Ok(ids)
    }

    /// An error at a place of a text in memory.
    pub(super) fn error_in(&self, text: &[u8], at: usize, problem: &str) -> Error {
        let unknown = self.unknown_characters(&text[at..]);
        Error::invalid("text", located(&text[..at], problem) + &unknown)
    }

    /// The unknown characters of a text that begins with one, and how often each occurs; nothing if there is no other, or
    /// tokens are no characters.
    pub(super) fn unknown_characters(&self, text: impl Read) -> String {
        let (Symbols::Chars(known), mut rest) = (&self.symbols, Vec::new()) else {
            return String::new();
        };
        if text.take(MOST_READ).read_to_end(&mut rest).is_err() {
            return String::new();
        }
        let mut counts = BTreeMap::<char, usize>::new();
        let text = String::from_utf8_lossy(&rest);
        for c in text.chars().filter(|&c| known.id(c).is_none()) {
            *counts.entry(c).or_default() += 1;
        }
        let named = counts.iter().take(MOST_NAMED);
        let named: Vec<_> = named.map(|(c, n)| format!("{c:?} x {n}")).collect();
        let more = match counts.len().saturating_sub(MOST_NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        match counts.values().sum() {
            1 => String::new(),
            _ => format!(" (unknown from here on: {}{more})", named.join(", ")),
        }
    }

    /// The words of a text that [`Vocabulary::encode`] makes `<unk>`, each once; none where tokens are no words.
    pub fn unknown_words<'t>(&self, text: &'t str) -> Vec<&'t str> {
        let Symbols::Words(words) = &self.symbols else {
            return Vec::new();
        };
        let all: Distinct<_> = text.split_whitespace().collect();
        all.into_iter()
            .filter(|word| !words.contains(*word))
            .collect()
    }

    /// [`Vocabulary::encode`], one id after another; of an error, the bytes before it and what it is.
    pub(super) fn encode_each(
        &self,
        text: &[u8],
        mut push: impl FnMut(u32),
    ) -> Result<(), (usize, String)> {
        let characters = || std::str::from_utf8(text).map_err(|e| (e.valid_up_to(), no_utf8(0, e)));
        match &self.symbols {
            Symbols::Bytes => text.iter().for_each(|&byte| push(u32::from(byte))),
            Symbols::Chars(chars) => {
                for (at, c) in characters()?.char_indices() {
                    let Some(id) = chars.id(c) else {
                        let (code, known) = (u32::from(c), self.len());
                        let problem = format!(
                            "{c:?} (U+{code:04X}) is not among the {known} characters that the model knows; remove what it does \
                             not know, or train a model of bytes"
                        );
                        return Err((at, problem));
                    };
                    push(id);
                }
            }
            Symbols::Words(words) => for_each_word(characters()?, |word| {
                push(words.get_index_of(word).unwrap_or(0) as u32);
            }),
        }
        Ok(())
    }

    /// Appends a symbol's bytes. A word is followed by a space, `<eos>` is a line feed.
    ///
    /// # Panics
    /// If `id` is not below [`Vocabulary::len`].
    pub fn push_decoded(&self, id: u32, out: &mut Vec<u8>) {
        assert!((id as usize) < self.len(), "symbol {id} of {}", self.len());
        match &self.symbols {
            Symbols::Bytes => out.push(id as u8),
            Symbols::Chars(chars) => {
                let c = chars.get(id);
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            Symbols::Words(_) if id == END_OF_LINE_ID => out.push(b'\n'),
            Symbols::Words(words) => {
                out.extend_from_slice(words[id as usize].as_bytes());
                out.push(b' ');
            }
        }
    }
}

fn parse(json: &str) -> Result<Vocabulary, String> {
    let json: VocabularyJson = serde_json::from_str(json).map_err(|e| e.to_string())?;
    let (symbols, found) = match (json.kind, json.chars, json.words) {
        (TokenKind::Byte, None, None) => (Symbols::Bytes, 256),
        (TokenKind::Char, Some(chars), None) => {
            let chars = chars.chars();
            (Symbols::Chars(chars.clone().collect()), chars.count())
        }
        (TokenKind::Word, None, Some(words)) => {
            if !words.starts_with(&[UNKNOWN.to_owned(), END_OF_LINE.to_owned()]) {
                return Err(format!("words begin with {UNKNOWN} and {END_OF_LINE}"));
            }
            let found = words.len();
            let words = words.into_iter().map(String::into_boxed_str).collect();
            (Symbols::Words(words), found)
        }
        (kind, ..) => return Err(format!("not the fields of a vocabulary of kind {kind:?}")),
    };
    let vocabulary = Vocabulary::of(symbols);
    match (vocabulary.len(), found - vocabulary.len()) {
        (1..=MOST_SYMBOLS, 0) => Ok(vocabulary),
        (n, 0) => Err(format!(
            "{n} symbols, expected between 1 and {MOST_SYMBOLS}"
        )),
        (_, twice) => Err(format!("{twice} of {found} symbols are there twice")),
    }
}
