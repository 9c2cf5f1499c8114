//! `bptt train`: plan, prepare, run, report. Each stage is made of the one before.

use super::args::{Dtype, TrainArgs};
use super::errors::is_broken_pipe;
use super::interrupt::Interrupt;
use super::output::Output;
use super::prepare::Run;
use super::processes::Processes;
use super::run_folder::{RunFolder, check_free};
use super::settings::{Config, fields};
use super::{Done, messages};
use anyhow::{Error, Result};
use bptt::Scalar;
use bptt::train::{Changes, StopReason};
use std::path::PathBuf;
use std::time::Instant;

/// A run that is decided on before any data is read: all that the command line, the defaults and the folder of a run to go
/// on with say.
pub struct Plan {
    pub config: Config,
    /// Whether the run has begun before.
    pub resumes: bool,
    /// What is to be other than before where it has.
    pub changes: Changes,
    /// The folder of a run that has begun, on the process that writes there. A new run gets one when its data turns out to
    /// be good.
    pub folder: Option<RunFolder>,
    /// The folder that a new run is to have, if one was named.
    pub out: Option<PathBuf>,
    pub interrupt: Interrupt,
    pub output: Output,
}

pub fn run(args: TrainArgs, output: Output, processes: &Processes) -> Result<Done> {
    let plan = Plan::new(args, output, processes)?;
    match plan.config.settings.dtype {
        Dtype::F32 => Run::<f32>::prepare(plan, processes)?.train(),
        Dtype::F64 => Run::<f64>::prepare(plan, processes)?.train(),
    }
}

impl Plan {
    /// Locks the folder of a run to go on with, and settles the settings; every rank takes the settings of rank 0.
    fn new(args: TrainArgs, output: Output, processes: &Processes) -> Result<Self> {
        processes.warn(output);
        let interrupt = Interrupt::listen(output.host)?;
        let fresh = args.config.complete(processes.cores, processes.size());
        // Whether `config.json` can hold them is known before anything is read.
        fields(&fresh)?;
        let threads = fresh.threads;
        let (folder, config) = match &args.resume {
            _ if !processes.is_root() => (None, None),
            Some(path) => {
                let folder = RunFolder::resume(path)?;
                let resumed = Config::resume(path, &args.given, fresh, processes.size())?;
                (Some(folder), Some(resumed))
            }
            None => {
                args.out.as_deref().map_or(Ok(()), check_free)?;
                (None, Some((fresh, Changes::new())))
            }
        };
        if let Some((config, _)) = &config {
            config.settings.check(&args.given)?;
        }
        let (mut config, changes) = processes.broadcast(config)?;
        if !processes.is_root() {
            // The machine of this process may have other cores than that of rank 0.
            config.threads = threads;
        }
        Ok(Plan {
            config,
            resumes: args.resume.is_some(),
            changes,
            folder,
            out: args.out,
            interrupt,
            output,
        })
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
