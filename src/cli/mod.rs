//! The program: parse, plan, act.
//!
//! | rooms | what is in them |
//! |---|---|
//! | `args`, `values` | the command line; what the values of its flags may be |
//! | `settings`, `contradictions`, `config` | the settings of a run, which are the flags of `train`; which do not go together; its `config.json` |
//! | `processes` | this process alone, or the ranks of a run |
//! | `train`: `plan`, `prepare`, `messages` | the stages of `bptt train`, each made of the one before |
//! | `watch`, `run_folder`, `plot`, `tensorboard` | what is written and shown of a run as it goes |
//! | `output`, `errors` | how anything is shown |
//! | `dataset`, `model`, `memory` | DATA and MODEL on the command line; whether there is room for them |
//! | `eval`, `sample`, `predict`, `export`, `bench`, `inspect` | the other commands |
//! | `interrupt`, `kernels` | Ctrl-C; whether OpenBLAS fits this processor |
//!
//! It stands in the library so that another program can run its commands ([`run`] for a [`Host`]), and is no part of what the
//! library promises.

// Comments of flags are the text of `--help`.
#![allow(rustdoc::invalid_html_tags)]

mod args;
mod bench;
mod config;
mod contradictions;
mod dataset;
mod errors;
mod eval;
mod export;
mod inspect;
mod interrupt;
pub mod kernels;
pub mod memory;
mod messages;
mod model;
mod output;
mod plan;
mod plot;
mod predict;
mod prepare;
mod processes;
mod run_folder;
mod sample;
mod settings;
mod tensorboard;
mod train;
mod values;
mod watch;

pub use args::{Flag, flags};
pub use output::{Channel, Host};

use args::Command;
use bptt::model::ModelFile;
use errors::{FAILED, is_broken_pipe};
use output::Output;
use processes::Processes;
use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;
use values::Dtype;

/// The exit status after a signal.
const INTERRUPTED: u8 = 130;

/// How long a rank waits before it says what rank 0 may be about to say.
const PATIENCE: std::time::Duration = std::time::Duration::from_millis(500);

/// Does what the command line says.
pub fn main() -> ExitCode {
    if let Err(error) = memory::check_program().and_then(|()| kernels::fit()) {
        let status = fail(&error, None);
        // Not through the usual end: OpenBLAS would wait there for threads that wait for memory.
        signal_hook::low_level::exit(status.into());
    }
    let cli = match args::parse(std::env::args_os()) {
        Ok(cli) => cli,
        // Nonsense, or somebody asks for help.
        Err(error) => {
            let shown = error.print().and_then(|()| std::io::stdout().flush());
            return match shown {
                Err(shown) if shown.kind() != ErrorKind::BrokenPipe => ExitCode::from(FAILED),
                _ => ExitCode::from(error.exit_code() as u8),
            };
        }
    };
    let processes = match Processes::join() {
        Ok(processes) => processes,
        Err(error) => return ExitCode::from(fail(&error, None)),
    };
    let output = Output::new(cli.output, processes.is_root(), None);
    let agreed = interrupt::outlive_file_limits().and_then(|()| processes.check_same_program());
    match agreed.and_then(|()| act(cli.command, output, &processes)) {
        Ok(Done::Finished) => ExitCode::SUCCESS,
        Ok(Done::Interrupted) => ExitCode::from(INTERRUPTED),
        // Whoever read our output has seen enough.
        Err(error) if is_broken_pipe(&error) => {
            processes.abort(0);
            ExitCode::SUCCESS
        }
        Err(error) => {
            let status = fail(&error, Some(&processes));
            processes.abort(status);
            ExitCode::from(status)
        }
    }
}

/// Reads the model that a command is for, and runs the command in the precision of the model's file.
macro_rules! on_model {
    ($command:ident, $args:expr, $output:expr) => {{
        let file = ModelFile::read(&model::file(&$args.model)?)?;
        match file.precision()? {
            "f64" => $command::run::<f64>(&$args, file.model()?, $output),
            _ => $command::run::<f32>(&$args, file.model()?, $output),
        }
    }};
}

fn act(command: Command, output: Output, processes: &Processes) -> anyhow::Result<Done> {
    bptt::internal::simd::chosen()?;
    match command {
        Command::Train(args) => train::run(*args, output, processes),
        Command::Bench(args) => match args.dtype {
            Dtype::F32 => bench::run::<f32>(&args, output, processes),
            Dtype::F64 => bench::run::<f64>(&args, output, processes),
        },
        // Work for one process.
        _ if !processes.is_root() => Ok(Done::Finished),
        Command::Eval(args) => on_model!(eval, args, output),
        Command::Sample(args) => on_model!(sample, args, output),
        Command::Predict(args) => on_model!(predict, args, output),
        Command::Export(args) => on_model!(export, args, output),
        Command::Inspect(args) => on_model!(inspect, args, output),
    }
}

/// Does what a command line (`bptt` its first word) says inside of another program, which goes on afterwards: what is shown goes
/// to the host, which is also asked whether to stop; no signal is listened to, and no process met.
///
/// # Errors
/// What the program would say after `error: `, and by which status it would end.
pub fn run(
    words: impl IntoIterator<Item = OsString>,
    host: &'static dyn Host,
) -> Result<Done, Failure> {
    let cli = args::parse(words).map_err(|error| Failure {
        usage: error.use_stderr(),
        text: error
            .to_string()
            .trim_start_matches("error: ")
            .trim_end()
            .to_string(),
        error: None,
    })?;
    let output = Output::new(cli.output, true, Some(host));
    act(cli.command, output, &Processes::alone()).map_err(|error| Failure {
        usage: errors::status(&error) == errors::USAGE,
        text: errors::say(&error),
        error: Some(error),
    })
}

/// Why a command did not do its work.
#[derive(Debug)]
pub struct Failure {
    /// Whether the command line was wrong.
    pub usage: bool,
    /// What the program says of it.
    pub text: String,
    /// What it was, unless the command line was not understood.
    pub error: Option<anyhow::Error>,
}

/// Says what went wrong, and on which of several ranks; returns the exit status.
fn fail(error: &anyhow::Error, processes: Option<&Processes>) -> u8 {
    let rank = match processes {
        Some(processes) if processes.size() > 1 => format!("rank {}: ", processes.rank()),
        _ => String::new(),
    };
    if processes.is_some_and(|processes| !processes.is_root()) {
        // Most errors are the same on all ranks: rank 0 says it and ends the other ranks before they say it again.
        std::thread::sleep(PATIENCE);
    }
    let _ = writeln!(std::io::stderr(), "error: {rank}{}", errors::say(error));
    errors::status(error)
}

/// How a command ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// All is done.
    Finished,
    /// Somebody wanted it to end.
    Interrupted,
}
