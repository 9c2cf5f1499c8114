//! Files and folders as texts, one after another, unpacked and cut into pieces: never much more than a mebibyte is in memory.
//!
//! Knows nothing of tokens but where a text may be cut. Of several ranks, each reads its part of the text, from one place
//! where it may be cut to another; of the parts of the other ranks, no more than it takes to find these two places.

use super::fingerprint;
use super::listing::{File, Listing, WHOLE};
use crate::ranks::{Ranks, Values};
use crate::{Error, Result};
use flate2::bufread::MultiGzDecoder;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::Utf8Error;

/// What a text is cut into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenKind {
    /// Unicode characters.
    Char,
    /// Bytes.
    Byte,
    /// Words between white space, and the ends of lines.
    Word,
}

/// What was read to make a corpus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Files read.
    pub files: usize,
    /// Files of folders that were left out: empty, not UTF-8, or no ordinary files.
    pub skipped: usize,
    /// Files and folders that were left out because a `.gitignore` or `.ignore` file in the folder names them.
    pub ignored: usize,
    /// Bytes read.
    pub bytes: u64,
    /// Files that were read as bytes although they are no text but archives, compressed, or in another format that is known.
    pub other_formats: usize,
}

/// Who reads a text. What is read does not depend on it.
#[derive(Clone, Copy, Default)]
pub struct Readers<'a> {
    /// The threads of this process that read at once, each an even share of its bytes; 0 for as many as there are cores, and never
    /// more than 16, for each has the words that it met in memory. One thread reads what is small, and where a file is compressed or
    /// a pipe.
    pub threads: usize,
    /// Of several processes, each reads a part of the text: an even share of the bytes of its files.
    pub ranks: Option<&'a dyn Ranks>,
}

impl<'a> From<Option<&'a dyn Ranks>> for Readers<'a> {
    fn from(ranks: Option<&'a dyn Ranks>) -> Self {
        Readers { threads: 0, ranks }
    }
}

/// The most threads that read a text.
const MOST_READERS: usize = 16;

/// Bytes read at a time to find a place where a text may be cut.
const LOOK: usize = 256;

/// The bytes of a piece. Larger pieces are no faster, and the ids of a text need the memory; not tuned beyond that.
const PIECE: usize = 1 << 20;

/// What some editors begin a file of UTF-8 with: no part of the text.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// A part of a text: whole characters or, where tokens are words, whole words, and no line feed apart from its line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'a> {
    /// The number of its file among those that are read.
    pub file: usize,
    /// The file it is from.
    pub path: &'a Path,
    /// Its bytes, UTF-8 unless tokens are bytes.
    pub text: &'a [u8],
    /// The bytes of the file before it.
    pub offset: u64,
    /// Whether the file ends with this piece, and its last line has no line feed.
    pub open_end: bool,
}

/// Hands every text to `act`, piece by piece, in the order given, folders sorted by path; each of several ranks gets its
/// part of the texts. Several threads read at once, each the next share of the texts with a state of its own, which `new` makes and
/// `act` changes. `act` says how many tokens a piece has.
///
/// Returns what was read, how many tokens each file has on all ranks together, and the states in the order of the texts.
///
/// # Errors
/// [`Error::Io`] for what is not there or may not be read; [`Error::File`] for a named file that is
/// empty, or not UTF-8 although its tokens are not bytes, and for a folder without text; [`Error::Ranks`] if the ranks
/// see other files; whatever `act` returns.
pub(super) fn for_each_piece<S: Send>(
    paths: &[PathBuf],
    kind: TokenKind,
    Readers { threads, ranks }: Readers<'_>,
    new: impl Fn() -> S + Sync + Send,
    act: impl Fn(&mut S, Piece<'_>) -> Result<usize> + Sync + Send,
) -> Result<(Reading, Vec<usize>, Vec<S>)> {
    let threads = match threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    let threads = threads.min(MOST_READERS);
    let mut listing = Listing::of(paths)?;
    if let Some(ranks) = ranks {
        fingerprint::check_equal(&listing, ranks)?;
    }
    listing.keep_texts(ranks, is_text)?;
    if let Some(empty) = listing.files.iter().find(|file| file.bytes == 0)
        && ranks.is_some()
    {
        return Err(empty.empty());
    }
    let read = |parts: Vec<(usize, Range<u64>)>| {
        let (mut state, mut tokens, mut bytes, mut other_formats) = (new(), Vec::new(), 0, 0);
        let mut act = |piece: Piece<'_>| {
            other_formats += usize::from(piece.offset == 0 && other_format(piece.text).is_some());
            tokens.push((piece.file, act(&mut state, piece)?));
            Ok(())
        };
        for (number, part) in parts {
            let file = &listing.files[number];
            let is_whole = part == WHOLE;
            let own = pieces_of(number, file, part, kind, &mut act)?;
            if own == 0 && is_whole {
                return Err(file.empty());
            }
            bytes += own;
        }
        Ok((state, tokens, bytes, other_formats))
    };
    let parts = listing.parts_of_threads(threads, ranks, can_be_divided);
    let (files, (skipped, ignored)) = (listing.files.len(), listing.skipped());
    let mut reading = Reading {
        files,
        skipped,
        ignored,
        ..Reading::default()
    };
    // In floating point, which ranks can add; whole numbers that no text reaches are exact.
    let (mut lengths, mut states) = (vec![0.0; files], Vec::new());
    for share in on_threads(parts, read)? {
        let (state, tokens, bytes, other_formats) = share?;
        states.push(state);
        for (file, tokens) in tokens {
            lengths[file] += tokens as f64;
        }
        reading.bytes += bytes;
        reading.other_formats += other_formats;
    }
    if let Some(ranks) = ranks {
        reading.bytes = listing.bytes();
        ranks.sum(Values::F64(&mut lengths));
    }
    let lengths = lengths.into_iter().map(|tokens| tokens as usize);
    Ok((reading, lengths.collect(), states))
}

/// Does something with each of some things at once, each on a thread of its own; the results are in their order.
///
/// # Errors
/// [`Error::Threads`] if the threads cannot be started.
pub(super) fn on_threads<A: Send, B: Send>(
    things: Vec<A>,
    act: impl Fn(A) -> B + Sync + Send,
) -> Result<Vec<B>> {
    let threads = things.len();
    if threads < 2 {
        return Ok(things.into_iter().map(act).collect());
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = pool.map_err(|source| Error::Threads { threads, source })?;
    Ok(pool.install(|| {
        let things = things.into_par_iter().with_max_len(1);
        things.map(act).collect()
    }))
}

/// Whether parts of a file can be read alone: its size is known, and it is not compressed. Where that cannot be found out, reading
/// will say why.
fn can_be_divided(file: &File) -> bool {
    let compressed = || is_gzip(&mut BufReader::new(fs_err::File::open(&file.path)?));
    file.bytes > 0 && matches!(compressed(), Ok(false))
}

/// Hands the pieces of a part of a file to `act`, from the first place in the part where a text may be cut to the first such
/// place after the part; returns how many bytes the pieces have.
fn pieces_of(
    number: usize,
    file: &File,
    part: Range<u64>,
    kind: TokenKind,
    act: &mut impl FnMut(Piece<'_>) -> Result<()>,
) -> Result<u64> {
    let path = &file.path;
    let mut file_itself = BufReader::new(fs_err::File::open(path)?);
    let (mut begin, mut end) = (part.start, part.end);
    if part != WHOLE {
        if is_gzip(&mut file_itself)? {
            let problem =
                "is compressed by gzip, of which no process can read a part alone: unpack it first";
            return Err(Error::file(path, problem));
        }
        begin = cut_from(file_itself.get_mut(), file.bytes, begin, kind)?;
        end = cut_from(file_itself.get_mut(), file.bytes, end, kind)?;
        file_itself.seek(SeekFrom::Start(begin))?;
    }
    let mut reader = unpacked(file_itself)?.take(end.saturating_sub(begin));
    let mut text = Vec::with_capacity(PIECE);
    let mut offset = begin;
    loop {
        // If there is no place to cut, in a word longer than a piece, as much again is read.
        let wanted = PIECE.max(2 * text.len()) - text.len();
        let read = (&mut reader).take(wanted as u64).read_to_end(&mut text);
        let ends = read.map_err(|e| unreadable(path, e))? < wanted;
        let cut = if ends { text.len() } else { cut(&text, kind) };
        let mut whole = &text[..cut];
        if kind != TokenKind::Byte {
            if offset == 0 {
                whole = whole.strip_prefix(BYTE_ORDER_MARK).unwrap_or(whole);
            }
            std::str::from_utf8(whole).map_err(|e| {
                let other = other_format(whole).filter(|_| offset == 0);
                let problem = other.map_or_else(|| no_utf8(offset, e), String::from);
                Error::file(path, problem)
            })?;
        }
        if !whole.is_empty() {
            act(Piece {
                file: number,
                path,
                text: whole,
                offset,
                open_end: ends && end >= file.bytes && !whole.ends_with(b"\n"),
            })?;
        }
        offset += cut as u64;
        if ends {
            return Ok(offset - begin);
        }
        text.drain(..cut);
    }
}

/// What a file holds: the text in it, if it is compressed by gzip.
pub(super) fn unpacked(mut file: BufReader<fs_err::File>) -> Result<Box<dyn Read>> {
    Ok(match is_gzip(&mut file)? {
        true => Box::new(MultiGzDecoder::new(file)),
        false => Box::new(file),
    })
}

fn is_gzip(file: &mut BufReader<fs_err::File>) -> Result<bool> {
    Ok(file.fill_buf()?.starts_with(b"\x1f\x8b"))
}

/// An error of reading a file; where the file is to blame and not the disk, gzip found it damaged.
fn unreadable(path: &Path, error: io::Error) -> Error {
    match error.kind() {
        ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::UnexpectedEof => {
            Error::file(path, format!("is compressed by gzip and damaged: {error}"))
        }
        _ => error.into(),
    }
}

/// The first place from `at` on where a text of so many bytes may be cut.
fn cut_from(file: &mut fs_err::File, bytes: u64, at: u64, kind: TokenKind) -> Result<u64> {
    if at == 0 || at >= bytes {
        return Ok(at);
    }
    file.seek(SeekFrom::Start(at - 1))?;
    let mut before = None;
    for (place, byte) in (at - 1..).zip(BufReader::with_capacity(LOOK, file).bytes()) {
        let byte = byte?;
        if before.is_some_and(|before| is_place_to_cut(kind, before, byte)) {
            return Ok(place);
        }
        before = Some(byte);
    }
    Ok(bytes)
}

/// Whether a text may be cut between two bytes: behind white space where tokens are words, before a character where they are
/// characters.
fn is_place_to_cut(kind: TokenKind, before: u8, after: u8) -> bool {
    match kind {
        TokenKind::Byte => true,
        TokenKind::Char => begins_character(after),
        TokenKind::Word => before.is_ascii_whitespace(),
    }
}

/// A problem with what comes after a text, with its line and column, counted from 1.
pub(super) fn located(before: impl Read, problem: &str) -> String {
    let (mut line, mut column) = (1, 1);
    for byte in BufReader::new(before).bytes().map_while(io::Result::ok) {
        match byte {
            b'\n' => (line, column) = (line + 1, 1),
            byte => column += usize::from(begins_character(byte)),
        }
    }
    format!("line {line}, column {column}: {problem}")
}

/// How much of a text can be handed on while more is to come: up to the last place where it may be cut, before its last
/// character, whole or not. Something is always kept, so that the last piece of a file is never empty.
fn cut(text: &[u8], kind: TokenKind) -> usize {
    let mut places = (1..text.len()).rev();
    let found = places.find(|&at| is_place_to_cut(kind, text[at - 1], text[at]));
    found.unwrap_or(match kind {
        TokenKind::Word => 0,
        // No UTF-8, as whoever looks at it will find.
        _ => text.len() - 1,
    })
}

/// What a file is that begins with these bytes and is no UTF-8 text, and the way from there to a text or a set.
fn other_format(bytes: &[u8]) -> Option<&'static str> {
    let utf_16 = "is text in UTF-16: convert it by `iconv -f utf-16 -t utf-8`";
    let formats: [(&[u8], _); 9] = [
        (b"\xfd7zXZ", "is compressed by xz: unpack it first"),
        (
            b"\x28\xb5\x2f\xfd",
            "is compressed by zstd: unpack it first",
        ),
        (b"BZh", "is compressed by bzip2: unpack it first"),
        (b"%PDF", "is a PDF: take the text out first, by `pdftotext`"),
        (
            b"\x89HDF",
            "is HDF5: write its arrays by `numpy.savez(..., inputs=..., targets=...)`",
        ),
        (
            b"\x93NUMPY",
            "is one array: put it into an .npz by `numpy.savez(..., inputs=..., targets=...)`",
        ),
        (
            b"PK",
            "is an archive: unpack it first, or, of arrays, give it a name that ends in .npz",
        ),
        (b"\xff\xfe", utf_16),
        (b"\xfe\xff", utf_16),
    ];
    let found = formats.iter().find(|(begin, _)| bytes.starts_with(begin));
    found.map(|&(_, format)| format)
}

/// Where a text that begins at `offset` of its file stops being UTF-8.
pub(super) fn no_utf8(offset: u64, error: Utf8Error) -> String {
    let at = offset + error.valid_up_to() as u64;
    format!(
        "byte {} (offset {at}) is not UTF-8 text; convert the text, or read it as bytes",
        at + 1
    )
}

/// Whether a byte of UTF-8 is the first of its character.
fn begins_character(byte: u8) -> bool {
    byte & 0b1100_0000 != 0b1000_0000
}

/// Whether a part of a file is UTF-8 to its end, and the file is not empty: only then any of its bytes may reach a corpus.
fn is_text(file: &File, part: Range<u64>) -> Result<bool> {
    // Only a piece that is not UTF-8 makes it an error of the file.
    match pieces_of(0, file, part, TokenKind::Char, &mut |_| Ok(())) {
        Ok(bytes) => Ok(bytes > 0 || file.bytes > 0),
        Err(Error::File { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}
