//! How the predictions of a text are cut into streams that run side by side, and the streams into windows.
//!
//! ```text
//! tokens   a b c d e f g h i j k      10 predictions: b .. k
//! streams  a b c d e|f                stream 0 reads a .. e and predicts b .. f
//!                    f g h i j|k      stream 1 reads f .. j and predicts g .. k
//! windows  a b c . .  then  . . . d e     of 3 steps, then 2
//! ```
//!
//! Arithmetic alone: knows neither tokens nor documents nor buffers.

/// Contiguous streams of as many predictions each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Streams {
    pub count: usize,
    /// The predictions of each stream.
    steps: usize,
    pub seq_len: usize,
}

impl Streams {
    /// Up to `batch` streams, each with a full window where there are that many predictions; fewer
    /// than `count` predictions at the end are left out.
    ///
    /// # Panics
    /// If there are not `seq_len` predictions, or `batch` or `seq_len` is zero.
    pub fn new(predictions: usize, batch: usize, seq_len: usize) -> Self {
        let count = batch.min(predictions / seq_len);
        Streams {
            count,
            steps: predictions / count,
            seq_len,
        }
    }

    pub fn windows(&self) -> usize {
        self.steps.div_ceil(self.seq_len)
    }

    /// The steps of a window: `seq_len`, in the last one what is left.
    pub fn window_steps(&self, window: usize) -> usize {
        self.seq_len.min(self.steps - window * self.seq_len)
    }

    /// The first prediction of a stream's window.
    pub fn begin(&self, stream: usize, window: usize) -> usize {
        stream * self.steps + window * self.seq_len
    }

    /// The predictions of all streams.
    pub fn predictions(&self) -> usize {
        self.count * self.steps
    }
}
