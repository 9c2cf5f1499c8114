//! The program: parse, validate, act.

mod args;
mod bench;
mod dataset;
mod eval;
mod inspect;
mod interrupt;
mod memory;
mod output;
mod predict;
mod run_folder;
mod sample;
mod settings;
mod train;

use args::{Cli, Command};
use clap::Parser;
use output::Output;
use std::process::ExitCode;

/// The work failed.
const FAILED: u8 = 1;
/// The command line was wrong.
const USAGE: u8 = 2;
/// Interrupted by a signal.
const INTERRUPTED: u8 = 130;

/// Does what the command line says.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output::from(cli.output);
    let done = match cli.command {
        Command::Train(args) => train::run(&args, output),
        Command::Eval(args) => eval::run(&args, output),
        Command::Sample(args) => sample::run(&args, output),
        Command::Predict(args) => predict::run(&args, output),
        Command::Bench(args) => bench::run(&args, output),
        Command::Inspect(args) => inspect::run(&args, output),
    };
    match done {
        Ok(Done::Finished) => ExitCode::SUCCESS,
        Ok(Done::Interrupted) => ExitCode::from(INTERRUPTED),
        Ok(Done::Failed) => ExitCode::from(FAILED),
        // Whoever read our output has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            use std::io::Write;
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            let option = matches!(error.downcast_ref(), Some(bptt::Error::Option { .. }));
            ExitCode::from(if option { USAGE } else { FAILED })
        }
    }
}

/// How a command ended that did not fail on the way.
enum Done {
    Finished,
    Interrupted,
    /// It said so itself.
    Failed,
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|e| match e.downcast_ref() {
        Some(bptt::Error::Io(io)) => Some(io),
        _ => e.downcast_ref::<std::io::Error>(),
    });
    io.is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}
