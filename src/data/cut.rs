//! How the predictions of a text are cut into rows that run side by side, and those into windows: [`Cut`].
//!
//! To train on, into streams of as many predictions each, which go on through all documents:
//!
//! ```text
//! tokens   a b c d e f g h i j k      10 predictions: b .. k
//! streams  a b c d e|f                stream 0 reads a .. e and predicts b .. f
//!                    f g h i j|k      stream 1 reads f .. j and predicts g .. k
//! windows  a b c . .  then  . . . d e     of 3 steps, then 2
//! ```
//!
//! To evaluate, each document into chunks by its own length alone, so that its loss is the same whatever else is evaluated
//! with it. Chunks of about one length run together, the longest first, each from a zero state.
//!
//! Arithmetic alone: knows neither tokens nor buffers.

use super::documents::Documents;
use super::window::Row;
use std::cmp::Reverse;
use std::ops::Range;

/// Rows that are evaluated or predicted side by side: a full matrix product; not tuned.
pub const ROWS: usize = 64;
/// Steps that are evaluated or predicted at a time. The state is carried on, so this trades memory for the length of the
/// input product alone; not tuned.
pub const STEPS: usize = 128;
/// Tokens of a document for each of its up to [`ROWS`] chunks: among so many, what a start from a zero state costs is lost.
const TOKENS: usize = 4096;

/// All predictions of some documents, or all but a few, once.
#[derive(Clone, Debug)]
pub(super) enum Cut {
    /// Contiguous streams of as many predictions each, in windows of so many of them.
    Streams {
        count: usize,
        /// The predictions of each stream.
        steps: usize,
        seq_len: usize,
    },
    Chunks {
        /// The first token that each chunk reads, and its steps; the longest first.
        chunks: Vec<(usize, usize)>,
        groups: Vec<Group>,
        windows: usize,
    },
}

/// Chunks that run side by side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    first_chunk: usize,
    first_window: usize,
}

/// The rows of a window.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    /// The first token that each row reads, and its steps.
    pub parts: Vec<(usize, usize)>,
    pub rows: Vec<Row>,
    /// All rows start from a zero state.
    pub fresh: bool,
    /// Each row goes on from the same row of the window before, or starts with all others.
    pub as_before: bool,
}

impl Cut {
    /// Up to `batch` streams, each with a full window where there are that many predictions; fewer predictions than streams
    /// are left out at the end.
    ///
    /// # Panics
    /// If there are not `seq_len` predictions, or `batch` or `seq_len` is zero.
    pub fn streams(documents: &Documents, batch: usize, seq_len: usize) -> Self {
        let predictions = documents.predictions();
        let count = batch.min(predictions / seq_len);
        Cut::Streams {
            count,
            steps: predictions / count,
            seq_len,
        }
    }

    /// Every prediction, to be evaluated.
    pub fn chunks(documents: &Documents) -> Self {
        let mut chunks = Vec::new();
        for Range { start, end } in documents.ranges() {
            let (tokens, predictions) = (end - start, end - start - 1);
            let count = (tokens / TOKENS).clamp(1, ROWS);
            let mut begin = start;
            for i in 0..count {
                let steps = predictions / count + usize::from(i < predictions % count);
                chunks.extend((steps > 0).then_some((begin, steps)));
                begin += steps;
            }
        }
        chunks.sort_by_key(|&(_, steps)| Reverse(steps));
        let (mut groups, mut windows, mut first) = (Vec::new(), 0, 0);
        while let Some(&(_, longest)) = chunks.get(first) {
            groups.push(Group {
                first_chunk: first,
                first_window: windows,
            });
            windows += longest.div_ceil(STEPS);
            first += ROWS * STEPS / longest.min(STEPS);
        }
        Cut::Chunks {
            chunks,
            groups,
            windows,
        }
    }

    pub fn windows(&self) -> usize {
        match self {
            Cut::Streams { steps, seq_len, .. } => steps.div_ceil(*seq_len),
            Cut::Chunks { windows, .. } => *windows,
        }
    }

    /// The predictions that are not left out.
    pub fn predictions(&self) -> usize {
        match self {
            Cut::Streams { count, steps, .. } => count * steps,
            Cut::Chunks { chunks, .. } => chunks.iter().map(|chunk| chunk.1).sum(),
        }
    }

    /// Rows side by side, and the steps of a full window. Where documents begin in a window of streams, it has more rows, but
    /// no more steps in all.
    pub fn shape(&self) -> (usize, usize) {
        match self {
            Cut::Streams {
                count,
                steps,
                seq_len,
            } => (*count, *seq_len.min(steps)),
            Cut::Chunks { chunks, groups, .. } => {
                let rows = groups.get(1).map_or(chunks.len(), |next| next.first_chunk);
                (rows, chunks[0].1.min(STEPS))
            }
        }
    }

    /// The rows of a window: a row for each part of a document that a stream has in it, or for each chunk, the most steps
    /// first; a chunk that has ended stays, with no steps.
    pub fn lay_out(&self, documents: &Documents, window: usize, out: &mut Rows) {
        out.parts.clear();
        out.rows.clear();
        match self {
            Cut::Streams {
                count,
                steps,
                seq_len,
            } => {
                let within = window * seq_len;
                let own = *seq_len.min(&(steps - within));
                for stream in 0..*count {
                    for part in documents.parts(stream * steps + within, own) {
                        out.parts.push((part.token, part.steps));
                        let fresh = part.begins;
                        out.rows.push(Row { stream, fresh });
                    }
                }
                out.fresh = window == 0;
                out.as_before = out.rows.len() == *count
                    && (out.fresh || out.rows.iter().all(|row| !row.fresh));
            }
            Cut::Chunks { chunks, groups, .. } => {
                let number = groups.partition_point(|group| group.first_window <= window) - 1;
                let group = groups[number];
                let end = groups.get(number + 1);
                let end = end.map_or(chunks.len(), |next| next.first_chunk);
                let offset = (window - group.first_window) * STEPS;
                let rows = chunks[group.first_chunk..end].iter();
                out.parts.extend(rows.map(|&(begin, steps)| {
                    let before = offset.min(steps);
                    (begin + before, STEPS.min(steps - before))
                }));
                out.fresh = offset == 0;
                out.as_before = true;
            }
        }
    }
}
