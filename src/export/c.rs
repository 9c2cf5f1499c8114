//! A network as a C99 header without a runtime: its weights, a state, and a function that takes it a step further.

use super::tensors;
use crate::architecture::Which;
use crate::model::Model;
use crate::model::names::second_bias;
use crate::{At, Cell, Error, Input, Loss, Result, Scalar};
use std::path::Path;

/// The text of the header; functions are called after its file.
pub fn header<T: Scalar>(model: &Model<T>, path: &Path) -> Result<String> {
    let network = model.network.architecture();
    if network.bidirectional {
        let problem = "it reads sequences from both ends, and a step function has no end to begin from: export it to ONNX";
        return Err(Error::invalid("model", problem));
    }
    let name = identifier(path);
    let upper = name.to_uppercase();
    let (tensors, _) = tensors(model);
    let of = |tensor: &str| format!("{name}_{}", tensor.replace('.', "_"));
    let array = |which: Which| of(&network.name(which));
    let mut text = format!(
        "/* {network}. Written by bptt {version}.\n\
         \n   {name}_state state;\n   {name}_reset(&state);                  before each sequence\n   \
         {name}_step(&state, input, output);     for each of its steps{last}\n\n   {input}\n   output: {outputs} */\n\
         #ifndef {upper}_H\n#define {upper}_H\n\n#include <math.h>\n#include <string.h>\n\n\
         #define {upper}_INPUTS {n_x}\n#define {upper}_OUTPUTS {n_y}\n#define {upper}_HIDDEN {n_h}\n#define {upper}_LAYERS {layers}\n\n",
        version = env!("CARGO_PKG_VERSION"),
        last = match network.head.at {
            At::Every => "",
            At::Last => "; the last one's output is the answer",
        },
        input = match network.input {
            Input::Features(n) => format!("input: {n} numbers"),
            _ => format!("input: an id from 0 to {}", network.input.size() - 1),
        },
        outputs = match network.head.loss {
            Loss::CrossEntropy => "the probabilities of the classes",
            Loss::Binary => "the probability of each label",
            Loss::Mse | Loss::Huber => "numbers",
        },
        n_x = network.input.size(),
        n_y = network.head.outputs,
        n_h = network.hidden,
        layers = network.layers,
    );
    for tensor in &tensors {
        if network.head.tied && tensor.name == network.name(Which::Decoder) {
            continue;
        }
        let values = tensor.values.iter().map(|x| x.as_f64() as f32);
        let values: Vec<_> = values.map(|x| format!("{x:?}f")).collect();
        let lines: Vec<_> = values.chunks(8).map(|line| line.join(", ")).collect();
        let array = of(&tensor.name);
        let (n, lines) = (values.len(), lines.join(",\n"));
        text += &format!("static const float {array}[{n}] = {{\n{lines}\n}};\n\n");
    }
    let (lstm, gates) = (network.cell == Cell::Lstm, network.cell.gates());
    let cells = lstm.then(|| format!("    float c[{upper}_LAYERS][{upper}_HIDDEN];\n"));
    let cells = cells.unwrap_or_default();
    text += &format!(
        "typedef struct {{\n    float h[{upper}_LAYERS][{upper}_HIDDEN];\n{cells}}} {name}_state;\n\n\
         static inline void {name}_reset({name}_state *state) {{\n    memset(state, 0, sizeof *state);\n}}\n\n"
    );
    if network.cell.gates() > 1 || network.head.loss == Loss::Binary {
        text += &format!(
            "static inline float {name}_sigmoid(float x) {{\n    return 1.0f / (1.0f + expf(-x));\n}}\n\n"
        );
    }
    // x: sums from the inputs, s: from the state, a row a gate in PyTorch's order.
    let update = match network.cell {
        Cell::Tanh => "h[j] = tanhf(x[j] + s[j]);".to_string(),
        Cell::Relu => "h[j] = x[j] + s[j] > 0.0f ? x[j] + s[j] : 0.0f;".into(),
        Cell::Gru => format!(
            "const float r = {name}_sigmoid(x[j] + s[j]), z = {name}_sigmoid(x[n + j] + s[n + j]);\n        \
             h[j] = (1.0f - z) * tanhf(x[2 * n + j] + r * s[2 * n + j]) + z * h[j];"
        ),
        Cell::Lstm => format!(
            "const float i = {name}_sigmoid(x[j] + s[j]), f = {name}_sigmoid(x[n + j] + s[n + j]);\n        \
             const float g = tanhf(x[2 * n + j] + s[2 * n + j]), o = {name}_sigmoid(x[3 * n + j] + s[3 * n + j]);\n        \
             c[j] = f * c[j] + i * g;\n        h[j] = o * tanhf(c[j]);"
        ),
    };
    let c = if lstm { ", float *c" } else { "" };
    text += &format!(
        "static inline void {name}_layer(const float *ih, const float *hh, const float *b_ih, const float *b_hh, int n_in,\n\
         \x20                               const float *input, float *h{c}) {{\n    \
         enum {{ n = {upper}_HIDDEN, rows = {gates} * {upper}_HIDDEN }};\n    float x[rows], s[rows];\n    int j, k;\n    \
         for (j = 0; j < rows; j++) {{\n        x[j] = b_ih[j];\n        s[j] = b_hh[j];\n        \
         for (k = 0; k < n_in; k++)\n            x[j] += ih[j * n_in + k] * input[k];\n        \
         for (k = 0; k < n; k++)\n            s[j] += hh[j * n + k] * h[k];\n    }}\n    \
         for (j = 0; j < n; j++) {{\n        {update}\n    }}\n}}\n\n"
    );
    let argument = match network.input {
        Input::Features(_) => "const float *input",
        Input::Tokens(_) | Input::Embedding { .. } => "int token",
    };
    text += &format!(
        "static inline void {name}_step({name}_state *state, {argument}, float *output) {{\n    int j, k;\n"
    );
    text += &match network.input {
        Input::Features(_) => "    const float *x = input;\n".to_string(),
        Input::Embedding { size, .. } => {
            let table = array(Which::Encoder);
            format!("    const float *x = {table} + (size_t)token * {size};\n")
        }
        Input::Tokens(_) => format!(
            "    float one_hot[{upper}_INPUTS] = {{0}};\n    const float *x = one_hot;\n    one_hot[token] = 1.0f;\n"
        ),
    };
    for layer in 0..network.layers {
        let n_in = network.inputs_of(layer);
        let c = lstm.then(|| format!(", state->c[{layer}]"));
        let c = c.unwrap_or_default();
        text += &format!(
            "    {name}_layer({}, {}, {}, {}, {n_in}, x, state->h[{layer}]{c});\n    x = state->h[{layer}];\n",
            array(Which::WeightIh(layer)),
            array(Which::WeightHh(layer)),
            array(Which::Bias(layer)),
            of(&second_bias(&network.name(Which::Bias(layer)))),
        );
    }
    let decoder = array(network.tensor(Which::Decoder).which);
    let bias = array(Which::DecoderBias);
    text += &format!(
        "    for (j = 0; j < {upper}_OUTPUTS; j++) {{\n        output[j] = {bias}[j];\n        \
         for (k = 0; k < {upper}_HIDDEN; k++)\n            output[j] += {decoder}[j * {upper}_HIDDEN + k] * x[k];\n    }}\n"
    );
    text += &match network.head.loss {
        Loss::CrossEntropy => format!(
            "    {{\n        float most = output[0], sum = 0.0f;\n        \
             for (j = 1; j < {upper}_OUTPUTS; j++)\n            most = output[j] > most ? output[j] : most;\n        \
             for (j = 0; j < {upper}_OUTPUTS; j++)\n            sum += output[j] = expf(output[j] - most);\n        \
             for (j = 0; j < {upper}_OUTPUTS; j++)\n            output[j] /= sum;\n    }}\n"
        ),
        Loss::Binary => format!(
            "    for (j = 0; j < {upper}_OUTPUTS; j++)\n        output[j] = {name}_sigmoid(output[j]);\n"
        ),
        Loss::Mse | Loss::Huber => String::new(),
    };
    Ok(text + "}\n\n#endif\n")
}

/// The name of a file as C allows one.
fn identifier(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = stem.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    let name = name.to_ascii_lowercase();
    match name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        true => name,
        false => format!("model_{name}"),
    }
}
