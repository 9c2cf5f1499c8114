//! The library's errors as Python's exceptions, in the same words.

use bptt::Error;
use pyo3::PyErr;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use std::io;

/// What was wrong with what the user gave is a `ValueError`, what the system refused an `OSError`, the rest a `RuntimeError`.
pub fn raise(error: Error) -> PyErr {
    let text = error.to_string();
    raise_as(&error, text)
}

/// An exception of this error's kind that says `text`.
fn raise_as(error: &Error, text: String) -> PyErr {
    match error {
        Error::Io(error) => io::Error::new(error.kind(), text).into(),
        Error::Diverged { .. }
        | Error::GivenUp { .. }
        | Error::Linalg(_)
        | Error::Memory { .. }
        | Error::Ranks { .. }
        | Error::Threads { .. } => PyRuntimeError::new_err(text),
        _ => PyValueError::new_err(text),
    }
}

/// What a command of the program failed of.
pub fn raise_failure(failure: bptt::cli::Failure) -> PyErr {
    let text = failure.text;
    for cause in failure.error.iter().flat_map(anyhow::Error::chain) {
        if let Some(error) = cause.downcast_ref::<Error>() {
            return raise_as(error, text);
        }
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            return io::Error::new(error.kind(), text).into();
        }
    }
    PyValueError::new_err(text)
}

/// A machine that has not the memory.
pub fn raise_memory(error: anyhow::Error) -> PyErr {
    match error.downcast::<Error>() {
        Ok(error) => raise(error),
        Err(error) => {
            let text = format!("{error:#}").replace("--threads", "threads");
            PyValueError::new_err(text)
        }
    }
}

/// Text that is not the JSON it should be: of our own Python code, so its error is for whoever works on that.
pub fn parse<T: serde::de::DeserializeOwned>(what: &str, json: &str) -> Result<T, PyErr> {
    serde_json::from_str(json).map_err(|e| PyValueError::new_err(format!("{what}: {e}")))
}
