//! Which files are to be read, and which of their bytes by whom: [`Listing`].
//!
//! A file that is named must be there; a folder may hold anything, and what is not UTF-8 or is empty is skipped and
//! counted. Of several ranks, each reads an even share of the bytes of all files together.

use super::text::is_text;
use crate::deal::piece;
use crate::ranks::{self, Ranks, Values};
use crate::{Error, Result, file};
use std::collections::HashSet;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Places at which ranks compare what they see, and bytes at each.
const SAMPLES: usize = 64;
const SAMPLE: u64 = 4096;
/// Bytes of which a fingerprint has a hash.
const BLOCK: usize = 1 << 20;

/// A number that tells files apart by their bytes: with several ranks, of which each reads its part, that of the whole
/// file as well. It is the sum, wrapping, of a hash of each block with the number of the block.
///
/// # Errors
/// [`Error::Io`] or [`Error::File`].
pub fn file_fingerprint(path: &Path, ranks: Option<&dyn Ranks>) -> Result<u64> {
    let (mut file, bytes) = file::open_ordinary(path)?;
    let blocks = bytes.div_ceil(BLOCK as u64) as usize;
    let own = ranks.map_or(0..blocks, |ranks| piece(ranks.rank(), ranks.size(), blocks));
    file.seek(SeekFrom::Start((own.start * BLOCK) as u64))?;
    let (mut sum, mut block) = (0, Vec::with_capacity(BLOCK));
    for number in own {
        block.clear();
        (&mut file).take(BLOCK as u64).read_to_end(&mut block)?;
        sum = xxh3_64_with_seed(&block, number as u64).wrapping_add(sum);
    }
    Ok(match ranks {
        Some(ranks) => ranks::total(ranks, sum),
        None => sum,
    })
}

/// The files that are to be read.
#[derive(Default)]
pub(super) struct Listing {
    pub files: Vec<File>,
    folders: Vec<Folder>,
}

pub(super) struct File {
    pub path: PathBuf,
    /// By the directory; a pipe has none.
    pub bytes: u64,
    /// The folder that it was found in, by its number.
    folder: Option<usize>,
}

/// A folder that was given, with all below it.
struct Folder {
    path: PathBuf,
    /// Entries that are no text, hidden ones not counted.
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
            let meta = fs_err::metadata(path)?;
            if is_device(&meta) {
                return Err(Error::file(path, "a device, expected a file or a folder"));
            }
            let path = path.clone();
            if meta.is_dir() {
                let (files, skipped) = files_of(&path)?;
                let folder = Some(listing.folders.len());
                listing.folders.push(Folder { path, skipped });
                let files = files.into_iter().map(|(path, bytes)| File {
                    path,
                    bytes,
                    folder,
                });
                listing.files.extend(files);
            } else {
                listing.files.push(File {
                    path,
                    bytes: meta.len(),
                    folder: None,
                });
            }
        }
        match paths {
            [] => Err(Error::Invalid {
                what: "data",
                problem: "no file or folder given".to_owned(),
            }),
            _ => Ok(listing),
        }
    }

    /// Whether all ranks see the same files: as many, of the same sizes, with the same bytes at [`SAMPLES`] places. Whoever
    /// reads a part cannot know more of the rest.
    ///
    /// # Errors
    /// [`Error::Ranks`] if not; [`Error::Io`] or [`Error::File`] for one that several cannot read.
    pub fn agree(&self, ranks: &dyn Ranks) -> Result<()> {
        for file in self.files.iter().filter(|file| file.folder.is_none()) {
            file::open_ordinary(&file.path)?;
        }
        let sizes = self.files.iter().flat_map(|file| file.bytes.to_le_bytes());
        let mut seen: Vec<u8> = sizes.collect();
        for i in 0..SAMPLES {
            let begin = self.even_part(i, SAMPLES).start;
            for (number, part) in self.within(begin..begin + SAMPLE) {
                let mut file = fs_err::File::open(&self.files[number].path)?;
                file.seek(SeekFrom::Start(part.start))?;
                file.take(part.end - part.start).read_to_end(&mut seen)?;
            }
        }
        ranks::agree(ranks, "other data", &seen)
    }

    /// Leaves out what is in folders and no text.
    pub fn keep_texts(&mut self, ranks: Option<&dyn Ranks>) -> Result<()> {
        // In floating point, which ranks can add. One of no bytes is no part of anybody.
        let none = |file: &File| {
            if ranks.is_some() && file.bytes == 0 {
                1.0
            } else {
                0.0
            }
        };
        let mut odd: Vec<f64> = self.files.iter().map(none).collect();
        for (number, part) in self.parts(ranks) {
            let file = &self.files[number];
            if file.folder.is_some() && !is_text(file, part)? {
                odd[number] = 1.0;
            }
        }
        if let Some(ranks) = ranks {
            ranks.sum(Values::F64(&mut odd));
        }
        let mut texts = vec![0; self.folders.len()];
        let mut odd = odd.into_iter().map(|ranks| ranks > 0.0);
        self.files.retain(|file| {
            let odd = odd.next().expect("one for each file");
            if let Some(folder) = file.folder {
                self.folders[folder].skipped += usize::from(odd);
                texts[folder] += usize::from(!odd);
            }
            !odd
        });
        match self
            .folders
            .iter()
            .zip(texts)
            .find(|(_, texts)| *texts == 0)
        {
            Some((Folder { path, skipped }, _)) => Err(Error::file(
                path,
                format!(
                    "no text in this folder: it has no files that are UTF-8 and not empty \
                     ({skipped} others, hidden ones not counted)"
                ),
            )),
            None => Ok(()),
        }
    }

    /// Entries of folders that are no text, hidden ones not counted.
    pub fn skipped(&self) -> usize {
        self.folders.iter().map(|folder| folder.skipped).sum()
    }

    /// Of all files together.
    pub fn bytes(&self) -> u64 {
        let bytes = self.files.iter().map(|file| file.bytes);
        bytes.fold(0, u64::saturating_add)
    }

    /// What is to be read here: files by number, and which of their bytes.
    pub fn parts(&self, ranks: Option<&dyn Ranks>) -> Vec<(usize, Range<u64>)> {
        match ranks {
            // What is no ordinary file does not know how long it is.
            None => (0..self.files.len())
                .map(|number| (number, 0..u64::MAX))
                .collect(),
            Some(ranks) => self.within(self.even_part(ranks.rank(), ranks.size())),
        }
    }

    /// One of as many even shares in the bytes of all together.
    fn even_part(&self, i: usize, parts: usize) -> Range<u64> {
        let Range { start, end } = piece(i, parts, self.bytes() as usize);
        start as u64..end as u64
    }

    /// The files that some of the bytes of all together are in, and which of their bytes those are.
    fn within(&self, range: Range<u64>) -> Vec<(usize, Range<u64>)> {
        let mut begin = 0u64;
        let parts = self.files.iter().map(|file| {
            let end = begin.saturating_add(file.bytes);
            let part = range.start.clamp(begin, end) - begin..range.end.clamp(begin, end) - begin;
            begin = end;
            part
        });
        parts
            .enumerate()
            .filter(|(_, part)| !part.is_empty())
            .collect()
    }
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

/// The ordinary files below a folder with their sizes, sorted by path, hidden ones left out; and how many entries
/// are something else.
///
/// Links are followed, each folder is entered once: a loop ends.
fn files_of(folder: &Path) -> Result<(Vec<(PathBuf, u64)>, usize)> {
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
                Ok(meta) if meta.is_file() => files.push((path, meta.len())),
                // A broken link, a socket, a pipe.
                _ => odd += 1,
            }
        }
    }
    files.sort_unstable();
    Ok((files, odd))
}
