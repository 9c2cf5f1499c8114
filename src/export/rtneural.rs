//! A network as the JSON that RTNeural reads, a library for audio plug-ins: Keras's layers and its orders of gates, `z, r, h` of a
//! GRU (`reset_after`) and `i, f, c, o` of an LSTM. (`model_loader.h` of RTNeural.)

use super::tensors;
use crate::architecture::Which;
use crate::model::Model;
use crate::model::names::{second_bias, transposed};
use crate::{At, Cell, Error, Input, Loss, Result, Scalar};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The JSON of a model.
pub fn json<T: Scalar>(model: &Model<T>) -> Result<Value> {
    let network = model.network.architecture();
    let refused = |problem: &str| {
        let other = ["C or ONNX", "ONNX"][usize::from(network.bidirectional)];
        let problem = format!("RTNeural {problem}: export it to {other}");
        Err(Error::invalid("model", problem))
    };
    let (kind, order): (_, &[usize]) = match network.cell {
        Cell::Gru => ("gru", &[1, 0, 2]),
        Cell::Lstm => ("lstm", &[0, 1, 2, 3]),
        Cell::Tanh | Cell::Relu => return refused("has no vanilla cell, only GRU and LSTM"),
    };
    let Input::Features(n_x) = network.input else {
        return refused("reads numbers and no tokens");
    };
    if network.bidirectional {
        return refused("computes step by step, and this network reads from both ends");
    }
    if network.head.at == At::Last {
        return refused("answers at every step, and this network once a sequence");
    }
    let n_h = network.hidden;
    let tensors: BTreeMap<_, _> = (tensors(model).0.into_iter())
        .map(|tensor| {
            let values: Vec<f64> = tensor.values.iter().map(|x| x.as_f64()).collect();
            (tensor.name, values)
        })
        .collect();
    let get = |which| &tensors[&network.name(which)];
    // A row of gates for each column.
    let turned = |values: &[f64], columns: usize| -> Vec<Vec<f64>> {
        let rows = || order.iter().flat_map(|&gate| gate * n_h..(gate + 1) * n_h);
        (0..columns)
            .map(|j| rows().map(|row| values[row * columns + j]).collect())
            .collect()
    };
    let mut layers = Vec::new();
    for layer in 0..network.layers {
        let first = get(Which::Bias(layer));
        let second = &tensors[&second_bias(&network.name(Which::Bias(layer)))];
        let [first, second] = [first, second].map(|bias| turned(bias, 1).remove(0));
        let bias = match network.cell {
            Cell::Gru => json!([first, second]),
            _ => first.iter().zip(&second).map(|(a, b)| a + b).collect(),
        };
        layers.push(json!({
            "type": kind,
            "activation": "",
            "shape": [null, null, n_h],
            "weights": [
                turned(get(Which::WeightIh(layer)), network.inputs_of(layer)),
                turned(get(Which::WeightHh(layer)), n_h),
                bias,
            ],
        }));
    }
    let decoder = transposed(get(Which::Decoder), n_h);
    let columns: Vec<_> = decoder.chunks(network.head.outputs).collect();
    layers.push(json!({
        "type": "dense",
        "activation": match network.head.loss {
            Loss::CrossEntropy => "softmax",
            Loss::Binary => "sigmoid",
            Loss::Mse | Loss::Huber => "",
        },
        "shape": [null, null, network.head.outputs],
        "weights": [columns, get(Which::DecoderBias)],
    }));
    Ok(json!({ "in_shape": [null, null, n_x], "layers": layers }))
}
