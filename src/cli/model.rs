//! MODEL on the command line: a model file, or a run folder with one in it.

use super::memory;
use super::run_folder::RunFiles;
use anyhow::Result;
use bptt::model::{Model, ModelFile};
use std::path::Path;

/// A model in the precision of its file.
pub enum AnyModel {
    F32(Model<f32>),
    F64(Model<f64>),
}

/// Reads the model that `bptt train` or PyTorch left at this path, or in this run folder.
pub fn read(model: &Path) -> Result<AnyModel> {
    let path = match model.is_dir() {
        true => RunFiles::of(model).model,
        false => model.to_path_buf(),
    };
    memory::check_model(&path)?;
    let file = ModelFile::read(&path)?;
    Ok(match file.precision()? {
        "f64" => AnyModel::F64(file.model()?),
        _ => AnyModel::F32(file.model()?),
    })
}

/// Reads a model and runs `$work` in its precision.
macro_rules! with_model {
    ($path:expr, |$model:ident| $work:expr) => {
        match $crate::cli::model::read($path)? {
            $crate::cli::model::AnyModel::F32($model) => $work,
            $crate::cli::model::AnyModel::F64($model) => $work,
        }
    };
}
pub(super) use with_model;
