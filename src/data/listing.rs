//! Which files are to be read, and which of their bytes by which rank: [`Listing`].
//!
//! A file that is named must be there; a folder may hold anything, and its files that are no text are skipped and counted.
//! Of several ranks, each reads an even share of the bytes of all files together. Knows nothing of what a text is.

use crate::partition::even_share;
use crate::ranks::{Ranks, Values};
use crate::{Error, Result, atomic};
use std::collections::HashSet;
use std::ops::Range;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// The files that are to be read, one after another.
#[derive(Default)]
pub(super) struct Listing {
    pub files: Vec<File>,
    folders: Vec<Folder>,
}

pub(super) struct File {
    pub path: PathBuf,
    /// The file's size by its directory; 0 for a pipe.
    pub bytes: u64,
    /// The number of the folder that the file was found in; none for a file that was named.
    folder: Option<usize>,
}

/// A folder that was given, with all below it.
struct Folder {
    path: PathBuf,
    /// How many entries are no text, hidden ones not counted.
    skipped: usize,
}

impl File {
    pub fn empty(&self) -> Error {
        Error::file(&self.path, "the file is empty, expected text")
    }
}

impl Listing {
    pub fn of(paths: &[PathBuf]) -> Result<Self> {
        let mut listing = Listing::default();
        for path in paths {
            let meta = atomic::metadata(path)?;
            // It may never end, as /dev/zero does not. A pipe does.
            if meta.file_type().is_char_device() || meta.file_type().is_block_device() {
                return Err(Error::file(path, "a device, expected a file or a folder"));
            }
            let path = path.clone();
            if meta.is_dir() {
                let (files, skipped) = files_of(&path)?;
                let folder = Some(listing.folders.len());
                listing.folders.push(Folder { path, skipped });
                let file = |(path, bytes)| File {
                    path,
                    bytes,
                    folder,
                };
                listing.files.extend(files.into_iter().map(file));
            } else {
                let (bytes, folder) = (meta.len(), None);
                listing.files.push(File {
                    path,
                    bytes,
                    folder,
                });
            }
        }
        match paths {
            [] => Err(Error::invalid("data", "no file or folder given")),
            _ => Ok(listing),
        }
    }

    /// Leaves out the files of folders that are no text, as `is_text` finds by the part of each file that is read here.
    ///
    /// # Errors
    /// [`Error::File`] for a folder without text; whatever `is_text` returns.
    pub fn keep_texts(
        &mut self,
        ranks: Option<&dyn Ranks>,
        is_text: impl Fn(&File, Range<u64>) -> Result<bool>,
    ) -> Result<()> {
        // In floating point, which ranks can add. An empty file has no part that a rank could look at.
        let empty = |file: &File| f64::from(ranks.is_some() && file.bytes == 0);
        let mut no_text: Vec<f64> = self.files.iter().map(empty).collect();
        for (number, part) in self.parts(ranks) {
            let file = &self.files[number];
            if file.folder.is_some() && !is_text(file, part)? {
                no_text[number] = 1.0;
            }
        }
        if let Some(ranks) = ranks {
            ranks.sum(Values::F64(&mut no_text));
        }
        let mut texts = vec![0; self.folders.len()];
        let mut no_text = no_text.into_iter().map(|ranks| ranks > 0.0);
        self.files.retain(|file| {
            let skipped = no_text.next().expect("one for each file");
            if let Some(folder) = file.folder {
                self.folders[folder].skipped += usize::from(skipped);
                texts[folder] += usize::from(!skipped);
            }
            !skipped
        });
        let Some(empty) = texts.iter().position(|&texts| texts == 0) else {
            return Ok(());
        };
        let Folder { path, skipped } = &self.folders[empty];
        let why = "no text in this folder: it has no files that are UTF-8 and not empty";
        let problem = format!("{why} ({skipped} others, hidden ones not counted)");
        Err(Error::file(path, problem))
    }

    /// How many entries of folders are no text, hidden ones not counted.
    pub fn skipped(&self) -> usize {
        self.folders.iter().map(|folder| folder.skipped).sum()
    }

    /// The bytes of all files together.
    pub fn bytes(&self) -> u64 {
        let bytes = self.files.iter().map(|file| file.bytes);
        bytes.fold(0, u64::saturating_add)
    }

    /// What this process reads: the numbers of files, and which of their bytes.
    pub fn parts(&self, ranks: Option<&dyn Ranks>) -> Vec<(usize, Range<u64>)> {
        match ranks {
            // The size of a pipe is not known.
            None => (0..self.files.len())
                .map(|number| (number, 0..u64::MAX))
                .collect(),
            Some(ranks) => self.share(ranks.rank(), ranks.size()),
        }
    }

    /// Share `i` of as many even `shares` in the bytes of all files together: the numbers of files, and which of their bytes.
    pub fn share(&self, i: usize, shares: usize) -> Vec<(usize, Range<u64>)> {
        let Range { start, end } = even_share(i, shares, self.bytes() as usize);
        let mut begin = 0u64;
        let parts = self.files.iter().map(|file| {
            let (first, end_of_file) = (begin, begin.saturating_add(file.bytes));
            begin = end_of_file;
            let clamp = |at: usize| (at as u64).clamp(first, end_of_file) - first;
            clamp(start)..clamp(end)
        });
        let parts = parts.enumerate().filter(|(_, part)| !part.is_empty());
        parts.collect()
    }
}

/// Whether a folder is that of a run.
fn is_run(folder: &Path) -> bool {
    ["config.json", "history.jsonl"].map(|file| folder.join(file).is_file()) == [true; 2]
}

/// The ordinary files below a folder with their sizes, sorted by path, hidden ones and folders of runs left out; and how many
/// entries are neither files nor folders of files.
///
/// Links are followed. Each folder is entered once, so that a loop of links ends.
fn files_of(folder: &Path) -> Result<(Vec<(PathBuf, u64)>, usize)> {
    let (mut files, mut others) = (Vec::new(), 0);
    let mut entered = HashSet::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        if !entered.insert(fs_err::canonicalize(&folder)?) {
            continue;
        }
        for entry in fs_err::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let path = entry.path();
            match std::fs::metadata(&path) {
                // What the program wrote is no text to learn from; it may lie beside the data.
                Ok(meta) if meta.is_dir() && is_run(&path) => others += 1,
                Ok(meta) if meta.is_dir() => waiting.push(path),
                Ok(meta) if meta.is_file() => files.push((path, meta.len())),
                // A broken link, a socket, a pipe.
                _ => others += 1,
            }
        }
    }
    files.sort_unstable();
    Ok((files, others))
}
