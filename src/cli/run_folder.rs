//! The folder of a run: its files, its lock, and the two ways to come to one.
//!
//! Whoever has a [`RunFolder`] holds its lock, so nobody else writes there.

use super::settings::Config;
use anyhow::{Context, Result, bail};
use bptt::Error;
use bptt::internal::atomic::{self, write_atomically};
use bptt::train::{Report, history};
use fs_err as fs;
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};

/// The files of a run. The library's [`Checkpoints`](bptt::train::Checkpoints) writes `model` and `last`, and gives them
/// their names.
pub struct RunFiles {
    /// Every setting.
    pub config: PathBuf,
    /// The best weights.
    pub model: PathBuf,
    /// The checkpoint.
    pub last: PathBuf,
    /// The reports.
    pub history: PathBuf,
    /// Their curves.
    pub plot: PathBuf,
    lock: PathBuf,
}

impl RunFiles {
    pub fn of(folder: &Path) -> Self {
        let file = |name| folder.join(name);
        RunFiles {
            config: file("config.json"),
            model: file("model.safetensors"),
            last: file("last.safetensors"),
            history: file("history.jsonl"),
            plot: file("loss.svg"),
            lock: file(".lock"),
        }
    }
}

/// Refuses a folder that holds a run.
///
/// A run begins with its `config.json`: a folder without it, in which nothing was trained either, is what a start that
/// was killed leaves, and free.
pub fn check_free(folder: &Path) -> Result<()> {
    let files = RunFiles::of(folder);
    let filled = |path: &PathBuf| std::fs::metadata(path).is_ok_and(|meta| meta.len() > 0);
    let written = [files.config, files.last, files.model, files.history];
    if let Some(file) = written.iter().find(|path| filled(path)) {
        let (folder, file) = (folder.display(), file.file_name().unwrap_or_default());
        bail!(
            "{folder} holds a run already ({}): choose another --out, or go on with it by --resume {folder}",
            file.display()
        );
    }
    Ok(())
}

/// The folder of a run that this process writes down.
pub struct RunFolder {
    pub path: PathBuf,
    pub files: RunFiles,
    history: fs::File,
    /// Held as long as the run lasts.
    lock: std::fs::File,
}

impl RunFolder {
    /// A new one at `out`, or at the first free of `runs/NAME`, `runs/NAME-2`, …; refused where there is a run.
    pub fn create(out: Option<&Path>, name: &str) -> Result<Self> {
        let path = match out {
            Some(out) => {
                fs::create_dir_all(out)?;
                out.to_path_buf()
            }
            None => new_in(Path::new("runs"), name)?,
        };
        let folder = Self::open(path)?;
        // Only now is nobody else about to begin here.
        check_free(&folder.path)?;
        Ok(folder)
    }

    /// The one of a run to go on with.
    pub fn resume(path: &Path) -> Result<Self> {
        if !RunFiles::of(path).config.exists() {
            let folder = path.display();
            bail!(
                "--resume {folder}: no run to go on with, for there is no config.json (a start that was cut short leaves \
                 none: begin again with --out {folder})"
            );
        }
        Self::open(path.to_path_buf())
    }

    fn open(path: PathBuf) -> Result<Self> {
        let files = RunFiles::of(&path);
        let mut options = std::fs::File::options();
        options.create(true).truncate(false).read(true).write(true);
        never_through_links(&mut options);
        let cannot = || format!("cannot write in {}", path.display());
        let lock = options.open(&files.lock).with_context(cannot)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => bail!(
                "another run is writing to {}: wait for it, or choose another folder",
                path.display()
            ),
            // A file system without locks: better a run than none.
            Err(std::fs::TryLockError::Error(_)) => {}
        }
        let history = options.open(&files.history).with_context(cannot)?;
        // These are replaced as a whole: each may have left an unfinished file beside it.
        for path in [&files.config, &files.last, &files.model, &files.plot] {
            atomic::remove_unfinished(path);
        }
        Ok(RunFolder {
            history: fs::File::from_parts(history, &files.history),
            path,
            files,
            lock,
        })
    }

    pub fn write_config(&self, config: &Config) -> Result<()> {
        let mut text = serde_json::to_string_pretty(config)?;
        text.push('\n');
        Ok(write_atomically(&self.files.config, text.as_bytes())?)
    }

    /// Whether the folder is still the one that was opened: somebody may have removed it, and begun another run there.
    pub fn check_ours(&self) -> bptt::Result<()> {
        if is_same_file(&self.lock, &self.files.lock) {
            return Ok(());
        }
        let problem =
            "the folder was removed or replaced while the run was writing to it, so the run ends";
        Err(Error::file(&self.path, problem))
    }

    /// Adds a line to the history. It is on the disk when this returns.
    pub fn append(&self, report: &Report) -> io::Result<()> {
        let mut line = serde_json::to_string(report)?;
        line.push('\n');
        (&self.history).write_all(line.as_bytes())?;
        self.history.sync_all()
    }

    /// The first `reports` lines of the history, and the bytes they take.
    pub fn history(&self, reports: u64) -> Result<(Vec<Report>, u64)> {
        let path = &self.files.history;
        let text = atomic::read(path, u64::MAX)?;
        history::first_reports(&text, reports).with_context(|| path.display().to_string())
    }

    /// Cuts the history after so many bytes: what follows was written by a run that was killed before its next
    /// checkpoint, perhaps half a line.
    pub fn cut_history(&self, bytes: u64) -> Result<()> {
        self.history.set_len(bytes)?;
        (&self.history).seek(io::SeekFrom::Start(bytes))?;
        Ok(())
    }
}

/// The first of `runs/NAME`, `runs/NAME-2`, … that is not there, made.
fn new_in(runs: &Path, name: &str) -> Result<PathBuf> {
    fs::create_dir_all(runs)?;
    for i in 1.. {
        let path = match i {
            1 => runs.join(name),
            i => runs.join(format!("{name}-{i}")),
        };
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.into()),
        }
    }
    unreachable!("there are more numbers than folders")
}

/// A run folder from a stranger may hold links to files that are none of its business.
#[cfg(unix)]
fn never_through_links(options: &mut std::fs::OpenOptions) {
    use std::os::unix::fs::OpenOptionsExt;
    options.custom_flags(libc::O_NOFOLLOW);
}

#[cfg(not(unix))]
fn never_through_links(_: &mut std::fs::OpenOptions) {}

#[cfg(unix)]
fn is_same_file(open: &std::fs::File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |meta: std::fs::Metadata| (meta.dev(), meta.ino());
    match (open.metadata(), std::fs::symlink_metadata(path)) {
        (Ok(open), Ok(there)) => identity(open) == identity(there),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_same_file(_: &std::fs::File, path: &Path) -> bool {
    path.exists()
}

#[test]
fn the_library_gives_these_names_too() {
    let folder = Path::new("runs/a");
    let (files, library) = (
        RunFiles::of(folder),
        bptt::train::Checkpoints::new(folder, bptt::model::About::default()),
    );
    assert_eq!((files.model, files.last), (library.model(), library.last()));
}
