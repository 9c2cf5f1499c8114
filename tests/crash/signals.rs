//! Signals, and outputs that nobody reads.
#![cfg(unix)]

use super::folders::{ENDLESS, at_work};
use super::{SMALL, Scene, said};
use bptt::train::Checkpoint;
use std::io::BufRead;
use std::process::{Command, Stdio};
use std::time::Duration;

pub fn send(signal: &str, process: u32) {
    let sent = Command::new("kill")
        .args([signal, &process.to_string()])
        .status();
    assert!(sent.unwrap().success());
}

#[test]
fn one_signal_saves_and_stops() {
    for signal in ["-INT", "-TERM", "-HUP"] {
        let scene = Scene::new();
        let (child, lines) = at_work(&scene, "run", ENDLESS);
        send(signal, child.id());
        let last = lines.map(Result::unwrap).last().unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(
            output.status.code(),
            Some(130),
            "{signal}: {}",
            said(&output)
        );
        let done: serde_json::Value = serde_json::from_str(&last).unwrap();
        assert_eq!(done["stop_reason"], "interrupted", "{signal}: {last}");
        let (checkpoint, _) = Checkpoint::<f32>::read(&scene.path("run/last.safetensors")).unwrap();
        assert_eq!(checkpoint.progress.step, done["steps"].as_u64().unwrap());
    }
}

/// The second does not wait for the step, of a second or more here.
#[test]
fn two_signals_stop_at_once_and_the_last_checkpoint_stays() {
    let scene = Scene::new();
    let flags = "text.txt --hidden 1200 --init glorot --batch 16 --seq-len 64 --report-every 1 --steps 1000 \
                 --valid-fraction 0 --clip-norm 1";
    let (child, lines) = at_work(&scene, "run", flags);
    send("-INT", child.id());
    std::thread::sleep(Duration::from_millis(20));
    send("-TERM", child.id());
    let rest: Vec<_> = lines.map(Result::unwrap).collect();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", said(&output));
    assert!(
        !rest.iter().any(|line| line.contains("\"done\"")),
        "{rest:?}"
    );
    scene.check("run");
}

/// Before there is anything to save, the first signal ends the program, and leaves nothing.
#[test]
fn a_signal_at_the_start_ends_it() {
    let scene = Scene::new();
    for i in 0..10 {
        let run = format!("run-{i}");
        let mut command = scene.train(&run, SMALL);
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(2 * i));
        send("-TERM", child.id());
        let code = child.wait().unwrap().code();
        // None before it listens, zero where it has ended already.
        assert!([None, Some(130), Some(0)].contains(&code), "{code:?}");
        scene.check(&run);
        scene.finish(&run, SMALL);
    }
}

/// `nohup bptt train`: what the program was started to ignore, it ignores.
#[test]
fn a_signal_that_is_ignored_stays_ignored() {
    let scene = Scene::new();
    let program = assert_cmd::cargo::cargo_bin("bptt");
    let script = format!(
        "trap '' HUP; exec {} train {ENDLESS} -o run --log json",
        program.display()
    );
    let mut child = Command::new("sh")
        .args(["-c", &script])
        .current_dir(scene.path("."))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    let mut reports = 0;
    let mut next_report = || {
        assert!(
            lines.any(|line| line.unwrap().contains("\"report\"")),
            "it ended after {reports}"
        );
        reports += 1;
    };
    next_report();
    send("-HUP", child.id());
    send("-HUP", child.id());
    (0..20).for_each(|_| next_report());
    send("-TERM", child.id());
    (0..).try_for_each(|_| lines.next().map(drop));
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

/// Whoever reads the output may go: the run ends quietly, and what it reached is kept.
#[test]
fn a_closed_pipe_ends_a_run_quietly() {
    for flags in [
        "--report-every 20",
        "--report-every 20 --checkpoint-every 1000000",
    ] {
        let scene = Scene::new();
        let (mut child, lines) =
            at_work(&scene, "run", &ENDLESS.replace("--report-every 20", flags));
        drop(lines);
        let mut message = String::new();
        std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut message).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{message}");
        assert!(
            !message.contains("error") && !message.contains("panicked"),
            "{message}"
        );
        let (checkpoint, _) = Checkpoint::<f32>::read(&scene.path("run/last.safetensors")).unwrap();
        assert!(checkpoint.progress.step >= 20);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_cannot_be_written_is_named() {
    let scene = Scene::new();
    let full = || {
        std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap()
    };
    for arguments in [
        format!("train {SMALL} -o run"),
        format!("train {SMALL} -o json --log json"),
    ] {
        let output = scene.bptt(&arguments).stdout(full()).output().unwrap();
        let message = said(&output);
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(
            message.contains("standard output: No space left"),
            "{message}"
        );
    }
    // The work is not lost for that.
    scene.check("run");
    assert!(scene.bptt("inspect run").output().unwrap().status.success());
}
