//! The `bptt` program; `bptt --help` says what it does.
#![deny(unsafe_code)]

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
