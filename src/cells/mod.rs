//! Recurrent cells: what happens between the products, one file a cell.
//!
//! A layer ([`crate::layer`]) computes, for each step, the sums that a cell asks for; the cell turns them into a new state
//! and, going back, the gradient of that state into the gradients of the sums. A cell is a [`Form`] (a few numbers) and two
//! functions on rows ([`forward`], [`backward`]); it knows neither weights nor steps nor which sequences its rows are.
//!
//! Shapes are counted in blocks of `n_h` elements, the hidden units of one layer.
//!
//! To add a cell: CONTRIBUTING.md says what to touch.

mod elman;
mod gru;
mod lstm;

use crate::kernels::exp::tanh_at;
use crate::kernels::number::Number;
use fearless_simd::{Level, dispatch};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Which recurrent cell a network is made of: PyTorch's equations, gates in PyTorch's order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cell {
    /// Elman's with a hyperbolic tangent, `h_t = tanh(W_ih x_t + W_hh h_{t-1} + b)`: `nn.RNN`.
    #[default]
    Tanh,
    /// Elman's with a rectifier, `h_t = max(0, W_ih x_t + W_hh h_{t-1} + b)`: `nn.RNN(nonlinearity="relu")`.
    Relu,
    /// The gated recurrent unit, gates r, z, n, with the reset gate after the recurrent product: `nn.GRU`.
    Gru,
    /// Long short-term memory, gates i, f, g, o: `nn.LSTM`.
    Lstm,
}

impl Cell {
    /// Every cell.
    pub const ALL: [Cell; 4] = [Cell::Tanh, Cell::Relu, Cell::Gru, Cell::Lstm];

    /// The name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Cell::Tanh => "tanh",
            Cell::Relu => "relu",
            Cell::Gru => "gru",
            Cell::Lstm => "lstm",
        }
    }

    pub(crate) fn form(self) -> &'static Form {
        match self {
            Cell::Tanh | Cell::Relu => &elman::FORM,
            Cell::Gru => &gru::FORM,
            Cell::Lstm => &lstm::FORM,
        }
    }

    /// Blocks of `n_h` rows in `weight_ih` and `weight_hh`: 1, of the GRU 3, of the LSTM 4.
    pub fn gates(self) -> usize {
        self.form().gates
    }

    /// Vectors of `n_h` values that are carried from step to step: 1, `h`; of the LSTM 2, `h` and `c`.
    pub fn states(self) -> usize {
        self.form().states
    }
}

/// What a layer has to know of a cell, sizes in blocks of `n_h`.
#[derive(Debug)]
pub(crate) struct Form {
    /// Blocks of rows of `weight_ih` and `weight_hh`.
    pub gates: usize,
    /// Blocks of columns of the sums, and of the bias.
    pub columns: usize,
    /// Carried from step to step: 1 for `h`, 2 for `h` and `c`.
    pub states: usize,
    /// A part of the gradient of `h` goes past the products to the step before.
    pub passes_h: bool,
    /// The sums are computed where `h` is to stand, and their gradient where `dh` stands: no buffer of their own.
    pub in_place: bool,
    /// Which sums there are.
    pub sums: &'static [Sum],
}

/// Some columns of the sums: `bias[columns] + x weight_ih[columns]^T + h weight_hh[hh]^T`, either summand where it is there.
#[derive(Debug)]
pub(crate) struct Sum {
    pub columns: Range<usize>,
    /// Whether inputs are summed here: in the first `gates` columns of a cell.
    pub ih: bool,
    /// The rows of `weight_hh`.
    pub hh: Option<Range<usize>>,
}

impl Sum {
    const fn of(columns: Range<usize>, ih: bool, hh: Option<Range<usize>>) -> Self {
        Sum { columns, ih, hh }
    }
}

/// `h` and, for cells with two states, `c`; else `c` is empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct State<V> {
    pub h: V,
    pub c: V,
}

/// Rows of one step on the way forward.
pub struct Forward<'a, T> {
    /// `[rows, columns * n_h]`: sums, to become activations; for a cell in place, to become `h`.
    pub sums: &'a mut [T],
    /// The states before the step, `[rows, n_h]`.
    pub before: State<&'a [T]>,
    /// The states after it. For a cell in place, `h` is empty.
    pub after: State<&'a mut [T]>,
}

/// Rows of one step on the way back.
pub struct Backward<'a, T> {
    /// `[rows, columns * n_h]`: activations, to become the gradients of the sums. Empty for a cell in place.
    pub sums: &'a mut [T],
    pub before: State<&'a [T]>,
    pub after: State<&'a [T]>,
    /// The gradient of `h`, `[rows, n_h]`, but for what is in `carry`. For a cell in place it becomes that of the sums.
    pub dh: &'a mut [T],
    /// What comes from the step after other than through the products; becomes the same for the step before. Where nothing
    /// comes that way, `carry.h` is empty.
    pub carry: State<&'a mut [T]>,
}

/// The four columns of a row of sums, `n_h` elements each.
#[inline(always)]
fn quarters<T>(sums: &mut [T], n_h: usize) -> [&mut [T]; 4] {
    let (first, rest) = sums.split_at_mut(n_h);
    let (second, rest) = rest.split_at_mut(n_h);
    let (third, fourth) = rest.split_at_mut(n_h);
    [first, second, third, fourth]
}

/// From the sums of some rows to their activations and new states.
pub(crate) fn forward<T: Number>(cell: Cell, level: Level, n_h: usize, rows: Forward<'_, T>) {
    match cell {
        Cell::Tanh => tanh_at(level, rows.sums),
        Cell::Relu => dispatch!(level, simd => elman::relu(simd, rows.sums)),
        Cell::Gru => dispatch!(level, simd => gru::forward(simd, n_h, rows)),
        Cell::Lstm => dispatch!(level, simd => lstm::forward(simd, n_h, rows)),
    }
}

/// From the gradients of their new states to those of their sums.
pub(crate) fn backward<T: Number>(cell: Cell, level: Level, n_h: usize, rows: Backward<'_, T>) {
    match cell {
        Cell::Tanh => dispatch!(level, simd => elman::tanh_back(simd, rows)),
        Cell::Relu => dispatch!(level, simd => elman::relu_back(simd, rows)),
        Cell::Gru => dispatch!(level, simd => gru::backward(simd, n_h, rows)),
        Cell::Lstm => dispatch!(level, simd => lstm::backward(simd, n_h, rows)),
    }
}
