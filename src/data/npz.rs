//! Sequences from an `.npz` file.
//!
//! | array | | |
//! |---|---|---|
//! | `inputs` | float `[N, T, n_x]` or integer `[N, T]` | features or token ids |
//! | `targets` | integer `[N, T]` or float `[N, T, n_y]` | classes or distributions |
//! | `lengths` | integer `[N]`, optional | steps of each sequence; padding beyond |
//! | `mask` | bool or 0 and 1 `[N, T]`, instead of `lengths` | where a step counts in the loss |
//! | `n_x`, `n_y` | integers, optional | sizes where the largest ids do not tell them |
//!
//! Inputs beyond `lengths` become zero and targets there do not count; targets where a `mask` is
//! false neither. Such padding may be anything: a negative id, a NaN.

use super::archive::Archive;
use super::array::Numbers;
use super::sequences::{OwnedInputs, OwnedTargets, Sequences};
use crate::{Error, Result, Scalar};
use ndarray::{Array2, Array3};
use std::io::{Read, Seek};
use std::path::Path;

/// The arrays of a set, and those of inputs alone.
pub(super) const ARRAYS: [&str; 6] = ["inputs", "lengths", "mask", "targets", "n_x", "n_y"];
const OF_INPUTS: [&str; 2] = ["inputs", "lengths"];

impl<T: Scalar> Sequences<T> {
    /// The sequences of an `.npz` file with `inputs` and `targets`, checked.
    ///
    /// # Errors
    /// [`Error::Io`] if it is not there; [`Error::NotFinite`] for a number that is used and is not
    /// finite; [`Error::File`] for everything else: no archive, an array that is missing, damaged,
    /// or not of the forms above.
    pub fn read_npz(path: &Path) -> Result<Self> {
        Self::from_archive(Archive::open(path, &ARRAYS)?)
    }

    /// The same from wherever the bytes of the file are; `path` is what errors call them.
    ///
    /// # Errors
    /// As [`Sequences::read_npz`].
    pub fn from_npz(path: &Path, reader: impl Read + Seek) -> Result<Self> {
        Self::from_archive(Archive::new(path, reader, &ARRAYS)?)
    }

    pub(super) fn from_archive<R: Read + Seek>(mut archive: Archive<R>) -> Result<Self> {
        let stated = Stated::read(&mut archive)?;
        let set = assembled::<T>(&mut archive)?;
        let (n_x, n_y) = stated.or(set.dims());
        let set = set.with_dims(n_x, n_y);
        set.map_err(|e| in_file(archive.path(), e))
    }

    /// At most so many bytes of memory does [`Sequences::read_npz`] take for a file, which may be compressed (and
    /// [`Sequences::inputs_only`], where there are to be no `targets`): by its headers, for nothing else is read.
    ///
    /// # Errors
    /// As [`Sequences::read_npz`].
    pub fn npz_memory(path: &Path, targets: bool) -> Result<f64> {
        let names = if targets { &ARRAYS[..] } else { &OF_INPUTS };
        // An id is one of 4 bytes, and of a mask 1 byte is made of it.
        Archive::memory(path, names, size_of::<T>().max(size_of::<u32>() + 1))
    }

    /// The `inputs` of an `.npz` file, which may have no targets; zero beyond `lengths`, if there
    /// are any.
    ///
    /// # Errors
    /// As [`Sequences::read_npz`].
    pub fn inputs_only(path: &Path) -> Result<OwnedInputs<T>> {
        Ok(read_inputs(&mut Archive::open(path, &OF_INPUTS)?)?.0)
    }
}

/// Where the arrays of a set are.
pub(super) trait Arrays {
    /// The file.
    fn path(&self) -> &Path;
    /// The names of all its arrays.
    fn names(&self) -> Vec<&str>;
    /// An array, or some rows of it; `None` if the file has none of this name.
    fn read(&mut self, name: &'static str) -> Result<Option<Numbers>>;

    /// An array that must be there.
    fn require(&mut self, name: &'static str) -> Result<Numbers> {
        self.read(name)?.ok_or_else(|| {
            let names = self.names();
            let found = match names.is_empty() {
                true => "is empty".to_owned(),
                false => format!("has {names:?}"),
            };
            self.error(format!("no array `{name}`: the archive {found}"))
        })
    }

    fn error(&self, problem: String) -> Error {
        Error::file(self.path(), problem)
    }
}

impl<R: Read + Seek> Arrays for Archive<R> {
    fn path(&self) -> &Path {
        self.path()
    }

    fn read(&mut self, name: &'static str) -> Result<Option<Numbers>> {
        self.read(name)
    }

    fn names(&self) -> Vec<&str> {
        self.names()
    }
}

/// The sizes `n_x` and `n_y` that a file states.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stated(pub Option<usize>, pub Option<usize>);

impl Stated {
    pub fn read(arrays: &mut impl Arrays) -> Result<Self> {
        Ok(Stated(read_size(arrays, "n_x")?, read_size(arrays, "n_y")?))
    }

    /// Those stated, the others as they were found.
    pub fn or(self, (n_x, n_y): (usize, usize)) -> (usize, usize) {
        (self.0.unwrap_or(n_x), self.1.unwrap_or(n_y))
    }
}

/// The sequences that these arrays are, or some rows of them; it may be that nothing counts.
pub(super) fn assembled<T: Scalar>(arrays: &mut impl Arrays) -> Result<Sequences<T>> {
    let (inputs, lengths) = read_inputs(arrays)?;
    let (n, t) = inputs.sequences();
    let mask = match arrays.read("mask")? {
        Some(_) if lengths.is_some() => {
            return Err(arrays.error("both `lengths` and `mask`, expected one of them".to_owned()));
        }
        Some(mask) => Some(to_mask(arrays, mask, (n, t))?),
        None => lengths,
    };
    let targets = arrays.require("targets")?;
    let first_row = targets.first_row();
    if targets.shape.len() >= 2 && targets.shape[..2] != [n, t] {
        let found = &targets.shape;
        return Err(arrays.error(format!(
            "array `targets` is {found:?}, expected {n} sequences of {t} steps as `inputs`"
        )));
    }
    let targets = match targets.shape[..] {
        [n, t] if targets.is_integer() => {
            let used = mask.as_ref().and_then(|mask| mask.as_slice());
            let ids = to_ids(arrays, "targets", targets, used)?;
            OwnedTargets::Classes(shaped2(arrays, (n, t), ids)?)
        }
        [n, t, n_y] if targets.is_float() => {
            let weights = targets.into_floats();
            OwnedTargets::Distributions(shaped3(arrays, (n, t, n_y), weights)?)
        }
        _ => {
            return Err(arrays.error(format!(
                "array `targets` is {}, \
                 expected integer classes [N, T] or float distributions [N, T, n_y]",
                targets.describe()
            )));
        }
    };
    Sequences::checked(inputs, targets, mask, first_row).map_err(|e| in_file(arrays.path(), e))
}

/// The inputs, zero beyond the lengths, and where there are lengths, the steps within.
fn read_inputs<T: Scalar>(
    arrays: &mut impl Arrays,
) -> Result<(OwnedInputs<T>, Option<Array2<bool>>)> {
    let numbers = arrays.require("inputs")?;
    let (n, t) = match numbers.shape[..] {
        [n, t] if numbers.is_integer() => (n, t),
        [n, t, _] if numbers.is_float() => (n, t),
        _ => {
            return Err(arrays.error(format!(
                "array `inputs` is {}, expected float features [N, T, n_x] or integer ids [N, T]",
                numbers.describe()
            )));
        }
    };
    if numbers.shape.contains(&0) {
        return Err(arrays.error(format!(
            "array `inputs` is {}, expected no axis of length 0",
            numbers.describe()
        )));
    }
    let first_row = numbers.first_row();
    let within = match arrays.read("lengths")? {
        Some(lengths) => Some(steps_within(arrays, lengths, (n, t))?),
        None => None,
    };
    let used = within.as_ref().and_then(|within| within.as_slice());
    let inputs = match numbers.shape[..] {
        [_, _, n_x] => {
            let mut x = numbers.into_floats();
            for (x, &used) in x.chunks_mut(n_x).zip(used.unwrap_or_default()) {
                if !used {
                    x.fill(T::zero());
                }
            }
            OwnedInputs::Dense(shaped3(arrays, (n, t, n_x), x)?)
        }
        _ => {
            let ids = to_ids(arrays, "inputs", numbers, used)?;
            OwnedInputs::Tokens(shaped2(arrays, (n, t), ids)?)
        }
    };
    let inputs = inputs
        .checked(first_row)
        .map_err(|e| in_file(arrays.path(), e))?;
    Ok((inputs, within))
}

/// `step < length`, `[N, T]`.
fn steps_within(
    arrays: &impl Arrays,
    lengths: Numbers,
    (n, t): (usize, usize),
) -> Result<Array2<bool>> {
    if lengths.shape != [n] || !lengths.is_integer() {
        return Err(arrays.error(format!(
            "array `lengths` is {}, expected integer [{n}], the steps of each sequence",
            lengths.describe()
        )));
    }
    let first = lengths.first_row();
    let lengths = to_ids(arrays, "lengths", lengths, None)?;
    let outside = |&(_, &length): &(usize, &u32)| length == 0 || length as usize > t;
    if let Some((i, length)) = lengths.iter().enumerate().find(outside) {
        return Err(arrays.error(format!(
            "array `lengths`: {length} at [{}], \
             expected a number from 1 to {t}, the steps of `inputs`",
            first + i
        )));
    }
    Ok(Array2::from_shape_fn((n, t), |(i, step)| {
        step < lengths[i] as usize
    }))
}

/// Bool, or 0 and 1.
fn to_mask(arrays: &impl Arrays, mask: Numbers, (n, t): (usize, usize)) -> Result<Array2<bool>> {
    if mask.shape != [n, t] || mask.is_float() {
        return Err(arrays.error(format!(
            "array `mask` is {}, expected bool [{n}, {t}], true where a step of `inputs` counts",
            mask.describe()
        )));
    }
    let first = mask.first_row();
    let values = to_ids(arrays, "mask", mask, None)?;
    if let Some(i) = values.iter().position(|&value| value > 1) {
        return Err(arrays.error(format!(
            "array `mask`: {} at [{}, {}], expected 0 or 1",
            values[i],
            first + i / t,
            i % t
        )));
    }
    shaped2(
        arrays,
        (n, t),
        values.into_iter().map(|value| value == 1).collect(),
    )
}

/// One integer, if it is there.
fn read_size(arrays: &mut impl Arrays, name: &'static str) -> Result<Option<usize>> {
    let Some(numbers) = arrays.read(name)? else {
        return Ok(None);
    };
    if !numbers.is_integer() || numbers.shape.iter().any(|&n| n != 1) {
        let found = numbers.describe();
        return Err(arrays.error(format!("array `{name}` is {found}, expected one integer")));
    }
    let values = to_ids(arrays, name, numbers, None)?;
    Ok(values.first().map(|&value| value as usize))
}

fn to_ids(
    arrays: &impl Arrays,
    name: &str,
    numbers: Numbers,
    used: Option<&[bool]>,
) -> Result<Vec<u32>> {
    let result = numbers.into_ids(|i| used.is_none_or(|used| used[i]));
    result.map_err(|problem| arrays.error(format!("array `{name}`: {problem}")))
}

fn shaped2<A>(arrays: &impl Arrays, shape: (usize, usize), data: Vec<A>) -> Result<Array2<A>> {
    Array2::from_shape_vec(shape, data).map_err(|e| arrays.error(format!("{shape:?}: {e}")))
}

fn shaped3<A>(
    arrays: &impl Arrays,
    shape: (usize, usize, usize),
    data: Vec<A>,
) -> Result<Array3<A>> {
    Array3::from_shape_vec(shape, data).map_err(|e| arrays.error(format!("{shape:?}: {e}")))
}

/// The error with the file's name.
pub(super) fn in_file(path: &Path, error: Error) -> Error {
    match error {
        Error::NotFinite {
            what,
            value,
            position,
        } => Error::NotFinite {
            what: format!("{}: array `{what}`", path.display()),
            value,
            position,
        },
        other => Error::file(path, other.to_string()),
    }
}

#[cfg(test)]
mod tests;
