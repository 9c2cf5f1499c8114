//! Whether this machine has the memory that sizes ask for: a size that is absurd, or only too large, is to be refused
//! by name before the system ends the program for it.

use anyhow::{Result, bail};
use bptt::data::Loader;
use bptt::internal::blas;
use bptt::internal::measure::bytes_of;
use bptt::optim::Algorithm;
use bptt::train::Trainer;
use bptt::{Architecture, Engine, EngineOptions, Scalar};
use indicatif::DecimalBytes;
use rustix::process::{Resource, getrlimit};
use std::fs::read_to_string;
use std::path::{Path, PathBuf};

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
    if let Some(available) = available().filter(|&available| bytes > available) {
        let (bytes, available) = (size(bytes), size(available));
        bail!("{what} needs {bytes} of memory, this machine has {available} to give: {cure}");
    }
    Ok(())
}

/// Refuses to train a network whose weights do not fit; `cure` says what to choose smaller.
pub fn check_weights<T: Scalar>(
    network: &Architecture,
    algorithm: Algorithm,
    engine: EngineOptions,
    cure: &str,
) -> Result<()> {
    // All copies of them: the present ones, the sum of their gradients, the best ones, the ones to go back to, the gradients of
    // each shard, and the optimiser's moments twice. Without the activations.
    let copies = 5 + 2 * algorithm.moments() + engine.shards;
    let bytes = network.parameters() * copies as f64 * size_of::<T>() as f64;
    let callers = engine.threads.min(engine.shards);
    check(bytes, callers, &format!("training {network}"), cure)
}

/// Of a loader's largest window the steps of each row and the bytes of the arrays, and its shape: by these a step takes more than
/// the weights.
pub type Window = (Vec<usize>, usize, (usize, usize));

pub fn window<T: Scalar>(loader: &Loader<T>) -> Window {
    let rows = loader.largest_window();
    let arrays = loader.window_bytes(rows.len());
    (rows, arrays, loader.shape())
}

/// Refuses to train and validate on windows that do not fit; `cure` says what to choose smaller.
pub fn check_steps<T: Scalar>(
    trainer: &Trainer<T>,
    algorithm: Algorithm,
    windows: [Option<Window>; 2],
    cure: &str,
) -> Result<()> {
    let (engine, network) = (trainer.engine(), trainer.network().architecture());
    // The optimiser's moments are not yet touched, so they come on top of what is taken already.
    let moments = network.len() * algorithm.moments() * size_of::<T>();
    for (what, window) in ["a step on", "validating"].into_iter().zip(windows) {
        let Some((rows, arrays, (n, t))) = window else {
            continue;
        };
        let bytes = arrays + moments + engine.bytes_of(&rows)?;
        let what = format!("{what} {n} sequences of {t} steps");
        check(bytes as f64, engine.threads(), &what, cure)?;
    }
    Ok(())
}

/// Refuses to predict more numbers than there is room for.
pub fn check_predicting<T: Scalar>(engine: &Engine<T>, (n, t): (usize, usize)) -> Result<()> {
    let head = engine.architecture().head;
    let what = format!(
        "predicting [{n}, {}, {}] numbers",
        head.at.answers(t),
        head.outputs
    );
    let cure = "give fewer or shorter sequences at a time";
    check(engine.bytes_in_parts(n, t)?, engine.threads(), &what, cure)
}

/// Refuses limits under which the program could do nothing at all.
pub fn check_program() -> Result<()> {
    check_limits(PROGRAM, 1, "bptt", "start it without such limits")
}

/// Refuses to read a file that takes so many bytes of memory.
pub fn check_reading(path: &Path, bytes: f64, cure: &str) -> Result<()> {
    check(bytes, 1, &format!("reading {}", path.display()), cure)
}

/// Refuses what does not fit into the limits of this process. Where a buffer is refused, OpenBLAS asks for it again, for ever.
fn check_limits(bytes: f64, callers: usize, what: &str, cure: &str) -> Result<()> {
    let status = read_to_string("/proc/self/status").unwrap_or_default();
    // Bytes that may still be taken within a limit, of what is taken as this field says.
    let room = |(resource, field)| {
        let taken = bytes_of(&status, field)?;
        Some(getrlimit(resource).current?.saturating_sub(taken) as f64)
    };
    let limits = [(Resource::As, "VmSize:"), (Resource::Data, "VmData:")];
    let Some(room) = limits.into_iter().filter_map(room).reduce(f64::min) else {
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

/// Bytes that can be had: free memory and swap, within the limits of the control groups.
fn available() -> Option<f64> {
    let info = read_to_string("/proc/meminfo").ok()?;
    let swap = bytes_of(&info, "SwapFree:").unwrap_or(0);
    let free = bytes_of(&info, "MemAvailable:")? + swap;
    let rooms = groups().into_iter().filter_map(room);
    Some(rooms.fold(free as f64, f64::min))
}

/// The folders of the control groups with a limit on memory that this process is in, of both versions, from its own group to
/// the root of the mount: a batch system sets the limit of a job on a group between the two.
fn groups() -> Vec<PathBuf> {
    let own = read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut groups = Vec::new();
    // `4:memory:/job` of version 1, `0::/job` of version 2.
    for line in own.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let mount = match controllers {
            "" => "/sys/fs/cgroup",
            v1 if v1.split(',').any(|name| name == "memory") => "/sys/fs/cgroup/memory",
            _ => continue,
        };
        let own = Path::new(mount).join(path.trim_start_matches('/'));
        let up = own.ancestors().take_while(|group| group.starts_with(mount));
        groups.extend(up.map(Path::to_owned));
    }
    groups
}

/// What the limit of a control group leaves: without what the group uses already, but for files that are kept only as long as
/// nobody needs the memory.
fn room(group: PathBuf) -> Option<f64> {
    let number =
        |file: &str| -> Option<f64> { read_to_string(group.join(file)).ok()?.trim().parse().ok() };
    let limit = number("memory.max").or_else(|| number("memory.limit_in_bytes"))?;
    let used = number("memory.current").or_else(|| number("memory.usage_in_bytes"));
    let stat = read_to_string(group.join("memory.stat")).unwrap_or_default();
    let mut lines = stat.lines();
    let cached = lines.find_map(|line| line.strip_prefix("inactive_file ")?.parse().ok());
    Some(limit - (used.unwrap_or(0.0) - cached.unwrap_or(0.0)).max(0.0))
}

fn size(bytes: f64) -> DecimalBytes {
    DecimalBytes(bytes as u64)
}
