//! From files to batches: what a network is trained and evaluated on.
//!
//! | file | from | to |
//! |---|---|---|
//! | `vocabulary` | symbols | ids below `n_x`: [`Vocabulary`] |
//! | `intern` | a text read once | a vocabulary and the ids |
//! | `listing` | files and folders | which are read, and which of their bytes by whom |
//! | `files` | these files | texts, piece by piece |
//! | `ids`, `tokens` | ids | the smallest integers: [`Ids`]; those of a text that a rank has |
//! | `corpus` | text | one long row of ids, in documents: [`Corpus`] |
//! | `npy` | an `.npz` archive | arrays of any number type, sizes checked first |
//! | `column` | an array of it | parts of it, whenever they are needed |
//! | `npz` | those arrays | [`Sequences`], checked |
//! | `sequences` | arrays in memory | [`Sequences`]: inputs, targets, mask |
//! | `stored` | arrays in a file | [`Sequences`] that are read when they are needed |
//! | `decoder` | ids as they come | text that reads well: [`Decoder`] |
//! | `reber` | a seed | text of a known best loss: [`reber()`] |
//! | `documents` | their lengths | the predictions of each, part by part |
//! | `streams` | a number of predictions | contiguous streams and their windows, to train on |
//! | `pieces` | documents | pieces side by side and their windows, to evaluate |
//! | `buffers` | the steps of a window | arrays that are used again |
//! | `loader` | a corpus or sequences | one [`Window`] after another: [`Loader`] |
//!
//! ```
//! use bptt::data::{Corpus, Loader, Vocabulary};
//!
//! let text = "abracadabra";
//! let corpus = Corpus::from_text(text, &Vocabulary::of_chars(text))?;
//! let mut loader = Loader::<f32>::text(corpus, 2, 3)?;
//! let window = loader.next()?; // 2 streams of 5 predictions; the first 3 steps of each
//! assert_eq!(window.batch.inputs.sequences(), (2, 3));
//! assert!(window.fresh && !window.ends_epoch);
//! # Ok::<(), bptt::Error>(())
//! ```
//!
//! Everything here is silent, and no file's content makes it panic: what is wrong comes back as an
//! error that names the file.

mod buffers;
mod column;
mod corpus;
mod decoder;
mod documents;
mod files;
mod ids;
mod intern;
mod listing;
mod loader;
mod npy;
mod npz;
mod pieces;
mod reber;
mod sequences;
mod stored;
mod streams;
mod tokens;
mod vocabulary;
mod zip_directory;

pub use corpus::Corpus;
pub use decoder::Decoder;
pub use files::Reading;
pub use ids::Ids;
pub use intern::WordLimits;
pub use listing::file_fingerprint;
pub use loader::{Loader, Position, Row, Window};
pub use reber::{best_loss, reber};
pub use sequences::{OwnedInputs, OwnedTargets, Sequences};
pub use vocabulary::{TokenKind, Vocabulary};
