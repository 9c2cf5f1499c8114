//! One window of data, as a loader hands it out: [`Window`], and its place among the others: [`Position`].

use crate::Batch;
use serde::{Deserialize, Serialize};

/// Where a run stands in its data: the window that comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Epochs completed.
    pub epoch: u64,
    /// Windows of this epoch completed.
    pub window: u64,
}

/// Some steps of some sequences.
#[derive(Clone, Copy, Debug)]
pub struct Window<'a, T> {
    /// Inputs, targets, mask, and how many of the window's steps are run for each row.
    pub batch: Batch<'a, T>,
    /// All states start at zero: the first window of an epoch of text, or of a batch of sequences.
    pub fresh: bool,
    /// What the rows are, where documents begin in this window; `None` where each row goes on from the same row of the
    /// window before.
    pub rows: Option<&'a [Row]>,
    /// Of the last window of pieces of documents that are evaluated side by side: whether each row goes on where the row
    /// before it ends. Empty in all other windows.
    pub follows: &'a [bool],
    /// Pieces of documents run in: what comes of it is the state that they start from.
    pub run_in: bool,
    /// How many steps count in the loss: none of a run-in. Where none does, the state must flow on all the same.
    pub counted: u64,
    /// Where this window stands.
    pub position: Position,
    /// The next window begins a new epoch.
    pub ends_epoch: bool,
}

/// A row of a window of text: a part of one document. The parts of a stream are one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The stream that the row is a part of. After the window, the stream's state is that of its last row.
    pub stream: usize,
    /// The row begins a document, so its state starts at zero; otherwise it goes on from the stream's state.
    pub fresh: bool,
}
