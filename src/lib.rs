//! placeholder
#![deny(missing_docs, unsafe_code)]
pub mod activation;
mod backward;
pub mod batch;
pub mod blas;
pub mod data;
pub mod engine;
mod error;
pub mod file;
mod forward;
pub mod init;
pub mod loss;
pub mod network;
pub mod optim;
pub mod packed;
pub mod parameters;
pub mod reference;
mod scalar;
pub mod train;
pub mod workspace;

pub use batch::{Answers, Batch, Inputs, Targets};
pub use engine::{Engine, EngineOptions};
pub use error::{Error, Result};
pub use init::Init;
pub use network::{Rnn, Stream};
pub use parameters::{Dims, Parameters};
pub use scalar::Scalar;
