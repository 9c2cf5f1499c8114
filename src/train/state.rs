//! The states of a loader's streams, carried from window to window: [`CarriedState`].

use crate::data::Window;
use crate::dropout::update_rng;
use crate::{Engine, Scalar};
use ndarray::Array2;
use rand::RngExt;

/// What the rows of windows start from and come to.
///
/// ```
/// use bptt::data::{Corpus, Loader, Vocabulary};
/// use bptt::train::CarriedState;
/// use bptt::{Architecture, Engine, EngineOptions, GradientOptions, Head, Init, Input, Network};
///
/// let corpus = Corpus::from_texts(&["abcab", "cabca"], &Vocabulary::of_chars("abc"))?;
/// let mut loader = Loader::text(corpus, 2, 3)?;
/// let architecture = Architecture::new(Input::Tokens(3), 8, Head::softmax(3));
/// let network = Network::<f32>::new(architecture, Init::Orthogonal, 0)?;
/// let mut engine = Engine::new(architecture, EngineOptions::default())?;
/// let mut carried = CarriedState::new(architecture.state());
/// for _ in 0..10 {
///     let window = loader.next()?;
///     let state = carried.enter(&engine, &window);
///     let options = GradientOptions { state: Some(state), dropout: None };
///     engine.gradient_with(&network, &window.batch, options)?;
///     carried.leave(&engine, &window);
/// }
/// # Ok::<(), bptt::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct CarriedState<T> {
    /// `[streams, W]`.
    streams: Array2<T>,
    /// `[rows, W]`, for windows that have rows of their own.
    rows: Array2<T>,
}

impl<T: Scalar> CarriedState<T> {
    /// Of no stream yet: the states are zero, rows of `W` numbers ([`Architecture::state`](crate::Architecture::state)).
    pub fn new(width: usize) -> Self {
        Self::of(Array2::zeros((0, width)))
    }

    /// Goes on from these states of the streams.
    pub fn of(streams: Array2<T>) -> Self {
        CarriedState {
            rows: Array2::zeros((0, streams.ncols())),
            streams,
        }
    }

    /// The states of the streams `[streams, W]` after the last window that was left.
    pub fn streams(&self) -> &Array2<T> {
        &self.streams
    }

    /// All states are zero.
    pub fn reset(&mut self) {
        self.streams.fill(T::zero());
    }

    /// The state of each stream is zero with probability `p`, drawn for this update.
    pub(super) fn reset_some(&mut self, p: f64, seed: u64, update: u64) {
        if p == 0.0 {
            return;
        }
        let mut rng = update_rng(seed, update, b"streams", 0);
        for mut state in self.streams.rows_mut() {
            if rng.random_bool(p) {
                state.fill(T::zero());
            }
        }
    }

    /// Compares the states that pieces of documents have come to with the states that the pieces started from: says whether a
    /// piece that `follows` another started elsewhere than that one ended, by more than `apart` of the state's size plus one.
    /// Then the pieces are to run again: `starts` of such a document, and the states, become what the piece before each came to.
    ///
    /// Of several ranks, all must call this.
    pub(super) fn follow(
        &mut self,
        engine: &Engine<T>,
        follows: &[bool],
        starts: &mut Array2<T>,
        apart: f64,
    ) -> bool {
        engine.gather_state(&mut self.streams);
        let is_apart = |(start, end): (&T, &T)| {
            let (start, end) = (start.as_f64(), end.as_f64());
            (start - end).abs() > apart * (1.0 + end.abs())
        };
        let (mut again, mut begin) = (false, 0);
        // The pieces of a document follow its first: it alone decides, whatever other documents run beside it.
        for document in follows.chunk_by(|_, &follows| follows) {
            let rows = begin + 1..begin + document.len();
            begin = rows.end;
            let differs = |row| {
                let ends = self.streams.row(row - 1);
                starts.row(row).iter().zip(ends).any(is_apart)
            };
            if rows.clone().any(differs) {
                again = true;
                for row in rows {
                    starts.row_mut(row).assign(&self.streams.row(row - 1));
                }
            }
        }
        if again {
            self.streams.assign(starts);
        }
        again
    }

    /// The states `[N, W]` from which the rows of a window start, for the engine to make the last ones of them.
    ///
    /// Of several ranks, all must call this, and [`CarriedState::leave`]: rows that are not the streams may be another
    /// rank's.
    pub fn enter(&mut self, engine: &Engine<T>, window: &Window<'_, T>) -> &mut Array2<T> {
        if window.rows.is_some() {
            engine.gather_state(&mut self.streams);
        }
        let n = window.batch.inputs.sequences().0;
        let streams = (window.rows).map_or(n, |rows| rows.last().map_or(0, |row| row.stream + 1));
        if window.fresh || self.streams.nrows() != streams {
            resize(&mut self.streams, streams);
            self.reset();
        }
        let Some(rows) = window.rows else {
            return &mut self.streams;
        };
        resize(&mut self.rows, n);
        for (mut state, row) in self.rows.rows_mut().into_iter().zip(rows) {
            match row.fresh {
                true => state.fill(T::zero()),
                false => state.assign(&self.streams.row(row.stream)),
            }
        }
        &mut self.rows
    }

    /// Takes the last states of a window's rows for its streams.
    pub fn leave(&mut self, engine: &Engine<T>, window: &Window<'_, T>) {
        if window.rows.is_some() && window.batch.lengths.is_none() {
            engine.gather_state(&mut self.rows);
        }
        // The last row of a stream comes last.
        let rows = window.rows.unwrap_or_default();
        for (state, row) in self.rows.rows().into_iter().zip(rows) {
            self.streams.row_mut(row.stream).assign(&state);
        }
    }
}

/// To so many rows, whatever they are; allocates only where there were never as many.
fn resize<T: Scalar>(state: &mut Array2<T>, rows: usize) {
    let width = state.ncols();
    if state.nrows() != rows {
        let (mut values, _) = std::mem::take(state).into_raw_vec_and_offset();
        values.resize(rows * width, T::zero());
        *state = Array2::from_shape_vec((rows, width), values).expect("as many as they are");
    }
}
