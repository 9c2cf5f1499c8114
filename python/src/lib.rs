//! The part of the Python package `bptt` that is written in Rust: `bptt._bptt`.
//!
//! | module | what Python finds there |
//! |---|---|
//! | `errors` | the library's errors as Python's exceptions |
//! | `layers` | `Layers32`, `Layers64`: the layers alone, there and back, under `bptt.torch` |
//! | `model` | `Model`: what is in a model file |
//! | `fit` | `fit`: a training run on arrays, under the estimators |
//! | `program` | `run`: the commands of the program; their flags |
//!
//! It moves arrays and words over the border; what users call is written in Python.

#![deny(unsafe_code)]

mod errors;
mod fit;
mod layers;
mod model;
mod program;

use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;

/// The version, the OpenBLAS and the vector instructions that compute.
#[pyfunction]
fn machine() -> (&'static str, String, String) {
    let machine = bptt::machine();
    let simd = machine.simd.to_string();
    (env!("CARGO_PKG_VERSION"), machine.blas, simd)
}

/// The kernels of OpenBLAS that suit this processor much better than those it has chosen, if nobody else has: a name for
/// `OPENBLAS_CORETYPE`. Refuses kernels that this processor cannot run.
#[pyfunction]
fn better_kernels() -> PyResult<Option<&'static str>> {
    bptt::cli::kernels::better().map_err(|problem| PyImportError::new_err(problem.to_string()))
}

/// Has OpenBLAS choose its kernels again; whether it could.
#[pyfunction]
fn choose_kernels() -> bool {
    bptt::internal::blas::choose_core()
}

#[pymodule]
fn _bptt(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<layers::Layers32>()?;
    module.add_class::<layers::Layers64>()?;
    module.add_class::<model::Model>()?;
    module.add_function(wrap_pyfunction!(fit::fit, module)?)?;
    module.add_function(wrap_pyfunction!(program::run, module)?)?;
    module.add_function(wrap_pyfunction!(program::flags, module)?)?;
    module.add_function(wrap_pyfunction!(machine, module)?)?;
    module.add_function(wrap_pyfunction!(better_kernels, module)?)?;
    module.add_function(wrap_pyfunction!(choose_kernels, module)?)?;
    Ok(())
}
