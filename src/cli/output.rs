//! Where results, remarks and progress go: [`Output`].
//!
//! Results to standard output, as text or as JSON lines; remarks and progress to standard error.

use super::args::{Log, OutputArgs};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::io::{self, IsTerminal, Write};

#[derive(Clone, Copy)]
pub struct Output {
    pub json: bool,
    pub quiet: bool,
    /// Nothing at all: another process does the talking.
    silent: bool,
}

impl From<OutputArgs> for Output {
    fn from(args: OutputArgs) -> Self {
        Output {
            json: args.log == Log::Json,
            quiet: args.quiet,
            silent: false,
        }
    }
}

impl Output {
    /// The output of a process that is to say nothing but errors.
    pub fn silent() -> Self {
        Output {
            json: false,
            quiet: true,
            silent: true,
        }
    }

    /// A line of JSON `{"event": name, ...}` where JSON was asked for.
    pub fn event(&self, name: &str, fields: &impl Serialize) -> io::Result<()> {
        #[derive(Serialize)]
        struct Event<'a, T> {
            event: &'a str,
            #[serde(flatten)]
            fields: &'a T,
        }
        if !self.json {
            return Ok(());
        }
        let line = serde_json::to_string(&Event {
            event: name,
            fields,
        })?;
        print(format_args!("{line}\n"))
    }

    /// Text for a reader where that was asked for.
    pub fn text(&self, text: impl std::fmt::Display) -> io::Result<()> {
        if self.json || self.silent {
            return Ok(());
        }
        print(format_args!("{text}\n"))
    }

    /// A piece of text, as it is.
    pub fn piece(&self, bytes: &[u8]) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
        written.map_err(name_stdout)
    }

    /// A remark on standard error. If that is closed, nobody wants to know.
    pub fn remark(&self, text: impl std::fmt::Display) {
        if !self.quiet {
            let _ = writeln!(io::stderr(), "{text}");
        }
    }

    /// Whether progress is lines, not a bar.
    pub fn plain_progress(&self) -> bool {
        !self.quiet && !io::stderr().is_terminal()
    }

    /// A bar on standard error; hidden where that is no terminal or progress is not wanted.
    pub fn bar(&self, length: u64, template: &str) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(
            Some(length),
            if self.quiet {
                ProgressDrawTarget::hidden()
            } else {
                ProgressDrawTarget::stderr()
            },
        );
        let style = ProgressStyle::with_template(template).expect("a template of ours");
        bar.set_style(style.progress_chars("━╸─"));
        bar
    }
}

fn print(text: std::fmt::Arguments) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_fmt(text).and_then(|()| stdout.flush());
    written.map_err(name_stdout)
}

fn name_stdout(error: io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        format!("cannot write to standard output: {error}"),
    )
}
