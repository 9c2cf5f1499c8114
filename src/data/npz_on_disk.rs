//! Sequences that stay in their `.npz` file, and are read whenever a window needs them: [`Sequences::open_npz`].
//!
//! Of a set that several ranks share, each rank reads the rows that are its own, and holds no more than a window of them.
//! What numbers are in the file is checked once, by each rank for its part, before anything is trained on them. That takes
//! arrays whose rows are in one place, as `numpy.savez` writes them; a file of `numpy.savez_compressed` is read whole by
//! every rank.

use super::archive::Archive;
use super::array::Layout;
use super::fingerprint;
use super::listing::Listing;
use super::npz::{ARRAYS, Form, ROWS};
use super::on_disk::DiskArray;
use super::owned::Unlike;
use super::padding::Padding;
use super::sequences::Sequences;
use super::store::SetArray;
use crate::partition::even_share;
use crate::ranks::{self, Ranks, broadcast_values, gather_values};
use crate::{Result, Scalar};
use bytemuck::Pod;
use crc32fast::Hasher;
use ndarray::Array2;
use std::collections::BTreeMap;
use std::path::Path;

/// Bytes of inputs and targets that are checked at a time.
const CHUNK: usize = 16 << 20;

impl<T: Scalar> Sequences<T> {
    /// The most bytes of memory that [`Sequences::open_npz`] takes, by the headers of the file.
    ///
    /// # Errors
    /// As [`Sequences::read_npz`].
    pub fn open_npz_memory(path: &Path) -> Result<f64> {
        let mut archive = Archive::open(path, &ARRAYS, false)?;
        let Form { n, t, .. } = Form::of(&mut archive)?;
        Ok(match archive.on_disk(&ROWS)? {
            None => Self::npz_memory(path, true)?,
            Some(arrays) => {
                // A chunk, as it is read and as it is checked, where one byte becomes an id of four or a number. For each
                // sequence, the mask in two forms, and five numbers: its row in the arrays, lengths, its place in an epoch.
                let per_sequence = 2 * t + 5 * size_of::<usize>();
                (2 + size_of::<T>()) as f64 * row_bytes(&arrays).max(CHUNK) as f64
                    + n as f64 * per_sequence as f64
            }
        })
    }

    /// The sequences of an `.npz` file, as [`Sequences::read_npz`] checks them, which stay there as far as they can:
    /// uncompressed and in C order. Of several ranks, each checks its part.
    ///
    /// # Errors
    /// As [`Sequences::read_npz`]; [`Error::Ranks`](crate::Error::Ranks) if the ranks see files of other sizes or checksums, or
    /// other bytes at the places that they compare.
    pub fn open_npz(path: &Path, ranks: Option<&dyn Ranks>) -> Result<Self> {
        if let Some(ranks) = ranks {
            fingerprint::check_equal(&Listing::of(&[path.to_owned()])?, ranks)?;
        }
        let mut archive = Archive::open(path, &ARRAYS, true)?;
        if let Some(ranks) = ranks {
            ranks::check_equal(ranks, "other data", &archive.checksums())?;
        }
        let form = Form::of(&mut archive)?;
        let Some(mut arrays) = archive.on_disk(&ROWS)? else {
            return Self::from_archive(archive);
        };
        let own = ranks.map_or(0..form.n, |ranks| {
            even_share(ranks.rank(), ranks.size(), form.n)
        });
        // What this rank finds in its rows, as many at a time as there is room for.
        let mut sums = vec![Hasher::new(); arrays.len()];
        let (mut sizes, mut lengths, mut mask) = ([0; 2], Vec::new(), Vec::new());
        let mut unlike = Unlike::default();
        let at_once = (CHUNK / row_bytes(&arrays)).max(1);
        for begin in own.clone().step_by(at_once) {
            let rows = begin..own.end.min(begin + at_once);
            let parts = arrays.iter().zip(&mut sums);
            let parts =
                parts.map(|((&name, array), sum)| Ok((name, array.rows(rows.clone(), sum)?)));
            let part = form.sequences::<T>(parts.collect::<Result<_>>()?)?;
            sizes = larger(sizes, part.dims().into());
            lengths.extend(part.lengths().unwrap_or_default());
            match part.mask() {
                Some(part) => mask.extend(part.iter().map(|&counts| u8::from(counts))),
                None => mask.resize(mask.len() + part.len() * form.answers, 1),
            }
            unlike = unlike.or(part.unlike);
        }
        for (array, sum) in arrays.values().zip(sums) {
            let bytes = (own.len() * array.layout.row_bytes()) as u64;
            let part = [sum.finalize().into(), bytes];
            let parts = ranks.map_or(vec![part], |ranks| gather_values(ranks, part));
            array.verify(parts.into_iter().map(|[sum, bytes]| (sum as u32, bytes)))?;
        }
        let sizes = gathered(ranks, vec![sizes]).into_iter().fold(sizes, larger);
        let (lengths, mask) = (gathered(ranks, lengths), gathered(ranks, mask));
        let unlike = ranks.map_or(unlike.clone(), |ranks| unlike.of_all(ranks));
        // Where no array says so, some classes may say that their steps do not count.
        let all = !arrays.contains_key("mask") && !mask.contains(&0);
        let mask = mask.into_iter().map(|counts| counts == 1).collect();
        let mask = Array2::from_shape_vec((form.n, form.answers), mask);
        let padding = Padding {
            lengths: (!lengths.is_empty()).then_some(lengths),
            mask: mask.ok().filter(|_| !all),
        };
        let mut in_file = |name, width, size| {
            let array = arrays.remove(name).expect("an array that is required");
            SetArray::in_file(array, width, size)
        };
        let arrays = [
            in_file("inputs", form.width_x, sizes[0]),
            in_file("targets", form.width_y, sizes[1]),
        ];
        let mut set = Sequences::assembled(arrays, (form.n, form.t), form.answers, padding);
        set.unlike = unlike;
        form.with_stated_sizes(set)
    }
}

/// What all ranks have found, in the order of their rows.
fn gathered<A: Pod>(ranks: Option<&dyn Ranks>, own: Vec<A>) -> Vec<A> {
    let Some(ranks) = ranks else { return own };
    let of = |rank| broadcast_values(ranks, &own, rank);
    (0..ranks.size()).flat_map(of).collect()
}

/// The bytes of a sequence in all arrays that have several numbers of it.
fn row_bytes(arrays: &BTreeMap<&str, DiskArray>) -> usize {
    let layouts = arrays.values().map(|array| &array.layout);
    let several = layouts.filter(|layout| layout.shape.len() > 1);
    several.map(Layout::row_bytes).sum()
}

fn larger(a: [usize; 2], b: [usize; 2]) -> [usize; 2] {
    [a[0].max(b[0]), a[1].max(b[1])]
}
