//! Whether this machine has the memory that sizes ask for: a size that is absurd, or only too large, is to be refused
//! by name before the system ends the program for it.

use anyhow::{Result, bail};
use bptt::data::{Loader, Sequences};
use bptt::internal::blas;
use bptt::optim::Algorithm;
use bptt::{Architecture, Engine, Scalar};
use std::path::Path;

/// Bytes of address space that OpenBLAS takes for each thread that calls it, and for each of its own.
const BLAS_BUFFER: usize = 128 << 20;
/// Bytes of address space for a thread: its stack, and what its allocations are taken from.
const THREAD: usize = 72 << 20;
/// What the program takes before it has anything to do.
const PROGRAM: f64 = 16e6;

/// Refuses what takes more memory than there is. Where the system does not say how much that is, refuses nothing.
///
/// `what` says what takes it, with so many threads that call OpenBLAS, and `cure` what to do about it.
pub fn check(bytes: f64, callers: usize, what: &str, cure: &str) -> Result<()> {
    check_limits(bytes, callers, what, cure)?;
    match available() {
        Some(available) if bytes > available => bail!(
            "{what} needs {} of memory, this machine has {} to give: {cure}",
            size(bytes),
            size(available)
        ),
        _ => Ok(()),
    }
}

/// Refuses limits under which the program could do nothing at all.
pub fn check_program() -> Result<()> {
    check_limits(PROGRAM, 1, "bptt", "start it without such limits")
}

/// Refuses what does not fit into the limits of this process. Where a buffer is refused, OpenBLAS asks for it again, for ever.
fn check_limits(bytes: f64, callers: usize, what: &str, cure: &str) -> Result<()> {
    let Some(room) = room_within_limits() else {
        return Ok(());
    };
    // Its own threads may have their buffers already, or not.
    let own = match blas::library().flavour {
        blas::Flavour::Pthread => blas::num_threads().saturating_sub(1),
        _ => 0,
    };
    let threads = (callers * (BLAS_BUFFER + THREAD) + own * BLAS_BUFFER) as f64;
    if bytes + threads > room {
        bail!(
            "{what} needs {} of memory and room of {} for {callers} + {own} threads of ours and of OpenBLAS; the limits of \
             this process leave {}: raise `ulimit -v` and `ulimit -d`, use fewer --threads with OPENBLAS_NUM_THREADS=1 in \
             the environment, or {cure}",
            size(bytes),
            size(threads),
            size(room)
        );
    }
    Ok(())
}

/// Bytes that this process may still take within the limits that it was started with; `None` where there are none.
fn room_within_limits() -> Option<f64> {
    use rustix::param::page_size;
    use rustix::process::{Resource, getrlimit};
    let taken = |field: usize| -> Option<u64> {
        let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
        let pages: u64 = pages.split_whitespace().nth(field)?.parse().ok()?;
        Some(pages * page_size() as u64)
    };
    let room = |resource, field| {
        let limit = getrlimit(resource).current?;
        Some(limit.saturating_sub(taken(field)?) as f64)
    };
    let rooms = [room(Resource::As, 0), room(Resource::Data, 5)];
    rooms.into_iter().flatten().reduce(f64::min)
}

/// What weights of these sizes take in training: the present ones, their sum of gradients, the best, the last good ones
/// and those of each shard, with what the optimiser remembers. Without the activations.
pub fn of_weights<T: Scalar>(network: &Architecture, algorithm: Algorithm, shards: usize) -> f64 {
    let copies = 5 + 2 * algorithm.moments() + shards;
    network.parameters() * copies as f64 * size_of::<T>() as f64
}

/// What the largest window of a loader asks for.
pub struct WindowSize {
    /// The steps of its rows.
    lengths: Vec<usize>,
    /// The bytes of its arrays.
    arrays: usize,
}

impl WindowSize {
    pub fn of<T: Scalar>(loader: &Loader<T>) -> Self {
        let lengths = loader.largest_window();
        WindowSize {
            arrays: loader.window_bytes(lengths.len()),
            lengths,
        }
    }

    /// The bytes of a step on it: its arrays, and the engine's scratch and gradients.
    pub fn bytes<T: Scalar>(&self, engine: &Engine<T>) -> bptt::Result<usize> {
        Ok(self.arrays + engine.bytes_of(&self.lengths)?)
    }
}

/// Refuses a model file that does not fit: as it is, and its values in double precision at most.
pub fn check_model(path: &Path) -> Result<()> {
    let bytes = fs_err::metadata(path)?.len();
    let what = format!("reading {}", path.display());
    check(3.0 * bytes as f64, 1, &what, "use a smaller model")
}

/// Refuses an `.npz` file whose arrays do not fit: a compressed one may be small.
pub fn check_npz<T: Scalar>(path: &Path, targets: bool) -> Result<()> {
    let what = format!("reading {}", path.display());
    let bytes = Sequences::<T>::npz_memory(path, targets)?;
    check(bytes, 1, &what, "use fewer or shorter sequences")
}

/// The same for one whose arrays stay in it as far as they can.
pub fn check_open_npz<T: Scalar>(path: &Path) -> Result<()> {
    let what = format!("reading {}", path.display());
    let bytes = Sequences::<T>::open_npz_memory(path)?;
    check(bytes, 1, &what, "use fewer or shorter sequences")
}

/// Bytes that can be had: free memory and swap, within the limit of the control group.
fn available() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kilobytes = |name: &str| -> Option<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let free = 1024.0 * (kilobytes("MemAvailable:")? + kilobytes("SwapFree:").unwrap_or(0.0));
    let limits = [
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ];
    let limit = |path| std::fs::read_to_string(path).ok()?.trim().parse().ok();
    Some(limits.into_iter().filter_map(limit).fold(free, f64::min))
}

/// `12345678` as `12 MB`.
fn size(bytes: f64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    let (mut value, mut unit) = (bytes / 1e3, 0);
    while value >= 1e3 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1e3, unit + 1);
    }
    let decimals = usize::from(value < 9.95);
    format!("{value:.decimals$} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;
    use bptt::{Head, Input};

    #[test]
    fn absurd_sizes_are_refused_with_what_to_do() {
        let largest = Architecture::new(Input::Features(1 << 24), 1 << 24, Head::softmax(1 << 24));
        let bytes = of_weights::<f64>(&largest, Algorithm::Adam, 1 << 16);
        if available().is_some() {
            let error = check(bytes, 1, "it", "ask for less")
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("EB of memory") && error.contains("ask for less"),
                "{error}"
            );
        }
        let small = Architecture::new(Input::Tokens(100), 256, Head::softmax(100));
        check(of_weights::<f32>(&small, Algorithm::Adam, 8), 1, "it", "").unwrap();
        assert_eq!(
            of_weights::<f32>(
                &Architecture::new(Input::Features(1), 2, Head::softmax(3)),
                Algorithm::Gd,
                1
            ),
            24.0 * 17.0
        );
    }

    #[test]
    fn sizes_are_short() {
        let texts = [1.0e3, 9.96e6, 123_456.0, 5.5e12, 1e25].map(size);
        assert_eq!(
            texts,
            ["1.0 kB", "10 MB", "123 kB", "5.5 TB", "10000000 EB"]
        );
    }
}
