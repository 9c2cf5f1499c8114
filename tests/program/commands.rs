//! What the commands write and print when all is well: the contract that scripts rely on.

use super::{Desk, LINE, read};
use bptt::Cell;
use ndarray::{Array2, Array3};
use serde_json::{Value, json};

#[test]
fn train_leaves_a_run_folder_and_says_what_came_of_it() {
    let desk = Desk::new();
    let lines =
        desk.json("train text.txt --hidden 24 --batch 4 --seq-len 16 --steps 120 --lr 0.01 -o run");
    let done = lines.last().unwrap();
    assert_eq!(done["event"], "done");
    assert_eq!(done["stop_reason"], "finished");
    assert_eq!(done["steps"], 120);
    assert_eq!(done["model"], "run/model.safetensors");
    for name in [
        "epochs",
        "tokens",
        "train_loss",
        "valid_loss",
        "tokens_per_second",
        "seconds",
    ] {
        assert!(
            done[name].as_f64().is_some_and(|x| x > 0.0),
            "{name}: {done}"
        );
    }
    // It has learnt the line, and what it says it reached is what the model does.
    let loss = done["valid_loss"].as_f64().unwrap();
    assert!(loss < 1.0, "{loss}");
    desk.write(
        "end.txt",
        &read(&desk.path("text.txt"))[LINE.len() * 60 - LINE.len() * 6..],
    );
    let eval = &desk.json("eval run end.txt")[0];
    assert!(
        (eval["loss"].as_f64().unwrap() / loss - 1.0).abs() < 1e-6,
        "{eval} {loss}"
    );

    assert_eq!(
        desk.names("run"),
        [
            ".lock",
            "config.json",
            "history.jsonl",
            "last.safetensors",
            "loss.svg",
            "model.safetensors"
        ]
    );
    let config: Value = serde_json::from_slice(&read(&desk.path("run/config.json"))).unwrap();
    assert_eq!(
        (&config["hidden"], &config["lr"]),
        (&24.into(), &0.01.into())
    );
    assert!(config["valid_fraction"] == 0.1 && config["seq_len"] == 16);
    let history = String::from_utf8(read(&desk.path("run/history.jsonl"))).unwrap();
    for line in history.lines() {
        let report: Value = serde_json::from_str(line).unwrap();
        for name in
            "step epoch tokens train_loss valid_loss lr grad_norm tokens_per_second".split(' ')
        {
            assert!(
                report[name].as_f64().is_some_and(|x| x > 0.0),
                "{name}: {line}"
            );
        }
    }
    let plot = String::from_utf8(read(&desk.path("run/loss.svg"))).unwrap();
    assert!(
        plot.contains("validation") && plot.contains("nats"),
        "{plot}"
    );
}

#[test]
fn train_speaks_to_people_too() {
    let desk = Desk::new();
    let assert = desk
        .bptt("train text.txt --hidden 24 --batch 4 --seq-len 16 --steps 120 --lr 0.01 -o run")
        .assert()
        .success();
    let (stdout, stderr) = (&assert.get_output().stdout, &assert.get_output().stderr);
    let (stdout, stderr) = (
        String::from_utf8_lossy(stdout),
        String::from_utf8_lossy(stderr),
    );
    for word in [
        "validation loss",
        "sample:",
        "quick",
        "run/model.safetensors",
        "run/loss.svg",
    ] {
        assert!(stdout.contains(word), "{word}: {stdout}");
    }
    for word in ["characters to train on", "OpenBLAS", "tokens/s", "step"] {
        assert!(stderr.contains(word), "{word}: {stderr}");
    }
    let quiet = desk
        .bptt("train text.txt --hidden 8 --steps 3 --quiet")
        .assert()
        .success();
    assert!(quiet.get_output().stderr.is_empty());
}

#[test]
fn eval_does_not_depend_on_threads() {
    let desk = Desk::new();
    desk.train("run");
    let one = &desk.json("eval run text.txt --threads 1")[0];
    let five = &desk.json("eval run text.txt --threads 5")[0];
    assert_eq!(one, five);
    assert_eq!(one["event"], "eval");
    assert_eq!(one["tokens"], 60 * LINE.len() - 1);
    let (loss, perplexity) = (
        one["loss"].as_f64().unwrap(),
        one["perplexity"].as_f64().unwrap(),
    );
    assert!((perplexity - loss.exp()).abs() < 1e-9);
    assert!((one["bits_per_token"].as_f64().unwrap() - loss / 2f64.ln()).abs() < 1e-9);
    assert!((0.0..=1.0).contains(&one["accuracy"].as_f64().unwrap()));
}

/// Narrower vectors sum in another order: nearly the same loss, not the same bits.
#[cfg(target_arch = "x86_64")]
#[test]
fn vector_instructions_are_chosen_and_recorded() {
    let desk = Desk::new();
    let model = |name: &str, simd: &str| {
        let flags = format!("train text.txt --hidden 16 --steps 20 -o {name}");
        let run = desk.bptt(&flags).env("BPTT_SIMD", simd).assert().success();
        let config = read(&desk.path(name).join("config.json"));
        let config: Value = serde_json::from_slice(&config).unwrap();
        assert_eq!(config["simd"], simd);
        assert!(String::from_utf8_lossy(&run.get_output().stderr).contains(simd));
        read(&desk.path(name).join("model.safetensors"))
    };
    let narrow = model("narrow", "sse2");
    assert_eq!(narrow, model("again", "sse2"));
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        assert_ne!(narrow, model("wide", "avx2"));
    }
    let run = desk
        .bptt("train text.txt -o none")
        .env("BPTT_SIMD", "mmx")
        .assert();
    let run = run.code(2);
    let message = String::from_utf8_lossy(&run.get_output().stderr);
    assert!(
        message.contains("BPTT_SIMD: \"mmx\"") && message.contains("avx2"),
        "{message}"
    );
    assert!(!desk.path("none").exists());
}

#[test]
fn sample_is_seeded_and_goes_on_from_a_prompt() {
    let desk = Desk::new();
    desk.train("run");
    let text = desk.stdout("sample run --prompt quick --length 40 --seed 3");
    assert!(
        text.starts_with("quick") && text.len() == 5 + 40 + 1,
        "{text:?}"
    );
    assert_eq!(
        text,
        desk.stdout("sample run --prompt quick --length 40 --seed 3")
    );
    assert_ne!(
        text,
        desk.stdout("sample run --prompt quick --length 40 --seed 4")
    );
    let greedy = desk.stdout("sample run --temperature 0 --length 40 --seed 3");
    assert_eq!(
        greedy,
        desk.stdout("sample run --top-k 1 --length 40 --seed 4")
    );
    let json = &desk.json("sample run --temperature 0 --length 40")[0];
    assert_eq!(format!("{}\n", json["text"].as_str().unwrap()), greedy);
    // A prompt from a file or a pipe is that from the command line; of bytes, it may be any.
    desk.write("prompt", b"quick");
    let from_file = "--length 40 --seed 3 --prompt-file";
    assert_eq!(text, desk.stdout(&format!("sample run {from_file} prompt")));
    let piped = desk
        .bptt(&format!("sample run {from_file} -"))
        .write_stdin("quick")
        .assert();
    assert_eq!(piped.success().get_output().stdout, text.as_bytes());
    desk.refused(
        "sample run --prompt-file nowhere",
        1,
        &["--prompt-file", "nowhere"],
    );
    desk.write("odd", b"qu\xff");
    desk.refused(
        "sample run --prompt-file odd",
        1,
        &["--prompt-file odd", "offset 2"],
    );
    desk.stdout("train text.txt --tokens byte --hidden 8 --steps 2 -o bytes");
    let bytes = desk
        .bptt("sample bytes --prompt-file odd --length 3")
        .assert()
        .success();
    assert_eq!(bytes.get_output().stdout[..3], *b"qu\xff");
}

/// Of a set of classes, how many answers are right is shown as the network learns, and how much is lost by guessing.
#[test]
fn accuracy_is_seen_while_training() {
    let desk = Desk::new();
    let inputs = Array3::from_shape_fn((40, 6, 2), |(i, t, k)| {
        ((i * 5 + t * 3 + k) % 7) as f32 - 3.0
    });
    let targets = Array2::from_shape_fn((40, 6), |(i, t)| u8::from(inputs[[i, t, 0]] > 0.0));
    desk.npz("set.npz", |npz| {
        npz.add("inputs", &inputs).add("targets", &targets);
    });
    let lines =
        desk.json("train set.npz --hidden 8 --steps 200 --lr 0.02 --report-every 100 -o run");
    let reports: Vec<_> = lines
        .iter()
        .filter(|line| line["event"] == "report")
        .collect();
    let right = |i: usize| reports[i]["train_accuracy"].as_f64().unwrap();
    assert!(
        0.5 < right(0) && right(0) < right(1) && right(1) > 0.95,
        "{reports:?}"
    );
    assert_eq!(
        lines.last().unwrap()["guessing_loss"],
        std::f64::consts::LN_2
    );
    let history = String::from_utf8(read(&desk.path("run/history.jsonl"))).unwrap();
    assert!(history.contains("train_accuracy"), "{history}");
    let plot = String::from_utf8(read(&desk.path("run/loss.svg"))).unwrap();
    assert!(plot.contains("accuracy (%)"), "no accuracy in the plot");
    let said = desk
        .bptt("train set.npz --hidden 8 --steps 2 -o other")
        .assert()
        .success();
    let said = String::from_utf8_lossy(&said.get_output().stderr).into_owned();
    assert!(
        said.contains("(guessing: 0.6931)") && said.contains("accuracy"),
        "{said}"
    );
    let numbers = targets.mapv(f64::from).insert_axis(ndarray::Axis(2));
    desk.npz("numbers.npz", |npz| {
        npz.add("inputs", &inputs).add("targets", &numbers);
    });
    let lines = desk.json("train numbers.npz --loss mse --hidden 8 --steps 2 -o numbers");
    assert!(
        lines
            .iter()
            .all(|line| line.get("train_accuracy").is_none()),
        "{lines:?}"
    );
}

/// What batch systems and other programs are told of cores holds here too; what is no number says nothing.
#[test]
fn the_environment_limits_threads() {
    let desk = Desk::new();
    for (name, value) in [
        ("OMP_NUM_THREADS", "1"),
        ("OMP_NUM_THREADS", "1,4"),
        ("SLURM_CPUS_PER_TASK", "1"),
    ] {
        let mut train = desk.bptt("train text.txt --hidden 8 --steps 1 --log json -o run");
        let said = train
            .env(name, value)
            .assert()
            .success()
            .get_output()
            .stdout
            .clone();
        let start: Value =
            serde_json::from_slice(said.split(|&byte| byte == b'\n').next().unwrap()).unwrap();
        assert_eq!(start["config"]["threads"], 1, "{name}={value}: {start}");
        std::fs::remove_dir_all(desk.path("run")).unwrap();
    }
    let train = |name| desk.bptt(&format!("train text.txt --hidden 8 --steps 1 -o {name}"));
    train("odd")
        .env("OMP_NUM_THREADS", "many")
        .assert()
        .success();
    train("zero").env("OMP_NUM_THREADS", "0").assert().success();
}

#[test]
fn sets_of_numbers_train_and_predict() {
    let desk = Desk::new();
    // The class of each step is the sign of the input before it: a step of memory.
    let inputs = Array3::from_shape_fn((40, 12, 1), |(i, t, _)| {
        if (i * 7 + t * t * 3) % 5 < 2 {
            1.0f32
        } else {
            -1.0
        }
    });
    let targets = Array2::from_shape_fn((40, 12), |(i, t)| {
        u8::from(t > 0 && inputs[[i, t - 1, 0]] > 0.0)
    });
    let mask = Array2::from_shape_fn((40, 12), |(_, t)| t > 0);
    desk.npz("set.npz", |npz| {
        npz.add("inputs", &inputs)
            .add("targets", &targets)
            .add("mask", &mask);
    });
    let done =
        desk.json("train set.npz --hidden 8 --batch 8 --steps 300 --lr 0.02 --dtype f64 -o run");
    assert!(done.last().unwrap()["valid_loss"].as_f64().unwrap() < 0.05);
    let eval = &desk.json("eval run set.npz")[0];
    assert_eq!(
        (&eval["accuracy"], &eval["tokens"]),
        (&1.0.into(), &(40 * 11).into())
    );
    desk.stdout("predict run set.npz");
    let file = std::fs::File::open(desk.path("set-probabilities.npz")).unwrap();
    let y: Array3<f64> = ndarray_npy::NpzReader::new(file)
        .unwrap()
        .by_name("probabilities")
        .unwrap();
    assert_eq!(y.dim(), (40, 12, 2));
    for ((i, t), &class) in targets.indexed_iter().filter(|((_, t), _)| *t > 0) {
        assert!(y[[i, t, class.into()]] > 0.5);
        assert!((y[[i, t, 0]] + y[[i, t, 1]] - 1.0).abs() < 1e-15);
    }
    desk.refused("sample run", 1, &["no model of text"]);
}

#[test]
fn every_kind_of_token_and_optimizer_trains() {
    let desk = Desk::new();
    for (i, flags) in [
        "--tokens byte --optimizer gd",
        "--tokens word --optimizer momentum --min-count 2",
        "--optimizer nesterov --init glorot --dtype f64",
        "--optimizer rmsprop --init identity --reset-state",
        "--optimizer adamw --schedule cosine --clip-value 0.1",
        "--epochs 2 --schedule constant --threads 3 --shards 5 --valid-fraction 0",
    ]
    .iter()
    .enumerate()
    {
        let flags = format!("train text.txt --hidden 12 --seq-len 12 {flags} -o run{i}");
        let steps = if flags.contains("--epochs") {
            ""
        } else {
            "--steps 60"
        };
        let lines = desk.json(&format!("{flags} {steps}"));
        let start = 50f64.ln();
        let loss = lines.last().unwrap()["train_loss"].as_f64().unwrap();
        assert!(loss < start, "{flags}: {loss}");
        desk.json(&format!("sample run{i} --length 5"));
    }
}

/// Every flag has its place in `config.json`, and what is not given follows from what is.
#[test]
fn settings_are_what_was_given_and_what_follows_from_it() {
    let desk = Desk::new();
    let config = |name: &str, flags: &str| -> Value {
        let small = "--hidden 4 --batch 2 --seq-len 8";
        desk.stdout(&format!("train text.txt {small} {flags} -o {name}"));
        serde_json::from_slice(&read(&desk.path(name).join("config.json"))).unwrap()
    };
    let adamw = "--optimizer adamw --clip-norm 3 --memory 64.5k --shards 2 --reset-state --steps 2";
    let adamw = config("adamw", adamw);
    for (field, value) in [
        ("data", json!(["text.txt"])),
        ("optimizer", json!("adamw")),
        ("lr", json!(0.002)),
        ("weight_decay", json!(0.01)),
        ("clip_norm", json!(3.0)),
        ("clip_value", Value::Null),
        ("memory", json!(66_048)),
        ("shards", json!(2)),
        ("reset_state", json!(true)),
        ("steps", json!(2)),
        ("epochs", Value::Null),
        ("warmup", json!(0)),
    ] {
        assert_eq!(adamw[field], value, "{field}");
    }
    let epochs = "--epochs 1 --schedule cosine --seed 5 --threads 3 --optimizer nesterov";
    let epochs = config("epochs", epochs);
    for (field, value) in [
        ("steps", Value::Null),
        ("epochs", json!(1)),
        ("warmup", json!(100)),
        ("lr", json!(0.05)),
        ("weight_decay", json!(0.0)),
        ("seed", json!(5)),
        ("shards", json!(3)),
        ("checkpoint_every", Value::Null),
    ] {
        assert_eq!(epochs[field], value, "{field}");
    }
}

/// A sweep advises the smallest batch, and of those the fewest shards, within a twentieth of the fastest.
#[test]
fn a_sweep_advises_what_it_has_measured() {
    let desk = Desk::new();
    let lines = desk.json("bench --shape 16,5,3,8,3 --seconds 0.01 --threads 1 --sweep");
    let (advice, rows) = lines.split_last().unwrap();
    assert_eq!(advice["event"], "advice");
    let number = |row: &Value, name: &str| row[name].as_f64().unwrap();
    let batches: Vec<f64> = rows.iter().map(|row| number(row, "n")).collect();
    assert_eq!(batches[..5], [16.0, 4.0, 8.0, 32.0, 64.0]);
    let best = |rows: &[Value]| {
        let fraction = |row: &Value| number(row, "roof_fraction");
        let fastest = rows.iter().map(fraction).fold(0.0, f64::max);
        let near = rows.iter().filter(|row| fraction(row) >= 0.95 * fastest);
        let order = |row: &&Value| (number(row, "n") as u64, number(row, "shards") as u64);
        near.min_by_key(order).unwrap().clone()
    };
    // Shards are tried for the batch that was chosen, each against the best so far.
    let mut choice = best(&rows[..5]);
    for row in &rows[5..] {
        choice = best(&[choice, row.clone()]);
    }
    assert_eq!(advice["batch"], choice["n"], "{lines:?}");
    assert_eq!(advice["shards"], choice["shards"], "{lines:?}");
}

#[test]
fn the_generated_task_comes_near_its_best_loss() {
    let desk = Desk::new();
    let lines = desk.json("train --hidden 24 --steps 600 --lr 0.01 -o run");
    let done = lines.last().unwrap();
    let (loss, best) = (
        done["valid_loss"].as_f64().unwrap(),
        done["best_possible_loss"].as_f64().unwrap(),
    );
    assert!((0.44..0.48).contains(&best), "{best}");
    assert!((best..1.03 * best).contains(&loss), "{loss} {best}");
}

#[test]
fn inspect_names_what_there_is() {
    let desk = Desk::new();
    desk.train("run");
    let json = &desk.json("inspect run")[0];
    assert_eq!((&json["n_h"], &json["dtype"]), (&16.into(), &"f32".into()));
    assert_eq!(json["tensors"].as_array().unwrap().len(), 5);
    assert_eq!(json["config"]["batch"], 4);
    assert!(json["spectral_radius"].as_f64().unwrap() > 0.1);
    let text = desk.stdout("inspect run");
    for cell in Cell::ALL.map(Cell::name) {
        let flags = "--hidden 8 --steps 3 --layers 2";
        desk.stdout(&format!("train text.txt {flags} --cell {cell} -o {cell}"));
        let json = &desk.json(&format!("inspect {cell}"))[0];
        assert_eq!((&json["cell"], &json["layers"]), (&cell.into(), &2.into()));
        assert!(json["spectral_radius"].as_f64().unwrap() > 0.1);
    }
    for word in [
        "16 tanh units",
        "rnn.weight_ih_l0",
        "spectral radius",
        "seq_len",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[cfg(unix)]
#[test]
fn a_closed_pipe_ends_quietly() {
    let desk = Desk::new();
    desk.train("run");
    let program = assert_cmd::cargo::cargo_bin("bptt");
    let script = format!(
        "{} sample run --length 100000 | head -c 10 >/dev/null; echo ${{PIPESTATUS[0]}}",
        program.display()
    );
    let output = std::process::Command::new("bash")
        .arg("-c")
        .arg(script)
        .current_dir(desk.path("."))
        .output();
    let output = output.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "0");
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
