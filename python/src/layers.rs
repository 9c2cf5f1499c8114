//! The layers without the head, there and back: what `bptt.torch` runs on ([`Layers32`], [`Layers64`]).
//!
//! Weights come and go as PyTorch's modules have them: for each layer and direction `weight_ih`, `weight_hh`, and if there are biases
//! `bias_ih`, `bias_hh`. The library has one bias where both are added, so both have its gradient.

use crate::errors::{raise, raise_memory};
use bptt::architecture::Which;
use bptt::cli::memory;
use bptt::optim::Algorithm;
use bptt::{
    Architecture, Cell, Dropout, Engine, EngineOptions, GradientOptions, Head, Input, Inputs,
    Network, Parameters, Scalar,
};
use ndarray::{ArrayView, ArrayView3, ArrayViewMut2, ArrayViewMut3, Dimension};
use numpy::{
    Element, PyArray1, PyArray2, PyArray3, PyReadonlyArray2, PyReadonlyArray3, PyReadonlyArrayDyn,
    PyReadwriteArray2, PyReadwriteArray3, ToPyArray,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// An engine for layers of one kind, with the weights it last ran with.
struct Layers<T: Scalar> {
    engine: Engine<T>,
    network: Network<T>,
    biases: bool,
    /// Whether the engine holds what the way back needs.
    is_fresh: bool,
    /// Sequences and steps of a call for which there was room.
    held: [usize; 2],
}

/// Dropout between layers: its probability and the seed of its masks.
type Dropped = Option<(f64, u64)>;

/// The gradients of inputs, first states and weights.
type Gradients<'py, T> = (
    Bound<'py, PyArray3<T>>,
    Bound<'py, PyArray2<T>>,
    Vec<Bound<'py, PyArray1<T>>>,
);

impl<T: Scalar + Element> Layers<T> {
    fn new(
        cell: &str,
        (n_x, hidden, layers): (usize, usize, usize),
        (bidirectional, biases): (bool, bool),
        threads: usize,
    ) -> PyResult<Self> {
        let known = Cell::ALL.into_iter().find(|known| known.name() == cell);
        let cell = known.ok_or_else(|| {
            PyValueError::new_err(format!("cell: {cell:?} is not tanh, relu, gru or lstm"))
        })?;
        // The head is left alone; the smallest there is takes the least room.
        let architecture = Architecture {
            cell,
            layers,
            bidirectional,
            ..Architecture::new(Input::Features(n_x), hidden, Head::softmax(1))
        };
        let options = EngineOptions {
            threads,
            shards: threads,
            memory: None,
        };
        architecture.check().map_err(raise)?;
        let cure = "choose a smaller hidden_size or num_layers";
        memory::check_weights::<T>(&architecture, Algorithm::Gd, options, cure)
            .map_err(raise_memory)?;
        let engine = Engine::new(architecture, options).map_err(raise)?;
        let network = Network::from_parameters(Parameters::zeros(architecture));
        Ok(Layers {
            engine,
            network,
            biases,
            is_fresh: false,
            held: [0; 2],
        })
    }

    fn load(&mut self, weights: &[PyReadonlyArrayDyn<'_, T>]) -> PyResult<()> {
        let a = self.network.architecture();
        let each = if self.biases { 4 } else { 2 };
        if weights.len() != each * a.recurrences() {
            let expected = each * a.recurrences();
            return Err(PyValueError::new_err(format!(
                "weights: there are {}, expected {expected}",
                weights.len()
            )));
        }
        let p = self.network.parameters_mut();
        for (i, of_one) in weights.chunks_exact(each).enumerate() {
            for (which, from) in [Which::WeightIh(i), Which::WeightHh(i)]
                .into_iter()
                .zip(of_one)
            {
                copy(p.get_mut(which), from, &a.name(which))?;
            }
            let [ih, hh] = match of_one {
                [_, _, ih, hh] => [ih, hh],
                _ => continue,
            };
            let (n, name) = (a.cell.gates() * a.hidden, a.name(Which::Bias(i)));
            let mut both = [vec![T::zero(); n], vec![T::zero(); n]];
            copy(&mut both[0], ih, &name)?;
            copy(&mut both[1], hh, &name)?;
            let [ih, hh] = both;
            let to = p.get_mut(Which::Bias(i));
            let apart = to.len() - n;
            for (to, (&ih, &hh)) in to.iter_mut().zip(ih.iter().zip(&hh)) {
                *to = ih + hh;
            }
            // Of the GRU, the last gate keeps its two biases apart.
            to[n - apart..n].copy_from_slice(&ih[n - apart..]);
            to[n..].copy_from_slice(&hh[n - apart..]);
        }
        Ok(())
    }

    fn gradients<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyArray1<T>>> {
        let (a, g) = (self.network.architecture(), self.engine.gradients());
        let mut all = Vec::new();
        for i in 0..a.recurrences() {
            all.push(g.get(Which::WeightIh(i)).to_pyarray(py));
            all.push(g.get(Which::WeightHh(i)).to_pyarray(py));
            if self.biases {
                let bias = g.get(Which::Bias(i));
                let n = a.cell.gates() * a.hidden;
                let apart = bias.len() - n;
                all.push(bias[..n].to_pyarray(py));
                let second = [&bias[..n - apart], &bias[n..]].concat();
                all.push(second.to_pyarray(py));
            }
        }
        all
    }

    /// Refuses inputs for which there is no room.
    fn check_memory(&mut self, n: usize, t: usize) -> PyResult<()> {
        if n <= self.held[0] && t <= self.held[1] {
            return Ok(());
        }
        let bytes = self.engine.bytes(n, t).map_err(raise)?;
        let what = format!("a step on {n} sequences of {t} steps");
        let cure = "give fewer or shorter sequences, or choose a smaller hidden_size";
        memory::check(bytes as f64, self.engine.threads(), &what, cure).map_err(raise_memory)?;
        self.held = [n, t];
        Ok(())
    }

    fn forward(
        &mut self,
        (x, hidden): (ArrayView3<'_, T>, ArrayViewMut3<'_, T>),
        mut state: ArrayViewMut2<'_, T>,
        lengths: Option<&[usize]>,
        dropout: Dropped,
    ) -> bptt::Result<()> {
        let dropout = dropout.map(|(outputs, seed)| Dropout {
            inputs: 0.0,
            outputs,
            seed,
        });
        let mut states = state.to_owned();
        let options = GradientOptions {
            state: Some(&mut states),
            dropout: dropout.as_ref().map(|dropout| (dropout, 0)),
        };
        self.is_fresh = false;
        self.engine
            .forward_into(&self.network, Inputs::Dense(x), lengths, options, hidden)?;
        state.assign(&states);
        self.is_fresh = true;
        Ok(())
    }
}

/// The numbers of an array, which must be as many.
fn copy<T: Scalar + Element>(
    to: &mut [T],
    from: &PyReadonlyArrayDyn<'_, T>,
    name: &str,
) -> PyResult<()> {
    let from = from.as_array();
    if from.len() != to.len() {
        let (found, expected) = (from.len(), to.len());
        return Err(PyValueError::new_err(format!(
            "{name}: there are {found} numbers, expected {expected}"
        )));
    }
    match from.as_slice() {
        Some(from) => to.copy_from_slice(from),
        None => to.iter_mut().zip(&from).for_each(|(to, &from)| *to = from),
    }
    Ok(())
}

/// Refuses to write to an array that is empty, or of which two elements may be one in memory.
fn check_distinct<T, D: Dimension>(name: &str, array: &ArrayView<'_, T, D>) -> PyResult<()> {
    let (shape, strides) = (array.shape(), array.strides());
    let mut axes: Vec<_> = shape
        .iter()
        .zip(strides)
        .filter(|(n, _)| **n != 1)
        .collect();
    axes.sort_by_key(|(_, stride)| stride.unsigned_abs());
    // Each step along an axis must lead past all elements of the axes before it.
    let mut past = 1;
    for (&n, stride) in axes {
        let stride = stride.unsigned_abs();
        if n == 0 || stride < past {
            return Err(PyValueError::new_err(format!(
                "{name}: the shape is {shape:?} with strides {strides:?}, expected distinct elements to write to"
            )));
        }
        past = past.saturating_add(stride.saturating_mul(n - 1));
    }
    Ok(())
}

macro_rules! layers {
    ($name:ident, $number:ty) => {
        /// The layers of an `nn.RNN`, `nn.GRU` or `nn.LSTM` in this precision.
        #[pyclass(module = "bptt._bptt")]
        pub struct $name(Layers<$number>);

        #[pymethods]
        impl $name {
            #[new]
            fn new(
                cell: &str,
                sizes: (usize, usize, usize),
                flags: (bool, bool),
                threads: usize,
            ) -> PyResult<Self> {
                Ok($name(Layers::new(cell, sizes, flags, threads)?))
            }

            /// From inputs `[N, T, n_x]` to hidden states `[N, T, D n_h]`, and from the states `[N, W]` before the first steps to those
            /// after the last, in place.
            #[pyo3(signature = (x, hidden, state, weights, lengths=None, dropout=None))]
            #[allow(clippy::too_many_arguments)] // they are named where they are given
            fn forward(
                &mut self,
                py: Python<'_>,
                x: PyReadonlyArray3<'_, $number>,
                mut hidden: PyReadwriteArray3<'_, $number>,
                mut state: PyReadwriteArray2<'_, $number>,
                weights: Vec<PyReadonlyArrayDyn<'_, $number>>,
                lengths: Option<Vec<usize>>,
                dropout: Dropped,
            ) -> PyResult<()> {
                self.0.load(&weights)?;
                let (x, input) = (x.as_array(), self.0.network.architecture().input);
                // Before anything is written to: arrays without elements have no room for it.
                Inputs::Dense(x).check(input).map_err(raise)?;
                check_distinct("hidden", &hidden.as_array())?;
                check_distinct("state", &state.as_array())?;
                self.0.check_memory(x.dim().0, x.dim().1)?;
                let hidden = hidden.as_array_mut();
                let state = state.as_array_mut();
                let layers = &mut self.0;
                py.detach(|| layers.forward((x, hidden), state, lengths.as_deref(), dropout))
                    .map_err(raise)
            }

            /// After `forward`: from the gradients of hidden states and last states to those of inputs, first states and weights.
            fn backward<'py>(
                &mut self,
                py: Python<'py>,
                d_hidden: PyReadonlyArray3<'py, $number>,
                d_state: PyReadonlyArray2<'py, $number>,
            ) -> PyResult<Gradients<'py, $number>> {
                let (d_hidden, d_state) = (d_hidden.as_array(), d_state.as_array());
                if !std::mem::take(&mut self.0.is_fresh) {
                    let problem =
                        "backward: it goes back over what forward computed: call that first";
                    return Err(PyValueError::new_err(problem));
                }
                let engine = &mut self.0.engine;
                let found = py
                    .detach(|| engine.backward(d_hidden, Some(d_state)))
                    .map_err(raise)?;
                let inputs = found.inputs.expect("of features");
                Ok((
                    PyArray3::from_owned_array(py, inputs),
                    PyArray2::from_owned_array(py, found.state),
                    self.0.gradients(py),
                ))
            }
        }
    };
}

layers!(Layers32, f32);
layers!(Layers64, f64);
