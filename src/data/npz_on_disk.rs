//! Sequences that stay in their `.npz` file, and are read whenever a window needs them: [`Sequences::open_npz`].
//!
//! Of a set that several ranks share, each rank reads the rows that are its own, and holds no more than a window of them.
//! What numbers are in the file is checked once, by each rank for its part, before anything is trained on them. That takes
//! arrays whose rows are in one place, as `numpy.savez` writes them; a file of `numpy.savez_compressed` is read whole by
//! every rank.

use super::archive::Archive;
use super::array::Numbers;
use super::fingerprint;
use super::listing::Listing;
use super::npz::{ARRAYS, Arrays, StatedSizes, assembled, in_file};
use super::on_disk::DiskArray;
use super::padding::Padding;
use super::sequences::Sequences;
use super::store::{SetArray, Store, Used};
use crate::partition::even_share;
use crate::ranks::{self, Ranks, broadcast_bytes, each};
use crate::{Error, Result, Scalar};
use bytemuck::{Pod, cast_slice, pod_read_unaligned};
use crc32fast::Hasher;
use ndarray::Array2;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// Bytes of inputs and targets that are checked at a time.
const CHUNK: usize = 16 << 20;

/// Rows of an array in a file whose numbers have been checked.
#[derive(Clone, Debug)]
struct OnDisk {
    array: Arc<DiskArray>,
    /// The row in the file of each sequence.
    rows: Vec<usize>,
}

impl OnDisk {
    fn select(&self, rows: &[usize]) -> Self {
        OnDisk {
            array: Arc::clone(&self.array),
            rows: rows.iter().map(|&row| self.rows[row]).collect(),
        }
    }
}

impl Store<u32> for OnDisk {
    fn copy(&self, row: usize, steps: Range<usize>, used: Used, out: &mut [u32]) -> Result<()> {
        out.copy_from_slice(&self.array.ids(self.rows[row], steps, used)?);
        Ok(())
    }

    fn select(&self, rows: &[usize]) -> Arc<dyn Store<u32>> {
        Arc::new(self.select(rows))
    }
}

impl<T: Scalar> Store<T> for OnDisk {
    fn copy(&self, row: usize, steps: Range<usize>, used: Used, out: &mut [T]) -> Result<()> {
        let width = out.len() / steps.len();
        self.array.floats(self.rows[row], steps, out)?;
        let used = used.unwrap_or_default();
        for (out, _) in out
            .chunks_exact_mut(width)
            .zip(used)
            .filter(|(_, used)| !**used)
        {
            out.fill(T::zero());
        }
        Ok(())
    }

    fn select(&self, rows: &[usize]) -> Arc<dyn Store<T>> {
        Arc::new(self.select(rows))
    }
}

impl<T: Scalar> Sequences<T> {
    /// The most bytes of memory that [`Sequences::open_npz`] takes, by the headers of the file.
    ///
    /// # Errors
    /// As [`Sequences::read_npz`].
    pub fn open_npz_memory(path: &Path) -> Result<f64> {
        let archive = Archive::headers(path, &ARRAYS)?;
        match archive
            .on_disk(&ARRAYS)?
            .filter(|arrays| is_regular(arrays))
        {
            None => Self::npz_memory(path, true),
            Some(arrays) => {
                let (n, t) = (arrays[0].shape()[0], arrays[0].shape()[1]);
                // A chunk, as it is read and as it is checked, where ids of one byte become ids of four. For each sequence,
                // the mask in two forms, and five numbers: its row in two arrays, two lengths, and its place in an epoch.
                let per_sequence = 2 * t + 5 * size_of::<usize>();
                Ok(6.0 * row_bytes(&arrays).max(CHUNK) as f64 + n as f64 * per_sequence as f64)
            }
        }
    }

    /// The sequences of an `.npz` file, as [`Sequences::read_npz`] checks them, which stay there as far as they can:
    /// uncompressed and in C order. Of several ranks, each checks its part.
    ///
    /// # Errors
    /// As [`Sequences::read_npz`]; [`Error::Ranks`] if the ranks see files of other sizes or checksums, or other bytes at the
    /// places that they compare.
    pub fn open_npz(path: &Path, ranks: Option<&dyn Ranks>) -> Result<Self> {
        if let Some(ranks) = ranks {
            fingerprint::agree(&Listing::of(&[path.to_owned()])?, ranks)?;
        }
        let archive = Archive::open(path, &ARRAYS)?;
        if let Some(ranks) = ranks {
            ranks::agree(ranks, "other data", &archive.checksums(&ARRAYS))?;
        }
        let Some(arrays) = archive
            .on_disk(&ARRAYS)?
            .filter(|arrays| is_regular(arrays))
        else {
            // If something is wrong with the arrays, it is found here.
            return Self::from_archive(archive);
        };
        let (n, t) = (arrays[0].shape()[0], arrays[0].shape()[1]);
        let own = ranks.map_or(0..n, |ranks| even_share(ranks.rank(), ranks.size(), n));
        let mut chunk = Chunk {
            path,
            arrays: &arrays,
            rows: 0..0,
            sums: vec![Hasher::new(); arrays.len()],
        };
        let stated = StatedSizes::read(&mut chunk)?;
        let found = chunk.check::<T>(own.clone(), stated)?;
        for (array, sum) in arrays.iter().zip(chunk.sums) {
            let rows = if has_rows(array) { own.len() } else { 1 };
            let part = [sum.finalize().into(), (rows * array.row_bytes()) as u64];
            let parts = match ranks.filter(|_| has_rows(array)) {
                Some(ranks) => each(ranks, part),
                None => vec![part],
            };
            array.verify(parts.into_iter().map(|[sum, bytes]| (sum as u32, bytes)))?;
        }
        let sizes = gathered(ranks, vec![found.sizes]);
        let sizes = sizes.into_iter().fold([0; 2], larger);
        let (lengths, mask) = (gathered(ranks, found.lengths), gathered(ranks, found.mask));
        let mask = mask.into_iter().map(|counts| counts == 1).collect();
        let padding = Padding {
            lengths: named(&arrays, "lengths").map(|_| lengths),
            mask: named(&arrays, "mask").and_then(|_| Array2::from_shape_vec((n, t), mask).ok()),
        };
        let [mut inputs, mut targets] = [None, None];
        for array in arrays {
            match array.name {
                "inputs" => inputs = Some(in_place(array, sizes[0])),
                "targets" => targets = Some(in_place(array, sizes[1])),
                _ => {}
            }
        }
        let (Some(inputs), Some(targets)) = (inputs, targets) else {
            return Self::from_archive(archive);
        };
        let set = Sequences::assembled(inputs, targets, (n, t), padding);
        let (n_x, n_y) = stated.or(set.dims());
        set.with_dims(n_x, n_y).map_err(|e| in_file(path, e))
    }
}

/// An array that stays in its file; of ids, each below `limit`.
fn in_place<T: Scalar>(array: DiskArray, limit: usize) -> SetArray<T> {
    let (rows, width) = (
        (0..array.shape()[0]).collect(),
        array.shape().get(2).copied(),
    );
    let array = Arc::new(array);
    let store = Arc::new(OnDisk { array, rows });
    match width {
        Some(width) => SetArray::Floats { width, store },
        None => SetArray::Ids { limit, store },
    }
}

/// The same rows of each array.
struct Chunk<'a> {
    path: &'a Path,
    arrays: &'a [DiskArray],
    rows: Range<usize>,
    /// The checksum of each array as far as it has been read.
    sums: Vec<Hasher>,
}

/// What a rank has found in its rows.
#[derive(Default)]
struct Found {
    /// `n_x` and `n_y`, as far as the numbers tell.
    sizes: [usize; 2],
    lengths: Vec<usize>,
    mask: Vec<u8>,
}

impl Arrays for Chunk<'_> {
    fn path(&self) -> &Path {
        self.path
    }

    fn names(&self) -> Vec<&str> {
        self.arrays.iter().map(|array| array.name).collect()
    }

    fn read(&mut self, name: &'static str) -> Result<Option<Numbers>> {
        let mut arrays = self.arrays.iter().zip(&mut self.sums);
        let found = arrays.find(|(array, _)| array.name == name);
        let numbers = found.map(|(array, sum)| match has_rows(array) {
            true => array.rows(self.rows.clone(), sum),
            false => array.all(sum),
        });
        numbers.transpose()
    }
}

impl Chunk<'_> {
    /// Checks some rows, as many at a time as there is room for.
    fn check<T: Scalar>(&mut self, rows: Range<usize>, stated: StatedSizes) -> Result<Found> {
        let mut found = Found::default();
        let n = self.arrays[0].shape()[0];
        let at_once = (CHUNK / row_bytes(self.arrays)).max(1);
        for begin in rows.clone().step_by(at_once) {
            self.rows = begin..rows.end.min(begin + at_once);
            let part = assembled::<T>(self)?;
            let (n_x, n_y) = stated.or(part.dims());
            match part.check_sizes(n_x, n_y) {
                // In another part something may count.
                Ok(()) | Err(Error::NothingCounts) => {}
                Err(error) => return Err(in_file(self.path, in_whole_set(error, begin, n))),
            }
            found.sizes = larger(found.sizes, part.dims().into());
            found.lengths.extend(part.lengths().unwrap_or_default());
            let counts = part.mask().into_iter().flatten();
            found.mask.extend(counts.map(|&counts| u8::from(counts)));
        }
        Ok(found)
    }
}

/// What all ranks have found, in the order of their rows.
fn gathered<A: Pod>(ranks: Option<&dyn Ranks>, own: Vec<A>) -> Vec<A> {
    let Some(ranks) = ranks else { return own };
    let of = |rank| {
        let bytes = broadcast_bytes(ranks, cast_slice(&own), rank);
        let numbers = bytes.chunks_exact(size_of::<A>()).map(pod_read_unaligned);
        numbers.collect::<Vec<A>>()
    };
    (0..ranks.size()).flat_map(of).collect()
}

/// Whether an array has a row for each sequence.
fn has_rows(array: &DiskArray) -> bool {
    !matches!(array.name, "n_x" | "n_y")
}

/// The bytes of a sequence in all arrays that have several numbers of it.
fn row_bytes(arrays: &[DiskArray]) -> usize {
    let several = arrays.iter().filter(|array| array.shape().len() > 1);
    several.map(DiskArray::row_bytes).sum()
}

fn named<'a>(arrays: &'a [DiskArray], name: &str) -> Option<&'a DiskArray> {
    arrays.iter().find(|array| array.name == name)
}

/// Whether these arrays are a set of the forms that are read, as far as their shapes and types tell.
fn is_regular(arrays: &[DiskArray]) -> bool {
    let of = |name| named(arrays, name);
    let (Some(inputs), Some(targets)) = (of("inputs"), of("targets")) else {
        return false;
    };
    let has_form = |array: &DiskArray| match array.shape() {
        shape if shape.contains(&0) => false,
        [_, _] => array.layout.is_integer(),
        [_, _, _] => array.layout.is_float(),
        _ => false,
    };
    let is_size =
        |size: &DiskArray| size.layout.is_integer() && size.shape().iter().all(|&n| n == 1);
    has_form(inputs)
        && has_form(targets)
        && inputs.shape()[..2] == targets.shape()[..2]
        && of("lengths").is_none_or(|lengths| {
            lengths.layout.is_integer() && lengths.shape() == &inputs.shape()[..1]
        })
        && of("mask")
            .is_none_or(|mask| !mask.layout.is_float() && mask.shape() == &inputs.shape()[..2])
        && of("n_x").is_none_or(is_size)
        && of("n_y").is_none_or(is_size)
}

/// An error in rows from `begin` on, as one of the set of all `n` rows.
fn in_whole_set(mut error: Error, begin: usize, n: usize) -> Error {
    match &mut error {
        Error::Id { row, .. } => *row += begin,
        Error::Shape { found, .. } => found[0] = n,
        _ => {}
    }
    error
}

fn larger(a: [usize; 2], b: [usize; 2]) -> [usize; 2] {
    [a[0].max(b[0]), a[1].max(b[1])]
}
