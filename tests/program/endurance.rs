//! A long run neither grows nor slows down. Not part of `cargo test`, for the minutes it takes:
//! `cargo test --release --test program -- endurance --ignored --nocapture`.
#![cfg(target_os = "linux")]

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

const STEPS: u64 = 200_000;

/// Growth of the resident memory from the middle of the run on, when the picture has all the points that it ever has, and of files that
/// do not hold the history.
const GROWTH: f64 = 1.01;

/// How much slower the last tenth may be than the first. The machine's own speed drifts by a quarter.
const SLOWER: f64 = 1.5;

fn resident(process: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn size(path: &Path) -> f64 {
    std::fs::metadata(path).unwrap().len() as f64
}

#[test]
#[ignore = "takes minutes"]
fn two_hundred_thousand_steps() {
    let desk = tempfile::tempdir().unwrap();
    let text = "the quick brown fox jumps over the lazy dog\n".repeat(200);
    std::fs::write(desk.path().join("text.txt"), text).unwrap();
    let flags = format!(
        "train text.txt --hidden 16 --batch 8 --seq-len 16 --steps {STEPS} --report-every 100 --schedule constant \
         --lr 1e-4 --threads 2 --shards 2 --log json -o run"
    );
    let mut child = Command::new(assert_cmd::cargo::cargo_bin("bptt"))
        .current_dir(desk.path())
        .args(flags.split_whitespace())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (mut memory, mut speed, mut model) = (Vec::new(), Vec::new(), Vec::new());
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        if event["event"] == "report" {
            memory.extend(resident(child.id()));
            speed.push(event["tokens_per_second"].as_f64().unwrap());
            model.push(size(&desk.path().join("run/last.safetensors")));
        }
    }
    assert!(child.wait().unwrap().success());
    let reports = (STEPS / 100) as usize;
    assert_eq!(speed.len(), reports);

    let half = memory[reports / 2];
    let most = memory.iter().copied().fold(0.0, f64::max);
    println!(
        "memory: {} kB after 100 steps, {half} kB in the middle, {most} kB at most",
        memory[0]
    );
    assert!(most <= GROWTH * half, "{most} kB, {half} kB in the middle");

    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let (first, last) = (
        mean(&speed[..reports / 10]),
        mean(&speed[reports - reports / 10..]),
    );
    println!("speed: {first:.0} tokens/s in the first tenth, {last:.0} in the last");
    assert!(last * SLOWER >= first, "{last} tokens/s, {first} at first");

    // A checkpoint holds a few counters that get longer; the history a line a report; the plot a bounded number of points.
    let run = desk.path().join("run");
    println!(
        "files: last.safetensors {} to {} bytes, history.jsonl {}, loss.svg {}",
        model[0],
        model[reports - 1],
        size(&run.join("history.jsonl")),
        size(&run.join("loss.svg"))
    );
    assert!(model[reports - 1] <= GROWTH * model[0] + 64.0);
    assert!(size(&run.join("history.jsonl")) <= 350.0 * reports as f64);
    assert!(size(&run.join("loss.svg")) <= 40_000.0);
}
