//! The program under `mpirun`: the files of several ranks are those of one process with as many shards, and nothing hangs
//! or is lost where one of them fails. Needs the feature `mpi`; `tests/ranks.rs` has the mathematics without it.

use assert_cmd::cargo::cargo_bin;
use ndarray::{Array1, Array2, Array3};
use ndarray_npy::NpzWriter;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A folder in which processes run.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Desk(tempfile::tempdir().unwrap());
        let line = "the quick brown fox jumps over the lazy dog\n";
        std::fs::create_dir(desk.path("texts")).unwrap();
        std::fs::write(desk.path("texts/a.txt"), line.repeat(40)).unwrap();
        std::fs::write(desk.path("texts/b.txt"), line.repeat(17)).unwrap();
        let (n, t) = (29, 9);
        let x = Array3::from_shape_fn((n, t, 4), |(i, j, k)| ((i + 2 * j + 3 * k) as f32).sin());
        let y = Array2::from_shape_fn((n, t), |(i, j)| ((i * j) % 3) as i64);
        let lengths = Array1::from_shape_fn(n, |i| (1 + i * 5 % t) as i64);
        let file = std::fs::File::create(desk.path("set.npz")).unwrap();
        let mut npz = NpzWriter::new(file);
        npz.add_array("inputs", &x).unwrap();
        npz.add_array("targets", &y).unwrap();
        npz.add_array("lengths", &lengths).unwrap();
        npz.finish().unwrap();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `bptt` on so many ranks, or as itself.
    fn command(&self, ranks: Option<usize>, arguments: &str) -> Command {
        let mut command = match ranks {
            None => Command::new(cargo_bin("bptt")),
            Some(ranks) => {
                let mut command = Command::new("mpirun");
                command
                    .args(["--oversubscribe", "-n", &ranks.to_string()])
                    .arg(cargo_bin("bptt"));
                command
            }
        };
        command.args(arguments.split_whitespace());
        self.prepared(command)
    }

    /// Here, and under `mpirun` whoever runs the test.
    fn prepared(&self, mut command: Command) -> Command {
        command
            .current_dir(self.0.path())
            .env("OMPI_ALLOW_RUN_AS_ROOT", "1")
            .env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
        command
    }

    #[track_caller]
    fn run(&self, ranks: Option<usize>, arguments: &str) -> Output {
        let output = self.command(ranks, arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{ranks:?} {arguments}: {said}");
        output
    }

    /// What a command says that must fail, soon.
    #[track_caller]
    fn refused(&self, ranks: usize, arguments: &str) -> String {
        let output = self.command(Some(ranks), arguments).output().unwrap();
        assert!(!output.status.success(), "{arguments}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.contains("panicked"), "{said}");
        said
    }

    /// A run that is watched until it has a checkpoint.
    fn start(&self, ranks: usize, arguments: &str, folder: &str) -> Child {
        let mut command = self.command(Some(ranks), arguments);
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let begin = Instant::now();
        while !self.path(folder).join("last.safetensors").exists() {
            assert!(begin.elapsed() < Duration::from_secs(60), "no checkpoint");
            std::thread::sleep(Duration::from_millis(20));
        }
        child.unwrap()
    }

    #[track_caller]
    fn same(&self, one: &str, other: &str) {
        for file in ["model.safetensors", "last.safetensors"] {
            let read = |folder| std::fs::read(self.path(folder).join(file)).unwrap();
            assert!(read(one) == read(other), "{file} of {one} and {other}");
        }
    }
}

/// The process that is this rank of the run in `folder`.
fn process_of(rank: usize, folder: &Path) -> i32 {
    let name = format!("OMPI_COMM_WORLD_RANK={rank}");
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let found = processes
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .find(|id| {
            let environment = std::fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
            let is_rank = environment
                .split(|&byte| byte == 0)
                .any(|variable| variable == name.as_bytes());
            let here = std::fs::read_link(format!("/proc/{id}/cwd"));
            is_rank && here.is_ok_and(|here| here == folder.canonicalize().unwrap())
        });
    found.expect("the rank runs")
}

fn signal(process: i32, name: &str) {
    let kill = Command::new("kill")
        .args([name, &process.to_string()])
        .status();
    assert!(kill.unwrap().success());
}

const SMALL: &str = "--hidden 21 --report-every 10 --threads 1 --seq-len 7 --batch 13";

#[test]
fn ranks_leave_the_files_of_one_process() {
    let desk = Desk::new();
    let cases = [
        ("texts", "--dropout 0.2 --input-dropout 0.1", 4, [2, 4]),
        (
            "set.npz",
            "--optimizer nesterov --clip-value 0.01",
            6,
            [2, 3],
        ),
        (
            "texts --tokens word",
            "--optimizer rmsprop --dtype f64",
            3,
            [3, 3],
        ),
        (
            "set.npz",
            "--optimizer gd --reset-state --dropout 0.3",
            5,
            [1, 5],
        ),
        ("", "--optimizer adamw --weight-decay 0.1", 4, [2, 4]),
        ("texts", "--optimizer momentum --memory 300k", 4, [2, 4]),
    ];
    for (i, (data, options, shards, ranks)) in cases.into_iter().enumerate() {
        let train = format!("train {data} {SMALL} --steps 24 {options}");
        desk.run(None, &format!("{train} --shards {shards} -o alone{i}"));
        for ranks in ranks {
            let own = shards / ranks;
            desk.run(
                Some(ranks),
                &format!("{train} --shards {own} -o ranks{i}-{ranks}"),
            );
            desk.same(&format!("alone{i}"), &format!("ranks{i}-{ranks}"));
            if ranks == 1 || ranks == shards {
                break;
            }
        }
    }
    let history = std::fs::read_to_string(desk.path("ranks0-2/history.jsonl")).unwrap();
    assert!(
        history
            .lines()
            .all(|line| line.contains("\"communication_seconds\":"))
    );
    let history = std::fs::read_to_string(desk.path("alone0/history.jsonl")).unwrap();
    assert!(!history.contains("communication_seconds"));
}

#[test]
fn a_fast_reduction_differs_by_rounding() {
    let desk = Desk::new();
    let train = format!("train texts {SMALL} --optimizer gd --steps 10");
    desk.run(None, &format!("{train} --shards 6 -o alone"));
    desk.run(
        Some(3),
        &format!("{train} --shards 2 -o fast --reduction fast"),
    );
    let losses = |folder: &str| -> Vec<f64> {
        let history = std::fs::read_to_string(desk.path(folder).join("history.jsonl")).unwrap();
        let reports = history
            .lines()
            .map(serde_json::from_str::<serde_json::Value>);
        reports
            .map(|report| report.unwrap()["valid_loss"].as_f64().unwrap())
            .collect()
    };
    for (one, other) in losses("alone").into_iter().zip(losses("fast")) {
        assert!((one - other).abs() < 1e-6 * one, "{one} {other}");
    }
}

/// A killed rank ends the run, by name; what it left goes on with another number of ranks, to the same bits.
#[test]
fn a_killed_rank_ends_the_run_and_nothing_is_lost() {
    let desk = Desk::new();
    let train = format!("train texts {SMALL}");
    let mut child = desk.start(
        3,
        &format!("{train} --steps 10000000 --shards 2 -o run"),
        "run",
    );
    signal(process_of(1, desk.0.path()), "-KILL");
    let begin = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(begin.elapsed() < Duration::from_secs(30), "the others hang");
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("rank 1") && said.contains("Killed"), "{said}");

    // The same length for all, a little further on.
    desk.run(None, "eval run texts");
    let history = std::fs::read_to_string(desk.path("run/history.jsonl")).unwrap();
    let steps = 10 * (history.lines().count() + 3);
    let config = std::fs::read_to_string(desk.path("run/config.json")).unwrap();
    let shorter = config.replace("10000000", &steps.to_string());
    assert!(shorter != config);
    for copy in ["two", "alone"] {
        std::fs::create_dir(desk.path(copy)).unwrap();
        for file in ["last.safetensors", "model.safetensors", "history.jsonl"] {
            std::fs::copy(desk.path("run").join(file), desk.path(copy).join(file)).unwrap();
        }
        std::fs::write(desk.path(copy).join("config.json"), &shorter).unwrap();
    }
    desk.run(Some(2), "train --resume two");
    desk.run(None, "train --resume alone");
    desk.same("two", "alone");
    desk.run(
        None,
        &format!("{train} --steps {steps} --shards 6 -o whole"),
    );
    let weights = |folder: &str| {
        let path = desk.path(folder).join("model.safetensors");
        bptt::model::Model::<f32>::read(&path).unwrap().network
    };
    assert!(weights("whole") == weights("two"));
}

#[test]
fn a_signal_to_one_rank_stops_all_at_the_same_step() {
    let desk = Desk::new();
    let train = format!("train texts {SMALL} --shards 1 --steps 10000000 -o run");
    let child = desk.start(2, &train, "run");
    signal(process_of(1, desk.0.path()), "-TERM");
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(
        said.contains("go on with: bptt train --resume run"),
        "{said}"
    );
    desk.run(None, "eval run texts");
}

#[test]
fn ranks_that_are_not_one_run_are_refused_by_name() {
    let desk = Desk::new();
    let bptt = cargo_bin("bptt");
    let train = |seed| {
        format!(
            "{} train texts {SMALL} --seed {seed} -o run",
            bptt.display()
        )
    };
    // The first program is the command's own.
    let other = format!("train texts {SMALL} --seed 1 -o run : -n 1 {}", train(2));
    let said = desk.refused(1, &other);
    assert!(
        said.contains("rank 1 has other arguments than rank 0"),
        "{said}"
    );

    // One rank finds other data in its own folder.
    let elsewhere = desk.path("elsewhere");
    std::fs::create_dir_all(elsewhere.join("texts")).unwrap();
    std::fs::write(elsewhere.join("texts/a.txt"), "another text. ".repeat(90)).unwrap();
    let train = format!("train texts {SMALL} -o run");
    let other = format!(
        "{train} : -n 1 -wdir {} {} {train}",
        elsewhere.display(),
        bptt.display()
    );
    let said = desk.refused(1, &other);
    assert!(said.contains("rank 1 has other data than rank 0"), "{said}");
    assert!(!desk.path("run").exists());

    let said = desk.refused(2, "train nowhere.txt");
    assert!(
        said.contains("error: rank 0: ") && said.contains("nowhere.txt"),
        "{said}"
    );
    assert!(!said.contains("error: rank 1"), "{said}");
}

/// What a rank alone reads, it alone can find wrong; and says where, as one process would.
#[test]
fn what_is_wrong_with_a_part_is_said_by_the_rank_that_reads_it() {
    let desk = Desk::new();
    let line = "the quick brown fox jumps over the lazy dog\n";
    let text = format!("{}the quick ? fox\n{}", line.repeat(90), line.repeat(9));
    std::fs::write(desk.path("other.txt"), text).unwrap();
    let train = format!("train texts {SMALL} --valid other.txt -o run");
    let said = desk.refused(2, &train);
    let expected = "error: rank 1: other.txt: line 91, column 11: '?' (U+003F) is not among the";
    assert!(said.contains(expected), "{said}");
    assert!(!desk.path("run").exists());

    std::fs::write(
        desk.path("odd.txt"),
        [b"text ".repeat(500), vec![0xff]].concat(),
    )
    .unwrap();
    let said = desk.refused(3, "train odd.txt");
    let expected = "error: rank 2: odd.txt: byte 2501 (offset 2500) is not UTF-8";
    assert!(said.contains(expected), "{said}");
}

/// Hosts with addresses of their own, that share nothing but a cable and files.
#[cfg(target_os = "linux")]
#[test]
fn two_hosts_are_one_run() {
    const NO_SUCH_HOSTS: i32 = 77;
    let desk = Desk::new();
    let train = format!("train texts {SMALL} --steps 24 --dropout 0.2");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/two_hosts.sh");
    let mut hosts = Command::new("bash");
    hosts.arg(script).arg(cargo_bin("bptt"));
    hosts
        .args(train.split(' '))
        .args(["--shards", "2", "-o", "hosts"]);
    let output = desk.prepared(hosts).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(NO_SUCH_HOSTS) {
        return eprintln!("skipped: no network namespaces, or no `ip`: {said}");
    }
    assert!(output.status.success(), "{said}");
    desk.run(None, &format!("{train} --shards 4 -o alone"));
    desk.same("alone", "hosts");
    let history = std::fs::read_to_string(desk.path("hosts/history.jsonl")).unwrap();
    assert!(history.contains("\"communication_seconds\":"), "{history}");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn ranks_on_other_kernels_go_on_with_a_remark() {
    if !is_x86_feature_detected!("avx2") {
        return eprintln!("skipped: this processor has nothing wider to choose from");
    }
    let desk = Desk::new();
    let train = format!("train texts {SMALL} --steps 24");
    let remark = "machines differ in vector instructions";
    let alike = desk.run(Some(2), &format!("{train} -o alike")).stderr;
    assert!(!String::from_utf8_lossy(&alike).contains(remark));
    // The second program is the same, but for its environment.
    let train = format!("{train} -o differ");
    let bptt = cargo_bin("bptt");
    let other = format!(
        "{train} : -n 1 env BPTT_SIMD=sse2 {} {train}",
        bptt.display()
    );
    let said = desk.run(Some(1), &other).stderr;
    let said = String::from_utf8_lossy(&said);
    assert!(
        said.contains(remark) && said.contains("BPTT_SIMD"),
        "{said}"
    );
}

/// What is work for one process is done once; bench measures all ranks together.
#[test]
fn other_commands_run_once() {
    let desk = Desk::new();
    desk.run(None, &format!("train texts {SMALL} --steps 24 -o run"));
    let alone = desk.run(None, "eval run texts").stdout;
    assert!(desk.run(Some(3), "eval run texts").stdout == alone);
    let bench = "bench --shape 8,5,3,8,3 --seconds 0.1 --threads 1 --log json";
    let output = desk.run(Some(2), bench).stdout;
    let output = String::from_utf8(output).unwrap();
    assert_eq!(output.lines().count(), 1, "{output}");
    assert!(
        output.contains("\"ranks\":2") && output.contains("\"shards\":2"),
        "{output}"
    );
}
