//! A document is read as if there were no other: whatever stands before it, in one window or another.

use crate::support::{engine, options};
use bptt::data::{Corpus, Loader, Vocabulary};
use bptt::optim::{Algorithm, OptimizerOptions};
use bptt::train::{TrainOptions, Trainer, evaluate};
use bptt::{Architecture, Head, Init, Input, Network};

/// Rounding of sums of some thousand losses in f64, relative.
const EQUAL: f64 = 1e-12;

/// Documents of these lengths, all different.
fn texts(lengths: &[usize]) -> Vec<String> {
    let letter = |i: usize, n: usize| char::from(b'a' + ((i * i + i / 7 + 5 * n) % 23) as u8);
    let text = |&n| (0..n).map(|i| letter(i, n)).collect();
    lengths.iter().map(text).collect()
}

fn corpus(texts: &[String]) -> Corpus {
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let alphabet: String = ('a'..='w').collect();
    Corpus::from_texts(&texts, &Vocabulary::of_chars(&alphabet)).unwrap()
}

fn network() -> Network<f64> {
    // Weights that remember for long.
    let one = Architecture::new(Input::Tokens(23), 14, Head::softmax(23));
    Network::new(Architecture { layers: 2, ..one }, Init::Orthogonal, 3).unwrap()
}

/// `(summed loss, right answers, predictions)` of documents one by one.
fn alone(texts: &[String]) -> (f64, u64, u64) {
    let network = network();
    let mut engine = engine(network.architecture(), 1, 1);
    let mut sum = (0.0, 0, 0);
    for text in texts.iter().filter(|text| text.len() > 1) {
        let mut data = Loader::evaluation_text(corpus(std::slice::from_ref(text))).unwrap();
        let metrics = evaluate(&mut engine, &network, &mut data, |_| ()).unwrap();
        sum = (
            sum.0 + metrics.loss,
            sum.1 + metrics.correct,
            sum.2 + metrics.counted,
        );
    }
    sum
}

#[test]
fn evaluation_of_several_is_that_of_each() {
    let network = network();
    for lengths in [
        &[70, 33][..],
        &[1, 2, 300, 1, 1, 129, 130, 2],
        &[9000, 40, 8193, 4096, 1, 12_500],
        &[20; 700],
    ] {
        let texts = texts(lengths);
        let (loss, correct, counted) = alone(&texts);
        for (threads, shards) in [(1, 1), (2, 3)] {
            let mut engine = engine(network.architecture(), threads, shards);
            let mut data = Loader::evaluation_text(corpus(&texts)).unwrap();
            let mut seen = 0;
            let metrics = evaluate(&mut engine, &network, &mut data, |n| seen += n).unwrap();
            assert!((metrics.loss / loss - 1.0).abs() <= EQUAL, "{lengths:?}");
            assert_eq!((metrics.correct, metrics.counted), (correct, counted));
            assert_eq!((data.counted_per_epoch(), seen), (counted, counted));
        }
    }
}

/// The training loss of an epoch at a rate too small to change a weight.
fn epoch_loss(texts: &[String], batch: usize, seq_len: usize, reset_state: bool) -> (f64, u64) {
    let loader = Loader::text(corpus(texts), batch, seq_len).unwrap();
    let windows = loader.windows_per_epoch();
    let train = TrainOptions {
        steps: 2 * windows,
        lr: 1e-300,
        optimizer: OptimizerOptions {
            algorithm: Algorithm::Gd,
            ..OptimizerOptions::default()
        },
        engine: options(2, 3),
        report_every: windows,
        reset_state,
        zero_state: 0.0,
        ..TrainOptions::default()
    };
    let mut run = Trainer::new(network(), loader, train).unwrap();
    run.run(&mut ()).unwrap();
    let [first, second] = run.history() else {
        panic!("two epochs");
    };
    assert_eq!(first.train_loss, second.train_loss);
    (first.train_loss, first.tokens)
}

#[test]
fn training_starts_every_document_from_zero() {
    // The second half like the first: two streams part at a document.
    let texts = texts(&[70, 2, 33, 1, 5, 5, 90, 70, 2, 33, 1, 5, 5, 90]);
    let (loss, _, counted) = alone(&texts);
    for batch in [1, 2] {
        for seq_len in [1, 7, 16, 90, 199] {
            let (mean, tokens) = epoch_loss(&texts, batch, seq_len, false);
            assert_eq!(tokens, counted);
            let apart = mean * counted as f64 / loss - 1.0;
            assert!(apart.abs() <= EQUAL, "{batch} {seq_len}: {apart:e}");
        }
    }
    // A stream that forgets at every window, or goes on through documents, does not predict the same.
    let apart = |mean: f64| (mean * counted as f64 / loss - 1.0).abs();
    assert!(apart(epoch_loss(&texts, 1, 7, true).0) > 1e-4);
    assert!(apart(epoch_loss(&[texts.concat()], 1, 7, false).0) > 1e-4);
}

#[test]
fn reset_state_starts_every_window_from_zero() {
    let text = texts(&[71]).remove(0);
    let windows: Vec<String> = (0..10)
        .map(|k| text[7 * k..7 * k + 8].to_string())
        .collect();
    let (loss, _, counted) = alone(&windows);
    let (mean, tokens) = epoch_loss(std::slice::from_ref(&text), 1, 7, true);
    assert_eq!((tokens, counted), (70, 70));
    assert!((mean * 70.0 / loss - 1.0).abs() <= EQUAL);
    assert!((epoch_loss(&[text], 1, 7, false).0 * 70.0 / loss - 1.0).abs() > 1e-4);
}
