//! Section 1 of the notebook: parameters, one step, all steps, their cost, and back.

use super::{BH, ONE_SHARD, WH, WX, architecture, check};
use crate::init::initialize;
use crate::kernels::blas;
use crate::{
    Batch, Engine, Error, Init, Input, Inputs, Network, Parameters, Result, Scalar, Stream,
    Targets, one_hot,
};
use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, Array3, ArrayRef, ArrayView2, Axis, Ix2, Ix3, Zip, s};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Probabilities are kept this far from 0 and 1 before [`compute_cost`] takes their logarithm.
const CLIP: f64 = 1e-10;

/// Parameters as the notebook's text says: every weight of a matrix `[n, m]` from N(0, 2 / (n + m)), biases zero. (Its
/// printed `Wy` is divided where the text multiplies, and so is wider by far.)
///
/// # Errors
/// [`Error::Option`] for a size that is zero or too large.
///
/// ```
/// use bptt::notebook::{WY, initialize_rnn_parameters};
///
/// let (n_x, n_h, n_y) = (3, 9, 5);
/// let parameters = initialize_rnn_parameters::<f64>(n_x, n_h, n_y, 1)?;
/// assert_eq!(parameters.matrix(WY).shape(), [5, 9]);
/// # Ok::<(), bptt::Error>(())
/// ```
pub fn initialize_rnn_parameters<T: Scalar>(
    n_x: usize,
    n_h: usize,
    n_y: usize,
    seed: u64,
) -> Result<Parameters<T>> {
    initialize(architecture(n_x, n_h, n_y), Init::Glorot, seed)
}

/// Whether an array has the shape expected.
fn check_shape(what: &'static str, found: &[usize], expected: &[usize]) -> Result<()> {
    if found != expected {
        return Err(Error::Shape {
            what,
            found: found.to_vec(),
            expected: format!("{expected:?}"),
        });
    }
    Ok(())
}

/// One time step: from `x_t [N, n_x]` and `h_prev [N, n_h]` to `(yhat_t [N, n_y], h_t [N, n_h], z_t [N, n_h])`.
///
/// The engine does not keep `z_t`: it is computed here once more, so `tanh(z_t)` is `h_t` within rounding.
///
/// # Errors
/// [`Error::Shape`] naming `x_t` or `h_prev`; [`Error::Invalid`] for parameters of another kind of network.
///
/// ```
/// use bptt::notebook::{initialize_rnn_parameters, rnn_layer};
/// use ndarray::Array2;
///
/// let parameters = initialize_rnn_parameters::<f32>(3, 9, 5, 1)?;
/// let (y_t, h_t, z_t) = rnn_layer(&Array2::ones((2, 3)), &Array2::zeros((2, 9)), &parameters)?;
/// assert_eq!((y_t.shape(), h_t.shape(), z_t.shape()), (&[2, 5][..], &[2, 9][..], &[2, 9][..]));
/// # Ok::<(), bptt::Error>(())
/// ```
pub fn rnn_layer<T: Scalar>(
    x_t: &ArrayRef<T, Ix2>,
    h_prev: &ArrayRef<T, Ix2>,
    parameters: &Parameters<T>,
) -> Result<(Array2<T>, Array2<T>, Array2<T>)> {
    let [n_x, n_h, _] = check(parameters)?;
    let n = x_t.nrows().max(1);
    check_shape("x_t", x_t.shape(), &[n, n_x])?;
    check_shape("h_prev", h_prev.shape(), &[n, n_h])?;
    let network = Network::from_parameters(parameters.clone());
    let mut engine = Engine::new(network.architecture(), ONE_SHARD)?;
    let mut h_t = h_prev.to_owned();
    let inputs = Inputs::Dense(x_t.view().insert_axis(Axis(1)));
    let yhats = engine.predict(&network, inputs, Some(&mut h_t))?;
    let z_t = pre_activations(x_t.view(), h_prev.view(), parameters);
    Ok((yhats.index_axis_move(Axis(1), 0), h_t, z_t))
}

/// `z = h_prev Wh^T + x Wx^T + bh` of rows `x [rows, n_x]` and `h_prev [rows, n_h]`.
fn pre_activations<T: Scalar>(
    x: ArrayView2<'_, T>,
    h_prev: ArrayView2<'_, T>,
    parameters: &Parameters<T>,
) -> Array2<T> {
    let mut z = Array2::zeros((x.nrows(), h_prev.ncols()));
    z += &parameters.matrix(BH);
    blas::exclusive(|| {
        let _one = blas::OneThread::new();
        for (rows, weights) in [(h_prev, WH), (x, WX)] {
            let weights = parameters.matrix(weights);
            general_mat_mul(T::one(), &rows, &weights.t(), T::one(), &mut z);
        }
    });
    z
}

/// `[N, T, n]` in standard layout as `[N T, n]`.
fn as_rows<T>(array: &Array3<T>) -> ArrayView2<'_, T> {
    let (n, t, width) = array.dim();
    let rows = array.view().into_shape_with_order((n * t, width));
    rows.expect("standard layout")
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
///
/// ```
/// use bptt::notebook::{forward, initialize_rnn_parameters};
/// use ndarray::Array3;
///
/// let parameters = initialize_rnn_parameters::<f64>(3, 9, 5, 1)?;
/// let (yhats, caches) = forward(&Array3::ones((7, 2, 3)), &parameters)?;
/// assert_eq!((yhats.shape(), caches.hs.shape()), (&[7, 2, 5][..], &[7, 2, 9][..]));
/// # Ok::<(), bptt::Error>(())
/// ```
pub fn forward<T: Scalar>(
    inputs: &ArrayRef<T, Ix3>,
    parameters: &Parameters<T>,
) -> Result<(Array3<T>, Caches<T>)> {
    let [n_x, n_h, n_y] = check(parameters)?;
    Inputs::Dense(inputs.view()).check(Input::Features(n_x))?;
    let (n, t, _) = inputs.dim();
    let (mut yhats, mut hs) = (Array3::zeros((n, t, n_y)), Array3::zeros((n, t, n_h)));
    // The states before each step.
    let mut before = Array3::zeros((n, t, n_h));
    let network = Network::from_parameters(parameters.clone());
    let mut stream = Stream::new(&network, n)?;
    for step in 0..t {
        before.slice_mut(s![.., step, ..]).assign(&stream.state());
        let x_t = Inputs::Dense(inputs.slice(s![.., step..=step, ..]));
        yhats.slice_mut(s![.., step, ..]).assign(&stream.step(x_t)?);
        hs.slice_mut(s![.., step, ..]).assign(&stream.state());
    }
    // The pre-activations of all steps at once, as rows `[N T, n]`.
    let inputs = inputs.as_standard_layout().into_owned();
    let (x, h_prev) = (as_rows(&inputs), as_rows(&before));
    let zs = pre_activations(x, h_prev, parameters).into_shape_with_order((n, t, n_h));
    let caches = Caches {
        hs,
        zs: zs.expect("a row for each step of each sequence"),
        yhats: yhats.clone(),
        inputs,
    };
    Ok((yhats, caches))
}

/// The mean over all steps of `-sum_k targets_k log clip(outputs_k, 1e-10, 1 - 1e-10)`, in `f64`; both `[N, T, n_y]`.
///
/// A probability that is less than 1e-10 costs as much as one that is 1e-10. [`train`](super::train) returns the cross-entropy without
/// this bound.
///
/// # Errors
/// [`Error::Shape`] naming `outputs` or `targets` if they do not fit each other, or there is no step.
///
/// ```
/// use bptt::notebook::compute_cost;
/// use ndarray::array;
///
/// let (targets, outputs) = (array![[[1.0, 0.0], [0.0, 1.0]]], array![[[0.5, 0.5], [0.75, 0.25]]]);
/// assert!((compute_cost(&targets, &outputs)? - 1.5 * 2f64.ln()).abs() < 1e-15);
/// # Ok::<(), bptt::Error>(())
/// ```
pub fn compute_cost<T: Scalar>(
    targets: &ArrayRef<T, Ix3>,
    outputs: &ArrayRef<T, Ix3>,
) -> Result<f64> {
    check_shape("outputs", outputs.shape(), targets.shape())?;
    let (n, t, _) = targets.dim();
    if n * t == 0 {
        return Err(Error::Shape {
            what: "targets",
            found: targets.shape().to_vec(),
            expected: "[N, T, n_y] with N and T at least 1".into(),
        });
    }
    // With what each addition rounds away carried to the next (Kahan 1965), so that no digit depends on the order.
    let (sum, _) = Zip::from(targets).and(outputs).fold(
        (0.0, 0.0),
        |(sum, lost): (f64, f64), target, output| {
            let log = output.as_f64().clamp(CLIP, 1.0 - CLIP).ln();
            let term = -target.as_f64() * log - lost;
            let next = sum + term;
            (next, (next - sum) - term)
        },
    );
    Ok(sum / (n * t) as f64)
}

/// One-hot rows `[N, T, n_y]` of classes drawn evenly.
///
/// # Errors
/// [`Error::Option`] for an `n_y` that is zero or does not fit a class id.
///
/// ```
/// use bptt::notebook::generate_one_hot_targets;
///
/// let targets = generate_one_hot_targets::<f64>(7, 2, 5, 123)?;
/// assert_eq!((targets.shape(), targets.sum()), (&[7, 2, 5][..], 14.0));
/// # Ok::<(), bptt::Error>(())
/// ```
pub fn generate_one_hot_targets<T: Scalar>(
    batch_size: usize,
    sequence_length: usize,
    n_y: usize,
    seed: u64,
) -> Result<Array3<T>> {
    let limit = u32::try_from(n_y).ok().filter(|&limit| limit > 0);
    let limit = limit.ok_or_else(|| Error::Option {
        name: "n_y",
        value: n_y.to_string(),
        expected: "from 1 to 2^32 - 1",
    })?;
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
///
/// ```
/// use bptt::notebook::{WX, backward, forward, generate_one_hot_targets, initialize_rnn_parameters};
/// use ndarray::Array3;
///
/// let parameters = initialize_rnn_parameters::<f64>(3, 9, 5, 1)?;
/// let (_, caches) = forward(&Array3::ones((7, 2, 3)), &parameters)?;
/// let grads = backward(&generate_one_hot_targets(7, 2, 5, 123)?, &parameters, &caches)?;
/// assert_eq!(grads.matrix(WX).shape(), [9, 3]);
/// # Ok::<(), bptt::Error>(())
/// ```
pub fn backward<T: Scalar>(
    y: &ArrayRef<T, Ix3>,
    parameters: &Parameters<T>,
    caches: &Caches<T>,
) -> Result<Parameters<T>> {
    check(parameters)?;
    let mut engine = Engine::new(parameters.architecture(), ONE_SHARD)?;
    let batch = Batch::new(&caches.inputs, Targets::Values(y.view()));
    engine.gradient(&Network::from_parameters(parameters.clone()), &batch)?;
    Ok(engine.gradients().clone())
}
