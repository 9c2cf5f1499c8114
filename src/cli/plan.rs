//! What `bptt train` is going to do, before any data is read: [`Plan`].

use super::args::TrainArgs;
use super::interrupt::Interrupt;
use super::output::Output;
use super::processes::Processes;
use super::run_folder::{RunFolder, check_free};
use super::settings::Config;
use anyhow::{Result, bail};
use std::path::PathBuf;

/// A run that is decided on: all that the command line, the defaults and the folder of a run to go on with say.
pub struct Plan {
    pub config: Config,
    /// Whether the run has begun before.
    pub resumes: bool,
    /// The folder of a run that has begun, on the process that writes there. A new run gets one when its data turns out to
    /// be good.
    pub folder: Option<RunFolder>,
    /// The folder that a new run is to have, if one was named.
    pub out: Option<PathBuf>,
    pub interrupt: Interrupt,
    pub output: Output,
}

impl Plan {
    /// Locks the folder of a run to go on with, and settles the settings, which are those of rank 0 on all processes.
    pub fn new(args: &TrainArgs, output: Output, processes: &Processes) -> Result<Self> {
        processes.warn(output);
        let interrupt = Interrupt::listen()?;
        if let Some(path) = &args.settings.not_unicode {
            bail!(
                "{path:?}: its name is not UTF-8, so config.json could not say what the run was trained on: rename it, or \
                 give a link to it"
            );
        }
        let machine = processes.machine();
        let fresh = Config::new(&args.settings.given, machine)?;
        let threads = fresh.threads;
        let (folder, config) = match &args.resume {
            _ if !processes.leads() => (None, None),
            Some(path) => {
                let folder = RunFolder::resume(path)?;
                let config = Config::resume(path, &args.settings.given, machine)?;
                (Some(folder), Some(config))
            }
            None => {
                args.out.as_deref().map_or(Ok(()), check_free)?;
                (None, Some(fresh))
            }
        };
        let mut config = processes.share(config)?;
        if !processes.leads() {
            // The machine of this process may have other cores than that of rank 0.
            config.threads = threads;
        }
        Ok(Plan {
            config,
            resumes: args.resume.is_some(),
            folder,
            out: args.out.clone(),
            interrupt,
            output,
        })
    }
}
