//! Token ids to text that reads well, as they come: [`Decoder`].
//!
//! | tokens | |
//! |---|---|
//! | `char` | the character |
//! | `byte` | a character once its last byte is there; what is no UTF-8 becomes U+FFFD |
//! | `word` | a space before each word but the first of a line; `<eos>` ends the line |

use super::symbols::END_OF_LINE_ID;
use super::text::TokenKind;
use super::vocabulary::Vocabulary;

/// Turns ids into text, one after another.
///
/// ```
/// use bptt::data::{Decoder, Vocabulary};
///
/// let vocabulary = Vocabulary::bytes();
/// let (mut decoder, mut text) = (Decoder::new(&vocabulary), String::new());
/// for id in vocabulary.encode("aé".as_bytes())? {
///     decoder.push(id, &mut text);
/// }
/// assert_eq!(text, "aé");
/// # Ok::<(), bptt::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Decoder<'v> {
    vocabulary: &'v Vocabulary,
    /// The bytes of a character that is not whole yet.
    pending: Vec<u8>,
    /// A word needs a space before it.
    in_line: bool,
}

impl<'v> Decoder<'v> {
    /// At the beginning of a line.
    pub fn new(vocabulary: &'v Vocabulary) -> Self {
        Decoder {
            vocabulary,
            pending: Vec::new(),
            in_line: false,
        }
    }

    /// After `text`, which has been shown as it is: the next word is not glued to it.
    pub fn after(vocabulary: &'v Vocabulary, text: &str) -> Self {
        Decoder {
            in_line: !text.is_empty() && !text.ends_with(char::is_whitespace),
            ..Self::new(vocabulary)
        }
    }

    /// Appends what can be shown after this id.
    ///
    /// # Panics
    /// If `id` is not below [`Vocabulary::len`].
    pub fn push(&mut self, id: u32, text: &mut String) {
        let word = self.vocabulary.kind() == TokenKind::Word && id != END_OF_LINE_ID;
        if word && self.in_line {
            text.push(' ');
        }
        self.in_line = word;
        self.vocabulary.push_decoded(id, &mut self.pending);
        if word {
            // `push_decoded` puts a space behind a word; here it comes before the next word.
            self.pending.pop();
        }
        self.show(text);
    }

    /// Appends what is left of a character whose last bytes never came.
    pub fn finish(&mut self, text: &mut String) {
        if !self.pending.is_empty() {
            self.pending.clear();
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }

    /// Shows the bytes of `pending` that are whole characters, or can no longer become one.
    fn show(&mut self, text: &mut String) {
        let last = self.pending.utf8_chunks().last();
        let broken = last.map_or(&[][..], |chunk| chunk.invalid());
        // The beginning of a character at the very end may be waited for.
        let waits = std::str::from_utf8(broken).is_err_and(|e| e.error_len().is_none());
        let shown = self.pending.len() - if waits { broken.len() } else { 0 };
        text.push_str(&String::from_utf8_lossy(&self.pending[..shown]));
        self.pending.drain(..shown);
    }
}
