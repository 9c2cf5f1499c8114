//! Which files are to be read, and which of their bytes by which rank: [`Listing`].
//!
//! A file that is named must be there; a folder may hold anything, and its files that are no text are skipped and counted.
//! Of several ranks, each reads an even share of the bytes of all files together. Knows nothing of what a text is.

use crate::partition::even_share;
use crate::ranks::{Ranks, Values};
use crate::{Error, Result, atomic};
use ignore::gitignore::Gitignore;
use std::collections::HashSet;
use std::ops::Range;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// All bytes of a file, however many they turn out to be: the size of a pipe is not known.
pub(super) const WHOLE: Range<u64> = 0..u64::MAX;

/// The bytes for which another thread is begun.
const LEAST_OF_THREAD: u64 = 1 << 16;

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
    /// How many entries its `.gitignore` and `.ignore` files name.
    ignored: usize,
    /// Whether there is an `.npz` in it.
    has_sets: bool,
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
            let (files, folder) = if meta.is_dir() {
                let (files, folder) = Folder::read(path)?;
                listing.folders.push(folder);
                (files, Some(listing.folders.len() - 1))
            } else {
                (vec![(path.clone(), meta.len())], None)
            };
            let files = files.into_iter();
            listing.files.extend(files.map(|(path, bytes)| File {
                path,
                bytes,
                folder,
            }));
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
        match texts.iter().position(|&texts| texts == 0) {
            Some(empty) => Err(self.folders[empty].has_no_text()),
            None => Ok(()),
        }
    }

    /// How many entries of folders are no text, and how many more `.gitignore` and `.ignore` name; hidden ones not counted.
    pub fn skipped(&self) -> (usize, usize) {
        let sum = |of: fn(&Folder) -> usize| self.folders.iter().map(of).sum();
        (sum(|folder| folder.skipped), sum(|folder| folder.ignored))
    }

    /// The bytes of all files together.
    pub fn bytes(&self) -> u64 {
        let bytes = self.files.iter().map(|file| file.bytes);
        bytes.fold(0, u64::saturating_add)
    }

    /// What this process reads: the numbers of files, and which of their bytes.
    pub fn parts(&self, ranks: Option<&dyn Ranks>) -> Vec<(usize, Range<u64>)> {
        match ranks {
            None => (0..self.files.len()).map(|i| (i, WHOLE)).collect(),
            Some(ranks) => self.share(ranks.rank(), ranks.size()),
        }
    }

    /// [`Listing::parts`] in as many even shares as there are threads, if it can be divided and is worth it.
    pub fn parts_of_threads(
        &self,
        threads: usize,
        ranks: Option<&dyn Ranks>,
        can_be_divided: impl Fn(&File) -> bool,
    ) -> Vec<Vec<(usize, Range<u64>)>> {
        let (rank, size) = ranks.map_or((0, 1), |ranks| (ranks.rank(), ranks.size()));
        let worth = self.bytes() / (size as u64 * LEAST_OF_THREAD);
        let threads = threads.min(worth as usize);
        if threads < 2 || !self.files.iter().all(can_be_divided) {
            return vec![self.parts(ranks)];
        }
        let share = |thread| self.share(rank * threads + thread, size * threads);
        (0..threads).map(share).collect()
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

impl Folder {
    /// The ordinary files below a folder with their sizes, sorted by path. Left out are hidden ones, folders of runs, and what
    /// `.gitignore` and `.ignore` files in the folder or below it name.
    ///
    /// Links are followed. Each folder is entered once, so that a loop of links ends.
    fn read(path: &Path) -> Result<(Vec<(PathBuf, u64)>, Self)> {
        let (mut files, mut skipped, mut ignored) = (Vec::new(), 0, 0);
        let mut entered = HashSet::new();
        let mut waiting = vec![(path.to_owned(), Vec::new())];
        while let Some((folder, mut rules)) = waiting.pop() {
            if !entered.insert(fs_err::canonicalize(&folder)?) {
                continue;
            }
            rules.extend(ignore_rules(&folder)?);
            for entry in fs_err::read_dir(&folder)? {
                let entry = entry?;
                if entry.file_name().as_encoded_bytes().starts_with(b".") {
                    continue;
                }
                let path = entry.path();
                let meta = std::fs::metadata(&path).ok();
                let is_folder = meta.as_ref().is_some_and(|meta| meta.is_dir());
                // The last word is that of the file nearest to the entry.
                let nearest_first = rules.iter().rev();
                let mut said = nearest_first.map(|rules| rules.matched(&path, is_folder));
                let last_word = said.find(|rule| !rule.is_none());
                match meta {
                    _ if last_word.is_some_and(|rule| rule.is_ignore()) => ignored += 1,
                    // What the program wrote is no text to learn from; it may lie beside the data.
                    Some(_) if is_folder && is_run(&path) => skipped += 1,
                    Some(_) if is_folder => waiting.push((path, rules.clone())),
                    Some(meta) if meta.is_file() => files.push((path, meta.len())),
                    // A broken link, a socket, a pipe.
                    _ => skipped += 1,
                }
            }
        }
        files.sort_unstable();
        let is_set = |(path, _): &(PathBuf, u64)| path.extension().is_some_and(|e| e == "npz");
        let folder = Folder {
            path: path.to_owned(),
            skipped,
            ignored,
            has_sets: files.iter().any(is_set),
        };
        Ok((files, folder))
    }

    fn has_no_text(&self) -> Error {
        let (skipped, ignored) = (self.skipped, self.ignored);
        let hint = match self.has_sets {
            true => "; of sets, give one .npz by its name",
            false => "",
        };
        let problem = format!(
            "no text in this folder: it has no files that are UTF-8 and not empty ({skipped} others, {ignored} that its \
             .gitignore or .ignore names, hidden ones not counted){hint}"
        );
        Error::file(&self.path, problem)
    }
}

/// The rules of a folder's `.gitignore` and, above them, of its `.ignore`.
fn ignore_rules(folder: &Path) -> Result<Vec<Rc<Gitignore>>> {
    let mut rules = Vec::new();
    for path in [".gitignore", ".ignore"].map(|name| folder.join(name)) {
        if path.is_file() {
            let (own, problem) = Gitignore::new(&path);
            if let Some(problem) = problem {
                return Err(Error::file(&path, format!("cannot be followed: {problem}")));
            }
            rules.push(Rc::new(own));
        }
    }
    Ok(rules)
}
