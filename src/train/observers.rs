//! What is seen of a run, and by whom: [`Observer`]. [`Checkpoints`] saves a run as it goes; a pair of observers is one.

use super::{Checkpoint, Trainer};
use crate::model::{self, About};
use crate::{Error, Parameters, Result, Scalar};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// One update, as an observer sees it.
#[derive(Clone, Copy, Debug)]
pub struct StepReport {
    /// The update, counted from 1.
    pub step: u64,
    /// Epochs so far, with a fraction.
    pub epoch: f64,
    /// The loss before the update.
    pub loss: f64,
    /// Counted tokens of this step.
    pub tokens: u64,
}

/// A line of the history.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Report {
    /// Updates so far.
    pub step: u64,
    /// Epochs so far, with a fraction.
    pub epoch: f64,
    /// Counted tokens so far.
    pub tokens: u64,
    /// The mean loss of a token since the report before, as the network's [`Loss`](crate::Loss) has it.
    pub train_loss: f64,
    /// The part of the answers since the report before that was right, of classes or of labels: counted as the network learnt, by
    /// weights that changed, and under dropout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_accuracy: Option<f64>,
    /// The mean loss of a token of the validation data; `None` without such data.
    pub valid_loss: Option<f64>,
    /// What else is said of the validation data ([`Metrics::named`](crate::Metrics::named)), `valid_` before each name; without
    /// what is no finite number.
    #[serde(flatten)]
    pub valid_metrics: BTreeMap<String, f64>,
    /// The learning rate of the last update.
    pub lr: f64,
    /// The mean norm of the gradient since the report before, before clipping.
    pub grad_norm: f64,
    /// Steps so far that were dropped because they were not finite.
    pub divergences: u32,
    /// Training speed since the report before, validation left out.
    pub tokens_per_second: f64,
    /// Settings that are others than they were at the report before, because the run was gone on with so.
    #[serde(default, skip_serializing_if = "Changes::is_empty")]
    pub changed: Changes,
    /// Seconds spent in communication since the report before, the wait for slower ranks with it; `None` for a process
    /// alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub communication_seconds: Option<f64>,
}

/// Settings and their new values.
pub type Changes = BTreeMap<String, serde_json::Value>;

/// What the observer wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// The next step.
    Continue,
    /// No more steps.
    Stop,
}

impl Control {
    fn or(self, other: Control) -> Control {
        if self == Control::Stop { self } else { other }
    }
}

/// Sees a run as it goes.
#[allow(unused_variables)]
pub trait Observer<T: Scalar> {
    /// After every update, and after its report if there was one.
    ///
    /// # Errors
    /// End the run.
    fn step(&mut self, run: &Trainer<T>, step: &StepReport) -> Result<Control> {
        Ok(Control::Continue)
    }

    /// Again and again while a report validates, which may take its time: to stop ends the run as it was before the report.
    fn validating(&mut self) -> Control {
        Control::Continue
    }

    /// After every report. `best` says that no validation loss so far was as low (always, without validation data):
    /// [`Trainer::best`] has just become the present weights.
    ///
    /// # Errors
    /// End the run.
    fn report(&mut self, run: &Trainer<T>, report: &Report, best: bool) -> Result<()> {
        Ok(())
    }

    /// After a step was dropped because its loss or gradient was not finite, and the run went back to its last report.
    ///
    /// # Errors
    /// End the run.
    fn diverged(&mut self, run: &Trainer<T>, what: &Error) -> Result<()> {
        Ok(())
    }
}

/// Watches nothing.
impl<T: Scalar> Observer<T> for () {}

/// Saves a run in a folder: the best weights as a model, and a checkpoint to go on from.
///
/// | file | what | when |
/// |---|---|---|
/// | `model.safetensors` | [`Trainer::best`] | at every report that made new ones |
/// | `last.safetensors` | [`Trainer::checkpoint`] | at every report, or every so many steps |
///
/// Both are written beside the old ones and then renamed: at any moment there is a whole one. Of several ranks, each
/// needs this observer, for all of them bring together what rank 0 writes.
///
/// ```
/// use bptt::data::{Corpus, Loader, Vocabulary};
/// use bptt::model::About;
/// use bptt::train::{Checkpoints, TrainOptions, Trainer};
/// use bptt::{Architecture, EngineOptions, Head, Init, Input, Network};
///
/// let text = "so it goes. ".repeat(50);
/// let corpus = Corpus::from_text(&text, &Vocabulary::of_chars(&text))?;
/// let n = corpus.vocabulary().len();
/// let new = |steps| {
///     let engine = EngineOptions { threads: 1, shards: 2, ..EngineOptions::default() };
///     let options = TrainOptions { steps, report_every: 10, engine, ..TrainOptions::default() };
///     let architecture = Architecture::new(Input::Tokens(n), 16, Head::softmax(n));
///     let network = Network::<f32>::new(architecture, Init::Orthogonal, 0)?;
///     Trainer::new(network, Loader::text(corpus.clone(), 4, 12)?, options)
/// };
/// let folder = tempfile::tempdir()?;
/// let mut saved = Checkpoints::new(folder.path(), About::default());
///
/// let mut whole = new(40)?;
/// whole.run(&mut ())?;
/// new(20)?.run(&mut saved)?;
/// let mut parts = new(40)?;
/// assert!(saved.restore(&mut parts)?); // another day
/// parts.run(&mut saved)?;
/// assert_eq!(parts.network(), whole.network());
/// # Ok::<(), bptt::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Checkpoints {
    /// Where the files are; it must be there.
    pub folder: PathBuf,
    /// What there is to know about the model: a part of both files.
    pub about: About,
    /// A checkpoint after every so many updates, not at reports.
    pub every: Option<u64>,
}

impl Checkpoints {
    /// Into `folder`, with a checkpoint at every report.
    pub fn new(folder: impl Into<PathBuf>, about: About) -> Self {
        Checkpoints {
            folder: folder.into(),
            about,
            every: None,
        }
    }

    /// The file of the best weights.
    pub fn model(&self) -> PathBuf {
        self.folder.join("model.safetensors")
    }

    /// The file of the checkpoint.
    pub fn last(&self) -> PathBuf {
        self.folder.join("last.safetensors")
    }

    /// Whether a checkpoint is due after this update.
    pub fn after(&self, step: u64) -> bool {
        self.every.is_some_and(|every| step.is_multiple_of(every))
    }

    /// Writes the checkpoint now. Weights or moments that are no longer finite never replace good ones: false then.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file.
    pub fn write<T: Scalar>(&self, run: &Trainer<T>) -> Result<bool> {
        run.write_checkpoint(&self.last(), &self.about)
    }

    /// Writes these weights as the model, unless they are no longer finite.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file.
    pub fn write_model<T: Scalar>(&self, weights: &Parameters<T>) -> Result<()> {
        if !weights.all_finite() {
            return Ok(());
        }
        model::write(&self.model(), weights, &self.about)
    }

    /// Puts `run`, made as it was, to where its checkpoint was taken, without the reports up to there; false if there is no
    /// checkpoint yet.
    ///
    /// # Errors
    /// As [`Checkpoint::read`] and [`Trainer::restore`].
    pub fn restore<T: Scalar>(&self, run: &mut Trainer<T>) -> Result<bool> {
        match Checkpoint::read(&self.last()) {
            Ok((checkpoint, _)) => run.restore(checkpoint, Vec::new()).map(|()| true),
            Err(Error::Io(e)) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl<T: Scalar> Observer<T> for Checkpoints {
    fn step(&mut self, run: &Trainer<T>, step: &StepReport) -> Result<Control> {
        if self.after(step.step) {
            self.write(run)?;
        }
        Ok(Control::Continue)
    }

    fn report(&mut self, run: &Trainer<T>, _: &Report, best: bool) -> Result<()> {
        if best && run.engine().rank() == 0 {
            self.write_model(run.best())?;
        }
        if self.every.is_none() {
            self.write(run)?;
        }
        Ok(())
    }
}

/// Both, the first first; either may end the run.
impl<T: Scalar, A: Observer<T>, B: Observer<T>> Observer<T> for (A, B) {
    fn step(&mut self, run: &Trainer<T>, step: &StepReport) -> Result<Control> {
        Ok(self.0.step(run, step)?.or(self.1.step(run, step)?))
    }

    fn validating(&mut self) -> Control {
        self.0.validating().or(self.1.validating())
    }

    fn report(&mut self, run: &Trainer<T>, report: &Report, best: bool) -> Result<()> {
        self.0.report(run, report, best)?;
        self.1.report(run, report, best)
    }

    fn diverged(&mut self, run: &Trainer<T>, what: &Error) -> Result<()> {
        self.0.diverged(run, what)?;
        self.1.diverged(run, what)
    }
}
