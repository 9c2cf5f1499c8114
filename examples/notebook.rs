//! The notebook this crate grew from, section by section, with [`bptt::notebook`]: prints every figure
//! the notebook prints, under the same labels, and draws its loss curve.
//!
//! ```text
//! cargo run --release --example notebook [notebook-loss.svg]
//! ```
//!
//! Weights, inputs and targets are NumPy's, from `tests/fixtures/notebook.npz`; the figures are
//! computed here. Arrays look as NumPy prints them, but for rows too long for its lines, which stay
//! whole. `tests/notebook/main.rs` checks the same figures.

use bptt::notebook::{
    BH, BY, Losses, RecurrentNeuralNetwork, Tanh, WH, WX, WY, backward, compute_cost, forward,
    gradient_descent_step, rnn_layer, softmax, train,
};
use bptt::{Architecture, Head, Input, Parameters};
use ndarray::{Array, Array2, Array3, ArrayBase, ArrayD, ArrayViewD, Axis, Data, Dimension, IxDyn};
use ndarray_npy::NpzReader;
use plotters::prelude::*;
use std::error::Error;
use std::path::{Path, PathBuf};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

const LEARNING_RATE: f64 = 0.01;
const ITERATIONS: usize = 1000;

/// Digits after the point, NumPy's default.
const PRECISION: usize = 8;

fn main() -> Result {
    let path = std::env::args_os().nth(1).map_or_else(
        || std::env::temp_dir().join("notebook-loss.svg"),
        PathBuf::from,
    );
    let mut fixture = Fixture::open()?;
    activations(&mut fixture)?;
    initialization(&mut fixture)?;
    layer(&mut fixture)?;
    forward_cost_and_backward(&mut fixture)?;
    let network = network_class(&mut fixture)?;
    one_step(network)?;
    training(&mut fixture, &path)?;
    println!("\nLoss curves: {}", path.display());
    Ok(())
}

/// `act(x) = tanh(x)`, `act.derivative(x) = 1 - tanh(x)^2`, and softmax over rows.
fn activations(fixture: &mut Fixture) -> Result {
    println!("0 - Tanh and softmax\n");
    let x: Array2<f64> = fixture.array("tanh_x")?;
    println!("act(x) =\n {}", numpy(&Tanh.forward(&x)));
    println!("act.derivative(x) =\n {}", numpy(&Tanh.derivative(&x)));

    // The notebook's input is lost. The logarithm of its printed output serves: softmax(log y) = y.
    let x = fixture.array::<ndarray::Ix2>("softmax_printed")?.ln();
    let y = softmax(&x);
    println!("softmax(x) =\n {}", numpy(&y));
    let sums = y.sum_axis(Axis(1)).insert_axis(Axis(1));
    println!("sum of y for each sample =\n {}", numpy(&sums));
    Ok(())
}

/// The weights `Wx [9, 3]`, `Wh [9, 9]`, `Wy [5, 9]`.
fn initialization(fixture: &mut Fixture) -> Result {
    println!("\n1.1 - Initialization\n");
    let p = fixture.parameters("init_")?;
    println!("Wx: {}", numpy(&p.matrix(WX)));
    println!("Wh: {}", numpy(&p.matrix(WH)));
    println!("Wy: {}", numpy(&p.matrix(WY)));
    Ok(())
}

/// One time step of two sequences: `x [2, 3]` and `h_prev [2, 9]` to `y_t [2, 5]`.
fn layer(fixture: &mut Fixture) -> Result {
    println!("\n1.2 - RNN layer\n");
    let parameters = fixture.parameters("init_")?;
    let x: Array2<f64> = fixture.array("layer_x")?;
    let h_prev: Array2<f64> = fixture.array("layer_h_prev")?;
    let (y_t, _h_t, _z_t) = rnn_layer(&x, &h_prev, &parameters)?;
    println!("y_t.shape: {}", tuple(y_t.shape()));
    println!("y_t: {}", numpy(&y_t));
    Ok(())
}

/// Seven sequences of two steps, `[7, 2, 3]`, through forward pass, cross-entropy and gradients.
fn forward_cost_and_backward(fixture: &mut Fixture) -> Result {
    println!("\n1.3 - RNN forward pass\n");
    let parameters = fixture.parameters("forward_")?;
    let x: Array3<f64> = fixture.array("forward_x")?;
    let (y, caches) = forward(&x, &parameters)?;
    println!("y_pred.shape: {}", tuple(y.shape()));
    println!("y_pred: {}", numpy(&y));

    println!("\n1.4 - Compute cost\n");
    let targets: Array3<f64> = fixture.array("cost_targets")?;
    println!("loss: {}", compute_cost(&targets, &y)?);

    println!("\n1.5 - Backpropagation\n");
    let grads = backward(&targets, &parameters, &caches)?;
    let dwx = grads.matrix(WX);
    println!("grads['dWx'].shape: {}", tuple(dwx.shape()));
    println!("grads['dWx']: {}", numpy(&dwx));
    Ok(())
}

/// Forward and backward pass of the notebook's class, over inputs `[4, 2, 3]`.
fn network_class(fixture: &mut Fixture) -> Result<RecurrentNeuralNetwork> {
    println!("\n1.6 - Build RNN\n");
    let mut network = RecurrentNeuralNetwork::from_parameters(fixture.parameters("class_")?)?;
    let x: Array3<f64> = fixture.array("class_x")?;
    let targets: Array3<f64> = fixture.array("class_targets")?;
    let outputs = network.forward(&x)?;
    println!("Shape of outputs: {}", tuple(outputs.shape()));

    network.backward(&targets)?;
    let dwx = network.grads.matrix(WX);
    println!("Shape of grads: {}", tuple(dwx.shape()));
    println!("grads['dWx'] = \n{}", numpy(&dwx));
    Ok(network)
}

/// One step of gradient descent with that network, and all its parameters after it.
fn one_step(mut network: RecurrentNeuralNetwork) -> Result {
    println!("\n2 - Training RNN using gradient descent\n");
    gradient_descent_step(&mut network.parameters, &network.grads, LEARNING_RATE)?;
    let p = network.parameters;
    println!("Wx = \n{}", numpy(&p.matrix(WX)));
    println!("Wh = \n{}", numpy(&p.matrix(WH)));
    println!("Wy = \n{}", numpy(&p.matrix(WY)));
    println!("bh = \n{}", numpy(&p.matrix(BH).t()));
    println!("by = \n{}", numpy(&p.matrix(BY).t()));
    Ok(())
}

/// A thousand updates of a network of a hundred hidden units on ten sequences of fifty steps.
fn training(fixture: &mut Fixture, path: &Path) -> Result {
    println!();
    let mut network = RecurrentNeuralNetwork::from_parameters(fixture.parameters("training_")?)?;
    let x: Array3<f64> = fixture.array("training_x")?;
    let targets: Array3<f64> = fixture.array("training_targets")?;
    let losses = train(&mut network, &x, &targets, LEARNING_RATE, ITERATIONS)?;
    for i in (0..ITERATIONS).step_by(100) {
        println!("Iteration {i}: Loss = {}", losses.printed[i]);
        println!("    true cross-entropy: {}", losses.cross_entropy[i]);
    }
    println!(
        "\nLoss is the notebook's: its cost with outputs and targets swapped. The descent follows\n\
         the cross-entropy. Its first 90 updates amplify rounding some 1e11 times, in NumPy too,\n\
         so that from iteration 100 on a loss agrees with the notebook's to about 1e-6."
    );

    draw(path, &losses)
}

/// Both curves as an SVG.
fn draw(path: &Path, losses: &Losses) -> Result {
    let Losses {
        printed,
        cross_entropy,
    } = losses;
    let top = printed.iter().chain(cross_entropy).copied();
    let top = 1.05 * top.fold(0.0, f64::max);
    let area = SVGBackend::new(path, (900, 560)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption("The notebook's training run", ("sans-serif", 22))
        .margin(14)
        .x_label_area_size(48)
        .y_label_area_size(72)
        .build_cartesian_2d(0.0..ITERATIONS as f64, 0.0..top)?;
    let mut mesh = chart.configure_mesh();
    mesh.x_desc("iteration").y_desc("loss").draw()?;
    for (name, colour, curve) in [
        ("as the notebook plots it (swapped)", BLUE, printed),
        ("cross-entropy", RED, cross_entropy),
    ] {
        let points = (0..).map(f64::from).zip(curve.iter().copied());
        chart
            .draw_series(LineSeries::new(points, colour))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], colour));
    }
    let mut legend = chart.configure_series_labels();
    legend.legend_area_size(32).border_style(BLACK).draw()?;
    area.present()?;
    Ok(())
}

/// The arrays that `tests/fixtures/notebook.py` wrote.
struct Fixture(NpzReader<fs_err::File>);

impl Fixture {
    fn open() -> Result<Self> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/notebook.npz");
        Ok(Fixture(NpzReader::new(fs_err::File::open(path)?)?))
    }

    fn array<D: Dimension>(&mut self, name: &str) -> Result<Array<f64, D>> {
        self.0
            .by_name(name)
            .map_err(|error| format!("{name}: {error}").into())
    }

    /// The five parameters `{prefix}wx`, …; biases are `[n, 1]` there.
    fn parameters(&mut self, prefix: &str) -> Result<Parameters<f64>> {
        let mut data = Vec::new();
        let mut shapes = Vec::new();
        for name in ["wx", "wh", "wy", "bh", "by"] {
            let array: ArrayD<f64> = self.array::<IxDyn>(&format!("{prefix}{name}"))?;
            shapes.push([array.len_of(Axis(0)), array.len_of(Axis(1))]);
            data.extend(array);
        }
        let [n_h, n_x] = shapes[0];
        let [n_y, _] = shapes[2];
        let architecture = Architecture::new(Input::Features(n_x), n_h, Head::softmax(n_y));
        Ok(Parameters::from_vec(architecture, data)?)
    }
}

/// A shape as Python prints it: `(2, 5)`.
fn tuple(shape: &[usize]) -> String {
    let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
    format!("({})", sizes.join(", "))
}

/// An array as NumPy prints it: [`PRECISION`] digits after the point, less trailing zeros, in
/// columns; with exponents where the numbers differ by more than a thousand times or are very small
/// or large.
fn numpy<D: Dimension>(array: &ArrayBase<impl Data<Elem = f64>, D>) -> String {
    let sizes = || array.iter().map(|x| x.abs()).filter(|&x| x > 0.0);
    let (min, max) = (
        sizes().fold(f64::INFINITY, f64::min),
        sizes().fold(0.0, f64::max),
    );
    let exponents = max >= 1e8 || min < 1e-4 || max / min > 1000.0;
    let parts: Vec<(String, String)> = array
        .iter()
        .map(|&x| if exponents { scientific(x) } else { fixed(x) })
        .collect();
    let left = parts.iter().map(|(left, _)| left.len()).max().unwrap_or(0);
    let right = parts
        .iter()
        .map(|(_, right)| right.len())
        .max()
        .unwrap_or(0);
    let words = parts
        .iter()
        .map(|(whole, fraction)| format!("{whole:>left$}.{fraction:<right$}"));
    let words =
        ArrayD::from_shape_vec(array.shape(), words.collect()).expect("a word for each number");
    brackets(words.view(), 1)
}

/// What stands before the point and what after it, trailing zeros left out.
fn fixed(x: f64) -> (String, String) {
    let text = format!("{x:.PRECISION$}");
    let (whole, fraction) = text.split_once('.').expect("PRECISION is positive");
    (
        whole.to_string(),
        fraction.trim_end_matches('0').to_string(),
    )
}

/// The same with an exponent of a sign and two digits: `("2", "31497458e-04")`.
fn scientific(x: f64) -> (String, String) {
    let text = format!("{x:.PRECISION$e}");
    let (mantissa, exponent) = text.split_once('e').expect("asked for");
    let (whole, fraction) = mantissa.split_once('.').expect("PRECISION is positive");
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    (
        whole.to_string(),
        format!("{fraction}e{sign}{exponent:0>2}"),
    )
}

/// Rows in brackets on lines of their own, blank lines between matrices, `depth` brackets deep.
fn brackets(words: ArrayViewD<'_, String>, depth: usize) -> String {
    if words.ndim() == 0 {
        return words.iter().cloned().collect();
    }
    let inner: Vec<String> = words
        .outer_iter()
        .map(|part| brackets(part, depth + 1))
        .collect();
    let separator = match words.ndim() {
        1 => " ".to_string(),
        n => "\n".repeat(n - 1) + &" ".repeat(depth),
    };
    format!("[{}]", inner.join(&separator))
}
