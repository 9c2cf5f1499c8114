//! Files and folders as texts, one after another, never more than one in memory.
//!
//! A file that is named must be there, and be text where text is wanted; a folder may hold
//! anything, and what is not UTF-8 or is empty is skipped and counted. Knows nothing of tokens.

use super::vocabulary::utf8;
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

/// As much of a file as tells text from anything else, so that a huge binary file in a folder is
/// not read.
const SNIFFED: u64 = 1 << 16;

/// Hands every text to `act`, in the order given, folders sorted by path.
///
/// # Errors
/// [`Error::Io`] for what is not there or may not be read; [`Error::File`] for a named file that is
/// empty, or not UTF-8 although not `any_bytes`, and for a folder without text; whatever `act`
/// returns.
pub(super) fn for_each_text(
    paths: &[PathBuf],
    any_bytes: bool,
    mut act: impl FnMut(&Path, Vec<u8>) -> Result<()>,
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
                match read_if_text(&file)? {
                    Some(text) => {
                        reading.files += 1;
                        reading.bytes += text.len() as u64;
                        act(&file, text)?;
                    }
                    None => reading.skipped += 1,
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
            let text = fs_err::read(path)?;
            if text.is_empty() {
                return Err(Error::file(path, "the file is empty, expected text"));
            }
            if !any_bytes {
                utf8(&text).map_err(|problem| Error::file(path, problem))?;
            }
            reading.files += 1;
            reading.bytes += text.len() as u64;
            act(path, text)?;
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

/// The content of a file that is UTF-8 and not empty.
fn read_if_text(path: &Path) -> Result<Option<Vec<u8>>> {
    let mut file = fs_err::File::open(path)?;
    let mut text = Vec::new();
    (&mut file).take(SNIFFED).read_to_end(&mut text)?;
    // A character cut off by the end of what was read has no `error_len`.
    let binary = std::str::from_utf8(&text).is_err_and(|e| e.error_len().is_some());
    if text.is_empty() || binary {
        return Ok(None);
    }
    file.read_to_end(&mut text)?;
    Ok(std::str::from_utf8(&text).is_ok().then_some(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn read(paths: &[PathBuf], any_bytes: bool) -> Result<(Vec<u8>, Reading)> {
        let mut all = Vec::new();
        let reading = for_each_text(paths, any_bytes, |_, text| {
            all.extend(text);
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
        fs::write(at("late.bin"), [vec![b'x'; 1 << 17], vec![0xff]].concat()).unwrap();
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
    fn a_character_across_the_sniffed_part_is_text() {
        let root = tempfile::tempdir().unwrap();
        let text = "x".repeat(SNIFFED as usize - 1) + "é!";
        fs::write(root.path().join("a"), &text).unwrap();
        let (found, _) = read(&[root.path().to_owned()], false).unwrap();
        assert_eq!(found, text.as_bytes());
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
