//! What is said of an error, and what the program's exit status is after it.

use super::flags::FLAGS;
use bptt::Error;
use std::io::{self, ErrorKind};

/// The work failed.
pub const FAILED: u8 = 1;
/// The command line was wrong.
const USAGE: u8 = 2;

/// The exit status after this error.
pub fn status(error: &anyhow::Error) -> u8 {
    match error.downcast_ref() {
        Some(Error::Option { .. }) => USAGE,
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

/// The library knows nothing of flags: it calls an option by its field, `clip_norm` (in a longer text with these marks
/// around it), where whoever typed the command line knows `--clip-norm`.
pub fn say_of_library(error: &Error) -> String {
    if let Error::Option {
        name,
        value,
        expected,
    } = error
    {
        let name = flag_of(name).unwrap_or_else(|| name.to_string());
        return format!("{name}: {value} is not {expected}");
    }
    let text = error.to_string();
    let mut parts: Vec<String> = text.split('`').map(String::from).collect();
    // Those with odd numbers stand between two marks; the last has no second one.
    let last = parts.len() - 1;
    for i in (1..last).step_by(2) {
        let marked = &parts[i];
        let (name, rest) = marked.split_at(marked.find(' ').unwrap_or(marked.len()));
        parts[i] = match flag_of(name) {
            Some(flag) => format!("{flag}{rest}"),
            None => format!("`{marked}`"),
        };
    }
    if last % 2 == 1 {
        parts[last].insert(0, '`');
    }
    parts.concat()
}

/// `clip_norm` to `--clip-norm`, if there is such a flag.
fn flag_of(field: &str) -> Option<String> {
    let name = field.replace('_', "-");
    let known = FLAGS.iter().any(|flag| flag.name == name && name != "data");
    known.then(|| format!("--{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_called_by_their_flags() {
        let option = |name| Error::Option {
            name,
            value: "0".into(),
            expected: "enough",
        };
        assert_eq!(
            say(&option("clip_norm").into()),
            "--clip-norm: 0 is not enough"
        );
        assert_eq!(say(&option("beta2").into()), "beta2: 0 is not enough");
        let text = |problem: &str| say_of_library(&Error::file("a.txt", problem));
        assert_eq!(
            text("give `seq_len` or `inputs`"),
            "a.txt: give --seq-len or `inputs`"
        );
        assert_eq!(
            text("read it as `tokens byte`"),
            "a.txt: read it as --tokens byte"
        );
        for same in ["", "`", "a `lone mark", "`x` and `lr", "``", "the `data`"] {
            assert_eq!(text(same), format!("a.txt: {same}"));
        }
    }
}
