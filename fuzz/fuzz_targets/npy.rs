//! The arrays alone: the fuzzer's bytes are the entries of a sound, uncompressed archive, so that checksums and
//! directories do not stand in its way. Read as a whole and from the file, they are the same set or the same error.
//!
//! The first byte of each part says which array it is, the two after it how long the part is.
#![no_main]

use bptt::At;
use bptt::data::{Loader, Sequences};
use libfuzzer_sys::fuzz_target;
use std::io::{Cursor, Write};
use zip::CompressionMethod::Stored;
use zip::write::SimpleFileOptions;

const NAMES: [&str; 6] = ["inputs", "targets", "lengths", "mask", "n_x", "n_y"];

fuzz_target!(|bytes: &[u8]| {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(Stored);
    let mut rest = bytes;
    while let Some((&[name, low, high], data)) = rest.split_first_chunk() {
        let (entry, after) =
            data.split_at(usize::from(u16::from_le_bytes([low, high])).min(data.len()));
        let name = NAMES[usize::from(name) % NAMES.len()];
        if zip.start_file(format!("{name}.npy"), options).is_err() {
            return;
        }
        zip.write_all(entry).unwrap();
        rest = after;
    }
    let Ok(archive) = zip.finish() else { return };
    let archive = archive.into_inner();
    let mut file = tempfile::NamedTempFile::new_in("/dev/shm").unwrap();
    file.write_all(&archive).unwrap();
    let read = Sequences::<f64>::from_npz(file.path(), Cursor::new(archive));
    let opened = Sequences::<f64>::open_npz(file.path(), None);
    match (read, opened) {
        (Ok(read), Ok(opened)) => {
            read.check(read.input(), read.head()).unwrap();
            assert_eq!((read.dims(), read.head()), (opened.dims(), opened.head()));
            let window = |set: Sequences<f64>| {
                let steps = (set.at() == At::Every).then_some(4);
                let mut loader = Loader::sequences(set, 3, steps, 1).unwrap();
                format!("{:?}", loader.next().unwrap().batch)
            };
            assert_eq!(window(read), window(opened));
        }
        (Err(read), Err(opened)) => assert_eq!(read.to_string(), opened.to_string()),
        (read, opened) => panic!("read: {read:?}, opened: {opened:?}"),
    }
});
