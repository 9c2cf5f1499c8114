//! The sum of all shards' gradients, in the order of the shards: [`Reduce`].
//!
//! Every thread owns slices of the flat buffer. Of several ranks, each continues the sum that the ranks before it began,
//! segment by segment along their chain ([`crate::ranks`]). Knows nothing of what a gradient means.

use crate::Scalar;
use crate::kernels::simd;
use crate::optim::{LEAST_SLICES, SLICE};
use crate::partition::Partition;
use crate::ranks::{Communicator, Reduction};
use crate::shard::Shard;
use bytemuck::{cast_slice, cast_slice_mut};
use fearless_simd::dispatch;
use rayon::prelude::*;

/// Elements that go from rank to rank at a time.
pub const REDUCTION_SEGMENT: usize = 8 * SLICE;

/// What there is to add, and who adds.
pub(crate) struct Reduce<'a, T: Scalar> {
    /// Those of this process.
    pub shards: &'a [Shard<T>],
    pub pool: &'a rayon::ThreadPool,
    pub partition: &'a Partition,
    pub comm: Option<&'a Communicator>,
}

impl<T: Scalar> Reduce<'_, T> {
    /// Makes `sum` the sum of all shards' gradients, and `squares` its slices' sums of squares; returns its norm.
    pub fn run(&self, sum: &mut [T], squares: &mut [f64]) -> f64 {
        match self.comm {
            None => {}
            Some(comm) if comm.reduction == Reduction::Ordered => self.along_the_chain(comm, sum),
            Some(comm) => self.by_the_connection(comm, sum),
        }
        self.pool.install(|| {
            let slices = slices(sum, 0).zip(squares.par_iter_mut());
            slices.for_each(|((first, sum), square)| {
                if self.comm.is_none() {
                    self.add_to(first, sum, false);
                }
                *square = sum_of_squares(sum);
            });
        });
        squares.iter().sum::<f64>().sqrt()
    }

    fn along_the_chain(&self, comm: &Communicator, sum: &mut [T]) {
        let (rank, size) = (comm.ranks.rank(), comm.ranks.size());
        let own = self.partition.shards_of(rank, size);
        // Shards without sequences have nothing to add, and zero is not nothing: -0 would become 0.
        let begun = self.partition.any(0..own.start);
        let goes_on = rank + 1 < size && (begun || self.partition.any(own));
        for (i, segment) in sum.chunks_mut(REDUCTION_SEGMENT).enumerate() {
            if begun {
                comm.timed(|ranks| ranks.receive(cast_slice_mut(segment), rank - 1));
            }
            self.add_own(segment, i * REDUCTION_SEGMENT, begun);
            if goes_on {
                comm.timed(|ranks| ranks.send(cast_slice(segment), rank + 1));
            }
        }
        comm.timed(|ranks| ranks.broadcast(cast_slice_mut(sum), size - 1));
    }

    fn by_the_connection(&self, comm: &Communicator, sum: &mut [T]) {
        let ranks = &comm.ranks;
        let own = self.partition.shards_of(ranks.rank(), ranks.size());
        if !self.partition.any(own) {
            sum.fill(T::zero());
        }
        self.add_own(sum, 0, false);
        comm.timed(|ranks| ranks.sum(T::values(sum)));
    }

    /// Adds this process's shards to `sum`, the elements from `first` on, on all threads.
    fn add_own(&self, sum: &mut [T], first: usize, begun: bool) {
        self.pool.install(|| {
            slices(sum, first).for_each(|(first, sum)| self.add_to(first, sum, begun));
        });
    }

    /// Adds this process's shards in their order to the elements from `first` on of a sum that others have begun, or begins
    /// it.
    fn add_to(&self, first: usize, sum: &mut [T], begun: bool) {
        let (shards, range) = (self.shards.iter(), first..first + sum.len());
        let mut parts = shards
            .filter(|shard| !shard.assigned.index.is_empty())
            .map(|shard| &shard.gradients.as_slice()[range.clone()]);
        let first = if begun {
            [None; 2]
        } else {
            [parts.next(), parts.next()]
        };
        dispatch!(simd::level(), _simd => {
            match first {
                [Some(a), Some(b)] => {
                    let pairs = sum.iter_mut().zip(a.iter().zip(b));
                    pairs.for_each(|(sum, (&a, &b))| *sum = a + b);
                }
                [Some(a), None] => sum.copy_from_slice(a),
                _ => {}
            }
            for part in parts {
                sum.iter_mut().zip(part).for_each(|(a, &b)| *a += b);
            }
        });
    }
}

/// The slices of elements that begin at `first`, and where they do.
fn slices<T: Scalar>(
    x: &mut [T],
    first: usize,
) -> impl IndexedParallelIterator<Item = (usize, &mut [T])> {
    let slices = x.par_chunks_mut(SLICE).enumerate();
    let slices = slices.with_min_len(LEAST_SLICES);
    slices.map(move |(i, slice)| (first + i * SLICE, slice))
}

/// In `f64`, in eight running sums so that it vectorises, always in the same order.
fn sum_of_squares<T: Scalar>(x: &[T]) -> f64 {
    let mut sums = [0.0f64; 8];
    let chunks = x.chunks_exact(8);
    let rest = chunks.remainder().iter().map(|x| x.as_f64() * x.as_f64());
    let rest: f64 = rest.sum();
    dispatch!(simd::level(), _simd => {
        for chunk in chunks {
            for (sum, x) in sums.iter_mut().zip(chunk) {
                *sum += x.as_f64() * x.as_f64();
            }
        }
    });
    sums.iter().sum::<f64>() + rest
}
