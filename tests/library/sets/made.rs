//! Sets made of arrays: what does not count, what does not fit, splits.

use super::*;

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
