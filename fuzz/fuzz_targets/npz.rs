//! A set of sequences: the archive and the arrays in it.
#![no_main]

use bptt::data::Sequences;
use libfuzzer_sys::fuzz_target;
use std::io::Cursor;
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(set) = Sequences::<f32>::from_npz(Path::new("set.npz"), Cursor::new(bytes)) {
        // What is accepted holds together.
        let (n_x, n_y) = set.dims();
        let dims = bptt::Dims { n_x, n_h: 1, n_y };
        set.batch().check(dims).unwrap();
        assert!(set.counted() > 0 && set.len() > 0 && set.steps() > 0);
    }
});
