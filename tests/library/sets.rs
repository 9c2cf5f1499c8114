//! Sets of sequences: what is in an `.npz`, what stays there, and what is refused.

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

/// Numbers in the forms that people have them in: half precision, whole numbers, yes and no; sizes as Python 2 wrote them.
#[test]
fn features_of_every_type_are_read() {
    let features = |described: &str, shape: &str, data: &[u8]| {
        let header =
            format!("{{'descr': '{described}', 'fortran_order': False, 'shape': {shape}, }}");
        let (_folder, path) = raw(&header, data);
        let (inputs, _) = Sequences::<f32>::inputs_only(&path).unwrap();
        inputs
    };
    let expected = OwnedInputs::Dense(array![[[1.0f32], [0.0]]]);
    for (described, shape, data) in [
        ("<f2", "(1, 2, 1)", &[0, 0x3c, 0, 0][..]),
        (">f2", "(1, 2, 1)", &[0x3c, 0, 0, 0]),
        ("|b1", "(1, 2, 1)", &[1, 0]),
        ("|i1", "(1L, 2L, 1L)", &[1, 0]),
        ("<i4", "(1L, 2, 1)", &[1, 0, 0, 0, 0, 0, 0, 0]),
    ] {
        assert_eq!(
            features(described, shape, data),
            expected,
            "{described} {shape}"
        );
    }
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

fn raw_error(header: &str, data: &[u8]) -> String {
    let (_folder, path) = raw(header, data);
    Sequences::<f32>::inputs_only(&path)
        .unwrap_err()
        .to_string()
}

#[test]
fn every_integer_type_is_ids() {
    let expected = OwnedInputs::Tokens(array![[0, 1, 2], [3, 4, 5]]);
    let ids = array![[0u8, 1, 2], [3, 4, 5]];
    let targets = array![[0u8, 1, 1], [1, 0, 0]];
    for saved in [
        tokens(ids.mapv(|x| x as i8)),
        tokens(ids.mapv(i16::from)),
        tokens(ids.mapv(i32::from)),
        tokens(ids.mapv(i64::from)),
        tokens(ids.mapv(u16::from)),
        tokens(ids.mapv(u32::from)),
        tokens(ids.mapv(u64::from)),
        tokens(ids),
    ] {
        let set = saved.with("targets", &targets).read().unwrap();
        assert_eq!((&inputs(&set), set.dims()), (&expected, (6, 2)));
        assert_eq!((set.len(), set.steps(), set.mask()), (2, 3, None));
    }
}

#[test]
fn floats_of_both_types_and_orders_are_features() {
    let x = Array3::from_shape_fn((2, 3, 4), |(i, j, k)| (100 * i + 10 * j + k) as f64);
    let mut fortran = Array3::zeros((2, 3, 4).f());
    fortran.assign(&x);
    let y = Array3::from_elem((2, 3, 5), 0.2f32);
    let expected = OwnedInputs::Dense(x.mapv(|x| x as f32));
    for saved in [
        Saved::new().with("inputs", &x),
        Saved::new().with("inputs", &fortran),
        Saved::new().with("inputs", &x.mapv(|x| x as f32)),
    ] {
        let set = saved.with("targets", &y).read().unwrap();
        assert_eq!((&inputs(&set), set.dims()), (&expected, (4, 5)));
    }
    let mut padded = Array2::zeros((2, 3).f());
    padded.assign(&array![[0i64, 1, 2], [3, 4, -5]]);
    tokens(padded)
        .with("targets", &Array2::<u8>::zeros((2, 3)))
        .refused("array `inputs`: -5 at [1, 2]");
}

#[test]
fn big_endian_is_read() {
    let header = "{'descr': '>i2', 'fortran_order': False, 'shape': (1, 2), }";
    let (_folder, path) = raw(header, &[0, 7, 1, 0]);
    let (inputs, _) = Sequences::<f32>::inputs_only(&path).unwrap();
    assert_eq!(inputs, OwnedInputs::Tokens(array![[7, 256]]));
}

#[test]
fn padding_beyond_the_lengths_may_be_anything() {
    let nan = f64::NAN;
    let set = Saved::new()
        .with("inputs", &array![[[1.0], [nan]], [[3.0], [4.0]]])
        .with("targets", &array![[1i64, -100], [0, 1]])
        .with("lengths", &array![1i32, 2])
        .read()
        .unwrap();
    let expected = OwnedInputs::Dense(array![[[1.0], [0.0]], [[3.0], [4.0]]]);
    assert_eq!(inputs(&set), expected);
    let expected = OwnedTargets::Classes(array![[1, 0], [0, 1]]);
    assert_eq!(targets(&set), expected);
    assert_eq!((set.lengths(), set.mask()), (Some(&[1, 2][..]), None));

    let set = tokens(array![[5i8, -1]])
        .with("targets", &array![[[0.5f32, 0.5], [9.0, f32::NAN]]])
        .with("lengths", &array![1u8])
        .read()
        .unwrap();
    assert_eq!(inputs(&set), OwnedInputs::Tokens(array![[5, 0]]));
    let expected = array![[[0.5f32, 0.5], [0.0, 0.0]]];
    assert_eq!(targets(&set), OwnedTargets::Values(expected));
}

#[test]
fn a_mask_is_bool_or_zeros_and_ones_and_keeps_the_inputs() {
    for mask in [
        Saved::new().with("mask", &array![[false, true]]),
        Saved::new().with("mask", &array![[0u8, 1]]),
    ] {
        let set = mask
            .with("inputs", &array![[3u8, 4]])
            .with("targets", &array![[-1i64, 1]])
            .read()
            .unwrap();
        assert_eq!(inputs(&set), OwnedInputs::Tokens(array![[3, 4]]));
        assert_eq!(targets(&set), OwnedTargets::Classes(array![[0, 1]]));
        assert_eq!(set.mask().unwrap(), array![[false, true]]);
    }
}

#[test]
fn lengths_and_mask_together() {
    let nan = f32::NAN;
    let set = Saved::new()
        .with(
            "inputs",
            &array![[[1.0], [2.0], [nan]], [[4.0], [5.0], [6.0]]],
        )
        .with("targets", &array![[-1i64, 1, 9], [1, -7, -7]])
        .with("lengths", &array![2i64, 3])
        .with("mask", &array![[false, true, true], [true, false, false]])
        .read()
        .unwrap();
    let expected = OwnedInputs::Dense(array![[[1.0], [2.0], [0.0]], [[4.0], [0.0], [0.0]]]);
    assert_eq!(inputs(&set), expected);
    let expected = OwnedTargets::Classes(array![[0, 1, 0], [1, 0, 0]]);
    assert_eq!(targets(&set), expected);
    assert_eq!((set.counted(), set.dims()), (2, (1, 2)));
    assert_eq!(set.lengths(), Some(&[2, 3][..]));
    assert_eq!(set.run_lengths(), Some(&[2, 1][..]));
}

/// Targets in the form that a loader hands out.
fn classes(ids: Array2<u32>) -> OwnedTargets<f32> {
    OwnedTargets::Classes(ids)
}

#[test]
fn targets_say_what_they_are_by_type_shape_and_numbers() {
    use TargetKind::{Classes, Distributions, Labels, Numbers};
    // Two sequences of three steps.
    let saved = || tokens(array![[0u8, 1, 2], [2, 1, 0]]);
    let y = |y: &dyn Fn(usize, usize, usize) -> f32| {
        Array3::from_shape_fn((2, 3, 4), |(i, j, k)| y(i, j, k))
    };
    let one_hot = y(&|i, j, k| f32::from(u8::from((i + j) % 4 == k)));
    let soft = y(&|i, _, k| {
        if i == 0 {
            0.25
        } else {
            [0.5, 0.5, 0.0, 0.0][k]
        }
    });
    let labels = y(&|i, j, k| ((i + j + k) % 2) as f32);
    let numbers = y(&|i, j, k| i as f32 - 0.5 * j as f32 + k as f32);
    let every = |y: &Array3<f32>| OwnedTargets::Values(y.clone());
    let last = |y: &Array3<f32>| OwnedTargets::Values(y.slice(s![.., ..1, ..]).to_owned());
    let first = |y: &Array3<f32>| y.index_axis(Axis(1), 0).to_owned();
    let one = |y: &Array3<f32>| y.index_axis(Axis(2), 0).to_owned();
    let integers = |y: &Array3<f32>| y.mapv(|y| y as i8);
    let ids = array![[0i32, 2, 1], [1, 1, 3]];
    let cases = [
        (
            saved().with("targets", &ids),
            At::Every,
            Classes,
            4,
            classes(ids.mapv(|id| id as u32)),
        ),
        (
            saved().with("targets", &ids.clone().insert_axis(Axis(2))),
            At::Every,
            Classes,
            4,
            classes(ids.mapv(|id| id as u32)),
        ),
        (
            saved().with("targets", &array![2u8, 1]),
            At::Last,
            Classes,
            3,
            classes(array![[2], [1]]),
        ),
        (
            saved().with("targets", &array![[2i64], [1]]),
            At::Last,
            Classes,
            3,
            classes(array![[2], [1]]),
        ),
        (
            saved().with("targets", &array![true, false]),
            At::Last,
            Classes,
            2,
            classes(array![[1], [0]]),
        ),
        (
            saved().with("targets", &one_hot),
            At::Every,
            Distributions,
            4,
            every(&one_hot),
        ),
        (
            saved().with("targets", &integers(&one_hot)),
            At::Every,
            Distributions,
            4,
            every(&one_hot),
        ),
        (
            saved().with("targets", &soft),
            At::Every,
            Distributions,
            4,
            every(&soft),
        ),
        (
            saved().with("targets", &first(&soft)),
            At::Last,
            Distributions,
            4,
            last(&soft),
        ),
        (
            saved().with("targets", &labels),
            At::Every,
            Labels,
            4,
            every(&labels),
        ),
        (
            saved().with("targets", &integers(&labels)),
            At::Every,
            Labels,
            4,
            every(&labels),
        ),
        (
            saved().with("targets", &labels.mapv(|y| y == 1.0)),
            At::Every,
            Labels,
            4,
            every(&labels),
        ),
        (
            saved().with(
                "targets",
                &integers(&labels).index_axis(Axis(1), 0).to_owned(),
            ),
            At::Last,
            Labels,
            4,
            last(&labels),
        ),
        (
            saved().with("targets", &numbers),
            At::Every,
            Numbers,
            4,
            every(&numbers),
        ),
        (
            saved().with("targets", &first(&numbers)),
            At::Last,
            Numbers,
            4,
            last(&numbers),
        ),
        (
            saved().with("targets", &one(&numbers)),
            At::Every,
            Numbers,
            1,
            every(&one(&numbers).insert_axis(Axis(2))),
        ),
        (
            saved().with("targets", &one(&labels)),
            At::Every,
            Labels,
            1,
            every(&one(&labels).insert_axis(Axis(2))),
        ),
        (
            saved().with("targets", &array![0.5f64, -2.0]),
            At::Last,
            Numbers,
            1,
            OwnedTargets::Values(array![[[0.5]], [[-2.0]]]),
        ),
    ];
    for (i, (saved, at, kind, n_y, expected)) in cases.into_iter().enumerate() {
        let set = saved.read().unwrap();
        assert_eq!(
            (set.at(), set.target_kind(), set.dims().1),
            (at, kind, n_y),
            "case {i}"
        );
        assert_eq!(targets(&set), expected, "case {i}");
        assert_eq!(
            set.head(),
            Head {
                at,
                ..Head::new(n_y, kind.loss())
            }
        );
        set.check(set.input(), set.head()).unwrap();
        let counted = if at == At::Last { 2 } else { 6 };
        assert_eq!(set.counted(), counted, "case {i}");
    }
}

/// Small numbers of any shape, as one type or another.
fn with_any(saved: Saved, name: &str, shape: &[usize], dtype: u8, seed: usize) -> Saved {
    let number = |i: usize| ((i * i + seed) % 7) as i8 - 2;
    let count = shape.iter().product();
    let numbers: Vec<i8> = (0..count).map(number).collect();
    let numbers = ArrayD::from_shape_vec(shape, numbers).unwrap();
    match dtype {
        0 => saved.with(name, &numbers),
        1 => saved.with(name, &numbers.mapv(|x| x.max(0) as u16)),
        2 => saved.with(name, &numbers.mapv(|x| x > 0)),
        3 => saved.with(name, &numbers.mapv(|x| (x > 0) as i64)),
        4 => saved.with(name, &numbers.mapv(f32::from)),
        5 => saved.with(name, &numbers.mapv(|x| f64::from(x > 0))),
        _ => saved.with(
            name,
            &numbers.mapv(|_| 1.0 / *shape.last().unwrap_or(&1) as f64),
        ),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is in a file, [`Saved::read`] finds the same in memory and in the file, or the same error; and what is
    /// accepted suits the head that it names.
    #[test]
    fn any_file_is_a_set_or_an_error(
        (n, t, k) in (1usize..4, 1usize..4, 1usize..4),
        (inputs, choice, dtypes) in (0usize..2, 0usize..6, prop::array::uniform4(0u8..7)),
        (lengths, mask, seed) in (0usize..5, 0usize..5, 0usize..7),
    ) {
        let inputs = vec![vec![n, t], vec![n, t, 2]].swap_remove(inputs);
        let targets = [vec![n], vec![n, t], vec![n, t, k], vec![n, k], vec![n, t, 1], vec![n, 1]];
        let mut saved = with_any(Saved::new(), "inputs", &inputs, dtypes[0], seed);
        saved = with_any(saved, "targets", &targets[choice], dtypes[1], 2 * seed);
        if lengths == 0 {
            let lengths = Array1::from_shape_fn(n, |i| (1 + (i + seed) % t) as u8);
            saved = saved.with("lengths", &lengths);
        } else if lengths == 1 {
            saved = with_any(saved, "lengths", &[n], dtypes[2], seed);
        }
        if let Some(shape) = [vec![n, t], vec![n]].get(mask) {
            saved = with_any(saved, "mask", shape, dtypes[3], seed);
        }
        if let Ok(set) = saved.read() {
            set.check(set.input(), set.head()).unwrap();
            let mut loader = Loader::evaluation_sequences(set).unwrap();
            let window = loader.next().unwrap();
            prop_assert!(window.counted > 0 && window.ends_epoch);
            prop_assert_eq!(window.counted, window.batch.counted());
        }
    }
}

#[test]
fn classes_below_zero_are_none() {
    let set = tokens(array![[0u8, 1, 2], [2, 1, 0]])
        .with("targets", &array![[-100i64, 1, -1], [0, -1, -1]])
        .read()
        .unwrap();
    assert_eq!(targets(&set), classes(array![[0, 1, 0], [0, 0, 0]]));
    assert_eq!(
        set.mask().unwrap(),
        array![[false, true, false], [true, false, false]]
    );
    assert_eq!((set.counted(), set.run_lengths()), (2, Some(&[2, 1][..])));
    // Beside a mask and lengths; of sequences with one answer, each is run to its end.
    let set = tokens(array![[0u8, 1, 2], [2, 1, 0], [1, 1, 1]])
        .with("targets", &array![-1i8, 1, 0])
        .with("mask", &array![true, true, false])
        .with("lengths", &array![1i64, 2, 3])
        .read()
        .unwrap();
    assert_eq!((set.at(), set.counted()), (At::Last, 1));
    assert_eq!(set.mask().unwrap(), array![[false], [true], [false]]);
    assert_eq!(set.run_lengths(), Some(&[1, 2, 3][..]));
    assert_eq!(targets(&set), classes(array![[0], [1], [0]]));
    let (train, valid) = set.split(0.4, 1).unwrap();
    assert_eq!(train.counted() + valid.counted(), 1);
}

#[test]
fn targets_are_checked_against_a_head() {
    let numbers = array![[[0.5f32, 0.5], [2.0, -1.0]]];
    let set = |targets: OwnedTargets<f32>| {
        let inputs = OwnedInputs::Tokens(array![[0, 1]]);
        Sequences::new(inputs, targets, Padding::default()).unwrap()
    };
    let of_numbers = set(OwnedTargets::Values(numbers));
    let of_classes = set(OwnedTargets::Classes(array![[0, 1]]));
    let at_last = set(OwnedTargets::Classes(array![[1]]));
    let of_sums = set(OwnedTargets::Values(array![[[0.5, 0.5], [0.5, 0.25]]]));
    let check = |set: &Sequences<f32>, head| set.check(Input::Tokens(2), head);
    for (set, head, expected) in [
        (
            &of_numbers,
            Head::softmax(2),
            "targets: [0, 1]: -1 in a distribution, expected no negative number; the loss `cross-entropy` is",
        ),
        (
            &of_sums,
            Head::softmax(2),
            "[0, 1]: the distribution sums to 0.75, expected 1; normalise it, or mask the step; the loss",
        ),
        (
            &of_numbers,
            Head::new(2, Loss::Binary),
            "[0, 1]: 2, expected 0 to 1; for other numbers choose the loss `mse`",
        ),
        (
            &of_classes,
            Head::new(2, Loss::Mse),
            "they are integer classes, and the loss `mse` is of numbers",
        ),
        (
            &at_last,
            Head::softmax(2),
            "they are one a sequence, and the network answers at every step",
        ),
        (
            &of_classes,
            Head::softmax(2).at_last(),
            "they are for every step, and the network answers once a sequence",
        ),
        (
            &of_numbers,
            Head::new(3, Loss::Mse),
            "targets: the shape is [1, 2, 2], expected [N, T, 3]",
        ),
    ] {
        let error = check(set, head).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let in_file = tokens(array![[0u8, 1]])
        .with("targets", &array![[[0.5, 0.25], [1.0, 0.0]]])
        .read();
    let error = check(&in_file.unwrap(), Head::softmax(2)).unwrap_err();
    let expected = "set.npz: targets: [0, 0]: the distribution sums to 0.75";
    assert!(error.to_string().contains(expected), "{error}");
    for loss in [Loss::Mse, Loss::Huber] {
        check(&of_numbers, Head::new(2, loss)).unwrap();
    }
    check(&of_sums, Head::new(2, Loss::Binary)).unwrap();
    check(&at_last, Head::softmax(2).at_last()).unwrap();
    check(&of_classes, Head::softmax(5)).unwrap();
}

#[test]
fn sizes_may_be_stated() {
    let saved = || tokens(array![[0i64, 1]]).with("targets", &array![[1i64, 0]]);
    let set = saved().with("n_x", &arr0(10i64)).read().unwrap();
    assert_eq!(set.dims(), (10, 2));
    let set = saved().with("n_y", &array![7u8]).read().unwrap();
    assert_eq!(set.dims(), (2, 7));
    saved()
        .with("n_y", &arr0(1i64))
        .refused("array `targets`: 1 at [0, 0], expected a number from 0 to 0");
    saved()
        .with("n_x", &arr0(1.5))
        .refused("array `n_x` is float []");
}

#[test]
fn inputs_suffice_to_predict() {
    let saved = tokens(array![[2u8, 1]]);
    saved.npz.finish().unwrap();
    let path = saved.folder.path().join("set.npz");
    let (inputs, _) = Sequences::<f64>::inputs_only(&path).unwrap();
    assert_eq!(inputs, OwnedInputs::Tokens(array![[2, 1]]));
    let error = Sequences::<f64>::read_npz(&path).unwrap_err().to_string();
    assert!(
        error.contains(r#"no array `targets`: the archive has ["inputs"]"#),
        "{error}"
    );
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let targets = array![[0i64, 1]];
    let ids = || tokens(array![[0i64, 1]]);
    let good = || ids().with("targets", &targets);
    Saved::new()
        .with("x", &targets)
        .with("y", &targets)
        .refused(r#"no array `inputs`: the archive has ["x", "y"]"#);
    Saved::new().refused("the archive is empty");
    Saved::new().with("inputs", &array![[0.5, 1.0]]).refused(
        "float [1, 2], expected features [N, T, n_x] or integer ids [N, T]: save one feature as",
    );
    Saved::new()
        .with("inputs", &array![[true]])
        .refused("bool [1, 1], expected");
    Saved::new()
        .with("inputs", &Array3::<f32>::zeros((2, 0, 3)))
        .refused("no axis of length 0");
    Saved::new()
        .with("inputs", &Array3::<f32>::zeros((2, 3, 0)))
        .refused("no axis of length 0");
    Saved::new()
        .with("inputs", &array![[[0.0, f32::NAN]]])
        .with("targets", &array![[0u8]])
        .refused("array `inputs` holds NaN at [0, 0, 1]");
    tokens(array![[0i64, u32::MAX.into()]])
        .with("targets", &targets)
        .refused("4294967295 at [0, 1]");
    ids().with("targets", &array![[0i64, -7]]).refused(
        "array `targets`: -7 at [0, 1], expected a number from 0 to 16777215, or one of [-1, -100]",
    );
    ids()
        .with("targets", &array![[0i64], [1]])
        .refused("integer [2, 1], expected 1 sequences as `inputs`");
    ids()
        .with("targets", &Array3::<f64>::zeros((1, 3, 2)))
        .refused("float [1, 3, 2], expected integer classes [N, T] or [N], or numbers");
    ids()
        .with("targets", &Array3::<f64>::zeros((1, 2, 0)))
        .refused("float [1, 2, 0], expected integer");
    ids()
        .with("targets", &arr0(1i64))
        .refused("integer [], expected 1 sequences");
    ids().with("targets", &array![[0i64, 1, 5]]).refused(
        "array `targets`: 5 at [0, 2], expected 0 or 1: integer [1, 3] is taken for labels",
    );
    ids()
        .with("targets", &array![[[0.0, f64::INFINITY], [0.0, 0.0]]])
        .refused("array `targets` holds inf at [0, 0, 1]");
    ids()
        .with("targets", &array![1i64])
        .with("mask", &array![[true, false]])
        .refused("bool [1, 2], expected bool [1], true where the target of a sequence counts");
    ids()
        .with("targets", &array![-1i64])
        .refused("no time step counts");
    good()
        .with("lengths", &array![0i64])
        .refused("no time step counts");
    ids()
        .with("targets", &array![1i64])
        .with("lengths", &array![0i64])
        .refused("0 at [0], expected a number from 1 to 2");
    good()
        .with("lengths", &array![3i64])
        .refused("3 at [0], expected a number from 0 to 2");
    good()
        .with("lengths", &array![1.0])
        .refused("`lengths` is float [1]");
    good()
        .with("lengths", &Array1::<i64>::ones(2))
        .refused("integer [2], expected integer [1]");
    good()
        .with("mask", &array![[true]])
        .refused("bool [1, 1], expected bool [1, 2]");
    good()
        .with("mask", &array![[2u8, 0]])
        .refused("2 at [0, 0], expected a number from 0 to 1");
    good()
        .with("mask", &array![[false, false]])
        .refused("no time step counts");
    // What the mask picks lies behind the end; inputs within the length are used even where the mask is false.
    good()
        .with("mask", &array![[false, true]])
        .with("lengths", &array![1i64])
        .refused("no time step counts");
    tokens(array![[-1i64, 1]])
        .with("targets", &targets)
        .with("mask", &array![[false, true]])
        .refused("array `inputs`: -1 at [0, 0]");
}

#[test]
fn damaged_and_foreign_files_are_refused() {
    for described in ["<c8", "<M8[ns]"] {
        let header = format!("{{'descr': '{described}', 'fortran_order': False, 'shape': (1,), }}");
        let error = raw_error(&header, b"........");
        assert!(
            error.contains(described) && error.contains(".astype"),
            "{error}"
        );
    }
    assert!(raw_error("{'descr': ", b"").contains("not an `.npy` array"));

    // Cut off, and of versions 1 and 2 with a header of no bytes.
    for bytes in [
        &b"\x93NU"[..],
        b"\x93NUMPY\x01\0\0\0",
        b"\x93NUMPY\x02\0\0\0\0\0",
    ] {
        let (_folder, path) = archive_of("inputs.npy", bytes);
        let error = Sequences::<f32>::inputs_only(&path).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("not an `.npy` array"), "{error}");
    }

    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text.npz");
    std::fs::write(&text, "not an archive").unwrap();
    let error = Sequences::<f32>::read_npz(&text).unwrap_err().to_string();
    assert!(error.contains("text.npz: not an `.npz` archive"), "{error}");
    let error = Sequences::<f32>::read_npz(&folder.path().join("gone.npz")).unwrap_err();
    assert!(error.to_string().contains("gone.npz"), "{error}");
}

#[test]
fn a_flipped_bit_is_noticed() {
    let header = "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 64), }";
    let data: Vec<u8> = (0..64).collect();
    let (_folder, path) = raw(header, &data);
    let mut bytes = std::fs::read(&path).unwrap();
    for i in 0..bytes.len() {
        bytes[i] ^= 0x40;
        std::fs::write(&path, &bytes).unwrap();
        // An error or, where the bit means nothing, the same inputs: no panic, nothing else.
        if let Ok((inputs, _)) = Sequences::<f32>::inputs_only(&path) {
            let expected = Array2::from_shape_fn((1, 64), |(_, j)| j as u32);
            assert_eq!(inputs, OwnedInputs::Tokens(expected), "byte {i}");
        }
        bytes[i] ^= 0x40;
    }
}

/// Bytes of inputs and targets that are checked at a time.
const CHUNK: usize = 16 << 20;

/// A set of floats of this type, and larger than a chunk.
fn large<A: WritableElement>(number: impl Fn(f64) -> A) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set.npz");
    let (n, t, n_x) = (CHUNK / 4 / 700 + 3, 7, 100);
    let x = Array3::from_shape_fn((n, t, n_x), |(i, j, k)| {
        number((i + 3 * j + k) as f64 / 8.0)
    });
    let y = Array2::from_shape_fn((n, t), |(i, j)| ((i + j) % 5) as u8);
    let mut npz = NpzWriter::new(File::create(&path).unwrap());
    npz.add_array("inputs", &x).unwrap();
    npz.add_array("targets", &y).unwrap();
    npz.finish().unwrap();
    (folder, path)
}

fn same_as_in_memory<T: Scalar>(path: &Path) {
    let stored = Sequences::<T>::open_npz(path, None).unwrap();
    assert!(stored.stays_in_file() && !stored.reads_tokens());
    assert!(Sequences::<T>::open_npz_memory(path).unwrap() < 11.0 * CHUNK as f64);
    let memory = Sequences::<T>::read_npz(path).unwrap();
    assert_eq!((stored.dims(), memory.dims()), ((100, 5), (100, 5)));
    let (stored, _) = stored.split(0.3, 4).unwrap();
    let (memory, _) = memory.split(0.3, 4).unwrap();
    let loader = |set| Loader::<T>::sequences(set, 50, Some(3), 9).unwrap();
    let (mut stored, mut memory) = (loader(stored), loader(memory));
    for _ in 0..9 {
        let (stored, memory) = (stored.next().unwrap().batch, memory.next().unwrap().batch);
        assert_eq!(format!("{stored:?}"), format!("{memory:?}"));
    }
}

#[test]
fn windows_are_those_of_a_set_in_memory() {
    let (_folder, path) = large(|x| x as f32);
    same_as_in_memory::<f32>(&path);
    same_as_in_memory::<f64>(&path);
    let (_folder, path) = large(|x| x);
    same_as_in_memory::<f32>(&path);
    same_as_in_memory::<f64>(&path);
}

#[test]
fn numbers_are_checked_to_the_last_row() {
    let (_folder, path) = large(|x| x as f32);
    let last = Sequences::<f32>::open_npz(&path, None).unwrap().len() - 1;
    let highest = (last + 3 * 6 + 99) as f64 / 8.0;
    let (_folder, path) = large(|x| if x == highest { f32::NAN } else { x as f32 });
    let error = Sequences::<f32>::open_npz(&path, None)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&format!("NaN at [{last}, 6, 99]")),
        "{error}"
    );
}

#[test]
fn other_sizes_are_refused() {
    let (_folder, path) = large(|x| x as f32);
    let set = Sequences::<f32>::open_npz(&path, None).unwrap();
    set.check(Input::Features(100), Head::softmax(5)).unwrap();
    set.check(Input::Features(100), Head::softmax(6)).unwrap();
    for (n_x, n_y, expected) in [
        (101, 5, "expected [N, T, 101]"),
        (100, 4, "targets: ids up to 4, expected less than 4"),
    ] {
        let error = set
            .check(Input::Features(n_x), Head::softmax(n_y))
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{error}");
    }
}

/// One bit of a number that is as good as the other.
#[test]
fn a_damaged_file_is_found_out_by_its_checksum() {
    let (_folder, path) = large(|x| x as f32);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[CHUNK + 5000] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = Sequences::<f32>::open_npz(&path, None)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("array `inputs`: its bytes have another checksum"),
        "{error}"
    );
    assert!(Sequences::<f32>::read_npz(&path).is_err());
}

#[test]
fn a_file_that_was_changed_is_named() {
    let (_folder, path) = large(|x| x as f32);
    let set = Sequences::<f32>::open_npz(&path, None).unwrap();
    let mut loader = Loader::sequences(set, 64, None, 0).unwrap();
    loader.next().unwrap();
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(1000)
        .unwrap();
    let error = loader.next().unwrap_err().to_string();
    assert!(
        error.contains("set.npz: array `inputs`: cannot be read ("),
        "{error}"
    );
}

fn masked(mask: Array2<bool>) -> Padding {
    Padding {
        mask: Some(mask),
        ..Padding::default()
    }
}

fn numbered(n: usize, t: usize) -> Sequences<f64> {
    let ids = Array2::from_shape_fn((n, t), |(i, j)| (i * t + j) as u32);
    Sequences::new(
        OwnedInputs::Tokens(ids.clone()),
        OwnedTargets::Classes(ids),
        Padding::default(),
    )
    .unwrap()
}

#[test]
fn targets_that_do_not_count_are_zero_and_unchecked() {
    let x = OwnedInputs::Dense(Array3::<f64>::zeros((1, 2, 3)));
    let y = OwnedTargets::Values(array![[[0.5, 0.5], [f64::NAN, -7.0]]]);
    let all = Sequences::new(x.clone(), y.clone(), Padding::default());
    assert!(matches!(all, Err(Error::NotFinite { .. })));
    let set = Sequences::new(x, y, masked(array![[true, false]])).unwrap();
    let expected = OwnedTargets::Values(array![[[0.5, 0.5], [0.0, 0.0]]]);
    assert_eq!(targets(&set), expected);
    assert_eq!((set.dims(), set.counted()), ((3, 2), 1));
}

#[test]
fn what_does_not_fit_is_refused() {
    let tokens = || OwnedInputs::<f64>::Tokens(array![[0, 1]]);
    let refused = |inputs, targets, padding, expected: &str| {
        let set = Sequences::<f64>::new(inputs, targets, padding);
        let error = set.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let all = Padding::default;
    let ends = |lengths: &[usize]| Padding {
        lengths: Some(lengths.to_vec()),
        ..Padding::default()
    };
    let classes = |ids| OwnedTargets::Classes(ids);
    let two = || classes(array![[0, 0]]);
    let weights = |[a, b]: [f64; 2]| OwnedTargets::Values(array![[[1.0, 0.0], [a, b]]]);
    refused(
        tokens(),
        classes(array![[0, 1, 2]]),
        all(),
        "1 sequences of 2 steps",
    );
    refused(tokens(), two(), masked(array![[true]]), "mask");
    refused(tokens(), two(), ends(&[1, 2]), "lengths: the shape is [2]");
    refused(
        tokens(),
        two(),
        ends(&[3]),
        "lengths: 3 at [0], expected a number from 0 to 2",
    );
    refused(tokens(), two(), ends(&[0]), "no time step counts");
    refused(
        tokens(),
        two(),
        masked(array![[false, false]]),
        "no time step counts",
    );
    refused(
        tokens(),
        weights([f64::INFINITY, 0.0]),
        all(),
        "inf at [0, 1, 0]",
    );
    let nan = || OwnedInputs::Dense(array![[[0.0], [f64::NAN]]]);
    refused(nan(), two(), all(), "inputs holds NaN at [0, 1, 0]");
    refused(
        nan(),
        two(),
        masked(array![[true, false]]),
        "inputs holds NaN at [0, 1, 0]",
    );
    Sequences::new(nan(), two(), ends(&[1])).unwrap();
    refused(
        tokens(),
        OwnedTargets::Values(Array3::zeros((1, 2, 0))),
        all(),
        "targets: the shape is [1, 2, 0]",
    );
    let empty = OwnedInputs::Tokens(Array2::zeros((0, 3)));
    refused(
        empty,
        classes(Array2::zeros((0, 3))),
        all(),
        "no axis of length 0",
    );
}

#[test]
fn a_split_is_a_partition_that_the_seed_decides() {
    let set = numbered(10, 2);
    let (train, valid) = set.split(0.3, 5).unwrap();
    assert_eq!((train.len(), valid.len(), train.dims()), (7, 3, set.dims()));
    let first = |set: &Sequences<f64>| match inputs(set) {
        OwnedInputs::Tokens(ids) => ids.column(0).to_vec(),
        OwnedInputs::Dense(_) => panic!("the inputs are ids"),
    };
    let mut all = [first(&train), first(&valid)].concat();
    all.sort_unstable();
    assert_eq!(all, first(&set));
    let drawn = |seed| first(&set.split(0.3, seed).unwrap().1);
    assert_eq!(drawn(5), first(&valid));
    assert!((0..5).any(|seed| drawn(seed) != drawn(5)));
    assert_eq!(numbered(2, 1).split(0.01, 0).unwrap().1.len(), 1);
    assert_eq!(numbered(2, 1).split(0.99, 0).unwrap().0.len(), 1);
    let error = numbered(1, 3).split(0.1, 0).unwrap_err().to_string();
    assert!(error.contains("there is 1"), "{error}");
    assert!(set.split(0.0, 0).is_err());
}

#[test]
fn stated_sizes_must_hold_the_ids() {
    assert_eq!(numbered(2, 2).with_dims(9, 4).unwrap().dims(), (9, 4));
    let error = numbered(2, 2).with_dims(4, 3).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Id {
                id: 3,
                limit: 3,
                ..
            }
        ),
        "{error}"
    );
}
