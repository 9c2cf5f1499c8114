//! The commands of the program, run inside of Python ([`run`]).
//!
//! What a command shows goes to a function of Python's, whose `sys.stderr` may be a notebook's; Ctrl-C is Python's to hear, and is
//! looked for between two steps.

use crate::errors::raise_failure;
use bptt::cli::{self, Channel, Done, Host};
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
}

thread_local! {
    static RUNNING: RefCell<Option<Running>> = const { RefCell::new(None) };
}

/// Asks Python, unless it has raised something before; `None` then.
fn ask<R>(what: impl FnOnce(Python<'_>, &Py<PyAny>) -> PyResult<R>) -> Option<R> {
    let show = RUNNING.with_borrow(|running| match running {
        Some(running) if running.raised.is_none() => {
            Some(Python::attach(|py| running.show.clone_ref(py)))
        }
        _ => None,
    })?;
    // Not borrowed meanwhile: Python may run another command here.
    let found = Python::attach(|py| what(py, &show));
    RUNNING.with_borrow_mut(|running| match (found, running) {
        (Ok(found), _) => Some(found),
        (Err(error), running) => {
            if let Some(running) = running {
                running.raised = Some(error);
            }
            None
        }
    })
}

struct Interpreter;

impl Host for Interpreter {
    fn show(&self, channel: Channel, text: &[u8]) -> io::Result<()> {
        let shown = ask(|py, show| {
            let is_result = channel == Channel::Results;
            show.call1(py, (is_result, PyBytes::new(py, text)))
        });
        shown.map_or_else(
            || Err(io::Error::other("what was shown raised an exception")),
            |_| Ok(()),
        )
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
        let due = RUNNING.with_borrow_mut(|running| {
            let running = running.as_mut()?;
            let due = running.looked.elapsed() >= LOOK;
            if due {
                running.looked = Instant::now();
            }
            Some(due && running.raised.is_none())
        });
        if due == Some(true) {
            ask(|py, _| py.check_signals());
        }
        RUNNING.with_borrow(|running| running.as_ref().is_some_and(|r| r.raised.is_some()))
    }
}

/// Runs a command line of the program (`words`, without the name of the program). `show(is_result, bytes)` is called with all that
/// it has to say. Returns whether it did its work; false for a training run that diverged and was given up.
#[pyfunction]
pub fn run(py: Python<'_>, words: Vec<OsString>, show: Py<PyAny>) -> PyResult<bool> {
    let running = Running {
        show,
        looked: Instant::now(),
        raised: None,
    };
    let before = RUNNING.replace(Some(running));
    let words = [OsString::from("bptt")].into_iter().chain(words);
    let done = py.detach(|| cli::run(words, &Interpreter));
    let running = RUNNING.replace(before);
    if let Some(raised) = running.and_then(|running| running.raised) {
        return Err(raised);
    }
    Ok(done.map_err(raise_failure)? != Done::Failed)
}
