//! rust-lstm: `LSTMNetwork`, `LinearLayer`, `CrossEntropyLoss`, `SGD`. In double precision, for it has no other; arrays are
//! `[features, sequences]`, one for each time step. (Its GRU resets states before their product: another network than the others'.)

use crate::{LR, Problem, serve};
use ndarray::{Array2, Axis, concatenate, s};
use rust_lstm::{CrossEntropyLoss, LSTMCell, LSTMNetwork, LinearLayer, LossFunction, SGD};

pub fn run(p: &Problem) {
    let matrix = |values: &[f32], columns: usize| {
        let shape = (values.len() / columns, columns);
        let values = values.iter().map(|&value| f64::from(value)).collect();
        Array2::from_shape_vec(shape, values).expect("a whole matrix")
    };
    let mut cell = LSTMCell::new(p.n_x, p.n_h);
    cell.w_ih = matrix(&p.wx, p.n_x);
    cell.w_hh = matrix(&p.wh, p.n_h);
    cell.b_ih = matrix(&p.bx, 1);
    cell.b_hh = matrix(&p.bh, 1);
    let mut network = LSTMNetwork::from_cells(vec![cell], p.n_x, p.n_h, 1);
    let mut decoder = LinearLayer::from_weights(matrix(&p.wy, p.n_h), matrix(&p.by, 1));
    let inputs = matrix(&p.inputs, p.t * p.n_x);
    let steps = (0..p.t).map(|t| {
        inputs
            .slice(s![.., t * p.n_x..(t + 1) * p.n_x])
            .t()
            .to_owned()
    });
    let steps: Vec<_> = steps.collect();
    // A column for each sequence of the first time step, then of the second, ...
    let mut targets = Array2::zeros((p.n_y, p.t * p.n));
    for (i, &class) in p.classes.iter().enumerate() {
        targets[[class as usize, i % p.t * p.n + i / p.t]] = 1.0;
    }
    let mut optimizer = SGD::new(LR);
    let forward = |network: &mut LSTMNetwork, decoder: &mut LinearLayer| {
        let (states, caches) = network.forward_sequence_with_cache(&steps);
        let states: Vec<_> = states.iter().map(|(h, _)| h.view()).collect();
        let states = concatenate(Axis(1), &states).expect("steps alike");
        (decoder.forward(&states), caches)
    };
    let (logits, _) = forward(&mut network, &mut decoder);
    let loss = CrossEntropyLoss.compute_loss(&logits, &targets);
    serve("0.10 (f64)", loss as f32, || {
        let (logits, caches) = forward(&mut network, &mut decoder);
        let d_logits = CrossEntropyLoss.compute_gradient(&logits, &targets);
        let (of_decoder, d_states) = decoder.backward(&d_logits);
        let d_states = d_states.axis_chunks_iter(Axis(1), p.n);
        let d_states: Vec<_> = d_states.map(|d| d.to_owned()).collect();
        let (of_cells, _) = network.backward_sequence(&d_states, &caches);
        network.update_parameters(&of_cells, &mut optimizer);
        decoder.update_parameters(&of_decoder, &mut optimizer, "decoder");
    });
}
