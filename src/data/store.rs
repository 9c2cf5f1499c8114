//! Where the inputs and targets of a set are kept: [`Store`], in memory here, in a file in `npz_on_disk`.
//!
//! Knows rows, steps and ids; knows nothing of lengths.

use crate::{Error, Inputs, Result, Scalar, Targets};
use ndarray::{Array, Array2, Array3, ArrayView2, ArrayView3, Dimension};
use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

/// The inputs or the targets of a set.
#[derive(Clone, Debug)]
pub(super) enum SetArray<T> {
    /// `[N, T, width]`.
    Floats {
        width: usize,
        store: Arc<dyn Store<T>>,
    },
    /// `[N, T]`, each below `limit`: one more than the largest id.
    Ids {
        limit: usize,
        store: Arc<dyn Store<u32>>,
    },
}

/// Which of some steps are used; all of them, if it is not said.
pub(super) type Used<'a> = Option<&'a [bool]>;

/// Where an array of a set is kept.
pub(super) trait Store<A>: Debug + Send + Sync {
    /// Copies some steps of a sequence. Where they are not used, the array may hold anything, and `out` becomes zero.
    ///
    /// # Errors
    /// [`Error::File`] if they are in a file that is not any more what it was.
    fn copy(&self, row: usize, steps: Range<usize>, used: Used, out: &mut [A]) -> Result<()>;

    /// The store of some of the sequences.
    fn select(&self, rows: &[usize]) -> Arc<dyn Store<A>>;

    /// The whole array in C order, if it is in memory.
    fn in_memory(&self) -> Option<&[A]> {
        None
    }
}

/// An array in memory, already zero where nothing counts.
#[derive(Debug)]
struct Memory<A> {
    /// In C order.
    values: Vec<A>,
    /// How many of them a sequence has.
    per_sequence: usize,
}

impl<A: Copy + Debug + Send + Sync + 'static> Memory<A> {
    /// A store of an array in C order, which is moved and not copied.
    fn store<D: Dimension>(array: Array<A, D>) -> Arc<dyn Store<A>> {
        let (count, per_sequence) = (array.len(), array.len() / array.shape()[0].max(1));
        let (mut values, begin) = array.into_raw_vec_and_offset();
        values.drain(..begin.unwrap_or(0));
        values.truncate(count);
        Arc::new(Memory {
            values,
            per_sequence,
        })
    }
}

impl<A: Copy + Debug + Send + Sync + 'static> Store<A> for Memory<A> {
    fn copy(&self, row: usize, steps: Range<usize>, _: Used, out: &mut [A]) -> Result<()> {
        let width = out.len() / steps.len();
        let begin = row * self.per_sequence + steps.start * width;
        out.copy_from_slice(&self.values[begin..begin + out.len()]);
        Ok(())
    }

    fn select(&self, rows: &[usize]) -> Arc<dyn Store<A>> {
        let per_sequence = self.per_sequence;
        let mut values = Vec::with_capacity(rows.len() * per_sequence);
        for row in rows {
            values.extend_from_slice(&self.values[row * per_sequence..][..per_sequence]);
        }
        Arc::new(Memory {
            values,
            per_sequence,
        })
    }

    fn in_memory(&self) -> Option<&[A]> {
        Some(&self.values)
    }
}

impl<T: Scalar> SetArray<T> {
    /// An array in memory, in C order.
    pub fn floats(array: Array3<T>) -> Self {
        SetArray::Floats {
            width: array.dim().2,
            store: Memory::store(array),
        }
    }

    /// Ids in memory, in C order.
    pub fn ids(array: Array2<u32>) -> Self {
        SetArray::Ids {
            limit: array.iter().max().map_or(0, |&id| id as usize + 1),
            store: Memory::store(array),
        }
    }

    /// `n_x` or `n_y`, as far as the numbers tell.
    pub fn size(&self) -> usize {
        match *self {
            SetArray::Floats { width, .. } => width,
            SetArray::Ids { limit, .. } => limit,
        }
    }

    /// The bytes of a step.
    pub fn step_bytes(&self) -> usize {
        match self {
            SetArray::Floats { width, .. } => width * size_of::<T>(),
            SetArray::Ids { .. } => size_of::<u32>(),
        }
    }

    /// The array of some of the sequences.
    pub fn select(&self, rows: &[usize]) -> Self {
        match self {
            SetArray::Floats { width, store } => SetArray::Floats {
                width: *width,
                store: store.select(rows),
            },
            SetArray::Ids { limit, store } => SetArray::Ids {
                limit: *limit,
                store: store.select(rows),
            },
        }
    }

    /// The whole array, if it is in memory: floats, or else ids.
    pub fn in_memory(&self) -> Option<(&[T], &[u32])> {
        Some(match self {
            SetArray::Floats { store, .. } => (store.in_memory()?, &[]),
            SetArray::Ids { store, .. } => (&[], store.in_memory()?),
        })
    }

    /// Some rows and steps of the array as inputs: the floats or the ids, whichever it is an array of.
    pub fn as_inputs<'a>(
        &self,
        shape: (usize, usize),
        floats: &'a [T],
        ids: &'a [u32],
    ) -> Inputs<'a, T> {
        match *self {
            SetArray::Floats { width, .. } => Inputs::Dense(cube(shape, width, floats)),
            SetArray::Ids { .. } => Inputs::Tokens(matrix(shape, ids)),
        }
    }

    /// Some rows and steps of the array as targets: the floats or the ids, whichever it is an array of.
    pub fn as_targets<'a>(
        &self,
        shape: (usize, usize),
        floats: &'a [T],
        ids: &'a [u32],
    ) -> Targets<'a, T> {
        match *self {
            SetArray::Floats { width, .. } => Targets::Values(cube(shape, width, floats)),
            SetArray::Ids { .. } => Targets::Classes(matrix(shape, ids)),
        }
    }

    /// Whether a network with `size` inputs or outputs can take this array `[N, T, ..]`.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Id`] for what does not fit, of ids that stay in their file [`Error::Invalid`].
    pub fn check(&self, what: &'static str, size: usize, (n, t): (usize, usize)) -> Result<()> {
        match self {
            SetArray::Floats { width, .. } if *width != size => Err(Error::Shape {
                what,
                found: vec![n, t, *width],
                expected: format!("[N, T, {size}]"),
            }),
            SetArray::Ids { limit, store } if *limit > size => {
                let too_large = |&id: &u32| id as usize >= size;
                let ids = store.in_memory().unwrap_or_default();
                Err(match ids.iter().position(too_large) {
                    Some(i) => Error::Id {
                        what,
                        row: i / t,
                        step: i % t,
                        id: ids[i],
                        limit: size,
                    },
                    None => Error::invalid(
                        what,
                        format!("ids up to {}, expected less than {size}", limit - 1),
                    ),
                })
            }
            _ => Ok(()),
        }
    }
}

/// Numbers `[N, T]` in C order.
pub(super) fn matrix<A>(shape: (usize, usize), data: &[A]) -> ArrayView2<'_, A> {
    ArrayView2::from_shape(shape, data).expect("a number for each step")
}

fn cube<A>((n, t): (usize, usize), width: usize, data: &[A]) -> ArrayView3<'_, A> {
    ArrayView3::from_shape((n, t, width), data).expect("so many numbers for each step")
}
