//! Inputs of every type, lengths and masks, read from an `.npz`.

use super::*;

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
