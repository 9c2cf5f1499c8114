//! Models in the formats of other programs: [`Format`].
//!
//! `wire` is the encoding of protocol buffers, in which ONNX files are written; `npz` writes NumPy's archives.

mod c;
#[doc(hidden)]
pub(crate) mod npz;
mod onnx;
mod rtneural;
#[doc(hidden)]
pub mod wire;

use crate::model::{Model, file::Tensor, parts};
use crate::{Result, Scalar, atomic};
use std::path::Path;

/// A format to export to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A graph of ONNX, opset 17, in single precision, for onnxruntime and most other engines. Inputs are `inputs`
    /// (`[N, T, n_x]`, or ids `[N, T]`), `lengths` `[N]` and the states from which layers start, `h0` and of an LSTM `c0`
    /// `[L D, N, n_h]`; outputs `probabilities` and `logits`, or `values`, and the last states `hn`, `cn`.
    Onnx,
    /// NumPy's archive: an array for each tensor, under PyTorch's name, and `bptt`, the metadata as JSON.
    Npz,
    /// A C99 header with the weights, a state, and a function that takes it a step further, in single precision.
    C,
    /// The JSON that RTNeural reads, for audio plug-ins: a GRU or an LSTM of features, in one direction, answered at every
    /// step.
    RtNeural,
}

impl Format {
    /// All of them.
    pub const ALL: [Format; 4] = [Format::Onnx, Format::Npz, Format::C, Format::RtNeural];

    /// The format of files whose names end as this one does, in small letters or large.
    pub fn of_name(path: &Path) -> Option<Format> {
        let ending = path.extension()?.to_str()?;
        let mut all = Self::ALL.into_iter();
        all.find(|format| ending.eq_ignore_ascii_case(format.extension()))
    }

    /// The end of a file's name.
    pub fn extension(self) -> &'static str {
        match self {
            Format::Onnx => "onnx",
            Format::Npz => "npz",
            Format::C => "h",
            Format::RtNeural => "json",
        }
    }

    /// Writes a model, all or not at all. An ONNX graph has the input `lengths` if that is asked for: some engines refuse it.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) naming the file; [`Error::Invalid`](crate::Error::Invalid) for a network that the format
    /// cannot hold.
    pub fn write<T: Scalar>(self, model: &Model<T>, lengths: bool, path: &Path) -> Result<()> {
        let content = match self {
            Format::Npz => return npz::write_model(model, path),
            Format::Onnx => onnx::graph(model, lengths),
            Format::C => c::header(model, path)?.into_bytes(),
            Format::RtNeural => rtneural::json(model)?.to_string().into_bytes(),
        };
        atomic::write_atomically(path, &content)
    }
}

/// The tensors of a model under PyTorch's names, and what else there is to know about it.
fn tensors<T: Scalar>(model: &Model<T>) -> (Vec<Tensor<'_, T>>, serde_json::Value) {
    let mut about = model.about.clone();
    about.foreign = false;
    parts(model.network.parameters(), &about)
}
