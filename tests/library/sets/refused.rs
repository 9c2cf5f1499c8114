//! Whatever is in a file, it is a set or an error that names the place.

use super::*;

fn raw_error(header: &str, data: &[u8]) -> String {
    let (_folder, path) = raw(header, data);
    Sequences::<f32>::inputs_only(&path)
        .unwrap_err()
        .to_string()
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
