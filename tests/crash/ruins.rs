//! Run folders that somebody or something has been at, and settings that nobody should ask for: whatever `bptt` makes of them,
//! nothing that was there is worse afterwards.

use super::signals::send;
use super::{SMALL, Scene, kills_wanted, listens, said};
use bptt::model::Model;
use bptt::train::Checkpoint;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const CONFIG: &str = "config.json";
const LAST: &str = "last.safetensors";
const MODEL: &str = "model.safetensors";
const HISTORY: &str = "history.jsonl";
const FILES: [&str; 4] = [CONFIG, LAST, MODEL, HISTORY];

/// What may have become of a file.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Whole,
    Absent,
    Empty,
    /// Cut in its first half: a history before its first report ends.
    Torn,
    /// That of another run, of the same network and with other weights.
    Foreign,
    /// A folder of its name is in its place.
    Folder,
}

const FATES: [Fate; 6] = [
    Fate::Whole,
    Fate::Absent,
    Fate::Empty,
    Fate::Torn,
    Fate::Foreign,
    Fate::Folder,
];

type Contents = BTreeMap<String, Vec<u8>>;

/// All files of a folder but its lock, which holds nothing.
fn contents(folder: &Path) -> Contents {
    let files = walkdir(folder);
    files
        .into_iter()
        .filter(|(name, _)| name != ".lock")
        .collect()
}

fn walkdir(folder: &Path) -> Contents {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let file = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        let content = match path.is_dir() {
            true => b"a folder".to_vec(),
            false => std::fs::read(&path).unwrap(),
        };
        (name, content)
    };
    entries.map(file).collect()
}

fn put(from: &Contents, folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    for (name, content) in from {
        std::fs::write(folder.join(name), content).unwrap();
    }
}

/// Whether the file at this path is what its name says.
fn is_whole(path: &Path) -> bool {
    match path.file_name().unwrap().to_str().unwrap() {
        MODEL => Model::<f32>::read(path).is_ok(),
        LAST => Checkpoint::<f32>::read(path).is_ok(),
        _ => true,
    }
}

/// What is worse after a run in a folder of which these were the contents, if anything is.
fn harm(folder: &Path, before: &Contents, output: &Output) -> Option<String> {
    let message = said(output);
    let code = output.status.code();
    let after = contents(folder);
    let of_a_run = |name: &str| FILES.contains(&name) || name == "loss.svg";
    let mut strange = after
        .keys()
        .filter(|name| !of_a_run(name) && !before.contains_key(*name));
    let is_torn = |name: &&str| !is_whole(&folder.join(name));
    let is_lost = |(name, content): &(&String, &Vec<u8>)| after.get(*name) != Some(content);
    let harm = if !matches!(code, Some(0..=2)) {
        format!("status {code:?}")
    } else if let Some(name) = strange.next() {
        format!("{name} was left")
    } else if code != Some(0) && message.trim().is_empty() {
        "it ended without a word".into()
    } else if let (Some(0), Some(name)) = (code, FILES.iter().find(|name| is_torn(name))) {
        format!("{name} is not whole")
    } else if let (Some(1 | 2), Some((name, _))) = (code, before.iter().find(is_lost)) {
        format!("{name} has changed")
    } else {
        return None;
    };
    Some(format!("{harm}: {message}"))
}

#[test]
fn folders_in_any_state_are_not_made_worse() {
    let scene = Scene::new();
    scene.finish("ours", &SMALL.replace("28", "16"));
    scene.finish("theirs", &SMALL.replace("28", "24 --seed 3"));
    scene.finish("our-end", SMALL);
    scene.finish("their-end", &format!("{SMALL} --seed 3"));
    let [ours, theirs, our_end, their_end] =
        ["ours", "theirs", "our-end", "their-end"].map(|run| contents(&scene.path(run)));
    let all = FATES.len().pow(FILES.len() as u32);
    // A step that has no factor in common with the number of fates meets each pair of them.
    let step = if kills_wanted().is_some() { 1 } else { 31 };
    let (mut went_on, mut refused, mut harms) = (0, 0, Vec::new());
    for number in (0..all).step_by(step) {
        let fates = [0, 1, 2, 3].map(|i| FATES[number / FATES.len().pow(i) % FATES.len()]);
        let what = format!("{:?}", FILES.iter().zip(fates).collect::<Vec<_>>());
        let run = scene.path(&format!("run-{number}"));
        let ruin = |run: &Path| {
            put(&ours, run);
            for (name, fate) in FILES.iter().zip(fates) {
                let (path, content) = (run.join(name), &ours[*name]);
                std::fs::remove_file(&path).unwrap();
                match fate {
                    Fate::Whole => std::fs::write(path, content).unwrap(),
                    Fate::Absent => {}
                    Fate::Empty => std::fs::write(path, "").unwrap(),
                    Fate::Torn => std::fs::write(path, &content[..content.len() / 3]).unwrap(),
                    Fate::Foreign => std::fs::write(path, &theirs[*name]).unwrap(),
                    Fate::Folder => std::fs::create_dir(path).unwrap(),
                }
            }
        };
        ruin(&run);
        let before = contents(&run);
        let mut harmed = |harm: String| harms.push(format!("{what}: {harm}"));
        let flags = format!("train --resume run-{number} --steps 28 --threads 1");
        let output = scene.bptt(&flags).output().unwrap();
        harm(&run, &before, &output)
            .into_iter()
            .for_each(&mut harmed);
        let [config, last, model, _] = fates;
        if output.status.success() {
            went_on += 1;
            let found = contents(&run);
            let whose = match config {
                Fate::Foreign => &their_end,
                _ => &our_end,
            };
            let free = |fate| matches!(fate, Fate::Absent | Fate::Empty);
            if config != last && !(free(last) && free(model)) {
                harmed("the checkpoint of another run was taken, or none".into());
            }
            // It went on from where the run was; what was trained is not lost.
            if found[LAST] != whose[LAST] || found[MODEL] != whose[MODEL] {
                harmed("it came to other weights".into());
            }
        } else {
            refused += 1;
            if fates == [Fate::Whole; 4] {
                harmed(format!("refused: {}", said(&output)));
            }
        }
        // Who begins there again, knowing nothing of the run, destroys nothing either.
        let run = scene.path(&format!("again-{number}"));
        ruin(&run);
        let flags = format!("train {SMALL} -o again-{number} --threads 1");
        let output = scene.bptt(&flags).output().unwrap();
        harm(&run, &before, &output)
            .into_iter()
            .for_each(&mut harmed);
        let free = |fate| matches!(fate, Fate::Absent | Fate::Empty);
        if output.status.success() && !fates.into_iter().all(free) {
            harmed("begun where a run is".into());
        }
    }
    println!("{went_on} folders went on, {refused} were refused");
    assert!(harms.is_empty(), "{}", harms.join("\n"));
    assert!(went_on > 0 && refused > 0, "{went_on} and {refused}");
}

/// What a number may be at its worst.
const EXTREMES: [&str; 14] = [
    "0",
    "1",
    "-1",
    "2",
    "1e-320",
    "1e-45",
    "1e38",
    "1e300",
    "nan",
    "inf",
    "-inf",
    "1000000",
    "18446744073709551615",
    "",
];

/// The flags of `bptt train` that take a value, but for those that name files and those that say how long it takes.
fn flags_with_values(scene: &Scene) -> Vec<String> {
    let help = scene.bptt("train --help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let words = help.lines().filter_map(|line| {
        let flag = line
            .trim_start()
            .trim_start_matches("-o, ")
            .strip_prefix("--")?;
        let (name, value) = flag.split_once(' ')?;
        let named = value.starts_with('<');
        let files = ["out", "resume", "valid", "from"].contains(&name);
        (named && !files).then(|| format!("--{name}"))
    });
    words.collect()
}

#[test]
fn settings_at_their_extremes_make_nothing_worse() {
    let scene = Scene::new();
    scene.finish("ours", &SMALL.replace("28", "16"));
    let ours = contents(&scene.path("ours"));
    let flags = flags_with_values(&scene);
    assert!(flags.len() > 30, "{flags:?}");
    let step = if kills_wanted().is_some() { 1 } else { 13 };
    let cases = flags
        .iter()
        .flat_map(|flag| EXTREMES.map(|value| (flag, value)));
    let (mut ended, mut harms) = (BTreeMap::new(), Vec::new());
    for (number, (flag, value)) in cases.enumerate().step_by(step) {
        let what = format!("{flag} {value:?}");
        for (run, command) in [
            (format!("new-{number}"), "train text.txt --quiet -o"),
            (format!("on-{number}"), "train --quiet --resume"),
        ] {
            let path = scene.path(&run);
            let mut command = scene.bptt(&format!("{command} {run}"));
            if run.starts_with("on") {
                put(&ours, &path);
            } else {
                let small = [
                    ("--hidden", "8"),
                    ("--batch", "4"),
                    ("--seq-len", "8"),
                    ("--steps", "4"),
                ];
                let small = small.into_iter().filter(|(name, _)| name != flag);
                small.for_each(|(name, value)| _ = command.args([name, value]));
            }
            command.arg(format!("{flag}={value}"));
            let before = contents(&path);
            // What takes long is asked to stop, as by a batch system.
            let output = within(command, Duration::from_secs(4));
            *ended.entry(output.status.code()).or_insert(0) += 1;
            if output.status.code() != Some(130) {
                let harm = harm(&path, &before, &output);
                harms.extend(harm.map(|harm| format!("{what} in {run}: {harm}")));
            }
            for name in [LAST, MODEL].map(|name| path.join(name)) {
                assert!(
                    !name.exists() || is_whole(&name),
                    "{what}: {}",
                    name.display()
                );
            }
        }
    }
    println!("statuses: {ended:?}");
    assert!(harms.is_empty(), "{}", harms.join("\n"));
}

/// What a command comes to, which is interrupted after so long.
fn within(mut command: Command, most: Duration) -> Output {
    listens(&mut command);
    let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    let begin = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begin.elapsed() > most {
            send("-TERM", child.id());
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}
