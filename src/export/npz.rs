//! Arrays as an `.npz` archive: what `numpy.load` reads.

use super::tensors;
use crate::model::Model;
use crate::{Result, Scalar, atomic};
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// Writes the tensors of a model, and `bptt`, its metadata as JSON.
pub(super) fn write_model<T: Scalar>(model: &Model<T>, path: &Path) -> Result<()> {
    let (tensors, meta) = tensors(model);
    let text: Vec<u32> = meta.to_string().chars().map(u32::from).collect();
    let described = format!("<U{}", text.len());
    let text = ("bptt", &described[..], &[][..], bytemuck::cast_slice(&text));
    let arrays = tensors.iter().map(|tensor| {
        let bytes = bytemuck::cast_slice(&tensor.values);
        (&tensor.name[..], float::<T>(), &tensor.shape[..], bytes)
    });
    write(path, arrays.chain([text]))
}

/// NumPy's description of such numbers.
pub fn float<T: Scalar>() -> &'static str {
    if T::NAME == "f64" { "<f8" } else { "<f4" }
}

/// Writes arrays, all or not at all: of each its name, the description of its elements, its shape, and its bytes in C order.
pub fn write<'a>(
    path: &Path,
    arrays: impl IntoIterator<Item = (&'a str, &'a str, &'a [usize], &'a [u8])>,
) -> Result<()> {
    atomic::replace(path, |file| {
        let mut file = Patient { file, error: None };
        let mut zip = ZipWriter::new(BufWriter::new(&mut file));
        let stored = SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored)
            .large_file(true);
        for (name, described, shape, bytes) in arrays {
            zip.start_file(format!("{name}.npy"), stored)?;
            zip.write_all(&header(described, shape))?;
            zip.write_all(bytes)?;
        }
        zip.finish().map_err(io::Error::other)?.flush()?;
        file.error.map_or(Ok(()), Err)
    })
}

/// A file that keeps its first error to itself: the writer of archives, dropped after one, would print it.
struct Patient<'a> {
    file: &'a mut File,
    error: Option<io::Error>,
}

impl Write for Patient<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.error.is_none() {
            self.error = self.file.write_all(bytes).err();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Patient<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// The header of an `.npy` array, version 1.0: ended so that the elements begin where 64 divides the place.
fn header(described: &str, shape: &[usize]) -> Vec<u8> {
    let sizes: String = shape.iter().map(|size| format!("{size}, ")).collect();
    let dict = format!("{{'descr': '{described}', 'fortran_order': False, 'shape': ({sizes}), }}");
    let length = (10 + dict.len() + 1).next_multiple_of(64) - 10;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((length as u16).to_le_bytes());
    bytes.extend(format!("{dict:<width$}\n", width = length - 1).as_bytes());
    bytes
}
