//! Where the documents of a row of tokens begin, and which predictions each of them has.
//!
//! ```text
//! tokens       a b c|d|e f g h      three documents
//! predictions    b c|  |  f g h      2, none and 3: nothing predicts the first token of a document
//! ```
//!
//! Predictions are counted through: number 2 is the one that reads `e` and predicts `f`. Arithmetic alone.

use std::ops::Range;

/// Documents of one token or more, side by side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Documents {
    /// How many predictions are before each document: the place of its first token, less one for each document before it.
    before: Vec<usize>,
    /// The tokens of all documents together.
    tokens: usize,
}

/// Predictions in a row, all of one document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// The place of the token that the first of these predictions reads.
    pub token: usize,
    pub steps: usize,
    /// Whether that token is the first of its document.
    pub begins: bool,
}

impl Documents {
    /// Appends a document; nothing, if it has no token.
    pub fn push(&mut self, tokens: usize) {
        if tokens > 0 {
            self.before.push(self.predictions());
            self.tokens += tokens;
        }
    }

    pub fn len(&self) -> usize {
        self.before.len()
    }

    /// The tokens of all documents together.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// The predictions of all documents together.
    pub fn predictions(&self) -> usize {
        self.tokens - self.len()
    }

    /// The tokens of each document.
    pub fn ranges(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        (0..self.len()).map(|i| self.start(i)..self.start(i + 1))
    }

    fn start(&self, document: usize) -> usize {
        match self.before.get(document) {
            Some(before) => before + document,
            None => self.tokens,
        }
    }

    /// `(up to token at, from there on)`; a document across it becomes two.
    pub fn split(&self, at: usize) -> (Self, Self) {
        let (mut left, mut right) = (Documents::default(), Documents::default());
        for Range { start, end } in self.ranges() {
            left.push(end.min(at).saturating_sub(start));
            right.push(end.saturating_sub(start.max(at)));
        }
        (left, right)
    }

    /// So many predictions from `begin` on, document by document.
    pub fn parts(&self, begin: usize, steps: usize) -> impl Iterator<Item = Part> + '_ {
        let (mut at, end) = (begin, (begin + steps).min(self.predictions()));
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            // Several documents may begin at this prediction. All but the last have one token, and no prediction.
            let document = self.before.partition_point(|&before| before <= at) - 1;
            let (begin, next) = (at, self.before.get(document + 1));
            at = next.map_or(end, |&next| next.min(end));
            Some(Part {
                token: begin + document,
                steps: at - begin,
                begins: begin == self.before[document],
            })
        })
    }
}
