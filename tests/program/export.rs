//! `bptt export`: what other programs get. ONNX is compared with onnxruntime in tests/fixtures/export.py.

use super::{Desk, read};
use ndarray::{Array, Array2, Array3, ArrayD, Ix3};
use ndarray_npy::NpzReader;
use serde_json::Value;
use std::fs::{self, File};
use std::process::Command;

/// Single precision of two programs, on probabilities.
const APART: f32 = 1e-5;

/// A desk with a set of features or ids, and the inputs.
fn desk(tokens: bool, last: bool) -> (Desk, Array3<f32>, Array2<i64>) {
    let desk = Desk::new();
    let x = Array3::from_shape_fn((6, 5, 3), |(i, t, k)| {
        ((i * 7 + t * 5 + k * 3) % 11) as f32 / 5.0 - 1.0
    });
    let ids = Array2::from_shape_fn((6, 5), |(i, t)| ((i * 3 + t * 2) % 4) as i64);
    let (every, once) = (ids.mapv(|id| id % 3), ids.column(0).mapv(|id| id % 3));
    desk.npz("set.npz", |npz| {
        let npz = if tokens {
            npz.add("inputs", &ids)
        } else {
            npz.add("inputs", &x)
        };
        if last {
            npz.add("targets", &once)
        } else {
            npz.add("targets", &every)
        };
    });
    (desk, x, ids)
}

fn predicted(desk: &Desk) -> ArrayD<f32> {
    desk.stdout("predict run set.npz -o out.npz");
    let mut npz = NpzReader::new(File::open(desk.path("out.npz")).unwrap()).unwrap();
    npz.by_name("probabilities").unwrap()
}

/// The header compiles without a warning, and its step function answers as `bptt predict`.
#[test]
fn a_c_header_answers_as_the_program() {
    for (cell, more, tokens, last) in [
        ("tanh", "", false, false),
        ("relu", "--layers 2", true, false),
        ("gru", "--layers 2", false, true),
        ("lstm", "--embedding 5", true, false),
        ("lstm", "--layers 3", false, false),
    ] {
        let (desk, x, ids) = desk(tokens, last);
        desk.stdout(&format!(
            "train set.npz --cell {cell} {more} --hidden 7 --steps 20 --lr 0.1 -o run"
        ));
        desk.stdout("export run --to c -o my-model.h");
        let inputs = match tokens {
            true => ids
                .map(ToString::to_string)
                .into_raw_vec_and_offset()
                .0
                .join(", "),
            false => x
                .map(|x| format!("{x:?}f"))
                .into_raw_vec_and_offset()
                .0
                .join(", "),
        };
        let (kind, step) = if tokens {
            ("int", "x[n * 5 + t]")
        } else {
            ("float", "x + (n * 5 + t) * 3")
        };
        let program = format!(
            "#include \"my-model.h\"\n#include <stdio.h>\nstatic const {kind} x[] = {{{inputs}}};\nint main(void) {{\n\
             my_model_state state; float y[MY_MODEL_OUTPUTS]; int n, t, k;\n\
             for (n = 0; n < 6; n++) {{ my_model_reset(&state); for (t = 0; t < 5; t++) {{ my_model_step(&state, {step}, y);\n\
             for (k = 0; k < MY_MODEL_OUTPUTS; k++) printf(\"%.9g\\n\", (double)y[k]); }} }} return 0; }}\n"
        );
        desk.write("main.c", program.as_bytes());
        let compiled = Command::new("cc")
            .args("-std=c99 -Wall -Wextra -Werror -pedantic -O2 main.c -o main -lm".split(' '))
            .current_dir(desk.path("."))
            .output()
            .unwrap();
        assert!(
            compiled.status.success(),
            "{}",
            String::from_utf8_lossy(&compiled.stderr)
        );
        let ran = Command::new(desk.path("main")).output().unwrap();
        let text = String::from_utf8(ran.stdout).unwrap();
        let found: Vec<f32> = text.lines().map(|line| line.parse().unwrap()).collect();
        let found = Array::from_shape_vec((6, 5, 3), found).unwrap();
        let found = match last {
            true => found.index_axis_move(ndarray::Axis(1), 4).into_dyn(),
            false => found.into_dyn(),
        };
        let expected = predicted(&desk);
        let apart = (&found - &expected)
            .mapv(f32::abs)
            .fold(0.0, |a: f32, &b| a.max(b));
        assert!(apart <= APART, "{cell} {more}: {apart:e}");
    }
}

/// What RTNeural computes of its JSON, by Keras's equations, is what `bptt predict` says.
#[test]
fn the_json_of_rtneural_has_keras_layout() {
    for cell in ["gru", "lstm"] {
        let (desk, x, _) = desk(false, false);
        desk.stdout(&format!(
            "train set.npz --cell {cell} --hidden 4 --layers 2 --steps 20 --lr 0.1 -o run"
        ));
        desk.stdout("export run --to rtneural -o model.json");
        let model: Value = serde_json::from_slice(&read(&desk.path("model.json"))).unwrap();
        assert_eq!(model["in_shape"], serde_json::json!([null, null, 3]));
        let layers = model["layers"].as_array().unwrap();
        let number = |value: &Value| value.as_f64().unwrap();
        let product = |weights: &Value, x: &[f64], column: usize| -> f64 {
            let rows = weights.as_array().unwrap();
            assert_eq!(rows.len(), x.len());
            rows.iter()
                .zip(x)
                .map(|(row, x)| x * number(&row[column]))
                .sum()
        };
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let expected = predicted(&desk).into_dimensionality::<Ix3>().unwrap();
        for n in 0..6 {
            let mut states = vec![[[0.0; 4]; 2]; 2];
            for t in 0..5 {
                let mut input: Vec<f64> = x
                    .slice(ndarray::s![n, t, ..])
                    .iter()
                    .map(|&x| x.into())
                    .collect();
                for (layer, [h, c]) in layers[..2].iter().zip(&mut states) {
                    assert_eq!(layer["type"], cell);
                    let [w, u, b] = [0, 1, 2].map(|i| &layer["weights"][i]);
                    let before = *h;
                    for j in 0..4 {
                        let from_x = |gate: usize| product(w, &input, gate * 4 + j);
                        let from_h = |gate: usize| product(u, &before, gate * 4 + j);
                        if cell == "gru" {
                            let [b, a] = [&b[0], &b[1]];
                            let x = |gate: usize| from_x(gate) + number(&b[gate * 4 + j]);
                            let s = |gate: usize| from_h(gate) + number(&a[gate * 4 + j]);
                            let (z, r) = (sigmoid(x(0) + s(0)), sigmoid(x(1) + s(1)));
                            h[j] = z * before[j] + (1.0 - z) * (x(2) + r * s(2)).tanh();
                        } else {
                            let sum = |gate: usize| {
                                from_x(gate) + from_h(gate) + number(&b[gate * 4 + j])
                            };
                            c[j] = sigmoid(sum(1)) * c[j] + sigmoid(sum(0)) * sum(2).tanh();
                            h[j] = sigmoid(sum(3)) * c[j].tanh();
                        }
                    }
                    input = h.to_vec();
                }
                let dense = &layers[2];
                assert_eq!(
                    (&dense["type"], &dense["activation"]),
                    (&"dense".into(), &"softmax".into())
                );
                let outputs: Vec<f64> = (0..3)
                    .map(|j| {
                        (product(&dense["weights"][0], &input, j) + number(&dense["weights"][1][j]))
                            .exp()
                    })
                    .collect();
                for (j, output) in outputs.iter().enumerate() {
                    let found = (output / outputs.iter().sum::<f64>()) as f32;
                    assert!(
                        (found - expected[[n, t, j]]).abs() <= APART,
                        "{cell} {n} {t} {j}"
                    );
                }
            }
        }
    }
}

#[test]
fn arrays_are_those_of_the_model() {
    let (desk, ..) = desk(false, false);
    desk.stdout("train set.npz --cell lstm --hidden 4 --steps 5 -o run");
    let event = desk.json("export run --to npz").remove(0);
    assert_eq!(
        (&event["event"], &event["to"]),
        (&"export".into(), &"npz".into())
    );
    let mut npz = NpzReader::new(File::open(desk.path("run/model.npz")).unwrap()).unwrap();
    let weights: Array2<f32> = npz.by_name("rnn.weight_hh_l0").unwrap();
    let about = desk.json("inspect run").remove(0);
    let tensors = about["tensors"].as_array();
    let norm = weights.mapv(|x| f64::from(x).powi(2)).sum().sqrt();
    if let Some(tensors) = tensors {
        let listed = tensors
            .iter()
            .find(|tensor| tensor["name"] == "rnn.weight_hh_l0")
            .unwrap();
        assert!((listed["norm"].as_f64().unwrap() - norm).abs() < 1e-6);
    }
    assert_eq!(weights.dim(), (16, 4));
}

#[test]
fn the_format_is_what_the_name_ends_in() {
    let (desk, ..) = desk(false, false);
    desk.stdout("train set.npz --cell gru --hidden 4 --steps 5 -o run");
    for (name, to) in [("a.ONNX", "onnx"), ("a.npz", "npz"), ("a.h", "c")] {
        let event = desk.json(&format!("export run -o {name}")).remove(0);
        assert_eq!(event["to"], to);
        let named = fs::read(desk.path(name)).unwrap();
        desk.stdout(&format!("export run --to {to} -o {name}"));
        assert!(named == fs::read(desk.path(name)).unwrap(), "{name}");
    }
    let endings = ["b.txt", ".onnx, .npz, .h, .json", "--to"];
    desk.refused("export run -o b.txt", 1, &endings);
    desk.refused("export run", 2, &["--to"]);
    assert!(!desk.names(".").contains(&"b.txt".to_string()));
}

#[test]
fn what_a_format_cannot_hold_is_refused_and_nothing_is_written() {
    let (desk, ..) = desk(false, false);
    desk.stdout("train set.npz --hidden 4 --steps 5 -o run");
    desk.stdout("train set.npz --hidden 4 --cell gru --bidirectional --steps 5 -o both");
    desk.refused(
        "export run --to rtneural -o a.json",
        1,
        &["model.safetensors", "no vanilla cell", "ONNX"],
    );
    desk.refused("export both --to rtneural -o a.json", 1, &["both ends"]);
    desk.refused("export both --to c -o a.h", 1, &["both ends", "ONNX"]);
    desk.refused("export run --to tflite", 2, &["--to", "onnx"]);
    desk.refused(
        "export run --to npz -o run/model.safetensors",
        1,
        &["--out", "itself"],
    );
    desk.refused("export nothing --to npz", 1, &["nothing"]);
    assert!(!desk.names(".").iter().any(|name| name.starts_with("a.")));
}
