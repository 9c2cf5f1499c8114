//! What is shown of a run as it goes: [`Progress`].

use super::errors::say_of_library;
use super::format::{group, si};
use super::output::Output;
use bptt::train::{Control, Observer, Report, StepReport, Trainer};
use bptt::{Error, Result, Scalar};
use indicatif::ProgressBar;
use std::time::{Duration, Instant};

/// From one look of the bar to the next.
const LOOK: Duration = Duration::from_millis(200);

/// How much of the smoothed loss is the newest step's.
const NEWEST: f64 = 0.02;

/// Shows steps as a bar, and reports as lines or events.
pub struct Progress {
    output: Output,
    pub bar: ProgressBar,
    /// When the bar was last brought up to date, and the tokens since then.
    shown: Instant,
    tokens: u64,
    /// The smoothed training loss.
    loss: f64,
}

impl Progress {
    /// Of a run that stands at step `done` of `steps`.
    pub fn new(output: Output, done: u64, steps: u64) -> Self {
        let bar = output.bar(
            steps,
            "{elapsed} {wide_bar:.cyan/blue} {human_pos}/{human_len} {msg} {eta} left",
        );
        bar.set_position(done);
        bar.reset_eta();
        Progress {
            output,
            bar,
            shown: Instant::now(),
            tokens: 0,
            loss: f64::NAN,
        }
    }
}

impl<T: Scalar> Observer<T> for Progress {
    fn step(&mut self, run: &Trainer<T>, step: &StepReport) -> Result<Control> {
        self.tokens += step.tokens;
        self.loss = if self.loss.is_nan() {
            step.loss
        } else {
            self.loss + NEWEST * (step.loss - self.loss)
        };
        let since = self.shown.elapsed();
        if since >= LOOK {
            let valid = run.history().last().and_then(|report| report.valid_loss);
            let valid = valid.map_or(String::new(), |loss| format!(" valid {loss:.3}"));
            let speed = self.tokens as f64 / since.as_secs_f64();
            self.bar.set_position(step.step);
            self.bar.set_message(format!(
                "epoch {:.1} loss {:.3}{valid} {} tokens/s",
                step.epoch,
                self.loss,
                si(speed)
            ));
            (self.shown, self.tokens) = (Instant::now(), 0);
        }
        Ok(Control::Continue)
    }

    fn report(&mut self, _: &Trainer<T>, report: &Report, _: bool) -> Result<()> {
        self.output.event("report", report)?;
        if self.output.shows_lines() {
            let valid = report.valid_loss;
            let valid = valid.map_or(String::new(), |loss| format!("  valid {loss:.4}"));
            self.output.remark(format_args!(
                "step {:>7}  epoch {:.2}  train {:.4}{valid}  lr {:.2e}  {} tokens/s",
                group(report.step),
                report.epoch,
                report.train_loss,
                report.lr,
                si(report.tokens_per_second)
            ));
        }
        Ok(())
    }

    fn diverged(&mut self, run: &Trainer<T>, what: &Error) -> Result<()> {
        let progress = run.progress();
        let text = format!(
            "{}; back at step {}, from now on with {} of the learning rate",
            say_of_library(what),
            group(progress.step),
            progress.lr_factor
        );
        self.bar.suspend(|| self.output.remark(text));
        Ok(())
    }
}
