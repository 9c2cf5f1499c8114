//! Models, checkpoints and vocabularies that lie: reading one is what it holds or an error, before more than twice the file's
//! size and 64 MiB were taken.

use super::{TURN, any_byte_wrong, refused, within};
use bptt::data::Vocabulary;
use bptt::model::{About, Model};
use bptt::train::Checkpoint;
use bptt::{Architecture, Head, Init, Input, Network};
use std::path::Path;

fn model(bytes: &[u8]) -> bptt::Result<Model<f32>> {
    let path = Path::new("model.safetensors");
    within(bytes.len(), || Model::from_bytes(path, bytes))
}

fn good_model() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let architecture = Architecture::new(Input::Tokens(2), 2, Head::softmax(2));
    let network = Network::<f32>::new(architecture, Init::Glorot, 0).unwrap();
    let about = About {
        vocabulary: Some(Vocabulary::of_chars("ab")),
        config: serde_json::json!({ "lr": 0.1 }),
        foreign: false,
    };
    Model { network, about }.write(&path).unwrap();
    std::fs::read(path).unwrap()
}

/// A model file with this header and so many bytes of data.
fn file(header: &str, data: usize) -> Vec<u8> {
    let length = (header.len() as u64).to_le_bytes();
    [&length[..], header.as_bytes(), &vec![0; data]].concat()
}

fn tensor(name: &str, shape: &str, from: usize, to: usize) -> String {
    format!(r#""{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{from},{to}]}}"#)
}

#[test]
fn models_that_claim_more_than_there_is() {
    let _turn = TURN.lock();
    for length in [u64::MAX, 1 << 60, 100_000_001, 99_999_999, 5] {
        refused(
            model(&[&length.to_le_bytes()[..], b"{}"].concat()),
            "copied",
        );
    }
    // Three tensors say what the others would have to be: 2^20 hidden units, so 4 TB of recurrent weights.
    let (n, size) = (1 << 20, 4 << 20);
    let [wx, wh, wy, bh, by] = [
        "rnn.weight_ih_l0",
        "rnn.weight_hh_l0",
        "decoder.weight",
        "rnn.bias_ih_l0",
        "decoder.bias",
    ];
    let header = [
        tensor(wx, &format!("[{n},1]"), 0, size),
        tensor(wh, &format!("[1,{n}]"), size, 2 * size),
        tensor(wy, &format!("[1,{n}]"), 2 * size, 3 * size),
        tensor(bh, "[1]", 3 * size, 3 * size + 4),
        tensor(by, "[1]", 3 * size + 4, 3 * size + 8),
    ];
    let header = format!("{{{}}}", header.join(","));
    refused(model(&file(&header, 3 * size + 8)), wh);
    // An architecture is stated that no machine could hold, or none that exists; its tensors are those of a small one.
    let small = [wx, wh, wy, bh, by].map(|name| {
        (
            name,
            if name.contains("bias") {
                "[1]"
            } else {
                "[1,1]"
            },
        )
    });
    let tensors: Vec<_> = (0..)
        .zip(small)
        .map(|(i, (name, shape))| tensor(name, shape, 4 * i, 4 * i + 4))
        .collect();
    let stated = |input: &str, cell: &str, hidden: &str, layers: &str, outputs: &str| {
        let architecture = format!(
            r#"{{"architecture":{{"input":{{{input}}},"cell":"{cell}","hidden":{hidden},"layers":{layers},"head":{{"outputs":{outputs}}}}}}}"#
        );
        let meta = serde_json::Value::from(architecture);
        let header = format!(
            r#"{{"__metadata__":{{"bptt":{meta}}},{}}}"#,
            tensors.join(",")
        );
        model(&file(&header, 20))
    };
    stated(r#""tokens":1"#, "relu", "1", "1", "1").unwrap();
    for (input, cell, hidden, layers, outputs) in [
        (r#""tokens":1"#, "tanh", "16777216", "256", "1"),
        (r#""features":16777216"#, "tanh", "1", "1", "16777216"),
        (r#""tokens":1"#, "tanh", "18446744073709551615", "1", "1"),
        (
            r#""tokens":18446744073709551615"#,
            "tanh",
            "4294967296",
            "1",
            "1",
        ),
        (r#""tokens":1"#, "tanh", "1", "18446744073709551615", "1"),
        (r#""tokens":1"#, "tanh", "0", "1", "1"),
        (r#""tokens":1"#, "tanh", "1", "0", "1"),
        (r#""tokens":1"#, "tanh", "1", "2", "1"),
        (r#""tokens":1"#, "tanh", "-1", "1", "1"),
        (r#""tokens":1"#, "nobody's", "1", "1", "1"),
        (r#""images":1"#, "tanh", "1", "1", "1"),
    ] {
        refused(
            stated(input, cell, hidden, layers, outputs),
            "model.safetensors",
        );
    }
    for (header, data, expected) in [
        (
            format!("{{{}}}", tensor(wx, "[4294967296,4294967296]", 0, 4)),
            4,
            "overflow",
        ),
        (
            format!("{{{}}}", tensor(wx, "[1152921504606846976]", 0, 4)),
            4,
            "copied",
        ),
        (format!("{{{}}}", tensor(wx, "[1,1]", 0, 4)), 0, "copied"),
        (format!("{{{}}}", tensor(wx, "[1,1]", 0, 4)), 9, "copied"),
        (
            format!("{{{0},{0}}}", tensor(wx, "[1,1]", 0, 4)),
            4,
            "twice",
        ),
        (format!(r#"{{"a":{}"#, "[".repeat(1 << 20)), 0, "copied"),
        (
            format!(r#"{{"a":{}}}"#, r#"{"b":"#.repeat(1 << 16)),
            0,
            "copied",
        ),
        (
            r#"{"__metadata__":{"bptt":"{\"architecture\":7}"}}"#.into(),
            0,
            "metadata",
        ),
        (
            format!(r#"{{"__metadata__":{{"bptt":"{}"}}}}"#, "[".repeat(1 << 20)),
            0,
            "recursion",
        ),
        (
            r#"{"__metadata__":{"bptt":"{\"config\":1,\"config\":2}"}}"#.into(),
            0,
            "twice",
        ),
        (
            r#"{"__metadata__":{"bptt":"{}","bptt":"{}"}}"#.into(),
            0,
            "twice",
        ),
        ("{}".into(), 0, "no tensor"),
    ] {
        refused(model(&file(&header, data)), expected);
    }
    // Tables of a header made to be large.
    let many: Vec<_> = (0..100_000)
        .map(|i| tensor(&i.to_string(), "[0]", 0, 0))
        .collect();
    refused(model(&file(&format!("{{{}}}", many.join(",")), 0)), "names");
    let axes = format!("[{}1]", "1,".repeat(4 << 20));
    refused(
        model(&file(&format!("{{{}}}", tensor(wx, &axes, 0, 4)), 4)),
        "axes",
    );
    let metadata: Vec<_> = (0..400_000).map(|i| format!("\"{i}\":\"\"")).collect();
    refused(
        model(&file(
            &format!(r#"{{"__metadata__":{{{}}}}}"#, metadata.join(",")),
            0,
        )),
        "names",
    );
}

/// A checkpoint may be of a run that never was, but not of one that makes numbers overflow.
#[test]
fn checkpoints_with_impossible_counters() {
    let _turn = TURN.lock();
    let progress = |change: &str, value: &str| {
        let mut progress = serde_json::json!({
            "step": 10, "optimizer_steps": 10, "tokens": 100, "position": { "epoch": 0, "window": 1 }, "lr": 0.1,
            "halvings": 0, "divergences": 0, "best_loss": null, "best_step": 0, "since_best": 0, "plateau": 0,
            "reports": 1, "pending": { "steps": 1, "loss": 1.0, "counted": 5, "norm": 1.0, "right": 2, "answers": 5 },
        });
        let at = progress.pointer_mut(change).unwrap();
        *at = serde_json::from_str(value).unwrap();
        let meta = serde_json::json!({ "progress": progress }).to_string();
        let sizes = [
            ("rnn.weight_ih_l0", "[1,1]"),
            ("rnn.weight_hh_l0", "[1,1]"),
            ("decoder.weight", "[1,1]"),
            ("rnn.bias_ih_l0", "[1]"),
            ("decoder.bias", "[1]"),
            ("training.best", "[5]"),
            ("training.state", "[0,1]"),
        ];
        let mut end = 0;
        let tensors = sizes.map(|(name, shape)| {
            let from = end;
            end += match name {
                "training.best" => 20,
                "training.state" => 0,
                _ => 4,
            };
            tensor(name, shape, from, end)
        });
        let header = format!(
            r#"{{"__metadata__":{{"bptt":{}}},{}}}"#,
            serde_json::Value::from(meta),
            tensors.join(",")
        );
        let bytes = file(&header, end);
        let path = Path::new("last.safetensors");
        within(bytes.len(), || Checkpoint::<f32>::from_bytes(path, &bytes))
    };
    progress("/step", "10").unwrap();
    for (field, value) in [
        ("/step", "18446744073709551615"),
        ("/step", "-1"),
        ("/step", "5"),
        ("/tokens", "18446744073709551615"),
        ("/position/epoch", "18446744073709551615"),
        ("/divergences", "4294967295"),
        ("/since_best", "4294967295"),
        ("/plateau", "4294967295"),
        ("/reports", "12"),
        ("/pending/right", "6"),
        ("/pending/answers", "18446744073709551615"),
        ("/halvings", "-1"),
        ("/halvings", "4000000000"),
        ("/pending/counted", "0"),
        ("/pending/counted", "18446744073709551615"),
        ("/pending/steps", "0"),
        ("/pending/loss", "null"),
    ] {
        let error = progress(field, value).map(|_| ()).unwrap_err().to_string();
        assert!(
            error.contains("last.safetensors"),
            "{field} {value}: {error}"
        );
    }
    // In another precision it would not go on to the same bits.
    let path = Path::new("model.safetensors");
    refused(
        Checkpoint::<f32>::from_bytes(path, &good_model()),
        "no checkpoint",
    );
}

#[test]
fn vocabularies() {
    let _turn = TURN.lock();
    for json in [
        "[".repeat(1 << 20),
        format!("{}1", "{\"kind\":".repeat(1 << 18)),
        format!(r#"{{"kind":"char","chars":"{}"}}"#, "a".repeat(1 << 20)),
        r#"{"kind":"char","chars":"\ud800"}"#.into(),
        r#"{"kind":"char","kind":"byte"}"#.into(),
        r#"{"kind":"word","words":"<unk>"}"#.into(),
        r#"{"kind":"word","words":["<unk>","<eos>",null]}"#.into(),
        r#"{"kind":"word","words":{"0":"<unk>"}}"#.into(),
        "\0".into(),
        "null".into(),
    ] {
        let result = within(json.len(), || Vocabulary::from_json(&json));
        refused(result, "vocabulary");
    }
}

/// Whatever is cut off or flipped, there is an answer; most often an error.
#[test]
fn with_any_byte_wrong() {
    let _turn = TURN.lock();
    any_byte_wrong(&good_model(), |bytes| model(bytes).is_ok());
}
