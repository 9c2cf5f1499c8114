//! A model file means what it says to others: NumPy computes the same from it, by the equations.

use super::Desk;
use bptt::model::{About, Model};
use bptt::{Architecture, Cell, Head, Init, Input, Network, Parameters};
use ndarray::{Array2, Array3};
use ndarray_npy::NpzReader;
use std::process::Command;

/// The largest difference of a probability in f32: a dozen steps of rounding.
const SINGLE: f64 = 2e-6;

/// A Python that has NumPy.
fn python() -> Option<&'static str> {
    ["python3", "/usr/bin/python3"].into_iter().find(|python| {
        let numpy = Command::new(python).args(["-c", "import numpy"]).output();
        numpy.is_ok_and(|output| output.status.success())
    })
}

fn probabilities(desk: &Desk, name: &str) -> Array3<f64> {
    let file = std::fs::File::open(desk.path(name)).unwrap();
    NpzReader::new(file)
        .unwrap()
        .by_name("probabilities")
        .unwrap()
}

#[test]
fn computes_the_same_from_the_file_alone() {
    let Some(python) = python() else {
        assert!(std::env::var_os("CI").is_none(), "NumPy is needed here");
        eprintln!("skipped: no python3 with NumPy");
        return;
    };
    let desk = Desk::new();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/forward.py");
    let numpy = |model: &str, input: &str| {
        let arguments = [script, model, input, "numpy.npz"];
        let run = Command::new(python)
            .args(arguments)
            .current_dir(desk.path("."))
            .status();
        assert!(run.unwrap().success());
        probabilities(&desk, "numpy.npz")
    };
    let agree = |ours: &Array3<f64>, theirs: &Array3<f64>, tolerance: f64| {
        assert_eq!(ours.dim(), theirs.dim());
        for (a, b) in ours.iter().zip(theirs) {
            assert!((a - b).abs() <= tolerance, "{a} {b}");
        }
    };

    // A trained model of text, in f32.
    desk.train("run");
    desk.npz("ids.npz", |npz| {
        npz.add(
            "inputs",
            &Array2::from_shape_fn((5, 12), |(i, t)| ((i * 11 + t * 5) % 27) as i64),
        );
    });
    desk.stdout("predict run ids.npz -o ours.npz");
    let file = std::fs::File::open(desk.path("ours.npz")).unwrap();
    let ours: Array3<f32> = NpzReader::new(file)
        .unwrap()
        .by_name("probabilities")
        .unwrap();
    let theirs = numpy("run/model.safetensors", "ids.npz");
    agree(&ours.mapv(f64::from), &theirs, SINGLE);

    // Models of numbers, in f64, with biases that are not zero.
    desk.npz("x.npz", |npz| {
        npz.add(
            "inputs",
            &Array3::from_shape_fn((4, 9, 3), |(i, t, k)| {
                ((i * 5 + t * 3 + k) % 11) as f64 / 4.0 - 1.0
            }),
        );
    });
    for (cell, layers) in Cell::ALL
        .into_iter()
        .flat_map(|cell| [(cell, 1), (cell, 3)])
    {
        let architecture = Architecture {
            cell,
            layers,
            ..Architecture::new(Input::Features(3), 7, Head::softmax(5))
        };
        let drawn = Network::<f64>::new(architecture, Init::Glorot, 1).unwrap();
        let mut data = drawn.parameters().as_slice().to_vec();
        data.iter_mut()
            .rev()
            .take(5 + 7 * layers)
            .enumerate()
            .for_each(|(i, b)| *b = 0.1 * i as f64 - 0.3);
        let network = Network::from_parameters(Parameters::from_vec(architecture, data).unwrap());
        let about = About::default();
        let model = Model { network, about };
        model.write(&desk.path("model.safetensors")).unwrap();
        desk.stdout("predict model.safetensors x.npz -o ours.npz");
        agree(
            &probabilities(&desk, "ours.npz"),
            &numpy("model.safetensors", "x.npz"),
            1e-13,
        );
    }
}
