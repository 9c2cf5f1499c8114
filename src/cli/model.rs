//! MODEL on the command line: a model file, or a run folder with one in it.

use super::{memory, run_folder};
use anyhow::Result;
use bptt::internal::atomic;
use bptt::model::ModelFile;
use bptt::{Engine, EngineOptions, Network, Scalar};
use std::path::Path;

/// Reads the model that `bptt train` or PyTorch left at this path, or in this run folder.
pub fn read(model: &Path) -> Result<ModelFile> {
    let path = match model.is_dir() {
        true => model.join(run_folder::MODEL),
        false => model.to_path_buf(),
    };
    // The file as it is, and its values in double precision at most.
    let bytes = 3.0 * atomic::metadata(&path)?.len() as f64;
    memory::check_reading(&path, bytes, "use a smaller model")?;
    Ok(ModelFile::read(&path)?)
}

/// Reads a model and runs `$work` in the precision of its file.
macro_rules! with_model {
    ($path:expr, |$model:ident| $work:expr) => {{
        let file = $crate::cli::model::read($path)?;
        match file.precision()? {
            "f64" => {
                let $model = file.model::<f64>()?;
                $work
            }
            _ => {
                let $model = file.model::<f32>()?;
                $work
            }
        }
    }};
}
pub(super) use with_model;

/// An engine for going forward. The result depends on the data alone: shards here are no more than a way to use the cores.
pub fn engine<T: Scalar>(network: &Network<T>, threads: Option<usize>) -> bptt::Result<Engine<T>> {
    let options = EngineOptions {
        threads: threads.unwrap_or(0),
        shards: 0,
        ..EngineOptions::default()
    };
    Engine::new(network.architecture(), options)
}
