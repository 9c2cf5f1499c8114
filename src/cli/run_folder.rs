//! A run folder: which files it holds, and the two ways to come to one.
//!
//! Whoever has a [`RunFolder`] holds its lock, so nobody else writes there.

use super::settings::Config;
use anyhow::{Context, Result, bail};
use bptt::file::{self, write_atomically};
use bptt::train::Report;
use fs_err as fs;
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};

/// What is replaced as a whole: each may have left an unfinished file beside it.
const FILES: [&str; 4] = [
    "config.json",
    "last.safetensors",
    "model.safetensors",
    "loss.svg",
];

/// The folder of a run.
pub struct RunFolder {
    path: PathBuf,
    history: fs::File,
    /// Held as long as the run lasts.
    lock: std::fs::File,
}

/// The file of a model: MODEL itself, or a run folder's.
pub fn model_path(model: &Path) -> PathBuf {
    if model.is_dir() {
        model.join("model.safetensors")
    } else {
        model.to_path_buf()
    }
}

/// Reads the model that `bptt train` or PyTorch left, and runs `$work` in its precision.
macro_rules! with_model {
    ($path:expr, |$model:ident| $work:expr) => {{
        let path = $crate::cli::run_folder::model_path($path);
        $crate::cli::memory::check_model(&path)?;
        if bptt::model::precision(&path)? == "f64" {
            let $model = bptt::model::Model::<f64>::read(&path)?;
            $work
        } else {
            let $model = bptt::model::Model::<f32>::read(&path)?;
            $work
        }
    }};
}
pub(super) use with_model;

/// Refuses a folder that holds a run.
///
/// A run begins with its `config.json`: a folder without it, in which nothing was trained either, is what a start that
/// was killed leaves, and free.
pub fn check_free(folder: &Path) -> Result<()> {
    let filled = |name: &str| std::fs::metadata(folder.join(name)).is_ok_and(|m| m.len() > 0);
    let files = [
        "config.json",
        "last.safetensors",
        "model.safetensors",
        "history.jsonl",
    ];
    if let Some(file) = files.into_iter().find(|name| filled(name)) {
        let folder = folder.display();
        bail!(
            "{folder} holds a run already ({file}): choose another --out, or go on with it by --resume {folder}"
        );
    }
    Ok(())
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
        if !path.join("config.json").exists() {
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
        never_through_links(&mut options);
        let cannot = || format!("cannot write in {}", path.display());
        let lock = options.open(path.join(".lock")).with_context(cannot)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => bail!(
                "another run is writing to {}: wait for it, or choose another folder",
                path.display()
            ),
            // A file system without locks: better a run than none.
            Err(std::fs::TryLockError::Error(_)) => {}
        }
        let history = options
            .open(path.join("history.jsonl"))
            .with_context(cannot)?;
        let folder = RunFolder {
            history: fs::File::from_parts(history, path.join("history.jsonl")),
            path,
            lock,
        };
        for name in FILES {
            file::remove_unfinished(&folder.path.join(name));
        }
        Ok(folder)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    fn config(&self) -> PathBuf {
        self.path.join("config.json")
    }

    pub fn plot(&self) -> PathBuf {
        self.path.join("loss.svg")
    }

    pub fn write_config(&self, config: &Config) -> Result<()> {
        let mut text = serde_json::to_string_pretty(config)?;
        text.push('\n');
        Ok(write_atomically(&self.config(), text.as_bytes())?)
    }

    /// Whether the folder is still the one that was opened: somebody may have removed it, and begun another run there.
    pub fn check_ours(&self) -> Result<()> {
        if !is_same_file(&self.lock, &self.path.join(".lock")) {
            bail!(
                "{}: the folder was removed or replaced while the run was writing to it, so the run ends",
                self.path.display()
            );
        }
        Ok(())
    }

    /// Adds a line.
    pub fn append(&mut self, report: &Report) -> Result<()> {
        let mut line = serde_json::to_string(report)?;
        line.push('\n');
        self.history.write_all(line.as_bytes())?;
        Ok(())
    }

    /// All lines so far are on the disk when this returns.
    pub fn sync_history(&self) -> Result<()> {
        Ok(self.history.sync_all()?)
    }

    /// The first `reports` lines of the history, and the bytes they take.
    pub fn history(&self, reports: u64) -> Result<(Vec<Report>, u64)> {
        let path = self.path.join("history.jsonl");
        let text = file::read(&path, u64::MAX)?;
        first_reports(&text, reports).with_context(|| path.display().to_string())
    }

    /// Cuts the history after so many bytes: what follows was written by a run that was killed before its next
    /// checkpoint, perhaps half a line.
    pub fn cut_history(&mut self, bytes: u64) -> Result<()> {
        self.history.set_len(bytes)?;
        self.history.seek(io::SeekFrom::Start(bytes))?;
        Ok(())
    }
}

/// The first `reports` lines of a history, and the bytes they take.
pub fn first_reports(text: &[u8], reports: u64) -> Result<(Vec<Report>, u64)> {
    let (mut history, mut bytes) = (Vec::new(), 0);
    let lines = text.split_inclusive(|&byte| byte == b'\n');
    let whole = lines.take_while(|line| line.ends_with(b"\n"));
    for line in whole.take(usize::try_from(reports)?) {
        let number = history.len() + 1;
        let report = serde_json::from_slice(line);
        history.push(report.with_context(|| format!("line {number} is no report"))?);
        bytes += line.len() as u64;
    }
    if (history.len() as u64) < reports {
        let lines = history.len();
        bail!("there are {lines} whole lines, the checkpoint knows {reports}");
    }
    Ok((history, bytes))
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

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"step":1,"epoch":0.1,"tokens":5,"train_loss":1.5,"valid_loss":null,"lr":0.1,"grad_norm":1.0,"divergences":0,"tokens_per_second":9.0}"#;

    #[test]
    fn half_a_line_is_no_report() {
        let text = format!("{LINE}\n{LINE}\n{}", &LINE[..40]);
        let (history, bytes) = first_reports(text.as_bytes(), 2).unwrap();
        assert_eq!((history.len(), bytes), (2, 2 * (LINE.len() as u64 + 1)));
        // Neither is a whole one whose end is missing: the next would be written behind it.
        for cut in [1, 20, LINE.len() + 1] {
            let text = &text[..2 * LINE.len() + 2 - cut];
            let error = first_reports(text.as_bytes(), 2).unwrap_err().to_string();
            assert!(error.contains("1 whole line"), "{error}");
        }
        let (history, bytes) = first_reports(b"\xff not even text", 0).unwrap();
        assert_eq!((history.len(), bytes), (0, 0));
        assert!(first_reports(b"{}\n", 1).is_err());
        assert!(first_reports(b"", u64::MAX).is_err());
    }
}
