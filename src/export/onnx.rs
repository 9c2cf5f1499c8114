//! A network as an ONNX graph: one node a layer, which has both directions in it. (The operators `RNN`, `GRU` and `LSTM` of the
//! ONNX specification, opset 17; the messages of `onnx.proto`, IR version 8.)
//!
//! ```text
//! inputs [N, T, n_x]      ids [N, T] -> Gather, or OneHot
//! x      [T, N, n]        Transpose
//! Y      [T, D, N, n_h]   RNN | GRU | LSTM; the next x: Transpose, Reshape [T, N, D n_h]
//! logits [N, T, n_y]      MatMul, Add, Transpose; of a network that answers once, of the last states
//! ```
//!
//! ONNX has other orders of gates than PyTorch: z, r, h with `linear_before_reset` for a GRU; i, o, f, c for an LSTM.

use super::tensors;
use super::wire::{bytes, number};
use crate::architecture::Which;
use crate::model::Model;
use crate::model::names::{second_bias, transposed};
use crate::{Architecture, At, Cell, Input, Loss, Scalar};
use std::collections::BTreeMap;

const IR_VERSION: u64 = 8;
const OPSET: u64 = 17;

/// Types of elements.
const FLOAT: u64 = 1;
const INT32: u64 = 6;
const INT64: u64 = 7;

/// Types of attributes, each with the field that holds such a value.
const INT: (u64, u64) = (2, 3);
const STRING: (u64, u64) = (3, 4);
const INTS: (u64, u64) = (7, 8);
const STRINGS: (u64, u64) = (8, 9);

/// The file of a model.
pub fn graph<T: Scalar>(model: &Model<T>, lengths: bool) -> Vec<u8> {
    let (tensors, meta) = tensors(model);
    let weights = tensors.into_iter().map(|tensor| {
        let values = tensor.values.iter().map(|x| x.as_f64() as f32).collect();
        (tensor.name, (tensor.shape, values))
    });
    let mut graph = Graph {
        network: model.network.architecture(),
        weights: weights.collect(),
        message: Vec::new(),
    };
    graph.build(lengths);
    let mut metadata = vec![("architecture", meta["architecture"].to_string())];
    if let Some(vocabulary) = &model.about.vocabulary {
        metadata.push(("vocabulary", vocabulary.to_json()));
    }
    let metadata = metadata.into_iter().map(|(key, value)| {
        let entry = [bytes(1, key.as_bytes()), bytes(2, value.as_bytes())].concat();
        bytes(14, &entry)
    });
    let opset = [bytes(1, b""), number(2, OPSET)].concat();
    let mut file = [
        number(1, IR_VERSION),
        bytes(2, b"bptt"),
        bytes(3, env!("CARGO_PKG_VERSION").as_bytes()),
        bytes(7, &[bytes(2, b"bptt"), graph.message].concat()),
        bytes(8, &opset),
    ]
    .concat();
    metadata.for_each(|entry| file.extend(entry));
    file
}

/// A graph that is being written.
struct Graph {
    network: Architecture,
    /// PyTorch's tensors.
    weights: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    message: Vec<u8>,
}

impl Graph {
    fn build(&mut self, lengths: bool) {
        let network = self.network;
        let (n_h, directions) = (network.hidden, network.directions());
        let states = ["h", "c"].into_iter().take(network.cell.states());
        let all_states = (directions * network.layers).to_string();
        let width = n_h.to_string();

        // STEP 1: what comes in.
        let features = network.input.size().to_string();
        match network.input {
            Input::Features(_) => self.value(11, "inputs", FLOAT, &["N", "T", &features]),
            _ => self.value(11, "inputs", INT64, &["N", "T"]),
        }
        if lengths {
            self.value(11, "lengths", INT32, &["N"]);
        }
        for state in states.clone() {
            let name = format!("{state}0");
            self.value(11, &name, FLOAT, &[&all_states, "N", &width]);
        }
        let x = match network.input {
            Input::Features(_) => "inputs",
            Input::Embedding { .. } => {
                let (shape, table) = self.weight(Which::Encoder);
                self.floats("embedding", &shape, &table);
                self.node("Gather", &["embedding", "inputs"], &["embedded"], &[]);
                "embedded"
            }
            Input::Tokens(n_x) => {
                self.integers("depth", &[], &[n_x as i64]);
                self.floats("off_on", &[2], &[0.0, 1.0]);
                self.node("OneHot", &["inputs", "depth", "off_on"], &["one_hot"], &[]);
                "one_hot"
            }
        };
        let mut x = self.transposed(x, "x0", &[1, 0, 2]);

        // STEP 2: layer by layer.
        self.integers("joined", &[3], &[0, 0, -1]);
        if network.layers > 1 {
            let parts = vec![directions as i64; network.layers];
            self.integers("states_of_layers", &[network.layers], &parts);
            for state in states.clone() {
                let of_layer = (0..network.layers).map(|l| format!("{state}0_{l}"));
                let of_layer: Vec<_> = of_layer.collect();
                let inputs = [&format!("{state}0")[..], "states_of_layers"];
                self.node("Split", &inputs, &of_layer, &[ints("axis", INT, &[0])]);
            }
        }
        for layer in 0..network.layers {
            let first = |state| match network.layers {
                1 => format!("{state}0"),
                _ => format!("{state}0_{layer}"),
            };
            self.layer(layer, &x, lengths, states.clone().map(first).collect());
            let y = self.transposed(&format!("y{layer}"), &format!("t{layer}"), &[0, 2, 1, 3]);
            x = format!("x{}", layer + 1);
            self.node("Reshape", &[&y, "joined"], &[&x], &[]);
        }
        for state in states.clone() {
            let last = (0..network.layers).map(|l| format!("{state}n_{l}"));
            let last: Vec<_> = last.collect();
            let axis = ints("axis", INT, &[0]);
            self.node("Concat", &last, &[&format!("{state}n")], &[axis]);
        }

        // STEP 3: the head.
        if network.head.at == At::Last {
            let last = format!("hn_{}", network.layers - 1);
            let last = self.transposed(&last, "last", &[1, 0, 2]);
            self.integers("rows", &[2], &[0, -1]);
            self.node("Reshape", &[&last, "rows"], &["answered"], &[]);
            x = "answered".into();
        }
        let (shape, decoder) = self.weight(Which::Decoder);
        let (rows, columns) = (shape[0], shape[1]);
        self.floats("decoder", &[columns, rows], &transposed(&decoder, columns));
        let (shape, bias) = self.weight(Which::DecoderBias);
        self.floats("decoder_bias", &shape, &bias);
        self.node("MatMul", &[&x, "decoder"], &["products"], &[]);
        let (output, response) = match network.head.loss {
            Loss::CrossEntropy => ("logits", Some("Softmax")),
            Loss::Binary => ("logits", Some("Sigmoid")),
            Loss::Mse | Loss::Huber => ("values", None),
        };
        let sums = ["products", "decoder_bias"];
        let outputs = network.head.outputs.to_string();
        let form: &[&str] = match network.head.at {
            At::Every => {
                self.node("Add", &sums, &["sums"], &[]);
                self.transposed("sums", output, &[1, 0, 2]);
                &["N", "T", &outputs]
            }
            At::Last => {
                self.node("Add", &sums, &[output], &[]);
                &["N", &outputs]
            }
        };
        if let Some(operator) = response {
            let axis = (operator == "Softmax").then(|| ints("axis", INT, &[-1]));
            self.node(operator, &[output], &["probabilities"], axis.as_slice());
            self.value(12, "probabilities", FLOAT, form);
        }
        self.value(12, output, FLOAT, form);
        for state in states {
            self.value(12, &format!("{state}n"), FLOAT, &[&all_states, "N", &width]);
        }
    }

    /// The node of a layer and its weights.
    fn layer(&mut self, layer: usize, x: &str, lengths: bool, states: Vec<String>) {
        let network = self.network;
        let (n_h, directions) = (network.hidden, network.directions());
        let (operator, order): (_, &[usize]) = match network.cell {
            Cell::Tanh | Cell::Relu => ("RNN", &[0]),
            Cell::Gru => ("GRU", &[1, 0, 2]),
            Cell::Lstm => ("LSTM", &[0, 3, 1, 2]),
        };
        let gates = order.len() * n_h;
        let recurrences = layer * directions..(layer + 1) * directions;
        let [mut w, mut r, mut b] = [const { Vec::new() }; 3];
        let n_in = network.inputs_of(recurrences.start);
        for i in recurrences {
            let (_, ih) = self.weight(Which::WeightIh(i));
            w.extend(reordered(&ih, order, n_h * n_in));
            let (_, hh) = self.weight(Which::WeightHh(i));
            r.extend(reordered(&hh, order, n_h * n_h));
            let first = network.name(Which::Bias(i));
            let second = second_bias(&first);
            for name in [first, second] {
                b.extend(reordered(&self.weights[&name].1, order, n_h));
            }
        }
        let [w_name, r_name, b_name] = ["w", "r", "b"].map(|name| format!("{name}{layer}"));
        self.floats(&w_name, &[directions, gates, n_in], &w);
        self.floats(&r_name, &[directions, gates, n_h], &r);
        self.floats(&b_name, &[directions, 2 * gates], &b);
        let direction = ["forward", "bidirectional"][directions - 1];
        let mut attributes = vec![
            ints("hidden_size", INT, &[n_h as i64]),
            texts("direction", STRING, &[direction]),
        ];
        match network.cell {
            Cell::Relu => {
                let names = &["Relu"; 2][..directions];
                attributes.push(texts("activations", STRINGS, names));
            }
            Cell::Gru => attributes.push(ints("linear_before_reset", INT, &[1])),
            Cell::Tanh | Cell::Lstm => {}
        }
        let ends = if lengths { "lengths" } else { "" };
        let mut inputs = vec![x, &w_name, &r_name, &b_name, ends];
        inputs.extend(states.iter().map(String::as_str));
        let outputs = ["y", "hn_", "cn_"].map(|name| format!("{name}{layer}"));
        self.node(operator, &inputs, &outputs[..1 + states.len()], &attributes);
    }

    fn weight(&self, which: Which) -> (Vec<usize>, Vec<f32>) {
        self.weights[&self.network.name(which)].clone()
    }

    /// A node; an input without a name is left out.
    fn node<I: AsRef<str>, O: AsRef<str>>(
        &mut self,
        operator: &str,
        inputs: &[I],
        outputs: &[O],
        attributes: &[Vec<u8>],
    ) {
        let mut node = Vec::new();
        for name in inputs {
            node.extend(bytes(1, name.as_ref().as_bytes()));
        }
        for name in outputs {
            node.extend(bytes(2, name.as_ref().as_bytes()));
        }
        node.extend(bytes(3, outputs[0].as_ref().as_bytes()));
        node.extend(bytes(4, operator.as_bytes()));
        node.extend(attributes.iter().flat_map(|attribute| bytes(5, attribute)));
        self.message.extend(bytes(1, &node));
    }

    fn transposed(&mut self, from: &str, to: &str, axes: &[i64]) -> String {
        self.node("Transpose", &[from], &[to], &[ints("perm", INTS, axes)]);
        to.into()
    }

    fn floats(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        self.tensor(name, shape, FLOAT, bytemuck::cast_slice(values));
    }

    fn integers(&mut self, name: &str, shape: &[usize], values: &[i64]) {
        self.tensor(name, shape, INT64, bytemuck::cast_slice(values));
    }

    fn tensor(&mut self, name: &str, shape: &[usize], kind: u64, raw: &[u8]) {
        let mut tensor: Vec<u8> = shape.iter().flat_map(|&n| number(1, n as u64)).collect();
        tensor.extend([number(2, kind), bytes(8, name.as_bytes()), bytes(9, raw)].concat());
        self.message.extend(bytes(5, &tensor));
    }

    /// An input (field 11) or an output (field 12) of the graph; an axis without a number is any size of this name.
    fn value(&mut self, field: u64, name: &str, kind: u64, shape: &[&str]) {
        let axes = shape.iter().map(|axis| match axis.parse() {
            Ok(size) => bytes(1, &number(1, size)),
            Err(_) => bytes(1, &bytes(2, axis.as_bytes())),
        });
        let axes: Vec<u8> = axes.flatten().collect();
        let tensor = [number(1, kind), bytes(2, &axes)].concat();
        let value = [bytes(1, name.as_bytes()), bytes(2, &bytes(1, &tensor))].concat();
        self.message.extend(bytes(field, &value));
    }
}

/// The blocks of so many numbers in another order.
fn reordered(values: &[f32], order: &[usize], block: usize) -> Vec<f32> {
    let blocks = order.iter().map(|&i| &values[i * block..(i + 1) * block]);
    blocks.flatten().copied().collect()
}

/// An attribute of whole numbers.
fn ints(name: &str, (kind, field): (u64, u64), values: &[i64]) -> Vec<u8> {
    let values = values.iter().flat_map(|&value| number(field, value as u64));
    attribute(name, kind, values.collect())
}

/// An attribute of texts.
fn texts(name: &str, (kind, field): (u64, u64), values: &[&str]) -> Vec<u8> {
    let values = values.iter().flat_map(|text| bytes(field, text.as_bytes()));
    attribute(name, kind, values.collect())
}

fn attribute(name: &str, kind: u64, values: Vec<u8>) -> Vec<u8> {
    [bytes(1, name.as_bytes()), values, number(20, kind)].concat()
}
