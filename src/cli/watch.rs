//! What the program does as a run goes: writes it down, shows it, and ends it where somebody wants that ([`Watch`]).

use super::errors::say_of_library;
use super::interrupt::Interrupt;
use super::output::{Output, loss_text, metric, percent};
use super::plot;
use super::run_folder::RunFolder;
use super::tensorboard::EventFile;
use bptt::train::{Checkpoints, Control, Observer, Report, StepReport, Trainer};
use bptt::{Error, Result, Scalar};
use indicatif::{HumanCount, ProgressBar};
use std::time::{Duration, Instant};

/// From one look of the bar to the next.
const LOOK: Duration = Duration::from_millis(200);

/// A loss so many times that of guessing is said to be wrong.
const RUINED: f64 = 3.0;

/// From one drawing to the next at least: drawing takes longer than many a small step.
const DRAWING: Duration = Duration::from_secs(5);

/// The one observer of a run.
///
/// The folder comes first: a checkpoint may not know of lines of the history that are not on the disk, and nothing may be
/// written into a folder that is another run's by now. What is shown comes last: it has been saved.
pub struct Watch {
    /// On the process that writes the run down.
    pub folder: Option<RunFolder>,
    pub events: Option<EventFile>,
    pub checkpoints: Checkpoints,
    pub interrupt: Interrupt,
    pub output: Output,
    pub bar: ProgressBar,
    /// When the picture was last drawn.
    drawn: Option<Instant>,
    /// When the bar was last brought up to date, and the tokens since then.
    shown: Instant,
    tokens: u64,
}

impl Watch {
    /// Of a run that begins, or goes on, at step `done` of `steps`, without a folder and events so far.
    pub fn new(
        checkpoints: Checkpoints,
        interrupt: Interrupt,
        output: Output,
        (done, steps): (u64, u64),
    ) -> Self {
        let bar = "{elapsed} {wide_bar:.cyan/blue} {human_pos}/{human_len} {msg} {eta} left";
        let bar = output.bar(steps, bar).with_position(done);
        bar.reset_eta();
        Watch {
            folder: None,
            events: None,
            checkpoints,
            interrupt,
            output,
            bar,
            drawn: None,
            shown: Instant::now(),
            tokens: 0,
        }
    }

    /// Writes the checkpoint.
    pub fn save<T: Scalar>(&self, run: &Trainer<T>) -> Result<()> {
        if !self.checkpoints.write(run)? {
            self.output
                .remark("no checkpoint: the weights are no longer finite numbers");
        }
        Ok(())
    }

    /// Whether the folder, if this process has one, is still the run's.
    pub fn check_folder(&self) -> Result<()> {
        self.folder.as_ref().map_or(Ok(()), RunFolder::check_ours)
    }

    /// Adds a report to the history, of which a checkpoint may then know.
    fn record(&mut self, report: &Report) -> Result<()> {
        self.check_folder()?;
        if let Some(folder) = &self.folder {
            folder.append(report)?;
        }
        // Once more for whoever writes next: a disk may take its time.
        self.check_folder()?;
        self.events
            .as_mut()
            .map_or(Ok(()), |events| events.write(report))
    }

    /// The last report of a run that ends between two: it is for readers, and no checkpoint knows of it.
    pub fn last_report<T: Scalar>(
        &mut self,
        run: &Trainer<T>,
        report: &Report,
        best: bool,
    ) -> Result<()> {
        self.record(report)?;
        if best && self.folder.is_some() {
            self.checkpoints.write_model(run.best())?;
        }
        self.show(report)
    }

    /// Draws the curves of the run.
    pub fn draw<T: Scalar>(&mut self, run: &Trainer<T>) -> Result<()> {
        self.drawn = Some(Instant::now());
        let loss = run.network().architecture().head.loss;
        match &self.folder {
            Some(folder) => {
                let last = run.history().last();
                plot::draw(folder, last, loss, self.judges_sequences())
            }
            None => Ok(()),
        }
    }

    /// Whether a sequence has its own answers, of which it counts how many are right; of a text, only the loss tells much.
    fn judges_sequences(&self) -> bool {
        self.checkpoints.about.vocabulary.is_none()
    }

    fn show(&self, report: &Report) -> Result<()> {
        self.output.event("report", report)?;
        if self.output.shows_lines() {
            let mut valid = said("  valid", report.valid_loss.map(loss_text));
            for (name, &value) in &report.valid_metrics {
                let (name, value) = metric(name, value);
                valid += &format!("  {name} {value}");
            }
            self.output.remark(format_args!(
                "step {:>7}  epoch {:.2}  train {}{}{valid}  lr {:.2e}  {} tokens/s",
                HumanCount(report.step).to_string(),
                report.epoch,
                loss_text(report.train_loss),
                said("  accuracy", report.train_accuracy.map(percent)),
                report.lr,
                HumanCount(report.tokens_per_second as u64)
            ));
        }
        Ok(())
    }
}

/// ` accuracy 51.20 %`, where there is a number.
fn said(what: &str, number: Option<String>) -> String {
    number.map_or(String::new(), |number| format!("{what} {number}"))
}

impl<T: Scalar> Observer<T> for Watch {
    fn step(&mut self, run: &Trainer<T>, step: &StepReport) -> Result<Control> {
        if self.checkpoints.after(step.step) {
            self.check_folder()?;
            self.checkpoints.write(run)?;
        }
        self.tokens += step.tokens;
        let since = self.shown.elapsed();
        if since >= LOOK {
            let valid = run.history().last().and_then(|report| report.valid_loss);
            let right = run.progress().accuracy();
            let right = right.filter(|_| self.judges_sequences()).map(percent);
            let speed = HumanCount((self.tokens as f64 / since.as_secs_f64()) as u64);
            self.bar.set_position(step.step);
            self.bar.set_message(format!(
                "epoch {:.1} {} {}{}{} {speed} tokens/s",
                step.epoch,
                run.network().architecture().head.loss.title(),
                loss_text(run.progress().mean_loss().unwrap_or(step.loss)),
                said(" accuracy", right),
                said(" valid", valid.map(loss_text))
            ));
            (self.shown, self.tokens) = (Instant::now(), 0);
        }
        Ok(Observer::<T>::validating(self))
    }

    fn validating(&mut self) -> Control {
        match self.interrupt.is_wanted() {
            true => Control::Stop,
            false => Control::Continue,
        }
    }

    fn report(&mut self, run: &Trainer<T>, report: &Report, best: bool) -> Result<()> {
        self.record(report)?;
        self.checkpoints.report(run, report, best)?;
        if self.drawn.is_none_or(|drawn| drawn.elapsed() >= DRAWING) {
            self.draw(run)?;
        }
        let guessing = run.network().architecture().head.guessing();
        if let Some(guess) = guessing.filter(|guess| report.train_loss > RUINED * guess) {
            let said = format!(
                "step {}: the training loss {} is far worse than guessing ({guess:.2}): try a smaller --lr",
                HumanCount(report.step),
                loss_text(report.train_loss)
            );
            self.bar.suspend(|| self.output.remark(said));
        }
        self.show(report)
    }

    fn diverged(&mut self, run: &Trainer<T>, what: &Error) -> Result<()> {
        let progress = run.progress();
        let text = format!(
            "{}; back at step {}, from now on with {} of the learning rate",
            say_of_library(what),
            HumanCount(progress.step),
            progress.lr_factor()
        );
        self.bar.suspend(|| self.output.remark(text));
        Ok(())
    }
}
