//! Where results, remarks and progress go: [`Output`].
//!
//! Results to standard output, as text or as JSON lines; remarks and progress to standard error.

use super::args::{Log, OutputArgs};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::io::{self, IsTerminal, Write};

/// What a command shows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Results as text for people; remarks and progress unless `quiet`.
    Human { quiet: bool },
    /// Results as a JSON object a line; remarks and progress unless `quiet`.
    Json { quiet: bool },
    /// Nothing: another process does the talking.
    Silent,
}

impl From<OutputArgs> for Output {
    fn from(OutputArgs { log, quiet }: OutputArgs) -> Self {
        match log {
            Log::Human => Output::Human { quiet },
            Log::Json => Output::Json { quiet },
        }
    }
}

impl Output {
    /// Whether results are text for people.
    pub fn is_human(self) -> bool {
        matches!(self, Output::Human { .. })
    }

    fn is_json(self) -> bool {
        matches!(self, Output::Json { .. })
    }

    fn is_quiet(self) -> bool {
        match self {
            Output::Human { quiet } | Output::Json { quiet } => quiet,
            Output::Silent => true,
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
        if !self.is_json() {
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
        if !self.is_human() {
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
        if !self.is_quiet() {
            let _ = writeln!(io::stderr(), "{text}");
        }
    }

    /// Whether progress is shown as lines: where no bar can be drawn.
    pub fn shows_lines(&self) -> bool {
        !self.is_quiet() && !io::stderr().is_terminal()
    }

    /// A bar on standard error; hidden where that is no terminal or progress is not wanted.
    pub fn bar(&self, length: u64, template: &str) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(
            Some(length),
            match self.is_quiet() {
                true => ProgressDrawTarget::hidden(),
                false => ProgressDrawTarget::stderr(),
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
