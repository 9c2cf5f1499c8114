//! The arrays alone: the fuzzer's bytes are the entries of a sound, uncompressed archive, so that checksums and
//! directories do not stand in its way.
//!
//! The first byte of each part says which array it is, the two after it how long the part is.
#![no_main]

use bptt::data::Sequences;
use libfuzzer_sys::fuzz_target;
use std::io::{Cursor, Write};
use std::path::Path;
use zip::CompressionMethod::Stored;
use zip::write::SimpleFileOptions;

const NAMES: [&str; 6] = ["inputs", "targets", "lengths", "mask", "n_x", "n_y"];

fuzz_target!(|bytes: &[u8]| {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(Stored);
    let mut rest = bytes;
    while let Some((&[name, low, high], data)) = rest.split_first_chunk() {
        let (entry, after) = data.split_at(usize::from(u16::from_le_bytes([low, high])).min(data.len()));
        let name = NAMES[usize::from(name) % NAMES.len()];
        if zip.start_file(format!("{name}.npy"), options).is_err() {
            return;
        }
        zip.write_all(entry).unwrap();
        rest = after;
    }
    let Ok(archive) = zip.finish() else { return };
    if let Ok(set) = Sequences::<f64>::from_npz(Path::new("set.npz"), Cursor::new(archive.into_inner())) {
        let (n_x, n_y) = set.dims();
        set.batch().check(bptt::Dims { n_x, n_h: 1, n_y }).unwrap();
    }
});
