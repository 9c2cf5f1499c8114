//! A text as one long row of token ids, and where its documents begin: [`Corpus`].
//!
//! Knows its vocabulary; knows nothing of batches.

use super::documents::Documents;
use super::files::{Piece, Place, Reading, for_each_piece};
use super::intern::{Interner, WordLimits};
use super::vocabulary::{END_OF_LINE_ID, MOST_SYMBOLS, TokenKind, Vocabulary};
use crate::{Error, Result};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Token ids in the smallest integers that hold them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ids {
    /// Up to 256 symbols.
    U8(Vec<u8>),
    /// Up to 65,536 symbols.
    U16(Vec<u16>),
    /// More.
    U32(Vec<u32>),
}

impl Default for Ids {
    fn default() -> Self {
        Ids::U8(Vec::new())
    }
}

/// The same expression for whichever vector it is.
macro_rules! each {
    ($ids:expr, $v:ident => $body:expr) => {
        match $ids {
            Ids::U8($v) => $body,
            Ids::U16($v) => $body,
            Ids::U32($v) => $body,
        }
    };
}

impl Ids {
    /// How many ids there are.
    pub fn len(&self) -> usize {
        each!(self, v => v.len())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The id at `i`.
    ///
    /// # Panics
    /// If `i` is not below [`Ids::len`].
    #[allow(clippy::useless_conversion)] // one of the three is `u32`
    pub fn get(&self, i: usize) -> u32 {
        each!(self, v => u32::from(v[i]))
    }

    /// Copies `out.len()` ids, from `start` on.
    ///
    /// # Panics
    /// If there are not as many.
    #[allow(clippy::useless_conversion)] // one of the three is `u32`
    pub fn copy_to(&self, start: usize, out: &mut [u32]) {
        let end = start + out.len();
        each!(self, v => {
            for (out, &id) in out.iter_mut().zip(&v[start..end]) {
                *out = u32::from(id);
            }
        });
    }

    /// Appends an id, widening all of them if it does not fit.
    pub(super) fn push(&mut self, id: u32) {
        match self {
            Ids::U8(v) => match u8::try_from(id) {
                Ok(id) => v.push(id),
                Err(_) => {
                    *self = Ids::U16(v.iter().map(|&id| u16::from(id)).collect());
                    self.push(id);
                }
            },
            Ids::U16(v) => match u16::try_from(id) {
                Ok(id) => v.push(id),
                Err(_) => {
                    *self = Ids::U32(v.iter().map(|&id| u32::from(id)).collect());
                    self.push(id);
                }
            },
            Ids::U32(v) => v.push(id),
        }
    }

    pub(super) fn reserve(&mut self, more: usize) {
        each!(self, v => v.reserve(more));
    }

    pub(super) fn extend_from_bytes(&mut self, bytes: &[u8]) {
        match self {
            Ids::U8(v) => v.extend_from_slice(bytes),
            _ => bytes.iter().for_each(|&byte| self.push(u32::from(byte))),
        }
    }

    /// Each id `i` replaced by `map[i]`, which is not larger than the largest id.
    fn remap(&mut self, map: &[u32]) {
        match self {
            Ids::U8(v) => v.iter_mut().for_each(|id| *id = map[*id as usize] as u8),
            Ids::U16(v) => v.iter_mut().for_each(|id| *id = map[*id as usize] as u16),
            Ids::U32(v) => v.iter_mut().for_each(|id| *id = map[*id as usize]),
        }
    }

    /// In the smallest integers for `symbols` symbols.
    fn narrowed(self, symbols: usize) -> Self {
        match (&self, symbols) {
            (Ids::U16(_) | Ids::U32(_), ..=0x100) => {
                Ids::U8((0..self.len()).map(|i| self.get(i) as u8).collect())
            }
            (Ids::U32(_), ..=0x1_0000) => {
                Ids::U16((0..self.len()).map(|i| self.get(i) as u16).collect())
            }
            _ => self,
        }
    }

    fn split_off(&mut self, at: usize) -> Self {
        match self {
            Ids::U8(v) => Ids::U8(v.split_off(at)),
            Ids::U16(v) => Ids::U16(v.split_off(at)),
            Ids::U32(v) => Ids::U32(v.split_off(at)),
        }
    }
}

/// A text as token ids, with the vocabulary that names them.
///
/// It is one document or several, as many as files were read: what comes after a document's end does not depend on what
/// was before, so nothing is predicted across it. Nothing is put between documents either; of words, each ends with the
/// `<eos>` of its last line.
///
/// ```
/// use bptt::data::{Corpus, Vocabulary};
///
/// let corpus = Corpus::from_text("hello, hello", &Vocabulary::bytes())?;
/// assert_eq!((corpus.len(), corpus.ids().get(1)), (12, u32::from(b'e')));
/// let (train, valid) = corpus.split(0.25)?;
/// assert_eq!((train.len(), valid.len()), (9, 3));
/// # Ok::<(), bptt::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corpus {
    vocabulary: Arc<Vocabulary>,
    ids: Ids,
    pub(super) documents: Documents,
}

impl Corpus {
    /// Text files, and folders read recursively, joined in the order given, each file a document; the
    /// vocabulary is the text's own.
    ///
    /// Folders are sorted by path; their files that are empty or not UTF-8 are skipped and counted,
    /// hidden ones skipped silently.
    ///
    /// # Errors
    /// [`Error::Io`] for what is not there or may not be read; [`Error::File`] for a named file
    /// that is empty or, unless tokens are bytes, not UTF-8, and for a folder without text;
    /// [`Error::Invalid`] without any path.
    pub fn read(paths: &[PathBuf], kind: TokenKind) -> Result<(Self, Reading)> {
        Self::read_own(paths, kind, WordLimits::default())
    }

    /// [`Corpus::read`] of words, the rare ones replaced by `<unk>`.
    ///
    /// # Errors
    /// As [`Corpus::read`]; [`Error::Option`] for a vocabulary too small for a word.
    pub fn read_words(paths: &[PathBuf], limits: WordLimits) -> Result<(Self, Reading)> {
        Self::read_own(paths, TokenKind::Word, limits)
    }

    fn read_own(paths: &[PathBuf], kind: TokenKind, limits: WordLimits) -> Result<(Self, Reading)> {
        limits.check()?;
        let (mut interner, mut ids) = (Interner::new(kind), Ids::default());
        let mut starts = Vec::new();
        let reading = for_each_piece(paths, kind, |piece| {
            if piece.begins_file() {
                starts.push(ids.len());
            }
            interner
                .push(piece, &mut ids)
                .map_err(|problem| Error::file(piece.path, problem))
        })?;
        let (vocabulary, map) = interner.finish(limits);
        if vocabulary.len() > MOST_SYMBOLS {
            return Err(Error::Invalid {
                what: "text",
                problem: format!(
                    "{} distinct words, expected at most {MOST_SYMBOLS}; \
                     limit them with `--vocab-size`",
                    vocabulary.len()
                ),
            });
        }
        if kind != TokenKind::Byte {
            ids.remap(&map);
        }
        let corpus = Corpus {
            documents: documents(&starts, ids.len()),
            ids: ids.narrowed(vocabulary.len()),
            vocabulary: Arc::new(vocabulary),
        };
        Ok((corpus, reading))
    }

    /// [`Corpus::read`] with the vocabulary of a model.
    ///
    /// # Errors
    /// As [`Corpus::read`]; [`Error::File`] naming the first symbol that is not in the vocabulary,
    /// its file, line and column.
    pub fn read_with(paths: &[PathBuf], vocabulary: &Vocabulary) -> Result<(Self, Reading)> {
        let (mut ids, mut starts) = (Ids::default(), Vec::new());
        let reading = for_each_piece(paths, vocabulary.kind(), |piece| {
            if piece.begins_file() {
                starts.push(ids.len());
            }
            append(vocabulary, piece, &mut ids).map_err(|problem| Error::file(piece.path, problem))
        })?;
        let corpus = Corpus {
            documents: documents(&starts, ids.len()),
            ids,
            vocabulary: Arc::new(vocabulary.clone()),
        };
        Ok((corpus, reading))
    }

    /// A text in memory, one document.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the first symbol that is not in the vocabulary.
    pub fn from_text(text: &str, vocabulary: &Vocabulary) -> Result<Self> {
        Self::from_texts(&[text], vocabulary)
    }

    /// Texts in memory, each a document.
    ///
    /// # Errors
    /// As [`Corpus::from_text`].
    pub fn from_texts(texts: &[&str], vocabulary: &Vocabulary) -> Result<Self> {
        let (mut ids, mut starts) = (Ids::default(), Vec::new());
        for text in texts {
            let piece = Piece {
                path: Path::new(""),
                text: text.as_bytes(),
                place: Place::default(),
                open_end: !text.is_empty() && !text.ends_with('\n'),
            };
            starts.push(ids.len());
            append(vocabulary, piece, &mut ids).map_err(|problem| Error::Invalid {
                what: "text",
                problem,
            })?;
        }
        Ok(Corpus {
            documents: documents(&starts, ids.len()),
            ids,
            vocabulary: Arc::new(vocabulary.clone()),
        })
    }

    /// How many tokens there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The symbols.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// The tokens.
    pub fn ids(&self) -> &Ids {
        &self.ids
    }

    /// The tokens of each document.
    ///
    /// ```
    /// use bptt::data::{Corpus, Vocabulary};
    ///
    /// let corpus = Corpus::from_texts(&["one", "", "three"], &Vocabulary::bytes())?;
    /// assert!(corpus.documents().eq([0..3, 3..8]));
    /// assert_eq!(corpus.predictions(), 2 + 4);
    /// # Ok::<(), bptt::Error>(())
    /// ```
    pub fn documents(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.documents.ranges()
    }

    /// How many tokens can be predicted: all but the first of each document.
    pub fn predictions(&self) -> usize {
        self.documents.predictions()
    }

    /// `(train, valid)`: the last `fraction` of the text for validation, nothing for 0. A document
    /// across the cut becomes two.
    ///
    /// # Errors
    /// [`Error::Option`] for a fraction outside `0 <= fraction < 1`.
    pub fn split(mut self, fraction: f64) -> Result<(Self, Self)> {
        if !(0.0..1.0).contains(&fraction) {
            return Err(Error::Option {
                name: "--valid-fraction",
                value: fraction.to_string(),
                expected: "at least 0 and below 1",
            });
        }
        let valid = (self.len() as f64 * fraction).round() as usize;
        let cut = self.len() - valid.min(self.len());
        let (train, valid) = self.documents.split(cut);
        self.documents = train;
        let valid = Corpus {
            vocabulary: Arc::clone(&self.vocabulary),
            ids: self.ids.split_off(cut),
            documents: valid,
        };
        Ok((self, valid))
    }
}

/// The documents that begin at these of so many tokens.
fn documents(starts: &[usize], tokens: usize) -> Documents {
    let mut documents = Documents::default();
    let ends = starts.iter().skip(1).chain([&tokens]);
    (starts.iter().zip(ends)).for_each(|(start, end)| documents.push(end - start));
    documents
}

/// Appends a piece of a text; its last line of words ends even without a line feed.
fn append(vocabulary: &Vocabulary, piece: Piece<'_>, ids: &mut Ids) -> Result<(), String> {
    if vocabulary.kind() == TokenKind::Byte {
        ids.extend_from_bytes(piece.text);
        return Ok(());
    }
    vocabulary.encode_each(piece.text, piece.place, |id| ids.push(id))?;
    if vocabulary.kind() == TokenKind::Word && piece.open_end {
        ids.push(END_OF_LINE_ID);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Vec<PathBuf>) {
        let root = tempfile::tempdir().unwrap();
        let mut paths = Vec::new();
        for (name, content) in files {
            paths.push(root.path().join(name));
            std::fs::write(paths.last().unwrap(), content).unwrap();
        }
        (root, paths)
    }

    fn all(corpus: &Corpus) -> Vec<u32> {
        let mut out = vec![0; corpus.len()];
        corpus.ids().copy_to(0, &mut out);
        out
    }

    #[test]
    fn files_are_joined_and_encoded_with_their_own_characters() {
        let (_root, paths) = folder(&[("b", "bé".as_bytes()), ("a", b"ab")]);
        let (corpus, reading) = Corpus::read(&paths, TokenKind::Char).unwrap();
        assert_eq!(corpus.vocabulary(), &Vocabulary::of_chars("abé"));
        assert_eq!(all(&corpus), [1, 2, 0, 1]);
        assert_eq!((reading.files, reading.bytes), (2, 5));
        assert_eq!(
            Corpus::read_with(&paths, corpus.vocabulary()).unwrap().0,
            corpus
        );
        let (bytes, _) = Corpus::read(&paths, TokenKind::Byte).unwrap();
        assert_eq!(all(&bytes), [98, 0xc3, 0xa9, 97, 98]);
    }

    #[test]
    fn every_word_file_ends_its_last_line() {
        let (_root, paths) = folder(&[("1", b"a b"), ("2", b"b\n")]);
        let (corpus, _) = Corpus::read(&paths, TokenKind::Word).unwrap();
        assert_eq!(all(&corpus), [3, 2, 1, 2, 1]);
        assert_eq!(
            Corpus::read_with(&paths, corpus.vocabulary()).unwrap().0,
            corpus
        );
        let limits = WordLimits {
            min_count: 2,
            vocab_size: None,
        };
        let (corpus, _) = Corpus::read_words(&paths, limits).unwrap();
        assert_eq!(all(&corpus), [0, 2, 1, 2, 1]);
    }

    #[test]
    fn ids_widen_and_narrow_as_needed() {
        let text: String = (0x4e00..0x4e00 + 300).filter_map(char::from_u32).collect();
        let (_root, paths) = folder(&[("a", text.as_bytes())]);
        let (corpus, _) = Corpus::read(&paths, TokenKind::Char).unwrap();
        assert!(matches!(corpus.ids(), Ids::U16(_)));
        assert_eq!(all(&corpus), (0..300).collect::<Vec<u32>>());

        let words: String = (0..70_000).map(|i| format!("w{i} same ")).collect();
        let (_root, paths) = folder(&[("a", words.as_bytes())]);
        let (corpus, _) = Corpus::read(&paths, TokenKind::Word).unwrap();
        assert!(matches!(corpus.ids(), Ids::U32(_)));
        assert_eq!(corpus.vocabulary().len(), 70_003);
        let limits = WordLimits {
            min_count: 2,
            vocab_size: None,
        };
        let (corpus, _) = Corpus::read_words(&paths, limits).unwrap();
        assert!(matches!(corpus.ids(), Ids::U8(_)));
        assert_eq!(all(&corpus)[..4], [0, 2, 0, 2]);
    }

    #[test]
    fn an_unknown_symbol_is_named_with_its_file() {
        let (_root, paths) = folder(&[("good.txt", b"ab"), ("bad.txt", b"ab\nab?")]);
        let error = Corpus::read_with(&paths, &Vocabulary::of_chars("ab\n")).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("bad.txt: line 2, column 3: '?'"), "{error}");
    }

    #[test]
    fn a_split_keeps_every_token() {
        let corpus = Corpus::from_text("0123456789", &Vocabulary::bytes()).unwrap();
        let (train, valid) = corpus.clone().split(0.1).unwrap();
        assert_eq!([all(&train), all(&valid)].concat(), all(&corpus));
        assert_eq!(valid.len(), 1);
        assert!(corpus.clone().split(0.0).unwrap().1.is_empty());
        for fraction in [1.0, -0.1, f64::NAN] {
            let error = corpus.clone().split(fraction).unwrap_err().to_string();
            assert!(error.contains("--valid-fraction"), "{error}");
        }
    }
}
