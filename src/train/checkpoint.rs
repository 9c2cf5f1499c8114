//! All that a run depends on: [`Checkpoint`], and its file: a model file with more tensors, `training.*`, and `progress` in
//! the metadata.

use crate::data::Position;
use crate::heads::{Loss, Metrics};
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

/// Writes the file of a checkpoint from wherever its parts are, so that a run is saved without being copied.
pub(super) fn write<T: Scalar>(
    path: &Path,
    about: &About,
    [parameters, best]: [&Parameters<T>; 2],
    moments: &[Parameters<T>],
    state: &Array2<T>,
    progress: &Progress,
) -> Result<()> {
    let (mut tensors, mut meta) = model::parts(parameters, about);
    let mut push = |name: &str, shape: &[usize], values| {
        tensors.push(Tensor {
            name: format!("{TRAINING}{name}"),
            shape: shape.to_vec(),
            values: Cow::Borrowed(values),
        });
    };
    push("best", &[best.as_slice().len()], best.as_slice());
    for (i, moment) in moments.iter().enumerate() {
        let values = moment.as_slice();
        push(&format!("moment.{i}"), &[values.len()], values);
    }
    let values = state.as_slice().expect("standard layout");
    push("state", state.shape(), values);
    meta["progress"] = serde_json::to_value(progress)
        .map_err(|e| Error::file(path, format!("cannot be written: {e}")))?;
    file::write(path, tensors, &meta)
}

impl<T: Scalar> Checkpoint<T> {
    /// Writes the file, all or not at all: a model file with all that training needs to go on.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file.
    pub fn write(&self, path: &Path, about: &About) -> Result<()> {
        let (weights, moments) = ([&self.parameters, &self.best], &self.moments);
        write(path, about, weights, moments, &self.state, &self.progress)
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
        let [best, state_name] = ["best", "state"].map(|name| format!("{TRAINING}{name}"));
        let (found, own) = (file.precision(&best)?, T::NAME);
        if found != own {
            let problem = format!("is a checkpoint in {found}, the run computes in {own}");
            return Err(file.wrong(problem));
        }
        let model = model::from_file::<T>(&file)?;
        let architecture = model.network.architecture();
        let flat = |name: &String| {
            let values = file.values(name, &[architecture.len()])?;
            Parameters::from_vec(architecture, values)
        };
        let moments = (0..).map(|i| format!("{TRAINING}moment.{i}"));
        let moments: Vec<_> = moments.take_while(|name| file.has(name)).collect();
        let rows = file.shape(&state_name)?.first().copied().unwrap_or(0);
        let shape = [rows, architecture.state()];
        let state = file.values(&state_name, &shape)?;
        let is_known = |name: &String| {
            !name.starts_with(TRAINING)
                || [&best, &state_name].contains(&name)
                || moments.contains(name)
        };
        if let Some(name) = file.names().iter().find(|name| !is_known(name)) {
            return Err(file.wrong(format!(
                "has a tensor `{name}`, which no checkpoint of this version has: go on with the version that wrote it"
            )));
        }
        let checkpoint = Checkpoint {
            best: flat(&best)?,
            moments: moments.iter().map(flat).collect::<Result<_>>()?,
            state: Array2::from_shape_vec(shape, state).expect("as many as were checked"),
            parameters: model.network.parameters().clone(),
            progress,
        };
        Ok((checkpoint, model.about))
    }
}

/// Where a run is: every number of it that is not a tensor.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
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
    /// How often the learning rate was halved.
    pub halvings: u32,
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

/// No counter of a run comes near this: more than any machine counts to, less than where numbers overflow.
const MOST: u64 = 1 << 53;

impl Progress {
    /// What no run can have counted, in a file that somebody wrote.
    pub(crate) fn check(&self) -> std::result::Result<(), String> {
        let Pending {
            steps,
            counted,
            right,
            answers,
            ..
        } = self.pending;
        let counters = [
            ("step", self.step, MOST),
            ("optimizer_steps", self.optimizer_steps, self.step),
            ("tokens", self.tokens, MOST),
            ("position.epoch", self.position.epoch, MOST),
            ("position.window", self.position.window, MOST),
            ("halvings", self.halvings.into(), 1000),
            ("divergences", self.divergences.into(), u32::MAX as u64 / 2),
            ("best_step", self.best_step, self.step),
            ("since_best", self.since_best.into(), u32::MAX as u64 / 2),
            ("plateau", self.plateau.into(), u32::MAX as u64 / 2),
            ("reports", self.reports, self.step.saturating_add(1)),
            ("pending.steps", steps, self.step),
            ("pending.counted", counted, self.tokens),
            ("pending.answers", answers, MOST),
            ("pending.right", right, answers),
        ];
        for (name, value, most) in counters {
            if value > most {
                let found = format!("`progress.{name}` is {value}");
                return Err(format!("{found}, expected at most {most}"));
            }
        }
        let pending = self.pending;
        match counted < steps || (steps == 0 && pending != Pending::default()) {
            true => Err(format!(
                "`progress.pending` is {pending:?}, which no steps come to"
            )),
            false => Ok(()),
        }
    }

    /// What halving has made of the learning rate, as a factor.
    pub fn lr_factor(&self) -> f64 {
        0.5f64.powi(self.halvings as i32)
    }

    /// The part of the answers since the last report that was right, where they are classes or labels.
    pub fn accuracy(&self) -> Option<f64> {
        self.pending.accuracy()
    }

    /// The mean loss of the steps since the last report, if there were any.
    pub fn mean_loss(&self) -> Option<f64> {
        self.has_pending().then(|| self.pending.mean_loss())
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
    #[serde(default)]
    right: u64,
    #[serde(default)]
    answers: u64,
}

impl Pending {
    pub(crate) fn add(&mut self, metrics: &Metrics, loss: Loss, norm: f64) {
        let (right, answers) = metrics.right(loss);
        self.right += right;
        self.answers += answers;
        self.steps += 1;
        self.loss += metrics.loss;
        self.counted += metrics.counted;
        self.norm += norm;
    }

    pub(crate) fn mean_loss(&self) -> f64 {
        self.loss / self.counted as f64
    }

    pub(crate) fn accuracy(&self) -> Option<f64> {
        (self.answers > 0).then(|| self.right as f64 / self.answers as f64)
    }

    pub(crate) fn mean_norm(&self) -> f64 {
        self.norm / self.steps as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Set = fn(&mut Progress, u32);

    /// As many as any run can have counted, and one more.
    #[test]
    fn counters_have_bounds() {
        let most = u32::MAX / 2;
        let set: [(&str, u32, Set); 4] = [
            ("halvings", 1000, |progress, n| progress.halvings = n),
            ("divergences", most, |progress, n| progress.divergences = n),
            ("since_best", most, |progress, n| progress.since_best = n),
            ("plateau", most, |progress, n| progress.plateau = n),
        ];
        for (name, most, set) in set {
            let mut progress = Progress::default();
            set(&mut progress, most);
            assert_eq!(progress.check(), Ok(()));
            set(&mut progress, most + 1);
            let error = progress.check().unwrap_err();
            assert!(error.contains(name), "{error}");
        }
    }
}
