//! What a run says of itself: its reports, for which it validates, and what follows from a loss that falls no more.

use super::{Control, MOST_HALVINGS, PLATEAU, Report, Schedule, Trainer, copy, evaluate_until};
use crate::heads::Metrics;
use crate::ranks::{Communicator, check_equal};
use crate::{Result, Scalar};
use bytemuck::cast_slice;

impl<T: Scalar> Trainer<T> {
    /// Ends the interval since the last report: validates, and keeps the weights if they are the best so far.
    ///
    /// [`Trainer::run`] does this at its steps; a program calls it once more where a run ends between two of them, *after*
    /// taking its checkpoint: such a report is not part of the run.
    ///
    /// # Errors
    /// As [`crate::Engine::evaluate`].
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

    pub(super) fn conclude(&mut self, valid: Option<Metrics>) -> Result<(Report, bool)> {
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
            let weights = cast_slice(self.network.parameters().as_slice());
            check_equal(&*comm.ranks, "other weights", weights)?;
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
    pub(super) fn thin_history(&mut self) {
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
    pub(super) fn validate_until(
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
    pub(super) fn halve_on_plateau(&mut self) -> Result<()> {
        if self.progress.plateau < PLATEAU {
            return Ok(());
        }
        self.progress.plateau = 0;
        self.progress.halvings += 1;
        copy(self.network.parameters_mut(), &self.best);
        Ok(())
    }

    pub(super) fn has_stopped_improving(&self) -> bool {
        let (options, progress) = (&self.options, &self.progress);
        let halves = options.schedule == Schedule::HalveOnPlateau;
        (options.patience > 0 && progress.since_best >= options.patience)
            || (halves && progress.halvings > MOST_HALVINGS)
    }
}
