//! Sequences that stay in their `.npz` file, and are read from it whenever a window needs them: [`Stored`].
//!
//! So of a set that several ranks share, each reads what is dealt to it, and no more is held than a window. What numbers
//! are in the file is checked once, by each rank for its part, before anything is trained on them. That takes arrays of
//! which the rows are in one place: as `numpy.savez` writes them; of `numpy.savez_compressed` every rank reads and keeps
//! all.

use super::archive::Archive;
use super::array::Numbers;
use super::fingerprint;
use super::listing::Listing;
use super::npz::{ARRAYS, Arrays, Stated, assembled, in_file};
use super::on_disk::DiskArray;
use super::sequences::{Array, Sequences};
use crate::deal::piece;
use crate::ranks::{self, Ranks, broadcast_bytes, each};
use crate::{Dims, Error, Result, Scalar};
use crc32fast::Hasher;
use ndarray::Array2;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// Bytes of inputs and targets that are checked at a time.
const CHUNK: usize = 16 << 20;

/// Some sequences of a file.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    set: Arc<Set>,
    /// Which of its rows.
    rows: Vec<usize>,
}

/// A file whose numbers have been checked.
#[derive(Debug)]
struct Set {
    inputs: Kept,
    targets: Kept,
    /// `n_x` and `n_y` as far as the numbers tell.
    found: (usize, usize),
}

/// An array that stays where it is.
#[derive(Debug)]
pub(super) struct Kept {
    column: DiskArray,
    /// It may be anything where the mask is false, and is read as zero.
    padded: bool,
}

/// Some rows of each array.
struct Chunk<'a> {
    path: &'a Path,
    columns: &'a [DiskArray],
    rows: Range<usize>,
    /// Of each array as far as it has been read.
    sums: Vec<Hasher>,
}

impl Arrays for Chunk<'_> {
    fn path(&self) -> &Path {
        self.path
    }

    fn read(&mut self, name: &'static str) -> Result<Option<Numbers>> {
        let mut columns = self.columns.iter().zip(&mut self.sums);
        let found = columns.find(|(column, _)| column.name == name);
        let numbers = found.map(|(column, sum)| match has_rows(column) {
            true => column.rows(self.rows.clone(), sum),
            false => column.all(sum),
        });
        numbers.transpose()
    }

    fn names(&self) -> Vec<&str> {
        self.columns.iter().map(|column| column.name).collect()
    }
}

impl<T: Scalar> Sequences<T> {
    /// At most so many bytes of memory does [`Sequences::open_npz`] take, by the headers of the file.
    ///
    /// # Errors
    /// As [`Sequences::read_npz`].
    pub fn open_npz_memory(path: &Path) -> Result<f64> {
        let archive = Archive::headers(path, &ARRAYS)?;
        let columns = archive.on_disk(&ARRAYS)?;
        match columns.filter(|columns| are_regular(columns)) {
            None => Self::npz_memory(path, true),
            Some(columns) => {
                let row: usize = columns_of_rows(&columns).map(DiskArray::row_bytes).sum();
                let (n, t) = (columns[0].shape()[0], columns[0].shape()[1]);
                // What is read at a time, as it is and checked, ids of one byte as such of four; the mask in two forms;
                // which row and how long each sequence is, and when it comes.
                let of_each = 2 * t + 3 * size_of::<usize>();
                Ok(6.0 * row.max(CHUNK) as f64 + n as f64 * of_each as f64)
            }
        }
    }

    /// The sequences of an `.npz` file, as [`Sequences::read_npz`] checks them, which stay there as far as they can:
    /// uncompressed and in C order. Of several ranks, each checks its part.
    ///
    /// # Errors
    /// As [`Sequences::read_npz`]; [`Error::Ranks`] if the ranks see files of other sizes or checksums, or other bytes where
    /// they compare them, which is here and there.
    pub fn open_npz(path: &Path, ranks: Option<&dyn Ranks>) -> Result<Self> {
        if let Some(ranks) = ranks {
            fingerprint::agree(&Listing::of(&[path.to_owned()])?, ranks)?;
        }
        let archive = Archive::open(path, &ARRAYS)?;
        if let Some(ranks) = ranks {
            ranks::agree(ranks, "other data", &archive.checksums(&ARRAYS))?;
        }
        let columns = archive.on_disk(&ARRAYS)?;
        let Some(columns) = columns.filter(|columns| are_regular(columns)) else {
            // What is wrong with them, if anything is, is found here.
            return Self::from_archive(archive);
        };
        let is_there = |name| columns.iter().any(|column| column.name == name);
        let padded = is_there("lengths");
        let masked = padded || is_there("mask");
        let (n, t) = (columns[0].shape()[0], columns[0].shape()[1]);
        let mut chunk = Chunk {
            path,
            columns: &columns,
            rows: 0..0,
            sums: vec![Hasher::new(); columns.len()],
        };
        let stated = Stated::read(&mut chunk)?;
        let own = ranks.map_or(0..n, |ranks| piece(ranks.rank(), ranks.size(), n));
        let (mut found, mut mask) = chunk.check::<T>(own.clone(), stated)?;
        for (column, sum) in columns.iter().zip(chunk.sums) {
            let rows = if has_rows(column) { own.len() } else { 1 };
            let own = [sum.finalize().into(), (rows * column.row_bytes()) as u64];
            let parts = match ranks.filter(|_| has_rows(column)) {
                Some(ranks) => each(ranks, own),
                None => vec![own],
            };
            column.verify(parts.into_iter().map(|[sum, bytes]| (sum as u32, bytes)))?;
        }
        if let Some(ranks) = ranks {
            let all = each(ranks, [found.0 as u64, found.1 as u64]);
            found = all.iter().fold(found, |found, &[n_x, n_y]| {
                larger(found, (n_x as usize, n_y as usize))
            });
            let parts = (0..ranks.size()).map(|from| broadcast_bytes(ranks, &mask, from));
            mask = parts.collect::<Vec<_>>().concat();
        }
        let mask = masked.then(|| {
            let mask = mask.into_iter().map(|counts| counts == 1).collect();
            Array2::from_shape_vec((n, t), mask).expect("of every row")
        });
        let mut columns = columns;
        let mut take = |name| {
            let at = columns.iter().position(|column| column.name == name);
            columns.swap_remove(at.expect("regular arrays have it"))
        };
        let set = Set {
            inputs: Kept {
                column: take("inputs"),
                padded,
            },
            targets: Kept {
                column: take("targets"),
                padded: true,
            },
            found,
        };
        let stored = Stored {
            set: Arc::new(set),
            rows: (0..n).collect(),
        };
        let set = Sequences::stored(stored, (n, t), mask, stated.or(found));
        match set.counted() {
            0 => Err(in_file(path, Error::NothingCounts)),
            _ => Ok(set),
        }
    }
}

impl Chunk<'_> {
    /// Checks some rows, as many at a time as there is room for: `n_x` and `n_y` as far as they tell, and their mask, if
    /// there is one.
    fn check<T: Scalar>(
        &mut self,
        rows: Range<usize>,
        stated: Stated,
    ) -> Result<((usize, usize), Vec<u8>)> {
        let row_bytes: usize = columns_of_rows(self.columns)
            .map(DiskArray::row_bytes)
            .sum();
        let (mut found, mut mask) = ((0, 0), Vec::new());
        let n = self.columns[0].shape()[0];
        let at_once = (CHUNK / row_bytes).max(1);
        for begin in rows.clone().step_by(at_once) {
            self.rows = begin..rows.end.min(begin + at_once);
            let part = assembled::<T>(self)?;
            let (n_x, n_y) = stated.or(part.dims());
            match part.check(Dims { n_x, n_h: 1, n_y }) {
                // Elsewhere something may.
                Ok(()) | Err(Error::NothingCounts) => {}
                Err(error) => return Err(in_file(self.path, of_all(error, begin, n))),
            }
            found = larger(found, part.dims());
            let counts = part.mask().into_iter().flatten();
            mask.extend(counts.map(|&counts| u8::from(counts)));
        }
        Ok((found, mask))
    }
}

/// Whether it has a row for each sequence.
fn has_rows(array: &DiskArray) -> bool {
    !matches!(array.name, "n_x" | "n_y")
}

/// Those of which every sequence has a row of several numbers.
fn columns_of_rows(columns: &[DiskArray]) -> impl Iterator<Item = &DiskArray> {
    columns.iter().filter(|column| column.shape().len() > 1)
}

impl Stored {
    /// Some of the sequences.
    pub fn select(&self, rows: &[usize]) -> Self {
        Stored {
            set: Arc::clone(&self.set),
            rows: rows.iter().map(|&row| self.rows[row]).collect(),
        }
    }

    /// Whether a network of these sizes can be trained on the set that these sequences are from.
    ///
    /// # Errors
    /// [`Error::Shape`]; [`Error::Invalid`] for ids that are too large.
    pub fn check(&self, dims: Dims) -> Result<()> {
        let (n_x, n_y) = self.set.found;
        for (what, kept, found, limit) in [
            ("inputs", &self.set.inputs, n_x, dims.n_x),
            ("targets", &self.set.targets, n_y, dims.n_y),
        ] {
            if kept.width().is_some_and(|width| width != limit) {
                return Err(Error::Shape {
                    what,
                    found: kept.column.shape().to_vec(),
                    expected: format!("[N, T, {limit}]"),
                });
            }
            if found > limit {
                return Err(Error::Invalid {
                    what,
                    problem: format!("ids up to {}, expected less than {limit}", found - 1),
                });
            }
        }
        Ok(())
    }

    /// The row of a sequence in the file.
    pub fn row(&self, sequence: usize) -> usize {
        self.rows[sequence]
    }

    pub fn kept(&self, array: Array) -> &Kept {
        match array {
            Array::Inputs => &self.set.inputs,
            Array::Targets => &self.set.targets,
        }
    }
}

impl PartialEq for Stored {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.set, &other.set) && self.rows == other.rows
    }
}

impl Kept {
    /// The floats of a step; none where there is an id.
    pub fn width(&self) -> Option<usize> {
        self.column.shape().get(2).copied()
    }

    /// The floats of some steps of a row, whose mask this is.
    ///
    /// # Errors
    /// [`Error::File`] if the file is not any more what it was.
    pub fn floats<T: Scalar>(
        &self,
        row: usize,
        steps: Range<usize>,
        mask: Option<&[bool]>,
        out: &mut [T],
    ) -> Result<()> {
        let width = out.len() / steps.len();
        self.column.floats(row, steps, out)?;
        for (out, &counts) in out
            .chunks_exact_mut(width)
            .zip(self.used(mask).unwrap_or_default())
        {
            if !counts {
                out.fill(T::zero());
            }
        }
        Ok(())
    }

    /// The ids of some steps of a row, whose mask this is.
    ///
    /// # Errors
    /// [`Error::File`] if the file is not any more what it was.
    pub fn ids(
        &self,
        row: usize,
        steps: Range<usize>,
        mask: Option<&[bool]>,
        out: &mut [u32],
    ) -> Result<()> {
        out.copy_from_slice(&self.column.ids(row, steps, self.used(mask))?);
        Ok(())
    }

    fn used<'a>(&self, mask: Option<&'a [bool]>) -> Option<&'a [bool]> {
        mask.filter(|_| self.padded)
    }
}

/// Whether these arrays are a set of the forms that are read, as far as their shapes and types tell.
fn are_regular(columns: &[DiskArray]) -> bool {
    let of = |name| columns.iter().find(|column| column.name == name);
    let (Some(inputs), Some(targets)) = (of("inputs"), of("targets")) else {
        return false;
    };
    let forms = |column: &DiskArray| match column.shape() {
        [_, _] => column.layout.is_integer(),
        [_, _, _] => column.layout.is_float(),
        _ => false,
    };
    let lengths_or_mask = match (of("lengths"), of("mask")) {
        (None, None) => true,
        (Some(lengths), None) => {
            lengths.layout.is_integer() && lengths.shape() == &inputs.shape()[..1]
        }
        (None, Some(mask)) => !mask.layout.is_float() && mask.shape() == &inputs.shape()[..2],
        (Some(_), Some(_)) => false,
    };
    let sizes = [of("n_x"), of("n_y")].into_iter().flatten();
    forms(inputs)
        && forms(targets)
        && inputs.shape()[..2] == targets.shape()[..2]
        && [inputs, targets]
            .iter()
            .all(|column| !column.shape().contains(&0))
        && lengths_or_mask
        && sizes
            .into_iter()
            .all(|size| size.layout.is_integer() && size.shape().iter().all(|&n| n == 1))
}

/// An error in rows that begin at `begin`, as one of all `n` rows.
fn of_all(mut error: Error, begin: usize, n: usize) -> Error {
    match &mut error {
        Error::Id { row, .. } => *row += begin,
        Error::Shape { found, .. } => found[0] = n,
        _ => {}
    }
    error
}

fn larger(a: (usize, usize), b: (usize, usize)) -> (usize, usize) {
    (a.0.max(b.0), a.1.max(b.1))
}

#[cfg(test)]
mod tests;
