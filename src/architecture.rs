//! What a network is: [`Architecture`]; and the one table of its tensors, [`Architecture::tensors`].
//!
//! A network is a uniform stack: an input, layers of one cell and one width, a head. That is what PyTorch's
//! `nn.RNN(n_x, n_h, num_layers)` and an `nn.Linear` can load as they are.
//!
//! The table says of each tensor its name, its shape and its place in the flat buffer of [`crate::Parameters`]: all
//! matrices, then all biases.
//!
//! ```text
//! [ weight_ih_l0 weight_hh_l0 | weight_ih_l1 weight_hh_l1 | ... | decoder.weight | bias_l0 | bias_l1 | ... | decoder.bias ]
//! ```
//!
//! Number of parameters, files, initialisation, reports, memory and operations all come from it. Knows nothing of what is
//! computed.

use crate::cells::Cell;
use crate::{Error, Result};
use std::fmt;
use std::ops::Range;

/// What a network reads at each step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Input {
    /// So many real numbers.
    Features(usize),
    /// One of so many tokens: a one-hot row without the row.
    Tokens(usize),
}

impl Input {
    /// `n_x`: the features, or the number of distinct tokens.
    pub fn size(self) -> usize {
        match self {
            Input::Features(n) | Input::Tokens(n) => n,
        }
    }

    /// Whether it is ids.
    pub fn is_tokens(self) -> bool {
        matches!(self, Input::Tokens(_))
    }
}

/// What a network answers, and how that is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Head {
    /// `n_y`, the outputs of a step.
    pub outputs: usize,
}

impl Head {
    /// Probabilities of `n_y` classes at every step, judged by their cross-entropy.
    pub fn softmax(n_y: usize) -> Self {
        Head { outputs: n_y }
    }
}

/// What a network is. It is stored in the model file, and compared whole when a run goes on.
///
/// ```
/// use bptt::{Architecture, Cell, Head, Input};
///
/// let small = Architecture::new(Input::Tokens(65), 256, Head::softmax(65)); // one layer of tanh
/// let deep = Architecture { cell: Cell::Relu, layers: 2, ..small };
/// assert_eq!(small.len(), 65 * 256 + 256 * 256 + 65 * 256 + 256 + 65);
/// assert_eq!(deep.len(), small.len() + 2 * 256 * 256 + 256);
/// assert_eq!(deep.state(), 2 * 256); // numbers carried from step to step
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// What is read.
    pub input: Input,
    /// What its layers are made of.
    pub cell: Cell,
    /// `n_h`, the hidden units of each layer.
    pub hidden: usize,
    /// `L`, one layer on the other.
    pub layers: usize,
    /// What is answered.
    pub head: Head,
}

/// The most units, tokens, features or outputs.
const MOST: usize = 1 << 24;

/// The most layers: each is a part of every step.
const MOST_LAYERS: usize = 256;

impl Architecture {
    /// One layer of the tanh cell; [`Architecture`] shows how to say otherwise.
    pub fn new(input: Input, hidden: usize, head: Head) -> Self {
        Architecture {
            input,
            cell: Cell::Tanh,
            hidden,
            layers: 1,
            head,
        }
    }

    /// Whether all sizes are positive, and the parameters can be addressed.
    ///
    /// # Errors
    /// [`Error::Option`] naming the size that is zero or too large.
    pub fn check(&self) -> Result<()> {
        let sizes = [
            ("n_x", self.input.size(), MOST, "from 1 to 2^24"),
            ("hidden", self.hidden, MOST, "from 1 to 2^24"),
            ("layers", self.layers, MOST_LAYERS, "from 1 to 256"),
            ("n_y", self.head.outputs, MOST, "from 1 to 2^24"),
        ];
        for (name, n, most, expected) in sizes {
            if n == 0 || n > most {
                return Err(Error::Option {
                    name,
                    value: n.to_string(),
                    expected,
                });
            }
        }
        Ok(())
    }

    /// The inputs of a step of layer `layer`: `n_x`, above the first layer `n_h`.
    pub fn inputs_of(&self, layer: usize) -> usize {
        match layer {
            0 => self.input.size(),
            _ => self.hidden,
        }
    }

    /// Every tensor in the order of the flat buffer.
    pub fn tensors(&self) -> impl Iterator<Item = Tensor> + use<> {
        let this = *self;
        let matrices = (0..this.layers)
            .flat_map(|layer| [Which::WeightIh(layer), Which::WeightHh(layer)])
            .chain([Which::Decoder]);
        let biases = (0..this.layers)
            .map(Which::Bias)
            .chain([Which::DecoderBias]);
        let mut begin = 0;
        matrices.chain(biases).map(move |which| {
            let [rows, columns] = this.shape(which);
            let tensor = Tensor {
                which,
                rows,
                columns,
                begin,
            };
            begin += rows * columns;
            tensor
        })
    }

    /// One of them.
    ///
    /// # Panics
    /// If there are not so many layers.
    pub fn tensor(&self, which: Which) -> Tensor {
        let mut tensors = self.tensors();
        let found = tensors.find(|tensor| tensor.which == which);
        found.unwrap_or_else(|| panic!("{which} of a network of {} layers", self.layers))
    }

    /// Rows and columns as they are stored. The input weights of tokens lie transposed, a row for each token: reading a token
    /// is reading its row.
    fn shape(&self, which: Which) -> [usize; 2] {
        let n_h = self.hidden;
        let gates = self.cell.gates() * n_h;
        match which {
            Which::WeightIh(0) if self.input.is_tokens() => [self.input.size(), gates],
            Which::WeightIh(layer) => [gates, self.inputs_of(layer)],
            Which::WeightHh(_) => [gates, n_h],
            Which::Decoder => [self.head.outputs, n_h],
            Which::Bias(_) => [1, self.cell.form().columns * n_h],
            Which::DecoderBias => [1, self.head.outputs],
        }
    }

    /// The number of parameters.
    pub fn len(&self) -> usize {
        self.tensors().map(|tensor| tensor.len()).sum()
    }

    /// Never true for what [`Architecture::check`] lets pass.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of parameters in floating point; infinite for sizes that [`Architecture::check`] refuses.
    pub fn parameters(&self) -> f64 {
        let sizes = |tensor: Tensor| tensor.rows as f64 * tensor.columns as f64;
        if self.check().is_err() {
            f64::INFINITY
        } else {
            self.tensors().map(sizes).sum()
        }
    }

    /// `W`, the numbers of a sequence's state: for each layer `h`, and what else its cell carries.
    pub fn state(&self) -> usize {
        self.layers * self.layer_state()
    }

    /// The numbers of a sequence's state in one layer.
    pub(crate) fn layer_state(&self) -> usize {
        self.cell.states() * self.hidden
    }

    /// Floating-point operations of one training step on `n` sequences of `t` steps: three products (forward, back to the
    /// states, gradients) of two operations for each weight; for one layer of one gate `6 n t (n_h^2 + n_h n_x + n_h n_y)`.
    /// Tokens are counted as the one-hot rows that they stand for.
    pub fn flops(&self, n: usize, t: usize) -> f64 {
        let matrices = self.tensors().filter(|tensor| !tensor.which.is_bias());
        let weights: usize = matrices.map(|tensor| tensor.len()).sum();
        6.0 * n as f64 * t as f64 * weights as f64
    }
}

/// As a reader wants it: `2 layers of 256 tanh units, 65 tokens, 65 classes`.
impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.layers {
            1 => write!(f, "1 layer")?,
            n => write!(f, "{n} layers")?,
        }
        write!(f, " of {} {} units, ", self.hidden, self.cell.name())?;
        match self.input {
            Input::Features(n) => write!(f, "{n} features")?,
            Input::Tokens(n) => write!(f, "{n} tokens")?,
        }
        write!(f, ", {} classes", self.head.outputs)
    }
}

/// Which tensor of a network; layers are counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Which {
    /// Input weights of a layer, `[gates n_h, inputs]` (of tokens `[tokens, gates n_h]`).
    WeightIh(usize),
    /// Recurrent weights of a layer, `[gates n_h, n_h]`.
    WeightHh(usize),
    /// Output weights, `[n_y, n_h]`.
    Decoder,
    /// The bias of a layer.
    Bias(usize),
    /// The bias of the outputs.
    DecoderBias,
}

impl Which {
    /// Whether it is a vector.
    pub fn is_bias(self) -> bool {
        matches!(self, Which::Bias(_) | Which::DecoderBias)
    }
}

/// The name in a model file, PyTorch's.
impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Which::WeightIh(layer) => write!(f, "rnn.weight_ih_l{layer}"),
            Which::WeightHh(layer) => write!(f, "rnn.weight_hh_l{layer}"),
            Which::Decoder => write!(f, "decoder.weight"),
            Which::Bias(layer) => write!(f, "rnn.bias_ih_l{layer}"),
            Which::DecoderBias => write!(f, "decoder.bias"),
        }
    }
}

/// A row of the table: a matrix, or a bias as a matrix of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Which it is.
    pub which: Which,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// Where it begins in the flat buffer.
    pub begin: usize,
}

impl Tensor {
    /// Its elements.
    #[allow(clippy::len_without_is_empty)] // never empty
    pub fn len(&self) -> usize {
        self.rows * self.columns
    }

    /// Its place in the flat buffer.
    pub fn range(&self) -> Range<usize> {
        self.begin..self.begin + self.len()
    }

    /// `[rows, columns]`, of a bias `[columns]`.
    pub fn shape(&self) -> Vec<usize> {
        match self.which.is_bias() {
            true => vec![self.columns],
            false => vec![self.rows, self.columns],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_fills_the_buffer_in_order() {
        for input in [Input::Features(2), Input::Tokens(5)] {
            for layers in 1..4 {
                let architecture = Architecture {
                    layers,
                    ..Architecture::new(input, 3, Head::softmax(4))
                };
                let mut end = 0;
                for tensor in architecture.tensors() {
                    assert_eq!(tensor.begin, end, "{}", tensor.which);
                    assert_eq!(tensor.shape().iter().product::<usize>(), tensor.len());
                    assert_eq!(architecture.tensor(tensor.which), tensor);
                    end = tensor.range().end;
                }
                assert_eq!(architecture.len(), end);
                assert_eq!(architecture.parameters(), end as f64);
            }
        }
    }

    #[test]
    fn operations_by_hand() {
        let one = Architecture::new(Input::Features(3), 4, Head::softmax(1));
        assert_eq!(one.flops(2, 5), 6.0 * 10.0 * (4 * (4 + 3 + 1)) as f64);
        let two = Architecture { layers: 2, ..one };
        assert_eq!(two.flops(2, 5) - one.flops(2, 5), 60.0 * 32.0);
    }

    #[test]
    fn sizes_must_be_positive() {
        let good = Architecture::new(Input::Tokens(3), 4, Head::softmax(2));
        good.check().unwrap();
        for (bad, word) in [
            (Architecture { hidden: 0, ..good }, "hidden: 0"),
            (
                Architecture {
                    layers: 257,
                    ..good
                },
                "layers: 257",
            ),
            (
                Architecture {
                    input: Input::Features(0),
                    ..good
                },
                "n_x: 0",
            ),
            (
                Architecture {
                    head: Head::softmax(MOST + 1),
                    ..good
                },
                "n_y: 16777217",
            ),
        ] {
            let error = bad.check().unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
