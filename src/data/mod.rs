//! From files to batches: what a network is trained and evaluated on.
//!
//! | file | from | to |
//! |---|---|---|
//! | `listing` | files and folders | which are read, and which of their bytes by which rank |
//! | `fingerprint` | files | a number that tells them apart; whether all ranks see the same files |
//! | `text` | these files | texts, piece by piece |
//! | `symbols` | characters and words | ids |
//! | `vocabulary` | symbols | ids below `n_x`: [`Vocabulary`] |
//! | `interner` | a text read once | a vocabulary and the ids |
//! | `ids`, `sharded_ids` | ids | the smallest integers: [`Ids`]; the ids of a text that this rank has |
//! | `corpus` | text | one long row of ids, in documents: [`Corpus`] |
//! | `array` | an `.npy` array | numbers of any type, the size checked first |
//! | `on_disk` | an `.npy` array in a file | parts of it, whenever they are needed |
//! | `archive` | an `.npz` archive | its arrays |
//! | `padding` | lengths and mask | where sequences end, which of their steps count: [`Padding`] |
//! | `owned`, `store` | inputs and targets | the same, checked; some steps of them, in memory or in a file |
//! | `sequences` | all of these | [`Sequences`] |
//! | `npz` | an archive | [`Sequences`] in memory |
//! | `npz_on_disk` | an archive | [`Sequences`] that stay in the file, and are read when they are needed |
//! | `decoder` | ids as they come | text that reads well: [`Decoder`] |
//! | `reber` | a seed | text of a known best loss: [`reber()`] |
//! | `documents` | their lengths | the predictions of each, part by part |
//! | `cut` | documents | streams to train on or chunks to evaluate, in windows |
//! | `window` | | what a loader hands out: [`Window`], [`Position`] |
//! | `collate` | the steps of a window | its arrays |
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

mod archive;
mod array;
mod collate;
mod corpus;
mod cut;
mod decoder;
mod documents;
mod fingerprint;
mod ids;
mod interner;
mod listing;
mod loader;
mod npz;
mod npz_on_disk;
mod on_disk;
mod owned;
mod padding;
mod reber;
mod sequences;
mod sharded_ids;
mod store;
mod symbols;
mod text;
mod vocabulary;
mod window;

pub use corpus::Corpus;
pub use decoder::Decoder;
pub use fingerprint::file_fingerprint;
pub use ids::Ids;
pub use loader::Loader;
pub use owned::{OwnedInputs, OwnedTargets, TargetKind};
pub use padding::Padding;
pub use reber::{best_loss, reber};
pub use sequences::Sequences;
pub use symbols::WordLimits;
pub use text::{Readers, Reading, TokenKind};
pub use vocabulary::Vocabulary;
pub use window::{Position, Row, Window};
