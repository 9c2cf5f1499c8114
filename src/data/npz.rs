//! Sequences from an `.npz` file.
//!
//! | array | | |
//! |---|---|---|
//! | `inputs` | numbers `[N, T, n_x]` or integer `[N, T]` | features or token ids |
//! | `targets` | integer `[N, T]`, `[N, T, 1]` | a class at every step; -1 and -100: none |
//! | | integer `[N]`, `[N, 1]` | a class for the whole sequence |
//! | | 0 and 1 `[N, T, n_y]`, `[N, n_y]` | labels |
//! | | float `[N, T, n_y]`, `[N, T]` | distributions, labels or numbers, by what they are ([`TargetKind`](super::TargetKind)) |
//! | | float `[N, n_y]`, `[N]` | the same for the whole sequence |
//! | `lengths` | integer `[N]`, optional | where each sequence ends, from 0 (from 1 where it has one target) to `T`; padding beyond |
//! | `mask` | bool or 0 and 1 `[N, T]`, optional | where a step counts in the loss, if its sequence has it; `[N]` with one target a sequence |
//! | `n_x`, `n_y` | integers, optional | sizes where the largest ids do not tell them |
//!
//! What could be `[N, n_y]` and `[N, T]` is `[N, T]`. Without `lengths` every sequence has `T` steps; without `mask` every step
//! of a sequence counts. Inputs beyond the lengths may be anything: a negative id, a NaN. So may targets of steps that do not
//! count.
//!
//! The shapes and types of all arrays are checked first ([`Form`]); then numbers are read, of the whole file or of some of its
//! rows.

use super::archive::Archive;
use super::array::{IGNORED, Layout, Numbers, array_error};
use super::owned::{OwnedInputs, OwnedTargets};
use super::padding::Padding;
use super::sequences::Sequences;
use super::symbols::MOST_SYMBOLS;
use crate::{Error, Result, Scalar};
use ndarray::{Array, Array2, Dimension, StrideShape};
use std::collections::HashMap;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};

/// The arrays of a set with a row for each sequence: those of inputs, and all.
pub(super) const INPUTS: [&str; 2] = ["inputs", "lengths"];
pub(super) const ROWS: [&str; 4] = ["inputs", "lengths", "mask", "targets"];
/// All arrays of a set.
pub(super) const ARRAYS: [&str; 6] = ["inputs", "lengths", "mask", "targets", "n_x", "n_y"];

/// The most that a length can be.
const MOST: u32 = u32::MAX - 1;
/// The most that an id can be: a network has no more inputs or classes.
const MOST_ID: u32 = MOST_SYMBOLS as u32 - 1;
/// Classes of steps that do not count: what PyTorch ignores, and what many write.
const NO_CLASS: [i128; 2] = [-1, -100];

/// Arrays of a file by their names, or the same rows of each.
pub(super) type Arrays = HashMap<&'static str, Numbers>;

impl<T: Scalar> Sequences<T> {
    /// The sequences of an `.npz` file with `inputs` and `targets`, checked.
    ///
    /// # Errors
    /// [`Error::Io`] if it is not there; [`Error::NotFinite`] for a number that is used and is not finite;
    /// [`Error::File`] for everything else: no archive, an array that is missing, damaged, or not of the forms above.
    pub fn read_npz(path: &Path) -> Result<Self> {
        Self::from_archive(Archive::open(path, &ARRAYS, true)?)
    }

    /// The same from wherever the bytes of the file are; `path` is what errors call them.
    ///
    /// # Errors
    /// As [`Sequences::read_npz`].
    pub fn from_npz(path: &Path, reader: impl Read + Seek) -> Result<Self> {
        Self::from_archive(Archive::new(path, reader, &ARRAYS, true)?)
    }

    pub(super) fn from_archive<R: Read + Seek>(mut archive: Archive<R>) -> Result<Self> {
        let form = Form::of(&mut archive)?;
        let set = form.sequences(read_all(&mut archive, &ROWS)?)?;
        form.with_stated_sizes(set)
    }

    /// The most bytes of memory that [`Sequences::read_npz`] takes for a file, which may be compressed; without `targets`,
    /// those that [`Sequences::inputs_only`] takes. Only the headers of the arrays are read.
    ///
    /// # Errors
    /// As [`Sequences::read_npz`].
    pub fn npz_memory(path: &Path, targets: bool) -> Result<f64> {
        let names = if targets { &ARRAYS[..] } else { &INPUTS };
        let archive = Archive::open(path, names, false)?;
        // An integer becomes an id of 4 bytes, and in a mask a byte of that.
        let number = size_of::<T>().max(size_of::<u32>() + 1);
        let layouts = names.iter().filter_map(|name| archive.layout(name));
        let bytes = |layout: &Layout| layout.count() as f64 * (layout.item + number) as f64;
        let inputs = archive.layout("inputs");
        let rows = inputs.and_then(|inputs| inputs.shape.first());
        let numbers_of_rows = rows.map_or(0.0, |&n| n as f64) * size_of::<usize>() as f64;
        Ok(layouts.map(bytes).sum::<f64>() + numbers_of_rows)
    }

    /// The `inputs` of an `.npz` file, which may have no targets, and its `lengths`, if there are any; zero beyond them.
    ///
    /// # Errors
    /// As [`Sequences::read_npz`].
    pub fn inputs_only(path: &Path) -> Result<(OwnedInputs<T>, Option<Vec<usize>>)> {
        let mut archive = Archive::open(path, &INPUTS, true)?;
        let form = Form::of_inputs(&archive)?;
        let mut arrays = read_all(&mut archive, &INPUTS)?;
        let padding = form.padding(&arrays)?;
        let inputs = form.inputs(&mut arrays, &padding)?.checked(&padding, 0);
        Ok((inputs.map_err(|e| e.in_file(path))?, padding.lengths))
    }
}

/// The arrays of these names, as far as the archive has them.
fn read_all<R: Read + Seek>(archive: &mut Archive<R>, names: &[&'static str]) -> Result<Arrays> {
    let mut arrays = Arrays::new();
    for &name in names {
        arrays.extend(archive.read(name)?.map(|numbers| (name, numbers)));
    }
    Ok(arrays)
}

/// A set whose arrays have shapes and types that fit each other.
pub(super) struct Form {
    pub path: PathBuf,
    pub n: usize,
    pub t: usize,
    /// The answers of a sequence: one, or one for each step.
    pub answers: usize,
    /// `n_x` of features, none of ids.
    pub width_x: Option<usize>,
    /// The numbers of a target, none of classes.
    pub width_y: Option<usize>,
    /// The sizes that the file states.
    stated: [Option<usize>; 2],
}

impl Form {
    /// Of a set with its targets.
    pub fn of<R: Read + Seek>(archive: &mut Archive<R>) -> Result<Self> {
        let mut form = Self::of_inputs(archive)?;
        let Form { n, t, .. } = form;
        let targets = required(archive, "targets")?;
        let (rest, float) = (targets.shape.get(1..), targets.is_float());
        let found = match rest {
            _ if targets.shape.first() != Some(&n) => Err(format!("{n} sequences as `inputs`")),
            Some([]) => Ok((1, float.then_some(1))),
            Some(&[steps]) if steps == t => Ok((t, float.then_some(1))),
            Some([1]) if !float => Ok((1, None)),
            Some(&[n_y]) if n_y > 0 => Ok((1, Some(n_y))),
            Some(&[steps, 1]) if steps == t && !float => Ok((t, None)),
            Some(&[steps, n_y]) if steps == t && n_y > 0 => Ok((t, Some(n_y))),
            _ => Err(format!(
                "integer classes [N, T] or [N], or numbers [N, T, n_y] or [N, n_y], with N = {n} and T = {t} as `inputs`"
            )),
        };
        (form.answers, form.width_y) =
            found.map_err(|expected| misfit(&form.path, "targets", targets, &expected))?;
        if let Some(mask) = archive.layout("mask") {
            let fits = match mask.shape[..] {
                [rows] => rows == n && form.answers == 1,
                [rows, steps] => rows == n && steps == form.answers,
                _ => false,
            };
            if !fits {
                let expected = match form.answers == t {
                    true => format!("bool [{n}, {t}], true where a step of `inputs` counts"),
                    false => format!("bool [{n}], true where the target of a sequence counts"),
                };
                return Err(misfit(&form.path, "mask", mask, &expected));
            }
        }
        for (name, size) in ["n_x", "n_y"].into_iter().zip(&mut form.stated) {
            *size = read_size(archive, name)?;
        }
        Ok(form)
    }

    /// Of inputs alone.
    pub fn of_inputs<R: Read + Seek>(archive: &Archive<R>) -> Result<Self> {
        let path = &archive.path;
        let inputs = required(archive, "inputs")?;
        let found = match inputs.shape[..] {
            [n, t] if inputs.is_integer() => Ok((n, t, None)),
            [n, t, n_x] => Ok((n, t, Some(n_x))),
            [_, _] => Err(
                "features [N, T, n_x] or integer ids [N, T]: save one feature as `inputs[..., None]`, ids by \
                 `.astype('int64')`",
            ),
            _ => Err("features [N, T, n_x] or integer ids [N, T]"),
        };
        let misfit_inputs = |expected| misfit(path, "inputs", inputs, expected);
        let (n, t, width_x) = found.map_err(misfit_inputs)?;
        if inputs.shape.contains(&0) {
            return Err(misfit_inputs("no axis of length 0"));
        }
        if let Some(lengths) = archive.layout("lengths")
            && (lengths.shape != [n] || !lengths.is_integer())
        {
            let expected = format!("integer [{n}], the steps of each sequence");
            return Err(misfit(path, "lengths", lengths, &expected));
        }
        Ok(Form {
            path: path.clone(),
            n,
            t,
            answers: t,
            width_x,
            width_y: None,
            stated: [None; 2],
        })
    }

    /// The sequences that these arrays make, or these rows of them; it may be that nothing counts.
    pub fn sequences<T: Scalar>(&self, mut arrays: Arrays) -> Result<Sequences<T>> {
        let first_row = arrays["inputs"].first_row();
        let mut padding = self.padding(&arrays)?;
        let inputs = self.inputs(&mut arrays, &padding)?;
        let shape = (inputs.sequences().0, self.answers);
        if let Some(mask) = arrays.remove("mask") {
            let mask = mask.flags();
            let mask = mask.map_err(|problem| array_error(&self.path, "mask", &problem))?;
            padding.mask = Some(shaped(shape, mask));
        }
        let targets = arrays.remove("targets").expect("an array that is required");
        let targets = self.targets(targets, shape, &mut padding)?;
        Sequences::checked(inputs, targets, padding, first_row).map_err(|e| e.in_file(&self.path))
    }

    fn targets<T: Scalar>(
        &self,
        targets: Numbers,
        (n, t): (usize, usize),
        padding: &mut Padding,
    ) -> Result<OwnedTargets<T>> {
        let width = self.width_y.unwrap_or(1);
        let counts = |i: usize| padding.counts(i / width / t, i / width % t);
        Ok(match self.width_y {
            Some(width) => {
                let values: Vec<T> = targets.floats();
                let is_label = |i: usize| values[i] == T::zero() || values[i] == T::one();
                let wrong = (0..values.len()).find(|&i| counts(i) && !is_label(i));
                if let Some(i) = wrong.filter(|_| !targets.layout.is_float()) {
                    let (value, at, layout) = (values[i], targets.position(i), &targets.layout);
                    let problem = format!(
                        "{value} at {at:?}, expected 0 or 1: {layout} is taken for labels, classes would be \
                         [N, T] = [{}, {}] or [N]",
                        self.n, self.t
                    );
                    return Err(array_error(&self.path, "targets", &problem));
                }
                OwnedTargets::Values(shaped((n, t, width), values))
            }
            None => {
                let mut ids = self.ids("targets", &targets, self.most(1), &NO_CLASS, counts)?;
                if ids.contains(&IGNORED) {
                    let mask =
                        (padding.mask).get_or_insert_with(|| Array2::from_elem((n, t), true));
                    for (id, counts) in ids.iter_mut().zip(mask).filter(|(id, _)| **id == IGNORED) {
                        (*id, *counts) = (0, false);
                    }
                }
                OwnedTargets::Classes(shaped((n, t), ids))
            }
        })
    }

    /// The set with the sizes that its file states instead of those that were found.
    pub fn with_stated_sizes<T: Scalar>(&self, set: Sequences<T>) -> Result<Sequences<T>> {
        let ((n_x, n_y), [x, y]) = (set.dims(), self.stated);
        let set = set.with_dims(x.unwrap_or(n_x), y.unwrap_or(n_y));
        let mut set = set.map_err(|e| e.in_file(&self.path))?;
        set.file = Some(self.path.as_path().into());
        Ok(set)
    }

    /// Where the sequences of inputs end.
    fn padding(&self, arrays: &Arrays) -> Result<Padding> {
        let mut padding = Padding::default();
        if let Some(lengths) = arrays.get("lengths") {
            let (n, first_row) = (lengths.layout.shape[0], lengths.first_row());
            let lengths = self.ids("lengths", lengths, MOST, &[], |_| true)?;
            padding.lengths = Some(lengths.into_iter().map(|length| length as usize).collect());
            let checked = padding.check((n, self.t), self.answers, first_row);
            checked.map_err(|e| e.in_file(&self.path))?;
        }
        Ok(padding)
    }

    fn inputs<T: Scalar>(&self, arrays: &mut Arrays, padding: &Padding) -> Result<OwnedInputs<T>> {
        let inputs = arrays.remove("inputs").expect("an array that is required");
        let (n, t) = (inputs.layout.shape[0], self.t);
        Ok(match self.width_x {
            Some(n_x) => OwnedInputs::Dense(shaped((n, t, n_x), inputs.floats())),
            None => {
                let has = |i| padding.has(i / t, i % t);
                let ids = self.ids("inputs", &inputs, self.most(0), &[], has)?;
                OwnedInputs::Tokens(shaped((n, t), ids))
            }
        })
    }

    /// The most that ids can be, by the size that the file states.
    fn most(&self, which: usize) -> u32 {
        let most = |size: usize| (size as u32).saturating_sub(1);
        self.stated[which].map_or(MOST_ID, most)
    }

    fn ids(
        &self,
        name: &str,
        numbers: &Numbers,
        most: u32,
        ignored: &[i128],
        used: impl Fn(usize) -> bool,
    ) -> Result<Vec<u32>> {
        let ids = numbers.ids(most, ignored, used);
        ids.map_err(|problem| array_error(&self.path, name, &problem))
    }
}

/// An array of another shape or type than is expected.
fn misfit(path: &Path, name: &str, found: &Layout, expected: &str) -> Error {
    let problem = format!("array `{name}` is {found}, expected {expected}");
    Error::file(path, problem)
}

/// The form of an array that must be there.
fn required<'a, R: Read + Seek>(archive: &'a Archive<R>, name: &str) -> Result<&'a Layout> {
    archive.layout(name).ok_or_else(|| {
        let names = archive.names();
        let found = match &names[..] {
            [] => "is empty".to_owned(),
            names => format!("has {names:?}"),
        };
        let problem = format!(
            "no array `{name}`: the archive {found}, expected `inputs`, `targets` and perhaps `lengths` and `mask`: save them by \
             `numpy.savez(path, inputs=..., targets=...)`"
        );
        Error::file(&archive.path, problem)
    })
}

/// One integer, if it is there.
fn read_size<R: Read + Seek>(
    archive: &mut Archive<R>,
    name: &'static str,
) -> Result<Option<usize>> {
    let Some(numbers) = archive.read(name)? else {
        return Ok(None);
    };
    let (path, layout) = (&archive.path, &numbers.layout);
    if !layout.is_integer() || layout.count() != 1 {
        return Err(misfit(path, name, layout, "one integer"));
    }
    let values = numbers.ids(MOST_ID + 1, &[], |_| true);
    let values = values.map_err(|problem| array_error(path, name, &problem))?;
    Ok(Some(values[0] as usize))
}

/// As many elements as the header of their array says, in this shape.
fn shaped<A, D: Dimension>(shape: impl Into<StrideShape<D>>, data: Vec<A>) -> Array<A, D> {
    Array::from_shape_vec(shape, data).expect("elements of this shape")
}
