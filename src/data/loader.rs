//! One window of data after another, for ever: [`Loader`].
//!
//! | | text | sequences |
//! |---|---|---|
//! | epoch | all streams from begin to end | all, shuffled by seed and epoch |
//! | window | the next `seq_len` steps of every stream | of `batch` sequences, or all steps |
//! | fresh | the first window of an epoch | the first window of a batch |
//!
//! What comes next depends on the data, the options, the seed and the [`Position`] alone, so a run
//! can be resumed. Knows nothing of networks: who trains carries the state and zeroes it where a
//! window is fresh.

use super::buffers::Buffers;
use super::corpus::Corpus;
use super::sequences::Sequences;
use super::streams::Streams;
use crate::deal::Share;
use crate::{Batch, Error, Result, Scalar};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Steps of a window of text in evaluation. Windows carry the state, so this trades memory for the
/// length of the input product alone; not tuned.
const EVALUATION_STEPS: usize = 128;
/// Tokens of text for each stream in evaluation: what a stream's start from a zero state costs is
/// lost in as many.
const EVALUATION_TOKENS: usize = 4096;
/// The most streams, and sequences at a time, in evaluation: a full matrix product; not tuned.
const EVALUATION_ROWS: usize = 64;
/// Steps of a window of sequences in evaluation; bounds the memory for long ones, not tuned.
const EVALUATION_SEQUENCE_STEPS: usize = 256;

/// Where a run stands in its data: the window that comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Epochs completed.
    pub epoch: u64,
    /// Windows of this epoch completed.
    pub window: u64,
}

/// Text or sequences, cut into windows.
///
/// ```
/// use bptt::data::{Corpus, Loader, Vocabulary};
/// use bptt::{Batch, Inputs, Targets};
/// use ndarray::array;
///
/// let text = "0123456789a";
/// let corpus = Corpus::from_text(text, &Vocabulary::of_chars(text))?;
/// let mut loader = Loader::<f32>::text(corpus, 2, 3)?;
/// assert_eq!((loader.streams(), loader.windows_per_epoch()), (2, 2));
/// let window = loader.next();
/// let Batch { inputs, answers, .. } = window.batch;
/// assert!(matches!(inputs, Inputs::Tokens(x) if x == array![[0, 1, 2], [5, 6, 7]]));
/// assert!(matches!(answers.targets, Targets::Classes(y) if y == array![[1, 2, 3], [6, 7, 8]]));
/// assert!(loader.next().ends_epoch);
/// # Ok::<(), bptt::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Loader<T> {
    source: Source<T>,
    position: Position,
    buffers: Buffers<T>,
}

// There is one of them in a run.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug)]
enum Source<T> {
    Text {
        corpus: Corpus,
        streams: Streams,
    },
    Sequences {
        set: Sequences<T>,
        batch: usize,
        seq_len: usize,
        /// None: in file order.
        seed: Option<u64>,
        order: Vec<usize>,
        /// The epoch that `order` is of.
        ordered_for: Option<u64>,
    },
}

/// Some steps of some sequences.
#[derive(Clone, Copy, Debug)]
pub struct Window<'a, T> {
    /// Inputs, targets and mask.
    pub batch: Batch<'a, T>,
    /// The state starts at zero: the first window of an epoch of text, or of a batch of sequences.
    pub fresh: bool,
    /// How many steps count in the loss. Where none does, the state must flow on all the same.
    pub counted: u64,
    /// Where this window stands.
    pub position: Position,
    /// The next window begins a new epoch.
    pub ends_epoch: bool,
}

impl<T: Scalar> Loader<T> {
    /// Text for training: `batch` contiguous streams of equal length, fewer if not each would have
    /// a full window. The last window of an epoch may be shorter.
    ///
    /// # Errors
    /// [`Error::Option`] for a zero; [`Error::Invalid`] if there are fewer than `seq_len + 1`
    /// tokens.
    pub fn text(corpus: Corpus, batch: usize, seq_len: usize) -> Result<Self> {
        check_positive("--batch", batch)?;
        check_positive("--seq-len", seq_len)?;
        check_length(&corpus, seq_len)?;
        let streams = Streams::equal(corpus.len() - 1, batch, seq_len);
        Ok(Self::new(Source::Text { corpus, streams }))
    }

    /// Sequences for training, shuffled in each epoch by `(seed, epoch)`, `batch` at a time, the
    /// last batch of an epoch with what is left; whole, or in windows of `seq_len` steps, the last
    /// of a batch with what is left.
    ///
    /// # Errors
    /// [`Error::Option`] for a zero; [`Error::NothingCounts`] if no step of the set does.
    pub fn sequences(
        set: Sequences<T>,
        batch: usize,
        seq_len: Option<usize>,
        seed: u64,
    ) -> Result<Self> {
        check_positive("--batch", batch)?;
        check_positive("--seq-len", seq_len.unwrap_or(1))?;
        let seq_len = seq_len.unwrap_or(set.steps());
        Self::over(set, batch, seq_len, Some(seed))
    }

    /// Text for evaluation, divided by its length alone: up to 64 streams of 4096 tokens or more,
    /// in windows of 128 steps. Every token but the first is predicted once; streams that are a
    /// step shorter are masked there.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there are fewer than two tokens.
    pub fn evaluation_text(corpus: Corpus) -> Result<Self> {
        check_length(&corpus, 1)?;
        let count = (corpus.len() / EVALUATION_TOKENS).clamp(1, EVALUATION_ROWS);
        let streams = Streams::all(corpus.len() - 1, count, EVALUATION_STEPS);
        Ok(Self::new(Source::Text { corpus, streams }))
    }

    /// Sequences for evaluation: in their order, 64 at a time, in windows of 256 steps where they
    /// are longer.
    ///
    /// # Errors
    /// [`Error::NothingCounts`] if no step of the set does.
    pub fn evaluation_sequences(set: Sequences<T>) -> Result<Self> {
        Self::over(set, EVALUATION_ROWS, EVALUATION_SEQUENCE_STEPS, None)
    }

    fn over(set: Sequences<T>, batch: usize, seq_len: usize, seed: Option<u64>) -> Result<Self> {
        if set.counted() == 0 {
            return Err(Error::NothingCounts);
        }
        Ok(Self::new(Source::Sequences {
            batch: batch.min(set.len()),
            seq_len: seq_len.min(set.steps()),
            seed,
            order: (0..set.len()).collect(),
            ordered_for: None,
            set,
        }))
    }

    fn new(source: Source<T>) -> Self {
        Loader {
            source,
            position: Position::default(),
            buffers: Buffers::new(),
        }
    }

    /// From now on, inputs and targets of a rank's sequences alone: those of its part of `shards` shards, as
    /// [`crate::Engine::join`] deals them. Those of the others are anything; lengths and masks are those of all.
    pub(crate) fn share(&mut self, rank: usize, ranks: usize, shards: usize) {
        self.buffers.share = Some(Share::new(rank, ranks, shards));
    }

    /// How many windows an epoch has.
    pub fn windows_per_epoch(&self) -> u64 {
        match &self.source {
            Source::Text { streams, .. } => streams.windows() as u64,
            Source::Sequences {
                set,
                batch,
                seq_len,
                ..
            } => (set.len().div_ceil(*batch) * set.steps().div_ceil(*seq_len)) as u64,
        }
    }

    /// How many sequences run side by side: the rows of a full window.
    pub fn streams(&self) -> usize {
        self.shape().0
    }

    /// Rows and steps of a full window.
    pub fn shape(&self) -> (usize, usize) {
        match &self.source {
            Source::Text { streams, .. } => (streams.count, streams.window_steps(0)),
            Source::Sequences { batch, seq_len, .. } => (*batch, *seq_len),
        }
    }

    /// How many steps count in the loss in an epoch.
    pub fn counted_per_epoch(&self) -> u64 {
        match &self.source {
            Source::Text { streams, .. } => (0..streams.windows())
                .flat_map(|w| (0..streams.count).map(move |s| streams.part(s, w).1 as u64))
                .sum(),
            Source::Sequences { set, .. } => set.counted(),
        }
    }

    /// The window that [`Loader::next`] will return.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Goes on from a position of an equal loader. Where its window is not fresh, the state belongs
    /// to it too.
    ///
    /// # Errors
    /// [`Error::Invalid`] if an epoch has no such window.
    pub fn seek(&mut self, position: Position) -> Result<()> {
        let windows = self.windows_per_epoch();
        if position.window >= windows {
            return Err(Error::Invalid {
                what: "position in the data",
                problem: format!(
                    "window {}, but an epoch has {windows}: \
                     the data or its options are others than before",
                    position.window
                ),
            });
        }
        self.position = position;
        Ok(())
    }

    /// The next window; after the last of an epoch the first of the next. Never ends, unlike an
    /// iterator.
    ///
    /// Its arrays live in buffers that are used again: nothing is allocated once the first window
    /// has been made.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Window<'_, T> {
        let position = self.position;
        let ends_epoch = position.window + 1 == self.windows_per_epoch();
        self.position = match ends_epoch {
            true => Position {
                epoch: position.epoch.saturating_add(1),
                window: 0,
            },
            false => Position {
                window: position.window + 1,
                ..position
            },
        };
        let (batch, fresh) = match &mut self.source {
            Source::Text { corpus, streams } => {
                let window = position.window as usize;
                (self.buffers.text(corpus, streams, window), window == 0)
            }
            Source::Sequences {
                set,
                batch,
                seq_len,
                seed,
                order,
                ordered_for,
            } => {
                if let Some(seed) = *seed
                    && *ordered_for != Some(position.epoch)
                {
                    shuffle(order, seed, position.epoch);
                    *ordered_for = Some(position.epoch);
                }
                let parts = set.steps().div_ceil(*seq_len);
                let (group, part) = (
                    position.window as usize / parts,
                    position.window as usize % parts,
                );
                let rows = &order[group * *batch..order.len().min((group + 1) * *batch)];
                let steps = part * *seq_len..set.steps().min((part + 1) * *seq_len);
                (self.buffers.sequences(set, rows, steps), part == 0)
            }
        };
        Window {
            counted: batch.counted(),
            batch,
            fresh,
            position,
            ends_epoch,
        }
    }
}

/// The order of an epoch: every epoch from the same start, so that none before it has to be drawn.
fn shuffle(order: &mut [usize], seed: u64, epoch: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(epoch);
    order.iter_mut().enumerate().for_each(|(i, row)| *row = i);
    order.shuffle(&mut rng);
}

fn check_positive(name: &'static str, value: usize) -> Result<()> {
    match value {
        0 => Err(Error::Option {
            name,
            value: value.to_string(),
            expected: "at least 1",
        }),
        _ => Ok(()),
    }
}

fn check_length(corpus: &Corpus, seq_len: usize) -> Result<()> {
    let tokens = corpus.len();
    if tokens > seq_len {
        return Ok(());
    }
    let needed = format!(
        "{tokens} tokens, expected more than {seq_len} for \
         windows of {seq_len} steps and the token after"
    );
    Err(Error::Invalid {
        what: "text",
        problem: match tokens {
            0 | 1 => format!("{needed}; give more text"),
            _ => format!(
                "{needed}; give more text, or `--seq-len {}` or smaller",
                tokens - 1
            ),
        },
    })
}

#[cfg(test)]
#[path = "loader_tests.rs"]
mod tests;
