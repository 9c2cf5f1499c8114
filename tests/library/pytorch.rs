//! The layers compute what PyTorch's modules compute, forward and back (`tests/fixtures/pytorch.py` says how that was found).

use crate::support::{assert_near, engine};
use bptt::architecture::Which;
use bptt::{Architecture, Cell, Head, Input, Network, Parameters};
use ndarray::{Array, Array1, Array2, Array3, Dimension};
use ndarray_npy::{NpzReader, ReadableElement};
use std::fs::File;
use std::path::Path;

/// Rounding of sums of a few products, through a few steps, in `f64`.
const DOUBLE: f64 = 1e-12;

struct Fixture {
    npz: NpzReader<File>,
    prefix: String,
}

impl Fixture {
    fn get<A: ReadableElement, D: Dimension>(&mut self, name: &str) -> Array<A, D> {
        let name = format!("{}{name}", self.prefix);
        self.npz
            .by_name(&name)
            .unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Weights, or gradients, under PyTorch's names. What PyTorch has as two biases for one sum, whose gradients are one, is one
    /// here: of weights their sum, of gradients either.
    fn parameters(&mut self, what: &str, architecture: Architecture) -> Parameters<f64> {
        let mut p = Parameters::zeros(architecture);
        let n_h = architecture.hidden;
        for tensor in architecture.tensors() {
            let name = architecture.name(tensor.which).replace("rnn.", "");
            match tensor.which {
                Which::WeightIh(_) | Which::WeightHh(_) => {
                    let values: Array2<f64> = self.get(&format!("{what}.{name}"));
                    p.matrix_mut(tensor.which).assign(&values);
                }
                Which::Bias(_) => {
                    let first: Array1<f64> = self.get(&format!("{what}.{name}"));
                    let second: Array1<f64> =
                        self.get(&format!("{what}.{}", name.replace("ih", "hh")));
                    let bias = p.get_mut(tensor.which);
                    for i in 0..first.len() {
                        let alone = architecture.cell == Cell::Gru && i >= 2 * n_h;
                        match alone {
                            true => (bias[i], bias[i + n_h]) = (first[i], second[i]),
                            false if what == "weight" => bias[i] = first[i] + second[i],
                            false => bias[i] = first[i],
                        }
                    }
                }
                Which::Encoder | Which::Decoder | Which::DecoderBias => {}
            }
        }
        p
    }
}

#[test]
fn its_modules_compute_the_same_forward_and_back() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pytorch.npz");
    let mut fixture = Fixture {
        npz: NpzReader::new(File::open(path).unwrap()).unwrap(),
        prefix: String::new(),
    };
    let lengths: Array1<i64> = fixture.get("lengths");
    let lengths: Vec<usize> = lengths.iter().map(|&length| length as usize).collect();
    for cell in Cell::ALL {
        for (layers, directions) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
            fixture.prefix = format!("{}.{layers}.{directions}.", cell.name());
            let architecture = Architecture {
                cell,
                layers,
                bidirectional: directions == 2,
                ..Architecture::new(Input::Features(2), 3, Head::softmax(1))
            };
            let network = Network::from_parameters(fixture.parameters("weight", architecture));
            let gradients = fixture.parameters("gradient", architecture);
            let x: Array3<f64> = fixture.get("x");
            let first: Array2<f64> = fixture.get("first");
            for shards in [1, 2] {
                let mut engine = engine(architecture, 2, shards);
                let mut last = first.clone();
                let hidden = engine
                    .forward(&network, &x, Some(&lengths), Some(&mut last))
                    .unwrap();
                assert_near(
                    "hidden",
                    hidden,
                    fixture.get::<f64, ndarray::Ix3>("hidden"),
                    DOUBLE,
                );
                assert_near(
                    "last",
                    last,
                    fixture.get::<f64, ndarray::Ix2>("last"),
                    DOUBLE,
                );
                let d_hidden: Array3<f64> = fixture.get("d_hidden");
                let d_last: Array2<f64> = fixture.get("d_last");
                let found = engine
                    .backward(d_hidden.view(), Some(d_last.view()))
                    .unwrap();
                let d_x: Array3<f64> = fixture.get("d_x");
                assert_near("d_x", found.inputs.unwrap(), d_x, DOUBLE);
                let d_first: Array2<f64> = fixture.get("d_first");
                assert_near("d_first", found.state, d_first, DOUBLE);
                crate::support::assert_close(engine.gradients(), &gradients, DOUBLE);
            }
        }
    }
}
