//! A training run on arrays ([`fit`]), for the estimators.

use crate::errors::{parse, raise, raise_memory};
use crate::model::{Model, Number};
use crate::program::CtrlC;
use bptt::cli::memory;
use bptt::data::{Loader, OwnedInputs, OwnedTargets, Padding, Sequences};
use bptt::model::{About, Model as OfType};
use bptt::optim::{Algorithm, Clip, OptimizerOptions};
use bptt::train::{
    Control, Observer, Report, Schedule, StepReport, StopReason, TrainOptions, Trainer,
};
use bptt::{Architecture, Dropout, EngineOptions, Init, Network, Parameters, Result, Scalar};
use numpy::{PyReadonlyArray2, PyReadonlyArray3, PyUntypedArrayMethods};
use pyo3::exceptions::{PyBaseException, PyRuntimeError};
use pyo3::prelude::*;

/// How to train; what the fields mean is said by the estimators.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    architecture: Architecture,
    epochs: u64,
    batch_size: usize,
    lr: f64,
    optimizer: Algorithm,
    schedule: Schedule,
    clip_norm: Option<f64>,
    weight_decay: f64,
    dropout: f64,
    patience: u32,
    init: Init,
    seed: u64,
    threads: usize,
    shards: usize,
    config: serde_json::Value,
}

/// Inputs, targets, lengths and mask, as Python gives them.
#[derive(FromPyObject)]
pub struct Arrays<'py>(
    Bound<'py, PyAny>,
    Bound<'py, PyAny>,
    Option<Vec<usize>>,
    Option<PyReadonlyArray2<'py, bool>>,
);

impl Arrays<'_> {
    fn sequences<T: Number>(self, (n_x, n_y): (usize, usize)) -> PyResult<Sequences<T>> {
        let Arrays(inputs, targets, lengths, mask) = self;
        let x: PyReadonlyArray3<'_, T> = inputs.extract()?;
        let (bytes, cure) = (x.len() * size_of::<T>(), "give fewer or shorter sequences");
        memory::check(bytes as f64, 0, "a copy of the inputs", cure).map_err(raise_memory)?;
        let inputs = OwnedInputs::Dense(x.as_array().to_owned());
        let targets = match targets.extract::<PyReadonlyArray2<'_, u32>>() {
            Ok(ids) => OwnedTargets::Classes(ids.as_array().to_owned()),
            Err(_) => {
                let y: PyReadonlyArray3<'_, T> = targets.extract()?;
                OwnedTargets::Values(y.as_array().to_owned())
            }
        };
        let mask = mask.map(|mask| mask.as_array().to_owned());
        let set = Sequences::new(inputs, targets, Padding { lengths, mask }).map_err(raise)?;
        set.with_dims(n_x, n_y).map_err(raise)
    }
}

/// Looks for Ctrl-C, and tells Python of every report.
struct Watch {
    tell: Option<Py<PyAny>>,
    ctrl_c: CtrlC,
}

impl<T: Scalar> Observer<T> for Watch {
    fn step(&mut self, _: &Trainer<T>, _: &StepReport) -> Result<Control> {
        Ok(match self.ctrl_c.check() {
            Ok(()) => Control::Continue,
            Err(_) => Control::Stop,
        })
    }

    fn report(&mut self, _: &Trainer<T>, report: &Report, _: bool) -> Result<()> {
        if let Some(tell) = self.tell.take() {
            let json = serde_json::to_string(report).map_err(std::io::Error::from)?;
            self.ctrl_c.ask(|py| tell.call1(py, (json,)).map(drop));
            self.tell = Some(tell);
        }
        Ok(())
    }
}

/// A model, its reports as JSON, why training stopped, and what Python raised meanwhile.
type Fitted = (Model, String, String, Option<Py<PyBaseException>>);

/// Trains a new network on arrays, and returns the best by validation, or the last where there is none.
#[pyfunction]
#[pyo3(signature = (train, valid, double, options, tell=None))]
pub fn fit(
    py: Python<'_>,
    train: Arrays<'_>,
    valid: Option<Arrays<'_>>,
    double: bool,
    options: &str,
    tell: Option<Py<PyAny>>,
) -> PyResult<Fitted> {
    let options: Options = parse("options", options)?;
    match double {
        true => fit_as::<f64>(py, train, valid, options, tell),
        false => fit_as::<f32>(py, train, valid, options, tell),
    }
}

fn fit_as<T: Number>(
    py: Python<'_>,
    train: Arrays<'_>,
    valid: Option<Arrays<'_>>,
    options: Options,
    tell: Option<Py<PyAny>>,
) -> PyResult<Fitted> {
    let a = options.architecture;
    let sizes = (a.input.size(), a.head.outputs);
    let train = train.sequences::<T>(sizes)?;
    let valid = valid.map(|valid| valid.sequences::<T>(sizes)).transpose()?;
    let mut watch = Watch {
        tell,
        ctrl_c: CtrlC::new(),
    };
    let run = || run(train, valid, &options, &mut watch);
    let done = py.detach(run);
    let (reason, weights, reports) = done.map_err(raise_memory)?;
    if reason == StopReason::Diverged {
        return Err(PyRuntimeError::new_err(
            "training diverged again and again and was given up: try a smaller lr or clip_norm, or standardize=True",
        ));
    }
    let about = About {
        config: options.config,
        ..About::default()
    };
    let network = Network::from_parameters(weights);
    let json = |value: serde_json::Value| value.to_string();
    let reason = serde_json::json!(reason);
    let reason = reason.as_str().unwrap_or_default().to_string();
    let reports = json(serde_json::json!(reports));
    let raised = watch.ctrl_c.into_raised();
    let raised = raised.map(|raised| raised.into_value(py));
    Ok((T::wrap(OfType { network, about }), reports, reason, raised))
}

fn run<T: Scalar>(
    train: Sequences<T>,
    valid: Option<Sequences<T>>,
    options: &Options,
    watch: &mut Watch,
) -> anyhow::Result<(StopReason, Parameters<T>, Vec<Report>)> {
    let engine = EngineOptions {
        threads: options.threads,
        shards: options.shards,
        memory: None,
    };
    let (architecture, algorithm) = (options.architecture, options.optimizer);
    architecture.check()?;
    memory::check_weights::<T>(
        &architecture,
        algorithm,
        engine,
        "choose fewer hidden units or layers",
    )?;
    let loader = Loader::sequences(train, options.batch_size, None, options.seed)?;
    let valid = valid.map(Loader::evaluation_sequences).transpose()?;
    let windows = [Some(&loader), valid.as_ref()].map(|loader| loader.map(memory::window));
    let network = Network::new(architecture, options.init, options.seed)?;
    let epoch = loader.windows_per_epoch();
    let options = TrainOptions {
        steps: options.epochs.saturating_mul(epoch),
        lr: options.lr,
        schedule: options.schedule,
        warmup: 0,
        optimizer: OptimizerOptions {
            algorithm: options.optimizer,
            weight_decay: options.weight_decay,
            clip: Clip {
                norm: options.clip_norm,
                value: None,
            },
            ..OptimizerOptions::default()
        },
        engine,
        dropout: Dropout {
            inputs: 0.0,
            outputs: options.dropout,
            seed: options.seed,
        },
        report_every: epoch,
        patience: options.patience,
        reset_state: true,
        ..TrainOptions::default()
    };
    let mut trainer = Trainer::new(network, loader, options)?;
    let validates = valid.is_some();
    if let Some(valid) = valid {
        trainer = trainer.with_validation(valid);
    }
    let cure = "choose a smaller batch_size, fewer hidden units or layers, or shorter sequences";
    memory::check_steps(&trainer, algorithm, windows, cure)?;
    let reason = trainer.run(watch)?;
    // Without validation the last are the best, between two reports too.
    let weights = match validates {
        true => trainer.best(),
        false => trainer.network().parameters(),
    };
    Ok((reason, weights.clone(), trainer.history().to_vec()))
}
