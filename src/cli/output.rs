//! Where results, remarks and progress go: [`Output`].
//!
//! Results to standard output, as text or as JSON lines; remarks and progress to standard error.

use super::args::{Log, OutputArgs};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

/// A bar of what is done, for whoever waits.
pub const BAR: &str = "{elapsed} {bar:30.cyan/blue} {percent}% {eta} left";

/// Where a piece of output belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Standard output.
    Results,
    /// Standard error.
    Remarks,
}

/// Another program that runs commands of this one, and shows what they have to say in its own way.
pub trait Host: Sync {
    /// Shows a piece of text.
    ///
    /// # Errors
    /// End the command.
    fn show(&self, channel: Channel, text: &[u8]) -> io::Result<()>;

    /// Whether standard error is a terminal that is looked at, so that a bar may be drawn there.
    fn draws(&self) -> bool;

    /// Whether a command is to end. It is asked after every step, token or part of the data.
    fn is_interrupted(&self) -> bool;
}

/// What a command shows.
#[derive(Clone, Copy)]
pub struct Output {
    /// What standard output holds; `None` where another process does the talking.
    results: Option<Log>,
    /// No remarks and no progress.
    quiet: bool,
    /// Who shows it, if not the program.
    pub host: Option<&'static dyn Host>,
}

impl Output {
    /// Of the process of rank 0, what the command line asks for; of any other rank, nothing.
    pub fn new(
        OutputArgs { log, quiet }: OutputArgs,
        is_root: bool,
        host: Option<&'static dyn Host>,
    ) -> Self {
        Output {
            results: is_root.then_some(log),
            quiet: quiet || !is_root,
            host,
        }
    }

    /// Whether results are text for people.
    pub fn is_human(self) -> bool {
        self.results == Some(Log::Human)
    }

    /// A line of JSON `{"event": name, ...}` where JSON was asked for.
    pub fn event(&self, event: &str, fields: &impl Serialize) -> io::Result<()> {
        #[derive(Serialize)]
        struct Event<'a, T> {
            event: &'a str,
            #[serde(flatten)]
            fields: &'a T,
        }
        if self.results != Some(Log::Json) {
            return Ok(());
        }
        let mut line = serde_json::to_vec(&Event { event, fields })?;
        line.push(b'\n');
        self.piece(&line)
    }

    /// Text for a reader where that was asked for.
    pub fn text(&self, text: impl Display) -> io::Result<()> {
        match self.is_human() {
            true => self.piece(format!("{text}\n").as_bytes()),
            false => Ok(()),
        }
    }

    /// A piece of text, as it is.
    pub fn piece(&self, bytes: &[u8]) -> io::Result<()> {
        if let Some(host) = self.host {
            return host.show(Channel::Results, bytes);
        }
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
        written.map_err(|error| {
            let said = format!("cannot write to standard output: {error}");
            io::Error::new(error.kind(), said)
        })
    }

    /// An error where a host wants the command to end, whose own reason comes before it.
    pub fn check_interrupted(&self) -> io::Result<()> {
        match self.host.is_some_and(Host::is_interrupted) {
            true => Err(io::Error::new(io::ErrorKind::Interrupted, "interrupted")),
            false => Ok(()),
        }
    }

    /// A remark on standard error. If that is closed, nobody wants to know.
    pub fn remark(&self, text: impl Display) {
        let _ = match self.host {
            _ if self.quiet => Ok(()),
            Some(host) => host.show(Channel::Remarks, format!("{text}\n").as_bytes()),
            None => writeln!(io::stderr(), "{text}"),
        };
    }

    /// Whether progress is shown as lines: where no bar can be drawn.
    pub fn shows_lines(&self) -> bool {
        let draws = std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
        let host_draws = self.host.is_none_or(Host::draws);
        !(self.quiet || draws && host_draws && io::stderr().is_terminal())
    }

    /// A bar on standard error; hidden where that is no terminal or progress is not wanted.
    pub fn bar(&self, length: u64, template: &str) -> ProgressBar {
        let target = match self.quiet || self.shows_lines() {
            true => ProgressDrawTarget::hidden(),
            false => ProgressDrawTarget::stderr(),
        };
        let style = ProgressStyle::with_template(template).expect("a template of ours");
        ProgressBar::with_draw_target(Some(length), target).with_style(style.progress_chars("━╸─"))
    }
}

/// Whether an output would replace this input.
pub fn is_same_file(out: &Path, input: &Path) -> bool {
    let [out, input] = [out, input].map(|path| fs_err::canonicalize(path).ok());
    out.is_some() && out == input
}

/// From here on a loss is that of a run in ruins, and its digits say nothing.
pub const ABSURD: f64 = 1e5;

/// `2.3057`, or `1.2e37`.
pub fn loss_text(loss: f64) -> String {
    match loss.abs() < ABSURD {
        true => format!("{loss:.4}"),
        false => format!("{loss:.1e}"),
    }
}

/// A text for a terminal, which obeys control characters: those that a stranger's text may have are shown as what they are.
pub fn visible(text: &str) -> Cow<'_, str> {
    let is_harmless = |c: char| !c.is_control() || c == '\n' || c == '\t';
    if !io::stdout().is_terminal() || text.chars().all(is_harmless) {
        return text.into();
    }
    let shown = text.chars().map(|c| match is_harmless(c) {
        true => c.to_string(),
        false => c.escape_default().to_string(),
    });
    shown.collect::<String>().into()
}

/// `1 shard`, `2 shards`.
pub fn plural(n: usize, word: &str) -> String {
    format!("{n} {word}{}", if n == 1 { "" } else { "s" })
}

/// `51.20 %`.
pub fn percent(part: f64) -> String {
    format!("{:.2} %", 100.0 * part)
}

/// A metric in the words and with the digits of a reader: `accuracy`, `51.20 %`. The name may say that it is of the validation
/// data.
pub fn metric(name: &str, value: f64) -> (&str, String) {
    let words = match name.strip_prefix("valid_").unwrap_or(name) {
        "top5_accuracy" => "top-5 accuracy",
        "label_accuracy" => "label accuracy",
        "f1" => "F1",
        "rmse" => "RMSE",
        "mae" => "MAE",
        "r2" => "R2",
        other => other,
    };
    match words.ends_with("accuracy") {
        true => (words, percent(value)),
        false => (words, format!("{value:.4}")),
    }
}
