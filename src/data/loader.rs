//! One window of data after another, for ever: [`Loader`].
//!
//! | | text | sequences |
//! |---|---|---|
//! | epoch | all streams from begin to end | all, shuffled by seed and epoch |
//! | window | the next `seq_len` steps of every stream | of `batch` sequences, or all steps |
//! | fresh | the first window of an epoch, and where a document begins | the first window of a batch |
//!
//! A stream goes on through the documents of its text. Where one ends within a window, the stream's next steps are a row
//! of their own, which starts from zero beside the others: so every window has as many steps as it would without
//! documents, and short documents make it wider and shorter. The row of a stream's last part carries its state on.
//!
//! A window of sequences says how many of its steps are run for each of them: up to the last that counts
//! ([`Sequences::run_lengths`]), or to its end ([`Loader::suit`]).
//!
//! What comes next depends on the data, the options, the seed and the [`Position`] alone, so a run can be resumed.
//! Knows nothing of networks: the caller carries the states ([`train::CarriedState`](crate::train::CarriedState)).

use super::collate::Collator;
use super::corpus::Corpus;
use super::cut::{Cut, Rows};
use super::sequences::Sequences;
use super::sharded_ids::Requests;
use super::symbols::UNKNOWN_ID;
use super::window::{Position, Window};
use crate::engine::{ROWS, STEPS};
use crate::partition::Share;
use crate::ranks::Ranks;
use crate::{Architecture, At, Error, Loss, Result, Scalar};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

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
/// let window = loader.next()?;
/// let Batch { inputs, answers, .. } = window.batch;
/// assert!(matches!(inputs, Inputs::Tokens(x) if x == array![[0, 1, 2], [5, 6, 7]]));
/// assert!(matches!(answers.targets, Targets::Classes(y) if y == array![[1, 2, 3], [6, 7, 8]]));
/// assert!(loader.next()?.ends_epoch);
/// # Ok::<(), bptt::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Loader<T> {
    source: Source<T>,
    position: Position,
    collator: Collator<T>,
}

// There is one of them in a run.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug)]
enum Source<T> {
    Text { corpus: Corpus, cut: Cut },
    Sequences(Shuffled<T>),
}

#[derive(Clone, Debug)]
struct Shuffled<T> {
    set: Sequences<T>,
    batch: usize,
    seq_len: usize,
    /// What shuffles each epoch; without a seed, sequences stay in the order of the set.
    seed: Option<u64>,
    order: Vec<usize>,
    /// The epoch that `order` was shuffled for.
    ordered_for: Option<u64>,
}

impl<T: Scalar> Loader<T> {
    /// Text for training: `batch` contiguous streams of equal length, fewer if not each would have
    /// a full window. The last window of an epoch may be shorter. Tokens are predicted from those
    /// before them in their document, so the first of each document is not.
    ///
    /// # Errors
    /// [`Error::Option`] for a zero; [`Error::Invalid`] if there are fewer than `seq_len` predictions.
    pub fn text(corpus: Corpus, batch: usize, seq_len: usize) -> Result<Self> {
        check_positive("batch", batch)?;
        check_positive("seq_len", seq_len)?;
        check_length(&corpus, seq_len)?;
        let cut = Cut::streams(&corpus.documents, batch, seq_len);
        Ok(Self::new(Source::Text { corpus, cut }))
    }

    /// Sequences for training, shuffled in each epoch by `(seed, epoch)`, `batch` at a time, the last batch of an epoch
    /// with what is left; whole, or in windows of `seq_len` steps, the last of a batch with what is left.
    ///
    /// # Errors
    /// [`Error::Option`] for a zero, and for a `seq_len` that would cut sequences of one answer; [`Error::NothingCounts`] if no
    /// step of the set does.
    pub fn sequences(
        set: Sequences<T>,
        batch: usize,
        seq_len: Option<usize>,
        seed: u64,
    ) -> Result<Self> {
        check_positive("batch", batch)?;
        check_positive("seq_len", seq_len.unwrap_or(1))?;
        let seq_len = seq_len.unwrap_or(set.steps());
        if set.at() == At::Last {
            check_whole(seq_len, set.steps())?;
        }
        Self::over(set, batch, seq_len, Some(seed))
    }

    /// Text for evaluation: each document divided by its length alone, into up to 64 pieces of 4096 tokens or more that run
    /// side by side, each after a run-in of 512 tokens ([`train::evaluate`](crate::train::evaluate) sees to it that its end
    /// is where the piece before ends). Every token but the first of each document is predicted once, so the loss of several
    /// documents is the mean of their own, weighted by predictions.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is nothing to predict.
    pub fn evaluation_text(corpus: Corpus) -> Result<Self> {
        check_length(&corpus, 1)?;
        let cut = Cut::pieces(&corpus.documents);
        Ok(Self::new(Source::Text { corpus, cut }))
    }

    /// From now on, of a text of words no step counts that predicts `<unk>`: the loss is that of known words. (One token for many
    /// words flatters a loss, and one that was never learnt ruins it.) Not for a text of which this process has only a part.
    pub fn leave_out_unknown(&mut self) {
        self.collator.left_out = Some(UNKNOWN_ID);
    }

    /// Sequences for evaluation: in their order, 64 at a time, in windows of 128 steps where they are longer and have an answer
    /// at every step.
    ///
    /// # Errors
    /// [`Error::NothingCounts`] if no step of the set does.
    pub fn evaluation_sequences(set: Sequences<T>) -> Result<Self> {
        Self::over(set, ROWS, STEPS, None)
    }

    /// Prepares for a network: whether it can learn from these windows. If it reads sequences from both ends, or answers at
    /// their last steps, windows are whole sequences from now on, run to their ends.
    ///
    /// # Errors
    /// As [`Sequences::check`]; [`Error::Invalid`] for a text and a network that does not predict its tokens one by one;
    /// [`Error::Option`] if windows of fewer steps were asked for where sequences must be whole.
    pub fn suit(&mut self, architecture: &Architecture) -> Result<()> {
        let Architecture { input, head, .. } = *architecture;
        let whole = architecture.needs_whole_sequences();
        match &mut self.source {
            Source::Sequences(all) => {
                let steps = all.set.steps();
                if whole && all.seed.is_some() {
                    check_whole(all.seq_len, steps)?;
                }
                if whole {
                    (all.seq_len, self.collator.whole) = (steps, true);
                }
                all.set.check(input, head)
            }
            Source::Text { .. } if whole => Err(Error::invalid(
                "text",
                "it is read window by window with a carried state, and a network that reads from both ends, or answers at the last \
                 step, needs sequences as a whole: give an .npz of them",
            )),
            Source::Text { corpus, .. } => {
                let symbols = corpus.vocabulary().len();
                let fits = input.is_tokens() && input.size().min(head.outputs) >= symbols;
                if fits && head.loss == Loss::CrossEntropy {
                    return Ok(());
                }
                let asked = format!("the next of {symbols} tokens is to be predicted");
                let problem = format!("{asked}: nothing for a network of {architecture}");
                Err(Error::invalid("text", problem))
            }
        }
    }

    fn over(set: Sequences<T>, batch: usize, seq_len: usize, seed: Option<u64>) -> Result<Self> {
        if set.counted() == 0 {
            return Err(Error::NothingCounts);
        }
        Ok(Self::new(Source::Sequences(Shuffled {
            batch: batch.min(set.len()),
            seq_len: match set.at() {
                At::Every => seq_len.min(set.steps()),
                At::Last => set.steps(),
            },
            seed,
            order: (0..set.len()).collect(),
            ordered_for: None,
            set,
        })))
    }

    fn new(source: Source<T>) -> Self {
        Loader {
            source,
            position: Position::default(),
            collator: Collator::default(),
        }
    }

    /// From now on, windows hold only the inputs and targets of this rank's sequences, by its part of `shards` shards as
    /// [`crate::Engine::join`] deals them. Inputs and targets of other sequences may be anything; lengths and masks are those
    /// of all sequences.
    ///
    /// If each rank has read a part of a text, the ranks now exchange the tokens that their sequences consist of, which are the
    /// same in every epoch.
    pub(crate) fn share(&mut self, ranks: &dyn Ranks, shards: usize) {
        let collator = &mut self.collator;
        collator.share = Some(Share::new(ranks.rank(), ranks.size(), shards));
        if let Source::Text { corpus, cut } = &mut self.source
            && corpus.tokens.is_part()
        {
            let mut requests = Requests::new(&corpus.tokens, ranks);
            for window in 0..cut.windows() {
                collator.lay_out(cut, &corpus.documents, window);
                collator.request(&mut requests);
            }
            corpus.tokens.exchange(requests, ranks);
        }
    }

    /// Whether it reads streams of a text.
    pub(crate) fn is_text(&self) -> bool {
        matches!(self.source, Source::Text { .. })
    }

    /// How many windows an epoch has.
    pub fn windows_per_epoch(&self) -> u64 {
        match &self.source {
            Source::Text { cut, .. } => cut.windows() as u64,
            Source::Sequences(Shuffled {
                set,
                batch,
                seq_len,
                ..
            }) => (set.len().div_ceil(*batch) * set.steps().div_ceil(*seq_len)) as u64,
        }
    }

    /// How many sequences run side by side.
    pub fn streams(&self) -> usize {
        self.shape().0
    }

    /// Sequences side by side and steps of a full window. Where documents begin in a window, it may have more rows,
    /// but no more steps in all.
    pub fn shape(&self) -> (usize, usize) {
        match &self.source {
            Source::Text { cut, .. } => cut.shape(),
            Source::Sequences(all) => (all.batch, all.seq_len),
        }
    }

    /// The steps of each row of the window that takes the most memory.
    pub fn largest_window(&self) -> Vec<usize> {
        match &self.source {
            Source::Text { corpus, cut } => {
                let (mut largest, mut rows) = (Vec::new(), Rows::default());
                for window in 0..cut.windows() {
                    cut.lay_out(&corpus.documents, window, &mut rows);
                    let steps: Vec<usize> = rows.parts.iter().map(|part| part.1).collect();
                    let size = |steps: &[usize]| steps.len() + steps.iter().sum::<usize>();
                    if size(&steps) > size(&largest) {
                        largest = steps;
                    }
                }
                largest
            }
            Source::Sequences(all) => vec![all.seq_len; all.batch],
        }
    }

    /// The most bytes that the arrays of a window of so many rows take.
    pub fn window_bytes(&self, rows: usize) -> usize {
        let of_step = match &self.source {
            Source::Sequences(all) => all.set.step_bytes(),
            Source::Text { .. } => 2 * size_of::<u32>(),
        };
        rows * (self.shape().1 * of_step + size_of::<usize>())
    }

    /// How many steps count in the loss in an epoch.
    pub fn counted_per_epoch(&self) -> u64 {
        match &self.source {
            Source::Text { cut, .. } => cut.predictions() as u64,
            Source::Sequences(all) => all.set.counted(),
        }
    }

    /// The window that [`Loader::next`] will return.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Goes on from a position of an equal loader. Where its window is not fresh, the state belongs to it too.
    ///
    /// # Errors
    /// [`Error::Invalid`] if an epoch has no such window.
    pub fn seek(&mut self, position: Position) -> Result<()> {
        let windows = self.windows_per_epoch();
        if position.window >= windows {
            let found = format!("window {}, but an epoch has {windows}", position.window);
            let problem = format!("{found}: the data or its options are others than before");
            return Err(Error::invalid("position in the data", problem));
        }
        self.position = position;
        Ok(())
    }

    /// The next window; after the last of an epoch the first of the next. Never ends, unlike an iterator.
    ///
    /// Its arrays live in buffers that are used again: nothing is allocated once the first window
    /// has been made, where the data is in memory.
    ///
    /// # Errors
    /// [`Error::File`] if it is in a file ([`Sequences::open_npz`]) that is not any more what it was.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Window<'_, T>> {
        let position = self.position;
        let ends_epoch = position.window + 1 == self.windows_per_epoch();
        self.position.window += 1;
        if ends_epoch {
            self.position = Position {
                epoch: position.epoch.saturating_add(1),
                window: 0,
            };
        }
        let window = position.window as usize;
        let (batch, laid_out) = match &mut self.source {
            Source::Text { corpus, cut } => {
                self.collator.lay_out(cut, &corpus.documents, window);
                self.collator.text(&corpus.tokens)
            }
            Source::Sequences(all) => {
                all.shuffle(position.epoch);
                let (t, order) = (all.set.steps(), &all.order);
                let parts = t.div_ceil(all.seq_len);
                let (group, part) = (window / parts, window % parts);
                let rows = &order[group * all.batch..order.len().min((group + 1) * all.batch)];
                let steps = part * all.seq_len..t.min((part + 1) * all.seq_len);
                self.collator.sequences(&all.set, rows, steps)?
            }
        };
        Ok(Window {
            run_in: laid_out.run_in,
            counted: if laid_out.run_in { 0 } else { batch.counted() },
            batch,
            fresh: laid_out.fresh,
            rows: (!laid_out.as_before).then_some(&laid_out.rows[..]),
            follows: &laid_out.follows,
            position,
            ends_epoch,
        })
    }
}

impl<T> Shuffled<T> {
    /// The order of an epoch: every epoch from the same start, so that none before it has to be drawn.
    fn shuffle(&mut self, epoch: u64) {
        let Some(seed) = self.seed.filter(|_| self.ordered_for != Some(epoch)) else {
            return;
        };
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(epoch);
        self.order.iter_mut().zip(0..).for_each(|(row, i)| *row = i);
        self.order.shuffle(&mut rng);
        self.ordered_for = Some(epoch);
    }
}

fn check_positive(name: &'static str, value: usize) -> Result<()> {
    match value {
        0 => Err(Error::option(name, value, "at least 1")),
        _ => Ok(()),
    }
}

fn check_whole(seq_len: usize, steps: usize) -> Result<()> {
    match seq_len < steps {
        true => Err(Error::option(
            "seq_len",
            seq_len,
            "possible: what is read from both ends, or answered once a sequence, is needed as a whole; leave it out",
        )),
        false => Ok(()),
    }
}

fn check_length(corpus: &Corpus, seq_len: usize) -> Result<()> {
    let (tokens, predictions) = (corpus.len(), corpus.predictions());
    if predictions >= seq_len {
        return Ok(());
    }
    let found = match tokens - predictions {
        0 | 1 => format!("{tokens} tokens"),
        documents => format!("{tokens} tokens in {documents} documents"),
    };
    let or = match predictions {
        0 => String::new(),
        _ => format!(", or a `seq_len` of at most {predictions}"),
    };
    let problem = format!(
        "{found}, expected more than {seq_len} for windows of {seq_len} steps and the first token of a document; \
         give more text{or}"
    );
    Err(Error::invalid("text", problem))
}
