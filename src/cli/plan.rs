//! What is decided of a run before any data is read: [`Plan`].

use super::args::TrainArgs;
use super::config::fields;
use super::interrupt::Interrupt;
use super::output::Output;
use super::processes::Processes;
use super::run_folder::{RunFolder, check_free};
use super::settings::Config;
use anyhow::Result;
use bptt::train::Changes;
use std::path::PathBuf;

/// All that the command line, the defaults and the folder of a run to go on with say.
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

impl Plan {
    /// Locks the folder of a run to go on with, and settles the settings; every rank takes the settings of rank 0.
    pub fn new(args: TrainArgs, output: Output, processes: &Processes) -> Result<Self> {
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
