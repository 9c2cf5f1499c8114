//! One array that stays in its file, and of which parts are read when they are needed: [`DiskArray`].
//!
//! Knows where the elements are and of what type; knows nothing of what they mean.

use super::array::{Layout, Numbers};
use crate::{Error, Result, Scalar};
use crc32fast::Hasher;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

/// An array that is stored uncompressed and in C order in a file.
#[derive(Debug)]
pub(super) struct DiskArray {
    pub path: PathBuf,
    pub name: &'static str,
    pub file: Arc<fs_err::File>,
    /// Where the elements begin in the file, behind the array's header.
    pub begin: u64,
    pub layout: Layout,
    /// The checksum of header and elements, by the archive.
    pub checksum: u32,
}

impl DiskArray {
    pub fn shape(&self) -> &[usize] {
        self.layout.shape()
    }

    /// The bytes of a row.
    pub fn row_bytes(&self) -> usize {
        self.shape().iter().skip(1).product::<usize>() * self.layout.item
    }

    /// The whole array, whose bytes are added to a checksum.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read any more.
    pub fn all(&self, sum: &mut Hasher) -> Result<Numbers> {
        let first = vec![0; self.shape().len()];
        self.numbers(first, self.shape().to_vec(), Some(sum))
    }

    /// Some rows, whose bytes are added to a checksum.
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

    /// Whether the elements are those that were saved, by the checksum and the number of bytes of each of their parts.
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
        match sum.finalize() == self.checksum {
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
        let ids = numbers.into_ids(|i| used.is_none_or(|used| used[i]));
        ids.map_err(|problem| self.error(problem))
    }

    /// Some steps of a row, as floats.
    ///
    /// # Errors
    /// [`Error::File`] if they cannot be read any more.
    pub fn floats<T: Scalar>(&self, row: usize, steps: Range<usize>, out: &mut [T]) -> Result<()> {
        let first = vec![row, steps.start, 0];
        if self.layout.item == size_of::<T>() && self.layout.native {
            // The bytes of the file are the numbers.
            let bytes = bytemuck::cast_slice_mut(out);
            return self.read(&first, bytes).map_err(|e| self.unreadable(e));
        }
        let shape = vec![1, steps.len(), self.shape()[2]];
        out.copy_from_slice(&self.numbers(first, shape, None)?.into_floats::<T>());
        Ok(())
    }

    fn numbers(
        &self,
        first: Vec<usize>,
        shape: Vec<usize>,
        sum: Option<&mut Hasher>,
    ) -> Result<Numbers> {
        let mut bytes = vec![0; shape.iter().product::<usize>() * self.layout.item];
        self.read(&first, &mut bytes)
            .map_err(|e| self.unreadable(e))?;
        if let Some(sum) = sum {
            sum.update(&bytes);
        }
        let numbers = Numbers::decode(&self.layout, first, shape, &bytes);
        numbers.map_err(|problem| self.error(problem))
    }

    /// The bytes of the file from the element at `first` on.
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

/// Reads from a place of the file, without the position in it that all its readers share.
#[cfg(unix)]
fn read_at(file: &std::fs::File, at: u64, bytes: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, at)
}

#[cfg(not(unix))]
fn read_at(_: &std::fs::File, _: u64, _: &mut [u8]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
