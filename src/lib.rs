#![doc = include_str!("../README.md")]
//!
//! # Notation
//!
//! `N` sequences of `T` time steps, `n_x` inputs, `n_h` hidden units, `n_y` classes; weights as in PyTorch.
//!
//! ```text
//! wx [n_h, n_x]   wh [n_h, n_h]   wy [n_y, n_h]   bh [n_h]   by [n_y]
//!
//! z_t = wx x_t + wh h_{t-1} + bh      h_t = tanh(z_t)
//! u_t = wy h_t + by                   y_t = softmax(u_t)
//! L   = -1/(number of counted steps) * sum_{n,t} target . log y
//!
//! du_t = (y_t - target_t) / counted
//! dz_t = (wy^T du_t + wh^T dz_{t+1}) * (1 - h_t^2)
//! dwy = sum du_t h_t^T     dwh = sum dz_t h_{t-1}^T     dwx = sum dz_t x_t^T     dby = sum du_t     dbh = sum dz_t
//! ```
//!
//! Arrays are batch-first, `[N, T, n]`, where users meet them; inside the engine everything is time-major, so that a time
//! step is one contiguous block.
//!
//! # The tour
//!
//! In the order of the computation; arrows point one way, from later rows to earlier ones.
//!
//! | module | what it is |
//! |---|---|
//! | [`Scalar`] | `f32` or `f64`, the one numeric bound |
//! | [`blas`] | every call into OpenBLAS, and its threads |
//! | [`simd`] | the vector instructions in use |
//! | [`activation`], [`packed`] | the kernels: tanh, softmax, products with packed weights |
//! | [`parameters`], [`init`] | the weights, one flat buffer; how they are drawn |
//! | [`batch`], [`workspace`] | what a shard reads, and its scratch |
//! | `forward`, [`loss`], `backward` | one shard, all time steps: to be read side by side |
//! | [`dropout`] | masks for what enters and leaves the hidden layer |
//! | `shard` | these together: a whole pass, in segments of time where memory is short |
//! | [`reference`](mod@reference) | the same as plain loops: the oracle of every test |
//! | [`network`] | [`Rnn`]: a network for one thread; [`Stream`]: step by step |
//! | `deal`, [`ranks`], `reduce` | which sequences are whose; several processes as one; the sum of all shards' gradients |
//! | [`engine`] | [`Engine`]: batch, shards, threads, one gradient |
//! | [`optim`] | one gradient, one update |
//! | [`data`] | texts, sets of sequences, generated tasks; windows of them |
//! | [`train`] | the loop: [`train::Trainer`], its observers, checkpoints |
//! | [`measure`] | training steps timed in turn with the machine's own limit |
//! | [`model`], [`sample`], [`file`](mod@file) | the model file; choosing tokens; files whole or not at all |

#![deny(missing_docs, unsafe_code)]

pub mod activation;
mod backward;
pub mod batch;
pub mod blas;
pub mod data;
mod deal;
pub mod dropout;
pub mod engine;
mod error;
pub mod file;
mod forward;
pub mod init;
pub mod loss;
pub mod measure;
pub mod model;
pub mod network;
pub mod optim;
pub mod packed;
pub mod parameters;
pub mod ranks;
mod reduce;
pub mod reference;
pub mod sample;
mod scalar;
mod shard;
pub mod simd;
pub mod train;
pub mod workspace;

pub use batch::{Answers, Batch, Inputs, Targets};
pub use engine::{Engine, EngineOptions};
pub use error::{Error, Result};
pub use init::Init;
pub use network::{Rnn, Stream};
pub use parameters::{Dims, Parameters};
pub use scalar::Scalar;
