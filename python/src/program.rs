//! The commands of the program, run inside of Python ([`run`]).
//!
//! What a command shows goes to a function of Python's, whose `sys.stderr` may be a notebook's; Ctrl-C is Python's to hear, and is
//! looked for between two steps.

use crate::errors::raise_failure;
use bptt::cli::{self, Channel, Host};
use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::cell::RefCell;
use std::ffi::OsString;
use std::io;
use std::time::{Duration, Instant};

/// From one look for Ctrl-C to the next: it takes the lock of the interpreter, which others may hold.
const LOOK: Duration = Duration::from_millis(50);

/// What a command that runs on this thread has to do with Python.
struct Running {
    /// `show(is_result, text)`.
    show: Py<PyAny>,
    looked: Instant,
    /// What Python raised meanwhile.
    raised: Option<PyErr>,
    /// Whether `show` did.
    mute: bool,
}

thread_local! {
    static RUNNING: RefCell<Option<Running>> = const { RefCell::new(None) };
}

/// Asks Python, and keeps what it raises: false then, unless it was Ctrl-C.
fn ask(running: &mut Running, what: impl FnOnce(Python<'_>, &Py<PyAny>) -> PyResult<()>) -> bool {
    let done = Python::attach(|py| what(py, &running.show));
    // Python may hear of Ctrl-C while it shows a line: that is not the line's fault.
    let is_ctrl_c =
        |error: &PyErr| Python::attach(|py| error.is_instance_of::<PyKeyboardInterrupt>(py));
    let well = done.as_ref().err().is_none_or(is_ctrl_c);
    // What was raised first says most.
    running.raised = running.raised.take().or(done.err());
    well
}

/// Does something with what runs on this thread. It is taken away meanwhile, for Python may run another command here.
fn with_running<R>(what: impl FnOnce(&mut Running) -> R) -> Option<R> {
    let mut running = RUNNING.take()?;
    let found = what(&mut running);
    RUNNING.set(Some(running));
    Some(found)
}

struct Interpreter;

impl Host for Interpreter {
    fn show(&self, channel: Channel, text: &[u8]) -> io::Result<()> {
        let shown = with_running(|running| {
            let is_result = channel == Channel::Results;
            let show = |py: Python<'_>, show: &Py<PyAny>| {
                let text = PyBytes::new(py, text);
                show.call1(py, (is_result, text)).map(drop)
            };
            running.mute = running.mute || !ask(running, show);
            !running.mute
        });
        match shown {
            Some(false) => Err(io::Error::other(
                "what shows the output raised an exception",
            )),
            _ => Ok(()),
        }
    }

    fn draws(&self) -> bool {
        let is_terminal = |py: Python<'_>| -> PyResult<bool> {
            let stderr = py.import("sys")?.getattr("stderr")?;
            let is_terminal: bool = stderr.call_method0("isatty")?.extract()?;
            Ok(is_terminal && stderr.call_method0("fileno")?.extract::<i32>()? == 2)
        };
        // Whatever stands in its place and cannot say is no terminal.
        Python::attach(|py| is_terminal(py).unwrap_or(false))
    }

    fn is_interrupted(&self) -> bool {
        let interrupted = with_running(|running| {
            if running.raised.is_none() && running.looked.elapsed() >= LOOK {
                running.looked = Instant::now();
                ask(running, |py, _| py.check_signals());
            }
            running.raised.is_some()
        });
        interrupted == Some(true)
    }
}

/// The flags of a command of the program, without `--`: their values, what they are for, and whether a run that goes on may be given
/// another value than it had.
#[pyfunction]
pub fn flags(command: &str) -> Vec<(String, String, String, bool)> {
    let flags = cli::flags(command).into_iter();
    let row = |flag: cli::Flag| (flag.name, flag.value, flag.help, flag.is_open);
    flags.map(row).collect()
}

/// Looks for Ctrl-C now and then, while a long computation has the interpreter let go.
pub struct CtrlC {
    looked: Instant,
    raised: Option<PyErr>,
}

impl CtrlC {
    pub fn new() -> Self {
        CtrlC {
            looked: Instant::now(),
            raised: None,
        }
    }

    /// An error where Python has raised something, which [`CtrlC::or`] finds.
    pub fn check(&mut self) -> io::Result<()> {
        if self.raised.is_none() && self.looked.elapsed() >= LOOK {
            self.looked = Instant::now();
            self.ask(|py| py.check_signals());
        }
        match self.raised {
            Some(_) => Err(io::ErrorKind::Interrupted.into()),
            None => Ok(()),
        }
    }

    /// Asks Python for something; what it raises first is kept.
    pub fn ask(&mut self, what: impl FnOnce(Python<'_>) -> PyResult<()>) {
        if self.raised.is_none() {
            self.raised = Python::attach(what).err();
        }
    }

    /// What Python has raised, if it has.
    pub fn into_raised(self) -> Option<PyErr> {
        self.raised
    }

    /// What Python has raised, or else what came of the computation.
    pub fn or<R>(self, done: bptt::Result<R>) -> PyResult<R> {
        match self.raised {
            Some(raised) => Err(raised),
            None => done.map_err(crate::errors::raise),
        }
    }
}

/// Runs a command line of the program (`words`, without the name of the program). `show(is_result, bytes)` is called with all that
/// it has to say.
#[pyfunction]
pub fn run(py: Python<'_>, words: Vec<OsString>, show: Py<PyAny>) -> PyResult<()> {
    let running = Running {
        show,
        looked: Instant::now(),
        raised: None,
        mute: false,
    };
    let before = RUNNING.replace(Some(running));
    let words = [OsString::from("bptt")].into_iter().chain(words);
    let done = py.detach(|| cli::run(words, &Interpreter));
    let running = RUNNING.replace(before);
    if let Some(raised) = running.and_then(|running| running.raised) {
        return Err(raised);
    }
    done.map(|_| ()).map_err(raise_failure)
}
