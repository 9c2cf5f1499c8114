//! All that a run depends on: [`Checkpoint`], and its file: a model file with more tensors, `training.*`, and `progress` in
//! the metadata.

use crate::data::Position;
use crate::heads::Metrics;
use crate::model::file::{self, File, Tensor};
use crate::model::{self, About, TRAINING};
use crate::{Error, Parameters, Result, Scalar};
use ndarray::Array2;
use std::borrow::Cow;
use std::path::Path;

/// A run at one moment, between two updates.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint<T> {
    /// The weights.
    pub parameters: Parameters<T>,
    /// The best weights so far.
    pub best: Parameters<T>,
    /// What the optimiser remembers.
    pub moments: Vec<Parameters<T>>,
    /// The state carried into the next window, `[N, W]`.
    pub state: Array2<T>,
    /// Counters.
    pub progress: Progress,
}

/// The parts of a checkpoint, wherever they are: a run is saved without being copied.
pub(crate) struct Borrowed<'a, T: Clone> {
    pub parameters: &'a Parameters<T>,
    pub best: &'a Parameters<T>,
    pub moments: &'a [Parameters<T>],
    pub state: Cow<'a, Array2<T>>,
    pub progress: &'a Progress,
}

impl<T: Scalar> Borrowed<'_, T> {
    /// Whether all weights, moments and states are finite numbers.
    pub fn all_finite(&self) -> bool {
        let mut all = [self.parameters, self.best].into_iter().chain(self.moments);
        all.all(Parameters::all_finite) && self.state.iter().all(|x| x.is_finite())
    }

    /// [`Checkpoint::write`] from wherever the parts are.
    pub fn write(&self, path: &Path, about: &About) -> Result<()> {
        let (mut tensors, mut meta) = model::parts(self.parameters, about);
        let mut push = |name: String, shape: Vec<usize>, values| {
            tensors.push(Tensor {
                name: format!("{TRAINING}{name}"),
                shape,
                values: Cow::Borrowed(values),
            });
        };
        let len = self.best.as_slice().len();
        push("best".into(), vec![len], self.best.as_slice());
        for (i, moment) in self.moments.iter().enumerate() {
            push(format!("moment.{i}"), vec![len], moment.as_slice());
        }
        let state = self.state.as_slice().expect("standard layout");
        push("state".into(), self.state.shape().to_vec(), state);
        meta["progress"] = serde_json::to_value(self.progress)
            .map_err(|e| Error::file(path, format!("cannot be written: {e}")))?;
        file::write(path, tensors, &meta)
    }

    pub fn into_checkpoint(self) -> Checkpoint<T> {
        Checkpoint {
            parameters: self.parameters.clone(),
            best: self.best.clone(),
            moments: self.moments.to_vec(),
            state: self.state.into_owned(),
            progress: self.progress.clone(),
        }
    }
}

impl<T: Scalar> Checkpoint<T> {
    /// Writes the file, all or not at all: a model file with all that training needs to go on.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file.
    pub fn write(&self, path: &Path, about: &About) -> Result<()> {
        self.borrow().write(path, about)
    }

    /// Reads such a file.
    ///
    /// # Errors
    /// As [`crate::model::Model::read`]; [`Error::File`] if it is a model and no checkpoint, or one in another precision.
    pub fn read(path: &Path) -> Result<(Self, About)> {
        Self::from_bytes(path, &file::read(path)?)
    }

    /// From the content of a file, wherever it came from; `path` is what errors call it.
    ///
    /// # Errors
    /// As [`Checkpoint::read`].
    pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<(Self, About)> {
        let file = File::parse(path, bytes)?;
        let Some(progress) = file.meta::<Progress>("progress")? else {
            return Err(file.wrong("is a model and no checkpoint of a run: it has no `progress`"));
        };
        progress.check().map_err(|problem| file.wrong(problem))?;
        let name = format!("{TRAINING}best");
        let found = file.precision(&name)?;
        if found != T::NAME {
            let ours = T::NAME;
            return Err(file.wrong(format!(
                "is a checkpoint in {found}, the run computes in {ours}"
            )));
        }
        let model = model::from_file::<T>(&file)?;
        let architecture = model.network.architecture();
        let flat = |name: &str| {
            let values = file.values(name, &[architecture.len()])?;
            Parameters::from_vec(architecture, values)
        };
        let moments = (0..)
            .map(|i| format!("{TRAINING}moment.{i}"))
            .take_while(|name| file.has(name))
            .map(|name| flat(&name))
            .collect::<Result<Vec<_>>>()?;
        let state_name = format!("{TRAINING}state");
        let rows = file.shape(&state_name)?.first().copied().unwrap_or(0);
        let shape = [rows, architecture.state()];
        let state = file.values(&state_name, &shape)?;
        let known = [&name, &state_name].map(String::as_str);
        let is_known = |name: &String| {
            let moment = name
                .strip_prefix(TRAINING)
                .and_then(|rest| rest.strip_prefix("moment."));
            let moment = moment.and_then(|i| i.parse().ok());
            known.contains(&name.as_str()) || moment.is_some_and(|i: usize| i < moments.len())
        };
        let mut training = file
            .names()
            .into_iter()
            .filter(|name| name.starts_with(TRAINING));
        if let Some(name) = training.find(|name| !is_known(name)) {
            return Err(file.wrong(format!(
                "has a tensor `{name}`, which no checkpoint of this version has: go on with the version that wrote it"
            )));
        }
        let checkpoint = Checkpoint {
            best: flat(&name)?,
            moments,
            state: Array2::from_shape_vec(shape, state).expect("as many as were checked"),
            parameters: model.network.parameters().clone(),
            progress,
        };
        Ok((checkpoint, model.about))
    }

    pub(crate) fn borrow(&self) -> Borrowed<'_, T> {
        Borrowed {
            parameters: &self.parameters,
            best: &self.best,
            moments: &self.moments,
            state: Cow::Borrowed(&self.state),
            progress: &self.progress,
        }
    }
}

/// Where a run is: every number of it that is not a tensor.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Progress {
    /// Updates so far.
    pub step: u64,
    /// Updates the optimiser has made (fewer after its moments were reset).
    pub optimizer_steps: u64,
    /// Counted tokens so far.
    pub tokens: u64,
    /// The next window.
    pub position: Position,
    /// The learning rate of the last update.
    pub lr: f64,
    /// What halving has made of the learning rate, as a factor.
    pub lr_factor: f64,
    /// Steps dropped because they were not finite.
    pub divergences: u32,
    /// The lowest validation loss at a report.
    pub best_loss: Option<f64>,
    /// The step of that report.
    pub best_step: u64,
    /// Reports since then.
    pub since_best: u32,
    /// Reports since then or since the rate was halved.
    pub plateau: u32,
    /// Reports so far.
    pub reports: u64,
    /// Sums since the last report.
    pub pending: Pending,
}

impl Default for Progress {
    fn default() -> Self {
        Progress {
            step: 0,
            optimizer_steps: 0,
            tokens: 0,
            position: Position::default(),
            lr: 0.0,
            lr_factor: 1.0,
            divergences: 0,
            best_loss: None,
            best_step: 0,
            since_best: 0,
            plateau: 0,
            reports: 0,
            pending: Pending::default(),
        }
    }
}

/// No counter of a run comes near this: more than any machine counts to, less than where numbers overflow.
const MOST: u64 = 1 << 53;

impl Progress {
    /// What no run can have counted, in a file that somebody wrote.
    pub(crate) fn check(&self) -> std::result::Result<(), String> {
        let Pending { steps, counted, .. } = self.pending;
        let counters = [
            ("step", self.step, MOST),
            ("optimizer_steps", self.optimizer_steps, self.step),
            ("tokens", self.tokens, MOST),
            ("position.epoch", self.position.epoch, MOST),
            ("position.window", self.position.window, MOST),
            ("divergences", self.divergences.into(), u32::MAX as u64 / 2),
            ("best_step", self.best_step, self.step),
            ("since_best", self.since_best.into(), u32::MAX as u64 / 2),
            ("plateau", self.plateau.into(), u32::MAX as u64 / 2),
            ("reports", self.reports, self.step.saturating_add(1)),
            ("pending.steps", steps, self.step),
            ("pending.counted", counted, self.tokens),
        ];
        for (name, value, most) in counters {
            if value > most {
                return Err(format!(
                    "`progress.{name}` is {value}, expected at most {most}"
                ));
            }
        }
        if !(self.lr_factor > 0.0 && self.lr_factor <= 1.0) {
            let factor = self.lr_factor;
            return Err(format!("`progress.lr_factor` is {factor}, expected 0 to 1"));
        }
        if counted < steps || (steps == 0 && self.pending != Pending::default()) {
            let pending = self.pending;
            return Err(format!(
                "`progress.pending` is {pending:?}, which no steps come to"
            ));
        }
        Ok(())
    }

    /// Whether steps were taken since the last report.
    pub fn has_pending(&self) -> bool {
        self.pending.steps > 0
    }
}

/// Sums over the steps since the last report.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Pending {
    steps: u64,
    loss: f64,
    counted: u64,
    norm: f64,
}

impl Pending {
    pub(crate) fn add(&mut self, metrics: &Metrics, norm: f64) {
        self.steps += 1;
        self.loss += metrics.loss;
        self.counted += metrics.counted;
        self.norm += norm;
    }

    pub(crate) fn mean_loss(&self) -> f64 {
        self.loss / self.counted as f64
    }

    pub(crate) fn mean_norm(&self) -> f64 {
        self.norm / self.steps as f64
    }
}
