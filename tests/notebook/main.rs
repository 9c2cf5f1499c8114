//! The notebook this crate grew from, section by section: every figure it prints, to the last
//! printed digit, and to full precision as `fixtures/notebook.py` recomputed it with NumPy.
//!
//! Weights, inputs and targets come from that script's `fixtures/notebook.npz`. They cannot be
//! drawn here: the notebook draws from NumPy's Mersenne Twister, and its `Wy` is scaled otherwise
//! than its text says. Names in the fixture are `section_array`; a gradient has a `d` before its
//! parameter's name, as in `backward_dwx`.

use bptt::notebook::{
    BH, BY, Losses, RecurrentNeuralNetwork, Tanh, WH, WX, WY, backward, compute_cost, forward,
    generate_one_hot_targets, gradient_descent_step, initialize_rnn_parameters, rnn_layer, softmax,
    train,
};
use bptt::{Architecture, Cell, Head, Input, Parameters};
use ndarray::{Array, Array2, Array3, ArrayD, Axis, Dimension, Ix0, s};
use ndarray_npy::NpzReader;
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

// What the notebook printed, digit for digit.

const TANH: &str = "
    0.92525207  -0.5453623  -0.48398233
    -0.79057703  0.69903334  -0.98015695
";
const TANH_DERIVATIVE: &str = "
    0.1439086  0.70257996  0.76576111
    0.37498795  0.51135239  0.03929236
";
const SOFTMAX: &str = "
    0.18376865  0.4103551  0.03269533  0.28088273  0.09229819
    0.17606771  0.11032588  0.11556621  0.08852581  0.50951439
    0.39110427  0.27540117  0.05782917  0.19338811  0.08227728
    0.10790932  0.17883443  0.21565153  0.24922814  0.24837658
";
const PRINTED_WX: &str = "
    0.66313622  -0.24974851  -0.21562521
    -0.43803761  0.35330119  -0.93959924
    0.71231642  -0.31076142  0.13024717
    -0.10180503  0.59690307  -0.84104892
    -0.13162627  -0.15678953  0.46285944
    -0.44902873  -0.07039352  -0.3583842
    0.01723369  0.23793331  -0.4493259
    0.4673315  0.36807287  0.20514245
    0.3677729  -0.27913073  -0.05016972
";
const PRINTED_WH: &str = "
    -0.31192314  -0.08929603  0.17678516  -0.23055358  -0.13225118
    -0.22905757  -0.28173521  -0.22374871  -0.00422153
    -0.37243678  0.07813857  0.55326739  0.24734805  -0.06394518
    -0.29587632  -0.24905276  0.56415153  0.01693592
    -0.21233188  0.06363849  0.70008505  0.04005298  0.20573437
    0.10005677  -0.11741662  -0.3808394  -0.11644757
    -0.06963141  0.19554106  0.27966114  0.31036736  0.09519578
    0.29504705  -0.25146598  0.41762272  0.17097661
    -0.09936428  0.16283938  -0.02519057  0.3772098  0.50660561
    0.72852514  -0.46549878  -0.48137127  -0.16815529
    0.05334569  0.29205631  0.10521165  -0.67406707  -0.102068
    0.27599155  0.07669825  0.25400373  -0.07410938
    -0.06691936  0.06218713  0.13668388  0.06609991  0.03966955
    -0.2235541  0.1258546  0.04060709  0.37649464
    0.39963929  0.06171881  -0.12509498  -0.21291014  0.14116478
    0.02578002  -0.11461789  0.01453229  -0.20666695
    0.23267734  -0.14904285  0.40816923  0.13449721  0.19785951
    -0.36497062  0.05646081  0.24685215  -0.3179002
";
const PRINTED_WY: &str = "
    -0.70434796  0.08628998  -3.63292695  0.83383337  2.23873064
    -2.27406543  0.92745748  -3.47197556  -0.10237869
    -4.27493183  2.96699237  1.08184913  -0.06513034  -2.05088487
    3.37004142  5.20446203  -4.91575795  3.2705826
    4.30635911  0.89429489  -3.17296497  2.28419701  -0.47867013
    -1.59782379  -3.25442793  1.4565853  2.0975698
    -1.64970725  1.37731553  -3.02764273  2.12152488  0.12320549
    -0.49361722  -0.26919428  2.29885669  1.98540258
    1.40083358  0.36432316  0.20589535  1.63608039  0.61512278
    1.80586128  -0.82049186  -6.44197521  2.74847155
";
const LAYER_Y: &str = "
    2.31497458e-04  9.24265539e-03  9.75012681e-01  1.44409055e-02  1.07226113e-03
    1.08739880e-05  9.99969433e-01  1.37498024e-08  4.22887287e-06  1.54503763e-05
";
const FORWARD_Y: &str = "
    8.14030433e-01  1.85697573e-01  1.19428504e-04  1.50260441e-04  2.30558817e-06
    9.15500527e-01  5.76525372e-04  8.38080431e-02  7.74767803e-05  3.74277242e-05
    2.25965257e-01  7.70775868e-01  1.28454261e-03  1.82887200e-03  1.45460715e-04
    7.46652214e-01  9.38900248e-03  2.41129282e-01  2.58439814e-03  2.45103162e-04
    6.74700721e-04  2.42456728e-02  2.17135742e-02  1.73002039e-01  7.80364014e-01
    8.76059591e-01  1.12555365e-01  9.12727590e-03  1.98127191e-03  2.76496978e-04
    7.75369988e-01  1.82259822e-02  1.86318767e-01  1.21015190e-02  7.98374302e-03
    2.08883982e-05  9.38296085e-05  2.43152289e-02  2.77351744e-02  9.47834879e-01
    6.52061336e-01  3.45708061e-01  5.87547698e-04  1.58770786e-03  5.53476937e-05
    4.03010060e-02  1.03779191e-02  7.59748679e-01  8.62274703e-02  1.03344925e-01
    9.56819502e-01  3.64582631e-02  3.55765118e-03  2.85283239e-03  3.11751088e-04
    7.69509091e-01  1.84469051e-02  2.83176522e-02  9.55487248e-02  8.81776273e-02
    2.23020703e-07  6.61925876e-06  9.91300502e-03  4.96653305e-03  9.85113620e-01
    1.52567204e-01  8.46430959e-01  8.59757875e-05  8.82382096e-04  3.34785553e-05
";
const BACKWARD_DWX: &str = "
    -0.59072159  0.40433816  1.10746108
    0.958936  0.05239214  1.00942008
    -0.5482359  0.32950661  -1.2185552
    0.28912497  0.23787591  -3.48232618
    -1.60721343  0.91352167  0.52073181
    0.72894355  -0.49311288  0.55852002
    -0.04680902  -0.37165716  2.42702709
    1.07534461  -0.60867996  1.19172103
    -0.96090388  0.4181982  0.33683314
";
const CLASS_DWX: &str = "
    -0.33408226  0.20717265  -0.17950987
    0.42339331  0.24859148  0.09659816
    0.85870903  -0.41918044  0.00496727
    0.45031315  -0.47297622  0.71640565
    0.52565742  -0.23802471  0.01545178
    0.06318471  -0.34500968  0.19753802
    -0.01849903  0.19205179  0.17765888
    0.23638977  -0.05530361  -0.19717733
    0.67169325  -0.48560953  0.41511517
";
const STEPPED_WX: &str = "
    -0.01985759  -0.32381429  0.0294375
    -0.4283655  -0.11013178  0.21877389
    0.61532254  0.80300178  0.1951748
    0.04421935  -0.34532894  -0.31822794
    0.25573856  0.02178268  1.271471
    -0.21800838  0.14453404  -0.17569076
    -0.9137896  0.71471729  -0.10963308
    0.34313437  0.85245801  0.21690564
    0.39492141  -0.77987877  -0.36946202
";
const STEPPED_WH: &str = "
    0.10986031  0.3496242  0.44979252  0.41524094  -0.23131324
    0.42734633  -0.24182157  -0.26638211  -0.00153421
    0.17096413  -0.0548569  0.44763083  -0.20553441  -0.24781734
    0.33887128  -0.18461997  0.14480114  -0.04988595
    0.00799085  -0.08548738  0.6127309  -0.06509604  0.52612364
    0.25211712  -0.17554081  -0.25126458  0.02946636
    0.56049949  -0.06302826  -0.05351696  -0.45793266  0.01562913
    -0.52317622  -0.43101348  0.02469749  -0.29477515
    -0.07760832  -0.31835933  0.00785813  -0.32343905  -0.25461273
    -0.08842911  -0.05770037  -0.62784493  0.5360078
    0.38216656  -0.16221317  0.34092179  -0.32828395  -0.41293664
    0.64027094  -0.14951357  0.51540084  -0.63782513
    -0.331346  -0.13554117  0.03370381  -0.28909834  0.12165935
    -0.31296643  -0.4624453  -0.11332773  -0.05977637
    -0.08033296  -0.08249913  -0.05623839  0.19120769  -0.31898973
    -0.21712552  0.23985408  0.41145335  -0.08891493
    0.52267962  -0.32835657  0.02762499  0.00970381  -0.38607831
    -0.36657855  -0.0409012  -0.24448924  0.2266115
";
const STEPPED_WY: &str = "
    -1.1509867  -2.70785963  0.33763363  1.89973091  1.02847637
    2.83459239  3.11818766  -2.39918769  4.53899388
    0.4360091  1.33122474  -2.38190165  4.3178705  -1.3831266
    -1.51272681  3.78791469  -2.23010359  -1.37526698
    -0.11224725  -1.1086377  -1.31274024  3.07604818  -1.09776538
    0.25854946  -1.69262062  -0.58312581  1.4589016
    -0.12766189  -0.91789953  -5.44624739  0.02015283  -2.57381152
    0.23709946  2.66270509  -2.35274898  -3.53495414
    -0.67905862  1.04181555  -5.01694331  -2.28537271  -2.69671482
    0.55621664  -0.32703492  0.7893244  1.52645133
";
const STEPPED_BH: &str = "
    0.00441775
    0.00093143
    -0.00193035
    -0.00258762
    -0.00288833
    -0.00309124
    -0.00920422
    0.00148524
    0.00653478
";
const STEPPED_BY: &str = "
    -0.00085045
    -0.00016961
    0.00106684
    -0.00045858
    0.0004118
";

const COST: f64 = 5.676070798625509;
/// At iterations 0, 100, …, 900: the swapped cost.
const TRAINING_CURVE: [f64; 10] = [
    18.15663669722336,
    0.8782191175534547,
    0.5335292699306723,
    0.4342417973404307,
    0.37848605036261607,
    0.3405588773870283,
    0.3119290213417056,
    0.2888488852341271,
    0.26941228378657167,
    0.25255578204420387,
];

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
