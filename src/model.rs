//! The model file: safetensors with PyTorch's names.
//!
//! | tensor | shape | here |
//! |---|---|---|
//! | `rnn.weight_ih_l0` | `[n_h, n_x]` | `wx` |
//! | `rnn.weight_hh_l0` | `[n_h, n_h]` | `wh` |
//! | `rnn.bias_ih_l0` | `[n_h]` | `bh` |
//! | `rnn.bias_hh_l0` | `[n_h]` | zero when written, added to `bh` when read |
//! | `decoder.weight` | `[n_y, n_h]` | `wy` |
//! | `decoder.bias` | `[n_y]` | `by` |
//!
//! so that a file loads into a `torch.nn.Module` of an `nn.RNN` called `rnn` and an `nn.Linear` called `decoder` as it
//! is, and back. What else there is to know about a model ([`About`]) is JSON under the one metadata key `bptt`: one, for
//! the library writes several keys in no fixed order, and equal models are to be equal files.
//!
//! A checkpoint is a model file with more tensors, `training.*`, and `progress` beside the rest.

mod header;
mod read;
mod write;

pub(crate) use write::{write_checkpoint, write_model};

#[cfg(doc)]
use crate::Error;
use crate::data::Vocabulary;
use crate::train::Checkpoint;
use crate::{Result, Rnn, Scalar};
use read::{File, read};
use serde_json::Value;
use std::path::Path;

const WX: &str = "rnn.weight_ih_l0";
const WH: &str = "rnn.weight_hh_l0";
const BH: &str = "rnn.bias_ih_l0";
const BH2: &str = "rnn.bias_hh_l0";
const WY: &str = "decoder.weight";
const BY: &str = "decoder.bias";

/// What tensors of a checkpoint that are no weights begin with.
const TRAINING: &str = "training.";

/// The metadata key.
const KEY: &str = "bptt";

/// What there is to know about a model beside its weights.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct About {
    /// What its token ids stand for; `None` for a model of numbers.
    pub vocabulary: Option<Vocabulary>,
    /// Whether it reads token ids, not features; `None` where the file does not say.
    pub tokens: Option<bool>,
    /// How it was trained, as the program records it; `null` where the file does not say.
    pub config: Value,
}

/// A network and what there is to know about it.
///
/// ```
/// use bptt::model::{About, Model};
/// use bptt::{Dims, Init, Rnn};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("model.safetensors");
/// let rnn = Rnn::<f32>::new(Dims::new(4, 8, 3)?, Init::Glorot, 0)?;
/// let model = Model { rnn, about: About::default() };
/// model.write(&path)?;
/// assert_eq!(Model::<f32>::read(&path)?, model);
/// # Ok::<(), bptt::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Model<T: Scalar> {
    /// The network.
    pub rnn: Rnn<T>,
    /// The rest.
    pub about: About,
}

impl<T: Scalar> Model<T> {
    /// Writes the file, all or not at all.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_model(path, self.rnn.parameters(), &self.about)
    }

    /// Reads a file, in this precision whatever the file's is.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::File`], naming the file and what is wrong with it; [`Error::NotFinite`] for a weight that
    /// is not a number.
    pub fn read(path: &Path) -> Result<Self> {
        Self::from_bytes(path, &read(path)?)
    }

    /// From the content of a file, wherever it came from; `path` is what errors call it.
    ///
    /// # Errors
    /// As [`Model::read`].
    pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self> {
        ModelFile::parse(path, bytes)?.model()
    }
}

/// A model file whose precision is not known before it is read.
///
/// ```
/// use bptt::model::{About, Model, ModelFile};
/// use bptt::{Dims, Init, Rnn};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("model.safetensors");
/// let rnn = Rnn::<f64>::new(Dims::new(4, 8, 3)?, Init::Glorot, 0)?;
/// Model { rnn, about: About::default() }.write(&path)?;
///
/// let bytes = ModelFile::read(&path)?;
/// let file = ModelFile::parse(&path, &bytes)?;
/// assert_eq!(file.precision()?, "f64");
/// let model: Model<f64> = file.model()?;
/// # Ok::<(), bptt::Error>(())
/// ```
pub struct ModelFile<'a>(File<'a>);

impl<'a> ModelFile<'a> {
    /// The content of a file, of which no more is read than its header says.
    ///
    /// # Errors
    /// As [`Model::read`].
    pub fn read(path: &Path) -> Result<Vec<u8>> {
        read(path)
    }

    /// Takes the content of a file apart; `path` is what errors call it.
    ///
    /// # Errors
    /// As [`Model::read`].
    pub fn parse(path: &Path, bytes: &'a [u8]) -> Result<Self> {
        File::parse(path, bytes).map(ModelFile)
    }

    /// The precision of its weights: `"f32"` or `"f64"`.
    ///
    /// # Errors
    /// As [`Model::read`].
    pub fn precision(&self) -> Result<&'static str> {
        self.0.precision()
    }

    /// The model, in this precision whatever the file's is.
    ///
    /// # Errors
    /// As [`Model::read`].
    pub fn model<T: Scalar>(&self) -> Result<Model<T>> {
        Ok(Model {
            rnn: Rnn::from_parameters(self.0.parameters()?),
            about: self.0.about()?,
        })
    }
}

impl<T: Scalar> Checkpoint<T> {
    /// Writes the file, all or not at all: a model file with all that training needs to go on.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file.
    pub fn write(&self, path: &Path, about: &About) -> Result<()> {
        write_checkpoint(path, &self.borrow(), about)
    }

    /// Reads such a file.
    ///
    /// # Errors
    /// As [`Model::read`]; [`Error::File`] if it is a model and no checkpoint, or one in another precision.
    pub fn read(path: &Path) -> Result<(Self, About)> {
        Self::from_bytes(path, &read(path)?)
    }

    /// From the content of a file, wherever it came from; `path` is what errors call it.
    ///
    /// # Errors
    /// As [`Checkpoint::read`].
    pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<(Self, About)> {
        let file = File::parse(path, bytes)?;
        Ok((file.checkpoint()?, file.about()?))
    }
}

/// Where a header's length ends and the header begins.
const LENGTH: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dims;
    use crate::train::Progress;
    use ndarray::Array2;
    use safetensors::tensor::SafeTensors;

    /// The layout is the library's: what it reads and writes again is the same file.
    #[test]
    fn files_are_what_safetensors_writes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let rnn = Rnn::<f64>::new(Dims::new(3, 5, 2).unwrap(), crate::Init::Glorot, 1).unwrap();
        let weights = rnn.parameters();
        let checkpoint = Checkpoint {
            parameters: weights.clone(),
            best: weights.clone(),
            // More than ten, so that the order of names is not that of numbers.
            moments: vec![weights.clone(); 12],
            state: Array2::zeros((4, 5)),
            progress: Progress::default(),
        };
        checkpoint.write(&path, &About::default()).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap().tensors();
        let again = safetensors::serialize(tensors, header.metadata().clone()).unwrap();
        assert!(again == bytes);
    }
}
