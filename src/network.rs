//! The model type: [`Rnn`], a network with its parameters, for one thread and any arrays.
//!
//! What trains on all cores is [`crate::Engine`]; both run the same forward and backward pass. [`Stream`] feeds a network
//! one time step after another.

use crate::backward::{Beyond, backward, initial_state_gradient};
use crate::batch::Answers;
use crate::blas::OneThread;
use crate::forward::{forward, hidden_step, logits, states};
use crate::loss::softmax_cross_entropy;
use crate::packed::Finish;
use crate::workspace::{Rows, Workspace};
use crate::{
    Batch, Dims, Error, Init, Inputs, Parameters, Result, Scalar, Targets, activation, init,
};
use ndarray::{Array2, Array3, ArrayView2, ArrayView3, Axis};

/// A vanilla (Elman) recurrent network with a softmax output.
///
/// ```
/// use bptt::{Batch, Dims, Init, Rnn};
/// use ndarray::array;
///
/// let mut rnn = Rnn::<f64>::new(Dims::new(3, 8, 3)?, Init::Orthogonal, 0)?;
/// let (inputs, targets) = (array![[0u32, 1, 2, 0]], array![[1u32, 2, 0, 1]]);
/// let before = rnn.forward(&inputs, None)?.loss(&targets)?;
/// for _ in 0..100 {
///     let gradients = rnn.backward(&Batch::new(&inputs, &targets))?;
///     bptt::optim::gradient_descent_step(rnn.parameters_mut(), &gradients.parameters, 0.5);
/// }
/// assert!(rnn.forward(&inputs, None)?.loss(&targets)? < 0.1 * before);
/// # Ok::<(), bptt::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Rnn<T: Scalar = f32> {
    parameters: Parameters<T>,
}

/// One time step of `N` sequences, as [`Rnn::step`] returns it: the notebook's `rnn_layer`.
#[derive(Clone, Debug)]
pub struct Step<T> {
    /// Probabilities `[N, n_y]`.
    pub y: Array2<T>,
    /// Hidden state `[N, n_h]`.
    pub h: Array2<T>,
    /// Pre-activation `[N, n_h]`: `h = tanh(z)`.
    pub z: Array2<T>,
}

/// The gradients of the mean loss.
#[derive(Clone, Debug)]
pub struct Gradients<T> {
    /// With respect to `wx, wh, wy, bh, by`.
    pub parameters: Parameters<T>,
    /// With respect to the initial state, `[N, n_h]`.
    pub initial_state: Array2<T>,
}

impl<T: Scalar> Rnn<T> {
    /// A network with freshly drawn weights.
    ///
    /// # Errors
    /// As [`init::initialize`].
    pub fn new(dims: Dims, init: Init, seed: u64) -> Result<Self> {
        Ok(Rnn {
            parameters: init::initialize(dims, init, seed)?,
        })
    }

    /// A network with these weights.
    pub fn from_parameters(parameters: Parameters<T>) -> Self {
        Rnn { parameters }
    }

    /// The sizes.
    pub fn dims(&self) -> Dims {
        self.parameters.dims()
    }

    /// The weights.
    pub fn parameters(&self) -> &Parameters<T> {
        &self.parameters
    }

    /// The weights, to change.
    pub fn parameters_mut(&mut self) -> &mut Parameters<T> {
        &mut self.parameters
    }

    /// One time step: inputs `[N, n_x]` and previous state `[N, n_h]` to probabilities, state and pre-activation.
    ///
    /// For a step after a step, [`Stream`] keeps the weights packed.
    ///
    /// # Errors
    /// [`Error::Shape`] if either does not fit.
    pub fn step(&self, x: ArrayView2<'_, T>, h_prev: ArrayView2<'_, T>) -> Result<Step<T>> {
        let mut ws = self.loaded(Inputs::Dense(x.insert_axis(Axis(1))), Some(h_prev))?;
        ws.pack_forward(&self.parameters);
        hidden_step(&self.parameters, &mut ws, 0, Finish::Store);
        let z = last_state(&ws).to_owned();
        forward(&self.parameters, &mut ws);
        let h = last_state(&ws).to_owned();
        let u = Array2::from_shape_vec((ws.n(), ws.dims.n_y), ws.u).expect("u is [1, n, n_y]");
        Ok(Step {
            y: activation::softmax(&u),
            h,
            z,
        })
    }

    /// All time steps, batch-first, from `initial_state [N, n_h]` (zero where there is none).
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Id`] if the inputs or the state do not fit the network.
    pub fn forward<'a>(
        &self,
        inputs: impl Into<Inputs<'a, T>>,
        initial_state: Option<ArrayView2<'_, T>>,
    ) -> Result<Forward<'_, T>> {
        let mut ws = self.loaded(inputs.into(), initial_state)?;
        forward(&self.parameters, &mut ws);
        Ok(Forward { rnn: self, ws })
    }

    /// The gradients of the mean loss over the counted steps of a batch, from a zero initial state.
    ///
    /// # Errors
    /// As [`Batch::check`].
    pub fn backward(&self, batch: &Batch<'_, T>) -> Result<Gradients<T>> {
        let pass = self.forward(batch.inputs, None)?;
        match batch.counts() {
            None => pass.backward(batch.answers),
            Some(counts) => pass.backward(Answers {
                targets: batch.answers.targets.reborrow(),
                mask: Some(counts.view()),
            }),
        }
    }

    /// Probabilities `[N, T, n_y]`, from a zero initial state.
    ///
    /// # Errors
    /// As [`Rnn::forward`].
    pub fn predict<'a>(&self, inputs: impl Into<Inputs<'a, T>>) -> Result<Array3<T>> {
        Ok(self.forward(inputs, None)?.probabilities())
    }

    fn loaded(
        &self,
        inputs: Inputs<'_, T>,
        state: Option<ArrayView2<'_, T>>,
    ) -> Result<Workspace<T>> {
        inputs.check(self.dims())?;
        let (n, t) = inputs.sequences();
        check_state(state, n, self.dims())?;
        let mut ws = Workspace::new(self.dims());
        let rows = Rows::all(0..n, t);
        ws.load(&inputs, &rows, 0..t);
        ws.start(state, &rows);
        Ok(ws)
    }
}

/// The state after the last step, `[n, n_h]`, of sequences of one length.
fn last_state<T: Scalar>(ws: &Workspace<T>) -> ArrayView2<'_, T> {
    ArrayView2::from_shape((ws.n(), ws.dims.n_h), ws.last_states()).expect("all are alive")
}

/// Whether a state, if there is one, is `[n, n_h]`.
pub(crate) fn check_state<T>(state: Option<ArrayView2<'_, T>>, n: usize, dims: Dims) -> Result<()> {
    match state {
        Some(state) if state.dim() != (n, dims.n_h) => Err(Error::Shape {
            what: "state",
            found: state.shape().to_vec(),
            expected: format!("[{n}, {}]", dims.n_h),
        }),
        _ => Ok(()),
    }
}

/// A forward pass with all that a backward pass needs: the notebook's outputs and cache.
#[derive(Clone, Debug)]
pub struct Forward<'r, T: Scalar> {
    rnn: &'r Rnn<T>,
    ws: Workspace<T>,
}

impl<T: Scalar> Forward<'_, T> {
    /// Logits `[N, T, n_y]`.
    pub fn logits(&self) -> Array3<T> {
        self.batch_first(&self.ws.u, self.ws.dims.n_y)
    }

    /// Probabilities `[N, T, n_y]`.
    pub fn probabilities(&self) -> Array3<T> {
        activation::softmax(&self.logits())
    }

    /// Hidden states `[N, T, n_h]`.
    pub fn hidden(&self) -> Array3<T> {
        self.batch_first(
            &self.ws.h[self.ws.n() * self.ws.dims.n_h..],
            self.ws.dims.n_h,
        )
    }

    /// The state after the last step, `[N, n_h]`: the initial state of what follows.
    pub fn last_state(&self) -> ArrayView2<'_, T> {
        last_state(&self.ws)
    }

    /// The mean cross-entropy over all steps, in nats.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Id`] if the targets do not fit.
    pub fn loss<'a>(&self, targets: impl Into<Targets<'a, T>>) -> Result<f64> {
        crate::loss::cross_entropy(self.logits().view(), targets)
    }

    /// The gradients of the mean loss over the steps that count. Consumes the pass: its logits
    /// become their gradients.
    ///
    /// # Errors
    /// As [`Answers::check`].
    pub fn backward<'a>(mut self, answers: impl Into<Answers<'a, T>>) -> Result<Gradients<T>> {
        let (ws, answers) = (&mut self.ws, answers.into());
        let _one_thread = OneThread::new();
        let (n, t) = (ws.n(), ws.t);
        answers.check(ws.dims, (n, t))?;
        let scale = T::from_f64(1.0 / answers.counted((n, t)) as f64);
        softmax_cross_entropy(ws, &answers, &Rows::all(0..n, t), 0, scale);
        let mut parameters = Parameters::zeros(ws.dims);
        ws.pack_backward(&self.rnn.parameters);
        backward(
            &self.rnn.parameters,
            ws,
            &mut parameters,
            &Beyond::default(),
            None,
        );
        Ok(Gradients {
            parameters,
            initial_state: initial_state_gradient(ws),
        })
    }

    /// A time-major buffer `[T, n, width]` as an array `[N, T, width]`.
    fn batch_first(&self, time_major: &[T], width: usize) -> Array3<T> {
        let view = ArrayView3::from_shape((self.ws.t, self.ws.n(), width), time_major)
            .expect("time-major buffer");
        view.permuted_axes([1, 0, 2])
            .as_standard_layout()
            .into_owned()
    }
}

/// A network fed one time step after another: streaming inference.
///
/// ```
/// use bptt::{Dims, Init, Rnn, Stream};
/// use ndarray::array;
///
/// let rnn = Rnn::<f64>::new(Dims::new(3, 8, 3)?, Init::Orthogonal, 0)?;
/// let whole = rnn.predict(&array![[2u32, 0, 1]])?;
/// let mut stream = Stream::new(&rnn, 1);
/// for (t, id) in [2u32, 0, 1].into_iter().enumerate() {
///     assert_eq!(stream.step(&array![[id]])?.row(0), whole.slice(ndarray::s![0, t, ..]));
/// }
/// # Ok::<(), bptt::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Stream<'r, T: Scalar> {
    rnn: &'r Rnn<T>,
    ws: Workspace<T>,
    rows: Rows,
    state: Array2<T>,
    probabilities: Array2<T>,
    /// Whether the workspace holds packed weights for tokens (`true`), for dense inputs (`false`), or none yet.
    packed: Option<bool>,
}

impl<'r, T: Scalar> Stream<'r, T> {
    /// `n` sequences side by side, each from a zero state.
    pub fn new(rnn: &'r Rnn<T>, n: usize) -> Self {
        let mut ws = Workspace::new(rnn.dims());
        // Few rows at a time, of weights that are packed once.
        ws.wide_output = false;
        Stream {
            rnn,
            ws,
            rows: Rows::default(),
            state: Array2::zeros((n, rnn.dims().n_h)),
            probabilities: Array2::zeros((n, rnn.dims().n_y)),
            packed: None,
        }
    }

    /// The next inputs, of any number of steps (`[n, T]` tokens or `[n, T, n_x]` features), and the probabilities
    /// `[n, n_y]` after the last of them.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Id`] if the inputs do not fit the network or the number of sequences.
    pub fn step<'a>(&mut self, inputs: impl Into<Inputs<'a, T>>) -> Result<ArrayView2<'_, T>> {
        let inputs = inputs.into();
        inputs.check(self.rnn.dims())?;
        let (n, t) = inputs.sequences();
        check_state(Some(self.state.view()), n, self.rnn.dims())?;
        self.rows.set((0..n).map(|row| (t, row)));
        self.ws.load(&inputs, &self.rows, 0..t);
        self.ws.start(Some(self.state.view()), &self.rows);
        let tokens = matches!(inputs, Inputs::Tokens(_));
        if self.packed != Some(tokens) {
            self.ws.pack_forward(&self.rnn.parameters);
            self.packed = Some(tokens);
        }
        states(&self.rnn.parameters, &mut self.ws);
        logits(&self.rnn.parameters, &mut self.ws, None);
        self.state.assign(&last_state(&self.ws));
        let n_y = self.rnn.dims().n_y;
        let last = ArrayView2::from_shape((n, n_y), &self.ws.u[(t - 1) * n * n_y..])
            .expect("u is [T, n, n_y]");
        self.probabilities.assign(&last);
        activation::softmax_in_place(
            self.probabilities.as_slice_mut().expect("standard layout"),
            n_y,
        );
        Ok(self.probabilities.view())
    }

    /// The state after the last step, `[n, n_h]`.
    pub fn state(&self) -> ArrayView2<'_, T> {
        self.state.view()
    }
}
