//! How a row of tokens is cut into streams that run side by side, and those into windows.
//!
//! ```text
//! tokens   a b c d e f g h i j k      10 predictions: b .. k
//! streams  a b c d e|f                stream 0 reads a .. e and predicts b .. f
//!                    f g h i j|k      stream 1 reads f .. j and predicts g .. k
//! windows  a b c . .  then  . . . d e     of 3 steps, then 2
//! ```
//!
//! Arithmetic alone: knows neither tokens nor buffers.

/// Contiguous streams of predictions, the first `longer` of them one step longer than the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Streams {
    pub count: usize,
    shortest: usize,
    longer: usize,
    pub seq_len: usize,
}

impl Streams {
    /// For training: up to `batch` streams of equal length, each with a full window where there are
    /// that many predictions; fewer than `count` predictions at the end are left out.
    ///
    /// # Panics
    /// If there are not `seq_len` predictions, or `batch` or `seq_len` is zero.
    pub fn equal(predictions: usize, batch: usize, seq_len: usize) -> Self {
        let count = batch.min(predictions / seq_len);
        Streams {
            count,
            shortest: predictions / count,
            longer: 0,
            seq_len,
        }
    }

    /// For evaluation: every prediction, in `count` streams.
    ///
    /// # Panics
    /// If `count` is zero or there are not as many predictions.
    pub fn all(predictions: usize, count: usize, seq_len: usize) -> Self {
        assert!(predictions >= count);
        Streams {
            count,
            shortest: predictions / count,
            longer: predictions % count,
            seq_len,
        }
    }

    /// The steps of the longest stream.
    fn steps(&self) -> usize {
        self.shortest + usize::from(self.longer > 0)
    }

    pub fn windows(&self) -> usize {
        self.steps().div_ceil(self.seq_len)
    }

    /// The steps of a window: `seq_len`, in the last one what is left.
    pub fn window_steps(&self, window: usize) -> usize {
        self.seq_len.min(self.steps() - window * self.seq_len)
    }

    /// Where a stream's window begins in the row of tokens, and how many of its steps the stream
    /// has.
    pub fn part(&self, stream: usize, window: usize) -> (usize, usize) {
        let length = self.shortest + usize::from(stream < self.longer);
        let begin = stream * self.shortest + stream.min(self.longer);
        let offset = window * self.seq_len;
        (
            begin + offset,
            self.seq_len.min(length - offset.min(length)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// How often each prediction is made in an epoch.
    fn visits(streams: &Streams, predictions: usize) -> Vec<usize> {
        let mut visits = vec![0; predictions];
        for window in 0..streams.windows() {
            let steps = streams.window_steps(window);
            assert!(steps > 0);
            for stream in 0..streams.count {
                let (begin, own) = streams.part(stream, window);
                assert!(own <= steps && own + 1 >= steps);
                visits[begin..begin + own].iter_mut().for_each(|v| *v += 1);
            }
        }
        visits
    }

    #[test]
    fn the_example_of_the_documentation() {
        let streams = Streams::all(10, 2, 3);
        assert_eq!((streams.windows(), streams.window_steps(1)), (2, 2));
        assert_eq!((streams.part(1, 0), streams.part(1, 1)), ((5, 3), (8, 2)));
    }

    proptest! {
        #[test]
        fn evaluation_predicts_everything_once(
            predictions in 1usize..3000, count in 1usize..70, seq_len in 1usize..200,
        ) {
            let streams = Streams::all(predictions, count.min(predictions), seq_len);
            prop_assert!(visits(&streams, predictions).iter().all(|&v| v == 1));
        }

        #[test]
        fn training_predicts_nearly_everything_once(
            predictions in 1usize..3000, batch in 1usize..70, seq_len in 1usize..200,
        ) {
            let streams = Streams::equal(predictions, batch, seq_len.min(predictions));
            let visits = visits(&streams, predictions);
            prop_assert!(visits.iter().all(|&v| v <= 1));
            prop_assert!(visits.iter().filter(|&&v| v == 0).count() < streams.count);
            prop_assert!(streams.window_steps(0) == streams.seq_len);
        }
    }
}
