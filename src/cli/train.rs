//! `bptt train`: plan, prepare, run, report. Each stage is made of the one before.

use super::args::{Dtype, TrainArgs};
use super::errors::is_broken_pipe;
use super::journal::Journal;
use super::output::Output;
use super::plan::Plan;
use super::prepare::Prepared;
use super::processes::Processes;
use super::progress::Progress;
use super::{Done, messages};
use anyhow::{Error, Result};
use bptt::Scalar;
use bptt::train::{Checkpoints, Observer, StopReason, Trainer};
use std::time::Instant;

pub fn run(args: &TrainArgs, output: Output, processes: &Processes) -> Result<Done> {
    let plan = Plan::new(args, output, processes)?;
    match plan.config.settings.dtype {
        Dtype::F32 => carry_out::<f32>(plan, processes),
        Dtype::F64 => carry_out::<f64>(plan, processes),
    }
}

fn carry_out<T: Scalar>(plan: Plan, processes: &Processes) -> Result<Done> {
    let prepared = Prepared::<T>::new(plan, processes)?;
    let finished = prepared.run()?;
    finished.report()
}

/// A run that has stopped, all of it saved.
pub struct Finished<T: Scalar> {
    pub trainer: Trainer<T>,
    pub journal: Option<Journal>,
    pub checkpoints: Checkpoints,
    pub output: Output,
    pub best_loss: Option<f64>,
    pub reason: StopReason,
    pub seconds: f64,
    pub tokens_per_second: f64,
}

impl<T: Scalar> Prepared<T> {
    /// Takes steps until there is a reason to stop; then saves the last of them.
    fn run(self) -> Result<Finished<T>> {
        messages::start(&self)?;
        let Prepared {
            mut trainer,
            output,
            best_loss,
            ..
        } = self;
        let (done, steps) = (trainer.progress().step, trainer.options().steps);
        let progress = Progress::new(output, done, steps);
        let (started, before) = (Instant::now(), trainer.progress().tokens);

        // In this order: the journal says whether the others may write, a picture comes after what is worth more, and what
        // is shown has been saved.
        let (written, shown) = ((self.journal, self.events), (progress, self.interrupt));
        let mut observers = (written, (self.checkpoints, (self.plot, shown)));
        let ran = trainer.run(&mut observers);
        let (mut written, (checkpoints, (mut plot, (mut progress, _)))) = observers;
        progress.bar.finish_and_clear();
        let seconds = started.elapsed().as_secs_f64();
        let tokens = (trainer.progress().tokens - before) as f64;

        // A file that could not be written may be one of a folder that went away meanwhile.
        if let Some(journal) = &written.0 {
            journal.folder.check_ours()?;
        }
        let reason = match ran.map_err(Error::from) {
            // Whoever read the output has gone: what was reached is kept.
            Err(error) if is_broken_pipe(&error) && trainer.engine().ranks() == 1 => {
                save(&trainer, &checkpoints, output)?;
                return Err(error);
            }
            ran => ran?,
        };
        save(&trainer, &checkpoints, output)?;
        // The last report of a run that ends between two is for its readers: the checkpoint knows nothing of it.
        if trainer.progress().has_pending() {
            let (report, best) = trainer.report()?;
            written.report(&trainer, &report, best)?;
            if best && written.0.is_some() {
                checkpoints.write_model(trainer.best())?;
            }
            plot.report(&trainer, &report, best)?;
            progress.report(&trainer, &report, best)?;
        }
        plot.map_or(Ok(()), |plot| plot.draw())?;
        Ok(Finished {
            trainer,
            journal: written.0,
            checkpoints,
            output,
            best_loss,
            reason,
            seconds,
            tokens_per_second: tokens / seconds,
        })
    }
}

fn save<T: Scalar>(trainer: &Trainer<T>, checkpoints: &Checkpoints, output: Output) -> Result<()> {
    if !checkpoints.write(trainer)? {
        output.remark("no checkpoint: the weights are no longer finite numbers");
    }
    Ok(())
}

impl<T: Scalar> Finished<T> {
    /// Says what has come of the run.
    fn report(self) -> Result<Done> {
        messages::finish(&self)?;
        Ok(match self.reason {
            StopReason::Finished | StopReason::NoImprovement => Done::Finished,
            StopReason::Interrupted => Done::Interrupted,
            StopReason::Diverged => Done::Failed,
        })
    }
}
