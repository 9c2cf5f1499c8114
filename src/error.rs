//! The one error type of the library: every variant carries the offending value and says what was expected.

use std::path::{Path, PathBuf};

/// What can be wrong with data, files, options and training; misuse of a kernel panics instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Two arrays, or an array and a network, do not fit each other.
    #[error("{what}: the shape is {found:?}, expected {expected}")]
    Shape {
        /// The array.
        what: &'static str,
        /// Its shape.
        found: Vec<usize>,
        /// What would have fitted.
        expected: String,
    },

    /// A token or class id lies outside its range.
    #[error("{what} [{row}, {step}] is {id}, expected less than {limit}")]
    Id {
        /// `"inputs"` or `"targets"`.
        what: &'static str,
        /// The sequence.
        row: usize,
        /// The time step.
        step: usize,
        /// The id found there.
        id: u32,
        /// The number of tokens or classes.
        limit: usize,
    },

    /// A number that must be finite is not.
    #[error("{what} holds {value} at {position:?}: every value must be finite")]
    NotFinite {
        /// The array.
        what: String,
        /// `NaN` or an infinity.
        value: f64,
        /// Its index.
        position: Vec<usize>,
    },

    /// No time step of a batch or data set counts in the loss.
    #[error("no time step counts in the loss: the mask is false everywhere or the data is empty")]
    NothingCounts,

    /// An option has a value that makes no sense.
    #[error("{name}: {value} is not {expected}")]
    Option {
        /// The field that holds it, such as `clip_norm`.
        name: &'static str,
        /// The value given.
        value: String,
        /// What would be accepted.
        expected: &'static str,
    },

    /// The memory allowed is too little for a batch, in segments of whatever length.
    #[error(
        "{n} sequences of {t} steps do not fit into the {budget} bytes allowed (`memory`): give at least {least}, or fewer sequences at a time"
    )]
    Memory {
        /// Sequences.
        n: usize,
        /// Time steps.
        t: usize,
        /// The bytes allowed.
        budget: usize,
        /// The bytes that would do.
        least: usize,
    },

    /// A file's content is not what it should be.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do about it.
        problem: String,
    },

    /// A text or a description is not what it should be, wherever it came from.
    #[error("{what}: {problem}")]
    Invalid {
        /// What was read: `"text"`, `"vocabulary"`.
        what: &'static str,
        /// What is wrong, and what to do about it.
        problem: String,
    },

    /// The operating system refused; the message names the file.
    #[error(transparent)]
    Io(#[from] std::io::Error),

    /// The loss or its gradient is no longer a finite number.
    #[error(
        "training diverged at step {step}: the {what} is {value:.1e}; the weights are those before this step (try a smaller learning rate or `clip_norm`)"
    )]
    Diverged {
        /// The update, counted from 1.
        step: u64,
        /// `"loss"` or `"gradient norm"`.
        what: &'static str,
        /// Its value.
        value: f64,
    },

    /// A run that diverged again and again, and stopped.
    #[error(
        "training diverged {divergences} times and was given up: try a smaller `lr` or `clip_norm`"
    )]
    GivenUp {
        /// How often.
        divergences: u32,
    },

    /// The ranks of a run do not work on the same.
    #[error(
        "rank {rank} has {what} than rank 0: start all ranks with the same program, arguments and data"
    )]
    Ranks {
        /// The first that differs.
        rank: usize,
        /// `"other data"`, `"other weights"`.
        what: &'static str,
    },

    /// The linear algebra library failed.
    #[error("linear algebra: {0}")]
    Linalg(#[from] ndarray_linalg::error::LinalgError),

    /// The thread pool could not be built.
    #[error("cannot start {threads} threads: {source}")]
    Threads {
        /// How many were wanted.
        threads: usize,
        /// What the operating system said.
        source: rayon::ThreadPoolBuildError,
    },
}

impl Error {
    /// An [`Error::File`].
    pub fn file(path: impl Into<PathBuf>, problem: impl Into<String>) -> Self {
        let (path, problem) = (path.into(), problem.into());
        Error::File { path, problem }
    }

    /// An [`Error::Shape`].
    pub(crate) fn shape(what: &'static str, found: &[usize], expected: impl Into<String>) -> Self {
        Error::Shape {
            what,
            found: found.to_vec(),
            expected: expected.into(),
        }
    }

    /// An [`Error::Option`].
    pub(crate) fn option(name: &'static str, value: impl ToString, expected: &'static str) -> Self {
        Error::Option {
            name,
            value: value.to_string(),
            expected,
        }
    }

    /// The same error, of arrays that are in a file.
    pub(crate) fn in_file(mut self, path: &Path) -> Self {
        if let Error::NotFinite { what, .. } = &mut self {
            *what = format!("{}: array `{what}`", path.display());
            return self;
        }
        Error::file(path, self.to_string())
    }

    /// An [`Error::Invalid`].
    pub(crate) fn invalid(what: &'static str, problem: impl Into<String>) -> Self {
        let problem = problem.into();
        Error::Invalid { what, problem }
    }
}

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
