//! Models in the formats of other programs: [`Format`].
//!
//! | file | format | read by |
//! |---|---|---|
//! | `onnx` | ONNX, opset 17 | onnxruntime and most other engines |
//! | `npz` | NumPy's archive of arrays | NumPy |
//! | `wire` | the encoding of protocol buffers, in which ONNX files are written | |

mod npz;
mod onnx;
#[doc(hidden)]
pub mod wire;

use crate::model::{About, Model, file::Tensor, parts};
use crate::{Result, Scalar, atomic};
use std::path::Path;

/// A format to export to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A graph of opset 17 in single precision. Inputs are `inputs` (`[N, T, n_x]`, or ids `[N, T]`), `lengths` `[N]` and the
    /// states from which layers start, `h0` and of an LSTM `c0` `[L D, N, n_h]`; outputs `probabilities` and `logits`, or
    /// `values`, and the last states `hn`, `cn`.
    Onnx,
    /// An array for each tensor, under PyTorch's name, and `bptt`, the metadata as JSON.
    Npz,
}

impl Format {
    /// The end of a file's name.
    pub fn extension(self) -> &'static str {
        match self {
            Format::Onnx => "onnx",
            Format::Npz => "npz",
        }
    }

    /// Writes a model, all or not at all. An ONNX graph has the input `lengths` if that is asked for: some engines refuse it.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) naming the file.
    pub fn write<T: Scalar>(self, model: &Model<T>, lengths: bool, path: &Path) -> Result<()> {
        match self {
            Format::Onnx => atomic::write_atomically(path, &onnx::graph(model, lengths)),
            Format::Npz => npz::write(model, path),
        }
    }
}

/// The tensors of a model under PyTorch's names, and what else there is to know about it.
fn tensors<T: Scalar>(model: &Model<T>) -> (Vec<Tensor<'_, T>>, serde_json::Value) {
    let about = About {
        foreign: false,
        ..model.about.clone()
    };
    parts(model.network.parameters(), &about)
}
