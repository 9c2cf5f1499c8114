//! Sequences from an `.npz` file.
//!
//! | array | | |
//! |---|---|---|
//! | `inputs` | float `[N, T, n_x]` or integer `[N, T]` | features or token ids |
//! | `targets` | integer `[N, T]` or float `[N, T, n_y]` | classes or distributions |
//! | `lengths` | integer `[N]`, optional | where each sequence ends, from 1 to `T`; padding beyond |
//! | `mask` | bool or 0 and 1 `[N, T]`, optional | where a step counts in the loss, if its sequence has it |
//! | `n_x`, `n_y` | integers, optional | sizes where the largest ids do not tell them |
//!
//! Without `lengths` every sequence has `T` steps; without `mask` every step of a sequence counts. Inputs beyond the lengths
//! may be anything: a negative id, a NaN. So may targets of steps that do not count.

use super::archive::Archive;
use super::array::Numbers;
use super::owned::{OwnedInputs, OwnedTargets};
use super::padding::Padding;
use super::sequences::Sequences;
use crate::{Error, Result, Scalar};
use ndarray::{Array, Array2, Dimension, StrideShape};
use std::io::{Read, Seek};
use std::path::Path;

/// The arrays of a set, and those that inputs alone consist of.
pub(super) const ARRAYS: [&str; 6] = ["inputs", "lengths", "mask", "targets", "n_x", "n_y"];
const INPUT_ARRAYS: [&str; 2] = ["inputs", "lengths"];

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
        let stated = StatedSizes::read(&mut archive)?;
        let set = assembled::<T>(&mut archive)?;
        let (n_x, n_y) = stated.or(set.dims());
        let set = set.with_dims(n_x, n_y);
        set.map_err(|e| in_file(archive.path(), e))
    }

    /// The most bytes of memory that [`Sequences::read_npz`] takes for a file, which may be compressed; without `targets`,
    /// those that [`Sequences::inputs_only`] takes. Only the headers of the arrays are read.
    ///
    /// # Errors
    /// As [`Sequences::read_npz`].
    pub fn npz_memory(path: &Path, targets: bool) -> Result<f64> {
        let names = if targets { &ARRAYS[..] } else { &INPUT_ARRAYS };
        // An integer becomes an id of 4 bytes, and in a mask a byte of that.
        Archive::memory(path, names, size_of::<T>().max(size_of::<u32>() + 1))
    }

    /// The `inputs` of an `.npz` file, which may have no targets; zero beyond `lengths`, if there
    /// are any.
    ///
    /// # Errors
    /// As [`Sequences::read_npz`].
    pub fn inputs_only(path: &Path) -> Result<OwnedInputs<T>> {
        let mut archive = Archive::open(path, &INPUT_ARRAYS)?;
        let (inputs, padding, _) = read_inputs(&mut archive)?;
        let inputs = inputs.checked(&padding, 0);
        inputs.map_err(|e| in_file(path, e))
    }
}

/// Where the arrays of a set are read from: a whole file, or the same rows of each array.
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

    fn names(&self) -> Vec<&str> {
        self.names()
    }

    fn read(&mut self, name: &'static str) -> Result<Option<Numbers>> {
        self.read(name)
    }
}

/// The sizes that a file states, `n_x` and `n_y`.
#[derive(Clone, Copy, Debug)]
pub(super) struct StatedSizes(Option<usize>, Option<usize>);

impl StatedSizes {
    pub fn read(arrays: &mut impl Arrays) -> Result<Self> {
        let n_x = read_size(arrays, "n_x")?;
        Ok(StatedSizes(n_x, read_size(arrays, "n_y")?))
    }

    /// The sizes that are stated; instead of one that is not, the size that was found.
    pub fn or(self, (n_x, n_y): (usize, usize)) -> (usize, usize) {
        (self.0.unwrap_or(n_x), self.1.unwrap_or(n_y))
    }
}

/// The sequences that these arrays make; it may be that nothing counts.
pub(super) fn assembled<T: Scalar>(arrays: &mut impl Arrays) -> Result<Sequences<T>> {
    let (inputs, mut padding, first_row) = read_inputs(arrays)?;
    let (n, t) = inputs.sequences();
    if let Some(mask) = arrays.read("mask")? {
        padding.mask = Some(to_mask(arrays, mask, (n, t))?);
    }
    let targets = arrays.require("targets")?;
    if targets.shape.len() >= 2 && targets.shape[..2] != [n, t] {
        let found = &targets.shape;
        return Err(arrays.error(format!(
            "array `targets` is {found:?}, expected {n} sequences of {t} steps as `inputs`"
        )));
    }
    let targets = match targets.shape[..] {
        [n, t] if targets.is_integer() => {
            let counts = |i| padding.counts(i / t, i % t);
            let ids = to_ids(arrays, "targets", targets, counts)?;
            OwnedTargets::Classes(shaped((n, t), ids))
        }
        [n, t, n_y] if targets.is_float() => {
            let weights = targets.into_floats();
            OwnedTargets::Distributions(shaped((n, t, n_y), weights))
        }
        _ => {
            return Err(arrays.error(format!(
                "array `targets` is {}, \
                 expected integer classes [N, T] or float distributions [N, T, n_y]",
                targets.describe()
            )));
        }
    };
    Sequences::checked(inputs, targets, padding, first_row).map_err(|e| in_file(arrays.path(), e))
}

/// The inputs, where they end, and the number of their first row in the file.
fn read_inputs<T: Scalar>(arrays: &mut impl Arrays) -> Result<(OwnedInputs<T>, Padding, usize)> {
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
    let mut padding = Padding::default();
    if let Some(lengths) = arrays.read("lengths")? {
        if lengths.shape != [n] || !lengths.is_integer() {
            return Err(arrays.error(format!(
                "array `lengths` is {}, expected integer [{n}], the steps of each sequence",
                lengths.describe()
            )));
        }
        let lengths = to_ids(arrays, "lengths", lengths, |_| true)?;
        padding.lengths = Some(lengths.into_iter().map(|length| length as usize).collect());
        let checked = padding.check((n, t), first_row);
        checked.map_err(|e| in_file(arrays.path(), e))?;
    }
    let inputs = match numbers.shape[..] {
        [_, _, n_x] => OwnedInputs::Dense(shaped((n, t, n_x), numbers.into_floats())),
        _ => {
            let ids = to_ids(arrays, "inputs", numbers, |i| padding.has(i / t, i % t))?;
            OwnedInputs::Tokens(shaped((n, t), ids))
        }
    };
    Ok((inputs, padding, first_row))
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
    let values = to_ids(arrays, "mask", mask, |_| true)?;
    if let Some(i) = values.iter().position(|&value| value > 1) {
        return Err(arrays.error(format!(
            "array `mask`: {} at [{}, {}], expected 0 or 1",
            values[i],
            first + i / t,
            i % t
        )));
    }
    let mask = values.into_iter().map(|value| value == 1).collect();
    Ok(shaped((n, t), mask))
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
    let values = to_ids(arrays, name, numbers, |_| true)?;
    Ok(values.first().map(|&value| value as usize))
}

fn to_ids(
    arrays: &impl Arrays,
    name: &str,
    numbers: Numbers,
    used: impl Fn(usize) -> bool,
) -> Result<Vec<u32>> {
    let result = numbers.into_ids(used);
    result.map_err(|problem| arrays.error(format!("array `{name}`: {problem}")))
}

/// As many elements as the header of their array says, in this shape.
fn shaped<A, D: Dimension>(shape: impl Into<StrideShape<D>>, data: Vec<A>) -> Array<A, D> {
    Array::from_shape_vec(shape, data).expect("elements of this shape")
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
