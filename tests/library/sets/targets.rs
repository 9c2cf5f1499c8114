//! Targets say what they are; classes that are none; targets that do not suit a head.

use super::*;

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
