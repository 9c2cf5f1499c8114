//! An `.npz` archive and the arrays in it: [`Archive`].
//!
//! Every size that the archive claims is held against the file's, and what is compressed is unpacked once to nowhere,
//! before anything is allocated for an array. Knows nothing of what the arrays mean.

use super::array::{Layout, Numbers, array_error};
use super::on_disk::DiskArray;
use crate::{Error, Result, atomic};
use std::collections::BTreeMap;
use std::io::{self, BufReader, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

/// The most arrays in an archive; a set has six.
const MOST_ENTRIES: usize = 10_000;
/// The arrays that are read may take so many times the bytes of their archive together, unless they take no more than
/// [`SMALL`]. A deflated byte can stand for 1032; a row of one-hot features of 100 tokens compresses to a hundredth.
const MOST_EXPANSION: u64 = 200;
/// Arrays of so many bytes may be unpacked, however small the archive is.
const SMALL: u64 = 8 << 20;

/// An open `.npz` archive.
pub(super) struct Archive<R> {
    pub path: PathBuf,
    zip: ZipArchive<R>,
    /// The bytes of the archive.
    bytes: u64,
    /// The bytes that the arrays take together when they are unpacked.
    unpacked: u64,
    /// Of the arrays that may be read and are there.
    entries: BTreeMap<&'static str, Entry>,
}

/// An array that is as large as its header says.
struct Entry {
    layout: Layout,
    checksum: u32,
    /// Where its elements begin in the file, if they are stored there uncompressed and in C order.
    stored_at: Option<u64>,
}

impl Archive<BufReader<fs_err::File>> {
    /// An archive in a file; if not `unpack`, what is compressed is believed to be as large as it says.
    ///
    /// # Errors
    /// [`Error::Io`] if the file is not there; as [`Archive::new`].
    pub fn open(path: &Path, names: &[&'static str], unpack: bool) -> Result<Self> {
        let (file, _) = atomic::open_ordinary(path)?;
        Self::new(path, BufReader::new(file), names, unpack)
    }

    /// Those of the named arrays that the archive has, to be read in parts; `None` if one of them is compressed or in
    /// Fortran order, for no row of such an array is in one place of the file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn on_disk(&self, names: &[&str]) -> Result<Option<BTreeMap<&'static str, DiskArray>>> {
        let file = Arc::new(fs_err::File::open(&self.path)?);
        let named = self.entries.iter().filter(|(name, _)| names.contains(name));
        let arrays = named.map(|(&name, entry)| {
            let array = DiskArray {
                path: self.path.clone(),
                name,
                file: Arc::clone(&file),
                begin: entry.stored_at?,
                layout: entry.layout.clone(),
                checksum: entry.checksum,
            };
            Some((name, array))
        });
        Ok(arrays.collect())
    }
}

impl<R: Read + Seek> Archive<R> {
    /// The archive that `reader` holds; `path` is what errors call it, `names` the arrays that may be read: each of them
    /// that is there is complete.
    ///
    /// # Errors
    /// [`Error::File`] if it is no zip archive; if one of the arrays is not as large as it says, or holds no numbers.
    pub fn new(path: &Path, mut reader: R, names: &[&'static str], unpack: bool) -> Result<Self> {
        let no_archive = |problem: String| {
            let problem = format!("not an `.npz` archive as `numpy.savez` writes it ({problem})");
            Error::file(path, problem)
        };
        let bytes = reader.seek(io::SeekFrom::End(0))?;
        let zip = ZipArchive::new(reader)
            .map_err(|e| no_archive(format!("{e}; was it copied completely?")))?;
        let found = zip.len();
        if found > MOST_ENTRIES {
            let problem = format!("{found} entries, expected at most {MOST_ENTRIES}");
            return Err(no_archive(problem));
        }
        let mut archive = Archive {
            path: path.to_owned(),
            zip,
            bytes,
            unpacked: 0,
            entries: BTreeMap::new(),
        };
        for &name in names {
            let entry = archive.check_entry(name, unpack);
            let entry = entry.map_err(|problem| array_error(path, name, &problem))?;
            archive.entries.extend(entry.map(|entry| (name, entry)));
        }
        Ok(archive)
    }

    /// Verifies the size that an array claims, in an amount of memory that does not depend on the claim; if `unpack`, a
    /// compressed array is decompressed to nowhere for that.
    fn check_entry(&mut self, name: &str, unpack: bool) -> Result<Option<Entry>, String> {
        let mut entry = match self.zip.by_name(&format!("{name}.npy")) {
            Ok(entry) => entry,
            Err(ZipError::FileNotFound) => return Ok(None),
            Err(e) => return Err(e.to_string()),
        };
        let (size, packed, total) = (entry.size(), entry.compressed_size(), self.bytes);
        let (begin, checksum) = (entry.data_start(), entry.crc32());
        let stored = entry.compression() == CompressionMethod::Stored;
        if packed > total || (stored && size != packed) {
            return Err(format!(
                "the archive claims {size} bytes for it, {packed} of them in a file of {total}: the file is damaged"
            ));
        }
        self.unpacked = self.unpacked.saturating_add(size);
        if self.unpacked > total.saturating_mul(MOST_EXPANSION).max(SMALL) {
            return Err(format!(
                "with it the arrays would grow to {} bytes from an archive of {total}; if that is right, save them \
                 uncompressed, with `numpy.savez`",
                self.unpacked
            ));
        }
        let layout = Layout::read(&mut entry, size)?;
        if unpack && !stored {
            // One byte more is asked for: it shows an entry that is longer than it claims, and makes the reader compare the
            // checksum of an entry that is not.
            let claimed = layout.bytes() as u64;
            let found = io::copy(&mut entry.take(claimed + 1), &mut io::sink())
                .map_err(|e| format!("cannot be read ({e})"))?;
            if found != claimed {
                return Err(format!(
                    "{found} bytes instead of {claimed}: the file is damaged"
                ));
            }
        }
        let in_place = stored && !layout.fortran;
        Ok(Some(Entry {
            stored_at: in_place.then_some(begin + layout.header_len as u64),
            layout,
            checksum,
        }))
    }

    /// The names and checksums of the arrays that the archive was opened for.
    pub fn checksums(&self) -> Vec<u8> {
        let entries = self.entries.iter();
        entries
            .flat_map(|(name, entry)| [name.as_bytes(), &entry.checksum.to_le_bytes()].concat())
            .collect()
    }

    /// The names of the arrays.
    pub fn names(&self) -> Vec<&str> {
        let names = self.zip.file_names();
        names
            .map(|name| name.strip_suffix(".npy").unwrap_or(name))
            .collect()
    }

    /// The form of an array, if there is one of this name among those the archive was opened for.
    pub fn layout(&self, name: &str) -> Option<&Layout> {
        self.entries.get(name).map(|entry| &entry.layout)
    }

    /// The elements of an array, if [`Archive::layout`] has its form.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read.
    pub fn read(&mut self, name: &str) -> Result<Option<Numbers>> {
        let Some(Entry { layout, .. }) = self.entries.get(name) else {
            return Ok(None);
        };
        let entry = self.zip.by_name(&format!("{name}.npy"));
        let entry = entry.map_err(|e| e.to_string());
        let numbers = entry.and_then(|entry| Numbers::read(entry, layout));
        let numbers = numbers.map_err(|problem| array_error(&self.path, name, &problem))?;
        Ok(Some(numbers))
    }
}
