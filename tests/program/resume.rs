//! A run that was stopped and went on ends in the files of one that was not.

use super::{Desk, read};
use ndarray::{Array2, Array3};

/// Runs `flags` in one go, and in two with a stop after `first` steps; compares what is left.
fn check(desk: &Desk, name: &str, flags: &str, first: u64, all: u64) {
    desk.stdout(&format!(
        "train {flags} --steps {all} --threads 2 --shards 3 -o {name}-whole"
    ));
    desk.stdout(&format!(
        "train {flags} --steps {first} --threads 1 --shards 3 -o {name}-parts"
    ));
    desk.stdout(&format!(
        "train --resume {name}-parts --steps {all} --threads 3"
    ));
    for file in ["model.safetensors", "last.safetensors"] {
        let [whole, parts] =
            ["whole", "parts"].map(|run| read(&desk.path(&format!("{name}-{run}/{file}"))));
        assert!(whole == parts, "{flags}: {file} differs");
    }
    // The histories too, but for the time they took.
    let [whole, parts] = ["whole", "parts"].map(|run| {
        let text =
            String::from_utf8(read(&desk.path(&format!("{name}-{run}/history.jsonl")))).unwrap();
        text.lines()
            .map(|line| {
                line.split(",\"tokens_per_second\"")
                    .next()
                    .unwrap()
                    .to_string()
            })
            .collect::<Vec<_>>()
    });
    assert_eq!(whole, parts, "{flags}");
}

#[test]
fn text() {
    let desk = Desk::new();
    for (i, optimizer) in ["gd", "momentum", "nesterov", "rmsprop", "adam", "adamw"]
        .iter()
        .enumerate()
    {
        // In the middle of an epoch, of a window between reports, and at a report.
        let first = [17, 20, 33][i % 3];
        let flags = format!(
            "text.txt --hidden 12 --batch 4 --seq-len 16 --report-every 10 --optimizer {optimizer}"
        );
        check(&desk, optimizer, &flags, first, 47);
    }
}

#[test]
fn sets() {
    let desk = Desk::new();
    let inputs = Array3::from_shape_fn((30, 9, 2), |(i, t, k)| {
        ((i * 5 + t * 3 + k) % 7) as f64 / 7.0
    });
    let targets = Array2::from_shape_fn((30, 9), |(i, t)| ((i + t) % 3) as i32);
    desk.npz("set.npz", |npz| {
        npz.add("inputs", &inputs).add("targets", &targets);
    });
    check(
        &desk,
        "whole",
        "set.npz --hidden 6 --batch 4 --report-every 5 --dtype f64",
        13,
        30,
    );
    check(
        &desk,
        "windows",
        "set.npz --hidden 6 --batch 4 --seq-len 4 --report-every 5",
        13,
        30,
    );
}

#[test]
fn dropout_segments_and_lengths() {
    let desk = Desk::new();
    check(
        &desk,
        "dropout",
        "text.txt --hidden 12 --batch 4 --seq-len 16 --report-every 10 --dropout 0.3 --input-dropout 0.1 --memory 37k",
        17,
        47,
    );
    let inputs = Array2::from_shape_fn((30, 9), |(i, t)| ((i * 5 + t * 3) % 7) as i32);
    let targets = Array2::from_shape_fn((30, 9), |(i, t)| ((i + t) % 3) as i32);
    let lengths = ndarray::Array1::from_shape_fn(30, |i| (i * 4 % 9 + 1) as i64);
    desk.npz("set.npz", |npz| {
        npz.add("inputs", &inputs)
            .add("targets", &targets)
            .add("lengths", &lengths);
    });
    check(
        &desk,
        "lengths",
        "set.npz --hidden 6 --batch 4 --report-every 5 --dropout 0.2",
        13,
        30,
    );
    desk.refused(
        "train --resume dropout-whole --dropout 0.2",
        1,
        &["--dropout", "0.2", "0.3"],
    );
}

/// A run in the folder of its data is no data.
#[test]
fn a_run_beside_its_texts() {
    let desk = Desk::new();
    for name in ["a.txt", "more/b.txt"] {
        desk.write(&format!("book/{name}"), &super::LINE.as_bytes().repeat(20));
    }
    let flags = "book --hidden 8 --batch 4 --seq-len 8";
    check(&desk, "book/run", flags, 5, 9);
    desk.stdout(&format!("train {flags} --steps 2 -o other"));
    let fingerprint = |run: &str| -> serde_json::Value {
        let config = read(&desk.path(&format!("{run}/config.json")));
        serde_json::from_slice::<serde_json::Value>(&config).unwrap()["digest"].take()
    };
    assert_eq!(fingerprint("book/run-whole"), fingerprint("other"));
    assert!(fingerprint("other").is_string());
}

#[test]
fn several_files() {
    let desk = Desk::new();
    // Longer and shorter than a window, some of a few characters, one of one.
    for (i, n) in [90, 3, 400, 1, 17, 16, 2, 1000, 5, 44, 230]
        .iter()
        .enumerate()
    {
        let text: String = super::LINE.chars().cycle().skip(7 * i).take(*n).collect();
        desk.write(&format!("texts/{i:02}.txt"), text.as_bytes());
    }
    let flags = "texts --hidden 12 --batch 4 --report-every 10";
    check(&desk, "files", &format!("{flags} --seq-len 16"), 17, 47);
    let words = format!("{flags} --tokens word --seq-len 5");
    check(&desk, "words", &words, 13, 30);
    let dropped = format!("{flags} --seq-len 16 --dropout 0.2 --memory 80k --dtype f64");
    check(&desk, "dropped", &dropped, 20, 47);

    // What is said of both is what is said of each.
    let eval = |data: &str| desk.json(&format!("eval dropped-whole {data}")).remove(0);
    let [both, one, other] =
        ["texts/07.txt texts/10.txt", "texts/07.txt", "texts/10.txt"].map(eval);
    let total =
        |of: &serde_json::Value| of["loss"].as_f64().unwrap() * of["tokens"].as_f64().unwrap();
    assert_eq!(both["tokens"], 999 + 229);
    assert!((total(&both) / (total(&one) + total(&other)) - 1.0).abs() < 1e-12);

    // The same text, cut elsewhere, is other data.
    let [a, b] = ["texts/05.txt", "texts/06.txt"].map(|name| read(&desk.path(name)));
    desk.write("texts/05.txt", &[&a[..], &b[..1]].concat());
    desk.write("texts/06.txt", &b[1..]);
    let words = ["data is not what the run was started with", "texts"];
    desk.refused("train --resume files-whole --steps 50", 1, &words);
}

/// The rates in the history of a run.
fn rates(desk: &Desk, run: &str) -> Vec<f64> {
    let history = String::from_utf8(read(&desk.path(&format!("{run}/history.jsonl")))).unwrap();
    let report = |line| serde_json::from_str::<serde_json::Value>(line).unwrap();
    history
        .lines()
        .map(|line| report(line)["lr"].as_f64().unwrap())
        .collect()
}

#[test]
fn rates_follow_their_schedule_through_a_stop() {
    let desk = Desk::new();
    let run = |name: &str, flags: &str, [first, all]: [u64; 2]| {
        let flags = format!("text.txt --hidden 8 --batch 4 --seq-len 16 --report-every 1 {flags}");
        desk.stdout(&format!("train {flags} --steps {first} -o {name}"));
        desk.stdout(&format!("train --resume {name} --steps {all}"));
        rates(&desk, name)
    };
    let near = |found: Vec<f64>, expected: &[f64]| {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found / expected - 1.0).abs() < 1e-14, "{found} {expected}");
        }
    };
    let rates = run("warm", "--schedule constant --warmup 3 --lr 0.04", [2, 6]);
    near(rates, &[0.01, 0.02, 0.03, 0.04, 0.04, 0.04]);
    // A cosine reaches zero after all steps there are to be: five at first (each 45 degrees further, when it is warm), then
    // ten (20 degrees).
    let rates = run("cosine", "--schedule cosine --warmup 1 --lr 0.02", [5, 10]);
    let expected = [
        0.01,
        0.02,
        0.017_071_067_811_865_475,
        0.01,
        0.002_928_932_188_134_525,
        0.011_736_481_776_669_304,
        0.008_263_518_223_330_696,
        0.005,
        0.002_339_555_568_810_22,
        0.000_603_073_792_140_916_2,
    ];
    near(rates, &expected);
    let halves = [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125];
    let rates = run("halves", "--optimizer gd --lr 1e-30", [6, 11]);
    near(rates, &halves.map(|half| 1e-30 * half));
}

#[test]
fn what_the_data_decides_is_written_down() {
    let desk = Desk::new();
    desk.stdout("train text.txt --hidden 8 --batch 4 --steps 6 -o run");
    let config = read(&desk.path("run/config.json"));
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    assert_eq!(config["seq_len"], 64);
    assert_eq!(config["valid_fraction"], 0.1);
    assert!(config["report_every"].as_u64().unwrap() > 0);
    desk.refused(
        "train --resume run --seq-len 32",
        1,
        &["--seq-len", "32", "64"],
    );
    desk.stdout("train --resume run --seq-len 64 --steps 9");
}

#[test]
fn another_setting_or_other_data_is_refused_by_name() {
    let desk = Desk::new();
    desk.train("run");
    desk.refused(
        "train --resume run --hidden 17",
        1,
        &["--hidden", "17", "16"],
    );
    desk.refused("train --resume run --seed 1", 1, &["--seed"]);
    desk.refused("train --resume run --steps 3", 1, &["--steps 3", "40"]);
    desk.write(
        "text.txt",
        "other words, as many lines\n".repeat(80).as_bytes(),
    );
    desk.refused("train --resume run --steps 50", 1, &["data", "text.txt"]);
}

/// What the result does not depend on may differ, and a run may become longer.
#[test]
fn settings_that_are_free_may_differ() {
    let desk = Desk::new();
    desk.train("run");
    std::fs::rename(desk.path("text.txt"), desk.path("moved.txt")).unwrap();
    let free = "--threads 2 --checkpoint-every 5 --reduction fast --tensorboard";
    desk.stdout(&format!(
        "train moved.txt --resume run --epochs 3 --steps 45 {free}"
    ));
    let config = read(&desk.path("run/config.json"));
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    let found =
        ["data", "epochs", "steps", "threads", "tensorboard"].map(|name| config[name].to_string());
    assert_eq!(found, ["[\"moved.txt\"]", "3", "45", "2", "true"]);
    for other in ["--vocab-size 64", "--clip-value 1", "--reset-state"] {
        let flag = other.split(' ').next().unwrap();
        desk.refused(
            &format!("train --resume run {other}"),
            1,
            &[flag, "differs"],
        );
    }
}

#[cfg(unix)]
#[test]
fn an_interrupt_saves_and_the_run_goes_on() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    let desk = Desk::new();
    let flags = "text.txt --hidden 32 --batch 4 --seq-len 16 --report-every 50 --shards 2";
    let program = assert_cmd::cargo::cargo_bin("bptt");
    let mut run = Command::new(program)
        .args(format!("train {flags} --steps 1000000 --log json -o run").split(' '))
        .current_dir(desk.path("."))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(run.stdout.take().unwrap()).lines();
    // After the first report it is at work.
    assert!(lines.any(|line| line.unwrap().contains("\"report\"")));
    let killed = Command::new("kill")
        .args(["-TERM", &run.id().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(run.wait().unwrap().code(), Some(130));
    let done: serde_json::Value = serde_json::from_str(rest.last().unwrap()).unwrap();
    assert_eq!(done["stop_reason"], "interrupted");
    let stopped = done["steps"].as_u64().unwrap();

    let more = stopped + 60;
    let mut config: serde_json::Value =
        serde_json::from_slice(&read(&desk.path("run/config.json"))).unwrap();
    config["steps"] = more.into();
    desk.write("run/config.json", config.to_string().as_bytes());
    desk.stdout("train --resume run");
    desk.stdout(&format!("train {flags} --steps {more} -o whole"));
    for file in ["model.safetensors", "last.safetensors"] {
        let [run, whole] = ["run", "whole"].map(|run| read(&desk.path(&format!("{run}/{file}"))));
        assert!(run == whole, "{file} differs");
    }
}
