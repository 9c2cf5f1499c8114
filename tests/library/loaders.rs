//! Loaders: what is handed out is all of the data, in order, and once.

use bptt::data::{
    Corpus, Loader, OwnedInputs, OwnedTargets, Padding, Position, Row, Sequences, Vocabulary,
    Window,
};
use bptt::internal::{ROWS, STEPS};
use bptt::{Architecture, Head, Input, Inputs, Loss, Targets};
use ndarray::{Array2, Array3};
use proptest::prelude::*;

/// A text of `len` tokens in which every token is its own position.
fn corpus(len: usize) -> Corpus {
    documents(&[len])
}

/// The same of a text in documents of these lengths.
fn documents(lengths: &[usize]) -> Corpus {
    let all: String = (0x4e00..)
        .filter_map(char::from_u32)
        .take(lengths.iter().sum())
        .collect();
    let mut rest = all.chars();
    let texts: Vec<String> = lengths
        .iter()
        .map(|&n| rest.by_ref().take(n).collect())
        .collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    Corpus::from_texts(&texts, &Vocabulary::of_chars(&all)).unwrap()
}

/// Sequences whose inputs tell their row and step.
fn set(n: usize, t: usize) -> Sequences<f64> {
    padded(n, t, Padding::default())
}

fn padded(n: usize, t: usize, padding: Padding) -> Sequences<f64> {
    let x = Array3::from_shape_fn((n, t, 2), |(i, j, k)| (100 * i + 10 * j + k) as f64);
    let y = Array2::from_shape_fn((n, t), |(i, j)| (10 * i + j) as u32);
    Sequences::new(OwnedInputs::Dense(x), OwnedTargets::Classes(y), padding).unwrap()
}

fn classes<T>(window: &Window<'_, T>) -> Array2<u32> {
    match window.batch.answers.targets {
        Targets::Classes(ids) => ids.to_owned(),
        Targets::Values(_) => unreachable!(),
    }
}

fn tokens<T>(window: &Window<'_, T>) -> Array2<u32> {
    match window.batch.inputs {
        Inputs::Tokens(ids) => ids.to_owned(),
        Inputs::Dense(_) => unreachable!(),
    }
}

/// Counted targets of an epoch of text, each checked to follow its input; whether windows continue
/// each other too.
fn predicted(loader: &mut Loader<f32>) -> Vec<u32> {
    let mut predicted = Vec::new();
    let mut next: Option<Vec<u32>> = None;
    let before = loader.position();
    for k in 0..loader.windows_per_epoch() {
        let window = loader.next().unwrap();
        let (x, y) = (tokens(&window), classes(&window));
        assert_eq!((window.fresh, window.position.window), (k == 0, k));
        let lengths = window.batch.lengths;
        let counts =
            |(row, step): (usize, usize)| lengths.is_none_or(|lengths| step < lengths[row]);
        if window.counted == 0 {
            // What a piece reads before its own, up to there.
            let last = |row: usize| counts((row, 0)).then(|| y[[row, y.ncols() - 1]]);
            next = Some((0..x.nrows()).map(|row| last(row).unwrap_or(0)).collect());
            continue;
        }
        // A stream that is one step shorter may have ended with the window before.
        for (row, next) in next.into_iter().flatten().enumerate() {
            assert!(x[[row, 0]] == next || !counts((row, 0)), "stream {row}");
        }
        let here: Vec<u32> = y
            .indexed_iter()
            .filter(|&(at, _)| counts(at))
            .map(|e| *e.1)
            .collect();
        assert!(
            x.indexed_iter()
                .all(|(at, &x)| !counts(at) || y[at] == x + 1)
        );
        assert_eq!(window.counted, here.len() as u64);
        assert!(window.counted > 0);
        predicted.extend(here);
        next = (!window.ends_epoch).then(|| y.column(y.ncols() - 1).to_vec());
    }
    assert!(next.is_none());
    assert_eq!(
        (loader.position().epoch, loader.position().window),
        (before.epoch + 1, 0)
    );
    assert_eq!(loader.counted_per_epoch(), predicted.len() as u64);
    predicted.sort_unstable();
    predicted
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn training_text_predicts_nearly_all_once(
        len in 2usize..600, batch in 1usize..40, seq_len in 1usize..70,
    ) {
        let seq_len = seq_len.min(len - 1);
        let mut loader = Loader::<f32>::text(corpus(len), batch, seq_len).unwrap();
        let mut once = predicted(&mut loader);
        let left_out = len - 1 - once.len();
        once.dedup();
        prop_assert_eq!(left_out, len - 1 - once.len());
        prop_assert!(left_out < loader.streams());
        prop_assert_eq!(predicted(&mut loader), once);
    }

    #[test]
    fn evaluation_text_predicts_all_but_the_first_once(len in 2usize..16_000) {
        let mut loader = Loader::<f32>::evaluation_text(corpus(len)).unwrap();
        prop_assert_eq!(loader.streams(), (len / 4096).clamp(1, 64));
        prop_assert_eq!(predicted(&mut loader), (1..len as u32).collect::<Vec<_>>());
    }

    /// The tokens of each document follow each other; so do the parts of one in different windows, and nothing else.
    #[test]
    fn streams_go_through_documents_part_by_part(
        lengths in prop::collection::vec(prop_oneof![1usize..6, 1usize..80], 1..40),
        batch in 1usize..9, seq_len in 1usize..30,
    ) {
        let corpus = documents(&lengths);
        let starts: Vec<u32> = corpus.documents().map(|range| range.start as u32).collect();
        prop_assume!(corpus.predictions() >= seq_len);
        let mut loader = Loader::<f32>::text(corpus.clone(), batch, seq_len).unwrap();
        let (streams, windows) = (loader.streams(), loader.windows_per_epoch());
        let largest: usize = loader.largest_window().iter().map(|steps| steps + 1).sum();
        let mut predicted = Vec::new();
        let mut last: Vec<Option<u32>> = vec![None; streams];
        for k in 0..2 * windows {
            let window = loader.next().unwrap();
            prop_assert_eq!(window.fresh, k % windows == 0);
            if window.fresh {
                predicted.clear();
                last.fill(None);
            }
            let (x, y) = (tokens(&window), classes(&window));
            let as_before: Vec<Row> = (0..streams).map(|stream| Row { stream, fresh: false }).collect();
            let rows = window.rows.unwrap_or(&as_before);
            prop_assert_eq!(x.nrows(), rows.len());
            prop_assert!(rows.is_sorted_by_key(|row| row.stream));
            let mut steps = vec![0; streams];
            for (i, row) in rows.iter().enumerate() {
                let own = window.batch.lengths.map_or(x.ncols(), |lengths| lengths[i]);
                let continues = last[row.stream] == Some(x[[i, 0]]) || last[row.stream].is_none();
                let begins = starts.contains(&x[[i, 0]]);
                let goes_on = continues && (!begins || window.fresh);
                prop_assert!((row.fresh && begins) || (!row.fresh && goes_on));
                for j in 0..own {
                    prop_assert_eq!(y[[i, j]], x[[i, j]] + 1);
                    prop_assert!(!starts.contains(&y[[i, j]]));
                    prop_assert!(j == 0 || x[[i, j]] == y[[i, j - 1]]);
                    predicted.push(y[[i, j]]);
                }
                last[row.stream] = Some(y[[i, own - 1]]);
                steps[row.stream] += own;
            }
            prop_assert!(steps.iter().all(|&n| n == steps[0] && n <= seq_len));
            prop_assert_eq!(window.counted, (streams * steps[0]) as u64);
            prop_assert!(rows.len() + streams * steps[0] <= largest);
        }
        let left_out = corpus.predictions() - predicted.len();
        prop_assert!(left_out < streams);
        prop_assert_eq!(loader.counted_per_epoch(), predicted.len() as u64);
        predicted.sort_unstable();
        predicted.dedup();
        prop_assert_eq!(corpus.predictions() - predicted.len(), left_out);
    }

    /// Documents are evaluated side by side, the longest first, in windows of about one size.
    #[test]
    fn evaluation_reads_every_document_once(
        mut lengths in prop::collection::vec(1usize..300, 0..40), long in 2usize..20_000,
    ) {
        lengths.push(long);
        let corpus = documents(&lengths);
        let starts: Vec<u32> = corpus.documents().map(|range| range.start as u32).collect();
        let expected: Vec<u32> = corpus.documents().flat_map(|d| d.start as u32 + 1..d.end as u32).collect();
        let mut loader = Loader::<f32>::evaluation_text(corpus).unwrap();
        let (mut predicted, mut last, mut run_in) = (Vec::<u32>::new(), Vec::new(), Vec::new());
        for _ in 0..loader.windows_per_epoch() {
            let window = loader.next().unwrap();
            let (x, y) = (tokens(&window), classes(&window));
            let (n, steps) = x.dim();
            let lengths = window.batch.lengths.map_or(vec![steps; n], <[usize]>::to_vec);
            prop_assert!((1..=STEPS).contains(&steps) && n * steps <= ROWS * STEPS);
            if window.counted == 0 {
                run_in = (0..n).filter(|&i| lengths[i] > 0).map(|i| y[[i, steps - 1]]).collect();
                continue;
            }
            // A run-in ends where its piece begins.
            let begins: Vec<u32> = (0..n).map(|i| x[[i, 0]]).filter(|x| !starts.contains(x)).collect();
            prop_assert!(run_in.is_empty() || run_in == begins);
            run_in.clear();
            for (i, &own) in lengths.iter().enumerate().filter(|(_, own)| **own > 0) {
                prop_assert!(last.is_empty() || last[i] == x[[i, 0]]);
                prop_assert!((0..own).all(|j| y[[i, j]] == x[[i, j]] + 1 && !starts.contains(&y[[i, j]])));
                predicted.extend(y.row(i).iter().take(own));
            }
            // The last window of pieces says which of them follow each other.
            let ends = !window.follows.is_empty();
            last = if ends { Vec::new() } else { y.column(steps - 1).to_vec() };
        }
        predicted.sort_unstable();
        prop_assert_eq!(predicted, expected);
    }

    /// The last window is one step of the longer streams.
    #[test]
    fn evaluation_text_of_streams_that_end_with_a_window(count in 2usize..4) {
        let len = (1..).map(|i| 4096 * count + i).find(|len| (len - 1) / count % STEPS == 0 && (len - 1) % count == 1);
        let len = len.expect("one of them does");
        let mut loader = Loader::<f32>::evaluation_text(corpus(len)).unwrap();
        prop_assert_eq!(predicted(&mut loader), (1..len as u32).collect::<Vec<_>>());
    }

    #[test]
    fn every_sequence_comes_once_an_epoch(
        n in 1usize..20, t in 1usize..9, batch in 1usize..25, seq_len in 0usize..12,
    ) {
        let seq_len = (seq_len > 0).then_some(seq_len);
        let mut loader = Loader::sequences(set(n, t), batch, seq_len, 3).unwrap();
        let mut all = Vec::new();
        for k in 0..loader.windows_per_epoch() {
            let window = loader.next().unwrap();
            let y = classes(&window);
            prop_assert_eq!(window.fresh, y[[0, 0]] % 10 == 0);
            prop_assert_eq!(window.position.window, k);
            prop_assert_eq!(window.ends_epoch, all.len() + y.len() == n * t);
            let Inputs::Dense(x) = window.batch.inputs else { unreachable!() };
            let expected = |i, j, k| f64::from(10 * y[[i, j]]) + k as f64;
            prop_assert!(x.indexed_iter().all(|((i, j, k), &x)| x == expected(i, j, k)));
            all.extend(y);
        }
        all.sort_unstable();
        let expected = (0..n).flat_map(|i| (0..t).map(move |j| (10 * i + j) as u32));
        prop_assert_eq!(all, expected.collect::<Vec<_>>());
    }
}

#[test]
fn epochs_differ_and_a_position_goes_on_with_the_same_windows() {
    let new = || Loader::sequences(set(9, 4), 4, Some(3), 11).unwrap();
    let mut loader = new();
    let windows: Vec<_> = (0..18)
        .map(|_| {
            let window = loader.next().unwrap();
            (window.position, classes(&window))
        })
        .collect();
    assert_eq!(loader.windows_per_epoch(), 6);
    assert_ne!(windows[0].1, windows[6].1);
    for (position, expected) in windows.iter().rev() {
        let mut resumed = new();
        resumed.seek(*position).unwrap();
        assert_eq!(resumed.position(), *position);
        assert_eq!(classes(&resumed.next().unwrap()), expected);
    }
    let other = Loader::sequences(set(9, 4), 4, Some(3), 12)
        .unwrap()
        .next()
        .unwrap()
        .position;
    assert_eq!(other, Position::default());
    let beyond = Position {
        epoch: 0,
        window: 6,
    };
    assert!(
        loader
            .seek(beyond)
            .unwrap_err()
            .to_string()
            .contains("window 6")
    );
}

/// Beyond the last step that counts, nothing is run; before it, also what does not count.
#[test]
fn sequences_are_run_to_the_last_step_that_counts() {
    let padding = Padding {
        lengths: Some(vec![4, 3, 2]),
        mask: Some(Array2::from_shape_fn((3, 4), |(i, j)| i < 2 && j != 2)),
    };
    let set = padded(3, 4, padding);
    assert_eq!((set.lengths(), set.counted()), (Some(&[4, 3, 2][..]), 5));
    assert_eq!(set.run_lengths(), Some(&[4, 2, 0][..]));
    let mut loader = Loader::evaluation_sequences(set.select(&[2, 0, 1])).unwrap();
    let window = loader.next().unwrap();
    assert_eq!((window.counted, window.batch.counted()), (5, 5));
    assert_eq!(window.batch.lengths, Some(&[0, 4, 2][..]));
    let Inputs::Dense(x) = window.batch.inputs else {
        unreachable!()
    };
    let first = x.index_axis(ndarray::Axis(2), 0);
    let expected = [[0.0; 4], [0.0, 10.0, 20.0, 30.0], [100.0, 110.0, 0.0, 0.0]];
    assert_eq!(first, ndarray::arr2(&expected));
    let mut loader = Loader::sequences(set, 3, Some(3), 0).unwrap();
    let counted = [(); 2].map(|()| loader.next().unwrap().counted);
    assert_eq!((counted, loader.counted_per_epoch()), ([4, 1], 5));
}

#[test]
fn evaluation_keeps_the_order_and_cuts_long_sequences() {
    let ids = Array2::from_shape_fn((70, 300), |(i, j)| (300 * i + j) as u32);
    let (inputs, targets) = (
        OwnedInputs::Tokens(ids.clone()),
        OwnedTargets::Classes(ids.clone()),
    );
    let set = Sequences::<f32>::new(inputs, targets, Padding::default()).unwrap();
    let mut loader = Loader::evaluation_sequences(set).unwrap();
    assert_eq!(
        (loader.shape(), loader.windows_per_epoch()),
        ((ROWS, STEPS), 6)
    );
    let expected = [0..64, 64..70].into_iter().flat_map(|rows| {
        let steps = [0..128, 128..256, 256..300].into_iter();
        steps.map(move |steps| (rows.clone(), steps))
    });
    for (i, (rows, steps)) in expected.enumerate() {
        let window = loader.next().unwrap();
        assert_eq!(tokens(&window), ids.slice(ndarray::s![rows, steps]));
        assert_eq!((window.fresh, window.ends_epoch), (i % 3 == 0, i == 5));
    }
}

#[test]
fn windows_take_what_their_arrays_do() {
    // Two features in f64, a class, the mask and a length; tokens, classes and a length.
    let dense = Loader::sequences(set(9, 4), 5, Some(3), 0).unwrap();
    assert_eq!(dense.window_bytes(5), 5 * (3 * (2 * 8 + 4 + 1) + 8));
    let text = Loader::<f32>::text(corpus(100), 4, 7).unwrap();
    assert_eq!(text.window_bytes(4), 4 * (7 * 8 + 8));
    assert_eq!(
        (text.largest_window(), dense.largest_window()),
        (vec![7; 4], vec![3; 5])
    );
}

#[test]
fn short_documents_make_windows_wide_and_short() {
    // Of 3000 of them, 2048 fill a window of evaluation.
    let mut loader = Loader::<f32>::evaluation_text(documents(&[5; 3000])).unwrap();
    assert_eq!(loader.windows_per_epoch(), 2);
    assert_eq!(
        loader.next().unwrap().batch.inputs.sequences(),
        (ROWS * STEPS / 4, 4)
    );
    // Four predictions each: a window of 2 x 8 is four rows of four.
    let text = "abcde".repeat(100);
    let texts: Vec<&str> = (0..100).map(|i| &text[5 * i..5 * i + 5]).collect();
    let corpus = Corpus::from_texts(&texts, &Vocabulary::of_chars("abcde")).unwrap();
    let mut loader = Loader::<f32>::text(corpus, 2, 8).unwrap();
    assert_eq!((loader.shape(), loader.windows_per_epoch()), ((2, 8), 25));
    assert_eq!(loader.largest_window(), [4; 4]);
    for _ in 0..25 {
        let window = loader.next().unwrap();
        assert_eq!(window.batch.inputs.sequences(), (4, 4));
        let streams = window.rows.unwrap().iter().map(|row| row.stream);
        assert!(streams.eq([0, 0, 1, 1]) && window.batch.lengths.is_none());
    }
}

#[test]
fn buffers_are_used_again() {
    let mut loader = Loader::<f32>::text(corpus(301), 4, 7).unwrap();
    let address = |window: &Window<'_, f32>| match window.batch.inputs {
        Inputs::Tokens(ids) => ids.as_ptr(),
        Inputs::Dense(_) => unreachable!(),
    };
    let first = address(&loader.next().unwrap());
    assert!((0..100).all(|_| address(&loader.next().unwrap()) == first));
}

#[test]
fn too_little_text_and_zeros_are_refused() {
    let error = Loader::<f32>::text(corpus(10), 2, 10)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("10 tokens") && error.contains("`seq_len` of at most 9"),
        "{error}"
    );
    assert!(Loader::<f32>::text(corpus(10), 2, usize::MAX).is_err());
    let three = Corpus::from_texts(&["abc", "d", "ef"], &Vocabulary::bytes()).unwrap();
    let error = Loader::<f32>::text(three, 2, 5).unwrap_err().to_string();
    assert!(
        error.contains("6 tokens in 3 documents") && error.contains("`seq_len` of at most 3"),
        "{error}"
    );
    let single = Corpus::from_texts(&["a", "d"], &Vocabulary::bytes()).unwrap();
    assert!(Loader::<f32>::evaluation_text(single).is_err());
    assert!(Loader::<f32>::text(corpus(1), 2, 1).is_err());
    assert!(Loader::<f32>::evaluation_text(corpus(1)).is_err());
    assert!(
        Loader::<f32>::text(corpus(10), 0, 1)
            .unwrap_err()
            .to_string()
            .contains("batch: 0")
    );
    assert!(Loader::<f32>::text(corpus(10), 1, 0).is_err());
    assert!(Loader::sequences(set(2, 2), 1, Some(0), 0).is_err());
    let nothing = set(2, 2).select(&[]);
    assert!(Loader::evaluation_sequences(nothing).is_err());
    assert_eq!(
        Loader::<f32>::text(corpus(11), usize::MAX, 4)
            .unwrap()
            .shape(),
        (2, 4)
    );
}

/// With one answer a sequence, or where networks read from both ends, nothing is cut.
#[test]
fn sequences_may_have_to_be_whole() {
    let ids = Array2::from_shape_fn((5, 300), |(i, j)| (300 * i + j) as u32);
    let padding = || Padding {
        lengths: Some(vec![300, 7, 1, 250, 299]),
        mask: None,
    };
    let inputs = || OwnedInputs::Tokens(ids.clone());
    let answers = OwnedTargets::Classes(Array2::from_shape_fn((5, 1), |(i, _)| i as u32));
    let set = Sequences::<f32>::new(inputs(), answers, padding()).unwrap();
    let short = Loader::sequences(set.clone(), 2, Some(64), 0).unwrap_err();
    assert!(
        short.to_string().contains("seq_len: 64 is not possible"),
        "{short}"
    );
    let mask = Array2::from_shape_fn((5, 300), |(_, j)| j == 0);
    let padding = Padding {
        mask: Some(mask),
        ..padding()
    };
    let every =
        Sequences::<f32>::new(inputs(), OwnedTargets::Classes(ids.clone()), padding).unwrap();
    let both_ways = |set: Sequences<f32>| {
        let network = Architecture {
            bidirectional: true,
            ..Architecture::new(set.input(), 3, set.head())
        };
        let mut cut = Loader::sequences(set.clone(), 2, Some(299), 0).unwrap();
        let error = cut.suit(&network).unwrap_err().to_string();
        assert!(error.contains("seq_len: 299 is not possible"), "{error}");
        let mut loader = Loader::evaluation_sequences(set).unwrap();
        loader.suit(&network).unwrap();
        loader
    };
    for (mut loader, t_y) in [
        (Loader::evaluation_sequences(set.clone()).unwrap(), 1),
        (Loader::sequences(set, 5, None, 0).unwrap(), 1),
        (both_ways(every), 300),
    ] {
        assert_eq!(
            (loader.windows_per_epoch(), loader.counted_per_epoch()),
            (1, 5)
        );
        let window = loader.next().unwrap();
        let (x, y) = (tokens(&window), classes(&window));
        assert_eq!((x.dim(), y.dim()), ((5, 300), (5, t_y)));
        assert!(window.fresh && window.ends_epoch);
        assert_eq!(window.counted, 5);
        for (i, &length) in window.batch.lengths.unwrap().iter().enumerate() {
            let row = x[[i, 0]];
            assert_eq!(y[[i, 0]], if t_y == 1 { row / 300 } else { row });
            assert_eq!(length, [300, 7, 1, 250, 299][row as usize / 300]);
            assert!((0..300).all(|j| x[[i, j]] == if j < length { row + j as u32 } else { 0 }));
        }
    }
}

#[test]
fn a_loader_says_for_which_networks_it_is() {
    let mut text = Loader::<f32>::text(corpus(50), 2, 5).unwrap();
    let of_text = Architecture::new(Input::Tokens(50), 3, Head::softmax(50));
    text.suit(&of_text).unwrap();
    text.suit(&Architecture {
        input: Input::Embedding {
            tokens: 60,
            size: 2,
        },
        ..of_text
    })
    .unwrap();
    for (other, words) in [
        (
            Architecture {
                bidirectional: true,
                ..of_text
            },
            "an .npz of them",
        ),
        (
            Architecture {
                head: Head::softmax(50).at_last(),
                ..of_text
            },
            "an .npz of them",
        ),
        (
            Architecture {
                input: Input::Tokens(49),
                ..of_text
            },
            "49 tokens",
        ),
        (
            Architecture {
                input: Input::Features(50),
                ..of_text
            },
            "50 features",
        ),
        (
            Architecture {
                head: Head::softmax(49),
                ..of_text
            },
            "49 classes",
        ),
        (
            Architecture {
                head: Head::new(50, Loss::Mse),
                ..of_text
            },
            "50 numbers",
        ),
    ] {
        let error = text.suit(&other).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let mut sequences = Loader::sequences(set(3, 4), 2, None, 0).unwrap();
    let good = Architecture::new(Input::Features(2), 3, Head::softmax(24));
    sequences.suit(&good).unwrap();
    for other in [
        Architecture {
            input: Input::Features(3),
            ..good
        },
        Architecture {
            head: Head::softmax(23),
            ..good
        },
        Architecture {
            head: Head::new(24, Loss::Mse),
            ..good
        },
    ] {
        assert!(sequences.suit(&other).is_err());
    }
}
