//! The flavours of OpenBLAS that Debian packages, each under the same program: right results from all, and a line where
//! one of them costs speed.
//!
//! `tests/fixtures/flavours.sh` fetches what the system does not have; without it there is nothing to compare here.
#![cfg(target_os = "linux")]

use bptt::model::Model;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Losses of runs that differ in the kernels of their products alone: rounding in `f64`, and 60 steps of training.
const TOLERANCE: f64 = 1e-6;

/// A flavour's folder, to come first where libraries are looked for.
fn folder(flavour: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("target/flavours")
        .join(flavour);
    if folder.join("libopenblas.so.0").exists() {
        return Some(folder);
    }
    eprintln!("skipped {flavour}: tests/fixtures/flavours.sh fetches it into target/flavours");
    None
}

struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Desk(tempfile::tempdir().unwrap());
        let text = "the quick brown fox jumps over the lazy dog\n".repeat(60);
        std::fs::write(desk.0.path().join("text.txt"), text).unwrap();
        desk
    }

    /// `bptt` on this flavour; it must succeed.
    #[track_caller]
    fn bptt(&self, libraries: &Path, arguments: &str) -> Output {
        let output = Command::new(assert_cmd::cargo::cargo_bin("bptt"))
            .current_dir(self.0.path())
            .env("LD_LIBRARY_PATH", libraries)
            .args(arguments.split_whitespace())
            .output()
            .unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{libraries:?} {arguments}: {message}"
        );
        assert!(
            !message.contains("OpenBLAS : ") && !message.contains("BLAS error"),
            "{message}"
        );
        output
    }

    /// Trains 60 steps; the last event.
    fn train(&self, libraries: &Path, name: &str, flags: &str) -> (Value, String) {
        let output = self.bptt(
            libraries,
            &format!(
                "train text.txt --hidden 32 --batch 16 --seq-len 16 --steps 60 --dtype f64 --shards 8 --log json \
                 {flags} -o {name}"
            ),
        );
        let events = String::from_utf8(output.stdout).unwrap();
        let done = serde_json::from_str(events.lines().last().unwrap()).unwrap();
        (done, String::from_utf8(output.stderr).unwrap())
    }
}

/// What the flavour is called by the program, and whether it is said to cost speed.
const FLAVOURS: [(&str, &str, bool); 3] = [
    ("pthread", "(pthread,", false),
    ("openmp", "(OpenMP,", false),
    ("serial", "(serial,", true),
];

#[test]
fn every_flavour_gives_the_same_results() {
    let desk = Desk::new();
    let (system, _) = desk.train(Path::new(""), "system", "--threads 4");
    let expected = system["valid_loss"].as_f64().unwrap();
    for (flavour, name, slow) in FLAVOURS {
        let Some(libraries) = folder(flavour) else {
            continue;
        };
        let (done, message) = desk.train(&libraries, flavour, "--threads 4");
        assert!(
            message.contains(name),
            "{flavour} was not loaded: {message}"
        );
        assert_eq!(message.contains("take turns"), slow, "{message}");
        let loss = done["valid_loss"].as_f64().unwrap();
        assert!(
            (loss / expected - 1.0).abs() <= TOLERANCE,
            "{flavour}: {loss} {expected}"
        );
        // Threads are no part of the result here either: an unlocked library would show in some bit of these.
        let model = |run: &str| {
            let path = desk.0.path().join(run).join("model.safetensors");
            Model::<f64>::read(&path).unwrap().network
        };
        for round in 0..3 {
            let run = format!("{flavour}-{round}");
            desk.train(&libraries, &run, &format!("--threads {}", [1, 8, 3][round]));
            assert!(model(&run) == model(flavour), "{flavour}, round {round}");
        }
    }
}

/// More threads than OpenBLAS has room for are not started, and that is said.
#[test]
fn hundreds_of_threads_on_every_flavour() {
    let desk = Desk::new();
    let system = Some(PathBuf::new());
    let flavours = [("system", system)]
        .into_iter()
        .chain(FLAVOURS.map(|(f, ..)| (f, folder(f))));
    for (flavour, libraries) in flavours.filter_map(|(f, libraries)| Some((f, libraries?))) {
        for threads in [200, 1000] {
            let run = format!("{flavour}-{threads}");
            let output = desk.bptt(
                &libraries,
                &format!(
                    "train text.txt --hidden 16 --batch 256 --seq-len 4 --steps 20 --threads {threads} --shards 256 -o {run}"
                ),
            );
            let message = String::from_utf8_lossy(&output.stderr);
            assert!(message.contains("threads are used"), "{flavour}: {message}");
            desk.bptt(
                &libraries,
                &format!("eval {run} text.txt --threads {threads}"),
            );
        }
    }
}

/// Not silently slow: eight threads of any flavour take no more than a few times what one takes.
#[test]
fn no_flavour_gets_slower_by_threads() {
    let desk = Desk::new();
    for (flavour, ..) in FLAVOURS {
        let Some(libraries) = folder(flavour) else {
            continue;
        };
        let seconds = |threads: usize| {
            let run = format!("{flavour}-slow-{threads}");
            let (done, _) = desk.train(&libraries, &run, &format!("--threads {threads}"));
            done["seconds"].as_f64().unwrap()
        };
        let (one, eight) = (seconds(1), seconds(8));
        // An OpenMP build that starts its own threads in each of ours takes thirty times as long.
        assert!(
            eight < 8.0 * one + 0.5,
            "{flavour}: {eight} s instead of {one} s"
        );
    }
}
