//! The inputs or the targets of a set, wherever they are kept: [`SetArray`].
//!
//! Knows rows, steps and ids; knows nothing of lengths.

use super::on_disk::DiskArray;
use crate::{Error, Inputs, Result, Scalar, Targets};
use ndarray::{Array, Array2, Array3, ArrayView, Dimension, StrideShape};

/// The inputs or the targets of a set.
#[derive(Debug)]
pub(super) enum SetArray<T> {
    /// `[N, T, width]`.
    Floats { width: usize, kept: Kept<T> },
    /// `[N, T]`, each below `limit`: one more than the largest id.
    Ids { limit: usize, kept: Kept<u32> },
}

/// Where numbers are.
#[derive(Debug)]
pub(super) enum Kept<A> {
    /// In memory, in C order, zero where nothing counts.
    Memory(Vec<A>),
    /// In their file. Where they are not used, they may be anything.
    File(DiskArray),
}

/// The numbers of an array that is moved and not copied.
fn in_memory<A, D: Dimension>(array: Array<A, D>) -> Kept<A> {
    let count = array.len();
    let (mut values, begin) = array.into_raw_vec_and_offset();
    values.drain(..begin.unwrap_or(0));
    values.truncate(count);
    Kept::Memory(values)
}

impl<T: Scalar> SetArray<T> {
    /// An array in memory, in C order.
    pub fn floats(array: Array3<T>) -> Self {
        SetArray::Floats {
            width: array.dim().2,
            kept: in_memory(array),
        }
    }

    /// Ids in memory, in C order.
    pub fn ids(array: Array2<u32>) -> Self {
        SetArray::Ids {
            limit: array.iter().max().map_or(0, |&id| id as usize + 1),
            kept: in_memory(array),
        }
    }

    /// An array that stays in its file: so many floats a step, or else ids, each below `limit`.
    pub fn in_file(array: DiskArray, width: Option<usize>, limit: usize) -> Self {
        match width {
            Some(width) => SetArray::Floats {
                width,
                kept: Kept::File(array),
            },
            None => SetArray::Ids {
                limit,
                kept: Kept::File(array),
            },
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

    /// Whether the numbers stay in their file.
    pub fn stays_in_file(&self) -> bool {
        match self {
            SetArray::Floats { kept, .. } => matches!(kept, Kept::File(_)),
            SetArray::Ids { kept, .. } => matches!(kept, Kept::File(_)),
        }
    }

    /// Whether a network with `size` inputs or outputs can take this array `[N, T, ..]`.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Id`] for what does not fit, of ids that stay in their file [`Error::Invalid`].
    pub fn check(&self, what: &'static str, size: usize, (n, t): (usize, usize)) -> Result<()> {
        match self {
            SetArray::Floats { width, .. } if *width != size => {
                let expected = format!("[N, T, {size}]");
                Err(Error::shape(what, &[n, t, *width], expected))
            }
            SetArray::Ids { limit, kept } if *limit > size => Err(match kept {
                Kept::Memory(ids) => {
                    let i = ids.iter().position(|&id| id as usize >= size);
                    let i = i.expect("the largest is not below the limit");
                    let (row, step, id, limit) = (i / t, i % t, ids[i], size);
                    Error::Id {
                        what,
                        row,
                        step,
                        id,
                        limit,
                    }
                }
                Kept::File(_) => {
                    let most = limit - 1;
                    Error::invalid(what, format!("ids up to {most}, expected less than {size}"))
                }
            }),
            _ => Ok(()),
        }
    }
}

/// Some steps of some rows of an array: floats or ids.
#[derive(Clone, Debug, Default)]
pub(super) struct Buffer<T> {
    pub floats: Vec<T>,
    pub ids: Vec<u32>,
}

impl<T: Scalar> Buffer<T> {
    /// Room for so many rows and steps of an array; what stands there may be anything.
    pub fn make_room(&mut self, array: &SetArray<T>, (rows, steps): (usize, usize)) {
        match array {
            SetArray::Floats { width, .. } => self.floats.resize(rows * steps * width, T::zero()),
            SetArray::Ids { .. } => self.ids.resize(rows * steps, 0),
        }
    }

    /// Copies so many steps of an array `[N, T, ..]`, from step `begin` of all its steps on, to row `i` of the buffer
    /// `[rows, t, ..]`; zero beyond them, and where they are not used.
    ///
    /// # Errors
    /// [`Error::File`] if they are in a file that is not any more what it was.
    pub fn copy(
        &mut self,
        array: &SetArray<T>,
        begin: usize,
        steps: usize,
        used: impl Fn(usize) -> bool,
        (i, t): (usize, usize),
    ) -> Result<()> {
        match array {
            SetArray::Floats { width, kept } => {
                let row = &mut self.floats[i * t * width..(i + 1) * t * width];
                let (out, beyond) = row.split_at_mut(steps * width);
                beyond.fill(T::zero());
                match kept {
                    Kept::Memory(from) => out.copy_from_slice(&from[begin * width..][..out.len()]),
                    Kept::File(from) => {
                        from.floats(begin * width, out)?;
                        let steps = out.chunks_exact_mut(*width).enumerate();
                        for (_, unused) in steps.filter(|(step, _)| !used(*step)) {
                            unused.fill(T::zero());
                        }
                    }
                }
            }
            SetArray::Ids { kept, .. } => {
                let out = &mut self.ids[i * t..(i + 1) * t];
                let (out, beyond) = out.split_at_mut(steps);
                beyond.fill(0);
                match kept {
                    Kept::Memory(from) => out.copy_from_slice(&from[begin..][..out.len()]),
                    Kept::File(from) => from.ids(begin, used, out)?,
                }
            }
        }
        Ok(())
    }

    /// What was copied, as inputs.
    pub fn inputs(&self, array: &SetArray<T>, (n, t): (usize, usize)) -> Inputs<'_, T> {
        match *array {
            SetArray::Floats { width, .. } => Inputs::Dense(view((n, t, width), &self.floats)),
            SetArray::Ids { .. } => Inputs::Tokens(view((n, t), &self.ids)),
        }
    }

    /// What was copied, as targets.
    pub fn targets(&self, array: &SetArray<T>, (n, t): (usize, usize)) -> Targets<'_, T> {
        match *array {
            SetArray::Floats { width, .. } => Targets::Values(view((n, t, width), &self.floats)),
            SetArray::Ids { .. } => Targets::Classes(view((n, t), &self.ids)),
        }
    }
}

/// Numbers in C order, as an array of this shape.
pub(super) fn view<A, D: Dimension>(
    shape: impl Into<StrideShape<D>>,
    data: &[A],
) -> ArrayView<'_, A, D> {
    ArrayView::from_shape(shape, data).expect("as many numbers as the shape says")
}
