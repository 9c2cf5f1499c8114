//! The model file: safetensors with PyTorch's names, so that it loads into a `torch.nn.Module` of an `nn.RNN`, `nn.GRU` or
//! `nn.LSTM` called `rnn`, an `nn.Linear` called `decoder` and perhaps an `nn.Embedding` called `encoder` as it is, and back.
//!
//! What else there is to know about a model (its [`Architecture`], [`About`]) is JSON in the file's metadata. A file without
//! it, of another program, is understood by its names and shapes.

pub(crate) mod file;
mod header;
pub(crate) mod names;

#[cfg(doc)]
use crate::Error;
use crate::architecture::{Architecture, Head, Input, Which};
use crate::data::Vocabulary;
use crate::{Network, Parameters, Result, Scalar};
use file::File;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// What tensors of a checkpoint that are no weights begin with.
pub(crate) const TRAINING: &str = "training.";

/// What there is to know about a model beside its network.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct About {
    /// What its token ids stand for; `None` for a model of numbers.
    pub vocabulary: Option<Vocabulary>,
    /// How it was trained, as the program records it; `null` where the file does not say.
    pub config: Value,
    /// Whether the file does not say what the network is: of another program, it was understood by names and shapes. What
    /// these leave open is an assumption then ([`Model::untold`]).
    pub foreign: bool,
}

/// A network and what there is to know about it.
///
/// ```
/// use bptt::model::{About, Model};
/// use bptt::{Architecture, Cell, Head, Init, Input, Network};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("model.safetensors");
/// let one = Architecture::new(Input::Features(4), 8, Head::softmax(3));
/// let network = Network::<f32>::new(Architecture { cell: Cell::Relu, layers: 2, ..one }, Init::Glorot, 0)?;
/// let model = Model { network, about: About::default() };
/// model.write(&path)?;
/// assert_eq!(Model::<f32>::read(&path)?, model);
/// let (name, shape, values) = &model.tensors()[0];
/// assert_eq!((&name[..], &shape[..], values.len()), ("rnn.weight_ih_l0", &[8, 4][..], 32));
/// # Ok::<(), bptt::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Model<T: Scalar> {
    /// The network.
    pub network: Network<T>,
    /// The rest.
    pub about: About,
}

impl<T: Scalar> Model<T> {
    /// Writes the file, all or not at all.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file.
    pub fn write(&self, path: &Path) -> Result<()> {
        write(path, self.network.parameters(), &self.about)
    }

    /// Reads a file, in this precision whatever the file's is.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::File`], naming the file and what is wrong with it, a tensor that is not understood among
    /// them; [`Error::NotFinite`] for a weight that is not a number.
    pub fn read(path: &Path) -> Result<Self> {
        ModelFile::read(path)?.model()
    }

    /// From the content of a file, wherever it came from; `path` is what errors call it.
    ///
    /// # Errors
    /// As [`Model::read`].
    pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self> {
        from_file(&File::parse(path, bytes)?)
    }

    /// The tensors as the file has them: name, shape and values, row by row.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>, Vec<T>)> {
        let tensors = names::tensors(self.network.parameters()).into_iter();
        let parts = |tensor: file::Tensor<T>| (tensor.name, tensor.shape, tensor.values.into());
        tensors.map(parts).collect()
    }

    /// What the file of another program does not say of the network, so that it was assumed: features, the tanh cell, classes
    /// at every step.
    pub fn untold(&self) -> Vec<&'static str> {
        if !self.about.foreign {
            return Vec::new();
        }
        let Architecture { input, cell, .. } = self.network.architecture();
        let embedded = matches!(input, Input::Embedding { .. });
        let input = (!embedded).then_some("whether it reads features or tokens");
        let cell = (cell.gates() == 1).then_some("whether its cell is tanh or relu");
        let head = Some("by which loss it is judged, and whether at every step or at the last");
        [input, cell, head].into_iter().flatten().collect()
    }

    /// The same model, judged by the loss and at the steps of this head, where its file left that open ([`About::foreign`]).
    pub fn answering(self, head: Head) -> Self {
        let mut architecture = self.network.architecture();
        if !self.about.foreign {
            return self;
        }
        (architecture.head.loss, architecture.head.at) = (head.loss, head.at);
        let weights = self.network.parameters().as_slice().to_vec();
        self.with(architecture, weights)
    }

    /// The same model with an input of this kind, where its file left that open ([`About::foreign`]): features and one-hot
    /// tokens have the same weights.
    pub fn reading(self, tokens: bool) -> Self {
        let old = self.network.architecture();
        let n_x = old.input.size();
        if !self.about.foreign || old.input.is_tokens() == tokens {
            return self;
        }
        let input = match (old.input, tokens) {
            (Input::Embedding { .. }, _) => return self,
            (_, true) => Input::Tokens(n_x),
            (_, false) => Input::Features(n_x),
        };
        let mut p = self.network.parameters().clone();
        for i in 0..old.directions() {
            let first = p.get_mut(Which::WeightIh(i));
            let columns = if tokens { n_x } else { first.len() / n_x };
            let turned = names::transposed(first, columns).into_owned();
            first.copy_from_slice(&turned);
        }
        self.with(Architecture { input, ..old }, p.as_slice().to_vec())
    }

    /// The same model of another network, which has as many weights.
    fn with(self, architecture: Architecture, weights: Vec<T>) -> Self {
        let p = Parameters::from_vec(architecture, weights).expect("as many weights as before");
        let network = Network::from_parameters(p);
        Model { network, ..self }
    }
}

/// A model file that has been read and not yet interpreted: its precision is known before its weights are taken.
/// Errors are those of [`Model::read`].
#[derive(Debug)]
pub struct ModelFile {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl ModelFile {
    /// Reads a file, its tensors only after its header has been found to be one.
    pub fn read(path: &Path) -> Result<Self> {
        let (path, bytes) = (path.to_owned(), file::read(path)?);
        Ok(ModelFile { path, bytes })
    }

    /// The precision of the weights: `"f32"` or `"f64"`.
    pub fn precision(&self) -> Result<&'static str> {
        File::parse(&self.path, &self.bytes)?.precision("rnn.weight_ih_l0")
    }

    /// The model, in this precision whatever the file's is.
    pub fn model<T: Scalar>(&self) -> Result<Model<T>> {
        Model::from_bytes(&self.path, &self.bytes)
    }
}

/// [`Model::write`] of these weights.
pub(crate) fn write<T: Scalar>(path: &Path, p: &Parameters<T>, about: &About) -> Result<()> {
    let (tensors, meta) = parts(p, about);
    file::write(path, tensors, &meta)
}

/// The tensors of a network and its metadata, for files that hold more.
pub(crate) fn parts<'a, T: Scalar>(
    p: &'a Parameters<T>,
    about: &About,
) -> (Vec<file::Tensor<'a, T>>, Value) {
    let mut meta = json!({ "config": about.config, "version": env!("CARGO_PKG_VERSION") });
    if !about.foreign {
        meta["architecture"] = json!(p.architecture());
    }
    if let Some(vocabulary) = &about.vocabulary {
        meta["vocabulary"] = vocabulary.to_json().into();
    }
    (names::tensors(p), meta)
}

/// The network of a file and what there is to know about it.
pub(crate) fn from_file<T: Scalar>(file: &File<'_>) -> Result<Model<T>> {
    let vocabulary = match file.meta::<String>("vocabulary")? {
        None => None,
        Some(text) => Some(Vocabulary::from_json(&text).map_err(|e| file.wrong(e.to_string()))?),
    };
    let stated = file.meta("architecture")?;
    let architecture = stated.map_or_else(|| names::architecture(file), Ok)?;
    if let Some(vocabulary) = &vocabulary {
        let (symbols, Architecture { input, head, .. }) = (vocabulary.len(), architecture);
        for (what, size) in [("inputs", input.size()), ("outputs", head.outputs)] {
            if size != symbols {
                let tokens = format!("its vocabulary {symbols} tokens");
                return Err(file.wrong(format!("the network has {size} {what}, {tokens}")));
            }
        }
    }
    let (text, foreign) = (vocabulary.is_some(), stated.is_none());
    let parameters = names::parameters(file, architecture, foreign)?;
    let model = Model {
        network: Network::from_parameters(parameters),
        about: About {
            config: file.meta("config")?.unwrap_or_default(),
            foreign,
            vocabulary,
        },
    };
    Ok(if text { model.reading(true) } else { model })
}
