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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_example_of_the_documentation() {
        let streams = Streams::new(10, 2, 3);
        assert_eq!((streams.windows(), streams.window_steps(1)), (2, 2));
        assert_eq!((streams.begin(1, 0), streams.begin(1, 1)), (5, 8));
    }

    proptest! {
        #[test]
        fn nearly_everything_is_predicted_once(
            predictions in 1usize..3000, batch in 1usize..70, seq_len in 1usize..200,
        ) {
            let streams = Streams::new(predictions, batch, seq_len.min(predictions));
            let mut visits = vec![0; predictions];
            for window in 0..streams.windows() {
                let steps = streams.window_steps(window);
                prop_assert!(steps > 0);
                for stream in 0..streams.count {
                    let begin = streams.begin(stream, window);
                    visits[begin..begin + steps].iter_mut().for_each(|v| *v += 1);
                }
            }
            prop_assert!(visits.iter().all(|&v| v <= 1));
            let left_out = visits.iter().filter(|&&v| v == 0).count();
            prop_assert!(left_out < streams.count);
            prop_assert_eq!(streams.predictions(), predictions - left_out);
            prop_assert!(streams.window_steps(0) == streams.seq_len);
        }
    }
}
