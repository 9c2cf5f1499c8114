//! How much memory this process has held.

/// Bytes of physical memory that this process has held at most since [`forget_peak_resident`]; `None` where the system
/// does not say (anywhere but on Linux).
pub fn peak_resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let mut lines = status.lines();
    let line = lines.find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(1024 * kibibytes)
}

/// Starts [`peak_resident`] again from what is held now; `false` where that cannot be done.
pub fn forget_peak_resident() -> bool {
    std::fs::write("/proc/self/clear_refs", "5").is_ok()
}
