//! How much is evaluated at a time, and how documents are cut for it into chunks that run side by side, each from a zero
//! state: [`Chunks`].
//!
//! A document is cut by its own length alone, so its loss is the same whatever else is evaluated with it. Chunks of about
//! one length run together, the longest first, in windows that carry the state. Arithmetic alone.

use super::documents::Documents;
use std::cmp::Reverse;
use std::ops::Range;

/// Rows that are evaluated or predicted side by side: a full matrix product; not tuned.
pub const ROWS: usize = 64;
/// Steps that are evaluated or predicted at a time. The state is carried on, so this trades memory for the length of the
/// input product alone; not tuned.
pub const STEPS: usize = 128;
/// Tokens of a document for each of its up to [`ROWS`] chunks: among so many, what a start from a zero state costs is lost.
const TOKENS: usize = 4096;

/// Every prediction of some documents, once.
#[derive(Clone, Debug)]
pub(super) struct Chunks {
    /// The first token that each chunk reads, and its steps; the longest first.
    chunks: Vec<(usize, usize)>,
    groups: Vec<Group>,
    windows: usize,
}

/// Chunks that run side by side.
#[derive(Clone, Copy, Debug)]
struct Group {
    first_chunk: usize,
    first_window: usize,
}

impl Chunks {
    pub fn new(documents: &Documents) -> Self {
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
        Chunks {
            chunks,
            groups,
            windows,
        }
    }

    pub fn windows(&self) -> usize {
        self.windows
    }

    /// The first token and the steps of each row of a window, the most steps first; and whether all rows start from a zero
    /// state. A row that has ended stays, with no steps.
    pub fn window(&self, window: usize) -> (impl Iterator<Item = (usize, usize)> + '_, bool) {
        let group = self.groups.partition_point(|g| g.first_window <= window) - 1;
        let Group {
            first_chunk,
            first_window,
        } = self.groups[group];
        let end = self.groups.get(group + 1);
        let end = end.map_or(self.chunks.len(), |next| next.first_chunk);
        let offset = (window - first_window) * STEPS;
        let rows = self.chunks[first_chunk..end].iter();
        let rows = rows.map(move |&(begin, steps)| {
            let before = offset.min(steps);
            (begin + before, STEPS.min(steps - before))
        });
        (rows, offset == 0)
    }

    /// The windows with which groups begin.
    pub fn first_windows(&self) -> impl Iterator<Item = usize> + '_ {
        self.groups.iter().map(|group| group.first_window)
    }
}
