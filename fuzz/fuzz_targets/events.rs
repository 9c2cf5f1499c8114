//! The event file of a run folder from a stranger.
//!
//! The first byte says whether the rest is the file, or events (each ended by a byte 255) whose checksums are right.
#![no_main]

use bptt::train::tensorboard::TensorBoard;
use crc::{CRC_32_ISCSI, Crc};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());

fn masked_checksum(bytes: &[u8]) -> [u8; 4] {
    let sum = Crc::<u32>::new(&CRC_32_ISCSI).checksum(bytes);
    sum.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&first, rest)) = bytes.split_first() else {
        return;
    };
    let mut file = Vec::new();
    if first & 1 == 0 {
        file.extend(rest);
    } else {
        for event in rest.split(|&byte| byte == 255) {
            let length = (event.len() as u64).to_le_bytes();
            file.extend(length);
            file.extend(masked_checksum(&length));
            file.extend(event);
            file.extend(masked_checksum(event));
        }
    }
    let path = FOLDER.path().join("events.out.tfevents.bptt");
    std::fs::write(&path, &file).unwrap();
    match TensorBoard::open(FOLDER.path(), &[]) {
        // What is kept is the beginning of what was there, and is accepted again.
        Ok(_) => {
            let kept = std::fs::read(&path).unwrap();
            assert!(file.is_empty() || file.starts_with(&kept));
            TensorBoard::open(FOLDER.path(), &[]).unwrap();
        }
        Err(_) => assert_eq!(std::fs::read(&path).unwrap(), file),
    }
});
