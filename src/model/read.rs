//! A file becomes a model or a checkpoint, checked.

use super::header;
use super::write::dtype;
use super::{About, BH, BH2, BY, KEY, LENGTH, TRAINING, WH, WX, WY};
use crate::data::Vocabulary;
use crate::train::{Checkpoint, Progress};
use crate::{Dims, Error, Parameters, Result, Scalar, file};
use ndarray::Array2;
use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorView};
use serde_json::Value;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The content of a file, the tensors only after its header has been found to be one.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
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
pub(super) struct File<'a> {
    path: PathBuf,
    tensors: SafeTensors<'a>,
    meta: Meta,
}

/// What is read of it.
#[derive(Default, serde::Deserialize)]
pub(super) struct Meta {
    #[serde(default)]
    config: Value,
    tokens: Option<bool>,
    vocabulary: Option<String>,
    progress: Option<Progress>,
}

impl<'a> File<'a> {
    pub fn parse(path: &Path, bytes: &'a [u8]) -> Result<Self> {
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

    /// `"f32"` or `"f64"`.
    pub fn precision(&self) -> Result<&'static str> {
        Ok(match self.tensor(WX)?.dtype() {
            Dtype::F64 => f64::NAME,
            _ => f32::NAME,
        })
    }

    pub fn checkpoint<T: Scalar>(&self) -> Result<Checkpoint<T>> {
        let Some(progress) = self.meta.progress.clone() else {
            return Err(self.wrong("is a model and no checkpoint of a run: it has no `progress`"));
        };
        progress.check().map_err(|problem| self.wrong(problem))?;
        let (found, ours) = (self.tensor(WX)?.dtype(), dtype::<T>());
        if found != ours {
            return Err(self.wrong(format!(
                "is a checkpoint in {found:?}, the run computes in {ours:?}"
            )));
        }
        let parameters: Parameters<T> = self.parameters()?;
        let dims = parameters.dims();
        let flat = |name: &str| Parameters::from_vec(dims, self.values(name, &[dims.len()])?);
        let moments = (0..)
            .map(|i| format!("{TRAINING}moment.{i}"))
            .take_while(|name| self.tensors.tensor(name).is_ok())
            .map(|name| flat(&name))
            .collect::<Result<_>>()?;
        let name = format!("{TRAINING}state");
        let rows = self.tensor(&name)?.shape().first().copied().unwrap_or(0);
        let state = self.values(&name, &[rows, dims.n_h])?;
        Ok(Checkpoint {
            best: flat(&format!("{TRAINING}best"))?,
            moments,
            state: Array2::from_shape_vec((rows, dims.n_h), state).expect("checked above"),
            parameters,
            progress,
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

    pub fn parameters<T: Scalar>(&self) -> Result<Parameters<T>> {
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

    pub fn about(&self) -> Result<About> {
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
