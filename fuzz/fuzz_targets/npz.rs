//! A set of sequences: the archive and the arrays in it.
#![no_main]

use bptt::data::{Loader, Sequences};
use libfuzzer_sys::fuzz_target;
use std::io::Cursor;
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(set) = Sequences::<f32>::from_npz(Path::new("set.npz"), Cursor::new(bytes)) {
        // What is accepted holds together.
        set.check(set.input(), set.head()).unwrap();
        assert!(set.counted() > 0 && set.len() > 0 && set.steps() > 0);
        let all = set.counted();
        let mut loader = Loader::evaluation_sequences(set).unwrap();
        let windows = 0..loader.windows_per_epoch();
        assert_eq!(
            windows.map(|_| loader.next().unwrap().counted).sum::<u64>(),
            all
        );
    }
});
