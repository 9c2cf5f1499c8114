//! The notebook this crate grew from, section by section: every figure it prints, to the last
//! printed digit, and to full precision as `fixtures/notebook.py` recomputed it with NumPy.
//!
//! Weights, inputs and targets come from that script's `fixtures/notebook.npz`. They cannot be
//! drawn here: the notebook draws from NumPy's Mersenne Twister, and its `Wy` is scaled otherwise
//! than its text says. Names in the fixture are `section_array`; a gradient has a `d` before its
//! parameter's name, as in `backward_dwx`.

mod printed;

use bptt::notebook::{
    BH, BY, Losses, RecurrentNeuralNetwork, Tanh, WH, WX, WY, backward, compute_cost, forward,
    generate_one_hot_targets, gradient_descent_step, initialize_rnn_parameters, rnn_layer, softmax,
    train,
};
use bptt::{Architecture, Cell, Head, Input, Parameters};
use ndarray::{Array, Array2, Array3, ArrayD, Axis, Dimension, Ix0, s};
use ndarray_npy::NpzReader;
use printed::*;
use std::fs::File;

/// Half a unit in the last printed digit, and a millionth of it for the rounding of the literal
/// itself.
const HALF_A_DIGIT: f64 = 0.500_001;

/// NumPy prints eight digits after the point, with an exponent or without; trailing zeros may be
/// missing.
const PRINTED_DIGITS: i32 = 8;

/// Relative, each number by itself. Sums lose one or two digits to cancellation here; the largest
/// deviation met is 8e-14.
const FULL_PRECISION: f64 = 1e-10;

/// Relative, for a mean over at most 500 steps, whose rounding averages out.
const LOSS: f64 = 1e-12;

/// Absolute, for a loss on the training curve. A difference in the weights grows up to 3e6 times
/// before update [`RESUMED_AT`] or after it, and rounding with it: to 1.2e-9 on five kinds
/// of OpenBLAS kernels. NumPy's own curve is within 2.3e-8 of the printed one.
const CURVE: f64 = 1e-7;

/// Absolute, for a loss at iterations 100, 200, … of a training run in one piece. From the first
/// update to the hundredth a difference in the weights grows 1e10 times, and rounding with it: the
/// printed losses themselves are up to 1.4e-7 from those of 80-bit arithmetic, NumPy on other
/// kernels or with the sums in another order was up to 2e-6 away. Five times that; what is more
/// than rounding grows as well, and shows.
const CHAOTIC_CURVE: f64 = 1e-5;

/// The update whose weights the fixture holds as `resumed_wx`, …: see the script.
const RESUMED_AT: usize = 30;

const LEARNING_RATE: f64 = 0.01;

/// The arrays that NumPy wrote.
struct Fixture(NpzReader<File>);

impl Fixture {
    fn open() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/notebook.npz");
        Fixture(NpzReader::new(File::open(path).expect(path)).expect(path))
    }

    fn array<D: Dimension>(&mut self, name: &str) -> Array<f64, D> {
        self.0.by_name(name).expect(name)
    }

    /// Parameters or gradients: `prefix` before each of the five names. Biases are `[n, 1]` there.
    fn parameters(&mut self, prefix: &str) -> Parameters<f64> {
        let [wx, wh, wy, bh, by] = ["wx", "wh", "wy", "bh", "by"]
            .map(|name| self.array::<ndarray::IxDyn>(&format!("{prefix}{name}")));
        let (n_x, n_h, n_y) = (wx.shape()[1], wx.shape()[0], wy.shape()[0]);
        assert_eq!(wh.shape(), [n_h, n_h]);
        assert_eq!(wy.shape(), [n_y, n_h]);
        assert_eq!(bh.shape(), [n_h, 1]);
        assert_eq!(by.shape(), [n_y, 1]);
        let data = [wx, wh, wy, bh, by].iter().flatten().copied().collect();
        Parameters::from_vec(architecture(n_x, n_h, n_y), data).unwrap()
    }
}

/// One layer of tanh that reads features, and a softmax.
fn architecture(n_x: usize, n_h: usize, n_y: usize) -> Architecture {
    Architecture::new(Input::Features(n_x), n_h, Head::softmax(n_y))
}

/// Each number within half a unit in the last printed digit; NaN fails, and so does one number more
/// or less.
fn assert_printed<'a>(
    what: &str,
    found: impl IntoIterator<Item = &'a f64, IntoIter: ExactSizeIterator>,
    printed: &str,
) {
    let found = found.into_iter();
    let printed: Vec<&str> = printed.split_whitespace().collect();
    assert_eq!(found.len(), printed.len(), "{what}: how many numbers");
    for (i, (&found, text)) in found.zip(printed).enumerate() {
        let expected: f64 = text.parse().unwrap();
        let exponent: i32 = text
            .split_once('e')
            .map_or(0, |(_, exponent)| exponent.parse().unwrap());
        let unit = 10f64.powi(exponent - PRINTED_DIGITS);
        assert!(
            (found - expected).abs() <= HALF_A_DIGIT * unit,
            "{what}: number {i} is {found:e}, the notebook printed {text}"
        );
    }
}

/// Whether `found` is within `tolerance`, relative, of `expected`; NaN is not.
fn is_close(found: f64, expected: f64, tolerance: f64) -> bool {
    (found - expected).abs() <= tolerance * expected.abs()
}

/// The same shape, and each number within [`FULL_PRECISION`]; NaN fails.
fn assert_close<D: Dimension>(what: &str, found: &Array<f64, D>, expected: &Array<f64, D>) {
    assert_eq!(found.shape(), expected.shape(), "{what}");
    for ((index, &expected), &found) in expected.indexed_iter().zip(found) {
        assert!(
            is_close(found, expected, FULL_PRECISION),
            "{what} at {index:?}: {found:e}, NumPy has {expected:e}"
        );
    }
}

/// [`assert_close`] for each of the five by its name.
fn assert_all_close(what: &str, found: &Parameters<f64>, expected: &Parameters<f64>) {
    assert_eq!(found.architecture(), expected.architecture(), "{what}");
    for ((tensor, found), (_, expected)) in found.iter().zip(expected.iter()) {
        let (name, shape) = (tensor.which, tensor.shape());
        let array = |slice: &[f64]| ArrayD::from_shape_vec(shape.clone(), slice.to_vec()).unwrap();
        assert_close(&format!("{what} {name:?}"), &array(found), &array(expected));
    }
}

/// The gradients by the function and by the class.
fn gradients(
    p: &Parameters<f64>,
    x: &Array3<f64>,
    targets: &Array3<f64>,
) -> [(&'static str, Parameters<f64>); 2] {
    let (_, caches) = forward(x, p).unwrap();
    let by_function = backward(targets, p, &caches).unwrap();
    let mut network = RecurrentNeuralNetwork::from_parameters(p.clone()).unwrap();
    network.forward(x).unwrap();
    network.backward(targets).unwrap();
    [("backward", by_function), ("class", network.grads)]
}

#[test]
fn section_0_tanh_and_its_derivative() {
    let mut fixture = Fixture::open();
    let x: Array2<f64> = fixture.array("tanh_x");
    let (act, derivative) = (Tanh.forward(&x), Tanh.derivative(&x));
    assert_printed("act(x)", &act, TANH);
    assert_printed("act.derivative(x)", &derivative, TANH_DERIVATIVE);
    assert_close("act(x)", &act, &fixture.array("tanh_act"));
    assert_close(
        "act.derivative(x)",
        &derivative,
        &fixture.array("tanh_derivative"),
    );
}

/// The input is lost; the printed output `y` still holds: softmax(log y) = y.
#[test]
fn section_0_softmax() {
    let mut fixture = Fixture::open();
    let printed: Array2<f64> = fixture.array("softmax_printed");
    let y = softmax(&printed.mapv(f64::ln));
    assert_printed("softmax(x)", &y, SOFTMAX);
    assert_close("softmax(x)", &y, &fixture.array("softmax_y"));
    assert_printed("sum of y", &y.sum_axis(Axis(1)), "1. 1. 1. 1.");
}

#[test]
fn section_1_1_the_fixture_holds_the_printed_weights() {
    let p = Fixture::open().parameters("init_");
    assert_eq!(p.architecture(), architecture(3, 9, 5));
    assert_printed("Wx", &p.matrix(WX), PRINTED_WX);
    assert_printed("Wh", &p.matrix(WH), PRINTED_WH);
    assert_printed("Wy", &p.matrix(WY), PRINTED_WY);
    assert!(p.get(BH).iter().chain(p.get(BY)).all(|&b| b == 0.0));
}

/// The text says N(0, 2/(n+m)) for every weight of a matrix `n` by `m`. So does the crate, for `wy`
/// too.
#[test]
fn section_1_1_the_crate_draws_by_the_text() {
    /// 27,000 normals or more have a variance within 0.9 %, a mean within 0.6 % of a deviation and
    /// a fourth moment within 2 % of the true ones, at one standard deviation; five of these. (A
    /// uniform's fourth moment is 40 % less.)
    const MOMENTS: f64 = 0.05;
    const FOURTH: f64 = 0.1;
    const SEEDS: u64 = 1000;

    let mut drawn = [vec![], vec![], vec![]];
    for seed in 0..SEEDS {
        let p = initialize_rnn_parameters::<f64>(3, 9, 5, seed).unwrap();
        for (all, w) in drawn.iter_mut().zip([WX, WH, WY]) {
            all.extend_from_slice(p.get(w));
        }
        assert!(p.get(BH).iter().chain(p.get(BY)).all(|&b| b == 0.0));
    }
    for (name, all, n_plus_m) in [
        ("wx", &drawn[0], 9 + 3),
        ("wh", &drawn[1], 9 + 9),
        ("wy", &drawn[2], 5 + 9),
    ] {
        let deviation = (2.0 / f64::from(n_plus_m)).sqrt();
        let moment =
            |k: i32| all.iter().map(|w| (w / deviation).powi(k)).sum::<f64>() / all.len() as f64;
        assert!(moment(1).abs() <= MOMENTS, "{name}: mean {}", moment(1));
        assert!(
            is_close(moment(2), 1.0, MOMENTS),
            "{name}: variance {}",
            moment(2)
        );
        assert!(
            is_close(moment(4), 3.0, FOURTH),
            "{name}: fourth moment {}",
            moment(4)
        );
    }
}

#[test]
fn section_1_2_layer() {
    let mut fixture = Fixture::open();
    let p = fixture.parameters("init_");
    let (x, h_prev): (Array2<f64>, Array2<f64>) =
        (fixture.array("layer_x"), fixture.array("layer_h_prev"));
    let (y_t, h_t, z_t) = rnn_layer(&x, &h_prev, &p).unwrap();
    assert_eq!(y_t.shape(), [2, 5]);
    assert_printed("y_t", &y_t, LAYER_Y);
    assert_close("y_t", &y_t, &fixture.array("layer_y"));
    assert_close("h_t", &h_t, &fixture.array("layer_h"));
    assert_close("z_t", &z_t, &fixture.array("layer_z"));
}

#[test]
fn section_1_3_forward() {
    let mut fixture = Fixture::open();
    let p = fixture.parameters("forward_");
    let x: Array3<f64> = fixture.array("forward_x");
    let (y, caches) = forward(&x, &p).unwrap();
    assert_eq!(y.shape(), [7, 2, 5]);
    assert_printed("y_pred", &y, FORWARD_Y);
    assert_close("y_pred", &y, &fixture.array("forward_y"));
    assert_close("hs", &caches.hs, &fixture.array("forward_h"));
    assert_close("zs", &caches.zs, &fixture.array("forward_z"));
    assert_eq!((&caches.yhats, &caches.inputs), (&y, &x));
}

/// `forward` is `rnn_layer` after `rnn_layer`.
#[test]
fn section_1_3_forward_layer_by_layer() {
    let mut fixture = Fixture::open();
    let p = fixture.parameters("forward_");
    let x: Array3<f64> = fixture.array("forward_x");
    let [y, h, z]: [Array3<f64>; 3] =
        ["forward_y", "forward_h", "forward_z"].map(|name| fixture.array(name));
    let mut h_prev = Array2::zeros((x.dim().0, 9));
    for t in 0..x.dim().1 {
        let (y_t, h_t, z_t) = rnn_layer(&x.slice(s![.., t, ..]), &h_prev, &p).unwrap();
        let at = |all: &Array3<f64>| all.slice(s![.., t, ..]).to_owned();
        assert_close("yhats", &y_t, &at(&y));
        assert_close("hs", &h_t, &at(&h));
        assert_close("zs", &z_t, &at(&z));
        h_prev = h_t;
    }
}

/// The notebook's biases are zero; here they are not, and sizes of one are among the shapes.
#[test]
fn section_1_3_forward_with_biases() {
    for [n, t, n_x, n_h, n_y] in [[3, 4, 2, 5, 6], [1, 1, 1, 1, 1], [2, 3, 1, 4, 2]] {
        let mut p = initialize_rnn_parameters::<f64>(n_x, n_h, n_y, 3).unwrap();
        for bias in [BH, BY] {
            let values = p.get_mut(bias).iter_mut().enumerate();
            values.for_each(|(i, b)| *b = 0.3 - 0.2 * i as f64);
        }
        let x = Array3::from_shape_fn((n, t, n_x), |(n, t, i)| {
            (n as f64 - t as f64) / (i + 1) as f64
        });
        let (y, caches) = forward(&x, &p).unwrap();
        assert_close("h", &Tanh.forward(&caches.zs), &caches.hs);
        let mut h_prev = Array2::zeros((n, n_h));
        for step in 0..t {
            let x_t = x.slice(s![.., step, ..]);
            let z = x_t.dot(&p.matrix(WX).t()) + h_prev.dot(&p.matrix(WH).t()) + p.matrix(BH);
            let h = z.mapv(f64::tanh);
            let u: Array2<f64> = h.dot(&p.matrix(WY).t()) + p.matrix(BY);
            let (y_t, h_t, z_t) = rnn_layer(&x_t, &h_prev, &p).unwrap();
            assert_close("z_t", &z_t, &z);
            assert_close("zs", &caches.zs.slice(s![.., step, ..]).to_owned(), &z);
            assert_close("h_t", &h_t, &h);
            assert_close("y_t", &y_t, &softmax(&u));
            assert_close("yhats", &y.slice(s![.., step, ..]).to_owned(), &y_t);
            h_prev = h;
        }
    }
}

/// The cost of the probabilities; and, as none of these is clipped, the cross-entropy that training follows.
#[test]
fn section_1_4_cost() {
    let mut fixture = Fixture::open();
    let p = fixture.parameters("forward_");
    let x: Array3<f64> = fixture.array("forward_x");
    let targets: Array3<f64> = fixture.array("cost_targets");
    let by_numpy = fixture.array::<Ix0>("cost_loss").into_scalar();
    let (y, _) = forward(&x, &p).unwrap();
    let cost = compute_cost(&targets, &y).unwrap();
    let mut network = RecurrentNeuralNetwork::from_parameters(p).unwrap();
    let losses = train(&mut network, &x, &targets, LEARNING_RATE, 1).unwrap();
    for loss in [cost, losses.cross_entropy[0]] {
        for expected in [COST, by_numpy] {
            assert!(is_close(loss, expected, LOSS), "{loss} against {expected}");
        }
    }
}

#[test]
fn section_1_4_one_hot_targets() {
    let (n, t, n_y) = (300, 20, 5);
    let targets = generate_one_hot_targets::<f64>(n, t, n_y, 123).unwrap();
    assert_eq!(targets.shape(), [n, t, n_y]);
    assert!(targets.iter().all(|&y| y == 0.0 || y == 1.0));
    assert!(targets.sum_axis(Axis(2)).iter().all(|&sum| sum == 1.0));
    // Binomial: five standard deviations.
    let expected = (n * t) as f64 / n_y as f64;
    let deviation = (expected * (1.0 - 1.0 / n_y as f64)).sqrt();
    for count in targets.sum_axis(Axis(0)).sum_axis(Axis(0)) {
        assert!((count - expected).abs() <= 5.0 * deviation, "{count}");
    }
    let other = generate_one_hot_targets::<f64>(n, t, n_y, 124).unwrap();
    assert_ne!(targets, other);
}

#[test]
fn section_1_5_backward() {
    let mut fixture = Fixture::open();
    let p = fixture.parameters("forward_");
    let expected = fixture.parameters("backward_d");
    let (x, targets) = (fixture.array("forward_x"), fixture.array("cost_targets"));
    for (way, found) in gradients(&p, &x, &targets) {
        assert_eq!(found.matrix(WX).shape(), [9, 3]);
        assert_printed(&format!("{way}: dWx"), &found.matrix(WX), BACKWARD_DWX);
        assert_all_close(&format!("{way}: d"), &found, &expected);
    }
}

#[test]
fn section_1_6_class_forward_and_backward() {
    let mut fixture = Fixture::open();
    let p = fixture.parameters("class_");
    let expected = fixture.parameters("class_d");
    let (x, targets) = (fixture.array("class_x"), fixture.array("class_targets"));
    let mut network = RecurrentNeuralNetwork::from_parameters(p.clone()).unwrap();
    let y = network.forward(&x).unwrap();
    assert_eq!(y.shape(), [4, 2, 5]);
    assert_close("outputs", &y, &fixture.array("class_y"));
    for (way, found) in gradients(&p, &x, &targets) {
        assert_printed(&format!("{way}: dWx"), &found.matrix(WX), CLASS_DWX);
        assert_all_close(&format!("{way}: d"), &found, &expected);
    }
}

#[test]
fn section_1_6_class_draws_its_parameters() {
    let mut network = RecurrentNeuralNetwork::<f64>::new(3, 5, 9, 7).unwrap();
    let drawn = initialize_rnn_parameters(3, 9, 5, 7).unwrap();
    assert_eq!(network.parameters, drawn);
    assert_eq!(network.grads.norm(), 0.0);
    network.forward(&Array3::ones((1, 2, 3))).unwrap();
    network.initialize_parameters(8).unwrap();
    assert_eq!(network, RecurrentNeuralNetwork::new(3, 5, 9, 8).unwrap());
    assert_ne!(network.parameters, drawn);
}

#[test]
fn section_2_one_gradient_descent_step() {
    let mut fixture = Fixture::open();
    let mut network =
        RecurrentNeuralNetwork::from_parameters(fixture.parameters("class_")).unwrap();
    let (x, targets): (Array3<f64>, Array3<f64>) =
        (fixture.array("class_x"), fixture.array("class_targets"));
    network.forward(&x).unwrap();
    network.backward(&targets).unwrap();
    gradient_descent_step(&mut network.parameters, &network.grads, LEARNING_RATE).unwrap();
    let p = network.parameters;
    assert_printed("Wx", &p.matrix(WX), STEPPED_WX);
    assert_printed("Wh", &p.matrix(WH), STEPPED_WH);
    assert_printed("Wy", &p.matrix(WY), STEPPED_WY);
    assert_printed("bh", p.get(BH), STEPPED_BH);
    assert_printed("by", p.get(BY), STEPPED_BY);
    assert_all_close("stepped", &p, &fixture.parameters("stepped_"));
}

/// Each of `found` within `tolerance`, absolute, of `expected`, losses `every` so many iterations;
/// NaN fails.
fn assert_curve(what: &str, found: &[f64], expected: &[f64], every: usize, tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}: how many losses");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(
            (found - expected).abs() <= tolerance,
            "{what} at iteration {}: {found} against {expected}",
            i * every
        );
    }
}

/// The training run against the notebook's: in one piece as closely as chaos allows, then in two pieces, the second from
/// NumPy's weights, closely at every iteration.
#[test]
fn section_2_training() {
    let hundredth = |curve: &[f64]| curve.iter().copied().step_by(100).collect::<Vec<_>>();
    let mut fixture = Fixture::open();
    let (x, targets): (Array3<f64>, Array3<f64>) = (
        fixture.array("training_x"),
        fixture.array("training_targets"),
    );
    let run = |p: Parameters<f64>, iterations: usize| {
        let mut network = RecurrentNeuralNetwork::from_parameters(p).unwrap();
        train(&mut network, &x, &targets, LEARNING_RATE, iterations).unwrap()
    };
    let mut curve = |name| fixture.array::<ndarray::Ix1>(name).to_vec();
    let expected = Losses {
        printed: curve("training_losses_swapped"),
        cross_entropy: curve("training_losses"),
    };
    assert_eq!(
        (expected.printed.len(), expected.cross_entropy.len()),
        (1000, 1000)
    );

    // STEP 1: in one piece.
    let mut found = run(fixture.parameters("training_"), 1000);
    for expected in [TRAINING_CURVE[0], expected.printed[0]] {
        let loss = found.printed[0];
        assert!(is_close(loss, expected, LOSS), "{loss} against {expected}");
    }
    let (loss, first) = (found.cross_entropy[0], expected.cross_entropy[0]);
    assert!(is_close(loss, first, LOSS), "{loss} against {first}");
    for (what, found, expected) in [
        ("printed", &found.printed, &TRAINING_CURVE[..]),
        ("NumPy's", &found.printed, &hundredth(&expected.printed)),
        (
            "cross-entropy",
            &found.cross_entropy,
            &hundredth(&expected.cross_entropy),
        ),
    ] {
        assert_curve(what, &hundredth(found), expected, 100, CHAOTIC_CURVE);
    }

    // STEP 2: from NumPy's weights at `RESUMED_AT`, joined to the iterations before.
    let rest = run(fixture.parameters("resumed_"), 1000 - RESUMED_AT);
    found.printed.truncate(RESUMED_AT);
    found.printed.extend(rest.printed);
    found.cross_entropy.truncate(RESUMED_AT);
    found.cross_entropy.extend(rest.cross_entropy);
    let printed = hundredth(&found.printed);
    assert_curve("printed", &printed, &TRAINING_CURVE, 100, CURVE);
    assert_curve("NumPy's", &found.printed, &expected.printed, 1, CURVE);
    assert_curve(
        "cross-entropy",
        &found.cross_entropy,
        &expected.cross_entropy,
        1,
        CURVE,
    );
}

/// `train` is the class's passes and steps, one after the other.
#[test]
fn section_2_training_is_forward_backward_and_a_step() {
    let mut fixture = Fixture::open();
    let (x, targets): (Array3<f64>, Array3<f64>) =
        (fixture.array("class_x"), fixture.array("class_targets"));
    let mut trained =
        RecurrentNeuralNetwork::from_parameters(fixture.parameters("class_")).unwrap();
    let mut stepped = trained.clone();
    let losses = train(&mut trained, &x, &targets, LEARNING_RATE, 3).unwrap();
    for printed in losses.printed {
        let outputs = stepped.forward(&x).unwrap();
        let cost = compute_cost(&outputs, &targets).unwrap();
        assert!(is_close(printed, cost, FULL_PRECISION), "{printed} {cost}");
        stepped.backward(&targets).unwrap();
        gradient_descent_step(&mut stepped.parameters, &stepped.grads, LEARNING_RATE).unwrap();
    }
    assert_all_close("parameters", &trained.parameters, &stepped.parameters);
    assert_all_close("grads", &trained.grads, &stepped.grads);
    assert_eq!(trained.caches, None);
}

#[test]
fn single_precision_is_double_precision_rounded() {
    /// Relative to the largest number of an array: a few roundings of `f32` for each of two steps.
    const SINGLE: f64 = 1e-5;

    let mut fixture = Fixture::open();
    let p = fixture.parameters("forward_");
    let (x, targets): (Array3<f64>, Array3<f64>) =
        (fixture.array("forward_x"), fixture.array("cost_targets"));
    let single = |array: &Array3<f64>| array.mapv(|value| value as f32);
    let (y, caches) = forward(&single(&x), &p.cast::<f32>()).unwrap();
    let grads = backward(&single(&targets), &p.cast(), &caches).unwrap();
    let check = |what: &str, found: &[f32], expected: &[f64]| {
        let largest = expected.iter().fold(0f64, |max, x| max.max(x.abs()));
        assert_eq!(found.len(), expected.len(), "{what}");
        for (&found, expected) in found.iter().zip(expected) {
            let apart = (f64::from(found) - expected).abs();
            assert!(apart <= SINGLE * largest, "{what}: {found}, {expected}");
        }
    };
    let (expected_y, expected_z): (Array3<f64>, Array3<f64>) =
        (fixture.array("forward_y"), fixture.array("forward_z"));
    check("y", y.as_slice().unwrap(), expected_y.as_slice().unwrap());
    check(
        "z",
        caches.zs.as_slice().unwrap(),
        expected_z.as_slice().unwrap(),
    );
    check(
        "d",
        grads.as_slice(),
        fixture.parameters("backward_d").as_slice(),
    );
}

/// What does not fit is an error that names it, and no panic.
#[test]
fn misfits_are_named() {
    let p = initialize_rnn_parameters::<f64>(3, 9, 5, 0).unwrap();
    let (x, y) = (
        Array3::<f64>::ones((2, 4, 3)),
        Array3::<f64>::ones((2, 4, 5)),
    );
    let (_, caches) = forward(&x, &p).unwrap();
    let mut network = RecurrentNeuralNetwork::from_parameters(p.clone()).unwrap();
    let of = |architecture| Parameters::<f64>::zeros(architecture);
    let deep = of(Architecture {
        layers: 2,
        ..architecture(3, 9, 5)
    });
    let relu = of(Architecture {
        cell: Cell::Relu,
        ..architecture(3, 9, 5)
    });
    let tokens = of(Architecture {
        input: Input::Tokens(3),
        ..architecture(3, 9, 5)
    });
    let mut stepped = p.clone();
    let matrix = Array2::<f64>::zeros;
    let errors = [
        ("n_x", initialize_rnn_parameters::<f64>(0, 9, 5, 0).err()),
        ("n_y", generate_one_hot_targets::<f64>(1, 1, 0, 0).err()),
        ("x_t", rnn_layer(&matrix((2, 4)), &matrix((2, 9)), &p).err()),
        ("x_t", rnn_layer(&matrix((0, 3)), &matrix((0, 9)), &p).err()),
        (
            "h_prev",
            rnn_layer(&matrix((2, 3)), &matrix((1, 9)), &p).err(),
        ),
        ("parameters", forward(&x, &deep).err()),
        ("parameters", forward(&x, &relu).err()),
        ("parameters", forward(&x, &tokens).err()),
        ("inputs", forward(&y, &p).err()),
        ("inputs", forward(&x.slice(s![.., ..0, ..]), &p).err()),
        ("outputs", compute_cost(&y, &x).err()),
        (
            "targets",
            compute_cost(&Array3::<f64>::ones((0, 4, 5)), &Array3::ones((0, 4, 5))).err(),
        ),
        ("targets", backward(&x, &p, &caches).err()),
        ("caches", network.backward(&y).err()),
        (
            "parameters",
            RecurrentNeuralNetwork::from_parameters(deep.clone()).err(),
        ),
        (
            "grads",
            gradient_descent_step(&mut stepped, &deep, 0.1).err(),
        ),
        (
            "learning_rate",
            gradient_descent_step(&mut stepped, &p, f64::NAN).err(),
        ),
        ("inputs", train(&mut network, &y, &y, 0.1, 1).err()),
        ("targets", train(&mut network, &x, &x, 0.1, 1).err()),
        (
            "learning_rate",
            train(&mut network, &x, &y, f64::INFINITY, 1).err(),
        ),
    ];
    for (i, (name, error)) in errors.into_iter().enumerate() {
        let message = error.unwrap_or_else(|| panic!("{i}: {name}")).to_string();
        assert!(message.starts_with(name), "{i}: {name}: {message}");
    }
    assert_eq!((&network.parameters, &stepped), (&p, &p));
}
