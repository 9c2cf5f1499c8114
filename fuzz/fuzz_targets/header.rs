//! The header of a model file, with as much data behind it as it asks for (if that is little).
#![no_main]

use bptt::model::Model;
use bptt::train::Checkpoint;
use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|header: &[u8]| {
    // The largest number in it is where the data ends, if it is an honest one.
    let digits = header.split(|b| !b.is_ascii_digit());
    let numbers = digits.filter_map(|n| std::str::from_utf8(n).ok()?.parse::<usize>().ok());
    let end = numbers.filter(|&n| n <= 4096).max().unwrap_or(0);
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    bytes.resize(bytes.len() + end, 0);
    let path = Path::new("model.safetensors");
    if let Ok(model) = Model::<f32>::from_bytes(path, &bytes) {
        assert!(model.network.architecture().len() * 4 <= end);
    }
    let _ = Checkpoint::<f32>::from_bytes(path, &bytes);
});
