//! Data of every kind end to end, and what the program lets be seen of a run and a model.

use super::{Desk, read};
use bptt::model::Model;
use bptt::{Engine, EngineOptions, Inputs, Network, Scalar};
use ndarray::{Array2, Array3};
use ndarray_npy::NpzReader;
use serde_json::Value;

/// The largest relative difference of two ways to the same mean loss in f32.
const EQUAL_LOSS: f64 = 1e-6;
/// The rounding of f64 over a few hundred steps.
const EQUAL: f64 = 1e-12;

const SENTENCE: &str = "the cat sat on the mat\n";

#[track_caller]
fn assert_near(a: &Value, b: &Value) {
    let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
    assert!((a / b - 1.0).abs() <= EQUAL_LOSS, "{a} {b}");
}

#[test]
fn words_train_evaluate_and_read_well() {
    let desk = Desk::new();
    desk.write("words.txt", SENTENCE.repeat(80).as_bytes());
    desk.write("more.txt", format!("{SENTENCE}the dog").as_bytes());
    let flags = "--hidden 24 --batch 4 --seq-len 14 --steps 200 --lr 0.02 --tokens word";
    desk.stdout(&format!("train words.txt {flags} -o run"));
    let about = &desk.json("inspect run")[0];
    // <unk>, <eos>, the, cat, sat, on, mat.
    assert_eq!(
        (&about["tokens"], &about["vocabulary"]),
        (&"word".into(), &7.into())
    );
    // Seven and three tokens with their <eos>, all but the first predicted.
    let eval = &desk.json("eval run more.txt")[0];
    assert_eq!(eval["tokens"], 9);
    let eval = &desk.json("eval run words.txt")[0];
    assert!(eval["perplexity"].as_f64().unwrap() < 1.2, "{eval}");

    let sample = |prompt: &str| {
        let mut command = desk.bptt("sample run --temperature 0 --length 11");
        let assert = command.args(["--prompt", prompt]).assert().success();
        let output = assert.get_output().clone();
        [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap())
    };
    let [text, remarks] = sample("the cat");
    assert_eq!(text, "the cat sat on the mat\nthe cat sat on the mat\n");
    assert_eq!(remarks, "");
    // Words it does not know are said, shown as they were given, and read as <unk>.
    let [text, remarks] = sample("zebra the zebra gnu");
    assert!(text.starts_with("zebra the zebra gnu "), "{text}");
    assert!(remarks.contains("<unk>: zebra gnu\n"), "{remarks}");

    desk.stdout(&format!("train words.txt {flags} --vocab-size 4 -o four"));
    assert_eq!(desk.json("inspect four")[0]["vocabulary"], 4);
    desk.stdout(&format!("train words.txt {flags} --min-count 81 -o often"));
    assert_eq!(desk.json("inspect often")[0]["vocabulary"], 3);
}

#[test]
fn bytes_come_out_whole_as_text_and_as_they_are_through_a_pipe() {
    let desk = Desk::new();
    desk.write("bytes.txt", "señor\n".repeat(200).as_bytes());
    desk.stdout(
        "train bytes.txt --tokens byte --hidden 24 --batch 4 --seq-len 14 --steps 200 --lr 0.02 -o run",
    );
    let command = "sample run --temperature 0 --length 14";
    assert_eq!(desk.stdout(command), "señor\nseñor\n\n");
    assert_eq!(desk.json(command)[0]["text"], "señor\nseñor\n");
    // Cut in the middle of the ñ.
    let json = &desk.json("sample run --temperature 0 --length 3")[0];
    assert_eq!(json["text"], "se\u{fffd}");
    let assert = desk.bptt("sample run --temperature 0 --length 3").assert();
    assert_eq!(assert.get_output().stdout, b"se\xc3\n");
}

#[test]
fn folders_and_data_of_its_own_to_validate_with() {
    let desk = Desk::new();
    desk.write("train/b/two.txt", SENTENCE.repeat(30).as_bytes());
    desk.write("train/one.txt", SENTENCE.repeat(30).as_bytes());
    desk.write("train/picture", b"\xff\xd8\xff");
    desk.write(
        "held/a.txt",
        "the mat sat on the cat\n".repeat(9).as_bytes(),
    );
    desk.write("held.txt", "the cat\n".repeat(9).as_bytes());
    let flags = "--hidden 16 --batch 4 --seq-len 16 --steps 60";
    let mut command = desk.bptt(&format!(
        "train train --valid held --valid held.txt {flags} -o run --log json"
    ));
    let assert = command.assert().success();
    let remarks = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    for words in [
        "1,380 characters to train on, 279 to validate",
        "1 files or folders are not UTF-8",
    ] {
        assert!(remarks.contains(words), "{words}: {remarks}");
    }
    let lines = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    let done: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_near(
        &desk.json("eval run held held.txt")[0]["loss"],
        &done["valid_loss"],
    );
    desk.write("other.txt", "ünknown".as_bytes());
    desk.refused(
        &format!("train train --valid other.txt {flags}"),
        1,
        &["other.txt", "line 1, column 1", "'ü'"],
    );
}

#[test]
fn a_long_text_keeps_no_more_than_a_million_tokens_to_validate_with() {
    let desk = Desk::new();
    desk.write("long.txt", &b"abcdefghij".repeat(1_100_000));
    let flags = "--hidden 4 --batch 64 --seq-len 16";
    let lines = desk.json(&format!("train long.txt {flags} --steps 1 -o run"));
    let fraction = lines[0]["config"]["valid_fraction"].as_f64().unwrap();
    assert_eq!((fraction * 11e6).round(), 1e6);
    // The resolved fraction is part of the run's settings.
    desk.stdout("train --resume run --steps 2");
    let lines = desk.json(&format!("train text.txt {flags} --steps 1 -o small"));
    assert_eq!(lines[0]["config"]["valid_fraction"], 0.1);
}

/// Whether the first input of a sequence was 1; asked at its last step alone.
fn first_was_one(lengths: &[usize], t: usize) -> (Array2<i32>, Array2<i32>) {
    let bit = |i: usize, t: usize| ((i * 7 + t * t * 3 + i * t) % 5 < 2) as i32;
    let inputs = Array2::from_shape_fn((lengths.len(), t), |(i, t)| bit(i, t));
    let targets = Array2::from_shape_fn((lengths.len(), t), |(i, step)| match step + 1 {
        last if last == lengths[i] => bit(i, 0),
        _ => -1, // whatever it is, it does not count
    });
    (inputs, targets)
}

#[test]
fn many_to_one_through_the_mask() {
    let desk = Desk::new();
    let lengths: Vec<usize> = (0..80).map(|i| 3 + i % 4).collect();
    let (inputs, targets) = first_was_one(&lengths, 6);
    let mask = Array2::from_shape_fn((80, 6), |(i, step)| step + 1 == lengths[i]);
    desk.npz("set.npz", |npz| {
        npz.add("inputs", &inputs)
            .add("targets", &targets)
            .add("mask", &mask);
    });
    let flags = "--hidden 16 --batch 16 --steps 400 --lr 0.01 --valid-fraction 0";
    let done = desk.json(&format!("train set.npz {flags} -o run"));
    let done = done.last().unwrap();
    // 80 answers an epoch, not 480.
    let (tokens, epochs) = (
        done["tokens"].as_f64().unwrap(),
        done["epochs"].as_f64().unwrap(),
    );
    assert!((tokens / epochs - 80.0).abs() < 1e-6, "{done}");
    let eval = &desk.json("eval run set.npz")[0];
    assert_eq!(eval["tokens"], 80);
    assert!(eval["accuracy"].as_f64().unwrap() > 0.95, "{eval}");
    // In windows, some of which have nothing that counts: the state flows through them.
    let done = desk.json(&format!("train set.npz {flags} --seq-len 2 -o windows"));
    assert!(
        done.last().unwrap()["train_loss"]
            .as_f64()
            .unwrap()
            .is_finite()
    );
}

#[test]
fn lengths_count_the_steps_within_them() {
    let desk = Desk::new();
    let lengths: Vec<usize> = (0..40).map(|i| 2 + i % 5).collect();
    let inputs = Array2::from_shape_fn((40, 6), |(i, t)| match t < lengths[i] {
        true => ((i + t) % 3) as i64,
        false => -7,
    });
    let targets = inputs.mapv(|id| (id + 1) % 3);
    let lengths = ndarray::Array1::from_iter(lengths.iter().map(|&l| l as i32));
    desk.npz("set.npz", |npz| {
        npz.add("inputs", &inputs)
            .add("targets", &targets)
            .add("lengths", &lengths);
    });
    desk.stdout("train set.npz --hidden 8 --batch 8 --steps 200 --lr 0.02 -o run");
    let eval = &desk.json("eval run set.npz")[0];
    assert_eq!(
        (&eval["tokens"], &eval["accuracy"]),
        (&lengths.sum().into(), &1.0.into())
    );
}

#[test]
fn predict_goes_through_a_long_set_in_pieces() {
    let desk = Desk::new();
    let inputs = Array3::from_shape_fn((70, 600, 2), |(i, t, k)| {
        ((i * 5 + t * 3 + k) % 11) as f64 / 5.0 - 1.0
    });
    let targets = Array2::from_shape_fn((70, 600), |(i, t)| ((i + t) % 3) as i32);
    desk.npz("set.npz", |npz| {
        npz.add("inputs", &inputs).add("targets", &targets);
    });
    desk.stdout("train set.npz --dtype f64 --hidden 7 --batch 8 --seq-len 50 --steps 20 -o run");
    desk.stdout("predict run set.npz -o y.npz --threads 3");
    let file = std::fs::File::open(desk.path("y.npz")).unwrap();
    let pieces: Array3<f64> = NpzReader::new(file)
        .unwrap()
        .by_name("probabilities")
        .unwrap();
    let model = Model::<f64>::read(&desk.path("run/model.safetensors")).unwrap();
    let whole = predicted(&model.network, Inputs::from(&inputs));
    assert_eq!(pieces.dim(), whole.dim());
    for (a, b) in pieces.iter().zip(&whole) {
        assert!((a / b - 1.0).abs() <= EQUAL, "{a} {b}");
    }
}

/// The probabilities of all sequences in one piece.
fn predicted<T: Scalar>(network: &Network<T>, inputs: Inputs<'_, T>) -> Array3<T> {
    let mut engine = Engine::new(network.architecture(), EngineOptions::default()).unwrap();
    engine.predict(network, inputs, None).unwrap()
}

/// Whatever the losses are they can be drawn, and of a long curve neither an end nor a peak is lost.
#[test]
fn the_plot_is_short_and_shows_every_peak() {
    let desk = Desk::new();
    let flags = "--hidden 2 --batch 2 --seq-len 4 --report-every 1 --valid-fraction 0";
    desk.stdout(&format!("train text.txt {flags} --steps 1200 -o run"));
    let history = String::from_utf8(read(&desk.path("run/history.jsonl"))).unwrap();
    let with_losses = |loss: &dyn Fn(usize) -> f64| {
        let line = |(i, line): (usize, &str)| {
            let mut report: Value = serde_json::from_str(line).unwrap();
            report["train_loss"] = loss(i).into();
            format!("{report}\n")
        };
        let text: String = history.lines().enumerate().map(line).collect();
        desk.write("run/history.jsonl", text.as_bytes());
        desk.stdout("train --resume run --quiet");
        let svg = String::from_utf8(read(&desk.path("run/loss.svg"))).unwrap();
        assert!(
            !svg.contains("NaN") && svg.contains("updates") && svg.contains("\nrun\n"),
            "{svg}"
        );
        // The curve is the line with the most points.
        let lines = svg.split("points=\"").skip(1).map(|rest| {
            let points = rest.split('"').next().unwrap().split_whitespace();
            let numbers = |point: &str| {
                let (x, y) = point.split_once(',').unwrap();
                (x.parse::<f64>().unwrap(), y.parse::<f64>().unwrap())
            };
            points.map(numbers).collect::<Vec<_>>()
        });
        lines.max_by_key(Vec::len).unwrap()
    };
    let flat = with_losses(&|_| 2.0);
    assert!((2..=514).contains(&flat.len()), "{}", flat.len());
    let peaks =
        with_losses(&|i| [2.0, 1.0, 3.0][usize::from(i == 500) + 2 * usize::from(i == 777)]);
    assert!(peaks.len() <= 514 && peaks.is_sorted_by(|a, b| a.0 <= b.0));
    assert_eq!(
        (peaks[0].0, peaks.last().unwrap().0),
        (flat[0].0, flat.last().unwrap().0)
    );
    // Downwards in a picture is up in numbers: one point far above all others, one far below.
    let mut heights: Vec<f64> = peaks.iter().map(|point| point.1).collect();
    heights.sort_by(f64::total_cmp);
    assert!(
        heights[1] - heights[0] > 100.0
            && heights[heights.len() - 1] - heights[heights.len() - 2] > 100.0
    );
    with_losses(&|_| 0.0);
    with_losses(&|i| if i % 2 == 0 { 1e-300 } else { 1e300 });
    with_losses(&|i| if i % 2 == 0 { -1e300 } else { 1e300 });
}

/// The records of an event file, by its definition: length, checksum, data, checksum.
fn records(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    // CRC-32C, bit by bit, masked.
    let checksum = |data: &[u8]| {
        let mut crc = !0u32;
        for &byte in data {
            crc ^= u32::from(byte);
            for _ in 0..8 {
                crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
            }
        }
        let crc = !crc;
        crc.rotate_right(15).wrapping_add(0xa282_ead8)
    };
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let take = |bytes: &mut &[u8], n: usize| {
            let (taken, rest) = bytes.split_at(n);
            *bytes = rest;
            taken.to_vec()
        };
        let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
        let length = take(&mut bytes, 8);
        assert_eq!(number(&take(&mut bytes, 4)), checksum(&length));
        let length = u64::from_le_bytes(length.try_into().unwrap());
        let event = take(&mut bytes, length as usize);
        assert_eq!(number(&take(&mut bytes, 4)), checksum(&event));
        records.push(event);
    }
    records
}

/// The four bytes of an event after a tag and the key of its value.
fn scalar(event: &[u8], tag: &str) -> f32 {
    let at = event
        .windows(tag.len())
        .position(|part| part == tag.as_bytes());
    let value = &event[at.unwrap() + tag.len()..];
    assert_eq!(value[0], 0x15, "{tag}: field 2, 32 bits");
    f32::from_le_bytes(value[1..5].try_into().unwrap())
}

#[test]
fn tensorboard_reads_each_report_once_after_a_resume_too() {
    let desk = Desk::new();
    let flags = "text.txt --hidden 12 --batch 4 --seq-len 16 --report-every 10 --shards 2";
    desk.stdout(&format!("train {flags} --steps 25 --tensorboard -o run"));
    // Between two reports there was one more, for eyes alone.
    let events = || records(&read(&desk.path("run/events.out.tfevents.bptt")));
    assert_eq!(events().len(), 1 + 3);
    desk.stdout("train --resume run --steps 40");
    let (version, reports) = events()
        .split_first()
        .map(|(v, r)| (v.clone(), r.to_vec()))
        .unwrap();
    assert!(version.ends_with(b"\x1a\x0dbrain.Event:2"));
    let history = String::from_utf8(read(&desk.path("run/history.jsonl"))).unwrap();
    let history: Vec<Value> = history
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!((reports.len(), history.len()), (4, 4));
    for (event, report) in reports.iter().zip(&history) {
        // After nine bytes of time: field 2, a number below 128.
        assert_eq!(
            [event[9], event[10]],
            [0x10, report["step"].as_u64().unwrap() as u8]
        );
        for (tag, name) in [
            ("loss/train", "train_loss"),
            ("loss/validation", "valid_loss"),
            ("optimisation/learning_rate", "lr"),
            ("optimisation/gradient_norm", "grad_norm"),
        ] {
            assert_eq!(
                scalar(event, tag),
                report[name].as_f64().unwrap() as f32,
                "{tag}"
            );
        }
    }
    // Killed after its checkpoint, in the middle of a record: the last whole one is of step 30.
    let path = desk.path("run/events.out.tfevents.bptt");
    let bytes = read(&path);
    std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
    desk.stdout("train --resume run --steps 50");
    assert_eq!(events().len(), 1 + 5);
    // A run that began without has all of them too.
    desk.stdout(&format!("train {flags} --steps 20 -o late"));
    desk.stdout("train --resume late --steps 30 --tensorboard");
    assert_eq!(
        records(&read(&desk.path("late/events.out.tfevents.bptt"))).len(),
        1 + 3
    );
    // What is no event file of ours stays as it is.
    let strange = [&bytes[..24 + 16 - 4], &[0; 4]].concat();
    for content in [
        &b"my notes, longer than a frame"[..],
        &strange,
        &bytes[40..],
    ] {
        std::fs::write(&path, content).unwrap();
        let words = ["events.out.tfevents.bptt", "move it away"];
        desk.refused("train --resume run --steps 60", 1, &words);
        assert_eq!(read(&path), content);
    }
}

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
