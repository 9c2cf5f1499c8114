//! Model files and checkpoints: written, read and written again they are the same bytes, and one of another network is
//! refused.

use crate::support::{Form, Problem, architectures};
use bptt::data::Vocabulary;
use bptt::model::{About, Model};
use bptt::optim::Algorithm;
use bptt::train::{Checkpoint, Progress};
use bptt::{Architecture, Cell, Head, Input, Network};
use half::{bf16, f16};
use proptest::prelude::*;
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use std::collections::HashMap;
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
    for ours in architectures() {
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
        for theirs in architectures() {
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

/// A tensor of a file that another program wrote.
#[derive(Clone)]
struct Stored {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// The tensors of a network as PyTorch would save them.
fn stored(network: &Network<f32>) -> Vec<Stored> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let about = About::default();
    let network = network.clone();
    Model { network, about }.write(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap().tensors();
    let stored = tensors.into_iter().map(|(name, tensor)| Stored {
        name,
        dtype: tensor.dtype(),
        shape: tensor.shape().to_vec(),
        bytes: tensor.data().to_vec(),
    });
    stored.collect()
}

fn read(tensors: &[Stored]) -> bptt::Result<Model<f32>> {
    read_with(tensors, None)
}

fn read_with(
    tensors: &[Stored],
    metadata: Option<HashMap<String, String>>,
) -> bptt::Result<Model<f32>> {
    let views = tensors.iter().map(|tensor| {
        let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes);
        (tensor.name.clone(), view.unwrap())
    });
    let bytes = serialize(views.collect::<Vec<_>>(), metadata).unwrap();
    Model::from_bytes(Path::new("torch.safetensors"), &bytes)
}

/// Of the cells that names and shapes tell apart.
fn foreign_architectures() -> impl Iterator<Item = Architecture> {
    architectures().filter(|a| a.cell != Cell::Relu)
}

fn network(architecture: Architecture) -> Network<f32> {
    Problem::random(Form::of(0), architecture, (1, 1), 1).network
}

/// Without our metadata the same network is found, but for what PyTorch's names do not say.
#[test]
fn a_foreign_file_is_understood_by_names_and_shapes() {
    for architecture in foreign_architectures() {
        let ours = network(architecture);
        let found = read(&stored(&ours)).unwrap();
        assert!(found.about.foreign);
        let features = Input::Features(architecture.input.size());
        let embedded = matches!(architecture.input, Input::Embedding { .. });
        let expected = Architecture {
            input: if embedded {
                architecture.input
            } else {
                features
            },
            head: Head {
                tied: architecture.head.tied,
                ..Head::softmax(architecture.head.outputs)
            },
            ..architecture
        };
        assert_eq!(found.network.architecture(), expected);
        let untold = found.untold().join("; ");
        assert_eq!(untold.contains("features or tokens"), !embedded, "{untold}");
        assert_eq!(
            untold.contains("tanh or relu"),
            architecture.cell == Cell::Tanh,
            "{untold}"
        );
        assert!(untold.contains("loss"), "{untold}");
        let tokens = architecture.input.is_tokens();
        let weights = found.clone().reading(tokens).network;
        assert!(weights.parameters().as_slice() == ours.parameters().as_slice());
        assert!(found.clone().reading(true).reading(false) == found);
        let whole = found.reading(tokens).answering(architecture.head);
        assert!(whole.network == ours);
    }
}

/// A wrapped module, numbers of half the size, a tied decoder that is left out, biases that are none.
#[test]
fn what_pytorch_writes_in_other_ways_is_understood() {
    for architecture in foreign_architectures() {
        let mut ours = network(architecture);
        // In eighths, which all types hold.
        let weights = ours.parameters_mut().as_mut_slice();
        weights
            .iter_mut()
            .for_each(|x| *x = (*x * 8.0).round() / 8.0);
        let plain = stored(&ours);
        let expected = read(&plain).unwrap();
        for prefix in [
            "module.",
            "_orig_mod.",
            "module._orig_mod.",
            "_orig_mod.module.",
        ] {
            let mut wrapped = plain.clone();
            wrapped
                .iter_mut()
                .for_each(|t| t.name.insert_str(0, prefix));
            assert!(read(&wrapped).unwrap() == expected);
            // Both with and without, and it is not clear which of them counts.
            wrapped.push(plain[0].clone());
            let error = read(&wrapped).unwrap_err().to_string();
            assert!(
                error.contains(&plain[0].name) && error.contains("both"),
                "{error}"
            );
        }
        for dtype in [Dtype::F16, Dtype::BF16, Dtype::F64] {
            let mut other = plain.clone();
            for tensor in &mut other {
                let numbers = tensor.bytes.as_chunks().0.iter();
                let numbers = numbers.map(|&x| f32::from_le_bytes(x));
                tensor.dtype = dtype;
                tensor.bytes = match dtype {
                    Dtype::F16 => numbers
                        .flat_map(|x| f16::from_f32(x).to_le_bytes())
                        .collect(),
                    Dtype::BF16 => numbers
                        .flat_map(|x| bf16::from_f32(x).to_le_bytes())
                        .collect(),
                    _ => numbers.flat_map(|x| f64::from(x).to_le_bytes()).collect(),
                };
            }
            assert!(read(&other).unwrap() == expected, "{dtype:?}");
        }
        if architecture.head.tied {
            let mut short = plain.clone();
            short.retain(|tensor| tensor.name != "decoder.weight");
            assert!(read(&short).unwrap() == expected);
            // `safetensors.torch.save_model` keeps the first of two names, and says so of the other.
            let mut once = plain.clone();
            once.retain(|tensor| tensor.name != "encoder.weight");
            let names = ["encoder.weight", "decoder.weight"].map(String::from);
            let again = HashMap::from([names.into()]);
            assert!(read_with(&once, Some(again)).unwrap() == expected);
        }
        let mut biased = ours.parameters().clone();
        for which in architecture
            .tensors()
            .map(|t| t.which)
            .filter(|w| w.is_bias())
        {
            biased.get_mut(which).fill(0.0);
        }
        let mut bare = plain.clone();
        bare.retain(|tensor| !tensor.name.contains("bias"));
        let tokens = architecture.input.is_tokens();
        let found = read(&bare).unwrap().reading(tokens);
        assert!(found.network.parameters().as_slice() == biased.as_slice());
        // Some of them, and it is no module of PyTorch's.
        bare.extend(plain.iter().find(|t| t.name == "rnn.bias_hh_l0").cloned());
        let error = read(&bare).unwrap_err().to_string();
        assert!(error.contains("rnn.bias_hh_l0"), "{error}");
    }
}

#[test]
fn what_is_not_understood_refuses_a_file_by_name() {
    let one = Architecture::new(Input::Features(4), 5, Head::softmax(3));
    let lstm = Architecture {
        cell: Cell::Lstm,
        layers: 2,
        bidirectional: true,
        ..one
    };
    let plain = stored(&network(lstm));
    let with = |name: &str, shape: &[usize], dtype| {
        let mut tensors = plain.clone();
        tensors.retain(|tensor| tensor.name != name);
        tensors.push(Stored {
            name: name.into(),
            dtype,
            shape: shape.to_vec(),
            bytes: vec![
                0;
                shape.iter().product::<usize>() * if dtype == Dtype::I64 { 8 } else { 4 }
            ],
        });
        read(&tensors).unwrap_err().to_string()
    };
    for (name, shape, dtype, expected) in [
        (
            "rnn.weight_hr_l0",
            &[2, 5][..],
            Dtype::F32,
            "the projection of an nn.LSTM with `proj_size`",
        ),
        (
            "norm.weight",
            &[5],
            Dtype::F32,
            "a tensor `norm.weight`, which no network of bptt has",
        ),
        (
            "rnn.weight_ih_l2",
            &[20, 10],
            Dtype::F32,
            "rnn.weight_hh_l2",
        ),
        (
            "encoder.weight",
            &[7, 6],
            Dtype::F32,
            "`rnn.weight_ih_l0` has the shape [20, 4], expected [20, 6]",
        ),
        (
            "decoder.weight",
            &[3, 5],
            Dtype::F32,
            "`decoder.weight` has the shape [3, 5], expected [3, 10]",
        ),
        (
            "decoder.weight",
            &[30],
            Dtype::F32,
            "`decoder.weight` must be a matrix",
        ),
        (
            "rnn.weight_hh_l0",
            &[20, 7],
            Dtype::F32,
            "20 rows for 7 hidden units",
        ),
        (
            "decoder.bias",
            &[3],
            Dtype::I64,
            "`decoder.bias` holds I64, expected F16, BF16, F32 or F64",
        ),
    ] {
        let error = with(name, shape, dtype);
        assert!(
            error.contains(expected) && error.contains("torch.safetensors"),
            "{error}"
        );
    }
    // Our own files have all of it.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    model(one, About::default(), 1).write(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let mut tensors = SafeTensors::deserialize(&bytes).unwrap().tensors();
    tensors.retain(|(name, _)| name != "decoder.bias");
    let refused = |metadata| {
        let short = serialize(tensors.clone(), metadata).unwrap();
        let error = Model::<f64>::from_bytes(&path, &short).unwrap_err();
        error.to_string()
    };
    let mut metadata = header.metadata().clone().unwrap();
    let error = refused(Some(metadata.clone()));
    assert!(error.contains("checksum"), "{error}");
    let mut said: serde_json::Value = serde_json::from_str(&metadata["bptt"]).unwrap();
    assert!(said.as_object_mut().unwrap().remove("checksum").is_some());
    metadata.insert("bptt".into(), said.to_string());
    let error = refused(Some(metadata));
    assert!(error.contains("no tensor `decoder.bias`"), "{error}");
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
