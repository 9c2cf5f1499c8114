//! What is said of an error, and what the program's exit status is after it.

use super::settings::is_flag;
use bptt::Error;
use std::io::{self, ErrorKind};

/// The work failed.
pub const FAILED: u8 = 1;
/// The command line was wrong.
pub const USAGE: u8 = 2;

/// What is wrong with a command line whose flags are each right by themselves.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// The exit status after this error.
pub fn status(error: &anyhow::Error) -> u8 {
    match error.downcast_ref() {
        // Sizes that were found in the data.
        Some(Error::Option {
            name: "n_x" | "n_y",
            ..
        }) => FAILED,
        Some(Error::Option { .. }) => USAGE,
        _ if error.is::<Usage>() => USAGE,
        _ => FAILED,
    }
}

/// Whether standard output was closed: whoever read it has seen enough.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|cause| match cause.downcast_ref() {
        Some(Error::Io(io)) => Some(io),
        _ => cause.downcast_ref::<io::Error>(),
    });
    io.is_some_and(|io| io.kind() == ErrorKind::BrokenPipe)
}

/// An error with all that led to it, in the words of the command line.
pub fn say(error: &anyhow::Error) -> String {
    let said = error.chain().map(|cause| match cause.downcast_ref() {
        Some(error) => say_of_library(error),
        None => cause.to_string(),
    });
    said.collect::<Vec<_>>().join(": ")
}

/// The library knows nothing of flags: it calls an option by its field, `clip_norm` (in a longer text between these marks,
/// perhaps with its value), where whoever typed the command line knows `--clip-norm`.
pub fn say_of_library(error: &Error) -> String {
    let text = match error {
        Error::Option {
            name,
            value,
            expected,
        } if is_flag(name) => return format!("{}: {value} is not {expected}", flag(name)),
        error => error.to_string(),
    };
    let named = |(i, part): (usize, &str)| match part.split([' ', '`']).next() {
        Some(name) if i % 2 == 1 && is_flag(name) => part.replacen(name, &flag(name), 1),
        _ => part.to_string(),
    };
    // The parts with odd numbers stand between two marks.
    let parts: Vec<_> = text.split('`').enumerate().map(named).collect();
    parts.join("`")
}

/// `clip_norm` to `--clip-norm`.
pub fn flag(setting: &str) -> String {
    format!("--{}", setting.replace('_', "-"))
}
