//! What is seen of a model, of PyTorch's too.

use super::*;

#[test]
fn a_file_that_pytorch_wrote_is_inspected_evaluated_and_predicts() {
    let desk = Desk::new();
    // As `safetensors.torch.save_file(model.state_dict(), ...)`: no metadata, both biases.
    let (n_x, n_h, n_y) = (2, 3, 4);
    let value = |k: usize, i: usize| (((k * 31 + i * 17) % 13) as f32 - 6.5) / 10.0;
    let tensors: Vec<(&str, Vec<usize>)> = vec![
        ("rnn.weight_ih_l0", vec![n_h, n_x]),
        ("rnn.weight_hh_l0", vec![n_h, n_h]),
        ("rnn.bias_ih_l0", vec![n_h]),
        ("rnn.bias_hh_l0", vec![n_h]),
        ("decoder.weight", vec![n_y, n_h]),
        ("decoder.bias", vec![n_y]),
    ];
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .enumerate()
        .map(|(k, (_, shape))| {
            let values = 0..shape.iter().product();
            values
                .flat_map(|i: usize| value(k, i).to_le_bytes())
                .collect()
        })
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape), bytes)| {
        let dtype = safetensors::Dtype::F32;
        (
            *name,
            safetensors::tensor::TensorView::new(dtype, shape.clone(), bytes).unwrap(),
        )
    });
    desk.write(
        "torch.safetensors",
        &safetensors::serialize(views, None).unwrap(),
    );

    let json = &desk.json("inspect torch.safetensors")[0];
    assert_eq!(
        (&json["parameters"], &json["vocabulary"]),
        (&34.into(), &Value::Null)
    );
    let tensor = |name: &str| {
        let all = json["tensors"].as_array().unwrap().iter();
        all.clone().find(|tensor| tensor["name"] == name).unwrap()
    };
    let bias: Vec<f64> = (0..n_h)
        .map(|i| f64::from(value(2, i) + value(3, i)))
        .collect();
    let norm = bias.iter().map(|b| b * b).sum::<f64>().sqrt();
    assert!(
        (tensor("rnn.bias_ih_l0")["norm"].as_f64().unwrap() - norm).abs() < 1e-6,
        "{json}"
    );
    let largest = (0..n_h * n_h)
        .map(|i| f64::from(value(1, i)).abs())
        .fold(0.0, f64::max);
    assert!(
        (tensor("rnn.weight_hh_l0")["largest"].as_f64().unwrap() - largest).abs() < 1e-6,
        "{json}"
    );
    let text = desk.stdout("inspect torch.safetensors");
    for words in [
        "34 parameters in f32",
        "spectral radius",
        "does not say how it was trained",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }

    let inputs = Array3::from_shape_fn((3, 5, 2), |(i, t, k)| (i + 2 * t + k) as f32 / 7.0);
    desk.npz("set.npz", |npz| {
        let targets = Array2::from_shape_fn((3, 5), |(i, t)| ((i + t) % 4) as i32);
        npz.add("inputs", &inputs).add("targets", &targets);
    });
    assert_eq!(desk.json("eval torch.safetensors set.npz")[0]["tokens"], 15);
    desk.stdout("predict torch.safetensors set.npz -o y.npz");
    let network: Network<f32> = Model::read(&desk.path("torch.safetensors"))
        .unwrap()
        .network;
    let file = std::fs::File::open(desk.path("y.npz")).unwrap();
    let y: Array3<f32> = NpzReader::new(file)
        .unwrap()
        .by_name("probabilities")
        .unwrap();
    for (a, b) in y.iter().zip(&predicted(&network, (&inputs).into())) {
        assert!((a - b).abs() <= 1e-6, "{a} {b}");
    }
    desk.refused("sample torch.safetensors", 1, &["no model of text"]);
}

#[test]
fn inspect_shows_how_a_model_was_trained() {
    let desk = Desk::new();
    desk.train("run");
    let text = desk.stdout("inspect run");
    let line = |name: &str| {
        let line = text
            .lines()
            .find(|line| line.trim_start().starts_with(name));
        let line = line.unwrap_or_else(|| panic!("{name}: {text}"));
        line.split_whitespace()
            .skip(1)
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(line("data "), "text.txt");
    assert_eq!(line("optimizer "), "adam");
    assert_eq!(line("clip_value "), "-");
    assert_eq!(line("seq_len "), "16");
    assert!(
        line("rnn.weight_hh_l0 ").starts_with("16 x 16 256 "),
        "{text}"
    );
}

#[test]
fn the_pytorch_example_agrees_where_there_is_pytorch() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/pytorch.py");
    let program = assert_cmd::cargo::cargo_bin("bptt");
    let python = ["python3", "/usr/bin/python3"].into_iter().find(|python| {
        let found = std::process::Command::new(python).arg("-V").output();
        found.is_ok_and(|output| output.status.success())
    });
    let Some(python) = python else {
        eprintln!("skipped: no python3");
        return;
    };
    let run = std::process::Command::new(python)
        .args([script, "--bptt"])
        .arg(program)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    let wrong = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}{wrong}");
    assert!(
        said.contains("skipped: this Python has no") || said.contains("apart"),
        "{said}"
    );
}
