//! What tells files apart: [`file_fingerprint`] of all bytes of a file, [`agree`] by a few bytes of several.

use super::listing::Listing;
use crate::partition::even_share;
use crate::ranks::{self, Ranks};
use crate::{Result, atomic};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The bytes that are hashed together for a fingerprint.
const BLOCK: usize = 1 << 20;
/// Places at which ranks compare what they see, and the bytes that they compare at each.
const SAMPLES: usize = 64;
const SAMPLE: u64 = 4096;

/// A number that tells files apart by their bytes: the wrapping sum of a hash of each block and its number. Of several ranks,
/// each reads its part of the file, and all get the number of the whole.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io) or [`Error::File`](crate::Error::File).
pub fn file_fingerprint(path: &Path, ranks: Option<&dyn Ranks>) -> Result<u64> {
    let (mut file, bytes) = atomic::open_ordinary(path)?;
    let blocks = bytes.div_ceil(BLOCK as u64) as usize;
    let own = ranks.map_or(0..blocks, |ranks| {
        even_share(ranks.rank(), ranks.size(), blocks)
    });
    file.seek(SeekFrom::Start((own.start * BLOCK) as u64))?;
    let (mut sum, mut block) = (0, Vec::with_capacity(BLOCK));
    for number in own {
        block.clear();
        (&mut file).take(BLOCK as u64).read_to_end(&mut block)?;
        sum = xxh3_64_with_seed(&block, number as u64).wrapping_add(sum);
    }
    Ok(ranks.map_or(sum, |ranks| ranks::sum_of_values(ranks, sum)))
}

/// Whether all ranks see the same files: as many, of the same sizes, with the same bytes at [`SAMPLES`] places. A rank that
/// reads a part of the bytes cannot know more of the rest.
///
/// # Errors
/// [`Error::Ranks`](crate::Error::Ranks) if not; [`Error::Io`](crate::Error::Io) or [`Error::File`](crate::Error::File) for
/// a file that several ranks cannot read, as a pipe.
pub(super) fn check_equal(listing: &Listing, ranks: &dyn Ranks) -> Result<()> {
    let mut seen = Vec::new();
    for file in &listing.files {
        atomic::open_ordinary(&file.path)?;
        seen.extend(file.bytes.to_le_bytes());
    }
    for i in 0..SAMPLES {
        for (number, part) in listing.share(i, SAMPLES).into_iter().take(1) {
            let mut file = fs_err::File::open(&listing.files[number].path)?;
            file.seek(SeekFrom::Start(part.start))?;
            let bytes = (part.end - part.start).min(SAMPLE);
            file.take(bytes).read_to_end(&mut seen)?;
        }
    }
    ranks::check_equal(ranks, "other data", &seen)
}
