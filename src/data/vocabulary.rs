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
    CharIds, END_OF_LINE, END_OF_LINE_ID, MOST_SYMBOLS, UNKNOWN, WordIds, for_each_word,
};
use super::text::{Place, TokenKind, utf8};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

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

#[derive(Clone, Debug, PartialEq, Eq)]
enum Symbols {
    Bytes,
    Chars(CharIds),
    Words(WordIds),
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
        Vocabulary {
            symbols: Symbols::Bytes,
        }
    }

    /// The distinct characters of a text, in the order of their code points.
    pub fn of_chars(text: &str) -> Self {
        let mut ids = CharIds::default();
        for c in text.chars() {
            ids.intern(c);
        }
        let mut chars = ids.list;
        chars.sort_unstable();
        Self::from_distinct_chars(chars)
    }

    /// Distinct characters, the first with id 0.
    pub(super) fn from_distinct_chars(chars: Vec<char>) -> Self {
        let mut ids = CharIds::default();
        for c in chars {
            ids.intern(c);
        }
        Vocabulary {
            symbols: Symbols::Chars(ids),
        }
    }

    /// Distinct words, the first two `<unk>` and `<eos>`.
    pub(super) fn from_distinct_words(words: impl IntoIterator<Item = Box<str>>) -> Self {
        let mut ids = WordIds::default();
        for word in words {
            ids.intern(&word);
        }
        Vocabulary {
            symbols: Symbols::Words(ids),
        }
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
            Symbols::Chars(ids) => ids.list.len(),
            Symbols::Words(ids) => ids.list.len(),
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
            Symbols::Chars(ids) => (Some(ids.list.iter().collect()), None),
            Symbols::Words(ids) => (None, Some(ids.list.iter().map(|w| w.to_string()).collect())),
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
        self.encode_each(text, Place::default(), |id| ids.push(id))
            .map_err(|problem| Error::invalid("text", problem))?;
        Ok(ids)
    }

    /// The words of a text that [`Vocabulary::encode`] makes `<unk>`, each once; none where tokens are no words.
    pub fn unknown_words<'t>(&self, text: &'t str) -> Vec<&'t str> {
        let mut unknown = Vec::new();
        if let Symbols::Words(ids) = &self.symbols {
            for word in text.split_whitespace() {
                if ids.get(word).is_none() && !unknown.contains(&word) {
                    unknown.push(word);
                }
            }
        }
        unknown
    }

    /// [`Vocabulary::encode`], one id after another, of a text that begins at `place`.
    pub(super) fn encode_each(
        &self,
        text: &[u8],
        place: Place,
        mut push: impl FnMut(u32),
    ) -> Result<(), String> {
        match &self.symbols {
            Symbols::Bytes => text.iter().for_each(|&byte| push(u32::from(byte))),
            Symbols::Chars(ids) => {
                let text = utf8(text)?;
                for (at, c) in text.char_indices() {
                    let id = ids
                        .get(c)
                        .ok_or_else(|| self.lacks(c, place.after(&text.as_bytes()[..at])))?;
                    push(id);
                }
            }
            Symbols::Words(ids) => {
                for_each_word(utf8(text)?, |word| push(ids.get(word).unwrap_or(0)));
            }
        }
        Ok(())
    }

    fn lacks(&self, c: char, place: Place) -> String {
        format!(
            "line {}, column {}: {c:?} (U+{:04X}) is not among the {} characters \
             that the model knows; remove it, or train a model of bytes",
            place.line + 1,
            place.column + 1,
            u32::from(c),
            self.len()
        )
    }

    /// Appends a symbol's bytes. A word is followed by a space, `<eos>` is a line feed.
    ///
    /// # Panics
    /// If `id` is not below [`Vocabulary::len`].
    pub fn push_decoded(&self, id: u32, out: &mut Vec<u8>) {
        assert!((id as usize) < self.len(), "symbol {id} of {}", self.len());
        match &self.symbols {
            Symbols::Bytes => out.push(id as u8),
            Symbols::Chars(ids) => {
                let c = ids.list[id as usize];
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            Symbols::Words(_) if id == END_OF_LINE_ID => out.push(b'\n'),
            Symbols::Words(ids) => {
                out.extend_from_slice(ids.list[id as usize].as_bytes());
                out.push(b' ');
            }
        }
    }
}

fn parse(json: &str) -> Result<Vocabulary, String> {
    let json: VocabularyJson = serde_json::from_str(json).map_err(|e| e.to_string())?;
    let (vocabulary, found) = match (json.kind, json.chars, json.words) {
        (TokenKind::Byte, None, None) => (Vocabulary::bytes(), 256),
        (TokenKind::Char, Some(chars), None) => {
            let list: Vec<char> = chars.chars().collect();
            let found = list.len();
            (Vocabulary::from_distinct_chars(list), found)
        }
        (TokenKind::Word, None, Some(words)) => {
            if !words.starts_with(&[UNKNOWN.to_owned(), END_OF_LINE.to_owned()]) {
                return Err(format!("words begin with {UNKNOWN} and {END_OF_LINE}"));
            }
            let found = words.len();
            let words = words.into_iter().map(String::into_boxed_str);
            (Vocabulary::from_distinct_words(words), found)
        }
        (kind, ..) => return Err(format!("not the fields of a vocabulary of kind {kind:?}")),
    };
    if vocabulary.len() != found {
        return Err(format!(
            "{} of {found} symbols are there twice",
            found - vocabulary.len()
        ));
    }
    if vocabulary.is_empty() || vocabulary.len() > MOST_SYMBOLS {
        return Err(format!(
            "{} symbols, expected between 1 and {MOST_SYMBOLS}",
            vocabulary.len()
        ));
    }
    Ok(vocabulary)
}
