//! Each kind of bad input gets its message and its exit status, and nothing is written or lost.

use super::{Desk, LINE, read};
use ndarray::{Array1, Array2, Array3, arr0};

const SMALL: &str = "--hidden 8 --steps 3";

#[test]
fn texts() {
    let desk = Desk::new();
    desk.write("empty.txt", b"");
    desk.write("short.txt", b"too short");
    desk.write(
        "latin1.txt",
        &[LINE.as_bytes(), b"caf\xe9\n"].concat().repeat(50),
    );
    desk.write("binaries/a.bin", b"\xff\xfe\x00\x01");
    desk.write("utf16.txt", b"\xff\xfea\x00b\x00");
    desk.write("text.gz", b"\x1f\x8b\x08\x00\x00");
    desk.write("text.zst", b"\x28\xb5\x2f\xfd\xff");
    desk.write("sets/a.npz", b"PK\x03\x04\xff");
    let before = desk.names(".");
    desk.refused(
        "train missing.txt",
        1,
        &["error: missing.txt: No such file"],
    );
    desk.refused("train empty.txt", 1, &["empty.txt", "empty"]);
    desk.refused("train short.txt", 1, &["short.txt", "64", "--seq-len"]);
    desk.refused("train binaries", 1, &["binaries"]);
    desk.refused("train utf16.txt", 1, &["utf16.txt", "iconv"]);
    desk.refused("train text.gz", 1, &["text.gz", "gzip"]);
    desk.refused("train text.zst", 1, &["text.zst", "zstd", "unpack"]);
    desk.refused("train sets", 1, &["sets", "one .npz"]);
    desk.refused("train latin1.txt", 1, &["latin1.txt", "as bytes", "47"]);
    desk.refused("train text.txt --valid missing.txt", 1, &["missing.txt"]);
    assert_eq!(desk.names("."), before, "nothing was written");
    desk.stdout(&format!("train latin1.txt --tokens byte {SMALL} -o run"));
    // Of compressed bytes nothing can be learnt, which is said.
    desk.write("long.zst", &b"\x28\xb5\x2f\xfd\xff".repeat(200));
    let odd = desk.bptt(&format!("train long.zst --tokens byte {SMALL} -o odd"));
    let said = { odd }.assert().success().get_output().stderr.clone();
    assert!(String::from_utf8_lossy(&said).contains("compressed"));
}

/// JSON has no word for such names.
#[cfg(target_os = "linux")]
#[test]
fn names_that_are_not_unicode() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let desk = Desk::new();
    let odd = |name: &'static [u8]| OsStr::from_bytes(name);
    for log in ["json", "human"] {
        let flags = format!("train text.txt {SMALL} --log {log} -o");
        let name = format!("{log}-\u{fffd}");
        let mut bytes = log.as_bytes().to_vec();
        bytes.extend(b"-\xff");
        let trained = desk.bptt(&flags).arg(OsStr::from_bytes(&bytes)).assert();
        let said = String::from_utf8_lossy(&trained.success().get_output().stdout).into_owned();
        assert!(said.contains(&name), "{said}");
        let inspect = format!("inspect --log {log}");
        desk.bptt(&inspect)
            .arg(OsStr::from_bytes(&bytes))
            .assert()
            .success();
    }
    for flags in ["train", "train text.txt --valid"] {
        let refused = desk.bptt(flags).arg(odd(b"x\xff.txt")).assert().code(1);
        let message = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
        assert!(
            message.contains("UTF-8") && message.contains("rename"),
            "{message}"
        );
    }
}

#[test]
fn sets() {
    let desk = Desk::new();
    let inputs = Array3::<f32>::from_elem((6, 5, 2), 0.5);
    let targets = Array2::<i64>::ones((6, 5));
    let with = |name: &str, inputs: &Array3<f32>, targets: &Array2<i64>| {
        desk.npz(name, |npz| {
            npz.add("inputs", inputs).add("targets", targets);
        });
    };
    desk.npz("none.npz", |npz| {
        npz.add("x", &inputs).add("targets", &targets);
    });
    desk.npz("rank.npz", |npz| {
        npz.add("inputs", &Array1::<f32>::zeros(6))
            .add("targets", &targets);
    });
    with("n.npz", &Array3::zeros((7, 5, 2)), &targets);
    with("t.npz", &Array3::zeros((6, 4, 2)), &(&targets * 2));
    let mut nan = inputs.clone();
    nan[[1, 2, 1]] = f32::NAN;
    with("nan.npz", &nan, &targets);
    desk.npz("class.npz", |npz| {
        npz.add("inputs", &inputs)
            .add("targets", &(&targets * 3))
            .add("n_y", &arr0(3i64));
    });
    let mut negative = targets.clone();
    negative[[0, 4]] = -7;
    with("negative.npz", &inputs, &negative);
    desk.write("text.npz", b"this is no archive");
    let before = desk.names(".");
    for (name, words) in [
        ("none", &["inputs", "x"][..]),
        ("rank", &["inputs", "[6]"]),
        ("n", &["7", "6"]),
        ("t", &["4", "5"]),
        ("nan", &["inputs", "NaN", "[1, 2, 1]"]),
        ("class", &["targets", "3"]),
        ("negative", &["targets", "-7"]),
        ("text", &["text.npz"]),
    ] {
        let message = desk.refused(&format!("train {name}.npz {SMALL}"), 1, words);
        assert!(message.contains(&format!("{name}.npz")), "{message}");
    }
    desk.refused("train class.npz text.txt", 1, &["npz"]);
    // What is found in the data is no wrong command line.
    with("huge.npz", &inputs, &(&targets * (1 << 25)));
    desk.refused(
        &format!("train huge.npz {SMALL}"),
        1,
        &["huge.npz", "`targets`", "33554432"],
    );
    desk.npz("flat.npz", |npz| {
        let first = inputs.index_axis(ndarray::Axis(2), 0).to_owned();
        npz.add("inputs", &first).add("targets", &targets);
    });
    desk.refused(
        &format!("train flat.npz {SMALL}"),
        1,
        &["flat.npz", "inputs[..., None]", "astype"],
    );
    std::fs::remove_file(desk.path("huge.npz")).unwrap();
    std::fs::remove_file(desk.path("flat.npz")).unwrap();
    assert_eq!(desk.names("."), before, "nothing was written");
}

#[test]
fn flags() {
    let desk = Desk::new();
    let before = desk.names(".");
    for (flags, words) in [
        ("--hidden 0", ["--hidden", "0"]),
        ("--lr nan", ["--lr", "nan"]),
        ("--lr -1", ["--lr", "-1"]),
        ("--shards 0", ["--shards", "0"]),
        ("--threads 0", ["--threads", "0"]),
        ("--batch 0", ["--batch", "0"]),
        ("--seq-len 0", ["--seq-len", "0"]),
        ("--steps 0", ["--steps", "0"]),
        ("--optimizer sgdm", ["--optimizer", "momentum"]),
        ("--init zeros", ["--init", "orthogonal"]),
        ("--dtype f16", ["--dtype", "f32"]),
        ("--valid-fraction 1", ["--valid-fraction", "less than 1"]),
        ("--clip-norm 0", ["--clip-norm", "0"]),
        ("--dropout 1", ["--dropout", "less than 1"]),
        ("--input-dropout -0.1", ["--input-dropout", "from 0"]),
        ("--memory lots", ["--memory", "500M"]),
        ("--sped 3", ["--sped", "Usage"]),
        (
            "--valid text.txt --valid-fraction 0.2",
            ["--valid", "--valid-fraction"],
        ),
    ] {
        desk.refused(&format!("train text.txt {flags}"), 2, &words);
    }
    desk.refused(
        "train text.txt --memory 1000",
        1,
        &["1000 bytes", "--memory", "at least"],
    );
    if cfg!(target_os = "linux") {
        for shape in [
            "1000000,100000,100,1000,10",
            "4294967296,4294967296,10,10,10",
            "18446744073709551615,2,2,2,2",
            "10,10,16777216,16777216,1",
            "100000,1000,10,10000,10",
        ] {
            let bench = format!("bench --shape {shape}");
            desk.refused(&bench, 1, &["of memory", "smaller --shape"]);
        }
        let train = "train text.txt --hidden 16777216 --dtype f64";
        let words = ["16777216 tanh units", "PB of memory", "smaller --hidden"];
        desk.refused(train, 1, &words);
    }
    desk.refused("bench --seconds 1e20", 2, &["--seconds", "a million"]);
    desk.refused("sample", 2, &["MODEL"]);
    desk.refused("fly", 2, &["fly"]);
    assert_eq!(desk.names("."), before, "nothing was written");
}

/// What becomes of the program under such a `ulimit`.
#[cfg(target_os = "linux")]
fn limited(desk: &Desk, limit: &str, command: &str) -> (String, std::process::Output) {
    let bptt = assert_cmd::cargo::cargo_bin("bptt");
    let script = format!("ulimit {limit} && exec {} {command}", bptt.display());
    let run = assert_cmd::Command::new("bash")
        .current_dir(desk.path("."))
        .args(["-c", &script])
        .timeout(std::time::Duration::from_secs(60))
        .assert();
    (script, run.get_output().clone())
}

/// OpenBLAS would ask for its buffers for ever.
#[cfg(target_os = "linux")]
#[test]
fn limits_of_memory() {
    let desk = Desk::new();
    desk.train("run");
    let commands = [
        "--help".to_owned(),
        format!("train text.txt {SMALL} -o new"),
        "bench --shape 8,5,3,8,3 --seconds 0.1".to_owned(),
        "inspect run".to_owned(),
        "eval run text.txt".to_owned(),
    ];
    let mut refused = 0;
    for kilobytes in [100_000, 250_000, 400_000, 550_000, 700_000, 200_000_000] {
        for (command, limit) in commands.iter().zip("vdvdv".chars()) {
            let _ = std::fs::remove_dir_all(desk.path("new"));
            let (script, output) = limited(&desk, &format!("-{limit} {kilobytes}"), command);
            let message = String::from_utf8_lossy(&output.stderr);
            match output.status.code() {
                Some(0) => {}
                Some(1) => {
                    assert!(message.contains("raise `ulimit -v`"), "{script}: {message}");
                    assert!(!desk.path("new").exists());
                    refused += 1;
                }
                other => panic!("{script}: {other:?} {message}"),
            }
            let done = kilobytes == 200_000_000;
            assert!(!done || output.status.success(), "{script}: {message}");
        }
    }
    assert!(refused >= commands.len(), "100 MB are never enough");
}

/// A set that does not fit into the limits is read from its file, window by window, to the same weights.
#[cfg(target_os = "linux")]
#[test]
fn a_set_larger_than_memory() {
    let desk = Desk::new();
    let (n, t, n_x) = (3000, 100, 100);
    desk.npz("set.npz", |npz| {
        let x = |(i, step, k): (usize, usize, usize)| ((i * step + k) % 7) as f32;
        npz.add("inputs", &Array3::from_shape_fn((n, t, n_x), x));
        npz.add(
            "targets",
            &Array2::from_shape_fn((n, t), |(i, _)| (i % 2) as u8),
        );
    });
    let train = "train set.npz --hidden 8 --batch 16 --steps 20 --threads 1 -o";
    desk.stdout(&format!("{train} whole"));
    let (mut refused, mut from_file) = (0, 0);
    for megabytes in (200..800).step_by(50) {
        let limit = format!("-v {megabytes}000 && export OPENBLAS_NUM_THREADS=1");
        let (script, output) = limited(&desk, &limit, &format!("{train} {megabytes}"));
        let said = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(0) => {
                from_file += usize::from(said.contains("each window is read when it is needed"));
                let model = |run: &str| read(&desk.path(&format!("{run}/model.safetensors")));
                assert!(model(&megabytes.to_string()) == model("whole"));
            }
            Some(1) => {
                assert!(said.contains("raise `ulimit -v`"), "{said}");
                refused += 1;
            }
            other => panic!("{script}: {other:?} {said}"),
        }
    }
    assert!(
        from_file > 0 && refused > 0,
        "{from_file} and {refused} of the limits"
    );
}

#[test]
fn a_run_that_diverges_ends_with_its_own_reason() {
    let desk = Desk::new();
    let flags = "--hidden 8 --batch 4 --seq-len 16 --steps 40 --optimizer gd --lr 1e300 -o run";
    desk.refused(
        &format!("train text.txt {flags}"),
        1,
        &[
            "step 0",
            "0.5 of the learning rate",
            "training diverged 10 times",
            "--lr",
        ],
    );
    let done = desk
        .bptt(&format!("train text.txt {flags}2 --log json"))
        .assert()
        .code(1);
    let lines = String::from_utf8_lossy(&done.get_output().stdout).into_owned();
    let last = lines.lines().last().unwrap();
    assert!(last.contains(r#""stop_reason":"diverged""#), "{last}");
    desk.stdout("inspect run/last.safetensors");
}

#[test]
fn run_folders() {
    let desk = Desk::new();
    desk.train("run");
    let model = read(&desk.path("run/model.safetensors"));
    desk.refused("train text.txt -o run", 1, &["run", "--resume"]);
    assert_eq!(read(&desk.path("run/model.safetensors")), model);
    desk.refused("train text.txt -o text.txt", 1, &["text.txt"]);
    desk.refused("train text.txt -o text.txt/run", 1, &["text.txt"]);
    desk.refused("train --resume nothing", 1, &["nothing"]);
    desk.write("strange/config.json", b"{}");
    desk.refused("train --resume strange", 1, &["config.json"]);
    // A name of its own each time, where none is given.
    desk.stdout("train text.txt --hidden 8 --steps 3");
    desk.stdout("train text.txt --hidden 8 --steps 3");
    assert_eq!(desk.names("runs"), ["text", "text-2"]);
}

/// Whatever is wrong in a `config.json`, it is said by name, and before anything in the folder changes.
#[test]
fn configurations() {
    let desk = Desk::new();
    desk.train("run");
    let path = desk.path("run/config.json");
    let good: serde_json::Value = serde_json::from_slice(&read(&path)).unwrap();
    let last = read(&desk.path("run/last.safetensors"));
    for (field, value) in [
        ("/checkpoint_every", "0"),
        ("/threads", "0"),
        ("/batch", "0"),
        ("/hidden", "16777217"),
        ("/shards", "18446744073709551615"),
        ("/steps", "null"),
        ("/lr", "-1.0"),
        ("/lr", "1e999"),
        ("/clip_norm", "0"),
        ("/valid_fraction", "1.0"),
        ("/dropout", "1.0"),
        ("/weight_decay", "-1"),
        ("/optimizer", "\"sgdm\""),
        ("/hidden", "\"16\""),
        ("/memory", "-1"),
        ("/warmup", "1.5"),
    ] {
        // Numbers that JSON values cannot hold are put into the text.
        let mut config = good.clone();
        *config.pointer_mut(field).unwrap() = "HERE".into();
        let text = config.to_string().replace("\"HERE\"", value);
        std::fs::write(&path, text).unwrap();
        desk.refused("train --resume run --steps 50", 1, &["run/config.json"]);
    }
    // A setting more or less, which another version may have: the run could not be told from another one.
    let mut more = good.clone();
    more["cells"] = "lstm".into();
    let mut fewer = good.clone();
    fewer.as_object_mut().unwrap().remove("clip_value");
    for (config, field) in [(more, "`cells`"), (fewer, "`clip_value`")] {
        std::fs::write(&path, config.to_string()).unwrap();
        let words = ["run/config.json", field, "another version"];
        desk.refused("train --resume run --steps 50", 1, &words);
    }
    assert_eq!(read(&desk.path("run/last.safetensors")), last);
    std::fs::write(&path, good.to_string()).unwrap();
    desk.stdout("train --resume run --steps 50 --quiet");
}

/// A folder in which nothing can be written: of another owner, or of a file system that is full. Root may write into the
/// first, and only root can make the second.
#[cfg(target_os = "linux")]
#[test]
fn folders_that_cannot_be_written() {
    use std::process::Command;
    desk_read_only("/proc/bptt-run");
    let desk = Desk::new();
    let full = desk.path("full");
    std::fs::create_dir(&full).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=200k", "tmpfs"])
        .arg(&full)
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no right to mount a small file system");
        return;
    }
    let run = desk
        .bptt("train text.txt --hidden 200 --steps 3 -o full/run")
        .output();
    let left = desk.names("full/run");
    let unmounted = Command::new("umount").arg(&full).status().unwrap();
    assert!(unmounted.success());
    let run = run.unwrap();
    let message = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(1), "{message}");
    assert!(
        message.contains("full/run") && message.contains("space"),
        "{message}"
    );
    // No half of a model.
    assert!(
        left.iter().all(|name| !name.ends_with("safetensors")),
        "{left:?}"
    );
}

#[cfg(target_os = "linux")]
fn desk_read_only(folder: &str) {
    let desk = Desk::new();
    desk.refused(
        &format!("train text.txt --hidden 8 --steps 3 -o {folder}"),
        1,
        &[folder],
    );
}

#[test]
fn models() {
    let desk = Desk::new();
    desk.train("run");
    let model = read(&desk.path("run/model.safetensors"));
    desk.write("truncated.safetensors", &model[..model.len() - 7]);
    desk.write("header.safetensors", &model[..20]);
    desk.write("empty.safetensors", b"");
    desk.write("text.safetensors", LINE.repeat(10).as_bytes());
    let other = safetensors::serialize(
        [(
            "weight",
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![1], &[0; 4])
                .unwrap(),
        )],
        None,
    );
    desk.write("other.safetensors", &other.unwrap());
    desk.npz("in.npz", |npz| {
        npz.add("inputs", &Array2::<i32>::from_elem((2, 3), 100));
    });
    desk.npz("set.npz", |npz| {
        npz.add("inputs", &Array3::<f32>::zeros((2, 3, 5)))
            .add("targets", &Array2::<i32>::zeros((2, 3)));
    });
    desk.write("torch.pt", b"PK\x03\x04archive/data.pkl");
    desk.refused("inspect torch.pt", 1, &["torch.pt", "save_model"]);
    desk.write("unknown.txt", "the quick \u{df} fox".as_bytes());
    for command in [
        "eval X text.txt",
        "sample X",
        "predict X in.npz",
        "inspect X",
    ] {
        for (model, word) in [
            ("truncated", "copied"),
            ("header", "copied"),
            ("empty", "copied"),
            ("text", "copied"),
            ("other", "rnn.weight_ih_l0"),
            ("missing", "missing.safetensors"),
        ] {
            let command = command.replace('X', &format!("{model}.safetensors"));
            desk.refused(&command, 1, &[&format!("{model}.safetensors"), word]);
        }
    }
    desk.refused("eval run set.npz", 1, &["set.npz", "features", "tokens"]);
    desk.refused(
        "eval run unknown.txt",
        1,
        &["unknown.txt", "\u{df}", "line 1"],
    );
    desk.refused("predict run in.npz", 1, &["in.npz", "100"]);
    desk.refused("sample run --prompt \u{df}", 1, &["--prompt", "\u{df}"]);
    // A checkpoint of other sizes, or none at all.
    desk.write("run/last.safetensors", &model);
    desk.refused("train --resume run --steps 50", 1, &["last.safetensors"]);
}

/// Where a result cannot come, nothing of it does, and nothing is lost.
#[test]
fn results_are_whole() {
    let desk = Desk::new();
    desk.stdout(&format!("train text.txt {SMALL} -o run"));
    let refused = desk.bptt("sample run --prompt the§").assert().code(1);
    let refused = refused.stdout("");
    let said = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    assert!(said.contains("--prompt") && said.contains('§'), "{said}");

    desk.npz("set.npz", |npz| {
        npz.add("inputs", &Array2::<i64>::ones((6, 5)));
    });
    let before = std::fs::read(desk.path("set.npz")).unwrap();
    let words = ["--out", "set.npz", "another"];
    desk.refused("predict run set.npz -o ./set.npz", 1, &words);
    assert!(std::fs::read(desk.path("set.npz")).unwrap() == before);
}
