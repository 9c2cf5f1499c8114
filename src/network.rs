//! The model type: [`Network`], an architecture and its weights.
//!
//! What trains and evaluates it is [`crate::Engine`]; [`crate::Stream`] feeds it one time step after another.

use crate::architecture::Architecture;
use crate::init::initialize;
use crate::{Init, Parameters, Result, Scalar};

/// A network with its weights.
///
/// ```
/// use bptt::{Architecture, Cell, Head, Init, Input, Network};
///
/// let one = Architecture::new(Input::Features(8), 64, Head::softmax(3));
/// let network = Network::<f32>::new(Architecture { cell: Cell::Relu, layers: 2, ..one }, Init::Orthogonal, 0)?;
/// assert_eq!(network.parameters().as_slice().len(), network.architecture().len());
/// # Ok::<(), bptt::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Network<T: Scalar = f32> {
    parameters: Parameters<T>,
}

impl<T: Scalar> Network<T> {
    /// A network with freshly drawn weights.
    ///
    /// # Errors
    /// As [`initialize`].
    pub fn new(architecture: Architecture, init: Init, seed: u64) -> Result<Self> {
        initialize(architecture, init, seed).map(Self::from_parameters)
    }

    /// A network with these weights.
    pub fn from_parameters(parameters: Parameters<T>) -> Self {
        Network { parameters }
    }

    /// What it is.
    pub fn architecture(&self) -> Architecture {
        self.parameters.architecture()
    }

    /// The weights.
    pub fn parameters(&self) -> &Parameters<T> {
        &self.parameters
    }

    /// The weights, to change.
    pub fn parameters_mut(&mut self) -> &mut Parameters<T> {
        &mut self.parameters
    }
}
