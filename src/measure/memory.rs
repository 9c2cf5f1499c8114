//! How much memory this process has held.

/// Bytes of physical memory that this process has held at most since [`forget_peak_resident`]; `None` where the system
/// does not say (anywhere but on Linux).
pub fn peak_resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(1024 * kibibytes)
}

/// Starts [`peak_resident`] again from what is held now; `false` where that cannot be done.
pub fn forget_peak_resident() -> bool {
    std::fs::write("/proc/self/clear_refs", "5").is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The peak rises with what is touched, and is forgotten when asked.
    #[cfg(target_os = "linux")]
    #[test]
    fn peaks_are_seen_and_forgotten() {
        const BYTES: usize = 200 << 20;
        if !forget_peak_resident() {
            eprintln!("skipped: this system does not let a process forget its peak");
            return;
        }
        let before = peak_resident().unwrap();
        drop(std::hint::black_box(vec![1u8; BYTES]));
        let peak = peak_resident().unwrap();
        assert!(peak >= before + BYTES as u64 / 2, "{before} {peak}");
        assert!(forget_peak_resident());
        let after = peak_resident().unwrap();
        assert!(after <= peak - BYTES as u64 / 2, "{after} {peak}");
    }
}
