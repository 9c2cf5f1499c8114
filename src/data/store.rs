//! The inputs or the targets of a set, wherever they are kept: [`SetArray`].
//!
//! Knows rows, steps and ids; knows nothing of lengths.

use super::on_disk::DiskArray;
use crate::targets::check_ids;
use crate::{Error, Inputs, Result, Scalar, Targets};
use ndarray::{Array, Array2, Array3, ArrayView, Dimension, StrideShape};
use num_traits::Zero;

/// The inputs or the targets of a set.
#[derive(Debug)]
pub(super) struct SetArray<T> {
    /// The numbers of a step, of an array `[N, T, width]`; none of ids `[N, T]`.
    pub width: Option<usize>,
    /// `n_x` or `n_y`, as far as the numbers tell: the width, or one more than the largest id.
    pub size: usize,
    kept: Kept<T>,
}

/// Where numbers are.
#[derive(Debug)]
enum Kept<T> {
    /// Numbers in memory, in C order, zero where nothing counts.
    Floats(Vec<T>),
    /// Ids in memory, in C order, zero where nothing counts.
    Ids(Vec<u32>),
    /// In their file. Where they are not used, they may be anything.
    File(DiskArray),
}

/// The numbers of an array that is moved and not copied.
fn numbers<A, D: Dimension>(array: Array<A, D>) -> Vec<A> {
    let count = array.len();
    let (mut values, begin) = array.into_raw_vec_and_offset();
    values.drain(..begin.unwrap_or(0));
    values.truncate(count);
    values
}

impl<T: Scalar> SetArray<T> {
    /// An array in memory, in C order.
    pub fn floats(array: Array3<T>) -> Self {
        let width = array.dim().2;
        SetArray {
            width: Some(width),
            size: width,
            kept: Kept::Floats(numbers(array)),
        }
    }

    /// Ids in memory, in C order.
    pub fn ids(array: Array2<u32>) -> Self {
        SetArray {
            width: None,
            size: array.iter().max().map_or(0, |&id| id as usize + 1),
            kept: Kept::Ids(numbers(array)),
        }
    }

    /// An array that stays in its file: so many floats a step, or else ids, each below `limit`.
    pub fn in_file(array: DiskArray, width: Option<usize>, limit: usize) -> Self {
        SetArray {
            width,
            size: width.unwrap_or(limit),
            kept: Kept::File(array),
        }
    }

    /// The bytes of a step.
    pub fn step_bytes(&self) -> usize {
        (self.width).map_or(size_of::<u32>(), |width| width * size_of::<T>())
    }

    /// Whether the numbers stay in their file.
    pub fn stays_in_file(&self) -> bool {
        matches!(self.kept, Kept::File(_))
    }

    /// Whether a network with `size` inputs or outputs can take this array `[N, T, ..]`.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Id`] for what does not fit, of ids that stay in their file [`Error::Invalid`].
    pub fn check(&self, what: &'static str, size: usize, (n, t): (usize, usize)) -> Result<()> {
        match (self.width, &self.kept) {
            (Some(width), _) if width != size => {
                let expected = format!("[N, T, {size}]");
                Err(Error::shape(what, &[n, t, width], expected))
            }
            (None, Kept::Ids(ids)) if self.size > size => {
                check_ids(what, &view((ids.len() / t, t), ids), size)
            }
            (None, _) if self.size > size => {
                let most = self.size - 1;
                let problem = format!("ids up to {most}, expected less than {size}");
                Err(Error::invalid(what, problem))
            }
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
        match array.width {
            Some(width) => self.floats.resize(rows * steps * width, T::zero()),
            None => self.ids.resize(rows * steps, 0),
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
        let width = array.width.unwrap_or(1);
        let row = i * t * width..(i + 1) * t * width;
        let (begin, count) = (begin * width, steps * width);
        match &array.kept {
            Kept::Floats(from) => {
                let out = split_row(&mut self.floats[row], count);
                out.copy_from_slice(&from[begin..][..count]);
            }
            Kept::Ids(from) => {
                let out = split_row(&mut self.ids[row], count);
                out.copy_from_slice(&from[begin..][..count]);
            }
            Kept::File(from) if array.width.is_some() => {
                let out = split_row(&mut self.floats[row], count);
                from.floats(begin, out)?;
                let steps = out.chunks_exact_mut(width).enumerate();
                for (_, unused) in steps.filter(|(step, _)| !used(*step)) {
                    unused.fill(T::zero());
                }
            }
            Kept::File(from) => {
                from.ids(begin, used, split_row(&mut self.ids[row], count))?;
            }
        }
        Ok(())
    }

    /// What was copied, as inputs.
    pub fn inputs(&self, array: &SetArray<T>, (n, t): (usize, usize)) -> Inputs<'_, T> {
        match array.width {
            Some(width) => Inputs::Dense(view((n, t, width), &self.floats)),
            None => Inputs::Tokens(view((n, t), &self.ids)),
        }
    }

    /// What was copied, as targets.
    pub fn targets(&self, array: &SetArray<T>, (n, t): (usize, usize)) -> Targets<'_, T> {
        match array.width {
            Some(width) => Targets::Values(view((n, t, width), &self.floats)),
            None => Targets::Classes(view((n, t), &self.ids)),
        }
    }
}

/// The first `used` numbers of a row; the others become zero.
fn split_row<A: Copy + Zero>(row: &mut [A], used: usize) -> &mut [A] {
    let (used, beyond) = row.split_at_mut(used);
    beyond.fill(A::zero());
    used
}

/// Numbers in C order, as an array of this shape.
pub(super) fn view<A, D: Dimension>(
    shape: impl Into<StrideShape<D>>,
    data: &[A],
) -> ArrayView<'_, A, D> {
    ArrayView::from_shape(shape, data).expect("as many numbers as the shape says")
}
