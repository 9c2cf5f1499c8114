//! The layers without the head, for losses of one's own: hidden states out, their gradients in.

use super::run::{RowsOut, assign_rows, check_state};
use super::{Engine, GradientOptions};
use crate::architecture::{At, Input};
use crate::batch::check_lengths;
use crate::shard::Shard;
use crate::stack;
use crate::targets::check_shape;
use crate::weights::Passes;
use crate::{Error, Inputs, Network, Result, Scalar};
use ndarray::{Array2, Array3, ArrayView2, ArrayView3, ArrayViewMut3};
use rayon::prelude::*;

/// What [`Engine::backward`] finds beside the gradients of the weights.
#[derive(Clone, Debug)]
pub struct LayerGradients<T> {
    /// Of the features `[N, T, n_x]`, zero beyond a sequence's length; tokens have none.
    pub inputs: Option<Array3<T>>,
    /// Of the states `[N, W]` with which the sequences began.
    pub state: Array2<T>,
}

impl<T: Scalar> Engine<T> {
    /// The hidden states of the highest layer, `[N, T, D n_h]` (both directions side by side), zero beyond a sequence's length; the
    /// head is left alone. Sequences start from `state [N, W]`, which becomes the states after their last steps (zero, where there
    /// is none). What [`Engine::backward`] needs is kept until the engine is asked for something else.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::Id`] or [`Error::Invalid`] if inputs, lengths or state do not fit; [`Error::Memory`] if
    /// [`EngineOptions::memory`](crate::EngineOptions::memory) has no room for all time steps at once; [`Error::Invalid`] of several ranks.
    ///
    /// ```
    /// use bptt::{Architecture, Cell, Engine, EngineOptions, Head, Init, Input, Network};
    /// use ndarray::Array3;
    ///
    /// // A loss of one's own: half the sum of squares of all hidden states.
    /// let architecture = Architecture {
    ///     cell: Cell::Gru,
    ///     ..Architecture::new(Input::Features(3), 8, Head::softmax(1))
    /// };
    /// let network = Network::<f64>::new(architecture, Init::Orthogonal, 0)?;
    /// let mut engine = Engine::new(architecture, EngineOptions::default())?;
    /// let x = Array3::from_elem((2, 5, 3), 0.5);
    /// let hidden = engine.forward(&network, &x, None, None)?;
    /// let gradients = engine.backward(hidden.view(), None)?; // its gradient is the hidden states
    /// assert_eq!(gradients.inputs.unwrap().dim(), (2, 5, 3));
    /// assert!(engine.gradients().norm() > 0.0);
    /// # Ok::<(), bptt::Error>(())
    /// ```
    pub fn forward<'a>(
        &mut self,
        network: &Network<T>,
        inputs: impl Into<Inputs<'a, T>>,
        lengths: Option<&[usize]>,
        state: Option<&mut Array2<T>>,
    ) -> Result<Array3<T>> {
        let inputs = inputs.into();
        let (n, t) = inputs.sequences();
        let mut hidden = Array3::zeros((n, t, self.architecture.outputs_of_layer()));
        self.forward_into(network, inputs, lengths, state.into(), hidden.view_mut())?;
        Ok(hidden)
    }

    /// [`Engine::forward`] into an array of the caller's, in any order of its axes, and with dropout: on what enters the first layer
    /// and on what leaves each but the highest, which is the caller's to drop from.
    ///
    /// # Errors
    /// As [`Engine::forward`]; [`Error::Shape`] if the array does not fit; as [`Dropout::check`](crate::Dropout::check).
    pub fn forward_into<'a>(
        &mut self,
        network: &Network<T>,
        inputs: impl Into<Inputs<'a, T>>,
        lengths: Option<&[usize]>,
        options: GradientOptions<'_, T>,
        mut hidden: ArrayViewMut3<'_, T>,
    ) -> Result<()> {
        let inputs = inputs.into();
        let (n, t) = inputs.sequences();
        let expected = [n, t, self.architecture.outputs_of_layer()];
        check_shape(
            "hidden",
            hidden.shape(),
            &expected,
            " as inputs and network",
        )?;
        check_lengths(lengths, (n, t), At::Every)?;
        if self.ranks() > 1 {
            let problem = "the layers alone run in one process";
            return Err(Error::invalid("ranks", problem));
        }
        if lengths.is_some() {
            hidden.fill(T::zero());
        }
        let (rows, inputs) = (RowsOut::new(&mut hidden), (&inputs, lengths));
        let write = |shard: &mut Shard<T>| {
            rows.write(shard, stack::hidden(&shard.scratch).data, At::Every);
        };
        let passes = Passes::BackToInputs;
        self.run(network, passes, inputs, options, |shard, pass| {
            shard.advance(pass, write);
        })?;
        drop(rows);
        self.alone = Some([n, t]);
        Ok(())
    }

    /// After [`Engine::forward`]: the gradients of the layers' weights, to be found in [`Engine::gradients`] (those of the head are
    /// zero), and of inputs and initial states, from the gradients of the hidden states `d_hidden [N, T, D n_h]` and of the states
    /// after the last steps `d_state [N, W]` (zero, where there are none). Beyond a sequence's length, `d_hidden` is not read.
    ///
    /// # Errors
    /// [`Error::Shape`] if the gradients do not fit.
    ///
    /// # Panics
    /// If the last thing asked of the engine was not [`Engine::forward`].
    pub fn backward(
        &mut self,
        d_hidden: ArrayView3<'_, T>,
        d_state: Option<ArrayView2<'_, T>>,
    ) -> Result<LayerGradients<T>> {
        let missing = "`backward` goes back over what `forward` computed: call it first";
        let [n, t] = self.alone.expect(missing);
        let a = self.architecture;
        check_state(d_state, n, a.state())?;
        let expected = [n, t, a.outputs_of_layer()];
        check_shape(
            "d_hidden",
            d_hidden.shape(),
            &expected,
            " as the hidden states",
        )?;
        self.alone = None;
        let mut inputs = match a.input {
            Input::Features(n_x) => Some(Array3::zeros((n, t, n_x))),
            _ => None,
        };
        let rows = inputs.as_mut().map(RowsOut::new);
        let (shards, packed) = (&mut self.shards, &self.packed);
        self.pool.install(|| {
            shards.par_iter_mut().with_max_len(1).for_each(|shard| {
                if shard.assigned.index.is_empty() {
                    return;
                }
                shard.layers_back(packed, &d_hidden, d_state);
                if let Some(rows) = &rows {
                    rows.write(shard, &shard.scratch.dx[a.layers % 2], At::Every);
                }
            });
        });
        drop(rows);
        let mut state = Array2::zeros((n, a.state()));
        for shard in &self.shards {
            let rows = shard.assigned.index.iter().copied();
            assign_rows(&mut state, rows, &shard.scratch.d_state);
        }
        self.reduce();
        Ok(LayerGradients { inputs, state })
    }
}
