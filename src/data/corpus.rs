//! A text as one long row of token ids, and where its documents begin: [`Corpus`].
//!
//! Knows its vocabulary; knows nothing of batches.

use super::documents::Documents;
use super::ids::Ids;
use super::interner::Interner;
use super::sharded_ids::ShardedIds;
use super::symbols::{END_OF_LINE_ID, MOST_SYMBOLS, UNKNOWN_ID, WordLimits};
use super::text::{
    Piece, Readers, Reading, TokenKind, for_each_piece, located, on_threads, unpacked,
};
use super::vocabulary::Vocabulary;
use crate::ranks::{Ranks, sum_of_values};
use crate::{Error, Result, atomic};
use std::io::{BufReader, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    pub(super) tokens: ShardedIds,
    pub(super) documents: Documents,
}

impl Corpus {
    /// Text files, and folders read recursively, joined in the order given, each file a document; the
    /// vocabulary is the text's own.
    ///
    /// A file that is compressed by gzip is unpacked. Folders are sorted by path; their files that are empty or not UTF-8 are
    /// skipped and counted, as is what `.gitignore` and `.ignore` files in them name; hidden ones are skipped silently.
    ///
    /// # Errors
    /// [`Error::Io`] for what is not there or may not be read; [`Error::File`] for a named file that is empty or,
    /// unless tokens are bytes, not UTF-8, and for a folder without text; [`Error::Invalid`] without any path.
    pub fn read(paths: &[PathBuf], kind: TokenKind) -> Result<(Self, Reading)> {
        Self::read_part(paths, kind, WordLimits::default(), Readers::default())
    }

    /// [`Corpus::read`] with the vocabulary of a model.
    ///
    /// # Errors
    /// As [`Corpus::read`]; [`Error::File`] naming the first symbol that is not in the vocabulary,
    /// its file, line and column.
    pub fn read_with(paths: &[PathBuf], vocabulary: &Vocabulary) -> Result<(Self, Reading)> {
        Self::read_part_with(paths, vocabulary, Readers::default())
    }

    /// The part of a text that one of several ranks reads; without ranks, the whole text. The limits are those of words, of which
    /// the rare ones become `<unk>`, and ignored for other tokens. Vocabulary, documents and all sizes are those of the whole text.
    /// When a rank joins a training run ([`crate::train::Trainer::join`]), the ranks that have read the tokens of its sequences send
    /// them; a [`Loader`](super::Loader) of a part that is in no such run panics at its first window.
    ///
    /// # Errors
    /// As [`Corpus::read`]; [`Error::Option`] for a vocabulary too small for a word; [`Error::Ranks`] if the ranks see files of
    /// other sizes, or other bytes at the places that they compare.
    pub fn read_part<'a>(
        paths: &[PathBuf],
        kind: TokenKind,
        limits: WordLimits,
        readers: impl Into<Readers<'a>>,
    ) -> Result<(Self, Reading)> {
        let readers = readers.into();
        if kind == TokenKind::Byte {
            return Self::read_part_with(paths, &Vocabulary::bytes(), readers);
        }
        let of_words = kind == TokenKind::Word;
        if of_words && let Some(size @ ..=2) = limits.vocab_size {
            let expected = "at least 3: `<unk>`, `<eos>` and a word";
            return Err(Error::option("vocab_size", size, expected));
        }
        let new = || (Interner::new(of_words), Ids::default());
        let push = |(interner, ids): &mut (Interner, Ids), piece: Piece<'_>| {
            let before = ids.len();
            interner.push(piece, ids);
            Ok(ids.len() - before)
        };
        let (reading, lengths, read) = for_each_piece(paths, kind, readers, new, push)?;
        // Each thread has given ids of its own: these become ids of all symbols here, then of all ranks, then of the vocabulary.
        let mut interner = Interner::new(of_words);
        let read = read.into_iter();
        let shares = read.map(|(next, ids)| (interner.absorb(next), ids));
        let shares: Vec<_> = shares.collect();
        let (interner, merged) = match readers.ranks {
            Some(ranks) => interner.merged(ranks),
            None => (interner, Vec::new()),
        };
        let (vocabulary, map) = interner.finish(limits);
        let symbols = vocabulary.len();
        if symbols > MOST_SYMBOLS {
            let expected = format!("expected at most {MOST_SYMBOLS}; limit them with `vocab_size`");
            let problem = format!("{symbols} distinct words, {expected}");
            return Err(Error::invalid("text", problem));
        }
        let of_all = |id: u32| merged.get(id as usize).map_or(id, |&id| id);
        let ids = on_threads(shares, |(here, ids)| {
            let here: Vec<_> = here.iter().map(|&id| map[of_all(id) as usize]).collect();
            ids.mapped(|id| here[id as usize], symbols)
        })?;
        let corpus = Self::of(vocabulary, ids, &lengths, readers.ranks);
        Ok((corpus, reading))
    }

    /// [`Corpus::read_part`] with a vocabulary that is known.
    ///
    /// # Errors
    /// As [`Corpus::read_with`] and [`Corpus::read_part`].
    pub fn read_part_with<'a>(
        paths: &[PathBuf],
        vocabulary: &Vocabulary,
        readers: impl Into<Readers<'a>>,
    ) -> Result<(Self, Reading)> {
        let readers = readers.into();
        let new = || Ids::for_symbols(vocabulary.len());
        let push = |ids: &mut Ids, piece: Piece<'_>| {
            append(vocabulary, piece, ids).map_err(|(at, problem)| {
                // Of a pipe, what is before has gone by.
                let offset = piece.offset + at as u64;
                let again = atomic::open_ordinary(piece.path)
                    .and_then(|(file, _)| unpacked(BufReader::new(file)));
                let problem = match again {
                    Ok(mut text) => {
                        located((&mut text).take(offset), &problem)
                            + &vocabulary.unknown_characters(text)
                    }
                    Err(_) => format!("offset {offset}: {problem}"),
                };
                Error::file(piece.path, problem)
            })
        };
        let (reading, lengths, ids) = for_each_piece(paths, vocabulary.kind(), readers, new, push)?;
        let corpus = Self::of(vocabulary.clone(), ids, &lengths, readers.ranks);
        Ok((corpus, reading))
    }

    /// A text, whose ids are those of its parts one after another, in documents of so many tokens each.
    fn of(
        vocabulary: Vocabulary,
        parts: Vec<Ids>,
        lengths: &[usize],
        ranks: Option<&dyn Ranks>,
    ) -> Self {
        let mut documents = Documents::default();
        lengths.iter().for_each(|&tokens| documents.push(tokens));
        let ids = parts.into_iter().reduce(|mut all, more| {
            all.append(&more, 0..more.len());
            all
        });
        let ids = ids.unwrap_or_default();
        Corpus {
            vocabulary: Arc::new(vocabulary),
            tokens: match ranks {
                None => ShardedIds::whole(ids),
                Some(ranks) => ShardedIds::part(ids, ranks),
            },
            documents,
        }
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
        let (mut ids, mut lengths) = (Ids::for_symbols(vocabulary.len()), Vec::new());
        for (number, text) in texts.iter().enumerate() {
            let piece = Piece {
                file: number,
                path: Path::new(""),
                text: text.as_bytes(),
                offset: 0,
                open_end: !text.is_empty() && !text.ends_with('\n'),
            };
            let tokens = append(vocabulary, piece, &mut ids)
                .map_err(|(at, problem)| vocabulary.error_in(text.as_bytes(), at, &problem))?;
            lengths.push(tokens);
        }
        Ok(Self::of(vocabulary.clone(), vec![ids], &lengths, None))
    }

    /// How many tokens there are.
    pub fn len(&self) -> usize {
        self.documents.tokens()
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The symbols.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// The tokens; of a [part](Corpus::read_part), those that this rank has.
    pub fn ids(&self) -> &Ids {
        self.tokens.ids()
    }

    /// How many of the words are `<unk>`, which stands for all that the vocabulary lacks; of a part, of the words that this rank
    /// has. `None` where tokens are no words.
    pub fn unknown_words(&self) -> Option<usize> {
        let ids = self.tokens.ids();
        let is_unknown = |&i: &usize| ids.get(i) == UNKNOWN_ID;
        (self.vocabulary.kind() == TokenKind::Word)
            .then(|| (0..ids.len()).filter(is_unknown).count())
    }

    /// A number that tells texts apart by their tokens; of a part, the number of the whole text, for which all `ranks` have to
    /// ask.
    pub fn fingerprint(&self, ranks: Option<&dyn Ranks>) -> u64 {
        let own = self.tokens.fingerprint();
        let ranks = ranks.filter(|_| self.tokens.is_part());
        ranks.map_or(own, |ranks| sum_of_values(ranks, own))
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

    /// `(train, valid)`: the last `valid_fraction` of the text for validation, nothing for 0. A document
    /// across the cut becomes two.
    ///
    /// # Errors
    /// [`Error::Option`] for a fraction outside `0 <= fraction < 1`.
    pub fn split(mut self, valid_fraction: f64) -> Result<(Self, Self)> {
        if !(0.0..1.0).contains(&valid_fraction) {
            let expected = "at least 0 and below 1";
            return Err(Error::option("valid_fraction", valid_fraction, expected));
        }
        let valid = (self.len() as f64 * valid_fraction).round() as usize;
        let cut = self.len() - valid.min(self.len());
        let (train, valid) = self.documents.split(cut);
        self.documents = train;
        let valid = Corpus {
            vocabulary: Arc::clone(&self.vocabulary),
            tokens: self.tokens.split_off(cut),
            documents: valid,
        };
        Ok((self, valid))
    }
}

/// Appends a piece of a text; its last line of words ends even without a line feed. Returns how many tokens it has; of an error,
/// the bytes of the piece before it and what it is.
fn append(
    vocabulary: &Vocabulary,
    piece: Piece<'_>,
    ids: &mut Ids,
) -> Result<usize, (usize, String)> {
    let before = ids.len();
    match vocabulary.kind() {
        TokenKind::Byte => ids.extend_from_bytes(piece.text),
        _ => vocabulary.encode_each(piece.text, |id| ids.push(id))?,
    }
    if vocabulary.kind() == TokenKind::Word && piece.open_end {
        ids.push(END_OF_LINE_ID);
    }
    Ok(ids.len() - before)
}
