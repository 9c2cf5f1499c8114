//! How much memory this process has held.

use std::fs::{read_to_string, write};

/// Bytes of physical memory that this process has held at most since [`forget_peak_resident`]; `None` where the system
/// does not say (anywhere but on Linux).
pub fn peak_resident() -> Option<u64> {
    bytes_of(&read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// Starts [`peak_resident`] again from what is held now; `false` where that cannot be done.
pub fn forget_peak_resident() -> bool {
    write("/proc/self/clear_refs", "5").is_ok()
}

/// The bytes that a field of a file of `/proc` says, which counts in kilobytes.
pub fn bytes_of(text: &str, field: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(field))?;
    let kilobytes: u64 = rest.split_whitespace().next()?.parse().ok()?;
    Some(1024 * kilobytes)
}
