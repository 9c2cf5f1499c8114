//! candle: `candle_nn::lstm` or `gru`, `linear`, `cross_entropy`, `SGD`, on its own matrix product.

use crate::{LR, Problem, serve};
use candle_core::{DType, Device, Result, Tensor};
use candle_nn::ops::softmax_last_dim;
use candle_nn::rnn::{GRUConfig, LSTMConfig, LSTMState, gru, lstm};
use candle_nn::{Linear, Module, Optimizer, RNN, SGD, VarBuilder, VarMap, linear, loss};

pub fn run(p: &Problem) -> Result<()> {
    let device = Device::Cpu;
    let mut variables = VarMap::new();
    let builder = VarBuilder::from_varmap(&variables, DType::F32, &device);
    let decoder = linear(p.n_h, p.n_y, builder.pp("decoder"))?;
    if p.cell == "gru" {
        let rnn = gru(p.n_x, p.n_h, GRUConfig::default(), builder.pp("rnn"))?;
        train(p, &mut variables, &decoder, rnn)
    } else {
        let rnn = lstm(p.n_x, p.n_h, LSTMConfig::default(), builder.pp("rnn"))?;
        train(p, &mut variables, &decoder, rnn)
    }
}

/// One sequence, one step at a time, its state carried on; in place of a loss, the probability of class 0 after the first step.
pub fn stream(p: &Problem) -> Result<()> {
    let mut variables = VarMap::new();
    let builder = VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu);
    let decoder = linear(p.n_h, p.n_y, builder.pp("decoder"))?;
    let rnn = lstm(p.n_x, p.n_h, LSTMConfig::default(), builder.pp("rnn"))?;
    set_weights(p, &mut variables)?;
    let x = Tensor::from_slice(&p.inputs, (1, p.n_x), &Device::Cpu)?;
    let mut state = rnn.zero_state(1)?;
    let mut step = || -> Result<f32> {
        // Without what a way back would need, or it grows from step to step.
        let next = rnn.step(&x, &state)?;
        state = LSTMState::new(next.h().detach(), next.c().detach());
        let probabilities = softmax_last_dim(&decoder.forward(state.h())?)?;
        probabilities.get(0)?.get(0)?.to_scalar()
    };
    let first = step()?;
    serve("0.9", first, || {
        step().expect("as before");
    });
    Ok(())
}

fn set_weights(p: &Problem, variables: &mut VarMap) -> Result<()> {
    let (device, gates) = (Device::Cpu, p.bx.len() / p.n_h);
    let mut set = |name: &str, values: &[f32], shape: &[usize]| {
        variables.set_one(name, Tensor::from_slice(values, shape, &device)?)
    };
    set("rnn.weight_ih_l0", &p.wx, &[gates * p.n_h, p.n_x])?;
    set("rnn.weight_hh_l0", &p.wh, &[gates * p.n_h, p.n_h])?;
    set("rnn.bias_ih_l0", &p.bx, &[gates * p.n_h])?;
    set("rnn.bias_hh_l0", &p.bh, &[gates * p.n_h])?;
    set("decoder.weight", &p.wy, &[p.n_y, p.n_h])?;
    set("decoder.bias", &p.by, &[p.n_y])
}

fn train(p: &Problem, variables: &mut VarMap, decoder: &Linear, rnn: impl RNN) -> Result<()> {
    set_weights(p, variables)?;
    let device = Device::Cpu;
    let x = Tensor::from_slice(&p.inputs, (p.n, p.t, p.n_x), &device)?;
    let classes = p
        .classes
        .iter()
        .map(|&class| class as u32)
        .collect::<Vec<_>>();
    let classes = Tensor::from_vec(classes, p.n * p.t, &device)?;
    let mut optimizer = SGD::new(variables.all_vars(), LR)?;
    let loss = || -> Result<Tensor> {
        let h = rnn.states_to_tensor(&rnn.seq(&x)?)?;
        let logits = decoder.forward(&h.reshape((p.n * p.t, p.n_h))?)?;
        loss::cross_entropy(&logits, &classes)
    };
    let first = loss()?.to_scalar::<f32>()?;
    let step = || {
        optimizer
            .backward_step(&loss().expect("as before"))
            .expect("a gradient")
    };
    serve("0.9", first, step);
    Ok(())
}
