//! How much memory a pass takes, and in how many segments of time it is taken so that it fits.

use super::Engine;
use crate::architecture::At;
use crate::partition::Partition;
use crate::shard::Shard;
use crate::weights::PackedNetwork;
use crate::{Error, Result, Scalar};

/// The most bytes of outputs, of all steps and sequences together, for which time is not taken in segments where no other limit
/// is given: of a million words, those of 64 steps would be most of what a training step needs.
const LOGITS: usize = 1 << 30;

impl<T: Scalar> Engine<T> {
    /// Bytes of scratch, packed weights and gradients after training steps on `n` sequences of `t` steps, without dropout; of
    /// several ranks, of the one with the most.
    ///
    /// # Errors
    /// [`Error::Memory`] if [`EngineOptions::memory`](super::EngineOptions::memory) is not enough for them.
    pub fn bytes(&self, n: usize, t: usize) -> Result<usize> {
        self.bytes_divided(n, t, None)
    }

    /// [`Engine::bytes`] of sequences of these lengths.
    ///
    /// # Errors
    /// As [`Engine::bytes`].
    pub fn bytes_of(&self, lengths: &[usize]) -> Result<usize> {
        self.bytes_divided(lengths.len(), 0, Some(lengths))
    }

    fn bytes_divided(&self, n: usize, t: usize, lengths: Option<&[usize]>) -> Result<usize> {
        let mut partition = Partition::new(self.partition.shards);
        partition.divide(n, t, lengths);
        Ok(self.bytes_in(&partition, self.segment(&partition, false)?))
    }

    /// Bytes for a batch as it was divided, in segments: of the rank that needs the most.
    fn bytes_in(&self, partition: &Partition, segment: usize) -> usize {
        let segments = partition.longest().div_ceil(segment.max(1));
        let bytes = |shard| {
            let extent = partition.extent(shard, segment);
            Shard::<T>::bytes(&self.architecture, extent, segments)
        };
        let ranks = self.ranks();
        let of_rank = |rank| partition.shards_of(rank, ranks).map(bytes).sum();
        let most: usize = (0..ranks).map(of_rank).max().expect("there is a rank");
        let gradients = self.architecture.len() * size_of::<T>();
        most + gradients + PackedNetwork::<T>::bytes(&self.architecture)
    }

    /// The time steps of a segment: as many as the memory has room for, or if time is to be taken as a `whole`, all.
    pub(super) fn segment(&self, partition: &Partition, whole: bool) -> Result<usize> {
        let (t, a) = (partition.longest(), self.architecture);
        // With both directions, no step can be taken before the last one was read: there is one segment.
        let whole = whole || a.bidirectional;
        let Some(budget) = self.memory else {
            let few = whole || a.head.at == At::Last;
            let of_step = if few { 0 } else { partition.n * a.head.outputs };
            let segments = (t * of_step * size_of::<T>()).div_ceil(LOGITS);
            return Ok(t.div_ceil(segments.clamp(1, t.max(1))));
        };
        let mut least = usize::MAX;
        let most = if whole { 1 } else { t.max(1) };
        for segments in 1..=most {
            let segment = t.div_ceil(segments);
            let bytes = self.bytes_in(partition, segment);
            if bytes <= budget {
                return Ok(segment);
            }
            // Scratch shrinks with shorter segments, the states between them grow: past the least, nothing fits.
            if bytes > least.saturating_mul(2) {
                break;
            }
            least = least.min(bytes);
        }
        Err(Error::Memory {
            n: partition.n,
            t,
            budget,
            least,
        })
    }
}
