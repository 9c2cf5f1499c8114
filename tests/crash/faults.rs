//! A kill or an error at every call that changes a file, one after another (`fixtures/fault.c`).

use super::{SMALL, Scene, kills_wanted, said};
use std::collections::HashSet;
use std::path::PathBuf;
use std::process::Command;

/// The library that makes calls fail.
fn shim(scene: &Scene) -> PathBuf {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/fault.c");
    let library = scene.path("fault.so");
    // Rust links with it, so it is there.
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
        .arg(&library)
        .arg(source)
        .arg("-ldl")
        .status();
    assert!(built.unwrap().success(), "cc cannot build fault.c");
    library
}

/// Runs into the fault at call `at`, then goes on without; false if the run ended before it.
fn run_into(
    scene: &Scene,
    shim: &PathBuf,
    mode: &str,
    at: usize,
    expected: &super::Outcome,
) -> bool {
    let run = format!("{mode}-{at}");
    let log = scene.path(&format!("{run}.log"));
    let output = scene
        .train(&run, SMALL)
        .env("LD_PRELOAD", shim)
        .env("FAULT_MODE", mode)
        .env("FAULT_AT", at.to_string())
        .env("FAULT_LOG", &log)
        .output()
        .unwrap();
    let message = said(&output);
    if !log.exists() {
        assert!(output.status.success(), "{run}: {message}");
        return false;
    }
    match mode {
        // The last call may be one that needs no space.
        "full" if output.status.success() => {}
        "kill" => assert_eq!(output.status.code(), None, "{run}: {message}"),
        _ => {
            assert_eq!(output.status.code(), Some(1), "{run}: {message}");
            let (line, reason) = (
                message.lines().last().unwrap(),
                match mode {
                    "full" => "No space left",
                    _ => "Input/output error",
                },
            );
            // What was wrong, and with which file.
            assert!(
                line.starts_with("error: ") && line.contains(reason) && line.contains(&run),
                "{run}: {message}"
            );
        }
    }
    if scene.path(&run).exists() {
        scene.check(&run);
    }
    scene.finish(&run, SMALL).assert_is(expected, &run);
    true
}

fn sweep(mode: &str) {
    let scene = Scene::new();
    let shim = shim(&scene);
    let expected = scene.finish("whole", SMALL);
    let stride = if kills_wanted().is_some() { 1 } else { 3 };
    let faults = (1..)
        .step_by(stride)
        .take_while(|&at| run_into(&scene, &shim, mode, at, &expected))
        .count();
    // Three reports and the end, each with its files: fewer calls would mean that they are not seen.
    assert!(faults * stride >= 40, "only {faults} faults");
    println!("{mode}: {faults} faults");
}

#[test]
fn a_kill_at_every_change_of_a_file() {
    sweep("kill");
}

#[test]
fn an_error_at_every_change_of_a_file() {
    sweep("once");
}

#[test]
fn a_disk_that_is_full_from_any_moment_on() {
    sweep("full");
}

/// What a power failure leaves is what was synced: the content of a file before it gets its name, the name before anything
/// is built on it, and the lines of the history before the checkpoint that knows of them.
#[test]
fn nothing_is_named_before_it_is_on_the_disk() {
    let scene = Scene::new();
    let root = scene.path("").canonicalize().unwrap();
    let mut train = scene.train("run", SMALL);
    train.env("LD_PRELOAD", shim(&scene));
    let trained = train
        .env("FAULT_TRACE", scene.path("trace"))
        .output()
        .unwrap();
    assert!(trained.status.success(), "{}", said(&trained));
    let trace = std::fs::read_to_string(scene.path("trace")).unwrap();
    let parent = |path: &PathBuf| path.parent().unwrap().to_owned();
    let (mut unsynced, mut unnamed, mut checkpoints) = (HashSet::new(), HashSet::new(), 0);
    for line in trace.lines() {
        let words: Vec<_> = line.split(' ').collect();
        let path = |i: usize| root.join(words[i]);
        match words[0] {
            "write" => drop(unsynced.insert(path(1))),
            "mkdir" => drop(unnamed.insert(parent(&path(1)))),
            "fsync" => {
                unsynced.remove(&path(1));
                unnamed.remove(&path(1));
            }
            "rename" => {
                assert!(
                    !unsynced.contains(&path(1)),
                    "{line}: not synced, in\n{trace}"
                );
                if path(2).ends_with("last.safetensors") {
                    assert!(
                        unsynced.is_empty() && unnamed.is_empty(),
                        "{line}: {unsynced:?} {unnamed:?} in\n{trace}"
                    );
                    checkpoints += 1;
                }
                unnamed.insert(parent(&path(2)));
            }
            other => panic!("{other}"),
        }
    }
    assert!(
        unsynced.is_empty() && unnamed.is_empty(),
        "{unsynced:?} {unnamed:?} in\n{trace}"
    );
    assert!(checkpoints >= 3, "{trace}");
}
