//! What several ranks read of their data: each its part, and together what one process reads.

use crate::support::ranks::on_ranks;
use bptt::data::{
    Corpus, Ids, Loader, Reading, Sequences, TargetKind, TokenKind, Vocabulary, WordLimits,
    file_fingerprint,
};
use bptt::ranks::{Ranks, Reduction};
use bptt::train::{Checkpoint, TrainOptions, Trainer};
use bptt::{Architecture, At, EngineOptions, Error, Head, Init, Input, Network, Result};
use ndarray::{Array1, Array2, Array3};
use ndarray_npy::NpzWriter;
use proptest::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

const KINDS: [TokenKind; 3] = [TokenKind::Char, TokenKind::Byte, TokenKind::Word];

/// A folder of these files, which is to be read.
fn folder(files: &[Vec<u8>]) -> (TempDir, Vec<PathBuf>) {
    let root = tempfile::tempdir().unwrap();
    for (i, content) in files.iter().enumerate() {
        fs::write(root.path().join(format!("{i:02}")), content).unwrap();
    }
    let paths = vec![root.path().to_owned()];
    (root, paths)
}

fn whole(paths: &[PathBuf], kind: TokenKind, limits: WordLimits) -> Result<(Corpus, Reading)> {
    Corpus::read_part(paths, kind, limits, None)
}

fn ids(ids: &Ids) -> Vec<u32> {
    (0..ids.len()).map(|i| ids.get(i)).collect()
}

/// Checks the parts of `size` ranks, and of both sides of a split.
fn check_parts(paths: &[PathBuf], kind: TokenKind, limits: WordLimits, size: usize, cut: f64) {
    let (all, reading) = whole(paths, kind, limits).unwrap();
    let split = all.clone().split(cut).unwrap();
    let parts = on_ranks(size, |ranks| {
        let (part, of_part) = Corpus::read_part(paths, kind, limits, Some(&*ranks)).unwrap();
        let known = Corpus::read_part_with(paths, all.vocabulary(), Some(&*ranks)).unwrap();
        assert_eq!(known, (part.clone(), of_part));
        assert_eq!(of_part, reading);
        let (train, valid) = part.clone().split(cut).unwrap();
        for (part, all) in [(&part, &all), (&train, &split.0), (&valid, &split.1)] {
            assert_eq!(part.vocabulary(), all.vocabulary());
            assert!(part.documents().eq(all.documents()));
            assert_eq!(part.len(), all.len());
            assert_eq!(part.fingerprint(Some(&*ranks)), all.fingerprint(None));
        }
        [part, train, valid].map(|part| ids(part.ids()))
    });
    for (i, all) in [&all, &split.0, &split.1].into_iter().enumerate() {
        let together: Vec<_> = parts.iter().flat_map(|part| part[i].clone()).collect();
        assert_eq!(together, ids(all.ids()), "{kind:?} on {size} ranks");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn parts_make_the_whole(
        texts in prop::collection::vec("[ab\u{e9}\u{4e00}\u{1F600} \t\r\n]{0,40}", 1..6),
        odd in prop::collection::vec(0usize..6, 0..3),
        kind in 0usize..3,
        size in 1usize..6,
        cut in 0.0f64..0.9,
        min_count in 0u64..3,
    ) {
        let mut files: Vec<_> = texts.into_iter().map(String::into_bytes).collect();
        for at in odd {
            let damaged = at.min(files.len() - 1);
            files[damaged].push(0xff);
        }
        files.push("a last text\n".into());
        let (_root, paths) = folder(&files);
        let limits = WordLimits { min_count, vocab_size: None };
        check_parts(&paths, KINDS[kind], limits, size, cut);
    }
}

/// Ids of 16 and 32 bits, of which a rank alone would need fewer.
#[test]
fn many_symbols_are_merged() {
    let words: Vec<_> = (0..70_000).map(|i| format!("w{i} {}", i % 7)).collect();
    let (_root, paths) = folder(&[words.join("\n").into()]);
    check_parts(&paths, TokenKind::Word, WordLimits::default(), 3, 0.1);
    let characters = (0x4e00..0x4e00 + 300).filter_map(char::from_u32);
    let (_root, paths) = folder(&[characters.collect::<String>().into()]);
    check_parts(&paths, TokenKind::Char, WordLimits::default(), 4, 0.5);
}

/// What another rank reads, or nobody compares, may be anything.
#[test]
fn a_rank_reads_nothing_of_the_others_parts() {
    const MANY: usize = 3 << 20;
    let text: Vec<u8> = (0..MANY)
        .map(|i| b"the quick brown fox\n"[i % 20])
        .collect();
    for kind in KINDS {
        let (_root, paths) = folder(std::slice::from_ref(&text));
        let (all, _) = whole(&paths, kind, WordLimits::default()).unwrap();
        let parts = on_ranks(3, |ranks| {
            let mut own = text.clone();
            let part = ranks.rank() * MANY / 3..(ranks.rank() + 1) * MANY / 3;
            for (i, byte) in own.iter_mut().enumerate() {
                let compared = i % (MANY / 64) < 4096;
                let near = part.start.saturating_sub(300) <= i && i < part.end + 300;
                // No UTF-8, and it would be a symbol of its own.
                *byte = if compared || near { *byte } else { 0xff };
            }
            let (_root, paths) = folder(&[own]);
            // A folder's files are checked before they are read, a file that is named is read.
            let file = [paths[0].join("00")];
            for paths in [&paths[..], &file] {
                let part = Corpus::read_part(paths, kind, WordLimits::default(), Some(&*ranks));
                let (part, _) = part.unwrap();
                assert_eq!(part.vocabulary(), all.vocabulary());
                assert_eq!(part.fingerprint(Some(&*ranks)), all.fingerprint(None));
                assert!(part.ids().len().abs_diff(all.len() / 3) < 30);
            }
        });
        assert_eq!(parts.len(), 3);
    }
}

#[test]
fn ranks_that_see_other_files_are_told_so() {
    let text = "a text that is long enough to be compared. ".repeat(9000);
    let mut other = text.clone();
    other.replace_range(100_000..101_000, &"x".repeat(1000));
    let longer = format!("{text}.");
    for content in [other, longer] {
        let errors = on_ranks(3, |ranks| {
            let here = if ranks.rank() == 2 { &content } else { &text };
            let (_root, paths) = folder(&[here.clone().into()]);
            Corpus::read_part(
                &paths,
                TokenKind::Char,
                WordLimits::default(),
                Some(&*ranks),
            )
            .unwrap_err()
        });
        for error in errors {
            assert!(matches!(error, Error::Ranks { rank: 2, .. }), "{error}");
        }
    }
}

/// What is wrong with a text is wrong whoever reads it.
#[test]
fn errors_are_those_of_one_process() {
    let (_root, paths) = folder(&["good text\nabcé\nagood ? text\n".repeat(30).into()]);
    let known = Vocabulary::of_chars("abcé dgotex\n");
    let expected = Corpus::read_with(&paths, &known).unwrap_err().to_string();
    // Each says what it knows not of what follows.
    let there = expected
        .replace("line 3,", "line 48,")
        .replace("'?' x 30", "'?' x 15");
    let errors = on_ranks(2, |ranks| {
        Corpus::read_part_with(&paths, &known, Some(&*ranks)).unwrap_err()
    });
    assert_eq!(errors[0].to_string(), expected);
    assert_eq!(errors[1].to_string(), there);

    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("set.npz");
    let mut npz = NpzWriter::new(fs::File::create(&path).unwrap());
    npz.add_array("inputs", &Array3::<f32>::ones((9, 3, 4)))
        .unwrap();
    npz.add_array("targets", &Array2::<u8>::zeros((9, 3)))
        .unwrap();
    npz.add_array("n_x", &ndarray::arr0(7)).unwrap();
    npz.finish().unwrap();
    let expected = Sequences::<f32>::read_npz(&path).unwrap_err().to_string();
    for error in on_ranks(2, |ranks| {
        Sequences::<f32>::open_npz(&path, Some(&*ranks)).unwrap_err()
    }) {
        assert_eq!(error.to_string(), expected);
    }

    let (_root, paths) = folder(&[Vec::new(), vec![0xff; 100]]);
    for kind in KINDS {
        let limits = WordLimits::default();
        let expected = whole(&paths, kind, limits).unwrap_err().to_string();
        let errors = on_ranks(2, |ranks| {
            Corpus::read_part(&paths, kind, limits, Some(&*ranks)).unwrap_err()
        });
        for error in errors {
            assert_eq!(error.to_string(), expected);
        }
    }
}

fn deep(input: Input, head: Head) -> Architecture {
    Architecture {
        layers: 2,
        ..Architecture::new(input, 6, head)
    }
}

/// A run of more than an epoch.
fn run(
    train: Loader<f32>,
    valid: Loader<f32>,
    architecture: Architecture,
    ranks: Option<Arc<dyn Ranks>>,
) -> Checkpoint<f32> {
    let network = Network::new(architecture, Init::Orthogonal, 1).unwrap();
    let options = TrainOptions {
        steps: 2 * train.windows_per_epoch() + 3,
        engine: EngineOptions {
            threads: 1,
            shards: 6,
            memory: None,
        },
        report_every: 7,
        ..TrainOptions::default()
    };
    let mut run = Trainer::new(network, train, options)
        .unwrap()
        .with_validation(valid);
    if let Some(ranks) = ranks {
        run = run.join(ranks, Reduction::Ordered).unwrap();
    }
    run.run(&mut ()).unwrap();
    run.checkpoint()
}

/// On parts of a text, or on all of it.
fn run_on_text(paths: &[PathBuf], ranks: Option<Arc<dyn Ranks>>) -> Checkpoint<f32> {
    let (kind, limits) = (TokenKind::Char, WordLimits::default());
    let (corpus, _) = Corpus::read_part(paths, kind, limits, ranks.as_deref()).unwrap();
    let symbols = corpus.vocabulary().len();
    let (train, valid) = corpus.split(0.2).unwrap();
    let train = Loader::text(train, 9, 8).unwrap();
    let valid = Loader::evaluation_text(valid).unwrap();
    let architecture = deep(Input::Tokens(symbols), Head::softmax(symbols));
    run(train, valid, architecture, ranks)
}

#[test]
fn a_run_on_parts_is_a_run_on_the_whole() {
    let line = |i: usize| format!("{} the {}quick fox\n", i * i, "very ".repeat(i % 5));
    let document = |lines: std::ops::Range<usize>| lines.map(line).collect::<String>().into_bytes();
    // One document, and many that end within windows.
    let one = folder(&[document(0..400)]);
    let many: Vec<_> = (0..60).map(|i| document(7 * i..7 * i + i % 9)).collect();
    for (_root, paths) in [one, folder(&many)] {
        let alone = run_on_text(&paths, None);
        for size in [1, 2, 3, 6] {
            for one in on_ranks(size, |ranks| run_on_text(&paths, Some(ranks))) {
                assert!(one == alone, "{size} ranks of {}", shown(&paths[0]));
            }
        }
    }
}

fn shown(path: &Path) -> String {
    format!("{} files", fs::read_dir(path).unwrap().count())
}

/// Sequences of several lengths, in one of these forms, as `numpy.savez` writes them: with `lengths`, a `mask`, or "both". A
/// mask of the "last" step alone makes windows in which nothing counts, longer than those of evaluation.
fn save_set(path: &Path, tokens: bool, classes: bool, padding: &str) {
    let (n, t) = (29, if padding == "last" { 300 } else { 9 });
    let length = |i: usize| 1 + i * 5 % t;
    let ends = ["lengths", "both"].contains(&padding);
    let mask = |i: usize, step: usize| match padding {
        "mask" => step < length(i),
        "last" => step + 1 == t - i % 3,
        "both" => !(i + step).is_multiple_of(3),
        _ => true,
    };
    let mut npz = NpzWriter::new(fs::File::create(path).unwrap());
    // Beyond the lengths, and in targets that do not count, are numbers that could not be used.
    let beyond = |i, step| ends && step >= length(i);
    let counts = |i, step| !beyond(i, step) && mask(i, step);
    if tokens {
        let id = |(i, step)| {
            if beyond(i, step) {
                -1
            } else {
                ((i * 3 + step) % 6) as i64
            }
        };
        npz.add_array("inputs", &Array2::from_shape_fn((n, t), id))
            .unwrap();
    } else {
        let x = |(i, step, k): (usize, usize, usize)| match beyond(i, step) {
            true => f64::NAN,
            false => ((i + 2 * step + 3 * k) as f64).sin(),
        };
        npz.add_array("inputs", &Array3::from_shape_fn((n, t, 6), x))
            .unwrap();
    }
    if classes {
        let id = |(i, step)| {
            if !counts(i, step) {
                -7
            } else {
                ((i + step) % 6) as i16
            }
        };
        npz.add_array("targets", &Array2::from_shape_fn((n, t), id))
            .unwrap();
    } else {
        let p = |(i, step, k): (usize, usize, usize)| match (!counts(i, step), (i + step) % 6 == k)
        {
            (true, _) => -1.0,
            (false, hit) => f32::from(hit),
        };
        npz.add_array("targets", &Array3::from_shape_fn((n, t, 6), p))
            .unwrap();
    }
    if ends {
        let lengths = Array1::from_shape_fn(n, |i| length(i) as u32);
        npz.add_array("lengths", &lengths).unwrap();
    }
    if ["mask", "last", "both"].contains(&padding) {
        let mask = Array2::from_shape_fn((n, t), |(i, step)| mask(i, step));
        npz.add_array("mask", &mask).unwrap();
    }
    npz.finish().unwrap();
}

fn run_on_set(path: &Path, bidirectional: bool, ranks: Option<Arc<dyn Ranks>>) -> Checkpoint<f32> {
    let set = match &ranks {
        Some(ranks) => Sequences::open_npz(path, Some(&**ranks)).unwrap(),
        None => Sequences::read_npz(path).unwrap(),
    };
    assert_eq!(set.stays_in_file(), ranks.is_some());
    let architecture = Architecture {
        bidirectional,
        ..deep(set.input(), set.head())
    };
    let (train, valid) = set.split(0.3, 1).unwrap();
    let cut = !bidirectional && train.at() == At::Every;
    let window = cut.then_some(train.steps().div_ceil(3) + 1);
    let train = Loader::sequences(train, 8, window, 3).unwrap();
    let valid = Loader::evaluation_sequences(valid).unwrap();
    run(train, valid, architecture, ranks)
}

/// Adds targets to a file.
type Save<'a> = &'a dyn Fn(&mut NpzWriter<fs::File>);

/// Targets of every other form: one a sequence, of which some are none; labels, in bytes; numbers.
#[test]
fn a_run_on_any_targets_in_a_file_is_one_on_those_in_memory() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("set.npz");
    let (n, t) = (29, 7);
    let x = Array3::from_shape_fn((n, t, 4), |(i, step, k)| {
        ((3 * i + step + k * k) as f32).sin()
    });
    let lengths = Array1::from_shape_fn(n, |i| 1 + (i * 3 % t) as u16);
    let forms: [(TargetKind, Save); 5] = [
        (TargetKind::Classes, &|npz| {
            let y = Array1::from_shape_fn(n, |i| if i % 5 == 0 { -1 } else { (i % 3) as i16 });
            npz.add_array("targets", &y).unwrap();
        }),
        (TargetKind::Classes, &|npz| {
            let class = |(i, step)| {
                if (i + step) % 4 == 0 {
                    -100
                } else {
                    (i % 3) as i64
                }
            };
            let y = Array2::from_shape_fn((n, t), class);
            npz.add_array("targets", &y).unwrap();
        }),
        (TargetKind::Labels, &|npz| {
            let y = Array2::from_shape_fn((n, 5), |(i, k)| (i * k % 2) as u8);
            npz.add_array("targets", &y).unwrap();
        }),
        (TargetKind::Numbers, &|npz| {
            let y = Array2::from_shape_fn((n, t), |(i, step)| (i * step) as f64 / 50.0);
            npz.add_array("targets", &y).unwrap();
        }),
        (TargetKind::Distributions, &|npz| {
            let y = Array3::from_elem((n, t, 3), 1.0 / 3.0);
            npz.add_array("targets", &y).unwrap();
        }),
    ];
    for (i, (kind, targets)) in forms.into_iter().enumerate() {
        let mut npz = NpzWriter::new(fs::File::create(&path).unwrap());
        npz.add_array("inputs", &x).unwrap();
        npz.add_array("lengths", &lengths).unwrap();
        targets(&mut npz);
        npz.finish().unwrap();
        assert_eq!(
            Sequences::<f32>::read_npz(&path).unwrap().target_kind(),
            kind
        );
        for bidirectional in [false, true] {
            let alone = run_on_set(&path, bidirectional, None);
            for one in on_ranks(2 + i % 2, |ranks| {
                run_on_set(&path, bidirectional, Some(ranks))
            }) {
                assert!(one == alone, "{kind:?}, {i}, {bidirectional}");
            }
        }
    }
}

#[test]
fn a_run_on_sequences_in_a_file_is_one_on_those_in_memory() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("set.npz");
    let paddings = ["", "lengths", "mask", "last", "both"];
    for (i, padding) in paddings.into_iter().enumerate() {
        for (tokens, classes) in [(false, false), (false, true), (true, false), (true, true)] {
            save_set(&path, tokens, classes, padding);
            let alone = run_on_set(&path, false, None);
            for one in on_ranks(2 + i % 2, |ranks| run_on_set(&path, false, Some(ranks))) {
                assert!(
                    one == alone,
                    "tokens {tokens}, classes {classes}, {padding:?}"
                );
            }
        }
    }
}

/// Each rank checks its part, and finds of the whole what one process finds. What another rank checks, or nobody compares,
/// may be anything.
#[test]
fn sequences_are_checked_by_parts() {
    const SIZE: usize = 3;
    let (n, t, n_x) = (6000, 5, 20);
    let save = |path: &Path, shift: usize| {
        let x = Array3::from_shape_fn((n, t, n_x), |(i, step, k)| (i + step * k) as f32);
        let y = Array2::from_shape_fn((n, t), |(i, step)| ((i + step + shift) / 1000) as u8);
        let mask = Array2::from_shape_fn((n, t), |(i, step)| (i + step) % 3 > 0);
        let mut npz = NpzWriter::new(fs::File::create(path).unwrap());
        npz.add_array("inputs", &x).unwrap();
        npz.add_array("targets", &y).unwrap();
        npz.add_array("mask", &mask).unwrap();
        let lengths = Array1::from_shape_fn(n, |i| 1 + (i % t) as u8);
        npz.add_array("lengths", &lengths).unwrap();
        npz.finish().unwrap();
    };
    let root = tempfile::tempdir().unwrap();
    let whole = root.path().join("whole.npz");
    save(&whole, 0);
    let alone = Sequences::<f32>::read_npz(&whole).unwrap();
    let bytes = fs::read(&whole).unwrap();
    let header = bytes.windows(5).position(|w| w == b"NUMPY").unwrap();
    let begin = header
        + bytes[header..]
            .iter()
            .position(|&byte| byte == b'\n')
            .unwrap()
        + 1;
    let between = bytes.len() / 64;
    on_ranks(SIZE, |ranks| {
        let mut own = bytes.clone();
        let rows = ranks.rank() * n / SIZE..(ranks.rank() + 1) * n / SIZE;
        for (i, row) in own[begin..]
            .chunks_exact_mut(t * n_x * 4)
            .take(n)
            .enumerate()
        {
            let at = (begin + i * row.len()) % between;
            if !rows.contains(&i) && at > 4200 && at + row.len() < between {
                row.fill(0xff); // NaN
            }
        }
        let path = root.path().join(format!("{}.npz", ranks.rank()));
        fs::write(&path, own).unwrap();
        assert!(Sequences::<f32>::read_npz(&path).is_err());
        let set = Sequences::<f32>::open_npz(&path, Some(&*ranks)).unwrap();
        assert_eq!((set.dims(), set.counted()), (alone.dims(), alone.counted()));
        assert_eq!((set.mask(), set.lengths()), (alone.mask(), alone.lengths()));
        assert_eq!(set.run_lengths(), alone.run_lengths());
        let fingerprint = |ranks| file_fingerprint(&whole, ranks).unwrap();
        assert_eq!(fingerprint(Some(&*ranks)), fingerprint(None));
    });
    // Of files that were saved with other numbers, checksums tell.
    let other = root.path().join("other.npz");
    save(&other, 1);
    for error in on_ranks(SIZE, |ranks| {
        let path = if ranks.rank() == 1 { &other } else { &whole };
        Sequences::<f32>::open_npz(path, Some(&*ranks)).unwrap_err()
    }) {
        assert!(matches!(error, Error::Ranks { rank: 1, .. }), "{error}");
    }
}
