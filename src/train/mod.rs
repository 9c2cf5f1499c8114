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
mod schedule;
mod state;

pub use checkpoint::{Checkpoint, Progress};
pub use evaluation::{evaluate, evaluate_until};
pub use observers::{Changes, Checkpoints, Control, Observer, Report, StepReport};
pub use options::{TrainOptions, ZERO_STATE};
pub use schedule::Schedule;
pub use state::CarriedState;

use crate::data::Loader;
use crate::engine::GradientOptions;
use crate::heads::Metrics;
use crate::model::About;
use crate::optim::Optimizer;
use crate::ranks::{Communicator, Ranks, Reduction};
use crate::{Engine, Error, Network, Parameters, Result, Scalar};
use ndarray::Array2;
use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// After so many steps that were not finite a run gives up: the rate is a thousandth of what was asked for.
pub const DIVERGENCES: u32 = 10;

/// Losses and norms of gradients above this, which single precision never reaches, soon have sums that are no numbers.
const BEYOND: f64 = 1e100;

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
    /// [`Error::Option`] for a setting out of range; as [`Loader::suit`] and [`Engine::new`].
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

    /// Goes to where `checkpoint` was taken, with the reports up to there.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is of another network, [`Error::Shape`] if of another optimiser; [`Error::Option`] if its
    /// position is not in the data.
    pub fn restore(&mut self, checkpoint: Checkpoint<T>, history: Vec<Report>) -> Result<()> {
        let expected = self.network.architecture();
        let weights = [&checkpoint.parameters, &checkpoint.best];
        let mut all = weights.iter().copied().chain(&checkpoint.moments);
        let other = all.find(|p| p.architecture() != expected);
        if other.is_some() || checkpoint.state.ncols() != expected.state() {
            let found = other.map_or("its state".into(), |p| p.architecture().to_string());
            let problem = format!("it is of another network ({found}), expected {expected}");
            return Err(Error::invalid("checkpoint", problem));
        }
        self.optimizer = Optimizer::resume(
            self.optimizer.options(),
            checkpoint.progress.optimizer_steps,
            checkpoint.moments.clone(),
        )?;
        self.loader.seek(checkpoint.progress.position)?;
        self.network = Network::from_parameters(checkpoint.parameters.clone());
        self.best = checkpoint.best.clone();
        self.state = CarriedState::of(checkpoint.state.clone());
        self.progress = checkpoint.progress.clone();
        self.history = history;
        self.thin_history();
        self.good = checkpoint;
        Ok(())
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

    /// All that is needed to go on from here. Of several ranks, all must ask for it.
    pub fn checkpoint(&self) -> Checkpoint<T> {
        Checkpoint {
            parameters: self.network.parameters().clone(),
            best: self.best.clone(),
            moments: self.optimizer.moments().to_vec(),
            state: self.whole_state().into_owned(),
            progress: self.progress.clone(),
        }
    }

    /// Writes the checkpoint without a copy of it, on rank 0 and if all its numbers are finite; says whether they are. Of
    /// several ranks, all must ask for it.
    fn write_checkpoint(&self, path: &Path, about: &About) -> Result<bool> {
        let (state, moments) = (self.whole_state(), self.optimizer.moments());
        let weights = [self.network.parameters(), &self.best];
        let mut all = weights.into_iter().chain(moments);
        let finite = all.all(Parameters::all_finite) && state.iter().all(|x| x.is_finite());
        if finite && self.engine.rank() == 0 {
            checkpoint::write(path, about, weights, moments, &state, &self.progress)?;
        }
        Ok(finite)
    }

    /// The carried state of all streams, which several ranks bring together.
    fn whole_state(&self) -> Cow<'_, Array2<T>> {
        let mut state = Cow::Borrowed(self.state.streams());
        if self.engine.ranks() > 1 {
            self.engine.gather_state(state.to_mut());
        }
        state
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

    /// The present checkpoint as the one to go back to, in the memory that is there for it.
    fn remember(&mut self) {
        let good = &mut self.good;
        copy(&mut good.parameters, self.network.parameters());
        copy(&mut good.best, &self.best);
        for (to, from) in good.moments.iter_mut().zip(self.optimizer.moments()) {
            copy(to, from);
        }
        good.state.clone_from(self.state.streams());
        good.progress.clone_from(&self.progress);
    }

    fn has_stopped_improving(&self) -> bool {
        let (options, progress) = (&self.options, &self.progress);
        let halves = options.schedule == Schedule::HalveOnPlateau;
        (options.patience > 0 && progress.since_best >= options.patience)
            || (halves && progress.halvings > MOST_HALVINGS)
    }

    /// One update, unless something is not finite, as the inner error says: then the run is where it was at its last report,
    /// at half the rate.
    fn step(&mut self) -> Result<Result<StepReport>> {
        match self.engine.step_pool() {
            Some(pool) => pool.install(|| self.step_here()),
            None => self.step_here(),
        }
    }

    fn step_here(&mut self) -> Result<Result<StepReport>> {
        let begin = Instant::now();
        let (metrics, norm, ends) = loop {
            let update = self.progress.step + 1;
            if self.loader.is_text() {
                let (p, seed) = (self.options.zero_state, self.options.seed);
                self.state.reset_some(p, seed, update);
            }
            let window = self.loader.next()?;
            if self.options.reset_state {
                self.state.reset();
            }
            let state = self.state.enter(&self.engine, &window);
            let network = &self.network;
            if window.counted == 0 {
                // Nothing to learn, but the state has to pass through.
                self.engine.advance(network, &window.batch, state)?;
                self.state.leave(&self.engine, &window);
                continue;
            }
            let options = GradientOptions {
                state: Some(state),
                dropout: Some((&self.options.dropout, update)),
            };
            let found = self.engine.gradient_with(network, &window.batch, options)?;
            self.state.leave(&self.engine, &window);
            break (found.metrics, found.norm, self.loader.position());
        };
        let loss = metrics.mean_loss();
        let next = self.progress.step + 1;
        for (what, value) in [("loss", loss), ("gradient norm", norm)] {
            if !value.is_finite() || value > BEYOND {
                return self.back_off(next, what, value).map(Err);
            }
        }
        let (lr, optimizer) = (self.lr(next), &mut self.optimizer);
        self.engine.update(&mut self.network, optimizer, lr);
        // Weights that have left the numbers show in the next loss, unless somebody looks at them before.
        let seen = next.is_multiple_of(self.options.report_every) || next == self.options.steps;
        if seen && !self.network.parameters().all_finite() {
            return self.back_off(next, "weight", f64::NAN).map(Err);
        }
        // Moments that have, freeze the weights: an update divided by infinity is none.
        if seen && !self.optimizer.moments().iter().all(Parameters::all_finite) {
            let (what, value) = ("moment of the optimiser", f64::INFINITY);
            return self.back_off(next, what, value).map(Err);
        }

        let progress = &mut self.progress;
        progress.step = next;
        progress.optimizer_steps = self.optimizer.steps();
        progress.position = ends;
        progress.tokens += metrics.counted;
        progress.lr = lr;
        let loss_of_head = self.network.architecture().head.loss;
        progress.pending.add(&metrics, loss_of_head, norm);
        self.clock += begin.elapsed();
        self.counted_since += metrics.counted;
        Ok(Ok(StepReport {
            step: next,
            epoch: self.epoch(),
            loss,
            tokens: metrics.counted,
        }))
    }

    /// The learning rate of an update.
    fn lr(&self, step: u64) -> f64 {
        let options = &self.options;
        let factor = options.schedule.factor(step, options.steps, options.warmup);
        options.lr * factor * self.progress.lr_factor()
    }

    /// Epochs so far.
    pub fn epoch(&self) -> f64 {
        let position = self.progress.position;
        position.epoch as f64 + position.window as f64 / self.loader.windows_per_epoch() as f64
    }

    /// Back to the last report, at half the rate, because of what step `step` came to. If that was not enough the last time,
    /// the weights of that report are no good either: back to the best, with what the optimiser remembers forgotten.
    fn back_off(&mut self, step: u64, what: &'static str, value: f64) -> Result<Error> {
        let (divergences, halvings) = (self.progress.divergences + 1, self.progress.halvings + 1);
        let known = self.history.last().map_or(0, |report| report.divergences);
        if self.progress.divergences > known {
            self.good.parameters = self.good.best.clone();
            for moment in &mut self.good.moments {
                moment.as_mut_slice().fill(T::zero());
            }
            self.good.progress.optimizer_steps = 0;
            if self.good.state.iter().any(|x| !x.is_finite()) {
                self.good.state.fill(T::zero());
            }
        }
        let history = std::mem::take(&mut self.history);
        self.restore(self.good.clone(), history)?;
        (self.progress.divergences, self.progress.halvings) = (divergences, halvings);
        self.good.progress = self.progress.clone();
        (self.clock, self.counted_since) = (Duration::ZERO, 0);
        Ok(Error::Diverged { step, what, value })
    }

    /// Ends the interval since the last report: validates, and keeps the weights if they are the best so far.
    ///
    /// [`Trainer::run`] does this at its steps; a program calls it once more where a run ends between two of them, *after*
    /// taking its checkpoint: such a report is not part of the run.
    ///
    /// # Errors
    /// As [`Engine::evaluate`].
    pub fn report(&mut self) -> Result<(Report, bool)> {
        let valid = self.validate_until(|| Control::Continue)?;
        self.conclude(valid.expect("nobody stops it"))
    }

    /// [`Trainer::report`] in no time, for a run that is to end at once: without validation. The weights are kept as the best
    /// if there are no others.
    ///
    /// # Errors
    /// As [`Trainer::report`].
    pub fn report_unvalidated(&mut self) -> Result<(Report, bool)> {
        self.conclude(None)
    }

    fn conclude(&mut self, valid: Option<Metrics>) -> Result<(Report, bool)> {
        let waited = self.engine.comm().map(Communicator::take_waited);
        let valid_loss = valid.map(|metrics| metrics.mean_loss());
        let loss = self.network.architecture().head.loss;
        let named = valid.map(|metrics| metrics.named(loss)).unwrap_or_default();
        let finite = named.into_iter().filter(|(_, value)| value.is_finite());
        let valid_metrics = finite.map(|(name, value)| (format!("valid_{name}"), value));
        let progress = &mut self.progress;
        // A loss that is not a number is never the best.
        let best = match valid_loss {
            Some(loss) => progress.best_loss.is_none_or(|best| loss < best) && loss.is_finite(),
            None => self.validation.is_none() || progress.best_step == 0,
        };
        if best {
            copy(&mut self.best, self.network.parameters());
            (progress.best_loss, progress.best_step) = (valid_loss, progress.step);
            (progress.since_best, progress.plateau) = (0, 0);
        } else {
            progress.since_best += 1;
            progress.plateau += 1;
        }
        let pending = std::mem::take(&mut progress.pending);
        progress.reports += 1;
        let seconds = std::mem::take(&mut self.clock).as_secs_f64();
        let counted = std::mem::take(&mut self.counted_since);
        if let Some(comm) = self.engine.comm() {
            comm.check_equal("other weights", self.network.parameters().as_slice())?;
        }
        let report = Report {
            step: self.progress.step,
            epoch: self.epoch(),
            tokens: self.progress.tokens,
            train_loss: pending.mean_loss(),
            train_accuracy: pending.accuracy(),
            valid_loss,
            valid_metrics: valid_metrics.collect(),
            lr: self.progress.lr,
            grad_norm: pending.mean_norm(),
            divergences: self.progress.divergences,
            changed: std::mem::take(&mut self.changed),
            tokens_per_second: if seconds > 0.0 {
                counted as f64 / seconds
            } else {
                0.0
            },
            communication_seconds: waited.map(|waited| waited.as_secs_f64()),
        };
        // The other ranks would keep them for nobody.
        match self.engine.rank() {
            0 => self.thin_history(),
            _ => self.history.clear(),
        }
        self.history.push(report.clone());
        Ok((report, best))
    }

    /// From now on keeps so many reports at most (8 at least), which else take some hundred bytes each for as long as the run goes
    /// on: when there are more, every second one is left out, but not the last and that of the best weights.
    pub fn keep_reports(&mut self, most: usize) {
        self.most_reports = most.max(8);
        self.thin_history();
    }

    /// Makes room for one more report.
    fn thin_history(&mut self) {
        while self.history.len() >= self.most_reports {
            let (last, mut i) = (self.history.len() - 1, 0);
            let best = self.progress.best_step;
            self.history.retain(|report| {
                i += 1;
                i % 2 == 1 || i > last || report.step == best
            });
        }
    }

    /// What is counted on the validation data, if there is any; `None` if `go_on` stopped it.
    fn validate_until(
        &mut self,
        mut go_on: impl FnMut() -> Control,
    ) -> Result<Option<Option<Metrics>>> {
        let Some(data) = &mut self.validation else {
            return Ok(Some(None));
        };
        let engine = &mut self.engine;
        let metrics = evaluate_until(engine, &self.network, data, |_| go_on());
        Ok(metrics?.map(Some))
    }

    /// Where the validation loss has stopped falling: half the rate, from the best weights.
    fn halve_on_plateau(&mut self) -> Result<()> {
        if self.progress.plateau < PLATEAU {
            return Ok(());
        }
        self.progress.plateau = 0;
        self.progress.halvings += 1;
        copy(self.network.parameters_mut(), &self.best);
        Ok(())
    }
}

/// Into the memory that is there.
fn copy<T: Scalar>(to: &mut Parameters<T>, from: &Parameters<T>) {
    to.as_mut_slice().copy_from_slice(from.as_slice());
}
