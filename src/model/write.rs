//! A model or a checkpoint becomes a file.

use super::{About, BH, BH2, BY, KEY, LENGTH, TRAINING, WH, WX, WY};
use crate::data::Vocabulary;
use crate::train::{Borrowed, Progress};
use crate::{Error, Parameters, Result, Scalar, file};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde_json::Value;
use std::io::{BufWriter, Write};
use std::path::Path;

/// [`super::Model::write`] of these weights.
pub(crate) fn write_model<T: Scalar>(path: &Path, p: &Parameters<T>, about: &About) -> Result<()> {
    write(path, p, about, Vec::new(), None)
}

/// [`crate::train::Checkpoint::write`] from wherever its parts are.
pub(crate) fn write_checkpoint<T: Scalar>(
    path: &Path,
    run: &Borrowed<'_, T>,
    about: &About,
) -> Result<()> {
    let flat = |name: String, p: &'_ Parameters<T>| (name, vec![p.as_slice().len()]);
    let mut tensors: Vec<Tensor<'_, T>> = Vec::with_capacity(2 + run.moments.len());
    let mut push = |(name, shape), values| tensors.push((name, shape, values));
    push(
        flat(format!("{TRAINING}best"), run.best),
        run.best.as_slice(),
    );
    for (i, moment) in run.moments.iter().enumerate() {
        push(
            flat(format!("{TRAINING}moment.{i}"), moment),
            moment.as_slice(),
        );
    }
    let state = run.state.as_slice().expect("standard layout");
    push(
        (format!("{TRAINING}state"), run.state.shape().to_vec()),
        state,
    );
    write(path, run.parameters, about, tensors, Some(run.progress))
}

/// Name, shape and values.
type Tensor<'a, T> = (String, Vec<usize>, &'a [T]);

/// Values are turned to bytes in pieces of this size: a large model is written without a copy of it.
const PIECE: usize = 16 << 10;

fn write<T: Scalar>(
    path: &Path,
    p: &Parameters<T>,
    about: &About,
    more: Vec<Tensor<'_, T>>,
    progress: Option<&Progress>,
) -> Result<()> {
    let zeros = vec![T::zero(); p.dims().n_h];
    let mut tensors: Vec<Tensor<'_, T>> = more;
    for (name, shape, values) in p.iter() {
        let name = match name {
            "wx" => WX,
            "wh" => WH,
            "wy" => WY,
            "bh" => BH,
            _ => BY,
        };
        tensors.push((name.into(), shape, values));
    }
    tensors.push((BH2.into(), vec![zeros.len()], &zeros));
    // In the order in which the library writes them.
    tensors.sort_by(|a, b| a.0.cmp(&b.0));

    let header = header(about, &tensors, progress)
        .map_err(|e| Error::file(path, format!("cannot be written: {e}")))?;
    file::replace(path, |file| {
        let mut file = BufWriter::with_capacity(PIECE, file);
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        for value in tensors.iter().flat_map(|(_, _, values)| *values) {
            file.write_all(value.to_le_bytes().as_ref())?;
        }
        file.flush()
    })
}

/// The header as safetensors wants it: ended by spaces, so that the values begin where eight divides the place.
fn header<T: Scalar>(
    about: &About,
    tensors: &[Tensor<'_, T>],
    progress: Option<&Progress>,
) -> std::result::Result<String, Box<dyn std::error::Error>> {
    let vocabulary = about.vocabulary.as_ref();
    let meta = serde_json::to_string(&Written {
        config: &about.config,
        progress,
        tokens: about.tokens,
        version: env!("CARGO_PKG_VERSION"),
        vocabulary: vocabulary.map(Vocabulary::to_json),
    })?;
    let mut end = 0;
    let infos = tensors.iter().map(|(name, shape, values)| {
        let begin = end;
        end += size_of_val(*values);
        let info = TensorInfo {
            dtype: dtype::<T>(),
            shape: shape.clone(),
            data_offsets: (begin, end),
        };
        (name.clone(), info)
    });
    let metadata = Metadata::new(Some([(KEY.to_string(), meta)].into()), infos.collect())?;
    let mut header = serde_json::to_string(&metadata)?;
    while !header.len().is_multiple_of(LENGTH) {
        header.push(' ');
    }
    Ok(header)
}

pub(super) fn dtype<T: Scalar>() -> Dtype {
    match T::NAME {
        "f64" => Dtype::F64,
        _ => Dtype::F32,
    }
}

/// What [`write`] puts under the metadata key.
#[derive(serde::Serialize)]
struct Written<'a> {
    config: &'a Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<&'a Progress>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<bool>,
    version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    vocabulary: Option<String>,
}
