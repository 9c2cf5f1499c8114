//! A set of sequences: the archive and the arrays in it.
#![no_main]

use bptt::data::Sequences;
use libfuzzer_sys::fuzz_target;
use std::io::Cursor;
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(set) = Sequences::<f32>::from_npz(Path::new("set.npz"), Cursor::new(bytes)) {
        // What is accepted holds together.
        let (_, n_y) = set.dims();
        set.check(set.input(), n_y).unwrap();
        assert_eq!(set.batch().map(|batch| batch.counted()), Some(set.counted()));
        assert!(set.counted() > 0 && set.len() > 0 && set.steps() > 0);
    }
});
