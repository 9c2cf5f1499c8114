//! Sets of sequences: what is in an `.npz`, what stays there, and what is refused.

mod inputs;
mod made;
mod on_disk;
mod refused;
mod targets;

use bptt::data::{Loader, OwnedInputs, OwnedTargets, Padding, Sequences, TargetKind};
use bptt::{At, Error, Head, Input, Inputs, Loss, Result, Scalar, Targets};
use ndarray::{Array1, Array2, Array3, ArrayD, Axis, ShapeBuilder, arr0, array, s};
use ndarray_npy::{NpzWriter, WritableElement, WriteNpyExt};
use proptest::prelude::*;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// A file made by adding arrays to an archive, and the same uncompressed.
struct Saved {
    folder: tempfile::TempDir,
    npz: NpzWriter<File>,
    stored: NpzWriter<File>,
}

impl Saved {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name| File::create(folder.path().join(name)).unwrap();
        Saved {
            npz: NpzWriter::new_compressed(file("set.npz")),
            stored: NpzWriter::new(file("stored.npz")),
            folder,
        }
    }

    fn with(mut self, name: &str, array: &impl WriteNpyExt) -> Self {
        self.npz.add_array(name, array).unwrap();
        self.stored.add_array(name, array).unwrap();
        self
    }

    fn read(self) -> Result<Sequences<f32>> {
        self.npz.finish().unwrap();
        self.stored.finish().unwrap();
        let path = |name| self.folder.path().join(name);
        let set = Sequences::read_npz(&path("set.npz"));
        // What stays in its file is the same, right or wrong.
        match (&set, Sequences::open_npz(&path("stored.npz"), None)) {
            (Ok(set), Ok(stored)) => assert_same(set, &stored),
            (Err(error), Err(stored)) => {
                let stored = stored.to_string().replace("stored.npz", "set.npz");
                assert_eq!(stored, error.to_string());
            }
            (_, stored) => panic!("read: {set:?}, opened: {stored:?}"),
        }
        set
    }

    #[track_caller]
    fn refused(self, expected: &str) {
        let error = self.read().unwrap_err().to_string();
        assert!(
            error.contains("set.npz") && error.contains(expected),
            "{error}"
        );
    }
}

/// Whether sets have the same sizes and windows.
#[track_caller]
fn assert_same(one: &Sequences<f32>, other: &Sequences<f32>) {
    let sizes = |set: &Sequences<f32>| (set.len(), set.steps(), set.dims(), set.counted());
    assert_eq!(sizes(one), sizes(other));
    assert_eq!((one.lengths(), one.mask()), (other.lengths(), other.mask()));
    assert_eq!(
        (one.at(), one.target_kind(), one.head()),
        (other.at(), other.target_kind(), other.head())
    );
    let seq_len = (one.at() == At::Every).then_some(2);
    let loader = |set: &Sequences<f32>| Loader::sequences(set.clone(), 2, seq_len, 1).unwrap();
    let (mut one, mut other) = (loader(one), loader(other));
    for _ in 0..one.windows_per_epoch() {
        let (one, other) = (one.next().unwrap().batch, other.next().unwrap().batch);
        assert_eq!(format!("{one:?}"), format!("{other:?}"));
    }
}

/// The inputs of a small set as a loader hands them out: zero behind the last step that counts.
fn inputs<T: Scalar>(set: &Sequences<T>) -> OwnedInputs<T> {
    let mut loader = Loader::evaluation_sequences(set.clone()).unwrap();
    match loader.next().unwrap().batch.inputs {
        Inputs::Dense(x) => OwnedInputs::Dense(x.to_owned()),
        Inputs::Tokens(ids) => OwnedInputs::Tokens(ids.to_owned()),
    }
}

/// The targets of a small set.
fn targets<T: Scalar>(set: &Sequences<T>) -> OwnedTargets<T> {
    let mut loader = Loader::evaluation_sequences(set.clone()).unwrap();
    match loader.next().unwrap().batch.answers.targets {
        Targets::Values(y) => OwnedTargets::Values(y.to_owned()),
        Targets::Classes(ids) => OwnedTargets::Classes(ids.to_owned()),
    }
}

fn tokens<A: WritableElement>(ids: Array2<A>) -> Saved {
    Saved::new().with("inputs", &ids)
}

/// An archive whose array `inputs` has these bytes.
fn raw(header: &str, data: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16 + 1).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.push(b'\n');
    bytes.extend(data);
    archive_of("inputs.npy", &bytes)
}

fn archive_of(entry: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("raw.npz");
    let mut zip = zip::ZipWriter::new(File::create(&path).unwrap());
    zip.start_file(entry, zip::write::SimpleFileOptions::default())
        .unwrap();
    zip.write_all(bytes).unwrap();
    zip.finish().unwrap();
    (folder, path)
}

/// Targets in the form that a loader hands out.
fn classes(ids: Array2<u32>) -> OwnedTargets<f32> {
    OwnedTargets::Classes(ids)
}
