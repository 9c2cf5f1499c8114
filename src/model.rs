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

use crate::data::Vocabulary;
use crate::train::{Borrowed, Checkpoint, Progress};
use crate::{Dims, Error, Parameters, Result, Rnn, Scalar, file};
use ndarray::Array2;
use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorInfo, TensorView};
use serde_json::Value;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

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
        let file = File::parse(path, bytes)?;
        Ok(Model {
            rnn: Rnn::from_parameters(file.parameters()?),
            about: file.about()?,
        })
    }
}

/// The precision of a model file's weights: `"f32"` or `"f64"`.
///
/// # Errors
/// As [`Model::read`].
pub fn precision(path: &Path) -> Result<&'static str> {
    let bytes = read(path)?;
    let file = File::parse(path, &bytes)?;
    let tensor = file.tensor(WX)?;
    Ok(if tensor.dtype() == Dtype::F64 {
        f64::NAME
    } else {
        f32::NAME
    })
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
        let Some(progress) = file.meta.progress.clone() else {
            return Err(file.wrong("is a model and no checkpoint of a run: it has no `progress`"));
        };
        progress.check().map_err(|problem| file.wrong(problem))?;
        let (found, ours) = (file.tensor(WX)?.dtype(), dtype::<T>());
        if found != ours {
            return Err(file.wrong(format!(
                "is a checkpoint in {found:?}, the run computes in {ours:?}"
            )));
        }
        let parameters: Parameters<T> = file.parameters()?;
        let dims = parameters.dims();
        let flat = |name: &str| Parameters::from_vec(dims, file.values(name, &[dims.len()])?);
        let moments = (0..)
            .map(|i| format!("{TRAINING}moment.{i}"))
            .take_while(|name| file.tensors.tensor(name).is_ok())
            .map(|name| flat(&name))
            .collect::<Result<_>>()?;
        let name = format!("{TRAINING}state");
        let rows = file.tensor(&name)?.shape().first().copied().unwrap_or(0);
        let state = file.values(&name, &[rows, dims.n_h])?;
        let checkpoint = Checkpoint {
            best: flat(&format!("{TRAINING}best"))?,
            moments,
            state: Array2::from_shape_vec((rows, dims.n_h), state).expect("checked above"),
            parameters,
            progress,
        };
        Ok((checkpoint, file.about()?))
    }
}

/// [`Model::write`] of these weights.
pub(crate) fn write_model<T: Scalar>(path: &Path, p: &Parameters<T>, about: &About) -> Result<()> {
    write(path, p, about, Vec::new(), None)
}

/// [`Checkpoint::write`] from wherever its parts are.
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

fn dtype<T: Scalar>() -> Dtype {
    match T::NAME {
        "f64" => Dtype::F64,
        _ => Dtype::F32,
    }
}

/// Where a header's length ends and the header begins.
const LENGTH: usize = 8;

/// The content of a file, the tensors only after its header has been found to be one.
fn read(path: &Path) -> Result<Vec<u8>> {
    let (mut file, length) = file::open_ordinary(path)?;
    let mut bytes = Vec::new();
    (&mut file).take(LENGTH as u64).read_to_end(&mut bytes)?;
    let header = bytes.first_chunk().map_or(0, |&n| u64::from_le_bytes(n));
    if header > length.saturating_sub(LENGTH as u64) {
        return Err(broken(path, "its header is longer than the file"));
    }
    (&mut file).take(header).read_to_end(&mut bytes)?;
    let tensors = parse_header(path, bytes.get(LENGTH..).unwrap_or_default())?.data_len() as u64;
    if length != LENGTH as u64 + header + tensors {
        let problem = format!("its tensors take {tensors} bytes by its header");
        return Err(broken(path, problem));
    }
    let rest = usize::try_from(tensors).unwrap_or(usize::MAX);
    bytes
        .try_reserve_exact(rest)
        .map_err(|e| Error::file(path, format!("does not fit into memory ({e})")))?;
    file.take(tensors).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn parse_header(path: &Path, json: &[u8]) -> Result<Metadata> {
    header::check(json).map_err(|e| broken(path, e))?;
    serde_json::from_slice(json).map_err(|e| broken(path, e))
}

fn broken(path: &Path, what: impl std::fmt::Display) -> Error {
    let problem = format!(
        "is not a whole safetensors file ({what}): is it a model, and was it copied completely?"
    );
    Error::file(path, problem)
}

/// A file that has been taken apart, not yet interpreted.
struct File<'a> {
    path: PathBuf,
    tensors: SafeTensors<'a>,
    meta: Meta,
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

/// What is read of it.
#[derive(Default, serde::Deserialize)]
struct Meta {
    #[serde(default)]
    config: Value,
    tokens: Option<bool>,
    vocabulary: Option<String>,
    progress: Option<Progress>,
}

impl<'a> File<'a> {
    fn parse(path: &Path, bytes: &'a [u8]) -> Result<Self> {
        let length = bytes.first_chunk().map_or(0, |&n| u64::from_le_bytes(n));
        let json = usize::try_from(length)
            .ok()
            .and_then(|n| bytes.get(LENGTH..)?.get(..n))
            .ok_or_else(|| broken(path, "its header is longer than the file"))?;
        let header = parse_header(path, json)?;
        let tensors = SafeTensors::deserialize(bytes).map_err(|e| broken(path, e))?;
        let text = header.metadata().as_ref().and_then(|map| map.get(KEY));
        let meta = match text {
            None => Meta::default(),
            Some(text) => serde_json::from_str(text)
                .map_err(|e| Error::file(path, format!("metadata `{KEY}` cannot be read: {e}")))?,
        };
        Ok(File {
            path: path.into(),
            tensors,
            meta,
        })
    }

    fn wrong(&self, problem: impl Into<String>) -> Error {
        Error::file(&self.path, problem)
    }

    fn tensor(&self, name: &str) -> Result<TensorView<'_>> {
        self.tensors.tensor(name).map_err(|_| {
            let mut names = self.tensors.names();
            names.sort_unstable();
            names.truncate(8);
            self.wrong(format!(
                "has no tensor `{name}` (it has {names:?}): expected a model of `bptt train`, or of an nn.RNN named `rnn` \
                 and an nn.Linear named `decoder`"
            ))
        })
    }

    fn check_shape(&self, name: &str, shape: &[usize]) -> Result<()> {
        let tensor = self.tensor(name)?;
        if tensor.shape() != shape {
            let found = tensor.shape();
            return Err(self.wrong(format!(
                "tensor `{name}` has the shape {found:?}, expected {shape:?}"
            )));
        }
        Ok(())
    }

    /// The values of a tensor of this shape.
    fn values<T: Scalar>(&self, name: &str, shape: &[usize]) -> Result<Vec<T>> {
        let mut values = Vec::new();
        self.append(name, shape, &mut values)?;
        Ok(values)
    }

    /// Appends the values of a tensor of this shape.
    fn append<T: Scalar>(&self, name: &str, shape: &[usize], out: &mut Vec<T>) -> Result<()> {
        self.check_shape(name, shape)?;
        let tensor = self.tensor(name)?;
        let (data, before) = (tensor.data(), out.len());
        match tensor.dtype() {
            Dtype::F32 => {
                let (values, _) = data.as_chunks();
                let values = values.iter().map(|&x| f32::from_le_bytes(x));
                out.extend(values.map(|x| T::from_f64(x.into())));
            }
            Dtype::F64 => {
                let (values, _) = data.as_chunks();
                out.extend(values.iter().map(|&x| T::from_f64(f64::from_le_bytes(x))));
            }
            other => {
                return Err(self.wrong(format!(
                    "tensor `{name}` holds {other:?}, expected F32 or F64: convert it, in PyTorch with `.float()`"
                )));
            }
        }
        match out[before..].iter().position(|x| !x.is_finite()) {
            None => Ok(()),
            Some(i) => Err(Error::NotFinite {
                what: format!("{}: tensor `{name}`", self.path.display()),
                value: out[before + i].as_f64(),
                position: vec![i],
            }),
        }
    }

    fn parameters<T: Scalar>(&self) -> Result<Parameters<T>> {
        let (&[n_h, n_x], &[n_y, _]) = (self.tensor(WX)?.shape(), self.tensor(WY)?.shape()) else {
            return Err(self.wrong(format!("`{WX}` and `{WY}` must be matrices")));
        };
        if self.tensors.tensor("rnn.weight_ih_l1").is_ok() {
            return Err(self.wrong("is a network of several layers, expected one"));
        }
        let dims = Dims::new(n_x, n_h, n_y).map_err(|e| self.wrong(e.to_string()))?;
        let matrices = [(WX, [n_h, n_x]), (WH, [n_h, n_h]), (WY, [n_y, n_h])];
        // Before anything is allocated: what one tensor says of the sizes, another need not hold.
        for (name, shape) in matrices {
            self.check_shape(name, &shape)?;
        }
        let mut data: Vec<T> = Vec::with_capacity(dims.len());
        for (name, shape) in matrices {
            self.append(name, &shape, &mut data)?;
        }
        let bh = data.len();
        self.append(BH, &[n_h], &mut data)?;
        if self.tensors.tensor(BH2).is_ok() {
            let second: Vec<T> = self.values(BH2, &[n_h])?;
            for (i, (b, c)) in data[bh..].iter_mut().zip(second).enumerate() {
                *b += c;
                if !b.is_finite() {
                    return Err(Error::NotFinite {
                        what: format!("{}: `{BH}` + `{BH2}`", self.path.display()),
                        value: b.as_f64(),
                        position: vec![i],
                    });
                }
            }
        }
        self.append(BY, &[n_y], &mut data)?;
        Parameters::from_vec(dims, data)
    }

    fn about(&self) -> Result<About> {
        let vocabulary = match &self.meta.vocabulary {
            None => None,
            Some(text) => {
                let vocabulary =
                    Vocabulary::from_json(text).map_err(|e| self.wrong(e.to_string()))?;
                for (name, axis) in [(WX, 1), (WY, 0)] {
                    let size = self.tensor(name)?.shape()[axis];
                    if size != vocabulary.len() {
                        let symbols = vocabulary.len();
                        return Err(self.wrong(format!(
                            "`{name}` is for {size} tokens, its vocabulary has {symbols}"
                        )));
                    }
                }
                Some(vocabulary)
            }
        };
        Ok(About {
            vocabulary,
            tokens: self.meta.tokens,
            config: self.meta.config.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
