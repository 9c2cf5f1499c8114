//! Runs that are killed, interrupted, out of space or robbed of their folder: whatever happens, the folder holds a whole
//! model or none, and the run can go on to the bits of one that nothing happened to.
//!
//! `cargo test` makes 20 kills and every third fault. All of it: `BPTT_KILLS=200 cargo test --test crash`.

mod faults;
mod folders;
mod kills;
mod ruins;
mod signals;

use bptt::model::Model;
use bptt::train::Checkpoint;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// A run of a few reports, small enough that most of its time goes into files.
const SMALL: &str = "text.txt --hidden 8 --batch 4 --seq-len 8 --report-every 8 --steps 28";

/// How many kills, where more than the short version is wanted.
fn kills_wanted() -> Option<usize> {
    let kills = std::env::var("BPTT_KILLS").ok()?;
    Some(kills.parse().expect("BPTT_KILLS is a number"))
}

/// A folder with a text in which runs are made.
struct Scene(TempDir);

impl Scene {
    fn new() -> Self {
        Self::in_folder(&std::env::temp_dir())
    }

    fn in_folder(folder: &Path) -> Self {
        let scene = Scene(tempfile::tempdir_in(folder).unwrap());
        let text = "the quick brown fox jumps over the lazy dog\n".repeat(30);
        std::fs::write(scene.path("text.txt"), text).unwrap();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn bptt(&self, arguments: &str) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("bptt"));
        command
            .current_dir(self.0.path())
            .args(arguments.split_whitespace());
        command
    }

    /// Begins the run, or goes on with it if there is one: what a user would do who knows nothing of what happened.
    fn train(&self, run: &str, flags: &str) -> Command {
        let mut command = match self.path(run).join("config.json").exists() {
            true => self.bptt(&format!("train --resume {run} --threads 1")),
            false => self.bptt(&format!("train {flags} --threads 1 --shards 2 -o {run}")),
        };
        command.args(["--log", "json"]);
        listens(&mut command);
        command
    }

    /// Trains to the end, which must be reached.
    #[track_caller]
    fn finish(&self, run: &str, flags: &str) -> Outcome {
        let output = self.train(run, flags).output().unwrap();
        assert!(output.status.success(), "{run}: {}", said(&output));
        self.check(run);
        Outcome::of(&self.path(run))
    }

    /// The models of a run folder, if there are any, are whole ones.
    #[track_caller]
    fn check(&self, run: &str) {
        let path = |name: &str| Some(self.path(run).join(name)).filter(|path| path.exists());
        if let Some(path) = path("model.safetensors") {
            Model::<f32>::read(&path).unwrap();
        }
        if let Some(path) = path("last.safetensors") {
            Checkpoint::<f32>::read(&path).unwrap();
        }
        if let Some(path) = path("config.json") {
            let text = std::fs::read(path).unwrap();
            serde_json::from_slice::<serde_json::Value>(&text).unwrap();
        }
    }
}

/// What a run comes to.
#[derive(PartialEq)]
struct Outcome {
    model: Vec<u8>,
    last: Vec<u8>,
    /// Without the time it took.
    history: Vec<String>,
    names: Vec<String>,
}

impl Outcome {
    fn of(folder: &Path) -> Self {
        let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
        let history = String::from_utf8(read("history.jsonl")).unwrap();
        let line = |line: &str| line.split(",\"tokens_per_second\"").next().unwrap().into();
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        Outcome {
            model: read("model.safetensors"),
            last: read("last.safetensors"),
            history: history.lines().map(line).collect(),
            names,
        }
    }

    #[track_caller]
    fn assert_is(&self, expected: &Outcome, what: &str) {
        assert_eq!(self.names, expected.names, "{what}");
        assert_eq!(self.history, expected.history, "{what}");
        assert!(self.model == expected.model, "{what}: model.safetensors");
        assert!(self.last == expected.last, "{what}: last.safetensors");
    }
}

/// Standard error of a program that did not panic.
#[track_caller]
fn said(output: &Output) -> String {
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!message.contains("panicked"), "{message}");
    message
}

/// Whoever runs the tests may have them ignore signals, as a script does in the background; the program would too.
#[cfg(unix)]
#[allow(unsafe_code)]
fn listens(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    let to_default = || {
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            // SAFETY: `signal` may be called between fork and exec.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        Ok(())
    };
    // SAFETY: the closure does nothing but what is said above.
    unsafe { command.pre_exec(to_default) };
}

#[cfg(not(unix))]
fn listens(_: &mut Command) {}
