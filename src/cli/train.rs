//! `bptt train`: plan, prepare, run, report. Each stage is made of the one before.

use super::args::TrainArgs;
use super::errors::is_broken_pipe;
use super::output::Output;
use super::plan::Plan;
use super::prepare::Run;
use super::processes::Processes;
use super::values::Dtype;
use super::{Done, messages};
use anyhow::{Error, Result};
use bptt::Scalar;
use bptt::train::StopReason;
use std::time::Instant;

pub fn run(args: TrainArgs, output: Output, processes: &Processes) -> Result<Done> {
    let plan = Plan::new(args, output, processes)?;
    match plan.config.settings.dtype {
        Dtype::F32 => Run::<f32>::prepare(plan, processes)?.train(),
        Dtype::F64 => Run::<f64>::prepare(plan, processes)?.train(),
    }
}

impl<T: Scalar> Run<T> {
    /// Takes steps until there is a reason to stop, saves the last of them, and says what has come of the run.
    fn train(mut self) -> Result<Done> {
        messages::start(&self)?;
        let Run { trainer, watch, .. } = &mut self;
        let (started, before) = (Instant::now(), trainer.progress().tokens);
        let ran = trainer.run(watch);
        watch.bar.finish_and_clear();
        let seconds = started.elapsed().as_secs_f64();
        let tokens = trainer.progress().tokens - before;

        // A file that could not be written may be one of a folder that went away meanwhile.
        watch.check_folder()?;
        let reason = match ran.map_err(Error::from) {
            // Whoever read the output has gone: what was reached is kept.
            Err(error) if is_broken_pipe(&error) && trainer.engine().ranks() == 1 => {
                watch.save(trainer)?;
                return Err(error);
            }
            ran => ran?,
        };
        watch.save(trainer)?;
        if trainer.progress().has_pending() {
            let (report, best) = match reason {
                // Validation may take longer than whoever sent the signal waits.
                StopReason::Interrupted => trainer.report_unvalidated()?,
                _ => trainer.report()?,
            };
            watch.last_report(trainer, &report, best)?;
        }
        watch.draw(trainer)?;
        messages::finish(&self, reason, seconds, tokens as f64 / seconds)?;
        match reason {
            StopReason::Finished | StopReason::NoImprovement => Ok(Done::Finished),
            StopReason::Interrupted => Ok(Done::Interrupted),
            StopReason::Diverged => {
                let divergences = self.trainer.progress().divergences;
                Err(bptt::Error::GivenUp { divergences }.into())
            }
        }
    }
}
