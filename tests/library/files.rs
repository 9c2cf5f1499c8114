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
