//! The program, run as its users run it, in temporary folders.

mod bad_input;
mod commands;
mod endurance;
mod examples;
mod flavours;
mod going_on;
mod networks;
mod numpy;
mod resume;
mod seeing;

use assert_cmd::Command;
use ndarray::{Array, Dimension};
use ndarray_npy::{NpzWriter, WritableElement};
use serde_json::Value;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A line that a small network learns by heart.
const LINE: &str = "the quick brown fox jumps over the lazy dog\n";

/// A folder with `text.txt`, in which commands run.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Desk(tempfile::tempdir().unwrap());
        desk.write("text.txt", LINE.repeat(60).as_bytes());
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// `bptt` with arguments, here.
    fn bptt(&self, arguments: &str) -> Command {
        let mut command = Command::cargo_bin("bptt").unwrap();
        command
            .current_dir(self.0.path())
            .args(arguments.split_whitespace());
        command
    }

    /// Standard output of a command that must succeed.
    fn stdout(&self, arguments: &str) -> String {
        let output = self
            .bptt(arguments)
            .assert()
            .success()
            .get_output()
            .stdout
            .clone();
        String::from_utf8(output).unwrap()
    }

    /// The JSON lines of a command that must succeed.
    fn json(&self, arguments: &str) -> Vec<Value> {
        self.stdout(&format!("{arguments} --log json"))
            .lines()
            .map(|line| serde_json::from_str(line).expect("nothing but JSON"))
            .collect()
    }

    /// The message of a command that must fail with this status; it must say each of these words and tell of no panic.
    #[track_caller]
    fn refused(&self, arguments: &str, status: i32, words: &[&str]) -> String {
        let assert = self.bptt(arguments).assert().code(status);
        let message = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        for word in words {
            assert!(
                message.contains(word),
                "`{arguments}`: no {word:?} in: {message}"
            );
        }
        assert!(!message.contains("panicked"), "{message}");
        message
    }

    /// Trains a small model of `text.txt` into the folder `name`.
    fn train(&self, name: &str) {
        self.stdout(&format!(
            "train text.txt --hidden 16 --batch 4 --seq-len 16 --steps 40 -o {name}"
        ));
    }

    fn npz(&self, name: &str, build: impl FnOnce(&mut Npz)) {
        let mut npz = Npz(NpzWriter::new(
            std::fs::File::create(self.path(name)).unwrap(),
        ));
        build(&mut npz);
        npz.0.finish().unwrap();
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.path(folder))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

struct Npz(NpzWriter<std::fs::File>);

impl Npz {
    fn add<A: WritableElement, D: Dimension>(
        &mut self,
        name: &str,
        array: &Array<A, D>,
    ) -> &mut Self {
        self.0.add_array(name, array).unwrap();
        self
    }
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}
