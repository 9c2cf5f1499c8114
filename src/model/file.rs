//! A safetensors file as named tensors and one JSON object, whatever they mean: [`File`], [`write`].
//!
//! The JSON stands under the one metadata key `bptt`: one, for the library writes several keys in no fixed order, and equal
//! models are to be equal files. It holds a checksum of itself and of the tensors, which is compared where it is there.

use super::header;
use crate::{Error, Result, Scalar, atomic};
use half::{bf16, f16};
use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorInfo, TensorView};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::Xxh3;

/// The metadata key.
const KEY: &str = "bptt";

/// The entry of the JSON that holds the checksum.
const CHECKSUM: &str = "checksum";

/// What is put before the names of a module that PyTorch compiles, or trains on several devices, or that Lightning holds.
const WRAPPERS: [&str; 3] = ["module.", "_orig_mod.", "model."];

/// Where a header's length ends and the header begins.
const LENGTH: usize = 8;

/// The content of a file, its tensors only after its header has been found to be one.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    let (mut file, length) = atomic::open_ordinary(path)?;
    let mut bytes = Vec::new();
    (&mut file).take(LENGTH as u64).read_to_end(&mut bytes)?;
    let header = bytes.first_chunk().map_or(0, |&n| u64::from_le_bytes(n));
    if header > length.saturating_sub(LENGTH as u64) {
        return Err(match other_format(&bytes) {
            Some(format) => Error::file(path, format!("is no safetensors file, but {format}")),
            None => broken(path, "its header is longer than the file"),
        });
    }
    (&mut file).take(header).read_to_end(&mut bytes)?;
    let tensors = parse_header(path, bytes.get(LENGTH..).unwrap_or_default())?.data_len() as u64;
    if length != LENGTH as u64 + header + tensors {
        let problem = format!("its tensors take {tensors} bytes by its header");
        return Err(broken(path, problem));
    }
    let rest = usize::try_from(tensors).unwrap_or(usize::MAX);
    let room = bytes.try_reserve_exact(rest);
    room.map_err(|e| Error::file(path, format!("does not fit into memory ({e})")))?;
    file.take(tensors).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn parse_header(path: &Path, json: &[u8]) -> Result<Metadata> {
    header::check(json).map_err(|e| broken(path, e))?;
    serde_json::from_slice(json).map_err(|e| broken(path, e))
}

/// What a file is that begins with these bytes, and the way from there to a model.
fn other_format(bytes: &[u8]) -> Option<&'static str> {
    let formats: [(&[u8], _); 3] = [
        (
            b"PK",
            "an archive, such as `torch.save` and `numpy.savez` write: save the weights by `safetensors.torch.save_model`",
        ),
        (
            b"version ",
            "a pointer of Git LFS: get the file by `git lfs pull`",
        ),
        (b"<", "a web page: was it downloaded as a file?"),
    ];
    let found = formats.iter().find(|(begin, _)| bytes.starts_with(begin));
    found.map(|&(_, format)| format)
}

fn broken(path: &Path, what: impl Display) -> Error {
    let problem = format!(
        "is not a whole safetensors file ({what}): is it a model, and was it copied completely?"
    );
    Error::file(path, problem)
}

/// A file that has been taken apart, not yet interpreted.
pub(crate) struct File<'a> {
    path: PathBuf,
    tensors: SafeTensors<'a>,
    /// The names of the tensors, and by which of them each is stored.
    names: BTreeMap<String, String>,
    /// The JSON object; `null` where there is none.
    meta: Value,
}

impl<'a> File<'a> {
    /// From the content of a file; `path` is what errors call it.
    pub fn parse(path: &Path, bytes: &'a [u8]) -> Result<Self> {
        let length = bytes.first_chunk().map_or(0, |&n| u64::from_le_bytes(n));
        let json = usize::try_from(length).ok();
        let json = json.and_then(|n| bytes.get(LENGTH..)?.get(..n));
        let longer = || broken(path, "its header is longer than the file");
        let header = parse_header(path, json.ok_or_else(longer)?)?;
        let tensors = SafeTensors::deserialize(bytes).map_err(|e| broken(path, e))?;
        let text = header.metadata().as_ref().and_then(|map| map.get(KEY));
        let mut meta = match text {
            None => Value::Null,
            Some(text) => {
                let wrong = |e: &dyn Display| {
                    Error::file(path, format!("metadata `{KEY}` cannot be read: {e}"))
                };
                header::check_metadata(text).map_err(|e| wrong(&e))?;
                match serde_json::from_str(text).map_err(|e| wrong(&e))? {
                    meta @ (Value::Object(_) | Value::Null) => meta,
                    other => return Err(wrong(&format!("{other}, expected an object"))),
                }
            }
        };
        if let Some(stated) = meta.as_object_mut().and_then(|meta| meta.remove(CHECKSUM)) {
            let mut sorted = tensors.names();
            sorted.sort_unstable();
            let stored = sorted.into_iter().filter_map(|name| {
                let tensor = tensors.tensor(name).ok()?;
                Some((name, tensor.shape().to_vec(), tensor.data()))
            });
            if stated != checksum(&meta, stored) {
                return Err(Error::file(
                    path,
                    "has another checksum than it was written with: the file is damaged, take a copy of it (if somebody changed \
                     its tensors on purpose, the file must not keep its metadata)",
                ));
            }
        }
        let mut names = BTreeMap::new();
        // A tensor that a module has twice, `safetensors.torch.save_model` stores once; the metadata maps its other name to this.
        let again = header.metadata().iter().flatten();
        let again = again.filter(|(_, stored)| tensors.tensor(stored).is_ok());
        let stored = tensors.names().into_iter().map(|name| (name, name));
        let again = again.map(|(name, stored)| (&name[..], &stored[..]));
        for (mut name, stored) in stored.chain(again) {
            while let Some(rest) = WRAPPERS.iter().find_map(|prefix| name.strip_prefix(prefix)) {
                name = rest;
            }
            if let Some(other) = names.insert(name.to_owned(), stored.to_owned()) {
                let problem = format!("has both `{other}` and `{stored}`, expected one of them");
                return Err(Error::file(path, problem));
            }
        }
        Ok(File {
            path: path.into(),
            tensors,
            names,
            meta,
        })
    }

    /// An error that names the file.
    pub fn wrong(&self, problem: impl Into<String>) -> Error {
        Error::file(&self.path, problem)
    }

    /// A part of the JSON object, if it is there.
    pub fn meta<M: serde::de::DeserializeOwned>(&self, name: &str) -> Result<Option<M>> {
        match self.meta.get(name) {
            None => Ok(None),
            Some(value) => serde_json::from_value(value.clone())
                .map_err(|e| self.wrong(format!("metadata `{KEY}`: `{name}` cannot be read: {e}"))),
        }
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// Whether a tensor is another one again, or not there.
    pub fn is_again(&self, name: &str, other: &str) -> bool {
        match (self.tensor(name), self.tensor(other)) {
            (Ok(a), Ok(b)) => (a.shape(), a.dtype(), a.data()) == (b.shape(), b.dtype(), b.data()),
            (Err(_), other) => other.is_ok(),
            _ => false,
        }
    }

    fn tensor(&self, name: &str) -> Result<TensorView<'_>> {
        let stored = self.names.get(name).map_or(name, String::as_str);
        self.tensors.tensor(stored).map_err(|_| {
            let mut names = self.names();
            let hint = rename(name, &names);
            names.truncate(8);
            self.wrong(format!(
                "has no tensor `{name}` (it has {names:?}){hint}: expected a model of `bptt train`, or of an nn.RNN, nn.GRU or \
                 nn.LSTM named `rnn` and an nn.Linear named `decoder`"
            ))
        })
    }

    /// The shape of a tensor.
    pub fn shape(&self, name: &str) -> Result<Vec<usize>> {
        Ok(self.tensor(name)?.shape().to_vec())
    }

    /// `"f32"` or `"f64"`: in which of them a tensor is held without loss, the shorter if in both.
    pub fn precision(&self, name: &str) -> Result<&'static str> {
        Ok(match self.tensor(name)?.dtype() {
            Dtype::F64 => "f64",
            _ => "f32",
        })
    }

    /// Refuses a tensor of another shape, or of numbers that are not read.
    pub fn check_shape(&self, name: &str, shape: &[usize]) -> Result<()> {
        let dtype = self.tensor(name)?.dtype();
        if !matches!(dtype, Dtype::F16 | Dtype::BF16 | Dtype::F32 | Dtype::F64) {
            return Err(self.wrong(format!(
                "tensor `{name}` holds {dtype:?}, expected F16, BF16, F32 or F64: convert it, in PyTorch with `.float()`"
            )));
        }
        let found = self.shape(name)?;
        if found != shape {
            let problem = format!("tensor `{name}` has the shape {found:?}, expected {shape:?}");
            return Err(self.wrong(problem));
        }
        Ok(())
    }

    /// The values of a tensor of this shape.
    pub fn values<T: Scalar>(&self, name: &str, shape: &[usize]) -> Result<Vec<T>> {
        self.check_shape(name, shape)?;
        let tensor = self.tensor(name)?;
        let data = tensor.data();
        let values: Vec<T> = match tensor.dtype() {
            Dtype::F16 => decoded(data, |x| f16::from_le_bytes(x).into()),
            Dtype::BF16 => decoded(data, |x| bf16::from_le_bytes(x).into()),
            Dtype::F32 => decoded(data, |x| f32::from_le_bytes(x).into()),
            _ => decoded(data, f64::from_le_bytes),
        };
        self.check_finite(&format!("tensor `{name}`"), &values)?;
        Ok(values)
    }

    /// Refuses values of which one is no finite number.
    pub fn check_finite<T: Scalar>(&self, what: &str, values: &[T]) -> Result<()> {
        match values.iter().position(|x| !x.is_finite()) {
            None => Ok(()),
            Some(i) => Err(Error::NotFinite {
                what: format!("{}: {what}", self.path.display()),
                value: values[i].as_f64(),
                position: vec![i],
            }),
        }
    }
}

/// The module that could be meant by another name, where there is one with such a tensor.
fn rename(missing: &str, names: &[String]) -> String {
    let Some((module, tensor)) = missing.split_once('.') else {
        return String::new();
    };
    let names = names.iter();
    let others = names.filter_map(|name| name.strip_suffix(tensor)?.strip_suffix('.'));
    let known = ["rnn", "encoder", "decoder"];
    let mut others = others.filter(|other| !known.contains(other));
    match (others.next(), others.next()) {
        (Some(other), None) => format!(", perhaps rename `{other}` to `{module}`"),
        _ => String::new(),
    }
}

/// Numbers of `N` bytes each, as `number` decodes them.
fn decoded<T: Scalar, const N: usize>(data: &[u8], number: impl Fn([u8; N]) -> f64) -> Vec<T> {
    let (numbers, _) = data.as_chunks();
    numbers.iter().map(|&x| T::from_f64(number(x))).collect()
}

/// The checksum of what a file says: its JSON, and the names, shapes and bytes of its tensors, sorted by name.
fn checksum<'a>(
    meta: &Value,
    tensors: impl Iterator<Item = (&'a str, Vec<usize>, &'a [u8])>,
) -> Value {
    let mut sum = Xxh3::new();
    sum.update(meta.to_string().as_bytes());
    for (name, shape, bytes) in tensors {
        sum.update(format!("{name} {shape:?}").as_bytes());
        sum.update(bytes);
    }
    format!("{:016x}", sum.digest()).into()
}

/// A tensor to be written.
pub(crate) struct Tensor<'a, T: Clone> {
    pub name: String,
    pub shape: Vec<usize>,
    pub values: Cow<'a, [T]>,
}

/// Writes a file, all or not at all.
pub(crate) fn write<T: Scalar>(
    path: &Path,
    mut tensors: Vec<Tensor<'_, T>>,
    meta: &Value,
) -> Result<()> {
    // In the order in which the library writes them.
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    let mut meta = meta.clone();
    let parts = tensors.iter().map(|tensor| {
        let bytes = bytemuck::cast_slice(&tensor.values);
        (&tensor.name[..], tensor.shape.clone(), bytes)
    });
    meta[CHECKSUM] = checksum(&meta, parts);
    let header = header(&tensors, &meta);
    let header = header.map_err(|e| Error::file(path, format!("cannot be written: {e}")))?;
    atomic::replace(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        let mut values = tensors.iter().map(|tensor| &tensor.values);
        values.try_for_each(|values| file.write_all(bytemuck::cast_slice(values)))
    })
}

/// The header as safetensors wants it: ended by spaces, so that the values begin where eight divides the place.
fn header<T: Scalar>(
    tensors: &[Tensor<'_, T>],
    meta: &Value,
) -> std::result::Result<String, Box<dyn std::error::Error>> {
    let mut end = 0;
    let infos = tensors.iter().map(|tensor| {
        let begin = end;
        end += tensor.values.len() * size_of::<T>();
        let info = TensorInfo {
            dtype: if T::NAME == "f64" {
                Dtype::F64
            } else {
                Dtype::F32
            },
            shape: tensor.shape.clone(),
            data_offsets: (begin, end),
        };
        (tensor.name.clone(), info)
    });
    let meta = [(KEY.to_string(), serde_json::to_string(meta)?)];
    let metadata = Metadata::new(Some(meta.into()), infos.collect())?;
    let mut header = serde_json::to_string(&metadata)?;
    while !header.len().is_multiple_of(LENGTH) {
        header.push(' ');
    }
    Ok(header)
}
