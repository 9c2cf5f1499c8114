//! Several processes that train one network together: [`Ranks`], what the engine asks of whatever connects them.
//!
//! Every rank has some of the shards and computes their part of the gradient; the parts are added up, and every rank
//! makes the same update. Each needs no more of the data than its own sequences ([`crate::data::Corpus::read_part`],
//! [`crate::data::Sequences::open_npz`]). [`crate::Engine::join`] makes an engine one of several; the feature `mpi` has the
//! connection that clusters use.
//!
//! # The order of the sum
//! A single process adds the gradients of its shards from the first to the last, `((g_0 + g_1) + g_2) + ...`. With
//! [`Reduction::Ordered`], ranks do just that: the first adds up its shards and hands the sum to the second, which adds
//! its own one by one, and so on; the last sends the total to all. Segment after segment of the flat gradient goes along
//! the chain, so that all ranks work at once. [`Reduction::Fast`] adds each rank's shards up and leaves the rest to the
//! connection, whose order is its own.

#[cfg(feature = "mpi")]
pub mod mpi;

pub use crate::kernels::number::Values;
use crate::{Error, Result};
use bytemuck::{Pod, cast_slice, cast_slice_mut};
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use xxhash_rust::xxh3::xxh3_64;

/// A connection among `size` processes, of which this is `rank`.
///
/// All ranks make the same calls in the same order. A connection that fails does not come back: it ends the process, for
/// the others cannot go on without it.
pub trait Ranks: Debug + Send + Sync {
    /// Which one this is, from 0.
    fn rank(&self) -> usize;
    /// How many there are.
    fn size(&self) -> usize;
    /// To one other rank, which [`Ranks::receive`]s as many.
    fn send(&self, bytes: &[u8], to: usize);
    /// From one other rank.
    fn receive(&self, bytes: &mut [u8], from: usize);
    /// What `from` has, to all.
    fn broadcast(&self, bytes: &mut [u8], from: usize);
    /// What each rank has, `counts[rank]` bytes, to all, one after another.
    fn all_gather(&self, own: &[u8], counts: &[usize], all: &mut [u8]);
    /// The sum of what all have, to all: the same bits everywhere, added in whatever order.
    fn sum(&self, values: Values<'_>);
    /// Whether any thread may make these calls, one at a time; else that which made the connection.
    fn takes_any_thread(&self) -> bool {
        true
    }
}

/// In which order the ranks' gradients are added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reduction {
    /// That of the shards, so that the result is that of one process with as many shards, to the bit.
    #[default]
    Ordered,
    /// As the connection does it fastest; the result differs by rounding.
    Fast,
}

/// How many processes a launcher says it started, if one started this: `mpirun` of Open MPI or MPICH, or `srun`.
pub fn launched_processes() -> Option<usize> {
    let number = |name| std::env::var(name).ok()?.parse().ok();
    let sizes = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE"];
    sizes.into_iter().find_map(number).or_else(|| {
        // Whoever starts processes by PMIx alone need not say how many; `srun` does.
        std::env::var_os("PMIX_RANK")?;
        Some(number("SLURM_STEP_NUM_TASKS").unwrap_or(1))
    })
}

/// Ranks as an engine uses them.
#[derive(Clone, Debug)]
pub(crate) struct Communicator {
    pub ranks: Arc<dyn Ranks>,
    pub reduction: Reduction,
    /// Nanoseconds spent in communication.
    waited: Arc<AtomicU64>,
}

impl Communicator {
    pub fn new(ranks: Arc<dyn Ranks>, reduction: Reduction) -> Self {
        Communicator {
            ranks,
            reduction,
            waited: Arc::default(),
        }
    }

    /// The time in communication since this was asked for last.
    pub fn take_waited(&self) -> Duration {
        Duration::from_nanos(self.waited.swap(0, Ordering::Relaxed))
    }

    /// Communicates, and counts the time that it takes.
    pub fn timed<R>(&self, communicate: impl FnOnce(&dyn Ranks) -> R) -> R {
        let begin = Instant::now();
        let found = communicate(&*self.ranks);
        let nanoseconds = begin.elapsed().as_nanos() as u64;
        self.waited.fetch_add(nanoseconds, Ordering::Relaxed);
        found
    }

    /// What every rank has, one after another; `count` says how many numbers a rank has.
    pub fn all_gather<T: Pod>(&self, own: &[T], count: impl Fn(usize) -> usize, all: &mut [T]) {
        let bytes = |rank| count(rank) * size_of::<T>();
        let counts: Vec<_> = (0..self.ranks.size()).map(bytes).collect();
        self.timed(|ranks| ranks.all_gather(cast_slice(own), &counts, cast_slice_mut(all)));
    }

    /// Whether any rank says so.
    pub fn any_rank(&self, own: bool) -> bool {
        self.timed(|ranks| gather_values(ranks, u8::from(own)).contains(&1))
    }
}

/// A number of each rank.
pub fn gather_values<T: Pod>(ranks: &dyn Ranks, own: T) -> Vec<T> {
    let mut all = vec![T::zeroed(); ranks.size()];
    let counts = vec![size_of::<T>(); ranks.size()];
    ranks.all_gather(cast_slice(&[own]), &counts, cast_slice_mut(&mut all));
    all
}

/// The bytes that rank `from` gives, on every rank; what other ranks give is ignored.
pub fn broadcast_bytes(ranks: &dyn Ranks, own: &[u8], from: usize) -> Vec<u8> {
    broadcast_values(ranks, own, from)
}

/// [`broadcast_bytes`] of numbers.
pub(crate) fn broadcast_values<T: Pod>(ranks: &dyn Ranks, own: &[T], from: usize) -> Vec<T> {
    let own = if ranks.rank() == from { own } else { &[] };
    let mut values = own.to_vec();
    let mut length = (values.len() as u64).to_le_bytes();
    ranks.broadcast(&mut length, from);
    values.resize(u64::from_le_bytes(length) as usize, T::zeroed());
    ranks.broadcast(cast_slice_mut(&mut values), from);
    values
}

/// The sum of a number of each rank, wrapping.
pub fn sum_of_values(ranks: &dyn Ranks, own: u64) -> u64 {
    let all = gather_values(ranks, own);
    all.into_iter().fold(0, u64::wrapping_add)
}

/// Whether all ranks give the same bytes; the error says that the first rank which differs from rank 0 has `what`.
///
/// # Errors
/// [`Error::Ranks`], on every rank.
pub fn check_equal(ranks: &dyn Ranks, what: &'static str, bytes: &[u8]) -> Result<()> {
    let all = gather_values(ranks, xxh3_64(bytes));
    match all.iter().position(|&other| other != all[0]) {
        Some(rank) => Err(Error::Ranks { rank, what }),
        None => Ok(()),
    }
}
