//! Folders that are full, read-only, taken away, or somebody else's already.

use super::{Outcome, SMALL, Scene, said};
use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

/// A run that does not end by itself.
pub const ENDLESS: &str =
    "text.txt --hidden 8 --batch 4 --seq-len 8 --report-every 20 --steps 100000000";

/// Starts a run and waits for its first report.
#[track_caller]
pub fn at_work(scene: &Scene, run: &str, flags: &str) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut child = scene
        .train(run, flags)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(
        lines.any(|line| line.unwrap().contains("\"report\"")),
        "{run} ended"
    );
    (child, lines)
}

/// Waits for a run to end with this status; what it said.
#[track_caller]
fn ends(child: Child, mut lines: Lines<BufReader<ChildStdout>>, status: i32) -> String {
    while lines.next().is_some() {}
    let output = child.wait_with_output().unwrap();
    let message = said(&output);
    assert_eq!(output.status.code(), Some(status), "{message}");
    message
}

#[test]
fn the_second_run_in_a_folder_is_refused() {
    let scene = Scene::new();
    let (mut first, _lines) = at_work(&scene, "run", ENDLESS);
    let second = scene.bptt("train text.txt -o run").output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(
        said(&second).contains("run holds a run already"),
        "{}",
        said(&second)
    );
    let second = scene.bptt("train --resume run").output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(
        said(&second).contains("another run is writing to run"),
        "{}",
        said(&second)
    );
    first.kill().unwrap();
    first.wait().unwrap();
}

/// Of runs that begin at the same moment one wins, and what it writes is its own.
#[test]
fn of_runs_that_begin_together_one_wins() {
    let scene = Scene::new();
    let expected = scene.finish("whole", SMALL);
    for round in 0..4 {
        let run = format!("run-{round}");
        let start = |_| {
            let mut command = scene.train(&run, SMALL);
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().unwrap()
        };
        let children: Vec<Child> = (0..3).map(start).collect();
        let mut won = 0;
        for child in children {
            let output = child.wait_with_output().unwrap();
            let message = said(&output);
            if output.status.success() {
                won += 1;
            } else {
                let expected = ["holds a run already", "another run is writing"];
                assert!(
                    expected.iter().any(|words| message.contains(words)),
                    "{message}"
                );
            }
        }
        assert_eq!(won, 1);
        Outcome::of(&scene.path(&run)).assert_is(&expected, &run);
    }
}

#[test]
fn what_a_start_that_was_cut_short_leaves_is_free() {
    let scene = Scene::new();
    let run = scene.path("run");
    std::fs::create_dir(&run).unwrap();
    for name in [".lock", "history.jsonl", ".tmp-config.json-x7Yz12"] {
        std::fs::write(run.join(name), "").unwrap();
    }
    let resumed = scene.bptt("train --resume run").output().unwrap();
    assert_eq!(resumed.status.code(), Some(1));
    let message = said(&resumed);
    assert!(
        message.contains("no run to go on with") && message.contains("--out run"),
        "{message}"
    );
    let expected = scene.finish("whole", SMALL);
    scene.finish("run", SMALL).assert_is(&expected, "run");
}

#[test]
fn leftovers_go_and_the_torn_end_of_a_history_too() {
    let scene = Scene::new();
    let expected = scene.finish("whole", &SMALL.replace("28", "60"));
    scene.finish("run", SMALL);
    let run = scene.path("run");
    std::fs::write(run.join(".tmp-last.safetensors-x7Yz12"), "half").unwrap();
    let mut history = std::fs::read(run.join("history.jsonl")).unwrap();
    history.extend(b"{\"step\":32,\"ep\xff");
    std::fs::write(run.join("history.jsonl"), history).unwrap();
    let resumed = scene
        .bptt("train --resume run --steps 60")
        .output()
        .unwrap();
    assert!(resumed.status.success(), "{}", said(&resumed));
    let found = Outcome::of(&run);
    assert_eq!(found.names, expected.names);
    assert_eq!(found.history, expected.history);
    assert!(found.model == expected.model);
}

/// The trained model is all that is left of such a run.
#[test]
fn a_lost_checkpoint_takes_nothing_with_it() {
    let scene = Scene::new();
    for (run, checkpoints) in [("run", ""), ("other", " --checkpoint-every 5")] {
        scene.finish(run, &format!("{SMALL}{checkpoints}"));
        let folder = scene.path(run);
        for lost in [false, true] {
            let last = folder.join("last.safetensors");
            match lost {
                false => std::fs::write(last, "").unwrap(),
                true => std::fs::remove_file(last).unwrap(),
            }
            let files = ["model.safetensors", "history.jsonl"].map(|name| folder.join(name));
            let before = files.clone().map(|file| std::fs::read(file).unwrap());
            let resume = format!("train --resume {run}");
            let resumed = scene.bptt(&resume).output().unwrap();
            assert_eq!(resumed.status.code(), Some(1));
            assert!(
                said(&resumed).contains("last.safetensors"),
                "{}",
                said(&resumed)
            );
            assert!(files.map(|file| std::fs::read(file).unwrap()) == before);
        }
    }
}

/// A checkpoint of another run changes nothing before it is refused.
#[test]
fn a_checkpoint_of_another_run_is_refused_and_nothing_is_lost() {
    let scene = Scene::new();
    scene.finish("run", SMALL);
    scene.finish("other", &format!("{SMALL} --seed 5"));
    let before = Outcome::of(&scene.path("run"));
    let last = scene.path("run/last.safetensors");
    std::fs::copy(scene.path("other/last.safetensors"), &last).unwrap();
    let resumed = scene
        .bptt("train --resume run --steps 60")
        .output()
        .unwrap();
    assert_eq!(resumed.status.code(), Some(1));
    let message = said(&resumed);
    assert!(
        message.contains("another run") && message.contains("last.safetensors"),
        "{message}"
    );
    let after = Outcome::of(&scene.path("run"));
    assert_eq!(after.history, before.history);
    assert!(after.model == before.model);
}

#[test]
fn a_folder_that_is_taken_away_ends_the_run() {
    let scene = Scene::new();
    let (child, lines) = at_work(&scene, "run", ENDLESS);
    // Away in one step: a run may be writing into it.
    std::fs::rename(scene.path("run"), scene.path("gone")).unwrap();
    let message = ends(child, lines, 1);
    assert!(
        message.contains("run: the folder was removed or replaced"),
        "{message}"
    );
    scene.check("gone");

    // And one that another run has taken the place of keeps what that one wrote.
    let (child, lines) = at_work(&scene, "run", ENDLESS);
    std::fs::rename(scene.path("run"), scene.path("gone-too")).unwrap();
    let second = scene.finish("run", SMALL);
    let message = ends(child, lines, 1);
    assert!(message.contains("removed or replaced"), "{message}");
    Outcome::of(&scene.path("run")).assert_is(&second, "run");
}

#[cfg(unix)]
#[test]
fn links_in_a_folder_are_not_written_through() {
    let scene = Scene::new();
    scene.finish("run", SMALL);
    std::fs::write(scene.path("precious"), "not ours").unwrap();
    for name in ["history.jsonl", ".lock"] {
        let path = scene.path("run").join(name);
        let kept = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("../precious", &path).unwrap();
        let resumed = scene
            .bptt("train --resume run --steps 60")
            .output()
            .unwrap();
        assert_eq!(resumed.status.code(), Some(1), "{}", said(&resumed));
        assert_eq!(std::fs::read(scene.path("precious")).unwrap(), b"not ours");
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, kept).unwrap();
    }
    // Nor is a file made where a link points to.
    std::os::unix::fs::symlink("../made", scene.path("run/events.out.tfevents.bptt")).unwrap();
    let resumed = scene
        .bptt("train --resume run --steps 60 --tensorboard")
        .output()
        .unwrap();
    assert_eq!(resumed.status.code(), Some(1), "{}", said(&resumed));
    assert!(!scene.path("made").exists());
}

/// Over the limit on the size of a file (`ulimit -f`), a run ends with a message, not by a signal, and keeps what it has.
#[cfg(unix)]
#[test]
fn a_limit_on_the_size_of_files() {
    let scene = Scene::new();
    let big = SMALL.replace("--hidden 8", "--hidden 100");
    let program = assert_cmd::cargo::cargo_bin("bptt");
    let limited = |arguments: &str| {
        let script = format!(
            "ulimit -f 8; exec {} {arguments} --quiet",
            program.display()
        );
        let mut command = Command::new("sh");
        command.args(["-c", &script]).current_dir(scene.path("."));
        command.output().unwrap()
    };
    let output = limited(&format!("train {big} -o run"));
    let message = said(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(
        message.contains("File too large") && message.contains("run/model.safetensors"),
        "{message}"
    );
    scene.check("run");
    // The best model so far stays when there is no room for a better one.
    scene.bptt("train --resume run").output().unwrap();
    let before = Outcome::of(&scene.path("run"));
    assert_eq!(
        limited("train --resume run --steps 200").status.code(),
        Some(1)
    );
    let after = Outcome::of(&scene.path("run"));
    assert!(after.model == before.model && after.last == before.last);
    assert_eq!(after.names, before.names);
    // So does another command, which says so once.
    let output = limited("export run --to npz");
    let message = said(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    let beginning = "error: run/model.safetensors: cannot write run/model.npz: File too large";
    assert!(message.starts_with(beginning), "{message}");
}

/// A small file system for as long as this lives; `None` where we may not make one.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn new(at: &'a Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let options = format!("size={size}");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(at)
            .output();
        if mount.is_ok_and(|mount| mount.status.success()) {
            return Some(Mounted(at));
        }
        eprintln!("skipped: no right to mount a small file system");
        None
    }

    fn read_only(&self) {
        let remount = Command::new("mount")
            .args(["-o", "remount,ro"])
            .arg(self.0)
            .status();
        assert!(remount.unwrap().success());
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_fills_up() {
    let scene = Scene::new();
    let disk = scene.path("disk");
    let Some(_mounted) = Mounted::new(&disk, "2m") else {
        return;
    };
    let inner = Scene::in_folder(&disk);
    let (child, lines) = at_work(&inner, "run", ENDLESS);
    // Somebody else takes what is left.
    let _ = std::fs::write(inner.path("other"), vec![1; 4 << 20]);
    let message = ends(child, lines, 1);
    assert!(
        message.contains("No space left") && message.contains("run/"),
        "{message}"
    );
    inner.check("run");
    // With space again, it goes on.
    std::fs::remove_file(inner.path("other")).unwrap();
    let (mut child, _lines) = at_work(&inner, "run", ENDLESS);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_becomes_read_only() {
    let scene = Scene::new();
    let disk = scene.path("disk");
    let Some(mounted) = Mounted::new(&disk, "8m") else {
        return;
    };
    let inner = Scene::in_folder(&disk);
    let expected = inner.finish("run", SMALL);
    mounted.read_only();
    for arguments in ["train text.txt -o new", "train --resume run --steps 100"] {
        let output = inner.bptt(arguments).output().unwrap();
        let message = said(&output);
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(message.contains("Read-only file system"), "{message}");
    }
    Outcome::of(&inner.path("run")).assert_is(&expected, "run");
    // Reading needs no more.
    assert!(inner.bptt("inspect run").output().unwrap().status.success());
}
