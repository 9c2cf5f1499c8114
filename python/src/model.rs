//! What is in a model file ([`Model`]): weights and what there is to know about them.

use crate::errors::{parse, raise, raise_memory};
use crate::program::CtrlC;
use bptt::cli::memory;
use bptt::data::{Decoder, Vocabulary};
use bptt::model::{Model as OfType, ModelFile};
use bptt::{Architecture, Engine, EngineOptions, Inputs, Network, Scalar};
use ndarray::{Array2, Array3, ArrayView2, Axis, s};
use numpy::{
    Element, PyArray1, PyArray3, PyArrayDyn, PyReadonlyArray2, PyReadonlyArray3,
    PyReadonlyArrayDyn, PyUntypedArrayMethods,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;
use std::path::{Path, PathBuf};

/// What a model without a file is called in errors.
const UNSAVED: &str = "model";

/// Steps of a text that are judged at a time, the state carried on.
const STEPS: usize = 1024;

/// A network with its vocabulary and settings, in either precision.
#[pyclass(module = "bptt._bptt", frozen)]
pub struct Model(pub Precise);

pub enum Precise {
    F32(OfType<f32>),
    F64(OfType<f64>),
}

/// Runs `$work` on the model in its precision.
macro_rules! with {
    ($model:expr, |$of_type:ident| $work:expr) => {
        match &$model.0 {
            Precise::F32($of_type) => $work,
            Precise::F64($of_type) => $work,
        }
    };
}

/// A number that models are made of.
pub trait Number: Scalar + Element {
    fn wrap(model: OfType<Self>) -> Model;
}

impl Number for f32 {
    fn wrap(model: OfType<f32>) -> Model {
        Model(Precise::F32(model))
    }
}

impl Number for f64 {
    fn wrap(model: OfType<f64>) -> Model {
        Model(Precise::F64(model))
    }
}

#[pymethods]
impl Model {
    /// Reads a `.safetensors` file, in its own precision.
    #[staticmethod]
    fn read(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let read = || -> bptt::Result<Model> {
            let file = ModelFile::read(&path)?;
            Ok(match file.precision()? {
                "f64" => f64::wrap(file.model()?),
                _ => f32::wrap(file.model()?),
            })
        };
        py.detach(read).map_err(raise)
    }

    /// From tensors under PyTorch's names; the architecture and what there is to know about it as JSON.
    #[staticmethod]
    fn from_tensors(
        tensors: &Bound<'_, PyDict>,
        architecture: &str,
        config: &str,
    ) -> PyResult<Self> {
        let architecture: Architecture = parse("architecture", architecture)?;
        let config: serde_json::Value = parse("config", config)?;
        let mut held: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
        for (name, array) in tensors {
            let name: String = name.extract()?;
            if let Ok(array) = array.extract::<PyReadonlyArrayDyn<'_, f64>>() {
                let bytes = array
                    .as_array()
                    .iter()
                    .flat_map(|x| x.to_le_bytes())
                    .collect();
                held.push((name, Dtype::F64, array.shape().to_vec(), bytes));
            } else {
                let array: PyReadonlyArrayDyn<'_, f32> = array.extract()?;
                let bytes = array
                    .as_array()
                    .iter()
                    .flat_map(|x| x.to_le_bytes())
                    .collect();
                held.push((name, Dtype::F32, array.shape().to_vec(), bytes));
            }
        }
        let is_f64 = held.iter().any(|(_, dtype, ..)| *dtype == Dtype::F64);
        let wrong = |e: safetensors::SafeTensorError| PyValueError::new_err(e.to_string());
        let views = held.iter().map(|(name, dtype, shape, bytes)| {
            let view = TensorView::new(*dtype, shape.clone(), bytes).map_err(wrong)?;
            Ok((name.clone(), view))
        });
        let views = views.collect::<PyResult<Vec<_>>>()?;
        let meta = json!({ "architecture": architecture, "config": config }).to_string();
        let meta = [("bptt".to_string(), meta)].into();
        let bytes = safetensors::serialize(views, Some(meta)).map_err(wrong)?;
        let path = Path::new(UNSAVED);
        match is_f64 {
            true => OfType::from_bytes(path, &bytes).map(f64::wrap),
            false => OfType::from_bytes(path, &bytes).map(f32::wrap),
        }
        .map_err(raise)
    }

    /// Writes the file, all or not at all.
    fn write(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        py.detach(|| with!(self, |model| model.write(&path)))
            .map_err(raise)
    }

    /// `"f32"` or `"f64"`.
    #[getter]
    fn dtype(&self) -> &'static str {
        match &self.0 {
            Precise::F32(_) => "f32",
            Precise::F64(_) => "f64",
        }
    }

    /// What the network is, as JSON.
    #[getter]
    fn architecture(&self) -> String {
        with!(self, |model| json!(model.network.architecture())
            .to_string())
    }

    /// The network in a reader's words.
    #[getter]
    fn summary(&self) -> String {
        with!(self, |model| model.network.architecture().to_string())
    }

    /// The number of its parameters.
    #[getter]
    fn parameters(&self) -> usize {
        with!(self, |model| model.network.architecture().len())
    }

    /// How it was trained, as JSON.
    #[getter]
    fn config(&self) -> String {
        with!(self, |model| model.about.config.to_string())
    }

    /// What its tokens are, `None` for a model of numbers: `"char"`, `"byte"` or `"word"`, and how many there are.
    #[getter]
    fn tokens(&self) -> Option<(String, usize)> {
        let about = with!(self, |model| &model.about);
        let vocabulary = about.vocabulary.as_ref()?;
        let kind = serde_json::to_value(vocabulary.kind()).ok()?;
        Some((kind.as_str()?.to_string(), vocabulary.len()))
    }

    /// The weights under PyTorch's names, each `(shape, values)`.
    fn tensors<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        fn fill<T: Number>(model: &OfType<T>, to: &Bound<'_, PyDict>) -> PyResult<()> {
            for (name, shape, values) in model.tensors() {
                let array = ndarray::ArrayD::from_shape_vec(shape, values);
                let array = array.expect("a tensor has its size");
                to.set_item(name, PyArrayDyn::from_owned_array(to.py(), array))?;
            }
            Ok(())
        }
        let all = PyDict::new(py);
        with!(self, |model| fill(model, &all))?;
        Ok(all)
    }

    /// What the network answers to features `[N, T, n_x]`, in its precision: `[N, T, n_y]`, or once a sequence `[N, 1, n_y]`.
    #[pyo3(signature = (inputs, lengths, threads))]
    fn predict<'py>(
        &self,
        inputs: &Bound<'py, PyAny>,
        lengths: Option<Vec<usize>>,
        threads: usize,
    ) -> PyResult<Bound<'py, PyAny>> {
        fn of<'py, T: Number>(
            model: &OfType<T>,
            inputs: &Bound<'py, PyAny>,
            lengths: Option<Vec<usize>>,
            threads: usize,
        ) -> PyResult<Bound<'py, PyAny>> {
            let (py, network) = (inputs.py(), &model.network);
            let answers = if let Ok(ids) = inputs.extract::<PyReadonlyArray2<'py, u32>>() {
                predict(
                    py,
                    network,
                    Inputs::Tokens(ids.as_array()),
                    lengths,
                    threads,
                )
            } else {
                let x: PyReadonlyArray3<'py, T> = inputs.extract()?;
                predict(py, network, Inputs::Dense(x.as_array()), lengths, threads)
            };
            Ok(PyArray3::from_owned_array(py, answers?).into_any())
        }
        with!(self, |model| of(model, inputs, lengths, threads))
    }

    /// The logarithm of the probability that the model gives to each token of a text but the first.
    fn logprobs<'py>(&self, py: Python<'py>, text: Vec<u8>) -> PyResult<Bound<'py, PyArray1<f64>>> {
        let mut ctrl_c = CtrlC::new();
        let found = py.detach(|| with!(self, |model| logprobs(model, &text, &mut ctrl_c)));
        Ok(PyArray1::from_vec(py, ctrl_c.or(found)?))
    }

    /// The ids of the tokens of a text.
    fn encode<'py>(&self, py: Python<'py>, text: Vec<u8>) -> PyResult<Bound<'py, PyArray1<u32>>> {
        let ids = self
            .vocabulary()
            .and_then(|vocabulary| vocabulary.encode(&text));
        Ok(PyArray1::from_vec(py, ids.map_err(raise)?))
    }

    /// The text of ids, each below the number of tokens.
    fn decode(&self, ids: Vec<u32>) -> PyResult<String> {
        let vocabulary = self.vocabulary().map_err(raise)?;
        let (mut decoder, mut text) = (Decoder::new(vocabulary), String::new());
        for id in ids {
            decoder.push(id, &mut text);
        }
        decoder.finish(&mut text);
        Ok(text)
    }
}

impl Model {
    fn vocabulary(&self) -> bptt::Result<&Vocabulary> {
        let about = with!(self, |model| &model.about);
        about.vocabulary.as_ref().ok_or_else(no_vocabulary)
    }
}

fn no_vocabulary() -> bptt::Error {
    bptt::Error::Invalid {
        what: "text",
        problem: "the model has no vocabulary: it was not trained on text".into(),
    }
}

/// An engine for going forward.
fn engine<T: Scalar>(network: &Network<T>, threads: usize) -> bptt::Result<Engine<T>> {
    let options = EngineOptions {
        threads,
        ..EngineOptions::default()
    };
    Engine::new(network.architecture(), options)
}

fn predict<T: Scalar>(
    py: Python<'_>,
    network: &Network<T>,
    inputs: Inputs<'_, T>,
    lengths: Option<Vec<usize>>,
    threads: usize,
) -> PyResult<Array3<T>> {
    let mut engine = engine(network, threads).map_err(raise)?;
    memory::check_predicting(&engine, inputs.sequences()).map_err(raise_memory)?;
    let mut ctrl_c = CtrlC::new();
    let answers = py.detach(|| {
        engine.predict_in_parts(network, inputs, lengths.as_deref(), |_| Ok(ctrl_c.check()?))
    });
    ctrl_c.or(answers)
}

fn logprobs<T: Scalar>(
    model: &OfType<T>,
    text: &[u8],
    ctrl_c: &mut CtrlC,
) -> bptt::Result<Vec<f64>> {
    let vocabulary = model.about.vocabulary.as_ref().ok_or_else(no_vocabulary)?;
    let ids = vocabulary.encode(text)?;
    if ids.len() < 2 {
        return Err(bptt::Error::Invalid {
            what: "text",
            problem: "it is shorter than two tokens, and nothing follows the first".into(),
        });
    }
    let (network, mut engine) = (&model.network, engine(&model.network, 1)?);
    let mut state = Array2::zeros((1, network.architecture().state()));
    let mut found = Vec::with_capacity(ids.len() - 1);
    for begin in (0..ids.len() - 1).step_by(STEPS) {
        ctrl_c.check()?;
        let end = (begin + STEPS).min(ids.len() - 1);
        let inputs = ArrayView2::from_shape((1, end - begin), &ids[begin..end]).expect("one row");
        let y = engine.predict(network, Inputs::Tokens(inputs), Some(&mut state))?;
        let next = y.slice(s![0, .., ..]);
        let each = next.axis_iter(Axis(0)).zip(&ids[begin + 1..]);
        found.extend(each.map(|(y, &id)| y[id as usize].as_f64().ln()));
    }
    Ok(found)
}
