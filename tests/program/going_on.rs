//! What people do next: other data, another rate, a model of another run; and what was changed behind the program's back.

use super::{Desk, LINE, read};
use ndarray::{Array2, Array3};
use serde_json::Value;

/// The reports of a run.
fn history(desk: &Desk, run: &str) -> Vec<Value> {
    let text = String::from_utf8(read(&desk.path(&format!("{run}/history.jsonl")))).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// How a command that succeeds speaks on standard error.
fn remarks(desk: &Desk, arguments: &str) -> String {
    let assert = desk.bptt(arguments).assert().success();
    String::from_utf8(assert.get_output().stderr.clone()).unwrap()
}

#[test]
fn a_run_goes_on_from_a_model_with_other_data() {
    let desk = Desk::new();
    desk.stdout(
        "train text.txt --cell gru --hidden 16 --seq-len 16 --batch 4 --steps 200 --lr 0.01 -o run",
    );
    // The same letters in another order.
    desk.write(
        "other.txt",
        "a lazy dog jumps over the quick brown fox\n"
            .repeat(60)
            .as_bytes(),
    );
    let flags = "other.txt --seq-len 16 --batch 4 --lr 0.01 --report-every 10";
    desk.stdout(&format!("train {flags} --from run --steps 20 -o tuned"));
    desk.stdout(&format!(
        "train {flags} --cell gru --hidden 16 --steps 20 -o fresh"
    ));
    let first = |run| history(&desk, run)[0]["train_loss"].as_f64().unwrap();
    assert!(
        first("tuned") < 0.8 * first("fresh"),
        "{} {}",
        first("tuned"),
        first("fresh")
    );
    let about = desk.json("inspect tuned").remove(0);
    assert_eq!((&about["cell"], &about["n_h"]), (&"gru".into(), &16.into()));

    // In one piece or two.
    desk.stdout(&format!("train {flags} --from run --steps 40 -o whole"));
    std::fs::rename(desk.path("run"), desk.path("gone")).unwrap();
    desk.stdout("train --resume tuned --steps 40");
    let [whole, parts] =
        ["whole", "tuned"].map(|run| read(&desk.path(&format!("{run}/model.safetensors"))));
    let weights = |bytes: &[u8]| bytes[bytes.len() - 4096..].to_vec();
    assert_eq!(weights(&whole), weights(&parts));

    desk.refused(
        "train other.txt --from gone --hidden 8",
        2,
        &["--from", "--hidden"],
    );
    desk.refused("train --from gone", 2, &["--from", "DATA"]);
    desk.refused("train other.txt --from nothing", 1, &["--from", "nothing"]);
    desk.write("digits.txt", "0123456789\n".repeat(60).as_bytes());
    desk.refused(
        "train digits.txt --from gone",
        1,
        &["digits.txt", "'0' (U+0030)"],
    );
}

#[test]
fn a_rate_may_be_another_from_now_on() {
    let desk = Desk::new();
    let flags = "text.txt --hidden 16 --batch 4 --seq-len 16 --report-every 10 --lr 0.004 --schedule constant";
    desk.stdout(&format!("train {flags} --steps 20 -o run"));
    desk.stdout("train --resume run --steps 40 --lr 0.001");
    let rates: Vec<_> = history(&desk, "run")
        .iter()
        .map(|report| report["lr"].as_f64().unwrap())
        .collect();
    assert_eq!(rates, [0.004, 0.004, 0.001, 0.001]);
    let changed: Vec<_> = history(&desk, "run")
        .iter()
        .map(|report| report["changed"].to_string())
        .collect();
    assert_eq!(changed, ["null", "null", r#"{"lr":0.001}"#, "null"]);
    // It is the run's rate now.
    desk.stdout("train --resume run --steps 50");
    assert_eq!(history(&desk, "run")[4]["lr"], 0.001);
}

/// Whoever asked for more steps than were taken is told why, and what to do.
#[test]
fn a_run_that_ends_before_its_steps_says_why() {
    let desk = Desk::new();
    let flags = "text.txt --hidden 4 --seq-len 8 --report-every 2 --lr 1e-30 --steps 1_000";
    let said = remarks(&desk, &format!("train {flags} -o run"));
    assert!(
        said.contains("of 1,000: no better validation loss after 9 halvings"),
        "{said}"
    );
    let said = remarks(&desk, "train --resume run --steps 2k");
    assert!(
        said.contains("of 2,000") && said.contains("--resume run --schedule constant"),
        "{said}"
    );
    let before = history(&desk, "run").len();
    desk.stdout("train --resume run --steps 3000 --schedule constant --lr 0.01");
    assert!(history(&desk, "run").len() > before + 400);
    let said = remarks(&desk, &format!("train {flags} --patience 3 -o impatient"));
    assert!(
        said.contains("--patience 3 reports") && said.contains("--patience 0"),
        "{said}"
    );
}

/// Every bit of a model or a checkpoint is its own.
#[test]
fn flipped_bits_and_mixed_files_are_noticed() {
    let desk = Desk::new();
    desk.stdout(
        "train text.txt --hidden 16 --batch 4 --seq-len 16 --report-every 10 --steps 40 -o run",
    );
    for name in ["run/model.safetensors", "run/last.safetensors"] {
        let whole = read(&desk.path(name));
        let header = u64::from_le_bytes(*whole.first_chunk().unwrap()) as usize;
        for at in [header + 8, header + 1011, whole.len() - 3] {
            let mut bytes = whole.clone();
            bytes[at] ^= 4;
            desk.write(name, &bytes);
            match name {
                "run/model.safetensors" => {
                    desk.refused("inspect run", 1, &["model.safetensors", "checksum"])
                }
                _ => desk.refused(
                    "train --resume run --steps 50",
                    1,
                    &["last.safetensors", "checksum"],
                ),
            };
        }
        desk.write(name, &whole);
    }
    let path = "run/history.jsonl";
    let text = String::from_utf8(read(&desk.path(path))).unwrap();
    for (ours, other) in [
        ("\"step\":40", "\"step\":30"),
        ("\"lr\":0.002", "\"lr\":0.001"),
    ] {
        let at = text.rfind(ours).unwrap();
        let changed = format!("{}{other}{}", &text[..at], &text[at + ours.len()..]);
        desk.write(path, changed.as_bytes());
        desk.refused(
            "train --resume run --steps 50",
            1,
            &["history", "checkpoint"],
        );
    }
    desk.write(path, text.as_bytes());
    desk.stdout("train --resume run --steps 50");
}

#[test]
fn data_that_has_moved_is_asked_for_again() {
    let desk = Desk::new();
    desk.write("valid.txt", LINE.repeat(9).as_bytes());
    let flags = "--hidden 8 --batch 4 --seq-len 16 --steps 10";
    desk.stdout(&format!("train text.txt --valid valid.txt {flags} -o run"));
    for name in ["text.txt", "valid.txt"] {
        std::fs::rename(desk.path(name), desk.path(&format!("moved-{name}"))).unwrap();
    }
    desk.refused(
        "train --resume run --steps 20",
        1,
        &["text.txt, valid.txt", "give DATA", "--valid"],
    );
    desk.stdout("train moved-text.txt --valid moved-valid.txt --resume run --steps 20");
}

/// Texts as people have them: from a pipe, from an editor that marks them, in words that training has not seen.
#[test]
fn texts_as_they_come() {
    let desk = Desk::new();
    let flags = "--hidden 8 --batch 4 --seq-len 8 --steps 10";
    desk.stdout(&format!("train text.txt {flags} -o run"));
    let mut piped = desk.bptt(&format!("train - {flags} -o piped"));
    piped.write_stdin(LINE.repeat(60)).assert().success();
    desk.write(
        "marked.txt",
        format!("\u{feff}{}", LINE.repeat(60)).as_bytes(),
    );
    desk.stdout(&format!("train marked.txt {flags} -o marked"));
    let weights = |run: &str| {
        let bytes = read(&desk.path(&format!("{run}/model.safetensors")));
        bytes[bytes.len() - 1024..].to_vec()
    };
    assert_eq!(weights("piped"), weights("run"));
    assert_eq!(weights("marked"), weights("run"));

    desk.write(
        "other.txt",
        "the quick Brown fox\nthe Lazy Lazy dog\n".as_bytes(),
    );
    desk.refused(
        "eval run other.txt",
        1,
        &["line 1, column 11: 'B'", "'B' x 1, 'L' x 2"],
    );

    desk.stdout(&format!("train text.txt --tokens word {flags} -o words"));
    let eval = desk.json("eval words other.txt").remove(0);
    assert_eq!(
        (&eval["tokens"], &eval["unknown_words"]),
        (&9.into(), &3.into())
    );
    let said = remarks(
        &desk,
        &format!("train text.txt --valid other.txt --tokens word {flags} -o unknown"),
    );
    assert!(said.contains("--min-count 2"), "{said}");
    desk.refused("eval .", 2, &[]);
    desk.refused("sample .", 1, &["a folder of runs", "./words"]);
}

/// A loss that overflows, or moments that do, are no success.
#[test]
fn finite_nonsense_is_no_training() {
    let desk = Desk::new();
    let flags = "text.txt --hidden 8 --batch 4 --seq-len 8 --report-every 10";
    desk.refused(
        &format!("train {flags} --weight-decay 1e30 --steps 30 -o a"),
        1,
        &["diverged"],
    );
    desk.refused(
        &format!("train {flags} --dtype f64 --optimizer sgd --lr 1e307 --steps 60 -o b"),
        1,
        &["diverged"],
    );
    let said = remarks(&desk, &format!("train {flags} --lr 1e6 --steps 20 -o c"));
    assert!(
        said.contains("far worse than guessing (3.3") && !said.contains("000000."),
        "{said}"
    );
}

/// A set as a mask of floats, empty sequences, counts as features.
#[test]
fn sets_as_they_come() {
    let desk = Desk::new();
    let inputs = Array3::from_shape_fn((8, 3, 2), |(i, t, k)| ((i + t + k) % 3) as i32);
    let targets = Array2::from_shape_fn((8, 3), |(i, t)| ((i + t) % 2) as i32);
    let mask = Array2::from_shape_fn((8, 3), |(i, t)| f64::from((i + t) % 3 > 0));
    desk.npz("set.npz", |npz| {
        let npz = npz
            .add("inputs", &inputs)
            .add("targets", &targets)
            .add("mask", &mask);
        npz.add("lengths", &ndarray::arr1(&[3, 0, 2, 3, 1, 0, 3, 3]));
    });
    for flags in ["", "--cell lstm --bidirectional --layers 2"] {
        desk.stdout(&format!("train set.npz --hidden 8 --steps 20 {flags}"));
    }
    desk.npz("half.npz", |npz| {
        let mask = mask.mapv(|x| x / 2.0);
        npz.add("inputs", &inputs)
            .add("targets", &targets)
            .add("mask", &mask);
    });
    desk.refused(
        "train half.npz",
        1,
        &["half.npz", "`mask`", "0.5", "expected 0 or 1"],
    );
    desk.npz("nothing.npz", |npz| {
        npz.add("inputs", &inputs)
            .add("targets", &targets.mapv(|_| -1));
    });
    desk.refused(
        "train nothing.npz",
        1,
        &["nothing.npz", "no time step counts"],
    );
}
