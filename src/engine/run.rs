//! One pass of a batch: its sequences divided among the shards, the shards run on the threads, their results brought together.

use super::{Engine, GradientOptions};
use crate::architecture::At;
use crate::heads::Metrics;
use crate::partition::Partition;
use crate::shard::{Pass, Shard};
use crate::stack::Weights;
use crate::targets::check_shape;
use crate::weights::{Passes, has_wide_decoder};
use crate::{Inputs, Network, Result, Scalar};
use ndarray::{Array2, ArrayBase, ArrayView1, ArrayView2, ArrayViewMut2, DataMut, Ix3};
use rayon::prelude::*;
use std::ops::Add;
use std::sync::Mutex;

impl<T: Scalar> Engine<T> {
    /// Divides the sequences among the shards and runs `work` on each, on the threads of the pool.
    pub(super) fn run<'a>(
        &mut self,
        network: &Network<T>,
        passes: Passes,
        (inputs, lengths): (&Inputs<'_, T>, Option<&[usize]>),
        options: impl Into<GradientOptions<'a, T>>,
        work: impl Fn(&mut Shard<T>, &Pass<'_, T>) + Sync,
    ) -> Result<()> {
        let GradientOptions { mut state, dropout } = options.into();
        dropout.map_or(Ok(()), |(dropout, _)| dropout.check())?;
        let (n, t) = inputs.sequences();
        let (p, a) = (network.parameters(), self.architecture);
        let (own, width) = (p.architecture() == a, a.state());
        assert!(own, "an engine of {a} works for no {}", p.architecture());
        inputs.check(a.input)?;
        self.alone = None;
        check_state(state.as_deref().map(|state| state.view()), n, width)?;
        // With lengths, sequences may be another rank's than before.
        let moves = lengths.is_some();
        if let Some(state) = state.as_deref_mut().filter(|_| moves) {
            self.gather_state(state);
        }
        self.partition.divide(n, t, lengths);
        for shard in &mut self.shards {
            shard.assigned.set(self.partition.rows(shard.index));
        }
        let alone = passes == Passes::BackToInputs;
        let segment = self.segment(&self.partition, alone)?;
        let (shards, packed) = (&mut self.shards, &mut self.packed);
        let state_view = state.as_deref().map(|state| state.view());
        self.pool.install(|| {
            packed.pack(p, passes, has_wide_decoder(&p.architecture()));
            let pass = Pass {
                weights: Weights {
                    parameters: p,
                    packed,
                },
                inputs: inputs.reborrow(),
                state: state_view,
                segment,
                dropout,
                head: !alone,
            };
            let shards = shards.par_iter_mut().with_max_len(1);
            shards.for_each(|shard| {
                shard.clear();
                if !shard.assigned.index.is_empty() {
                    work(shard, &pass);
                }
            });
        });
        if let Some(state) = state {
            for shard in &self.shards {
                assign_rows(state, shard.assigned.index.iter().copied(), &shard.finals);
            }
            if moves {
                self.exchange(&self.partition, state);
            }
        }
        Ok(())
    }

    /// Every sequence's state, where each rank has those of its own: a collective call. Sequences are whose they are in a
    /// batch of one length; after one of others, every rank has all states already.
    pub(crate) fn gather_state(&self, state: &mut Array2<T>) {
        let mut partition = Partition::new(self.partition.shards);
        partition.divide(state.nrows(), 0, None);
        self.exchange(&partition, state);
    }

    /// The states of the sequences of each rank, as they were dealt, to all.
    fn exchange(&self, partition: &Partition, state: &mut Array2<T>) {
        let Some(comm) = &self.comm else { return };
        let (ranks, width) = (self.ranks(), self.architecture.state());
        let rows = |rank| {
            let shards = partition.shards_of(rank, ranks);
            shards.flat_map(|shard| partition.rows(shard).map(|(_, row)| row))
        };
        let own = rows(self.rank()).flat_map(|row| state.row(row).to_vec());
        let own: Vec<T> = own.collect();
        let mut all = vec![T::zero(); state.len()];
        comm.all_gather(&own, |rank| rows(rank).count() * width, &mut all);
        assign_rows(state, (0..ranks).flat_map(rows), &all);
    }

    /// The metrics of all shards, in their order.
    pub(super) fn metrics(&self) -> Metrics {
        let own = self.shards.iter().map(|shard| shard.metrics);
        let Some(comm) = &self.comm else {
            return own.fold(Metrics::default(), Metrics::add);
        };
        let own: Vec<_> = own.collect();
        let mut all = vec![Metrics::default(); self.partition.shards];
        let count = |rank| self.partition.shards_of(rank, self.ranks()).len();
        comm.all_gather(&own, count, &mut all);
        all.into_iter().fold(Metrics::default(), Metrics::add)
    }
}

/// Rows `[T, width]` of each sequence of a batch, to be written by the shards that have the sequences: each by one alone, the
/// locks only say so.
pub(super) struct RowsOut<'a, T>(Vec<Mutex<ArrayViewMut2<'a, T>>>);

impl<'a, T: Scalar> RowsOut<'a, T> {
    pub fn new(y: &'a mut ArrayBase<impl DataMut<Elem = T>, Ix3>) -> Self {
        RowsOut(y.outer_iter_mut().map(Mutex::new).collect())
    }

    /// Writes a shard's rows: those of its steps, or one for each sequence.
    pub fn write(&self, shard: &Shard<T>, rows: &[T], at: At) {
        let (steps, first) = (&shard.scratch.steps, shard.scratch.dropping.first);
        for (i, &sequence) in shard.assigned.index.iter().enumerate() {
            let mut y = self.0[sequence].lock().expect("of this shard alone");
            let width = y.ncols();
            let mut write = |t: usize, row: usize| {
                let row = ArrayView1::from(&rows[row * width..][..width]);
                y.row_mut(t).assign(&row);
            };
            match at {
                At::Every if i >= steps.n => break,
                At::Every => {
                    let rows = steps.rows_of_sequence(i).enumerate();
                    rows.for_each(|(t, row)| write(first + t, row));
                }
                At::Last => write(0, i),
            }
        }
    }
}

/// Assigns values, row after row, to these rows of an array.
pub(super) fn assign_rows<T: Scalar>(
    to: &mut Array2<T>,
    rows: impl Iterator<Item = usize>,
    values: &[T],
) {
    let values = values.chunks_exact(to.ncols());
    for (row, values) in rows.zip(values) {
        to.row_mut(row).assign(&ArrayView1::from(values));
    }
}

/// Whether states, if there are any, are `[n, width]`.
pub(crate) fn check_state<T>(
    state: Option<ArrayView2<'_, T>>,
    n: usize,
    width: usize,
) -> Result<()> {
    state.map_or(Ok(()), |state| {
        check_shape("state", state.shape(), &[n, width], "")
    })
}
