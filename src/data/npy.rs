//! Arrays of an `.npz` archive in whatever number type they were saved: [`Archive`], [`Numbers`].
//!
//! `ndarray-npy` parses headers and decodes elements (little and big endian, C and Fortran order);
//! here every size is held against the archive's, and what is compressed is unpacked once to nowhere, before anything is
//! allocated for it. Knows nothing of what the arrays mean.

use super::column::Column;
use super::zip_directory;
use crate::{Error, Result, Scalar, atomic};
use ndarray::{ArrayD, IxDyn, ShapeBuilder};
use ndarray_npy::ReadableElement;
use ndarray_npy::npy::header::Header;
use std::collections::HashMap;
use std::fmt::Display;
use std::io::{self, BufReader, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

/// The longest header that is parsed; NumPy's own limit is 10,000 bytes.
const LONGEST_HEADER: usize = 10_000;
/// The brackets in a header of numbers: around it and around the shape. The parser tries each in several ways, with all
/// that is in it: of what is damaged inside of eight, it makes hours.
const MOST_BRACKETS: usize = 2;
/// The most arrays in an archive; a set has seven.
const MOST_ENTRIES: u64 = 10_000;
/// The arrays that are read may take so many times the bytes of their archive together, unless they take no more than
/// [`SMALL`]. A deflated byte can stand for 1032; a row of one-hot features of 100 tokens compresses to a hundredth.
const MOST_EXPANSION: u64 = 200;
/// What may be unpacked whatever it was compressed to.
const SMALL: u64 = 8 << 20;

/// An open `.npz` archive.
pub(super) struct Archive<R> {
    path: PathBuf,
    zip: ZipArchive<R>,
    bytes: u64,
    layouts: HashMap<String, Layout>,
}

/// The elements of an array in C order, or of some of its rows.
pub(super) struct Numbers {
    pub shape: Vec<usize>,
    /// Where they begin in the array.
    pub first: Vec<usize>,
    pub values: Values,
}

pub(super) enum Values {
    Bool(Vec<bool>),
    I8(Vec<i8>),
    I16(Vec<i16>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    U8(Vec<u8>),
    U16(Vec<u16>),
    U32(Vec<u32>),
    U64(Vec<u64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
}

/// An array that is as large as it says.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub header: Header,
    pub dtype: String,
    count: usize,
    /// Bytes of an element.
    pub item: usize,
    /// Where its elements begin in the file, if they are there as they are, in C order.
    pub stored_at: Option<u64>,
    /// Bytes before them that belong to the array.
    pub header_len: usize,
    /// Of these and the elements.
    pub checksum: u32,
}

impl Archive<BufReader<fs_err::File>> {
    /// # Errors
    /// [`Error::Io`] if the file is not there; as [`Archive::new`].
    pub fn open(path: &Path, names: &[&str]) -> Result<Self> {
        let (file, _) = atomic::open_ordinary(path)?;
        Self::new(path, BufReader::new(file), names)
    }

    /// [`Archive::open`] that unpacks nothing.
    ///
    /// # Errors
    /// As [`Archive::open`].
    pub fn headers(path: &Path, names: &[&str]) -> Result<Self> {
        let (file, _) = atomic::open_ordinary(path)?;
        let mut archive = Self::directory(path, BufReader::new(file))?;
        archive.survey(names, false)?;
        Ok(archive)
    }

    /// The arrays of these names, those that are there; `None` if one is compressed or in Fortran order, for of such an array
    /// no part is in one place.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn columns(&self, names: &[&'static str]) -> Result<Option<Vec<Column>>> {
        let file = Arc::new(fs_err::File::open(&self.path)?);
        let there = names
            .iter()
            .filter_map(|&name| Some((name, self.layouts.get(name)?)));
        let column = |(name, layout)| Column::new(&self.path, name, &file, layout);
        Ok(there.map(column).collect())
    }

    /// At most so many bytes are held while arrays are read of which each number becomes one of `kept` bytes, by what their
    /// headers say.
    ///
    /// # Errors
    /// As [`Archive::open`].
    pub fn memory(path: &Path, names: &[&str], kept: usize) -> Result<f64> {
        let archive = Self::headers(path, names)?;
        let of =
            |layout: &Layout| layout.count as f64 * (layout.item + kept.max(layout.item)) as f64;
        Ok(archive.layouts.values().map(of).sum())
    }
}

impl<R: Read + Seek> Archive<R> {
    /// The archive that `reader` holds; `path` is what errors call it, `names` the arrays that may be read: so much of them
    /// as is there is there in full.
    ///
    /// # Errors
    /// [`Error::File`] if it is no zip archive; if one of the arrays is not as large as it says, or holds no numbers.
    pub fn new(path: &Path, reader: R, names: &[&str]) -> Result<Self> {
        let mut archive = Self::directory(path, reader)?;
        archive.survey(names, true)?;
        Ok(archive)
    }

    fn directory(path: &Path, mut reader: R) -> Result<Self> {
        let no_archive = |problem: String| {
            let problem = format!("not an `.npz` archive as `numpy.savez` writes it ({problem})");
            Error::file(path, problem)
        };
        let bytes = reader.seek(io::SeekFrom::End(0))?;
        let entries = zip_directory::entries(&mut reader, bytes).map_err(no_archive)?;
        if entries > MOST_ENTRIES {
            let problem = format!("{entries} entries, expected at most {MOST_ENTRIES}");
            return Err(no_archive(problem));
        }
        let zip = ZipArchive::new(reader).map_err(|e| no_archive(e.to_string()))?;
        if zip.len() as u64 != entries {
            let names = zip.len();
            let problem = format!("{entries} entries of {names} names: one is there twice");
            return Err(no_archive(problem));
        }
        Ok(Archive {
            path: path.to_owned(),
            zip,
            bytes,
            layouts: HashMap::new(),
        })
    }

    /// Sees to it that the arrays are what they say, in memory that does not depend on what that is; what is compressed, if
    /// it is unpacked.
    fn survey(&mut self, names: &[&str], unpack: bool) -> Result<()> {
        let mut unpacked = 0u64;
        for name in names {
            let size = self.size(name).map_err(|e| self.array_error(name, e))?;
            unpacked = unpacked.saturating_add(size.unwrap_or(0));
            if unpacked > self.bytes.saturating_mul(MOST_EXPANSION).max(SMALL) {
                return Err(self.array_error(
                    name,
                    format!(
                        "with it the arrays would grow to {unpacked} bytes from an archive of {}; if that is right, save \
                         them uncompressed, with `numpy.savez`",
                        self.bytes
                    ),
                ));
            }
        }
        for name in names {
            let layout = self.layout(name, unpack);
            let layout = layout.map_err(|e| self.array_error(name, e))?;
            if let Some(layout) = layout {
                self.layouts.insert((*name).to_owned(), layout);
            }
        }
        Ok(())
    }

    /// What the archive says of the content of these arrays: their names and checksums.
    pub fn checksums(&self, names: &[&str]) -> Vec<u8> {
        let mut all = Vec::new();
        for name in names {
            if let Some(layout) = self.layouts.get(*name) {
                all.extend(name.as_bytes());
                all.extend(layout.checksum.to_le_bytes());
            }
        }
        all
    }

    fn array_error(&self, name: &str, problem: String) -> Error {
        self.error(format!("array `{name}`: {problem}"))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// An [`Error::File`] about this file.
    pub fn error(&self, problem: impl Into<String>) -> Error {
        Error::file(&self.path, problem)
    }

    /// The names of the arrays.
    pub fn names(&self) -> Vec<String> {
        let names = self.zip.file_names();
        names
            .map(|name| name.strip_suffix(".npy").unwrap_or(name).to_owned())
            .collect()
    }

    /// An array, if there is one of this name among those the archive was opened for.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read.
    pub fn read(&mut self, name: &str) -> Result<Option<Numbers>> {
        let Some(layout) = self.layouts.get(name) else {
            return Ok(None);
        };
        let file = format!("{name}.npy");
        let entry = self.zip.by_name(&file).map_err(|e| e.to_string());
        let numbers = entry.and_then(|entry| numbers(entry, layout));
        numbers
            .map(Some)
            .map_err(|problem| self.array_error(name, problem))
    }

    /// An array that must be there.
    ///
    /// # Errors
    /// As [`Archive::read`]; [`Error::File`] listing the arrays that are there.
    pub fn require(&mut self, name: &str) -> Result<Numbers> {
        self.read(name)?.ok_or_else(|| {
            let names = self.names();
            let found = match names.is_empty() {
                true => "is empty".to_owned(),
                false => format!("has {names:?}"),
            };
            self.error(format!("no array `{name}`: the archive {found}"))
        })
    }

    /// The bytes of an array as the directory has them, if it is there; they may still be a lie.
    fn size(&mut self, name: &str) -> Result<Option<u64>, String> {
        let entry = match self.zip.by_name(&format!("{name}.npy")) {
            Ok(entry) => entry,
            Err(ZipError::FileNotFound) => return Ok(None),
            Err(e) => return Err(e.to_string()),
        };
        let (size, packed) = (entry.size(), entry.compressed_size());
        let stored = entry.compression() == CompressionMethod::Stored;
        if packed > self.bytes || (stored && size != packed) {
            return Err(format!(
                "the archive claims {size} bytes for it, {packed} of them in a file of {}: the file is damaged",
                self.bytes
            ));
        }
        Ok(Some(size))
    }

    fn layout(&mut self, name: &str, unpack: bool) -> Result<Option<Layout>, String> {
        let mut entry = match self.zip.by_name(&format!("{name}.npy")) {
            Ok(entry) => entry,
            Err(ZipError::FileNotFound) => return Ok(None),
            Err(e) => return Err(e.to_string()),
        };
        let (size, begin, checksum) = (entry.size(), entry.data_start(), entry.crc32());
        let stored = entry.compression() == CompressionMethod::Stored;
        let (header, header_len) = read_header(&mut entry)?;
        let Some(dtype) = header.type_descriptor.as_string().cloned() else {
            return Err("a record array, expected plain numbers".to_owned());
        };
        let item = item_size(&dtype)?;
        let count = header
            .shape
            .iter()
            .try_fold(1usize, |product, &n| product.checked_mul(n));
        let needed = count
            .and_then(|n| n.checked_mul(item))
            .and_then(|n| u64::try_from(n).ok());
        let there = size - size.min(header_len as u64);
        let Some(count) = count.filter(|_| needed == Some(there)) else {
            return Err(format!(
                "its header says {:?} elements of {item} bytes, \
                 but {there} bytes are there: the file is damaged",
                header.shape
            ));
        };
        if unpack && !stored {
            // One byte more, so that an entry longer than it claims is noticed, and one that is not has its checksum
            // checked.
            let whole = io::copy(&mut entry.take(there + 1), &mut io::sink());
            match whole {
                Ok(n) if n == there => {}
                Ok(n) => return Err(format!("{n} bytes instead of {there}: the file is damaged")),
                Err(e) => return Err(format!("cannot be read ({e})")),
            }
        }
        Ok(Some(Layout {
            stored_at: (cfg!(unix) && stored && is_c_order(&header))
                .then(|| begin + header_len as u64),
            header,
            dtype,
            count,
            item,
            header_len,
            checksum,
        }))
    }
}

/// The numbers of an entry that has been found to hold them.
fn numbers(mut entry: impl Read, layout: &Layout) -> Result<Numbers, String> {
    read_header(&mut entry)?;
    // One byte more again, for the checksum of what is not compressed.
    let read = entry.take((layout.count * layout.item) as u64 + 1);
    let shape = layout.header.shape.clone();
    Ok(Numbers {
        first: vec![0; shape.len()],
        values: values(read, layout, layout.count)?,
        shape,
    })
}

/// So many elements of an array.
pub(super) fn values(read: impl Read, layout: &Layout, count: usize) -> Result<Values, String> {
    let header = &layout.header;
    Ok(match plain(&layout.dtype) {
        "b1" => Values::Bool(elements(read, header, count)?),
        "i1" => Values::I8(elements(read, header, count)?),
        "i2" => Values::I16(elements(read, header, count)?),
        "i4" => Values::I32(elements(read, header, count)?),
        "i8" => Values::I64(elements(read, header, count)?),
        "u1" => Values::U8(elements(read, header, count)?),
        "u2" => Values::U16(elements(read, header, count)?),
        "u4" => Values::U32(elements(read, header, count)?),
        "u8" => Values::U64(elements(read, header, count)?),
        "f4" => Values::F32(elements(read, header, count)?),
        _ => Values::F64(elements(read, header, count)?),
    })
}

/// Whether rows are one after another.
fn is_c_order(header: &Header) -> bool {
    !header.layout.is_fortran() || header.shape.len() < 2
}

/// The header, and how many bytes it takes.
fn read_header(entry: &mut impl Read) -> Result<(Header, usize), String> {
    let damaged = |e: &dyn Display| format!("not an `.npy` array ({e})");
    let mut bytes = vec![0; 12];
    entry
        .read_exact(&mut bytes[..10])
        .map_err(|e| damaged(&e))?;
    let length = match bytes[6] {
        1 => usize::from(u16::from_le_bytes([bytes[8], bytes[9]])) + 10,
        _ => {
            entry
                .read_exact(&mut bytes[10..])
                .map_err(|e| damaged(&e))?;
            let length = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
            (length as usize).saturating_add(12)
        }
    };
    if length > LONGEST_HEADER {
        return Err(damaged(&format!("a header of {length} bytes")));
    }
    let start = if bytes[6] == 1 { 10 } else { 12 };
    bytes.resize(length, 0);
    entry
        .read_exact(&mut bytes[start..])
        .map_err(|e| damaged(&e))?;
    let opened = bytes[start..].iter().filter(|b| b"([{".contains(b)).count();
    if opened > MOST_BRACKETS {
        return Err("a record array or a damaged header, expected plain numbers".to_owned());
    }
    let header = Header::from_reader(&mut bytes.as_slice()).map_err(|e| damaged(&e))?;
    Ok((header, length))
}

/// Bytes an element takes, of the types that are read.
fn item_size(dtype: &str) -> Result<usize, String> {
    match plain(dtype) {
        "b1" | "i1" | "u1" => Ok(1),
        "i2" | "u2" => Ok(2),
        "i4" | "u4" | "f4" => Ok(4),
        "i8" | "u8" | "f8" => Ok(8),
        "O" => Err("Python objects (dtype `object`), expected numbers; \
             make the rows equally long, pad them and give `lengths`"
            .to_owned()),
        _ => Err(format!(
            "elements of type `{dtype}`, expected float32, float64, integers or bool; \
             convert with `.astype(...)`"
        )),
    }
}

/// `count` elements in C order.
fn elements<A: ReadableElement + Clone>(
    read: impl Read,
    header: &Header,
    count: usize,
) -> Result<Vec<A>, String> {
    let values = A::read_to_end_exact_vec(BufReader::new(read), &header.type_descriptor, count)
        .map_err(|e| format!("cannot be read ({e})"))?;
    if is_c_order(header) {
        return Ok(values);
    }
    let shape = IxDyn(&header.shape).f();
    let array = ArrayD::from_shape_vec(shape, values).map_err(|e| e.to_string())?;
    Ok(array.iter().cloned().collect())
}

/// A type without its byte order.
pub(super) fn plain(dtype: &str) -> &str {
    dtype.trim_start_matches(['<', '>', '|', '='])
}

impl Numbers {
    /// The number of the first row in its array.
    pub fn first_row(&self) -> usize {
        self.first.first().copied().unwrap_or(0)
    }

    /// Whether they are floating-point numbers.
    pub fn is_float(&self) -> bool {
        matches!(self.values, Values::F32(_) | Values::F64(_))
    }

    /// Whether they are integers.
    pub fn is_integer(&self) -> bool {
        !self.is_float() && !matches!(self.values, Values::Bool(_))
    }

    /// `"float [2, 3]"` and the like.
    pub fn describe(&self) -> String {
        let kind = match self.values {
            Values::Bool(_) => "bool",
            Values::F32(_) | Values::F64(_) => "float",
            _ => "integer",
        };
        format!("{kind} {:?}", self.shape)
    }

    /// As this program's floats, rounded or widened.
    ///
    /// # Panics
    /// If they are not floating-point numbers.
    pub fn into_floats<T: Scalar>(self) -> Vec<T> {
        match self.values {
            Values::F32(v) => v.into_iter().map(|x| T::from_f64(f64::from(x))).collect(),
            Values::F64(v) => v.into_iter().map(T::from_f64).collect(),
            _ => unreachable!("asked for floats after `is_float`"),
        }
    }

    /// As ids or counts; 0 where `used` is false, whatever is there.
    ///
    /// # Errors
    /// What and where, for a negative or too large number that is used.
    ///
    /// # Panics
    /// If they are floating-point numbers.
    pub fn into_ids(self, used: Option<&[bool]>) -> Result<Vec<u32>, String> {
        let (shape, first) = (&self.shape, &self.first);
        match self.values {
            Values::Bool(v) => Ok(v.into_iter().map(u32::from).collect()),
            Values::I8(v) => ids(v, shape, first, used),
            Values::I16(v) => ids(v, shape, first, used),
            Values::I32(v) => ids(v, shape, first, used),
            Values::I64(v) => ids(v, shape, first, used),
            Values::U8(v) => ids(v, shape, first, used),
            Values::U16(v) => ids(v, shape, first, used),
            Values::U32(v) => ids(v, shape, first, used),
            Values::U64(v) => ids(v, shape, first, used),
            Values::F32(_) | Values::F64(_) => unreachable!("asked for ids after `is_float`"),
        }
    }
}

fn ids<A>(
    values: Vec<A>,
    shape: &[usize],
    first: &[usize],
    used: Option<&[bool]>,
) -> Result<Vec<u32>, String>
where
    A: Copy + Display + TryInto<u32>,
{
    let mut ids = Vec::with_capacity(values.len());
    for (i, value) in values.into_iter().enumerate() {
        ids.push(match value.try_into() {
            _ if used.is_some_and(|used| !used[i]) => 0,
            Ok(id) if id < u32::MAX => id,
            _ => {
                return Err(format!(
                    "{value} at {:?}, expected a number from 0 to {}",
                    position(i, shape, first),
                    u32::MAX - 1
                ));
            }
        });
    }
    Ok(ids)
}

/// The index of element `i` in C order, from the index of the first on.
fn position(mut i: usize, shape: &[usize], first: &[usize]) -> Vec<usize> {
    let mut index = first.to_vec();
    for (at, &n) in index.iter_mut().zip(shape).rev() {
        *at += i % n;
        i /= n;
    }
    index
}
