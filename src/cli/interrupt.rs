//! Ctrl-C, SIGTERM, SIGHUP, and SIGUSR1 and SIGXCPU, by which batch systems warn: the first asks a run to end, the second ends
//! the program.
//!
//! Before there is anything to save, the first one ends the program too. A signal that whoever started the program had
//! it ignore (`nohup`, a shell's background jobs) stays ignored.

use super::output::Host;
use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXCPU, SIGXFSZ};
use signal_hook::flag;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether somebody wants the run to end.
pub struct Interrupt {
    wanted: Arc<AtomicBool>,
    /// Whether the next signal ends the program.
    at_once: Arc<AtomicBool>,
    /// Whoever listens to signals in place of the program.
    host: Option<&'static dyn Host>,
}

impl Interrupt {
    /// Listens from now on, unless a host does.
    pub fn listen(host: Option<&'static dyn Host>) -> Result<Self> {
        let interrupt = Interrupt {
            wanted: Arc::default(),
            at_once: Arc::new(AtomicBool::new(true)),
            host,
        };
        let ignored = ignored_signals();
        for signal in [SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGXCPU] {
            if host.is_none() && ignored & (1 << (signal - 1)) == 0 {
                interrupt.on(signal).context("cannot listen to signals")?;
            }
        }
        Ok(interrupt)
    }

    /// Handlers run in the order of registration: end if this is the second, else let the next one be.
    fn on(&self, signal: i32) -> std::io::Result<()> {
        let status = super::INTERRUPTED.into();
        flag::register_conditional_shutdown(signal, status, self.at_once.clone())?;
        flag::register(signal, self.at_once.clone())?;
        flag::register(signal, self.wanted.clone())?;
        Ok(())
    }

    /// From now on there is something to save: the first signal only asks.
    pub fn now_ask_first(&self) {
        self.at_once.store(false, Ordering::SeqCst);
    }

    pub fn is_wanted(&self) -> bool {
        let by_host = self.host.is_some_and(Host::is_interrupted);
        by_host || self.wanted.load(Ordering::Relaxed)
    }
}

/// Over a limit on the size of files, a write is to fail, not the program to die without a word.
pub fn outlive_file_limits() -> Result<()> {
    let nobody_reads = Arc::default();
    flag::register(SIGXFSZ, nobody_reads).context("cannot listen to signals")?;
    Ok(())
}

/// The signals this process was started to ignore, a bit each; none where the system does not say.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut lines = status.lines();
    let mask = lines.find_map(|line| line.strip_prefix("SigIgn:"));
    u64::from_str_radix(mask.unwrap_or("0").trim(), 16).unwrap_or(0)
}
