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
//! To evaluate, each document into pieces by its own length alone, so that its loss is the same whatever else is evaluated
//! with it. The pieces of a document run side by side, with those of others of about its length, the longest first:
//!
//! ```text
//! tokens   a b c d e f g h i j k l    11 predictions, 3 pieces
//! run-in       . . c d|               zero state -> about the state that the first piece will come to
//!                      . . g h|       (nothing is counted here)
//! pieces   a b c d|                   predicts b .. e
//!                  e f g h|           predicts f .. i
//!                          i j k|     predicts j .. l
//! ```
//!
//! Whether the state after a run-in is near enough to the end of the piece before is for the caller to see
//! ([`Window::follows`](super::Window::follows)).
//!
//! Arithmetic alone: knows neither tokens nor buffers.

use super::documents::Documents;
use super::window::Row;
use crate::engine::{ROWS, STEPS};
use std::cmp::Reverse;
use std::ops::Range;

/// Tokens of a document for each of its up to [`ROWS`] pieces: the run-in is an eighth of them at most.
const TOKENS: usize = 4096;
/// Tokens that a piece reads before its own to find the state it starts from. Networks of text forget a zero state within
/// some hundred; one that does not is run again from the end of the piece before.
const RUN_IN: usize = 4 * STEPS;

/// All predictions of some documents, or all but a few, once.
#[derive(Clone, Debug)]
pub(super) enum Cut {
    /// So many contiguous streams of `steps` predictions each, in windows of `seq_len`.
    Streams {
        count: usize,
        steps: usize,
        seq_len: usize,
    },
    Pieces(Vec<Group>),
}

/// Pieces that run side by side: all of some documents.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pieces: Vec<Piece>,
    /// The windows that they run in, those of the run-in among them.
    windows: Range<usize>,
    /// Windows of run-in before the pieces themselves begin: none where every document is one piece.
    run_in: usize,
}

/// A piece of a document.
#[derive(Clone, Copy, Debug)]
struct Piece {
    /// The first token that it reads.
    begin: usize,
    steps: usize,
    /// It goes on where the piece before it ends.
    follows: bool,
}

/// The rows of a window.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    /// The first token that each row reads, and its steps.
    pub parts: Vec<(usize, usize)>,
    pub rows: Vec<Row>,
    /// All rows start from a zero state.
    pub fresh: bool,
    /// The rows run in: none of their predictions counts.
    pub run_in: bool,
    /// Of the last window of pieces, whether each row goes on where the row before it ends; empty in all other windows.
    pub follows: Vec<bool>,
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
    pub fn pieces(documents: &Documents) -> Self {
        let mut longest_first: Vec<_> = documents.ranges().filter(|all| all.len() > 1).collect();
        let count = |document: &Range<usize>| (document.len() / TOKENS).clamp(1, ROWS);
        let steps = |document: &Range<usize>| (document.len() - 1).div_ceil(count(document));
        longest_first.sort_by_key(|document| Reverse(steps(document)));
        let (mut groups, mut begin, mut left) = (Vec::new(), 0, &longest_first[..]);
        while let Some(first) = left.first() {
            let longest = steps(first);
            let (most, mut pieces) = (ROWS * STEPS / longest.min(STEPS), Vec::new());
            while let Some((document, after)) = left.split_first()
                && pieces.len() + count(document) <= most
            {
                push_pieces(document, count(document), &mut pieces);
                left = after;
            }
            let follow = pieces.iter().any(|piece| piece.follows);
            let run_in = follow as usize * RUN_IN / STEPS;
            let end = begin + run_in + longest.div_ceil(STEPS);
            groups.push(Group {
                pieces,
                windows: begin..end,
                run_in,
            });
            begin = end;
        }
        Cut::Pieces(groups)
    }

    pub fn windows(&self) -> usize {
        match self {
            Cut::Streams { steps, seq_len, .. } => steps.div_ceil(*seq_len),
            Cut::Pieces(groups) => groups.last().map_or(0, |group| group.windows.end),
        }
    }

    /// The predictions that are not left out.
    pub fn predictions(&self) -> usize {
        match self {
            Cut::Streams { count, steps, .. } => count * steps,
            Cut::Pieces(groups) => {
                let pieces = groups.iter().flat_map(|group| &group.pieces);
                pieces.map(|piece| piece.steps).sum()
            }
        }
    }

    /// Rows side by side, and the steps of a full window. Where documents begin in a window of streams, it has more rows, but
    /// no more steps in all.
    pub fn shape(&self) -> (usize, usize) {
        match self {
            &Cut::Streams {
                count,
                steps,
                seq_len,
            } => (count, seq_len.min(steps)),
            Cut::Pieces(groups) => {
                let pieces = &groups[0].pieces;
                (pieces.len(), pieces[0].steps.min(STEPS))
            }
        }
    }

    /// The rows of a window: a row for each part of a document that a stream has in it, or for each piece; a piece that has
    /// ended stays, with no steps.
    pub fn lay_out(&self, documents: &Documents, window: usize, out: &mut Rows) {
        out.parts.clear();
        out.rows.clear();
        out.follows.clear();
        out.run_in = false;
        match self {
            &Cut::Streams {
                count,
                steps,
                seq_len,
            } => {
                let within = window * seq_len;
                let own = seq_len.min(steps - within);
                for stream in 0..count {
                    for part in documents.parts(stream * steps + within, own) {
                        out.parts.push((part.token, part.steps));
                        let fresh = part.begins;
                        out.rows.push(Row { stream, fresh });
                    }
                }
                out.fresh = window == 0;
                out.as_before =
                    out.rows.len() == count && (out.fresh || out.rows.iter().all(|row| !row.fresh));
            }
            Cut::Pieces(groups) => {
                let number = groups.partition_point(|group| group.windows.end <= window);
                let group = &groups[number];
                let own = window - group.windows.start;
                out.run_in = own < group.run_in;
                out.parts.extend(group.pieces.iter().map(|piece| {
                    if out.run_in {
                        let before = (group.run_in - own) * STEPS;
                        return match piece.follows {
                            true => (piece.begin - before, STEPS),
                            false => (piece.begin, 0),
                        };
                    }
                    let before = piece.steps.min((own - group.run_in) * STEPS);
                    (piece.begin + before, STEPS.min(piece.steps - before))
                }));
                if window + 1 == group.windows.end {
                    let follows = group.pieces.iter().map(|piece| piece.follows);
                    out.follows.extend(follows);
                }
                out.fresh = own == 0;
                out.as_before = true;
            }
        }
    }
}

/// A document in so many pieces of about one length.
fn push_pieces(document: &Range<usize>, count: usize, pieces: &mut Vec<Piece>) {
    let (mut begin, predictions) = (document.start, document.len() - 1);
    for i in 0..count {
        let steps = predictions / count + usize::from(i < predictions % count);
        let follows = i > 0;
        pieces.push(Piece {
            begin,
            steps,
            follows,
        });
        begin += steps;
    }
}
