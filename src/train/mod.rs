//! The training loop: windows in, updates, reports and checkpoints out.
//!
//! ```text
//! for each window:    gradient (engine) -> finite? -> rate (schedule) -> update (optimiser)
//! every so often:     validation loss -> the best so far? a plateau? -> report
//! ```
//!
//! [`Trainer`] holds a run and takes its steps; an [`Observer`] sees every step and report, saves what it wants saved and
//! may end the run; [`Trainer::run`] says why it stopped. Everything a run depends on is in its [`Checkpoint`], so a run
//! that was interrupted ends in the bits of one that was not.
//!
//! A step whose loss or gradient is not finite, or beyond all bounds, never reaches the weights: the run goes back to its last report, or if
//! it was there already to its best weights, with half the learning rate, and gives up after [`DIVERGENCES`] such steps.

mod checkpoint;
mod evaluation;
pub mod history;
mod observers;
mod options;
mod reports;
mod restore;
mod schedule;
mod state;
mod step;

pub use checkpoint::{Checkpoint, Progress};
pub use evaluation::{evaluate, evaluate_until};
pub use observers::{Changes, Checkpoints, Control, Observer, Report, StepReport};
pub use options::{TrainOptions, ZERO_STATE};
pub use schedule::Schedule;
pub use state::CarriedState;

use crate::data::Loader;
use crate::optim::Optimizer;
use crate::ranks::{Ranks, Reduction};
use crate::{Engine, Network, Parameters, Result, Scalar};
use std::sync::Arc;
use std::time::Duration;

/// After so many steps that were not finite a run gives up: the rate is a thousandth of what was asked for.
pub const DIVERGENCES: u32 = 10;

/// Reports without a better validation loss before [`Schedule::HalveOnPlateau`] halves the rate.
pub const PLATEAU: u32 = 3;

/// [`Schedule::HalveOnPlateau`] ends a run that needs more halvings of its rate: it learns nothing any more.
pub const MOST_HALVINGS: u32 = 9;

/// Why a run stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopReason {
    /// All steps are done.
    Finished,
    /// The validation loss falls no more: for as many reports as [`TrainOptions::patience`] says, or not at
    /// the rate of [`MOST_HALVINGS`] either.
    NoImprovement,
    /// The observer said so.
    Interrupted,
    /// Losses or gradients were not finite, again and again.
    Diverged,
}

/// A training run.
///
/// ```
/// use bptt::data::{Corpus, Loader, Vocabulary};
/// use bptt::train::{StopReason, TrainOptions, Trainer};
/// use bptt::{Architecture, Head, Init, Input, Network};
///
/// let text = "so it goes. ".repeat(50);
/// let corpus = Corpus::from_text(&text, &Vocabulary::of_chars(&text))?;
/// let n = corpus.vocabulary().len();
/// let architecture = Architecture::new(Input::Tokens(n), 16, Head::softmax(n));
/// let network = Network::<f32>::new(architecture, Init::Orthogonal, 0)?;
/// let options = TrainOptions { steps: 100, lr: 0.02, ..TrainOptions::default() };
/// let mut run = Trainer::new(network, Loader::text(corpus, 4, 12)?, options)?;
/// assert_eq!(run.run(&mut ())?, StopReason::Finished);
/// assert!(run.history().last().unwrap().train_loss < 0.5);
/// # Ok::<(), bptt::Error>(())
/// ```
pub struct Trainer<T: Scalar> {
    network: Network<T>,
    engine: Engine<T>,
    optimizer: Optimizer<T>,
    loader: Loader<T>,
    validation: Option<Loader<T>>,
    options: TrainOptions,
    state: CarriedState<T>,
    best: Parameters<T>,
    progress: Progress,
    history: Vec<Report>,
    /// How many of them at most.
    most_reports: usize,
    /// Where to go back to.
    good: Checkpoint<T>,
    /// Training time since the last report.
    clock: Duration,
    counted_since: u64,
    /// For the next report to say.
    changed: Changes,
}

impl<T: Scalar> Trainer<T> {
    /// A run from these weights on this data.
    ///
    /// # Errors
    /// [`crate::Error::Option`] for a setting out of range; as [`Loader::suit`] and [`Engine::new`].
    pub fn new(network: Network<T>, mut loader: Loader<T>, options: TrainOptions) -> Result<Self> {
        options.check()?;
        let architecture = network.architecture();
        loader.suit(&architecture)?;
        let optimizer = Optimizer::new(architecture, options.optimizer)?;
        let state = CarriedState::new(architecture.state());
        let best = network.parameters().clone();
        let good = Checkpoint {
            parameters: best.clone(),
            best: best.clone(),
            moments: optimizer.moments().to_vec(),
            state: state.streams().clone(),
            progress: Progress::default(),
        };
        Ok(Trainer {
            engine: Engine::new(architecture, options.engine)?,
            network,
            optimizer,
            loader,
            validation: None,
            options,
            state,
            best,
            progress: Progress::default(),
            history: Vec::new(),
            most_reports: usize::MAX,
            good,
            clock: Duration::ZERO,
            counted_since: 0,
            changed: Changes::new(),
        })
    }

    /// The same run with data to validate on at each report; without, the newest weights are the best.
    pub fn with_validation(mut self, data: Loader<T>) -> Self {
        self.validation = Some(data);
        self
    }

    /// Makes this run one of several ranks, which are one run as [`Engine::join`] says. All take the same steps and stop
    /// together; only rank 0 writes files ([`Checkpoints`]).
    ///
    /// # Errors
    /// As [`Engine::join`].
    pub fn join(mut self, ranks: Arc<dyn Ranks>, reduction: Reduction) -> Result<Self> {
        self.engine = self.engine.join(Arc::clone(&ranks), reduction)?;
        for loader in [&mut self.loader].into_iter().chain(&mut self.validation) {
            loader.share(&*ranks, self.engine.shards());
        }
        Ok(self)
    }

    /// Says in the next report that settings are others from here on. A new `lr` or `schedule` is meant as it is given: the
    /// halvings of the rate so far, and the wait for a better loss, are forgotten.
    pub fn go_on_with(&mut self, changed: Changes) {
        if changed.contains_key("lr") || changed.contains_key("schedule") {
            let progress = &mut self.progress;
            (progress.halvings, progress.plateau, progress.since_best) = (0, 0, 0);
            self.good.progress = self.progress.clone();
        }
        self.changed = changed;
    }

    /// The network as it is.
    pub fn network(&self) -> &Network<T> {
        &self.network
    }

    /// The weights of the lowest validation loss at a report; without validation data, of the last report.
    pub fn best(&self) -> &Parameters<T> {
        &self.best
    }

    /// Where the run is.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The reports so far, all unless [`Trainer::keep_reports`] says otherwise; on ranks other than 0, the last one.
    pub fn history(&self) -> &[Report] {
        &self.history
    }

    /// The engine it runs on.
    pub fn engine(&self) -> &Engine<T> {
        &self.engine
    }

    /// How it is trained.
    pub fn options(&self) -> &TrainOptions {
        &self.options
    }

    /// Takes steps until there is a reason to stop.
    ///
    /// # Errors
    /// What the observer returns; what data and engine find wrong with each other.
    pub fn run(&mut self, observer: &mut impl Observer<T>) -> Result<StopReason> {
        // The last step, until the observer has seen it.
        let mut taken = None;
        loop {
            // Also where a run goes on that was stopped while it validated.
            let due = self.progress.step.is_multiple_of(self.options.report_every);
            if due && self.progress.has_pending() {
                let Some(valid) = self.validate_until(|| observer.validating())? else {
                    return Ok(StopReason::Interrupted);
                };
                let (report, best) = self.conclude(valid)?;
                if self.options.schedule == Schedule::HalveOnPlateau {
                    self.halve_on_plateau()?;
                }
                self.remember();
                observer.report(self, &report, best)?;
            }
            if let Some(step) = taken.take() {
                let stop = observer.step(self, &step)? == Control::Stop;
                if self.engine.comm().map_or(stop, |comm| comm.any_rank(stop)) {
                    return Ok(StopReason::Interrupted);
                }
            }
            if self.progress.step >= self.options.steps {
                return Ok(StopReason::Finished);
            }
            if self.has_stopped_improving() {
                return Ok(StopReason::NoImprovement);
            }
            match self.step()? {
                Ok(step) => taken = Some(step),
                Err(_) if self.progress.divergences >= DIVERGENCES => {
                    return Ok(StopReason::Diverged);
                }
                Err(what) => observer.diverged(self, &what)?,
            }
        }
    }

    /// Epochs so far.
    pub fn epoch(&self) -> f64 {
        let position = self.progress.position;
        position.epoch as f64 + position.window as f64 / self.loader.windows_per_epoch() as f64
    }
}

/// Into the memory that is there.
fn copy<T: Scalar>(to: &mut Parameters<T>, from: &Parameters<T>) {
    to.as_mut_slice().copy_from_slice(from.as_slice());
}
