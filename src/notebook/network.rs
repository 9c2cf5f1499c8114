//! The notebook's class, and its section 2: gradient descent.

use super::{Caches, ONE_SHARD, backward, check, compute_cost, forward, initialize_rnn_parameters};
use crate::{Batch, Engine, Error, Inputs, Network, Parameters, Result, Scalar, Targets};
use ndarray::{Array3, ArrayRef, Ix3};

/// Parameters, with the passes that use them.
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
    ///
    /// # Errors
    /// As [`initialize_rnn_parameters`].
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
    ///
    /// # Errors
    /// [`Error::Invalid`] if they are of another kind of network.
    pub fn from_parameters(parameters: Parameters<T>) -> Result<Self> {
        check(&parameters)?;
        Ok(RecurrentNeuralNetwork {
            grads: Parameters::zeros(parameters.architecture()),
            parameters,
            caches: None,
        })
    }

    /// Draws all parameters anew.
    ///
    /// # Errors
    /// As [`initialize_rnn_parameters`].
    pub fn initialize_parameters(&mut self, seed: u64) -> Result<()> {
        let [n_x, n_h, n_y] = check(&self.parameters)?;
        *self = Self::new(n_x, n_y, n_h, seed)?;
        Ok(())
    }

    /// [`forward`] with the network's parameters: from `[N, T, n_x]` to `[N, T, n_y]`.
    ///
    /// # Errors
    /// As [`forward`].
    pub fn forward(&mut self, inputs: &ArrayRef<T, Ix3>) -> Result<Array3<T>> {
        let (yhats, caches) = forward(inputs, &self.parameters)?;
        self.caches = Some(caches);
        Ok(yhats)
    }

    /// [`backward`] from targets `y [N, T, n_y]` of the inputs that were read last.
    ///
    /// # Errors
    /// As [`backward`]; [`Error::Invalid`] if nothing was read yet.
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
///
/// ```
/// use bptt::notebook::{WH, gradient_descent_step, initialize_rnn_parameters};
///
/// let mut parameters = initialize_rnn_parameters::<f64>(3, 9, 5, 1)?;
/// let grads = parameters.clone();
/// gradient_descent_step(&mut parameters, &grads, 1.0)?;
/// assert!(parameters.matrix(WH).iter().all(|&w| w == 0.0));
/// # Ok::<(), bptt::Error>(())
/// ```
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
        return Err(Error::Option {
            name: "learning_rate",
            value: learning_rate.to_string(),
            expected: "a finite number",
        });
    }
    let learning_rate = T::from_f64(learning_rate);
    let weights = parameters.as_mut_slice().iter_mut();
    weights
        .zip(grads.as_slice())
        .for_each(|(w, &dw)| *w -= learning_rate * dw);
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
    check(&network.parameters)?;
    let mut trained = Network::from_parameters(network.parameters.clone());
    let mut engine = Engine::new(trained.architecture(), ONE_SHARD)?;
    let (inputs, answers) = (
        Inputs::Dense(inputs.view()),
        Targets::Values(targets.view()),
    );
    let batch = Batch::new(inputs, answers);
    let mut losses = Losses::default();
    for _ in 0..max_iter {
        let outputs = engine.predict(&trained, inputs, None)?;
        let found = engine.gradient(&trained, &batch)?;
        losses.printed.push(compute_cost(&outputs, targets)?);
        losses.cross_entropy.push(found.mean_loss());
        gradient_descent_step(trained.parameters_mut(), engine.gradients(), learning_rate)?;
    }
    network.parameters = trained.parameters().clone();
    network.grads = engine.gradients().clone();
    network.caches = None;
    Ok(losses)
}
