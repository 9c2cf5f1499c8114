//! A run folder: which files it holds, and the two ways to come to one.

use super::settings::Config;
use anyhow::{Context, Result, bail};
use bptt::file::write_atomically;
use bptt::train::Report;
use fs_err as fs;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};

/// The folder of a run.
pub struct RunFolder {
    path: PathBuf,
    history: fs::File,
    /// Held as long as the run lasts, so that no other run writes here.
    _lock: std::fs::File,
}

/// The file of a model: MODEL itself, or a run folder's.
pub fn model_path(model: &Path) -> PathBuf {
    if model.is_dir() {
        model.join("model.safetensors")
    } else {
        model.to_path_buf()
    }
}

impl RunFolder {
    /// A new one at `out`, or at the first free of `runs/NAME`, `runs/NAME-2`, …; refused where there is a run.
    pub fn create(out: Option<&Path>, name: &str) -> Result<Self> {
        let path = match out {
            Some(out) => out.to_path_buf(),
            None => (1..)
                .map(|i| match i {
                    1 => PathBuf::from("runs").join(name),
                    i => PathBuf::from("runs").join(format!("{name}-{i}")),
                })
                .find(|path| !path.exists())
                .expect("there are more numbers than folders"),
        };
        for file in [
            "config.json",
            "last.safetensors",
            "model.safetensors",
            "history.jsonl",
        ] {
            if path.join(file).exists() {
                let folder = path.display();
                bail!(
                    "{folder} holds a run already ({file}): choose another --out, or go on with it by --resume {folder}"
                );
            }
        }
        fs::create_dir_all(&path)?;
        Self::open(path)
    }

    /// The one of a run to go on with.
    pub fn resume(path: &Path) -> Result<Self> {
        Self::open(path.to_path_buf())
    }

    fn open(path: PathBuf) -> Result<Self> {
        let lock = std::fs::File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join(".lock"))
            .with_context(|| format!("cannot write in {}", path.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => bail!(
                "another run is writing to {}: wait for it, or choose another folder",
                path.display()
            ),
            // A file system without locks: better a run than none.
            Err(std::fs::TryLockError::Error(_)) => {}
        }
        let mut options = fs::OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true);
        Ok(RunFolder {
            history: options.open(path.join("history.jsonl"))?,
            path,
            _lock: lock,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn plot(&self) -> PathBuf {
        self.path.join("loss.svg")
    }

    pub fn write_config(&self, config: &Config) -> Result<()> {
        let mut text = serde_json::to_string_pretty(config)?;
        text.push('\n');
        Ok(write_atomically(
            &self.path.join("config.json"),
            text.as_bytes(),
        )?)
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

    /// The first `reports` lines of the history; what follows them (a run that was killed wrote it after its last
    /// checkpoint) is cut off.
    pub fn history(&mut self, reports: u64) -> Result<Vec<Report>> {
        let path = self.path.join("history.jsonl");
        let text = fs::read_to_string(&path)?;
        let (mut history, mut length) = (Vec::new(), 0);
        for line in text.split_inclusive('\n').take(usize::try_from(reports)?) {
            let report = serde_json::from_str(line).with_context(|| {
                format!(
                    "{}: line {} is no report",
                    path.display(),
                    history.len() + 1
                )
            })?;
            history.push(report);
            length += line.len();
        }
        if (history.len() as u64) < reports {
            let lines = history.len();
            bail!(
                "{} has {lines} lines, the checkpoint knows {reports}",
                path.display()
            );
        }
        self.history.set_len(length as u64)?;
        self.history.seek(std::io::SeekFrom::Start(length as u64))?;
        Ok(history)
    }
}
