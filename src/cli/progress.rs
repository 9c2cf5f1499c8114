//! What a run shows and saves as it goes: [`Watch`], and the curves of its plot.

use super::format::{group, si};
use super::interrupt::Interrupt;
use super::output::Output;
use super::run_folder::RunFolder;
use anyhow::Result;
use bptt::train::plot::{self, Curve, Labels, Trace};
use bptt::train::tensorboard::TensorBoard;
use bptt::train::{Checkpoints, Control, Observer, Report, StepReport, Trainer};
use bptt::{Error, Scalar};
use indicatif::ProgressBar;
use std::time::{Duration, Instant};

/// Shows and saves a run as it goes.
pub struct Watch {
    pub folder: RunFolder,
    pub checkpoints: Checkpoints,
    events: Option<TensorBoard>,
    pub output: Output,
    pub bar: ProgressBar,
    interrupt: Interrupt,
    pub traces: Traces,
    /// When the plot was last drawn.
    drawn: Option<Instant>,
    /// When the bar was last brought up to date, and what has come since.
    shown: Instant,
    tokens: u64,
    loss: f64,
}

/// From one plot to the next at least: drawing it takes longer than many a small step.
const DRAWING: Duration = Duration::from_secs(5);

/// From one look of the bar to the next.
const LOOK: Duration = Duration::from_millis(200);

/// How much of the smoothed loss is the newest step's.
const NEWEST: f64 = 0.02;

impl Watch {
    /// What a run is shown by and saved to.
    pub fn new(
        folder: RunFolder,
        checkpoints: Checkpoints,
        events: Option<TensorBoard>,
        output: Output,
        bar: ProgressBar,
        interrupt: Interrupt,
        traces: Traces,
    ) -> Self {
        Watch {
            folder,
            checkpoints,
            events,
            output,
            bar,
            interrupt,
            traces,
            drawn: None,
            shown: Instant::now(),
            tokens: 0,
            loss: f64::NAN,
        }
    }

    pub fn checkpoint<T: Scalar>(&mut self, run: &Trainer<T>) -> Result<()> {
        self.folder.check_ours()?;
        // The history first: a checkpoint never knows of lines that are not on the disk.
        self.folder.sync_history()?;
        if !self.checkpoints.write(run)? {
            self.bar.suspend(|| {
                self.output
                    .remark("no checkpoint: the weights are no longer finite numbers");
            });
        }
        Ok(())
    }

    /// What a reader of the folder wants to see.
    pub fn save_report<T: Scalar>(
        &mut self,
        run: &Trainer<T>,
        report: &Report,
        best: bool,
    ) -> Result<()> {
        self.folder.check_ours()?;
        self.folder.append(report)?;
        if let Some(events) = &mut self.events {
            events.write(report)?;
        }
        if best {
            self.checkpoints.write_model(run.best())?;
        }
        self.traces.push(report);
        if self.drawn.is_none_or(|drawn| drawn.elapsed() >= DRAWING) {
            self.traces.draw(&self.folder)?;
            self.drawn = Some(Instant::now());
        }
        Ok(())
    }

    pub fn show_report(&self, report: &Report) -> Result<()> {
        self.output.event("report", report)?;
        if self.output.plain_progress() {
            let valid = report
                .valid_loss
                .map_or(String::new(), |loss| format!("  valid {loss:.4}"));
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
}

impl<T: Scalar> Observer<T> for Watch {
    fn step(&mut self, run: &Trainer<T>, step: &StepReport) -> bptt::Result<Control> {
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
        if self.checkpoints.after(step.step) {
            self.checkpoint(run).map_err(into_library)?;
        }
        self.interrupt.step(run, step)
    }

    fn report(&mut self, run: &Trainer<T>, report: &Report, best: bool) -> bptt::Result<()> {
        self.save_report(run, report, best).map_err(into_library)?;
        if self.checkpoints.at_reports() {
            self.checkpoint(run).map_err(into_library)?;
        }
        // Last, so that what is shown is saved.
        self.show_report(report).map_err(into_library)
    }

    fn diverged(&mut self, run: &Trainer<T>, what: &Error) -> bptt::Result<()> {
        let progress = run.progress();
        let text = format!(
            "{what}; back at step {}, from now on with {} of the learning rate",
            group(progress.step),
            progress.lr_factor
        );
        self.bar.suspend(|| self.output.remark(text));
        Ok(())
    }
}

/// Observers return the library's error.
fn into_library(error: anyhow::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(error) => match error.downcast::<std::io::Error>() {
            Ok(error) => error.into(),
            Err(error) => std::io::Error::other(format!("{error:#}")).into(),
        },
    }
}

/// The losses of all reports, as far as a picture can show them.
#[derive(Default)]
pub struct Traces {
    train: Trace,
    valid: Trace,
}

impl Traces {
    pub fn push(&mut self, report: &Report) {
        let step = report.step as f64;
        self.train.push(step, report.train_loss);
        if let Some(loss) = report.valid_loss {
            self.valid.push(step, loss);
        }
    }

    pub fn draw(&self, folder: &RunFolder) -> Result<()> {
        let (train, valid) = (self.train.points(), self.valid.points());
        let mut curves = vec![Curve {
            name: "training",
            points: &train,
        }];
        if !valid.is_empty() {
            curves.push(Curve {
                name: "validation",
                points: &valid,
            });
        }
        let name = folder.path().file_name().unwrap_or_default();
        let labels = Labels {
            title: &name.to_string_lossy(),
            x: "updates",
            y: "loss (nats per token)",
        };
        Ok(plot::draw(&folder.plot(), labels, &curves)?)
    }
}
