//! burn: `Lstm` or `Gru`, `Linear`, `CrossEntropyLoss`, `Sgd`, on its backend of ndarray.

use crate::{LR, Problem, serve};
use burn::backend::{Autodiff, NdArray, ndarray::NdArrayDevice};
use burn::module::{Module, Param};
use burn::nn::gru::{Gru, GruConfig};
use burn::nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig};
use burn::nn::{GateController, Linear, LinearConfig, Lstm, LstmConfig};
use burn::optim::{GradientsParams, Optimizer, SgdConfig};
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};

type B = Autodiff<NdArray<f32>>;
const DEVICE: NdArrayDevice = NdArrayDevice::Cpu;

#[derive(Module, Debug)]
struct Network<B: Backend> {
    lstm: Option<Lstm<B>>,
    gru: Option<Gru<B>>,
    decoder: Linear<B>,
}

fn tensor<const D: usize>(values: &[f32], shape: [usize; D]) -> Tensor<B, D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), &DEVICE)
}

/// Weights `[outputs, inputs]` and their bias; burn's are the other way round.
fn set(linear: &mut Linear<B>, w: &[f32], b: &[f32]) {
    let (outputs, inputs) = (b.len(), w.len() / b.len());
    linear.weight = Param::from_tensor(tensor(w, [outputs, inputs]).transpose());
    linear.bias = Some(Param::from_tensor(tensor(b, [outputs])));
}

fn set_gate(p: &Problem, gate: &mut GateController<B>, number: usize) {
    let rows = number * p.n_h..(number + 1) * p.n_h;
    let of = |w: &[f32], width: usize| w[rows.start * width..rows.end * width].to_vec();
    set(
        &mut gate.input_transform,
        &of(&p.wx, p.n_x),
        &p.bx[rows.clone()],
    );
    set(
        &mut gate.hidden_transform,
        &of(&p.wh, p.n_h),
        &p.bh[rows.clone()],
    );
}

impl Network<B> {
    fn new(p: &Problem) -> Self {
        let (mut lstm, mut gru) = (None, None);
        if p.cell == "gru" {
            let mut layer: Gru<B> = GruConfig::new(p.n_x, p.n_h, true)
                .with_reset_after(true)
                .init(&DEVICE);
            set_gate(p, &mut layer.reset_gate, 0);
            set_gate(p, &mut layer.update_gate, 1);
            set_gate(p, &mut layer.new_gate, 2);
            gru = Some(layer);
        } else {
            let mut layer: Lstm<B> = LstmConfig::new(p.n_x, p.n_h, true).init(&DEVICE);
            set_gate(p, &mut layer.input_gate, 0);
            set_gate(p, &mut layer.forget_gate, 1);
            set_gate(p, &mut layer.cell_gate, 2);
            set_gate(p, &mut layer.output_gate, 3);
            lstm = Some(layer);
        }
        let mut decoder = LinearConfig::new(p.n_h, p.n_y).init(&DEVICE);
        set(&mut decoder, &p.wy, &p.by);
        Network { lstm, gru, decoder }
    }

    fn logits(&self, x: Tensor<B, 3>) -> Tensor<B, 2> {
        let h = match (&self.lstm, &self.gru) {
            (Some(lstm), _) => lstm.forward(x, None).0,
            (_, Some(gru)) => gru.forward(x, None),
            _ => unreachable!("it has a layer"),
        };
        let [n, t, n_h] = h.dims();
        self.decoder.forward(h.reshape([n * t, n_h]))
    }
}

pub fn run(p: &Problem) {
    let x = tensor(&p.inputs, [p.n, p.t, p.n_x]);
    let classes: Vec<i64> = p.classes.iter().map(|&class| class as i64).collect();
    let classes = TensorData::new(classes, [p.n * p.t]);
    let classes: Tensor<B, 1, Int> = Tensor::from_data(classes, &DEVICE);
    let judge: CrossEntropyLoss<B> = CrossEntropyLossConfig::new().init(&DEVICE);
    let mut network = Network::new(p);
    let mut optimizer = SgdConfig::new().init::<B, Network<B>>();
    let loss = |network: &Network<B>| judge.forward(network.logits(x.clone()), classes.clone());
    let first = loss(&network).into_scalar();
    serve("0.18", first, || {
        let gradients = GradientsParams::from_grads(loss(&network).backward(), &network);
        network = optimizer.step(LR, network.clone(), gradients);
    });
}
