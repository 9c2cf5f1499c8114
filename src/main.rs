//! The `bptt` program; `bptt --help` says what it does.
#![deny(unsafe_code)]

fn main() -> std::process::ExitCode {
    bptt::cli::main()
}
