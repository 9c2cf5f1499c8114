//! The notebook this crate grew from, function by function, under its own names.
//!
//! ```text
//! z_t = Wh h_{t-1} + Wx x_t + bh      h_t = tanh(z_t)      u_t = Wy h_t + by      yhat_t = softmax(u_t)
//! cost = -1/(N T) sum_{n,t} y_t . log yhat_t
//! ```
//!
//! `parameters['Wx']` of the notebook is `parameters.matrix(WX)` here, and `grads['dWx']` is `grads.matrix(WX)`; biases, there
//! columns, are rows.
//!
//! For readers who come from the notebook, and for the tests that hold its printed figures. [`rnn_layer`] and [`forward`] are
//! its equations as they stand there; [`backward`] and [`train`] run on an [`Engine`] of one thread and one shard. Training of
//! one's own is better done with [`Engine`] or [`Trainer`](crate::train::Trainer). Numbers are drawn from a seed with ChaCha8,
//! not from NumPy's generator, so the notebook's own weights have to be brought along.
//!
//! ```
//! use bptt::notebook::*;
//! use ndarray::{Array2, Array3, array};
//!
//! // Section 0: tanh, its derivative, and softmax over the last axis.
//! assert_eq!(Tanh.forward(&array![[0.0, 100.0]]), array![[0.0, 1.0]]);
//! assert_eq!(Tanh.derivative(&array![[0.0]]), array![[1.0]]);
//! assert_eq!(softmax(&array![[0.0, 0.0], [1e4, -1e4]]), array![[0.5, 0.5], [1.0, 0.0]]);
//!
//! // Section 1: parameters, one step, all steps, their cost, and back.
//! let (n_x, n_h, n_y) = (3, 9, 5);
//! let mut parameters = initialize_rnn_parameters::<f64>(n_x, n_h, n_y, 1)?;
//! let (y_t, h_t, z_t) = rnn_layer(&Array2::ones((4, 3)), &Array2::zeros((4, 9)), &parameters)?;
//! assert_eq!((y_t.shape(), h_t.shape(), z_t.shape()), (&[4, 5][..], &[4, 9][..], &[4, 9][..]));
//! let x = Array3::from_shape_fn((4, 2, n_x), |(n, t, i)| ((n + 2 * t + 3 * i) % 5) as f64 - 2.0);
//! let y = generate_one_hot_targets(4, 2, n_y, 123)?;
//! let (yhats, caches) = forward(&x, &parameters)?;
//! assert!(compute_cost(&y, &yhats)? > 0.0);
//! let grads = backward(&y, &parameters, &caches)?;
//! assert_eq!(grads.matrix(WX).shape(), [9, 3]);
//!
//! // Section 2: gradient descent.
//! gradient_descent_step(&mut parameters, &grads, 0.01)?;
//! let mut network = RecurrentNeuralNetwork::from_parameters(parameters)?;
//! let losses = train(&mut network, &x, &y, 0.1, 100)?;
//! assert!(losses.cross_entropy[99] < losses.cross_entropy[0]);
//! # Ok::<(), bptt::Error>(())
//! ```

use crate::architecture::Which;
use crate::init::initialize;
use crate::kernels::simd;
use crate::targets::check_shape;
use crate::{
    Architecture, Batch, Engine, EngineOptions, Error, Head, Init, Input, Inputs, Network,
    Parameters, Result, Scalar, Targets, one_hot,
};
use ndarray::{
    Array, Array2, Array3, ArrayRef, ArrayView2, Dimension, Ix2, Ix3, RemoveAxis, Zip, s,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// `Wx [n_h, n_x]`, what an input adds to the hidden state.
pub const WX: Which = Which::WeightIh(0);
/// `Wh [n_h, n_h]`, what the hidden state before adds to it.
pub const WH: Which = Which::WeightHh(0);
/// `Wy [n_y, n_h]`, from the hidden state to the outputs.
pub const WY: Which = Which::Decoder;
/// `bh`, as `[1, n_h]`.
pub const BH: Which = Which::Bias(0);
/// `by`, as `[1, n_y]`.
pub const BY: Which = Which::DecoderBias;

/// Probabilities are kept this far from 0 and 1 before [`compute_cost`] takes their logarithm.
const CLIP: f64 = 1e-10;

/// The notebook's only network.
fn architecture(n_x: usize, n_h: usize, n_y: usize) -> Architecture {
    Architecture::new(Input::Features(n_x), n_h, Head::softmax(n_y))
}

/// Whether parameters are those of the notebook's network; returns its `[n_x, n_h, n_y]`.
fn check<T: Scalar>(parameters: &Parameters<T>) -> Result<[usize; 3]> {
    let found = parameters.architecture();
    let (n_x, n_h, n_y) = (found.input.size(), found.hidden, found.head.outputs);
    if found != architecture(n_x, n_h, n_y) {
        let problem = format!("expected one layer of tanh that reads features, found {found}");
        return Err(Error::invalid("parameters", problem));
    }
    found.check()?;
    Ok([n_x, n_h, n_y])
}

fn engine<T: Scalar>(parameters: &Parameters<T>) -> Result<Engine<T>> {
    check(parameters)?;
    let options = EngineOptions {
        threads: 1,
        shards: 1,
        memory: None,
    };
    Engine::new(parameters.architecture(), options)
}

/// The activation of the hidden layer, element by element.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tanh;

impl Tanh {
    /// `tanh(x)`, of any shape.
    pub fn forward<T: Scalar, D: Dimension>(&self, x: &ArrayRef<T, D>) -> Array<T, D> {
        let mut y = x.as_standard_layout().into_owned();
        let elements = y.as_slice_mut().expect("standard layout");
        T::tanh_in_place(simd::level(), elements);
        y
    }

    /// `1 - tanh(x)^2`, of any shape.
    pub fn derivative<T: Scalar, D: Dimension>(&self, x: &ArrayRef<T, D>) -> Array<T, D> {
        self.forward(x).mapv_into(|y| T::one() - y * y)
    }
}

/// `exp(x) / sum exp(x)` over the last axis; the maximum is taken off first, so that no exponential overflows.
pub fn softmax<T: Scalar, D: RemoveAxis>(x: &ArrayRef<T, D>) -> Array<T, D> {
    let mut y = x.as_standard_layout().into_owned();
    let classes = x.shape().last().copied().unwrap_or(1);
    if classes > 0 {
        let elements = y.as_slice_mut().expect("standard layout");
        T::softmax(simd::level(), elements, classes);
    }
    y
}

/// Parameters as the notebook's text says: every weight of a matrix `[n, m]` from N(0, 2 / (n + m)), biases zero. (Its
/// printed `Wy` is divided where the text multiplies, and so is wider by far.)
///
/// # Errors
/// [`Error::Option`] for a size that is zero or too large.
pub fn initialize_rnn_parameters<T: Scalar>(
    n_x: usize,
    n_h: usize,
    n_y: usize,
    seed: u64,
) -> Result<Parameters<T>> {
    initialize(architecture(n_x, n_h, n_y), Init::Glorot, seed)
}

/// One time step: from `x_t [N, n_x]` and `h_prev [N, n_h]` to `(yhat_t [N, n_y], h_t [N, n_h], z_t [N, n_h])`.
///
/// # Errors
/// [`Error::Shape`] naming `x_t` or `h_prev`; [`Error::Invalid`] for parameters of another kind of network.
pub fn rnn_layer<T: Scalar>(
    x_t: &ArrayRef<T, Ix2>,
    h_prev: &ArrayRef<T, Ix2>,
    parameters: &Parameters<T>,
) -> Result<(Array2<T>, Array2<T>, Array2<T>)> {
    let [n_x, n_h, _] = check(parameters)?;
    let n = x_t.nrows().max(1);
    check_shape("x_t", x_t.shape(), &[n, n_x], "")?;
    check_shape("h_prev", h_prev.shape(), &[n, n_h], "")?;
    // The products are plain loops, for they are small, and need no lock of OpenBLAS.
    let product = |rows: ArrayView2<'_, T>, weights: Which, bias: Option<Which>| {
        let weights = parameters.matrix(weights);
        Array2::from_shape_fn((rows.nrows(), weights.nrows()), |(n, unit)| {
            let bias = bias.map_or(T::zero(), |bias| parameters.get(bias)[unit]);
            let terms = rows.row(n).into_iter().zip(weights.row(unit));
            terms.fold(bias, |sum, (&x, &w)| sum + x * w)
        })
    };
    let z_t = product(h_prev.view(), WH, Some(BH)) + product(x_t.view(), WX, None);
    let h_t = Tanh.forward(&z_t);
    let yhat_t = softmax(&product(h_t.view(), WY, Some(BY)));
    Ok((yhat_t, h_t, z_t))
}

/// What [`forward`] leaves for [`backward`].
#[derive(Clone, Debug, PartialEq)]
pub struct Caches<T> {
    /// `[N, T, n_h]`, the hidden states.
    pub hs: Array3<T>,
    /// `[N, T, n_h]`, what they are the hyperbolic tangent of.
    pub zs: Array3<T>,
    /// `[N, T, n_y]`, the probabilities.
    pub yhats: Array3<T>,
    /// `[N, T, n_x]`, what was read.
    pub inputs: Array3<T>,
}

/// [`rnn_layer`] after [`rnn_layer`], from a hidden state of zero: from `inputs [N, T, n_x]` to `yhats [N, T, n_y]` and what
/// is needed to go back.
///
/// # Errors
/// [`Error::Shape`] naming `inputs`; [`Error::Invalid`] for parameters of another kind of network.
pub fn forward<T: Scalar>(
    inputs: &ArrayRef<T, Ix3>,
    parameters: &Parameters<T>,
) -> Result<(Array3<T>, Caches<T>)> {
    let [n_x, n_h, n_y] = check(parameters)?;
    Inputs::Dense(inputs.view()).check(Input::Features(n_x))?;
    let (n, t, _) = inputs.dim();
    let mut caches = Caches {
        hs: Array3::zeros((n, t, n_h)),
        zs: Array3::zeros((n, t, n_h)),
        yhats: Array3::zeros((n, t, n_y)),
        inputs: inputs.to_owned(),
    };
    let mut h_prev = Array2::zeros((n, n_h));
    for t in 0..t {
        let (yhat_t, h_t, z_t) = rnn_layer(&inputs.slice(s![.., t, ..]), &h_prev, parameters)?;
        caches.yhats.slice_mut(s![.., t, ..]).assign(&yhat_t);
        caches.hs.slice_mut(s![.., t, ..]).assign(&h_t);
        caches.zs.slice_mut(s![.., t, ..]).assign(&z_t);
        h_prev = h_t;
    }
    Ok((caches.yhats.clone(), caches))
}

/// The mean over all steps of `-sum_k targets_k log clip(outputs_k, 1e-10, 1 - 1e-10)`, in `f64`; both `[N, T, n_y]`.
///
/// A probability that is less than 1e-10 costs as much as one that is 1e-10. [`train`] returns the cross-entropy without
/// this bound.
///
/// # Errors
/// [`Error::Shape`] naming `outputs` or `targets` if they do not fit each other, or there is no step.
pub fn compute_cost<T: Scalar>(
    targets: &ArrayRef<T, Ix3>,
    outputs: &ArrayRef<T, Ix3>,
) -> Result<f64> {
    let (n, t, n_y) = targets.dim();
    check_shape("outputs", outputs.shape(), targets.shape(), "")?;
    check_shape("targets", targets.shape(), &[n.max(1), t.max(1), n_y], "")?;
    // With what each addition rounds away carried to the next (Kahan 1965), so that no digit depends on the order.
    let (mut sum, mut lost) = (0.0, 0.0);
    Zip::from(targets).and(outputs).for_each(|target, output| {
        let log = output.as_f64().clamp(CLIP, 1.0 - CLIP).ln();
        let term = -target.as_f64() * log - lost;
        let next = sum + term;
        (sum, lost) = (next, (next - sum) - term);
    });
    Ok(sum / (n * t) as f64)
}

/// One-hot rows `[N, T, n_y]` of classes drawn evenly.
///
/// # Errors
/// [`Error::Option`] for an `n_y` that is zero or does not fit a class id.
pub fn generate_one_hot_targets<T: Scalar>(
    batch_size: usize,
    sequence_length: usize,
    n_y: usize,
    seed: u64,
) -> Result<Array3<T>> {
    let limit = u32::try_from(n_y).ok().filter(|&limit| limit > 0);
    let limit = limit.ok_or_else(|| Error::option("n_y", n_y, "from 1 to 2^32 - 1"))?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let classes =
        Array2::from_shape_simple_fn((batch_size, sequence_length), || rng.random_range(0..limit));
    one_hot(classes.view(), n_y)
}

/// The gradients of the mean cross-entropy of all steps, for targets `y [N, T, n_y]` whose rows sum to 1: `grads['dWx']` of
/// the notebook is `grads.matrix(WX)`.
///
/// `caches` are what [`forward`] returned for the same parameters. The engine goes forward once more, in its own layout, so of
/// the caches it reads the inputs alone.
///
/// # Errors
/// [`Error::Shape`] naming `targets` or, of caches with others, `inputs`; [`Error::Invalid`] for parameters of another kind
/// of network.
pub fn backward<T: Scalar>(
    y: &ArrayRef<T, Ix3>,
    parameters: &Parameters<T>,
    caches: &Caches<T>,
) -> Result<Parameters<T>> {
    let mut engine = engine(parameters)?;
    let batch = Batch::new(&caches.inputs, Targets::Values(y.view()));
    engine.gradient(&Network::from_parameters(parameters.clone()), &batch)?;
    Ok(engine.gradients().clone())
}

/// Parameters, with the passes that use them. Errors are those of the functions of these names; [`Error::Invalid`] for
/// parameters of another kind of network, and for the way back where there was none forward.
#[derive(Clone, Debug, PartialEq)]
pub struct RecurrentNeuralNetwork<T: Scalar = f64> {
    /// `Wx`, `Wh`, `Wy`, `bh`, `by`.
    pub parameters: Parameters<T>,
    /// Their gradients, as the last [`RecurrentNeuralNetwork::backward`] found them; zero before.
    pub grads: Parameters<T>,
    /// What the last [`RecurrentNeuralNetwork::forward`] left.
    pub caches: Option<Caches<T>>,
}

impl<T: Scalar> RecurrentNeuralNetwork<T> {
    /// A network with parameters of [`initialize_rnn_parameters`]. The sizes come in the notebook's order.
    pub fn new(
        input_size: usize,
        output_size: usize,
        hidden_size: usize,
        seed: u64,
    ) -> Result<Self> {
        let parameters = initialize_rnn_parameters(input_size, hidden_size, output_size, seed)?;
        Self::from_parameters(parameters)
    }

    /// A network with these parameters.
    pub fn from_parameters(parameters: Parameters<T>) -> Result<Self> {
        check(&parameters)?;
        Ok(RecurrentNeuralNetwork {
            grads: Parameters::zeros(parameters.architecture()),
            parameters,
            caches: None,
        })
    }

    /// Draws all parameters anew.
    pub fn initialize_parameters(&mut self, seed: u64) -> Result<()> {
        let [n_x, n_h, n_y] = check(&self.parameters)?;
        *self = Self::new(n_x, n_y, n_h, seed)?;
        Ok(())
    }

    /// [`forward`] with the network's parameters: from `[N, T, n_x]` to `[N, T, n_y]`.
    pub fn forward(&mut self, inputs: &ArrayRef<T, Ix3>) -> Result<Array3<T>> {
        let (yhats, caches) = forward(inputs, &self.parameters)?;
        self.caches = Some(caches);
        Ok(yhats)
    }

    /// [`backward`] from targets `y [N, T, n_y]` of the inputs that were read last.
    pub fn backward(&mut self, y: &ArrayRef<T, Ix3>) -> Result<()> {
        let nothing = || Error::invalid("caches", "there are none: call `forward` first");
        let caches = self.caches.as_ref().ok_or_else(nothing)?;
        self.grads = backward(y, &self.parameters, caches)?;
        Ok(())
    }
}

/// `parameters -= learning_rate grads`, for each of the five.
///
/// # Errors
/// [`Error::Invalid`] if they are of different networks; [`Error::Option`] for a rate that is no finite number.
pub fn gradient_descent_step<T: Scalar>(
    parameters: &mut Parameters<T>,
    grads: &Parameters<T>,
    learning_rate: f64,
) -> Result<()> {
    let (found, expected) = (grads.architecture(), parameters.architecture());
    if found != expected {
        let problem = format!("they are of another network ({found}), expected {expected}");
        return Err(Error::invalid("grads", problem));
    }
    if !learning_rate.is_finite() {
        let expected = "a finite number";
        return Err(Error::option("learning_rate", learning_rate, expected));
    }
    let learning_rate = T::from_f64(learning_rate);
    let weights = parameters.as_mut_slice().iter_mut();
    for (w, &dw) in weights.zip(grads.as_slice()) {
        *w -= learning_rate * dw;
    }
    Ok(())
}

/// The losses of a training run, one for each iteration, before its update.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Losses {
    /// What the notebook prints and plots: `compute_cost(outputs, targets)`, with the arguments swapped. For one-hot targets
    /// that is 23.03 times the mean probability of wrong classes.
    pub printed: Vec<f64>,
    /// The mean cross-entropy, from the logits: what the descent follows. No probability is clipped.
    pub cross_entropy: Vec<f64>,
}

/// Gradient descent on all of `inputs [N, T, n_x]` and `targets [N, T, n_y]` at once, `max_iter` times.
///
/// Afterwards the network has the last iteration's gradients, and no caches.
///
/// # Errors
/// [`Error::Shape`] naming `inputs` or `targets`; as [`gradient_descent_step`]. The network is as it was then.
pub fn train<T: Scalar>(
    network: &mut RecurrentNeuralNetwork<T>,
    inputs: &ArrayRef<T, Ix3>,
    targets: &ArrayRef<T, Ix3>,
    learning_rate: f64,
    max_iter: usize,
) -> Result<Losses> {
    let mut engine = engine(&network.parameters)?;
    let mut trained = Network::from_parameters(network.parameters.clone());
    let inputs = Inputs::Dense(inputs.view());
    let batch = Batch::new(inputs, Targets::Values(targets.view()));
    let mut losses = Losses::default();
    for _ in 0..max_iter {
        let outputs = engine.predict(&trained, inputs, None)?;
        let found = engine.gradient(&trained, &batch)?;
        losses.printed.push(compute_cost(&outputs, targets)?);
        losses.cross_entropy.push(found.mean_loss());
        gradient_descent_step(trained.parameters_mut(), engine.gradients(), learning_rate)?;
    }
    *network = RecurrentNeuralNetwork {
        parameters: trained.parameters().clone(),
        grads: engine.gradients().clone(),
        caches: None,
    };
    Ok(losses)
}
