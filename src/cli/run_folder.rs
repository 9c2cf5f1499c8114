//! The folder of a run: its files, its lock, and the two ways to come to one.
//!
//! Whoever has a [`RunFolder`] holds its lock, so nobody else writes there.

use super::settings::Config;
use anyhow::{Context, Result, bail};
use bptt::Error;
use bptt::internal::atomic::{self, write_atomically};
use bptt::train::{Report, history};
use fs_err as fs;
use std::io::{self, BufRead, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

// The files of a run. The library's `Checkpoints` writes the model and the checkpoint, under these names.

/// Every setting.
pub const CONFIG: &str = "config.json";
/// The best weights.
pub const MODEL: &str = "model.safetensors";
/// The checkpoint.
pub const LAST: &str = "last.safetensors";
/// The reports.
pub const HISTORY: &str = "history.jsonl";
/// Their curves.
pub const PLOT: &str = "loss.svg";
const LOCK: &str = ".lock";

/// Refuses a folder that holds a run.
///
/// A run begins with its `config.json`: a folder without it, in which nothing was trained either, is what a start that
/// was killed leaves, and free.
pub fn check_free(folder: &Path) -> Result<()> {
    let filled =
        |name: &&str| std::fs::metadata(folder.join(name)).is_ok_and(|meta| meta.len() > 0);
    if let Some(file) = [CONFIG, LAST, MODEL, HISTORY].into_iter().find(filled) {
        let folder = folder.display();
        bail!(
            "{folder} holds a run already ({file}): choose another --out, or go on with it by --resume {folder}"
        );
    }
    Ok(())
}

/// The folder of a run that this process writes down.
pub struct RunFolder {
    pub path: PathBuf,
    history: fs::File,
    /// Held as long as the run lasts.
    lock: std::fs::File,
}

impl RunFolder {
    /// A new one at `out`, or at the first free of `runs/NAME`, `runs/NAME-2`, …; refused where there is a run.
    pub fn create(out: Option<&Path>, name: &str) -> Result<Self> {
        let path = match out {
            Some(out) => fs::create_dir_all(out).map(|()| out.to_path_buf())?,
            None => new_in(Path::new("runs"), name)?,
        };
        sync_parents(&path)?;
        let folder = Self::open(path)?;
        // Only now is nobody else about to begin here.
        check_free(&folder.path)?;
        Ok(folder)
    }

    /// The one of a run to go on with.
    pub fn resume(path: &Path) -> Result<Self> {
        if !path.join(CONFIG).exists() {
            let folder = path.display();
            bail!(
                "--resume {folder}: no run to go on with, for there is no config.json (a start that was cut short leaves \
                 none: begin again with --out {folder})"
            );
        }
        Self::open(path.to_path_buf())
    }

    fn open(path: PathBuf) -> Result<Self> {
        let mut options = std::fs::File::options();
        options.create(true).truncate(false).read(true).write(true);
        // A run folder from a stranger may hold links to files that are none of its business.
        options.custom_flags(libc::O_NOFOLLOW);
        let cannot = || format!("cannot write in {}", path.display());
        let lock = options.open(path.join(LOCK)).with_context(cannot)?;
        // Other errors are those of a file system without locks: better a run than none.
        if let Err(std::fs::TryLockError::WouldBlock) = lock.try_lock() {
            let folder = path.display();
            bail!("another run is writing to {folder}: wait for it, or choose another folder");
        }
        // These are replaced as a whole: each may have left an unfinished file beside it.
        for name in [CONFIG, LAST, MODEL, PLOT] {
            let file = path.join(name);
            atomic::check_replaceable(&file).with_context(cannot)?;
            atomic::remove_unfinished(&file);
        }
        let history = path.join(HISTORY);
        let file = options.open(&history).with_context(cannot)?;
        Ok(RunFolder {
            history: fs::File::from_parts(file, history),
            path,
            lock,
        })
    }

    pub fn write_config(&self, config: &Config) -> Result<()> {
        let mut text = serde_json::to_string_pretty(config)?;
        text.push('\n');
        Ok(write_atomically(&self.path.join(CONFIG), text.as_bytes())?)
    }

    /// Whether the folder is still the one that was opened: somebody may have removed it, and begun another run there.
    pub fn check_ours(&self) -> bptt::Result<()> {
        let there = std::fs::symlink_metadata(self.path.join(LOCK));
        let [there, ours] = [there, self.lock.metadata()]
            .map(|meta| meta.ok().map(|meta| (meta.dev(), meta.ino())));
        if ours.is_some() && ours == there {
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

    /// The reports of the history, one after the other.
    pub fn reports(&self) -> io::Result<impl Iterator<Item = io::Result<Report>> + use<>> {
        let lines = io::BufReader::new(fs::File::open(self.history.path())?).lines();
        Ok(lines.map(|line| Ok(serde_json::from_str(&line?)?)))
    }

    /// The first `reports` lines of the history, and the bytes they take.
    pub fn history(&self, reports: u64) -> Result<(Vec<Report>, u64)> {
        let path = self.history.path();
        let text = atomic::read(path, u64::MAX)?;
        history::first_reports(&text, reports).with_context(|| path.display().to_string())
    }

    /// Leaves nothing of a run that was stopped before its first checkpoint, which is written every so many steps or at each
    /// report: with the history of at most one such time, and a model only after its report. Where there is more, a checkpoint was
    /// written and is lost: a trained model would be lost too. That is refused.
    pub fn begin_again(&self, checkpoint_every: Option<u64>) -> Result<()> {
        let text = atomic::read(self.history.path(), u64::MAX)?;
        let lines = text.iter().filter(|&&byte| byte == b'\n').count() as u64;
        let (reports, _) = history::first_reports(&text, lines)?;
        let trained = match (reports.last(), checkpoint_every) {
            (None, _) => std::fs::metadata(self.path.join(MODEL)).is_ok_and(|meta| meta.len() > 0),
            (Some(_), None) => lines > 1,
            (Some(last), Some(steps)) => last.step > steps,
        };
        if trained {
            bail!(
                "{}: {LAST} is missing or empty, and there are {lines} reports in {HISTORY} and what was trained in {MODEL}, so \
                 the run cannot go on: put the checkpoint back from a copy, or start another run, perhaps by --from {MODEL} \
                 (nothing was changed)",
                self.path.display()
            );
        }
        self.cut_history(0)
    }

    /// Cuts the history after so many bytes: what follows was written by a run that was killed before its next
    /// checkpoint, perhaps half a line.
    pub fn cut_history(&self, bytes: u64) -> Result<()> {
        self.history.set_len(bytes)?;
        (&self.history).seek(io::SeekFrom::Start(bytes))?;
        Ok(())
    }
}

/// Makes the name of a new folder durable, and those of the folders above it that may be new as well.
fn sync_parents(folder: &Path) -> io::Result<()> {
    let folder = fs::canonicalize(folder)?;
    let mut above = folder.ancestors().skip(1).take(3);
    above.try_for_each(atomic::sync_folder)
}

/// The first of `runs/NAME`, `runs/NAME-2`, … that is not there, made.
fn new_in(runs: &Path, name: &str) -> io::Result<PathBuf> {
    fs::create_dir_all(runs)?;
    let (mut path, mut i) = (runs.join(name), 1);
    loop {
        match fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => i += 1,
            made => return made.map(|()| path),
        }
        path = runs.join(format!("{name}-{i}"));
    }
}
