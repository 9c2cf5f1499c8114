//! Data of every kind end to end.

use super::*;

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
