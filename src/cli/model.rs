//! MODEL on the command line: a model file, or a run folder with one in it.

use super::processes::cores;
use super::{memory, run_folder};
use anyhow::{Result, bail};
use bptt::internal::atomic;
use bptt::{Engine, EngineOptions, Network, Scalar};
use std::path::{Path, PathBuf};

/// The file of the model at this path, or in this run folder, if there is the memory for it.
pub fn file(model: &Path) -> Result<PathBuf> {
    let path = match model.is_dir() {
        true => model.join(run_folder::MODEL),
        false => model.to_path_buf(),
    };
    if model.is_dir() && !path.exists() {
        let holds_model = |folder: &PathBuf| folder.join(run_folder::MODEL).is_file();
        let folders = std::fs::read_dir(model)?.filter_map(|entry| Some(entry.ok()?.path()));
        let mut runs: Vec<_> = folders.filter(holds_model).collect();
        runs.sort();
        let (folder, file) = (model.display(), run_folder::MODEL);
        if runs.is_empty() {
            bail!("{folder}: no model in this folder: there is no {file}");
        }
        let runs = runs.iter().take(8).map(|run| run.to_string_lossy());
        let runs = runs.collect::<Vec<_>>().join(", ");
        bail!("{folder}: a folder of runs, give one of them: {runs}");
    }
    // The file as it is, and its values in double precision at most.
    let bytes = 3.0 * atomic::metadata(&path)?.len() as f64;
    memory::check_reading(&path, bytes, "use a smaller model")?;
    Ok(path)
}

/// An engine for going forward. The result depends on the data alone: shards here are no more than a way to use the cores.
pub fn engine<T: Scalar>(network: &Network<T>, threads: Option<usize>) -> bptt::Result<Engine<T>> {
    let options = EngineOptions {
        threads: threads.unwrap_or_else(cores),
        shards: 0,
        ..EngineOptions::default()
    };
    Engine::new(network.architecture(), options)
}
