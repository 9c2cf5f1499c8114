//! Files and folders as texts, one after another, in pieces: never much more than a mebibyte is in memory.
//!
//! A file that is named must be there, and be text where text is wanted; a folder may hold
//! anything, and what is not UTF-8 or is empty is skipped and counted. Knows nothing of tokens but
//! where a text may be cut.

use super::vocabulary::{TokenKind, utf8_from};
use crate::{Error, Result};
use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};

/// What was read to make a corpus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Files read.
    pub files: usize,
    /// Files of folders that were left out: empty, not UTF-8, or no ordinary files.
    pub skipped: usize,
    /// Bytes read.
    pub bytes: u64,
}

/// Bytes read at a time. Larger ones are no faster, and the ids of a text need their memory; not
/// tuned beyond that.
const PIECE: usize = 1 << 20;

/// A part of a text: whole characters or, where tokens are words, whole words, and no line feed apart
/// from its line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'a> {
    /// The file it is from.
    pub path: &'a Path,
    /// Its bytes, UTF-8 unless tokens are bytes.
    pub text: &'a [u8],
    /// Where it begins in the file.
    pub place: Place,
    /// The file ends with it, and its last line has no line feed.
    pub open_end: bool,
}

impl Piece<'_> {
    pub fn begins_file(&self) -> bool {
        self.place.offset == 0
    }
}

/// A place in a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Bytes before it.
    pub offset: u64,
    /// Line feeds before it.
    pub line: usize,
    /// Characters of its line before it.
    pub column: usize,
}

impl Place {
    /// The place after `text`.
    pub fn after(self, text: &[u8]) -> Self {
        let lines = text.iter().filter(|&&byte| byte == b'\n').count();
        let last_line = match text.iter().rposition(|&byte| byte == b'\n') {
            Some(at) => &text[at + 1..],
            None => text,
        };
        let characters = last_line.iter().filter(|&&byte| begins_character(byte));
        Place {
            offset: self.offset + text.len() as u64,
            line: self.line + lines,
            column: characters.count() + if lines == 0 { self.column } else { 0 },
        }
    }
}

/// Hands every text to `act`, piece by piece, in the order given, folders sorted by path.
///
/// # Errors
/// [`Error::Io`] for what is not there or may not be read; [`Error::File`] for a named file that is
/// empty, or not UTF-8 although its tokens are not bytes, and for a folder without text; whatever
/// `act` returns.
pub(super) fn for_each_piece(
    paths: &[PathBuf],
    kind: TokenKind,
    mut act: impl FnMut(Piece<'_>) -> Result<()>,
) -> Result<Reading> {
    let mut reading = Reading::default();
    for path in paths {
        let meta = fs_err::metadata(path)?;
        if is_device(&meta) {
            return Err(Error::file(path, "a device, expected a file or a folder"));
        }
        if meta.is_dir() {
            let (files_before, skipped_before) = (reading.files, reading.skipped);
            let (files, odd) = files_of(path)?;
            reading.skipped += odd;
            for file in files {
                if is_text(&file)? {
                    reading.bytes += pieces_of(&file, kind, &mut act)?;
                    reading.files += 1;
                } else {
                    reading.skipped += 1;
                }
            }
            if reading.files == files_before {
                let skipped = reading.skipped - skipped_before;
                return Err(Error::file(
                    path,
                    format!(
                        "no text in this folder: it has no files that are UTF-8 and not empty \
                         ({skipped} others, hidden ones not counted)"
                    ),
                ));
            }
        } else {
            let bytes = pieces_of(path, kind, &mut act)?;
            if bytes == 0 {
                return Err(Error::file(path, "the file is empty, expected text"));
            }
            reading.files += 1;
            reading.bytes += bytes;
        }
    }
    if reading.files == 0 {
        return Err(Error::Invalid {
            what: "data",
            problem: "no file or folder given".to_owned(),
        });
    }
    Ok(reading)
}

/// The pieces of one file; returns how many bytes it has.
fn pieces_of(
    path: &Path,
    kind: TokenKind,
    act: &mut impl FnMut(Piece<'_>) -> Result<()>,
) -> Result<u64> {
    let mut file = fs_err::File::open(path)?;
    let (mut text, mut place) = (Vec::with_capacity(PIECE), Place::default());
    loop {
        // A word longer than a piece: as much again.
        let wanted = PIECE.max(2 * text.len()) - text.len();
        let ends = (&mut file).take(wanted as u64).read_to_end(&mut text)? < wanted;
        let cut = if ends { text.len() } else { cut(&text, kind) };
        let whole = &text[..cut];
        if kind != TokenKind::Byte {
            utf8_from(place.offset, whole).map_err(|problem| Error::file(path, problem))?;
        }
        if !whole.is_empty() {
            act(Piece {
                path,
                text: whole,
                place,
                open_end: ends && !whole.ends_with(b"\n"),
            })?;
            place = place.after(whole);
        }
        if ends {
            return Ok(place.offset);
        }
        text.drain(..cut);
    }
}

/// How much of a text can be handed on while more is to come. Something is always kept, so that the
/// last piece of a file is never empty.
fn cut(text: &[u8], kind: TokenKind) -> usize {
    let (last, tail) = (text.len() - 1, text.len().saturating_sub(4));
    match kind {
        TokenKind::Byte => last,
        TokenKind::Word => match text[..last].iter().rposition(u8::is_ascii_whitespace) {
            Some(at) => at + 1,
            None => 0,
        },
        // Before the last character, whole or not. What has none in four bytes is no UTF-8.
        TokenKind::Char => match text[tail..]
            .iter()
            .rposition(|&byte| begins_character(byte))
        {
            Some(at) => tail + at,
            None => last,
        },
    }
}

/// Whether a byte of UTF-8 is the first of its character.
fn begins_character(byte: u8) -> bool {
    byte & 0b1100_0000 != 0b1000_0000
}

/// A device may never end, as /dev/zero does not. A pipe does.
#[cfg(unix)]
fn is_device(meta: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    meta.file_type().is_char_device() || meta.file_type().is_block_device()
}

#[cfg(not(unix))]
fn is_device(_: &std::fs::Metadata) -> bool {
    false
}

/// The ordinary files below a folder, sorted by path, hidden ones left out; and how many entries
/// are something else.
///
/// Links are followed, each folder is entered once: a loop ends.
fn files_of(folder: &Path) -> Result<(Vec<PathBuf>, usize)> {
    let (mut files, mut odd) = (Vec::new(), 0);
    let mut entered = HashSet::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        if !entered.insert(fs_err::canonicalize(&folder)?) {
            continue;
        }
        for entry in fs_err::read_dir(&folder)? {
            let path = entry?.path();
            if path
                .file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
            {
                continue;
            }
            match std::fs::metadata(&path) {
                Ok(meta) if meta.is_dir() => waiting.push(path),
                Ok(meta) if meta.is_file() => files.push(path),
                // A broken link, a socket, a pipe.
                _ => odd += 1,
            }
        }
    }
    files.sort_unstable();
    Ok((files, odd))
}

/// Whether a file is UTF-8 and not empty, to its end: nothing of one that is not must reach a corpus.
fn is_text(path: &Path) -> Result<bool> {
    let mut bytes = 0;
    // All that ends it early is a piece that is not UTF-8.
    match pieces_of(path, TokenKind::Char, &mut |piece| {
        bytes += piece.text.len();
        Ok(())
    }) {
        Ok(_) => Ok(bytes > 0),
        Err(Error::File { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn read(paths: &[PathBuf], any_bytes: bool) -> Result<(Vec<u8>, Reading)> {
        let kind = match any_bytes {
            true => TokenKind::Byte,
            false => TokenKind::Char,
        };
        let mut all = Vec::new();
        let reading = for_each_piece(paths, kind, |piece| {
            all.extend(piece.text);
            Ok(())
        })?;
        Ok((all, reading))
    }

    #[test]
    fn a_folder_is_sorted_and_the_rest_skipped_and_counted() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::create_dir_all(at("b/.git")).unwrap();
        fs::write(at("c.txt"), "3").unwrap();
        fs::write(at("b/z.txt"), "2").unwrap();
        fs::write(at("a.txt"), "1").unwrap();
        fs::write(at("empty"), "").unwrap();
        // Two pieces, and a third that is no text.
        fs::write(
            at("late.bin"),
            [vec![b'x'; 2 * PIECE + 9], vec![0xff]].concat(),
        )
        .unwrap();
        fs::write(at("binary"), b"\xff\xfe\0\0").unwrap();
        fs::write(at(".hidden"), "no").unwrap();
        fs::write(at("b/.git/config"), "no").unwrap();
        let (text, reading) = read(&[root.path().to_owned()], false).unwrap();
        assert_eq!(text, b"123");
        let expected = Reading {
            files: 3,
            skipped: 3,
            bytes: 3,
        };
        assert_eq!(reading, expected);
        let (text, _) = read(&[at("c.txt"), at("b"), at("c.txt")], true).unwrap();
        assert_eq!(text, b"323");
    }

    #[test]
    fn pieces_are_whole_and_know_their_place() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a");
        // Characters of two bytes, so that every other cut would fall into one; then a word longer than a piece.
        let text = format!("{}\n{}", "éé é\n".repeat(PIECE / 4), "é".repeat(PIECE));
        fs::write(&path, &text).unwrap();
        for kind in [TokenKind::Char, TokenKind::Word, TokenKind::Byte] {
            let (mut all, mut pieces, mut open) = (Vec::new(), 0, false);
            for_each_piece(std::slice::from_ref(&path), kind, |piece| {
                assert!(!open, "nothing comes after the end");
                assert_eq!(piece.place, Place::default().after(&all));
                if kind != TokenKind::Byte {
                    assert!(std::str::from_utf8(piece.text).is_ok());
                }
                if kind == TokenKind::Word && !piece.open_end {
                    assert!(piece.text.last().is_some_and(u8::is_ascii_whitespace));
                }
                all.extend(piece.text);
                (pieces, open) = (pieces + 1, piece.open_end);
                Ok(())
            })
            .unwrap();
            assert!(all == text.as_bytes() && open && pieces > 2, "{kind:?}");
        }
        let place = Place::default().after("ab\ncé".as_bytes());
        assert_eq!((place.offset, place.line, place.column), (6, 1, 2));
        let place = place.after(b"d");
        assert_eq!((place.offset, place.line, place.column), (7, 1, 3));
    }

    #[test]
    fn a_byte_that_is_no_text_is_named_wherever_it_is() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a");
        fs::write(&path, [vec![b'x'; 3 * PIECE + 7], vec![0xff]].concat()).unwrap();
        let error = read(&[path], false).unwrap_err().to_string();
        let offset = format!("offset {}", 3 * PIECE + 7);
        assert!(error.contains(&offset), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_once() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("a")).unwrap();
        fs::write(root.path().join("a/t.txt"), "t").unwrap();
        std::os::unix::fs::symlink("..", root.path().join("a/loop")).unwrap();
        std::os::unix::fs::symlink("nowhere", root.path().join("broken")).unwrap();
        let (text, reading) = read(&[root.path().to_owned()], false).unwrap();
        assert_eq!((text.as_slice(), reading.skipped), (&b"t"[..], 1));
    }

    #[test]
    fn errors_name_the_file() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::write(at("empty.txt"), "").unwrap();
        fs::write(at("latin.txt"), b"caf\xe9").unwrap();
        fs::create_dir(at("bare")).unwrap();
        for (name, any_bytes, expected) in [
            ("missing.txt", false, "No such file"),
            ("empty.txt", true, "empty"),
            ("latin.txt", false, "offset 3"),
            ("bare", false, "no text"),
        ] {
            let error = read(&[at(name)], any_bytes).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(expected), "{error}");
        }
        assert_eq!(read(&[at("latin.txt")], true).unwrap().0, b"caf\xe9");
        if cfg!(unix) {
            let error = read(&["/dev/zero".into()], true).unwrap_err().to_string();
            assert!(error.contains("/dev/zero: a device"), "{error}");
        }
        assert!(read(&[], true).is_err());
    }
}
