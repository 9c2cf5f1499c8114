//! One array as an `.npy` file holds it: what its header says ([`Layout`]), and its elements ([`Numbers`]).
//!
//! `ndarray-npy` parses headers and decodes elements (little and big endian, C and Fortran order); here the size that a
//! header claims is held against the bytes that are there. Knows nothing of archives, nor of what the numbers mean.

use crate::Scalar;
use ndarray::{ArrayD, IxDyn, ShapeBuilder};
use ndarray_npy::ReadableElement;
use ndarray_npy::npy::header::Header;
use std::fmt::Display;
use std::io::{BufReader, Read};

/// The longest header that is parsed; NumPy's own limit is 10,000 bytes.
const LONGEST_HEADER: usize = 10_000;
/// The brackets in a header of numbers: around it and around the shape. The parser tries each bracket in several ways, with
/// all that is in it: a damaged header of eight of them takes hours.
const MOST_BRACKETS: usize = 2;

/// The form of an array that is as large as its header says.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    header: Header,
    /// The type of the elements, without their byte order.
    dtype: String,
    /// Whether the elements are stored in the byte order of this machine.
    pub native: bool,
    pub count: usize,
    /// The bytes of an element.
    pub item: usize,
    /// The bytes of the header.
    pub header_len: usize,
}

/// The elements of an array in C order, or those of some of its rows.
pub(super) struct Numbers {
    pub shape: Vec<usize>,
    /// The index of the first of these elements in the whole array.
    pub first: Vec<usize>,
    values: Values,
}

enum Values {
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
        let other_order = if cfg!(target_endian = "little") {
            '>'
        } else {
            '<'
        };
        let native = !described.starts_with(other_order);
        let dtype = described
            .trim_start_matches(['<', '>', '|', '='])
            .to_owned();
        let item = item_size(&dtype, described)?;
        let mut axes = header.shape.iter();
        let count = axes.try_fold(1usize, |product, &n| product.checked_mul(n));
        let claimed = count.and_then(|n| n.checked_mul(item)).map(|n| n as u64);
        let there = size - size.min(header_len as u64);
        match count {
            Some(count) if claimed == Some(there) => Ok(Layout {
                header,
                dtype,
                native,
                count,
                item,
                header_len,
            }),
            _ => Err(format!(
                "its header says {:?} elements of {item} bytes, but {there} bytes are there: the file is damaged",
                header.shape
            )),
        }
    }

    pub fn shape(&self) -> &[usize] {
        &self.header.shape
    }

    /// The bytes of all elements.
    pub fn bytes(&self) -> usize {
        self.count * self.item
    }

    pub fn is_float(&self) -> bool {
        self.dtype.starts_with('f')
    }

    pub fn is_integer(&self) -> bool {
        self.dtype.starts_with(['i', 'u'])
    }

    /// Whether each row is in one place, and one row after another.
    pub fn is_c_order(&self) -> bool {
        !self.header.layout.is_fortran() || self.shape().len() < 2
    }

    /// Decodes so many elements.
    fn decode(&self, read: impl Read, count: usize) -> Result<Values, String> {
        Ok(match self.dtype.as_str() {
            "b1" => Values::Bool(self.elements(read, count)?),
            "i1" => Values::I8(self.elements(read, count)?),
            "i2" => Values::I16(self.elements(read, count)?),
            "i4" => Values::I32(self.elements(read, count)?),
            "i8" => Values::I64(self.elements(read, count)?),
            "u1" => Values::U8(self.elements(read, count)?),
            "u2" => Values::U16(self.elements(read, count)?),
            "u4" => Values::U32(self.elements(read, count)?),
            "u8" => Values::U64(self.elements(read, count)?),
            "f4" => Values::F32(self.elements(read, count)?),
            _ => Values::F64(self.elements(read, count)?),
        })
    }

    /// So many elements in C order.
    fn elements<A>(&self, read: impl Read, count: usize) -> Result<Vec<A>, String>
    where
        A: ReadableElement + Clone,
    {
        let descriptor = &self.header.type_descriptor;
        let values = A::read_to_end_exact_vec(BufReader::new(read), descriptor, count)
            .map_err(|e| format!("cannot be read ({e})"))?;
        if self.is_c_order() {
            return Ok(values);
        }
        let array = ArrayD::from_shape_vec(IxDyn(self.shape()).f(), values);
        Ok(array.map_err(|e| e.to_string())?.iter().cloned().collect())
    }
}

/// The header, and how many bytes it takes.
fn read_header(npy: &mut impl Read) -> Result<(Header, usize), String> {
    let damaged = |e: &dyn Display| format!("not an `.npy` array ({e})");
    let mut bytes = vec![0; 12];
    npy.read_exact(&mut bytes[..10]).map_err(|e| damaged(&e))?;
    let (start, length): (usize, usize) = match bytes[6] {
        1 => (10, u16::from_le_bytes([bytes[8], bytes[9]]).into()),
        _ => {
            npy.read_exact(&mut bytes[10..]).map_err(|e| damaged(&e))?;
            let length = [bytes[8], bytes[9], bytes[10], bytes[11]];
            (12, u32::from_le_bytes(length) as usize)
        }
    };
    let length = start.saturating_add(length);
    if length > LONGEST_HEADER {
        return Err(damaged(&format!("a header of {length} bytes")));
    }
    bytes.resize(length, 0);
    npy.read_exact(&mut bytes[start..])
        .map_err(|e| damaged(&e))?;
    let opened = bytes[start..].iter().filter(|b| b"([{".contains(b)).count();
    if opened > MOST_BRACKETS {
        return Err("a record array or a damaged header, expected plain numbers".to_owned());
    }
    let header = Header::from_reader(&mut bytes.as_slice()).map_err(|e| damaged(&e))?;
    Ok((header, length))
}

/// The bytes of an element, of the types that are read.
fn item_size(dtype: &str, described: &str) -> Result<usize, String> {
    match dtype {
        "b1" | "i1" | "u1" => Ok(1),
        "i2" | "u2" => Ok(2),
        "i4" | "u4" | "f4" => Ok(4),
        "i8" | "u8" | "f8" => Ok(8),
        "O" => Err("Python objects (dtype `object`), expected numbers; \
             make the rows equally long, pad them and give `lengths`"
            .to_owned()),
        _ => Err(format!(
            "elements of type `{described}`, expected float32, float64, integers or bool; convert with `.astype(...)`"
        )),
    }
}

impl Numbers {
    /// All elements of an array, from the beginning of its `.npy` file.
    ///
    /// # Errors
    /// What is wrong, if they cannot be read.
    pub fn read(mut npy: impl Read, layout: &Layout) -> Result<Self, String> {
        read_header(&mut npy)?;
        // One byte more, so that the checksum is compared.
        let elements = npy.take(layout.bytes() as u64 + 1);
        Ok(Numbers {
            shape: layout.shape().to_vec(),
            first: vec![0; layout.shape().len()],
            values: layout.decode(elements, layout.count)?,
        })
    }

    /// A part of an array, of this shape and from the element at `first` on.
    ///
    /// # Errors
    /// What is wrong, if the bytes are no such elements.
    pub fn decode(
        layout: &Layout,
        first: Vec<usize>,
        shape: Vec<usize>,
        bytes: &[u8],
    ) -> Result<Self, String> {
        let values = layout.decode(bytes, shape.iter().product())?;
        Ok(Numbers {
            shape,
            first,
            values,
        })
    }

    /// The number of the first row in the whole array.
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

    /// As floats of type `T`, rounded or widened.
    ///
    /// # Panics
    /// If they are not floating-point numbers.
    pub fn into_floats<T: Scalar>(self) -> Vec<T> {
        match self.values {
            Values::F32(v) => v.into_iter().map(|x| T::from_f64(f64::from(x))).collect(),
            Values::F64(v) => v.into_iter().map(T::from_f64).collect(),
            _ => panic!("asked for floats after `is_float`"),
        }
    }

    /// As ids or counts; 0 where `used` is false of an element's number, whatever the element is.
    ///
    /// # Errors
    /// What and where, for a negative or too large number that is used.
    ///
    /// # Panics
    /// If they are floating-point numbers.
    pub fn into_ids(self, used: impl Fn(usize) -> bool) -> Result<Vec<u32>, String> {
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
            Values::F32(_) | Values::F64(_) => panic!("asked for ids after `is_float`"),
        }
    }
}

fn ids<A: Copy + Display + TryInto<u32>>(
    values: Vec<A>,
    shape: &[usize],
    first: &[usize],
    used: impl Fn(usize) -> bool,
) -> Result<Vec<u32>, String> {
    let id = |(i, value): (usize, A)| match value.try_into() {
        _ if !used(i) => Ok(0),
        Ok(id) if id < u32::MAX => Ok(id),
        _ => Err(format!(
            "{value} at {:?}, expected a number from 0 to {}",
            position(i, shape, first),
            u32::MAX - 1
        )),
    };
    values.into_iter().enumerate().map(id).collect()
}

/// The index of element `i`, counted in C order from the element at `first` on.
fn position(mut i: usize, shape: &[usize], first: &[usize]) -> Vec<usize> {
    let mut index = first.to_vec();
    for (at, &n) in index.iter_mut().zip(shape).rev() {
        *at += i % n;
        i /= n;
    }
    index
}
