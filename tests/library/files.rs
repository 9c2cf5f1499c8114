//! Model files and checkpoints: written, read and written again they are the same bytes, and one of another network is
//! refused.

use crate::support::is_of_text;
use crate::support::{Form, Problem, architectures};
use bptt::data::Vocabulary;
use bptt::model::{About, Model};
use bptt::optim::Algorithm;
use bptt::train::{Checkpoint, Progress};
use bptt::{Architecture, Cell, Head, Input, Network};
use proptest::prelude::*;
use safetensors::tensor::{SafeTensors, TensorView, serialize};
use std::path::Path;

fn model(architecture: Architecture, about: About, seed: u64) -> Model<f64> {
    Model {
        network: Problem::random(Form::of(0), architecture, (1, 1), seed).network,
        about,
    }
}

/// Both precisions.
fn write_twice(model: Model<f64>, folder: &Path) {
    let [first, second] = ["first", "second"].map(|name| folder.join(name));
    model.write(&first).unwrap();
    let loaded = Model::<f64>::read(&first).unwrap();
    assert!(loaded == model);
    loaded.write(&second).unwrap();
    assert!(std::fs::read(&first).unwrap() == std::fs::read(&second).unwrap());
    let single = Model {
        network: Network::from_parameters(model.network.parameters().cast::<f32>()),
        about: model.about,
    };
    single.write(&first).unwrap();
    let loaded = Model::<f32>::read(&first).unwrap();
    assert!(loaded == single);
    loaded.write(&second).unwrap();
    assert!(std::fs::read(first).unwrap() == std::fs::read(second).unwrap());
}

#[test]
fn a_model_of_every_architecture_is_read_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    for architecture in architectures() {
        write_twice(model(architecture, About::default(), 1), folder.path());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn saving_what_was_loaded_writes_the_same_bytes(
        [n_x, n_h, n_y] in prop::array::uniform3(1usize..=20),
        (words, text) in (any::<bool>(), "\\PC{1,40}"),
        (with, layers, cell) in (any::<bool>(), 1usize..=3, prop::sample::select(&Cell::ALL[..])),
        seed in any::<u64>(),
    ) {
        let vocabulary = match words {
            true => Vocabulary::from_json(r#"{"kind":"word","words":["<unk>","<eos>","a\"b"]}"#).unwrap(),
            false => Vocabulary::of_chars(&text),
        };
        // With a vocabulary the sizes are its own.
        let [n_x, n_y] = if with { [vocabulary.len(); 2] } else { [n_x, n_y] };
        let one = Architecture::new(Input::Tokens(n_x), n_h, Head::softmax(n_y));
        let about = About {
            vocabulary: with.then_some(vocabulary),
            config: serde_json::json!({ "lr": seed as f64 / 3.0, "text": text, "none": null }),
            foreign: false,
        };
        let folder = tempfile::tempdir().unwrap();
        write_twice(model(Architecture { cell, layers, ..one }, about, seed), folder.path());
    }
}

/// Of networks with the same tensors, like tanh and relu or features and tokens, as well.
#[test]
fn what_is_of_another_architecture_goes_on_nowhere() {
    use crate::resume::trainer;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("last.safetensors");
    for ours in architectures().filter(is_of_text) {
        let network = Problem::<f64>::random(Form::of(0), ours, (1, 1), 1).network;
        let weights = network.parameters();
        let checkpoint = Checkpoint {
            parameters: weights.clone(),
            best: weights.clone(),
            moments: vec![weights.clone(); 2],
            state: ndarray::Array2::zeros((0, ours.state())),
            progress: Progress::default(),
        };
        checkpoint.write(&path, &About::default()).unwrap();
        assert!(Model::<f64>::read(&path).unwrap().network == network);
        for theirs in architectures().filter(is_of_text) {
            let mut run = trainer::<f64>(theirs, Algorithm::Adam, 1);
            let before = run.checkpoint();
            let (read, _) = Checkpoint::<f64>::read(&path).unwrap();
            let restored = run.restore(read, Vec::new());
            if ours == theirs {
                restored.unwrap();
                continue;
            }
            let error = restored.unwrap_err().to_string();
            assert!(
                error.contains(&ours.to_string()) && error.contains(&theirs.to_string()),
                "{error}"
            );
            assert!(
                run.checkpoint() == before,
                "what was refused changed something"
            );
        }
        // Nor one of another optimiser, or in another precision.
        assert!(
            trainer::<f64>(ours, Algorithm::Gd, 1)
                .restore(checkpoint, Vec::new())
                .is_err()
        );
        let error = Checkpoint::<f32>::read(&path).unwrap_err().to_string();
        assert!(error.contains("f64") && error.contains("f32"), "{error}");
    }
}

/// The layout is the library's: what it reads and writes again is the same file.
#[test]
fn files_are_what_safetensors_writes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("last.safetensors");
    for architecture in architectures() {
        let network = Problem::<f64>::random(Form::of(0), architecture, (1, 1), 1).network;
        let weights = network.parameters();
        let checkpoint = Checkpoint {
            parameters: weights.clone(),
            best: weights.clone(),
            // More than ten, so that the order of names is not that of numbers.
            moments: vec![weights.clone(); 12],
            state: ndarray::Array2::zeros((4, architecture.state())),
            progress: Progress::default(),
        };
        checkpoint.write(&path, &About::default()).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap().tensors();
        assert!(serialize(tensors, header.metadata().clone()).unwrap() == bytes);
        assert!(Checkpoint::read(&path).unwrap().0 == checkpoint);
        assert!(Model::read(&path).unwrap().network == network);
    }
}

/// Without our metadata the same network is found, but for what PyTorch's names do not say.
#[test]
fn a_foreign_file_is_understood_by_names_and_shapes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    for architecture in architectures().filter(|a| a.cell != Cell::Relu) {
        let ours = model(architecture, About::default(), 1);
        ours.write(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let mut tensors = SafeTensors::deserialize(&bytes).unwrap().tensors();
        let foreign = serialize(tensors.clone(), None).unwrap();
        let found = Model::<f64>::from_bytes(&path, &foreign).unwrap();
        assert!(found.about.foreign);
        let (input, n_x) = (
            found.network.architecture().input,
            architecture.input.size(),
        );
        assert_eq!(input, Input::Features(n_x));
        let tokens = architecture.input.is_tokens();
        assert!(found.clone().reading(tokens).network == ours.network);
        assert!(found.clone().reading(true).reading(false) == found);
        // A tensor more, and it is not clear what the network computes.
        let more = TensorView::new(safetensors::Dtype::F32, vec![1], &[0; 4]).unwrap();
        tensors.push(("rnn.weight_hr_l0".into(), more));
        let error = Model::<f64>::from_bytes(&path, &serialize(tensors, None).unwrap());
        let error = error.unwrap_err().to_string();
        assert!(error.contains("weight_hr_l0"), "{error}");
    }
}

/// A file with this header and nothing else, or what is wrong with it.
fn header(json: &str) -> String {
    let bytes = [&(json.len() as u64).to_le_bytes(), json.as_bytes()].concat();
    Model::<f32>::from_bytes(Path::new("a.safetensors"), &bytes)
        .unwrap_err()
        .to_string()
}

#[test]
fn headers_are_looked_through_before_anything_is_made_of_them() {
    let meta = |json: &str| {
        format!(
            r#"{{"__metadata__":{{"bptt":{}}}}}"#,
            serde_json::json!(json)
        )
    };
    let tensors = |n: usize| {
        let tensor = |i| format!(r#""{i}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#);
        format!("{{{}}}", (0..n).map(tensor).collect::<Vec<_>>().join(","))
    };
    let axes = |n: usize| {
        let axes = vec![0; n];
        format!(r#"{{"a":{{"dtype":"F32","shape":{axes:?},"data_offsets":[0,0]}}}}"#)
    };
    for (json, expected) in [
        // What is a header, but of no model.
        ("{}".to_string(), "no tensor"),
        (r#"{"__metadata__":null}"#.into(), "no tensor"),
        (
            r#"{"__metadata__":{"format":"pt","x":"{\"a\":[1]}"}}  "#.into(),
            "no tensor",
        ),
        (
            meta(r#"{"a":1,"b":{"a":[1,2,3,4,5,6,7,8,9,0]}}"#),
            "no tensor",
        ),
        (meta("null"), "no tensor"),
        (tensors(4096), "no tensor"),
        (axes(8), "no tensor"),
        // What is too much or there twice.
        (tensors(4097), "more than 4096 names"),
        (axes(9), "more than 8 axes"),
        (
            r#"{"a":{},"b":{},"\u0061":{}}"#.into(),
            "\"a\" is there twice",
        ),
        (
            r#"{"__metadata__":{"k":"1","k":"2"}}"#.into(),
            "\"k\" is there twice",
        ),
        (
            r#"{"a":{"shape":[1],"shape":[2]}}"#.into(),
            "\"shape\" is there twice",
        ),
        (meta(r#"{"a":1,"b":2,"a":1}"#), "\"a\" is there twice"),
        // What is none.
        (meta("[1]"), "expected an object"),
        (meta("7"), "expected an object"),
        (r#"{"a":{"shape":[[1]]}}"#.into(), "invalid type"),
        (r#"{"a":{"shape":[-1]}}"#.into(), "invalid"),
        (r#"{"a":[]}"#.into(), "a.safetensors"),
        (r#"{"a":{}} x"#.into(), "trailing"),
        ("".into(), "EOF"),
        ("[".repeat(100_000), "recursion"),
        (
            format!(r#"{{"a":{{"b":{}"#, "[".repeat(100_000)),
            "recursion",
        ),
    ] {
        let error = header(&json);
        let start = json.get(..80).unwrap_or(&json);
        assert!(error.contains(expected), "{start}: {error}");
    }
}
