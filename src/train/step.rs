//! One update of a run, and the way back from one that came to no number.

use super::{StepReport, Trainer};
use crate::engine::GradientOptions;
use crate::{Error, Parameters, Result, Scalar};
use std::time::{Duration, Instant};

/// Losses and norms of gradients above this, which single precision never reaches, soon have sums that are no numbers.
const BEYOND: f64 = 1e100;

impl<T: Scalar> Trainer<T> {
    /// One update, unless something is not finite, as the inner error says: then the run is where it was at its last report,
    /// at half the rate.
    pub(super) fn step(&mut self) -> Result<Result<StepReport>> {
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
}
