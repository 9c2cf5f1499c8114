//! Networks of every kind, end to end: both directions, embeddings, and what answers are judged by.

use super::{Desk, read};
use ndarray::{Array1, Array2, Array3, ArrayD, Axis};
use ndarray_npy::NpzReader;
use serde_json::Value;

const SMALL: &str = "--hidden 8 --batch 8 --steps 20 --report-every 10";

/// Sequences, steps and features.
const SHAPE: (usize, usize, usize) = (40, 9, 2);

/// Features from -1 to 1 that look drawn.
fn features() -> Array3<f32> {
    Array3::from_shape_fn(SHAPE, |(i, t, k)| {
        ((i * 37 + t * 101 + k * 53 + i * t * 7) % 41) as f32 / 20.0 - 1.0
    })
}

/// The numbers of an array in an `.npz`.
fn array(desk: &Desk, file: &str, name: &str) -> ArrayD<f32> {
    let file = std::fs::File::open(desk.path(file)).unwrap();
    NpzReader::new(file).unwrap().by_name(name).unwrap()
}

fn config(desk: &Desk, run: &str) -> Value {
    serde_json::from_slice(&read(&desk.path(run).join("config.json"))).unwrap()
}

/// A set of each kind of targets, once with an answer at every step and once with one a sequence: the name of its file without
/// the ending, what it is judged by, and what `eval` says beside the loss.
fn sets(desk: &Desk) -> Vec<(String, &'static str, &'static [&'static str])> {
    let x = features();
    let (n, t, _) = SHAPE;
    let class =
        |i: usize, t: usize| usize::from(x[[i, t, 0]] > 0.0) + usize::from(x[[i, t, 1]] > 0.5);
    let classes = Array2::from_shape_fn((n, t), |(i, t)| class(i, t) as i64);
    let distributions = Array3::from_shape_fn(
        (n, t, 3),
        |(i, t, k)| if k == class(i, t) { 0.5 } else { 0.25 },
    );
    let labels = Array3::from_shape_fn((n, t, 2), |(i, t, k)| {
        f32::from(u8::from(x[[i, t, k]] > 0.0))
    });
    let values = Array3::from_shape_fn((n, t, 2), |(i, t, k)| 3.0 * x[[i, t, k]] - 1.0f32);
    desk.npz("classes-every.npz", |npz| {
        npz.add("inputs", &x).add("targets", &classes);
    });
    desk.npz("classes-last.npz", |npz| {
        npz.add("inputs", &x)
            .add("targets", &classes.index_axis(Axis(1), t - 1).to_owned());
    });
    for (name, y) in [
        ("distributions", distributions),
        ("labels", labels),
        ("values", values),
    ] {
        desk.npz(&format!("{name}-every.npz"), |npz| {
            npz.add("inputs", &x).add("targets", &y);
        });
        desk.npz(&format!("{name}-last.npz"), |npz| {
            npz.add("inputs", &x)
                .add("targets", &y.index_axis(Axis(1), t - 1).to_owned());
        });
    }
    let kinds: [(_, _, &[_]); 4] = [
        (
            "classes",
            "cross-entropy",
            &["accuracy", "perplexity", "bits_per_token"],
        ),
        (
            "distributions",
            "cross-entropy",
            &["accuracy", "perplexity", "bits_per_token"],
        ),
        ("labels", "binary", &["label_accuracy", "f1"]),
        ("values", "mse", &["rmse", "mae", "r2"]),
    ];
    let both = kinds
        .iter()
        .flat_map(|kind| ["every", "last"].map(|at| (kind, at)));
    both.map(|((name, loss, metrics), at)| (format!("{name}-{at}"), *loss, *metrics))
        .collect()
}

/// The targets choose loss and steps, which is said and recorded; everything else speaks of them.
#[test]
fn targets_choose_the_loss_and_the_steps() {
    let desk = Desk::new();
    for (i, (name, loss, metrics)) in sets(&desk).into_iter().enumerate() {
        let (kind, at) = name.split_once('-').unwrap();
        let directions = ["", "--bidirectional"][i / 2 % 2];
        let flags = format!("{SMALL} --cell gru {directions} --tensorboard");
        let run = desk
            .bptt(&format!("train {name}.npz {flags} -o {name}"))
            .assert()
            .success();
        let output = run.get_output();
        let (said, shown) = (
            String::from_utf8_lossy(&output.stderr),
            String::from_utf8_lossy(&output.stdout),
        );
        assert!(said.contains(&format!("--loss {loss}")), "{said}");
        assert!(
            said.contains(["at every step", "once a sequence"][usize::from(at == "last")]),
            "{said}"
        );
        let title = match loss {
            "binary" => "binary cross-entropy",
            "mse" => "mean squared error",
            other => other,
        };
        assert!(
            shown.contains(title) && said.contains(title),
            "{shown}{said}"
        );
        assert_eq!(
            shown.contains("perplexity"),
            loss == "cross-entropy",
            "{shown}"
        );
        let config = config(&desk, &name);
        assert_eq!((&config["loss"], &config["at"]), (&loss.into(), &at.into()));

        // The history, the picture and TensorBoard know the metrics and the loss's word.
        let metric = metrics[0];
        let history = String::from_utf8(read(&desk.path(&name).join("history.jsonl"))).unwrap();
        let report: Value = serde_json::from_str(history.lines().last().unwrap()).unwrap();
        assert!(report[format!("valid_{metric}")].is_f64(), "{report}");
        assert!(report["valid_loss"].as_f64().unwrap() > 0.0);
        let plot = String::from_utf8(read(&desk.path(&name).join("loss.svg"))).unwrap();
        assert!(plot.contains(title), "{plot}");
        let events = read(&desk.path(&name).join("events.out.tfevents.bptt"));
        let tag = format!("valid/{metric}").into_bytes();
        assert!(events.windows(tag.len()).any(|part| part == tag));

        // And so do a resumed run and the other commands.
        desk.stdout(&format!(
            "train --resume {name} --steps 30 --loss {loss} --at {at}"
        ));
        let eval = &desk.json(&format!("eval {name} {name}.npz"))[0];
        assert_eq!(eval["loss_name"], title);
        assert!(metrics.iter().all(|metric| eval[metric].is_f64()), "{eval}");
        assert_eq!(
            eval.get("perplexity").is_some(),
            loss == "cross-entropy",
            "{eval}"
        );
        let (n, t, _) = SHAPE;
        assert_eq!(eval["tokens"], if at == "last" { n } else { n * t });
        let text = desk.stdout(&format!("eval {name} {name}.npz"));
        assert!(
            text.contains(
                ["R2", "label accuracy", "perplexity"]
                    [usize::from(loss != "mse") + usize::from(loss == "cross-entropy")]
            ),
            "{text}"
        );
        desk.stdout(&format!("predict {name} {name}.npz"));
        let answers = ["probabilities", "values"][usize::from(loss == "mse")];
        let y = array(&desk, &format!("{name}-{answers}.npz"), answers);
        let n_y = config_outputs(kind);
        assert_eq!(
            y.shape(),
            if at == "last" {
                vec![n, n_y]
            } else {
                vec![n, t, n_y]
            }
        );
        assert!(answers == "values" || y.iter().all(|p| (0.0..=1.0).contains(p)));
        let inspect = desk.stdout(&format!("inspect {name}"));
        assert!(
            inspect.contains(title) && inspect.contains("gru"),
            "{inspect}"
        );
        assert_eq!(
            inspect.contains("in each direction"),
            !directions.is_empty()
        );
        assert_eq!(inspect.contains("at the last step"), at == "last");
        assert_eq!(
            inspect.contains("rnn.weight_hh_l0_reverse"),
            !directions.is_empty()
        );
    }
    // Of the same numbers another loss may be asked for.
    let done = desk.json(&format!(
        "train values-every.npz {SMALL} --loss huber -o huber"
    ));
    assert_eq!(done.last().unwrap()["loss_name"], "Huber loss");
    let eval = &desk.json("eval huber values-every.npz")[0];
    assert!(eval["r2"].is_f64() && eval["loss"].as_f64() < eval["rmse"].as_f64().map(|e| e * e));
}

fn config_outputs(kind: &str) -> usize {
    match kind {
        "classes" | "distributions" => 3,
        _ => 2,
    }
}

/// What comes later is known to a network that reads from both ends alone; sequences end where they end.
#[test]
fn both_directions_see_what_comes_later() {
    let desk = Desk::new();
    let x = features();
    let (n, t, _) = SHAPE;
    let lengths = Array1::from_shape_fn(n, |i| (4 + i % 6) as i64);
    let next =
        |(i, t): (usize, usize)| i64::from(t + 1 < lengths[i] as usize && x[[i, t + 1, 0]] > 0.0);
    let targets = Array2::from_shape_fn((n, t), next);
    desk.npz("set.npz", |npz| {
        npz.add("inputs", &x)
            .add("targets", &targets)
            .add("lengths", &lengths);
    });
    let accuracy = |name: &str, flags: &str| {
        let train = "train set.npz --hidden 16 --batch 8 --steps 400 --lr 0.01 --valid-fraction 0";
        desk.stdout(&format!("{train} {flags} -o {name}"));
        let eval = &desk.json(&format!("eval {name} set.npz"))[0];
        assert_eq!(eval["tokens"], lengths.sum());
        eval["accuracy"].as_f64().unwrap()
    };
    let (one, both) = (accuracy("one", ""), accuracy("both", "--bidirectional"));
    assert!(both > 0.95 && one < 0.9 && one < both, "{one} {both}");
    // The answers are those of each sequence by itself.
    desk.stdout("predict both set.npz -o all.npz");
    let all = array(&desk, "all.npz", "probabilities");
    for i in [0, 5, 11] {
        let length = lengths[i] as usize;
        desk.npz("one.npz", |npz| {
            npz.add(
                "inputs",
                &x.slice(ndarray::s![i..=i, ..length, ..]).to_owned(),
            );
        });
        desk.stdout("predict both one.npz -o one-answers.npz");
        let alone = array(&desk, "one-answers.npz", "probabilities");
        for (a, b) in alone
            .index_axis(Axis(0), 0)
            .iter()
            .zip(all.index_axis(Axis(0), i))
        {
            assert!((a - b).abs() < 1e-5, "{i}: {a} {b}");
        }
    }
}

/// The sum of a sequence, of whatever length, is learnt from one number a sequence, and predicted where it ends.
#[test]
fn one_number_a_sequence() {
    let desk = Desk::new();
    let x = Array3::from_shape_fn((200, 6, 1), |(i, t, _)| {
        ((i * 37 + t * 101 + i * t * 7) % 41) as f32 / 20.0 - 1.0
    });
    let lengths = Array1::from_shape_fn(200, |i| (2 + i % 5) as i64);
    let sums = Array1::from_shape_fn(200, |i| {
        (0..lengths[i] as usize).map(|t| x[[i, t, 0]]).sum::<f32>()
    });
    let sums = sums.insert_axis(Axis(1));
    desk.npz("sums.npz", |npz| {
        npz.add("inputs", &x)
            .add("targets", &sums)
            .add("lengths", &lengths);
    });
    desk.stdout("train sums.npz --cell gru --hidden 16 --batch 20 --steps 800 --lr 0.01 -o run");
    let eval = &desk.json("eval run sums.npz")[0];
    assert!(eval["r2"].as_f64().unwrap() > 0.97, "{eval}");
    desk.stdout("predict run sums.npz");
    let values = array(&desk, "sums-values.npz", "values");
    let squared: f32 = values
        .iter()
        .zip(&sums)
        .map(|(y, sum)| (y - sum).powi(2))
        .sum();
    let rmse = f64::from((squared / 200.0).sqrt());
    assert!(
        (rmse / eval["rmse"].as_f64().unwrap() - 1.0).abs() < 1e-4,
        "{rmse} {eval}"
    );
}

#[test]
fn embeddings_forget_biases_and_pytorchs_weights() {
    let desk = Desk::new();
    let runs = [
        ("embedding", "--embedding 12", "28 tokens embedded in 12"),
        ("tied", "--embedding 16 --tie", "tied to the embedding"),
        (
            "forget",
            "--cell lstm --layers 2 --forget-bias 3",
            "2 layers of 16 lstm units",
        ),
        ("pytorch", "--cell gru --init pytorch", "16 gru units"),
    ];
    for (name, flags, shown) in runs {
        let train =
            format!("train text.txt --hidden 16 --batch 4 --seq-len 16 --report-every 10 {flags}");
        let done = desk.json(&format!("{train} --steps 60 --lr 0.01 -o {name}"));
        assert!(done.last().unwrap()["train_loss"].as_f64().unwrap() < 28f64.ln());
        let text = desk.stdout(&format!("inspect {name}"));
        assert!(text.contains(shown), "{text}");
        assert_eq!(
            text.contains("encoder.weight"),
            flags.contains("embedding"),
            "{text}"
        );
        assert_eq!(
            text.contains("decoder.weight"),
            !flags.contains("tie"),
            "{text}"
        );
        desk.stdout(&format!("sample {name} --length 5"));
        // In parts it is the same run.
        desk.stdout(&format!("{train} --steps 25 --lr 0.01 -o {name}-parts"));
        desk.stdout(&format!("train --resume {name}-parts --steps 60"));
        let [whole, parts] =
            ["", "-parts"].map(|end| read(&desk.path(&format!("{name}{end}/last.safetensors"))));
        assert!(whole == parts, "{name}");
    }
    // The number is the bias of the first step: nothing has been learnt at a rate of nearly zero.
    desk.stdout(
        "train text.txt --hidden 4 --cell lstm --forget-bias 3 --steps 1 --lr 1e-30 -o bias",
    );
    let tensors = &desk.json("inspect bias")[0]["tensors"];
    let bias = tensors
        .as_array()
        .unwrap()
        .iter()
        .find(|tensor| tensor["name"] == "rnn.bias_ih_l0");
    assert_eq!(bias.unwrap()["norm"], 6.0);
}

/// What contradicts itself or would change nothing is refused with the reason, by its flag, before anything is written.
#[test]
fn contradictions_are_refused() {
    let desk = Desk::new();
    sets(&desk);
    desk.npz("ids.npz", |npz| {
        let ids = Array2::from_shape_fn((8, 5), |(i, t)| ((i + t) % 7) as i64);
        npz.add("inputs", &ids)
            .add("targets", &ids.mapv(|id| id % 3));
    });
    let before = desk.names(".");
    for (flags, status, words) in [
        ("text.txt --bidirectional", 2, ["--bidirectional", "text"]),
        ("text.txt --at last", 2, ["--at last", "text"]),
        ("text.txt --loss mse", 2, ["--loss", "cross-entropy"]),
        ("text.txt --tie", 2, ["--tie", "an embedding"]),
        (
            "text.txt --hidden 16 --embedding 8 --tie",
            2,
            ["--embedding: 8", "tied to the decoder"],
        ),
        ("text.txt --embedding 0", 2, ["--embedding", "0"]),
        (
            "text.txt --cell gru --forget-bias 1",
            2,
            ["--forget-bias", "lstm"],
        ),
        ("text.txt --forget-bias nan", 2, ["--forget-bias", "finite"]),
        (
            "text.txt --min-count 2",
            2,
            ["--min-count", "--tokens word"],
        ),
        (
            "text.txt --vocab-size 9",
            2,
            ["--vocab-size", "--tokens word"],
        ),
        ("--tokens word", 2, ["--tokens", "Reber"]),
        ("--valid text.txt", 2, ["--valid", "Reber"]),
        (
            "text.txt --valid-fraction 0 --schedule halve-on-plateau",
            2,
            ["--schedule", "--valid-fraction 0"],
        ),
        (
            "text.txt --valid-fraction 0 --patience 3",
            2,
            ["--patience", "--valid-fraction"],
        ),
        ("text.txt --loss hinge", 2, ["--loss", "huber"]),
        ("text.txt --at first", 2, ["--at", "last"]),
        ("text.txt --init zero", 2, ["--init", "pytorch"]),
        ("classes-every.npz --tokens char", 2, ["--tokens", ".npz"]),
        (
            "classes-every.npz --reset-state",
            2,
            ["--reset-state", "--seq-len"],
        ),
        (
            "classes-every.npz --embedding 8",
            1,
            ["--embedding", "numbers"],
        ),
        (
            "classes-every.npz --loss mse",
            1,
            ["--loss mse", "classes-every.npz"],
        ),
        (
            "classes-every.npz --at last",
            1,
            ["--at last", "classes-every.npz"],
        ),
        (
            "classes-last.npz --at every",
            1,
            ["--at every", "classes-last.npz"],
        ),
        ("classes-last.npz --seq-len 4", 2, ["--seq-len", "4"]),
        (
            "values-every.npz --loss cross-entropy",
            1,
            ["--loss cross-entropy", "values-every.npz"],
        ),
        (
            "values-last.npz --loss binary",
            1,
            ["--loss binary", "values-last.npz"],
        ),
        (
            "classes-every.npz --bidirectional --seq-len 4",
            2,
            ["--seq-len: 4 is not possible", "both ends"],
        ),
        (
            "classes-every.npz --bidirectional --memory 4k",
            1,
            ["--memory", "at least"],
        ),
        (
            "ids.npz --hidden 8 --embedding 8 --tie",
            1,
            ["--tie", "7 tokens"],
        ),
        (
            "values-every.npz --valid labels-last.npz",
            1,
            ["labels-last.npz", "one a sequence"],
        ),
    ] {
        desk.refused(&format!("train {flags} -o run"), status, &words);
    }
    assert_eq!(desk.names("."), before, "nothing was written");
    desk.stdout(&format!("train labels-last.npz {SMALL} -o labels"));
    for (command, words) in [
        (
            "eval labels values-every.npz",
            ["values-every.npz", "labels"],
        ),
        ("sample labels", ["labels", "no model of text"]),
        (
            "train --resume labels --bidirectional",
            ["--bidirectional", "differs"],
        ),
        ("train --resume labels --loss mse", ["--loss", "differs"]),
    ] {
        desk.refused(command, 1, &words);
    }
}

#[test]
fn bench_of_both_directions() {
    let desk = Desk::new();
    let bench = "bench --shape 8,5,3,8,3 --seconds 0.01 --threads 1 --cell lstm --layers 2";
    let [one, both] =
        ["", "--bidirectional"].map(|flag| desk.json(&format!("{bench} {flag}")).remove(0));
    assert_eq!(
        (&one["bidirectional"], &both["bidirectional"]),
        (&false.into(), &true.into())
    );
    assert!(
        desk.stdout(&format!("{bench} --bidirectional"))
            .contains("in both directions")
    );
}
