//! The notebook this crate grew from, function by function, under its own names.
//!
//! ```text
//! z_t = Wh h_{t-1} + Wx x_t + bh      h_t = tanh(z_t)      u_t = Wy h_t + by      yhat_t = softmax(u_t)
//! cost = -1/(N T) sum_{n,t} y_t . log yhat_t
//! ```
//!
//! | notebook | shape | here |
//! |---|---|---|
//! | `parameters['Wx']` | `[n_h, n_x]` | `parameters.matrix(WX)` |
//! | `parameters['Wh']` | `[n_h, n_h]` | `parameters.matrix(WH)` |
//! | `parameters['Wy']` | `[n_y, n_h]` | `parameters.matrix(WY)` |
//! | `parameters['bh']` | `[n_h, 1]`, here `[1, n_h]` | `parameters.matrix(BH)` |
//! | `parameters['by']` | `[n_y, 1]`, here `[1, n_y]` | `parameters.matrix(BY)` |
//! | `grads['dWx']`, ... | those of the parameters | `grads.matrix(WX)`, ... |
//!
//! For readers who come from the notebook, and for the tests that hold its printed figures. The passes are those of
//! [`Engine`](crate::Engine) and [`Stream`](crate::Stream), on one thread and in one shard; training of one's own is better
//! done with [`Engine`](crate::Engine) or [`Trainer`](crate::train::Trainer). Numbers are drawn from a seed with ChaCha8, not from NumPy's generator, so the notebook's own
//! weights have to be brought along.
//!
//! ```
//! use bptt::notebook::{RecurrentNeuralNetwork, WX, generate_one_hot_targets, gradient_descent_step, train};
//! use ndarray::Array3;
//!
//! let (n_x, n_y, n_h) = (3, 5, 9);
//! let x = Array3::from_shape_fn((4, 2, n_x), |(n, t, i)| ((n + 2 * t + 3 * i) % 5) as f64 - 2.0);
//! let y = generate_one_hot_targets(4, 2, n_y, 1)?;
//! let mut network = RecurrentNeuralNetwork::new(n_x, n_y, n_h, 1)?;
//! assert_eq!(network.forward(&x)?.shape(), [4, 2, 5]);
//! network.backward(&y)?;
//! assert_eq!(network.grads.matrix(WX).shape(), [9, 3]);
//! gradient_descent_step(&mut network.parameters, &network.grads, 0.01)?;
//!
//! let losses = train(&mut network, &x, &y, 0.1, 100)?;
//! assert!(losses.cross_entropy[99] < losses.cross_entropy[0]);
//! # Ok::<(), bptt::Error>(())
//! ```

mod activations;
mod network;
mod passes;

pub use activations::{Tanh, softmax};
pub use network::{Losses, RecurrentNeuralNetwork, gradient_descent_step, train};
pub use passes::{
    Caches, backward, compute_cost, forward, generate_one_hot_targets, initialize_rnn_parameters,
    rnn_layer,
};

use crate::architecture::Which;
use crate::{Architecture, EngineOptions, Error, Head, Input, Parameters, Result, Scalar};

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

/// The engine of every pass here.
const ONE_SHARD: EngineOptions = EngineOptions {
    threads: 1,
    shards: 1,
    memory: None,
};

/// The notebook's only network.
fn architecture(n_x: usize, n_h: usize, n_y: usize) -> Architecture {
    Architecture::new(Input::Features(n_x), n_h, Head::softmax(n_y))
}

/// Whether parameters are those of the notebook's network; returns its `[n_x, n_h, n_y]`.
fn check<T: Scalar>(parameters: &Parameters<T>) -> Result<[usize; 3]> {
    let found = parameters.architecture();
    let (n_x, n_h, n_y) = (found.input.size(), found.hidden, found.head.outputs);
    if found != architecture(n_x, n_h, n_y) {
        return Err(Error::invalid(
            "parameters",
            format!("expected one layer of tanh that reads features, found {found}"),
        ));
    }
    found.check()?;
    Ok([n_x, n_h, n_y])
}
