//! A network fed one time step after another: [`Stream`], for streaming inference.

use crate::architecture::At;
use crate::engine::check_state;
use crate::kernels::simd;
use crate::scratch::Scratch;
use crate::stack::{self, Weights};
use crate::steps::Assigned;
use crate::weights::{PackedNetwork, Passes};
use crate::{Error, Inputs, Network, Result, Scalar};
use ndarray::{Array2, ArrayView2};

/// Sequences side by side that go on step by step, on the calling thread.
///
/// ```
/// use bptt::{Architecture, Engine, EngineOptions, Head, Init, Input, Network, Stream};
/// use ndarray::array;
///
/// let architecture = Architecture { layers: 2, ..Architecture::new(Input::Tokens(3), 8, Head::softmax(3)) };
/// let network = Network::<f64>::new(architecture, Init::Orthogonal, 0)?;
/// let mut engine = Engine::new(architecture, EngineOptions::default())?;
/// let whole = engine.predict(&network, &array![[2u32, 0, 1]], None)?;
/// let mut stream = Stream::new(&network, 1)?;
/// for (t, id) in [2u32, 0, 1].into_iter().enumerate() {
///     assert_eq!(stream.step(&array![[id]])?.row(0), whole.slice(ndarray::s![0, t, ..]));
/// }
/// # Ok::<(), bptt::Error>(())
/// ```
#[derive(Debug)]
pub struct Stream<'n, T: Scalar> {
    network: &'n Network<T>,
    packed: PackedNetwork<T>,
    scratch: Scratch<T>,
    assigned: Assigned,
    state: Array2<T>,
    answers: Array2<T>,
}

impl<'n, T: Scalar> Stream<'n, T> {
    /// `n` sequences side by side, each from a zero state.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for a network that reads its sequences from both ends: of a stream, the end is not
    /// known.
    pub fn new(network: &'n Network<T>, n: usize) -> Result<Self> {
        let architecture = network.architecture();
        if architecture.bidirectional {
            let problem = "it reads sequences from both ends, and a stream has no end yet";
            return Err(Error::invalid("network", problem));
        }
        let mut packed = PackedNetwork::default();
        // Few rows at a time, of weights that are packed once: even a wide decoder is.
        packed.pack(network.parameters(), Passes::Forward, false);
        Ok(Stream {
            network,
            packed,
            scratch: Scratch::new(architecture),
            assigned: Assigned::default(),
            state: Array2::zeros((n, architecture.state())),
            answers: Array2::zeros((n, architecture.head.outputs)),
        })
    }

    /// The next inputs, of any number of steps (`[n, T]` tokens or `[n, T, n_x]` features), and what the network answers after
    /// the last of them, `[n, n_y]`: probabilities, or numbers.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) or [`Error::Id`](crate::Error::Id) if the inputs do not fit the network or the
    /// number of sequences.
    pub fn step<'a>(&mut self, inputs: impl Into<Inputs<'a, T>>) -> Result<ArrayView2<'_, T>> {
        let (inputs, architecture) = (inputs.into(), self.network.architecture());
        inputs.check(architecture.input)?;
        let (n, t) = inputs.sequences();
        check_state(Some(self.state.view()), n, architecture.state())?;
        let (scratch, n_y) = (&mut self.scratch, architecture.head.outputs);
        self.assigned.set((0..n).map(|row| (t, row)));
        scratch.load(&inputs, &self.assigned, 0..t);
        scratch.enter(|row, k| self.state[[row, k]]);
        let weights = Weights {
            parameters: self.network.parameters(),
            packed: &self.packed,
        };
        stack::states(weights, scratch);
        let state = self.state.as_slice_mut().expect("standard layout");
        scratch.copy_last_states(state);
        if architecture.head.at == At::Last {
            stack::take_last(scratch, state);
        }
        stack::logits(weights, scratch);
        let last = &scratch.u[scratch.u.len() - n * n_y..];
        let answers = self.answers.as_slice_mut().expect("standard layout");
        answers.copy_from_slice(last);
        T::respond(simd::level(), architecture.head.loss, answers, n_y);
        Ok(self.answers.view())
    }

    /// The state after the last step, `[n, W]`.
    pub fn state(&self) -> ArrayView2<'_, T> {
        self.state.view()
    }
}
