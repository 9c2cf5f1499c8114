//! The states of a loader's streams, carried from window to window: [`CarriedState`].

use crate::data::Window;
use crate::{Engine, Scalar};
use ndarray::Array2;

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
        for (state, row) in self
            .rows
            .rows()
            .into_iter()
            .zip(window.rows.unwrap_or_default())
        {
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
