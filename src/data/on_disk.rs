//! One array that stays in its file, and of which parts are read when they are needed: [`DiskArray`].
//!
//! Knows where the elements are and of what type; knows nothing of what they mean.

use super::array::{Layout, Numbers, array_error};
use crate::{Error, Result, Scalar};
use crc32fast::Hasher;
use std::ops::Range;
use std::os::unix::fs::FileExt;
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
    /// Some rows, whose bytes are added to a checksum.
    ///
    /// # Errors
    /// [`Error::File`] if they cannot be read any more.
    pub fn rows(&self, rows: Range<usize>, sum: &mut Hasher) -> Result<Numbers> {
        let mut shape = self.layout.shape.clone();
        shape[0] = rows.len();
        let numbers = self.numbers(rows.start * self.layout.row_count(), shape)?;
        sum.update(&numbers.bytes);
        Ok(numbers)
    }

    /// Whether the elements are those that were saved, by the checksum and the number of bytes of each of their parts.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn verify(&self, parts: impl IntoIterator<Item = (u32, u64)>) -> Result<()> {
        let mut header = vec![0; self.layout.header_len];
        self.read_at(self.begin - header.len() as u64, &mut header)?;
        let mut sum = Hasher::new();
        sum.update(&header);
        for (part, bytes) in parts.into_iter().filter(|part| part.1 > 0) {
            sum.combine(&Hasher::new_with_initial_len(part, bytes));
        }
        match sum.finalize() == self.checksum {
            true => Ok(()),
            false => Err(self.error("its bytes have another checksum: the file is damaged".into())),
        }
    }

    /// The elements from number `first` on, in C order, as ids; 0 where `used` is false.
    ///
    /// # Errors
    /// [`Error::File`] if they cannot be read any more.
    pub fn ids(&self, first: usize, used: impl Fn(usize) -> bool, out: &mut [u32]) -> Result<()> {
        let numbers = self.numbers(first, vec![out.len()])?;
        let ids = numbers.ids(u32::MAX, &[], used);
        out.copy_from_slice(&ids.map_err(|problem| self.error(problem))?);
        Ok(())
    }

    /// The elements from number `first` on, in C order, as floats.
    ///
    /// # Errors
    /// [`Error::File`] if they cannot be read any more.
    pub fn floats<T: Scalar>(&self, first: usize, out: &mut [T]) -> Result<()> {
        let layout = &self.layout;
        if layout.is_float() && layout.item == size_of::<T>() && !layout.big_endian {
            // The bytes of the file are the numbers.
            return self.read_at(self.place(first), bytemuck::cast_slice_mut(out));
        }
        out.copy_from_slice(&self.numbers(first, vec![out.len()])?.floats::<T>());
        Ok(())
    }

    /// A part of this shape, from element `first` on.
    fn numbers(&self, first: usize, shape: Vec<usize>) -> Result<Numbers> {
        let mut layout = self.layout.clone();
        layout.shape = shape;
        let mut bytes = vec![0; layout.bytes()];
        self.read_at(self.place(first), &mut bytes)?;
        Ok(Numbers {
            layout,
            before: first,
            bytes,
        })
    }

    /// Where an element is in the file.
    fn place(&self, element: usize) -> u64 {
        self.begin + (element * self.layout.item) as u64
    }

    /// Reads from a place of the file, without the position in it that all its readers share.
    fn read_at(&self, at: u64, bytes: &mut [u8]) -> Result<()> {
        self.file.file().read_exact_at(bytes, at).map_err(|e| {
            self.error(format!(
                "cannot be read ({e}): is the file damaged, or was it changed?"
            ))
        })
    }

    fn error(&self, problem: String) -> Error {
        array_error(&self.path, self.name, &problem)
    }
}
