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
use crate::heads::Loss;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Range;

/// What a network reads at each step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Input {
    /// So many real numbers.
    Features(usize),
    /// One of so many tokens: a one-hot row without the row.
    Tokens(usize),
    /// One of so many tokens, and for each of them a row of numbers that is trained: `nn.Embedding(tokens, size)`.
    Embedding {
        /// The number of distinct tokens.
        tokens: usize,
        /// Numbers for each of them.
        size: usize,
    },
}

impl Input {
    /// `n_x`: the features, or the number of distinct tokens.
    pub fn size(self) -> usize {
        match self {
            Input::Features(n) | Input::Tokens(n) | Input::Embedding { tokens: n, .. } => n,
        }
    }

    /// Columns of the first layer's input weights: as [`Input::size`], but of an embedding the numbers of a token.
    pub fn width(self) -> usize {
        match self {
            Input::Embedding { size, .. } => size,
            _ => self.size(),
        }
    }

    /// Whether it is ids of tokens, embedded or not.
    pub fn is_tokens(self) -> bool {
        !matches!(self, Input::Features(_))
    }

    /// Whether the first layer reads one-hot rows: its input weights then lie transposed, a row for each token.
    pub(crate) fn is_one_hot(self) -> bool {
        matches!(self, Input::Tokens(_))
    }
}

/// At which steps a network answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum At {
    /// At every step.
    #[default]
    Every,
    /// Once a sequence, from the states after its last step; of two directions, after the last step of each.
    Last,
}

impl At {
    /// How often a sequence of so many steps is answered.
    pub fn answers(self, steps: usize) -> usize {
        match self {
            At::Every => steps,
            At::Last => 1,
        }
    }
}

/// What a network answers, and how that is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// `n_y`, the outputs of an answer.
    pub outputs: usize,
    /// How they are judged.
    #[serde(default)]
    pub loss: Loss,
    /// At which steps.
    #[serde(default)]
    pub at: At,
    /// The embedding's rows are the decoder's weights too (Press and Wolf 2017).
    #[serde(default)]
    pub tied: bool,
}

impl Head {
    /// `n_y` outputs at every step, judged by a loss.
    pub fn new(n_y: usize, loss: Loss) -> Self {
        Head {
            outputs: n_y,
            loss,
            at: At::Every,
            tied: false,
        }
    }

    /// The loss of guessing, each class or label as likely as any other; `None` of numbers.
    pub fn guessing(&self) -> Option<f64> {
        match self.loss {
            Loss::CrossEntropy if self.outputs > 1 => Some((self.outputs as f64).ln()),
            Loss::Binary => Some(std::f64::consts::LN_2),
            _ => None,
        }
    }

    /// Probabilities of `n_y` classes at every step, judged by their cross-entropy.
    pub fn softmax(n_y: usize) -> Self {
        Head::new(n_y, Loss::CrossEntropy)
    }

    /// The same, answered once a sequence.
    pub fn at_last(mut self) -> Self {
        self.at = At::Last;
        self
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
    /// Whether each layer reads its sequences from both ends: forwards, and with other weights backwards.
    #[serde(default)]
    pub bidirectional: bool,
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
            bidirectional: false,
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
            ("embedding", self.input.width(), MOST, "from 1 to 2^24"),
            ("hidden", self.hidden, MOST, "from 1 to 2^24"),
            ("layers", self.layers, MOST_LAYERS, "from 1 to 256"),
            ("n_y", self.head.outputs, MOST, "from 1 to 2^24"),
        ];
        for (name, n, most, expected) in sizes {
            if n == 0 || n > most {
                return Err(Error::option(name, n, expected));
            }
        }
        let (width, n_y) = (self.outputs_of_layer(), self.head.outputs);
        if !self.head.tied {
            return Ok(());
        }
        let Input::Embedding { tokens, size } = self.input else {
            let expected = "possible without an embedding, whose rows are to be the decoder's";
            return Err(Error::option("tie", true, expected));
        };
        if size != width {
            let expected = "the number of a layer's outputs, as it must be where these rows are tied to the decoder";
            return Err(Error::option("embedding", size, expected));
        }
        if tokens != n_y {
            let expected = "as many classes as tokens, for the embedding is tied to the decoder";
            return Err(Error::option("n_y", n_y, expected));
        }
        Ok(())
    }

    /// `D`, the directions in which a layer reads: 1 or 2.
    pub fn directions(&self) -> usize {
        1 + self.bidirectional as usize
    }

    /// Whether sequences have to be read as a whole: from both ends, or to their last step before anything is answered. Their time
    /// cannot be cut into windows with a carried state.
    pub fn needs_whole_sequences(&self) -> bool {
        self.bidirectional || self.head.at == At::Last
    }

    /// `L D`, the recurrences: layer `l` has number `l`, or with both directions `2 l` forwards and `2 l + 1` backwards.
    pub fn recurrences(&self) -> usize {
        self.layers * self.directions()
    }

    /// `D n_h`, what leaves a layer at a step.
    pub fn outputs_of_layer(&self) -> usize {
        self.directions() * self.hidden
    }

    /// The inputs of a step of a recurrence: those of the network, above the first layer `D n_h`.
    pub fn inputs_of(&self, recurrence: usize) -> usize {
        match self.is_first(recurrence) {
            true => self.input.width(),
            false => self.outputs_of_layer(),
        }
    }

    /// Whether a recurrence is of the first layer.
    pub(crate) fn is_first(&self, recurrence: usize) -> bool {
        recurrence < self.directions()
    }

    /// Every tensor in the order of the flat buffer.
    pub fn tensors(&self) -> impl Iterator<Item = Tensor> + use<> {
        let this = *self;
        let encoder = matches!(self.input, Input::Embedding { .. }).then_some(Which::Encoder);
        let decoder = (!self.head.tied).then_some(Which::Decoder);
        let recurrences = 0..this.recurrences();
        let of_recurrence = |i| [Which::WeightIh(i), Which::WeightHh(i)];
        let matrices = encoder
            .into_iter()
            .chain(recurrences.clone().flat_map(of_recurrence));
        let biases = recurrences.map(Which::Bias).chain([Which::DecoderBias]);
        let mut end = 0;
        matrices.chain(decoder).chain(biases).map(move |which| {
            let [rows, columns] = this.shape(which);
            let begin = end;
            end += rows * columns;
            Tensor {
                which,
                rows,
                columns,
                begin,
            }
        })
    }

    /// One of them; of a tied network, the decoder is the encoder.
    ///
    /// # Panics
    /// If the network has none such.
    pub fn tensor(&self, which: Which) -> Tensor {
        let wanted = match which {
            Which::Decoder if self.head.tied => Which::Encoder,
            _ => which,
        };
        let mut tensors = self.tensors();
        let found = tensors.find(|tensor| tensor.which == wanted);
        found.unwrap_or_else(|| panic!("{which:?} of {self}"))
    }

    /// Rows and columns as they are stored. The input weights of tokens lie transposed, a row for each token: reading a token
    /// is reading its row.
    fn shape(&self, which: Which) -> [usize; 2] {
        let n_h = self.hidden;
        let gates = self.cell.gates() * n_h;
        match which {
            Which::Encoder => [self.input.size(), self.input.width()],
            Which::WeightIh(i) if self.has_table(i) => [self.input.size(), gates],
            Which::WeightIh(i) => [gates, self.inputs_of(i)],
            Which::WeightHh(_) => [gates, n_h],
            Which::Decoder => [self.head.outputs, self.outputs_of_layer()],
            Which::Bias(_) => [1, self.cell.form().columns * n_h],
            Which::DecoderBias => [1, self.head.outputs],
        }
    }

    /// Whether the input weights of a recurrence are a table with a row for each token.
    pub(crate) fn has_table(&self, recurrence: usize) -> bool {
        self.input.is_one_hot() && self.is_first(recurrence)
    }

    /// The name of a tensor in a model file, PyTorch's.
    pub fn name(&self, which: Which) -> String {
        let of = |i: usize| match self.directions() {
            1 => format!("l{i}"),
            _ => format!("l{}{}", i / 2, ["", "_reverse"][i % 2]),
        };
        match which {
            Which::Encoder => "encoder.weight".into(),
            Which::WeightIh(i) => format!("rnn.weight_ih_{}", of(i)),
            Which::WeightHh(i) => format!("rnn.weight_hh_{}", of(i)),
            Which::Decoder => "decoder.weight".into(),
            Which::Bias(i) => format!("rnn.bias_ih_{}", of(i)),
            Which::DecoderBias => "decoder.bias".into(),
        }
    }

    /// The number of parameters.
    #[allow(clippy::len_without_is_empty)] // never empty
    pub fn len(&self) -> usize {
        self.tensors().map(|tensor| tensor.len()).sum()
    }

    /// The number of parameters in floating point; infinite for sizes that [`Architecture::check`] refuses.
    pub fn parameters(&self) -> f64 {
        let sizes = |tensor: Tensor| tensor.rows as f64 * tensor.columns as f64;
        let sum = |()| self.tensors().map(sizes).sum();
        self.check().map_or(f64::INFINITY, sum)
    }

    /// `W`, the numbers of a sequence's state: for each recurrence `h`, and what else its cell carries.
    pub fn state(&self) -> usize {
        self.recurrences() * self.recurrence_state()
    }

    /// The numbers of a sequence's state in one recurrence.
    pub(crate) fn recurrence_state(&self) -> usize {
        self.cell.states() * self.hidden
    }

    /// Floating-point operations of one training step on `n` sequences of `t` steps: three products (forward, back to the
    /// states, gradients) of two operations for each weight; for one layer of one gate `6 n t (n_h^2 + n_h n_x + n_h n_y)`.
    /// What is looked up and not multiplied is not counted: the rows that stand for tokens, of the first layer or of an embedding.
    pub fn flops(&self, n: usize, t: usize) -> f64 {
        let decoder = self.head.outputs * self.outputs_of_layer();
        let recurrent = |which| match which {
            Which::WeightIh(i) => !self.has_table(i),
            which => matches!(which, Which::WeightHh(_)),
        };
        let recurrent = self.tensors().filter(|tensor| recurrent(tensor.which));
        let recurrent: usize = recurrent.map(|tensor| tensor.len()).sum();
        let answers = self.head.at.answers(t);
        6.0 * n as f64 * (t as f64 * recurrent as f64 + answers as f64 * decoder as f64)
    }
}

/// As a reader wants it: `2 layers of 256 tanh units, 65 tokens, 65 classes`.
impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (layers, cell) = (self.layers, self.cell.name());
        let plural = if layers == 1 { "" } else { "s" };
        write!(f, "{layers} layer{plural} of {} {cell} units", self.hidden)?;
        if self.bidirectional {
            write!(f, " in each direction")?;
        }
        match self.input {
            Input::Features(n) => write!(f, ", {n} features")?,
            Input::Tokens(n) => write!(f, ", {n} tokens")?,
            Input::Embedding { tokens, size } => write!(f, ", {tokens} tokens embedded in {size}")?,
        }
        write!(f, ", {} {}", self.head.outputs, self.head.loss.answers())?;
        if self.head.at == At::Last {
            write!(f, " at the last step")?;
        }
        if self.head.tied {
            write!(f, ", tied to the embedding")?;
        }
        Ok(())
    }
}

/// Which tensor of a network; recurrences are numbered as [`Architecture::recurrences`] says, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Which {
    /// The embedding, a row for each token, `[tokens, size]`.
    Encoder,
    /// Input weights of a recurrence, `[gates n_h, inputs]` (of one-hot tokens `[tokens, gates n_h]`).
    WeightIh(usize),
    /// Recurrent weights, `[gates n_h, n_h]`.
    WeightHh(usize),
    /// Output weights, `[n_y, D n_h]`.
    Decoder,
    /// The bias of a recurrence.
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
