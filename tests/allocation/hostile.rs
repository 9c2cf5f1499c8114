//! Files that lie: every reader answers with an error, before it has allocated more than twice the file's size and 64 MiB.
//!
//! What `cargo fuzz` found is here too, by the name of what was wrong (`RELIABILITY.md`).

use super::{TURN, most_held};
use bptt::data::{Sequences, Vocabulary};
use bptt::model::{About, Model};
use bptt::train::Checkpoint;
use bptt::{Architecture, Head, Init, Input, Network};
use std::io::{Cursor, Write};
use std::path::Path;
use zip::write::SimpleFileOptions;

/// What `read` returns for a file of so many bytes, with its memory held against them.
#[track_caller]
fn within<R>(length: usize, read: impl FnOnce() -> R) -> R {
    let (result, most) = most_held(read);
    let limit = 2 * length + (64 << 20);
    assert!(most <= limit, "{most} bytes for a file of {length}");
    result
}

/// Read as a whole, and in parts: what is good for one is for the other.
#[track_caller]
fn npz(bytes: &[u8]) -> bptt::Result<Sequences<f32>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set.npz");
    std::fs::write(&path, bytes).unwrap();
    let opened = within(bytes.len(), || Sequences::<f32>::open_npz(&path, None));
    let read = within(bytes.len(), || {
        Sequences::from_npz(&path, Cursor::new(bytes))
    });
    match (&read, opened) {
        (Ok(set), opened) => {
            let opened = opened.unwrap();
            assert_eq!((set.len(), set.steps()), (opened.len(), opened.steps()));
            assert_eq!(
                (set.dims(), set.counted()),
                (opened.dims(), opened.counted())
            );
        }
        (Err(error), opened) => assert!(opened.is_err(), "{error}"),
    }
    read
}

fn model(bytes: &[u8]) -> bptt::Result<Model<f32>> {
    let path = Path::new("model.safetensors");
    within(bytes.len(), || Model::from_bytes(path, bytes))
}

#[track_caller]
fn refused<R>(result: bptt::Result<R>, expected: &str) {
    match result {
        Ok(_) => panic!("accepted, where {expected:?} was expected"),
        Err(error) => assert!(error.to_string().contains(expected), "{error}"),
    }
}

/// An array with any header.
fn array(header: &str, data: &[u8]) -> Vec<u8> {
    let length = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), data].concat()
}

fn header(dtype: &str, shape: &str) -> String {
    format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}\n")
}

fn archive(arrays: &[(&str, &[u8])], deflated: bool) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let method = match deflated {
        true => zip::CompressionMethod::Deflated,
        false => zip::CompressionMethod::Stored,
    };
    let options = SimpleFileOptions::default().compression_method(method);
    for (name, bytes) in arrays {
        zip.start_file(format!("{name}.npy"), options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A small set that is all right.
fn good_set() -> Vec<u8> {
    let inputs = array(&header("|u1", "(2, 3)"), &[0, 1, 2, 3, 4, 0]);
    let targets = array(
        &header("<i2", "(2, 3)"),
        &[0, 0, 1, 0, 2, 0, 0, 0, 1, 0, 1, 0],
    );
    let lengths = array(
        &header("<i8", "(2,)"),
        &[3, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0],
    );
    archive(
        &[
            ("inputs", &inputs),
            ("targets", &targets),
            ("lengths", &lengths),
        ],
        true,
    )
}

#[test]
fn arrays_that_claim_more_than_there_is() {
    let _turn = TURN.lock();
    npz(&good_set()).unwrap();
    for (dtype, shape) in [
        ("<f4", "(1152921504606846976,)"),
        ("<f8", "(4294967296, 4294967296, 1)"),
        ("<f4", "(18446744073709551615, 2, 2)"),
        ("<f4", "(99999999999999999999999999, 2, 2)"),
        ("<i8", "(1073741824, 1073741824)"),
        ("|u1", "(1000000000, 1)"),
    ] {
        let inputs = array(&header(dtype, shape), &[0; 64]);
        for deflated in [true, false] {
            refused(npz(&archive(&[("inputs", &inputs)], deflated)), "inputs");
        }
    }
    // No elements, and as many sequences and steps as one likes.
    for shape in [
        "(1048576, 1099511627776, 0)",
        "(0, 1152921504606846976, 3)",
        "(1048576, 0, 2)",
    ] {
        let inputs = array(&header("<f4", shape), &[]);
        let lengths = array(&header("|u1", "(1048576,)"), &[1; 1 << 20]);
        refused(
            npz(&archive(
                &[("inputs", &inputs), ("lengths", &lengths)],
                true,
            )),
            "length 0",
        );
    }
    // A header of four gigabytes, and one of brackets.
    let long = [b"\x93NUMPY\x02\x00\xff\xff\xff\xff", &[b' '; 100][..]].concat();
    refused(npz(&archive(&[("inputs", &long)], true)), "a header of");
    let deep = array(&"(".repeat(9000), &[]);
    refused(npz(&archive(&[("inputs", &deep)], true)), "damaged header");
    // A few brackets, and something wrong inside: a parser that goes back over each in several ways takes hours.
    let tangled = array(&format!("{}{}%\n", "{".repeat(8), "1,".repeat(4000)), &[]);
    refused(
        npz(&archive(&[("inputs", &tangled)], true)),
        "damaged header",
    );
    let object = array(&header("|O", "(2, 3)"), b"cos\nsystem\n(S'true'\ntR.");
    refused(
        npz(&archive(&[("inputs", &object)], true)),
        "Python objects",
    );
    let record = array(
        "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2, 3)}\n",
        &[0; 24],
    );
    refused(npz(&archive(&[("inputs", &record)], true)), "record array");
}

#[test]
fn archives_that_grow() {
    let _turn = TURN.lock();
    // All of it is there, and all of it is zero.
    let inputs = array(&header("|u1", "(8192, 16384)"), &vec![0; 128 << 20]);
    let bomb = archive(&[("inputs", &inputs)], true);
    assert!(bomb.len() < 1 << 20);
    refused(npz(&bomb), "savez");
    // Neither of two does it alone.
    let filler = noise(400_000);
    let half = array(&header("|u1", "(4096, 12288)"), &vec![0; 48 << 20]);
    let two = [("inputs", &half[..]), ("mask", &half), ("x", &filler)];
    refused(npz(&archive(&two, true)), "savez");
    // What is wrong with the last shows before there is room for the first.
    let lengths = [("inputs", &half[..]), ("n_y", b"?"), ("x", &filler)];
    refused(npz(&archive(&lengths, true)), "n_y");
    // The directory claims more than is packed: 100 times, which data may be.
    let inputs = array(&header("|u1", "(8192, 1024)"), &vec![0; 1 << 20]);
    let mut lie = archive(&[("inputs", &inputs), ("other", &noise(200_000))], true);
    let (was, claimed) = (
        (inputs.len() as u32).to_le_bytes(),
        (inputs.len() as u32 + (7 << 20)).to_le_bytes(),
    );
    let replaced = replace_all(&mut lie, &was, &claimed);
    assert!(replaced >= 1);
    refused(npz(&lie), "inputs");
    // More entries than anybody needs; and one name twice, of which the last counts.
    let names: Vec<String> = (0..20_000).map(|i| i.to_string()).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
    refused(npz(&archive(&many, false)), "entries");
    let inputs = array(&header("|u1", "(1, 2)"), &[0, 1]);
    let mut twice = archive(&[("inputs", &inputs), ("inputz", &inputs)], false);
    assert_eq!(replace_all(&mut twice, b"inputz", b"inputs"), 2);
    refused(npz(&twice), "no array `targets`");
}

/// So that a set that does not fit is refused in time.
#[test]
fn the_memory_of_a_set_is_known_from_its_headers() {
    let _turn = TURN.lock();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set.npz");
    let (n, t) = (1000, 1000);
    let fortran = |dtype| header(dtype, "(1000, 1000)").replace("False", "True");
    let zeros = vec![0; 8 * n * t];
    // Without it the compressed ones would be refused.
    let filler = noise(100_000);
    let targets = array(&header("|u1", "(1000, 1000)"), &zeros[..n * t]);
    for (header, bytes) in [
        (header("|u1", "(1000, 1000)"), n * t),
        (fortran("<i8"), 8 * n * t),
        (header("<f8", "(1000, 500, 2)"), 8 * n * t),
    ] {
        let inputs = array(&header, &zeros[..bytes]);
        let mask = array(
            "{'descr': '|b1', 'fortran_order': False, 'shape': (1000, 1000)}\n",
            &vec![1; n * t],
        );
        let float = header.contains("f8");
        let mut arrays = vec![("inputs", &inputs[..]), ("filler", &filler)];
        if !float {
            arrays.extend([("targets", &targets[..]), ("mask", &mask)]);
        }
        for deflated in [true, false] {
            let packed = archive(&arrays, deflated);
            std::fs::write(&path, &packed).unwrap();
            let known =
                within(packed.len(), || Sequences::<f32>::npz_memory(&path, !float)).unwrap();
            assert!(known >= bytes as f64 && known < 40e6);
            let (_, most) = most_held(|| match float {
                true => drop(Sequences::<f32>::inputs_only(&path).unwrap()),
                false => drop(Sequences::<f32>::read_npz(&path).unwrap()),
            });
            let most = most as f64;
            assert!(
                most <= known + 1e6,
                "{most} bytes where {known} were expected: {header}"
            );
        }
    }
}

/// Bytes that do not compress.
fn noise(n: usize) -> Vec<u8> {
    let mut x = 1u64;
    let mut next = || {
        x = x
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (x >> 56) as u8
    };
    (0..n).map(|_| next()).collect()
}

fn replace_all(bytes: &mut [u8], from: &[u8], to: &[u8]) -> usize {
    let mut found = 0;
    for at in 0..bytes.len() - from.len() {
        if bytes[at..].starts_with(from) {
            bytes[at..at + from.len()].copy_from_slice(to);
            found += 1;
        }
    }
    found
}

/// Whatever is cut off or flipped, there is an answer; most often an error.
#[test]
fn sets_and_models_with_any_byte_wrong() {
    let _turn = TURN.lock();
    let (set, whole) = (good_set(), good_model());
    let read = |set: bool, bytes: &[u8]| match set {
        true => npz(bytes).is_err(),
        false => model(bytes).is_err(),
    };
    for (is_set, bytes) in [(true, &set), (false, &whole)] {
        assert!(!read(is_set, bytes));
        for length in 0..bytes.len() {
            assert!(read(is_set, &bytes[..length]), "cut at {length}");
        }
        let mut errors = 0;
        for at in 0..bytes.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut bytes = bytes.clone();
                bytes[at] ^= flip;
                errors += usize::from(read(is_set, &bytes));
            }
        }
        // Weights may be other numbers, dates of an archive other dates.
        assert!(errors > bytes.len() / 2, "{errors} errors");
    }
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
            r#"{"__metadata__":{"bptt":"{\"progress\":7}"}}"#.into(),
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
            "duplicate",
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
            "lr_factor": 1.0, "divergences": 0, "best_loss": null, "best_step": 0, "since_best": 0, "plateau": 0,
            "reports": 1, "pending": { "steps": 1, "loss": 1.0, "counted": 5, "norm": 1.0 },
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
        ("/lr_factor", "0.0"),
        ("/lr_factor", "-1e300"),
        ("/lr_factor", "2.0"),
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
