//! An array that stays in its file, and of which parts are read when they are needed: [`Column`].
//!
//! Knows where its elements are, and what they are; knows nothing of what they mean.

use super::npy::{Layout, Numbers, plain, values};
use crate::{Error, Result, Scalar};
use crc32fast::Hasher;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An array of which parts can be read, whenever they are needed.
#[derive(Debug)]
pub(super) struct Column {
    path: PathBuf,
    name: &'static str,
    file: Arc<fs_err::File>,
    begin: u64,
    layout: Layout,
}

impl Column {
    /// `None` for an array that is not stored as it is, in C order.
    pub fn new(
        path: &Path,
        name: &'static str,
        file: &Arc<fs_err::File>,
        layout: &Layout,
    ) -> Option<Self> {
        Some(Column {
            path: path.to_owned(),
            name,
            file: Arc::clone(file),
            begin: layout.stored_at?,
            layout: layout.clone(),
        })
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    pub fn shape(&self) -> &[usize] {
        &self.layout.header.shape
    }

    /// Whether it is of floating-point numbers.
    pub fn is_float(&self) -> bool {
        self.dtype().starts_with('f')
    }

    /// Whether it is of integers.
    pub fn is_integer(&self) -> bool {
        self.dtype().starts_with(['i', 'u'])
    }

    /// Whether it has rows: one for each sequence.
    pub fn has_rows(&self) -> bool {
        !matches!(self.name, "n_x" | "n_y")
    }

    /// Bytes of a row.
    pub fn row_bytes(&self) -> usize {
        self.shape().iter().skip(1).product::<usize>() * self.layout.item
    }

    /// All of it.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read any more.
    pub fn all(&self, sum: &mut Hasher) -> Result<Numbers> {
        self.numbers(
            vec![0; self.shape().len()],
            self.shape().to_vec(),
            Some(sum),
        )
    }

    /// All of some rows, whose bytes are added to a checksum.
    ///
    /// # Errors
    /// [`Error::File`] if they cannot be read any more.
    pub fn rows(&self, rows: Range<usize>, sum: &mut Hasher) -> Result<Numbers> {
        let mut first = vec![0; self.shape().len()];
        first[0] = rows.start;
        let mut shape = self.shape().to_vec();
        shape[0] = rows.len();
        self.numbers(first, shape, Some(sum))
    }

    /// Whether all elements, in parts of which these are the checksums and bytes, are those that were saved.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn verify(&self, parts: impl IntoIterator<Item = (u32, u64)>) -> Result<()> {
        let mut header = vec![0; self.layout.header_len];
        let at = self.begin - header.len() as u64;
        read_at(self.file.file(), at, &mut header).map_err(|e| self.unreadable(e))?;
        let mut sum = Hasher::new();
        sum.update(&header);
        for (part, bytes) in parts.into_iter().filter(|part| part.1 > 0) {
            sum.combine(&Hasher::new_with_initial_len(part, bytes));
        }
        match sum.finalize() == self.layout.checksum {
            true => Ok(()),
            false => {
                Err(self.error("its bytes have another checksum: the file is damaged".to_owned()))
            }
        }
    }

    /// Some steps of a row, as ids; 0 where `used` is false.
    ///
    /// # Errors
    /// [`Error::File`] if they cannot be read any more.
    pub fn ids(&self, row: usize, steps: Range<usize>, used: Option<&[bool]>) -> Result<Vec<u32>> {
        let numbers = self.numbers(vec![row, steps.start], vec![1, steps.len()], None)?;
        numbers
            .into_ids(used)
            .map_err(|problem| self.error(problem))
    }

    /// Some steps of a row, as floats.
    ///
    /// # Errors
    /// [`Error::File`] if they cannot be read any more.
    pub fn floats<T: Scalar>(&self, row: usize, steps: Range<usize>, out: &mut [T]) -> Result<()> {
        let width = self.shape()[2];
        let (first, shape) = (vec![row, steps.start, 0], vec![1, steps.len(), width]);
        let other_order = if cfg!(target_endian = "little") {
            '>'
        } else {
            '<'
        };
        if self.layout.item == size_of::<T>() && !self.layout.dtype.starts_with(other_order) {
            // As they are.
            let bytes = bytemuck::cast_slice_mut(out);
            return self.read(&first, bytes).map_err(|e| self.unreadable(e));
        }
        out.copy_from_slice(&self.numbers(first, shape, None)?.into_floats::<T>());
        Ok(())
    }

    fn dtype(&self) -> &str {
        plain(&self.layout.dtype)
    }

    fn numbers(
        &self,
        first: Vec<usize>,
        shape: Vec<usize>,
        sum: Option<&mut Hasher>,
    ) -> Result<Numbers> {
        let count = shape.iter().product::<usize>();
        let mut bytes = vec![0; count * self.layout.item];
        self.read(&first, &mut bytes)
            .map_err(|e| self.unreadable(e))?;
        if let Some(sum) = sum {
            sum.update(&bytes);
        }
        let values = values(&bytes[..], &self.layout, count);
        Ok(Numbers {
            values: values.map_err(|problem| self.error(problem))?,
            shape,
            first,
        })
    }

    /// The elements from the one at `first` on.
    fn read(&self, first: &[usize], bytes: &mut [u8]) -> io::Result<()> {
        let element = first
            .iter()
            .zip(self.shape())
            .fold(0, |before, (&i, &n)| before * n + i);
        let at = self.begin + (element * self.layout.item) as u64;
        read_at(self.file.file(), at, bytes)
    }

    fn unreadable(&self, error: io::Error) -> Error {
        self.error(format!(
            "cannot be read ({error}): is the file damaged, or was it changed?"
        ))
    }

    fn error(&self, problem: String) -> Error {
        Error::file(&self.path, format!("array `{}`: {problem}", self.name))
    }
}

/// As many bytes as there is room for, without a place in the file that others could move.
#[cfg(unix)]
fn read_at(file: &std::fs::File, at: u64, bytes: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, at)
}

#[cfg(not(unix))]
fn read_at(_: &std::fs::File, _: u64, _: &mut [u8]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
