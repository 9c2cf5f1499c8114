#![doc = include_str!("../README.md")]
//!
//! # Notation
//!
//! `N` sequences of `T` time steps, `n_x` inputs, `L` layers of `n_h` hidden units, `n_y` outputs; weights as in PyTorch:
//! `weight_ih [gates n_h, inputs]`, `weight_hh [gates n_h, n_h]`, `decoder.weight [n_y, n_h]`. A sequence's state is `W`
//! numbers: for each layer `h`, and of the LSTM `c`.
//!
//! ```text
//! layer     h_t = f(W_ih x_t + W_hh h_{t-1} + b)      f: the cell      x of a layer above the first: h below
//! head      u_t = W_decoder h_t + b_decoder           y_t = softmax(u_t)
//! loss      L   = -1/(number of counted steps) * sum_{n,t} target . log y
//!
//! du_t = (y_t - target_t) / counted
//! da_t = (above_t + W_hh^T da_{t+1}) * f'             of one gate; above: W_decoder^T du_t, or W_ih^T da_t of the layer above
//! dW_decoder = sum du_t h_t^T     dW_hh = sum da_t h_{t-1}^T     dW_ih = sum da_t x_t^T     db = sum da_t
//! ```
//!
//! Arrays are batch-first, `[N, T, n]`, where users meet them; inside the engine everything is time-major, so that a time
//! step is one contiguous block.
//!
//! # The tour
//!
//! In the order in which the modules stand on each other; arrows point one way, from later rows to earlier ones.
//!
//! | module | what it is |
//! |---|---|
//! | `error`, `atomic` | [`Error`]; files whole or not at all |
//! | `kernels` | numbers, vectors, exponentials, products, every call into OpenBLAS |
//! | `machine` | [`machine()`]: what the library runs on |
//! | `cells` | what happens between the products, a file a cell |
//! | `targets` | what a network should answer, and where that counts |
//! | `heads` | losses, a file each |
//! | `scalar` | [`Scalar`]: `f32` or `f64`, with the kernels of networks |
//! | [`architecture`] | what a network is, and the one table of its tensors |
//! | `parameters` | the flat buffer that the table describes |
//! | [`init`] | how it is drawn |
//! | `network` | [`Network`]: an architecture and its weights |
//! | `batch` | [`Batch`]: inputs, targets, lengths, mask |
//! | `steps` | which sequences are alive at which step, and where they lie |
//! | [`dropout`] | masks for what enters and leaves a layer |
//! | `weights`, `scratch` | weights laid out for products; every buffer of a shard, in one table |
//! | `layer`, `stack` | one layer, there and back; layers one on the other, and the head |
//! | `shard` | a whole pass of one shard, in segments of time where memory is short |
//! | [`optim`] | one gradient, one update |
//! | `partition`, [`ranks`], `reduce` | which sequences are whose; several processes as one; the sum of all gradients |
//! | `engine` | [`Engine`]: batch, shards, threads, one gradient, one update |
//! | `stream` | [`Stream`]: step by step |
//! | [`reference`](mod@reference) | the equations as plain loops, nothing shared: the oracle of every test |
//! | [`notebook`] | the notebook this crate grew from, function by function under its own names |
//! | [`data`] | texts, sets of sequences, generated tasks; windows of them |
//! | [`sample`] | choosing tokens |
//! | [`model`] | the model file |
//! | [`export`] | models in the formats of other programs: ONNX, NumPy, C, RTNeural |
//! | [`train`] | the loop: [`train::Trainer`], its observers, checkpoints |
//! | `measure` | training steps timed in turn with the machine's own limit |

#![deny(missing_docs, unsafe_code)]

#[cfg(target_endian = "big")]
compile_error!(
    "bptt writes numbers as little-endian machines hold them, and does not turn them round"
);

// The program is written as one that uses the library, and calls it by its name.
extern crate self as bptt;

pub mod architecture;
mod atomic;
mod batch;
mod cells;
#[doc(hidden)]
pub mod cli;
pub mod data;
pub mod dropout;
mod engine;
mod error;
pub mod export;
mod heads;
pub mod init;
mod kernels;
mod layer;
mod machine;
mod measure;
pub mod model;
mod network;
pub mod notebook;
pub mod optim;
mod parameters;
mod partition;
pub mod ranks;
mod reduce;
pub mod reference;
pub mod sample;
mod scalar;
mod scratch;
mod shard;
mod stack;
mod steps;
mod stream;
mod targets;
pub mod train;
mod weights;

pub use architecture::{Architecture, At, Head, Input};
pub use batch::{Batch, Inputs};
pub use cells::Cell;
pub use dropout::Dropout;
pub use engine::{Engine, EngineOptions, Gradient, GradientOptions, LayerGradients};
pub use error::{Error, Result};
pub use heads::{Loss, Metrics};
pub use init::Init;
pub use machine::{Machine, machine};
pub use network::Network;
pub use parameters::Parameters;
pub use scalar::Scalar;
pub use stream::Stream;
pub use targets::{Answers, Targets, one_hot};

/// What the program and the benchmarks of this crate use of it, and nobody else should: no part of the library, and not stable.
#[doc(hidden)]
pub mod internal {
    pub use crate::engine::{ROWS, STEPS};
    pub use crate::kernels::{blas, simd};
    pub use crate::reduce::REDUCTION_SEGMENT;
    /// Files whole or not at all.
    pub mod atomic {
        pub use crate::atomic::*;
    }
    /// Arrays as NumPy reads them.
    pub mod npz {
        pub use crate::export::npz::{float, write};
    }
    /// What the kernels behind [`Scalar`](crate::Scalar) take.
    pub mod kernels {
        pub use crate::heads::LossStep;
        pub use crate::kernels::packed::{Out, Packed, Source, Start, Token};
        pub use crate::kernels::rows::{Rows, extent, scatter_add};
    }
    /// Training steps timed.
    pub mod measure {
        pub use crate::measure::*;
    }
}
