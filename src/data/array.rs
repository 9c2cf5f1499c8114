//! One array as an `.npy` file holds it: what its header says ([`Layout`]), and its elements ([`Numbers`]).
//!
//! `ndarray-npy` parses headers; here the size that a header claims is held against the bytes that are there, and the
//! elements are decoded: half, single and double precision, little and big endian, C and Fortran order. Knows nothing of archives, nor of what the numbers mean.

use crate::{Error, Scalar};
use half::f16;
use ndarray::{ArrayViewD, IxDyn, ShapeBuilder};
use ndarray_npy::npy::header::Header;
use std::fmt::{self, Display};
use std::io::Read;
use std::path::Path;

/// The longest header that is parsed; NumPy's own limit is 10,000 bytes.
const LONGEST_HEADER: usize = 10_000;
/// The brackets in a header of numbers: around it and around the shape. The parser tries each bracket in several ways, with
/// all that is in it: a damaged header of eight of them takes hours.
const MOST_BRACKETS: usize = 2;

/// What [`Numbers::ids`] makes of a number that is to be ignored.
pub(super) const IGNORED: u32 = u32::MAX;

/// What the elements of an array are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Signed,
    Unsigned,
    Float,
}

/// The form of an array that is as large as its header says, or of some of its rows.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub shape: Vec<usize>,
    pub kind: Kind,
    /// The bytes of an element.
    pub item: usize,
    pub big_endian: bool,
    /// The elements stand column by column: no row is in one place.
    pub fortran: bool,
    /// The bytes of the header.
    pub header_len: usize,
}

/// The elements of an array, or those of some of its rows.
pub(super) struct Numbers {
    pub layout: Layout,
    /// How many elements of the whole array are before these, in C order.
    pub before: usize,
    /// The elements as they stand in the file.
    pub bytes: Vec<u8>,
}

/// What is wrong with an array of a file.
pub(super) fn array_error(path: &Path, name: &str, problem: &str) -> Error {
    Error::file(path, format!("array `{name}`: {problem}"))
}

impl Layout {
    /// Reads the header of an `.npy` file of `size` bytes.
    ///
    /// # Errors
    /// What is wrong with the header, or that the array is not as large as it says.
    pub fn read(npy: &mut impl Read, size: u64) -> Result<Self, String> {
        let (header, header_len) = read_header(npy)?;
        let Some(described) = header.type_descriptor.as_string() else {
            return Err("a record array, expected plain numbers".to_owned());
        };
        let (kind, item) = element(described)?;
        let layout = Layout {
            fortran: header.layout.is_fortran() && header.shape.len() > 1,
            shape: header.shape,
            kind,
            item,
            big_endian: described.starts_with('>'),
            header_len,
        };
        let mut sizes = layout.shape.iter().copied().chain([item]);
        let claimed = sizes.try_fold(1, usize::checked_mul);
        let there = size - size.min(header_len as u64);
        match claimed {
            Some(claimed) if claimed as u64 == there => Ok(layout),
            _ => Err(format!(
                "its header says {:?} elements of {item} bytes, but {there} bytes are there: the file is damaged",
                layout.shape
            )),
        }
    }

    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// The bytes of all elements.
    pub fn bytes(&self) -> usize {
        self.count() * self.item
    }

    /// The elements of a row.
    pub fn row_count(&self) -> usize {
        self.shape.iter().skip(1).product()
    }

    /// The bytes of a row.
    pub fn row_bytes(&self) -> usize {
        self.row_count() * self.item
    }

    pub fn is_float(&self) -> bool {
        self.kind == Kind::Float
    }

    pub fn is_integer(&self) -> bool {
        matches!(self.kind, Kind::Signed | Kind::Unsigned)
    }
}

/// `float [2, 3]` and the like.
impl Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Bool => "bool",
            Kind::Float => "float",
            Kind::Signed | Kind::Unsigned => "integer",
        };
        write!(f, "{kind} {:?}", self.shape)
    }
}

/// The header, and how many bytes it takes.
fn read_header(npy: &mut impl Read) -> Result<(Header, usize), String> {
    let damaged = |e: &dyn Display| {
        let text = e.to_string();
        format!(
            "not an `.npy` array ({})",
            text.lines().next().unwrap_or_default()
        )
    };
    let mut bytes = vec![0; 12];
    npy.read_exact(&mut bytes[..10]).map_err(|e| damaged(&e))?;
    // The length of the rest: of version 1 two bytes, of later ones four.
    let start = if bytes[6] == 1 { 10 } else { 12 };
    npy.read_exact(&mut bytes[10..start])
        .map_err(|e| damaged(&e))?;
    let length = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]) as usize;
    let length = start.saturating_add(length);
    if length > LONGEST_HEADER {
        return Err(damaged(&format!("a header of {length} bytes")));
    }
    bytes.resize(length, 0);
    npy.read_exact(&mut bytes[start..])
        .map_err(|e| damaged(&e))?;
    without_long_suffixes(&mut bytes[start..]);
    if let Some(described) = bracketed_type(&bytes[start..]) {
        return Err(unknown_type(&described));
    }
    let opened = bytes[start..].iter().filter(|b| b"([{".contains(b)).count();
    if opened > MOST_BRACKETS {
        return Err("a record array or a damaged header, expected plain numbers".to_owned());
    }
    let header = Header::from_reader(&mut bytes.as_slice()).map_err(|e| damaged(&e))?;
    Ok((header, length))
}

/// Blanks out the `L` behind whole numbers, which NumPy under Python 2 wrote where a size was a long: `(2L, 3L)`.
fn without_long_suffixes(header: &mut [u8]) {
    for i in 1..header.len().saturating_sub(1) {
        if header[i - 1].is_ascii_digit() && header[i] == b'L' && b",)".contains(&header[i + 1]) {
            header[i] = b' ';
        }
    }
}

/// The type of the elements, if it is one with brackets in its name, such as `<M8[ns]`, the times of `datetime64`.
fn bracketed_type(header: &[u8]) -> Option<String> {
    let header = String::from_utf8_lossy(header);
    let (_, rest) = header.split_once("'descr': '")?;
    let (described, _) = rest.split_once('\'')?;
    described.contains('[').then(|| described.to_owned())
}

fn unknown_type(described: &str) -> String {
    format!(
        "elements of type `{described}`, expected float16, float32, float64, integers or bool; convert with `.astype(...)`"
    )
}

/// What the elements are, and the bytes of one, of the types that are read.
fn element(described: &str) -> Result<(Kind, usize), String> {
    let dtype = described.trim_start_matches(['<', '>', '|', '=']);
    let kind = match dtype {
        "b1" => Kind::Bool,
        "i1" | "i2" | "i4" | "i8" => Kind::Signed,
        "u1" | "u2" | "u4" | "u8" => Kind::Unsigned,
        "f2" | "f4" | "f8" => Kind::Float,
        "O" => {
            let problem = "Python objects (dtype `object`), expected numbers; make the rows equally long, \
                           pad them and give `lengths`";
            return Err(problem.into());
        }
        _ => return Err(unknown_type(described)),
    };
    Ok((kind, usize::from(dtype.as_bytes()[1] - b'0')))
}

impl Numbers {
    /// All elements of an array, from the beginning of its `.npy` file.
    ///
    /// # Errors
    /// What is wrong, if they cannot be read.
    pub fn read(mut npy: impl Read, layout: &Layout) -> Result<Self, String> {
        read_header(&mut npy)?;
        let mut bytes = Vec::with_capacity(layout.bytes());
        // One byte more is asked for, so that the checksum is compared.
        let read = npy
            .take(layout.bytes() as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| format!("cannot be read ({e})"))?;
        if read != layout.bytes() {
            return Err(format!("cannot be read (it has {read} bytes)"));
        }
        Ok(Numbers {
            before: 0,
            layout: layout.clone(),
            bytes,
        })
    }

    /// The elements in C order.
    fn elements<const N: usize>(&self) -> impl Iterator<Item = [u8; N]> + '_ {
        let Layout { shape, fortran, .. } = &self.layout;
        let (elements, _) = self.bytes.as_chunks::<N>();
        let shape = IxDyn(shape).set_f(*fortran);
        let elements = ArrayViewD::from_shape(shape, elements).expect("as many as the shape says");
        let big_endian = self.layout.big_endian;
        elements.into_iter().map(move |&(mut bytes)| {
            if big_endian {
                bytes.reverse();
            }
            bytes
        })
    }

    /// As floats of type `T`, rounded or widened; integers as what they are.
    pub fn floats<T: Scalar>(&self) -> Vec<T> {
        let half = |x: [u8; 2]| T::from_f64(f16::from_le_bytes(x).into());
        let single = |x: [u8; 4]| T::from_f64(f32::from_le_bytes(x).into());
        let double = |x: [u8; 8]| T::from_f64(f64::from_le_bytes(x));
        let integer = |x: i128| T::from_f64(x as f64);
        match (self.layout.kind, self.layout.item) {
            (Kind::Float, 2) => self.elements().map(half).collect(),
            (Kind::Float, 4) => self.elements().map(single).collect(),
            (Kind::Float, _) => self.elements().map(double).collect(),
            (_, 1) => self.integers::<1>().map(integer).collect(),
            (_, 2) => self.integers::<2>().map(integer).collect(),
            (_, 4) => self.integers::<4>().map(integer).collect(),
            _ => self.integers::<8>().map(integer).collect(),
        }
    }

    fn integers<const N: usize>(&self) -> impl Iterator<Item = i128> + '_ {
        let signed = self.layout.kind == Kind::Signed;
        self.elements().map(move |bytes: [u8; N]| {
            let mut wide = [0; 16];
            wide[..N].copy_from_slice(&bytes);
            if signed && bytes[N - 1] >= 0x80 {
                wide[N..].fill(0xff);
            }
            i128::from_le_bytes(wide)
        })
    }

    /// As yes and no: bool, or numbers that are 0 or 1.
    ///
    /// # Errors
    /// What and where, for another number.
    pub fn flags(&self) -> Result<Vec<bool>, String> {
        if !self.layout.is_float() {
            let flags = self.ids(1, &[], |_| true)?;
            return Ok(flags.into_iter().map(|flag| flag == 1).collect());
        }
        let flag = |(i, value): (usize, f64)| match value {
            0.0 => Ok(false),
            1.0 => Ok(true),
            _ => Err(format!(
                "{value} at {:?}, expected 0 or 1",
                self.position(i)
            )),
        };
        self.floats().into_iter().enumerate().map(flag).collect()
    }

    /// As ids or counts up to `most`; 0 where `used` is false of an element's number, whatever the element is, and
    /// [`IGNORED`] for one of the `ignored`.
    ///
    /// # Errors
    /// What and where, for a negative or too large number that is used.
    ///
    /// # Panics
    /// If they are floating-point numbers.
    pub fn ids(
        &self,
        most: u32,
        ignored: &[i128],
        used: impl Fn(usize) -> bool,
    ) -> Result<Vec<u32>, String> {
        assert!(!self.layout.is_float(), "asked for ids of integers");
        let id = |(i, value): (usize, i128)| match value {
            _ if !used(i) => Ok(0),
            value if (0..=most.into()).contains(&value) => Ok(value as u32),
            value if ignored.contains(&value) => Ok(IGNORED),
            value => {
                let at = self.position(i);
                let problem = format!("{value} at {at:?}, expected a number from 0 to {most}");
                Err(match ignored {
                    [] => problem,
                    _ => format!("{problem}, or one of {ignored:?} where none counts"),
                })
            }
        };
        match self.layout.item {
            1 => self.integers::<1>().enumerate().map(id).collect(),
            2 => self.integers::<2>().enumerate().map(id).collect(),
            4 => self.integers::<4>().enumerate().map(id).collect(),
            _ => self.integers::<8>().enumerate().map(id).collect(),
        }
    }

    /// The index of element `i`, counted in C order, in the whole array.
    pub fn position(&self, i: usize) -> Vec<usize> {
        let (mut rest, mut index) = (self.before + i, Vec::new());
        for &n in self.layout.shape.iter().skip(1).rev() {
            index.push(rest % n);
            rest /= n;
        }
        index.extend((!self.layout.shape.is_empty()).then_some(rest));
        index.reverse();
        index
    }

    /// The number of the first row in the whole array.
    pub fn first_row(&self) -> usize {
        self.before / self.layout.row_count().max(1)
    }
}
