//! An evaluation is one number: whatever the batch, the window, the shards and the threads.

use crate::support::is_of_text;
use crate::support::{architectures_of, engine};
use bptt::architecture::Which;
use bptt::data::{Corpus, Loader, OwnedInputs, OwnedTargets, Padding, Sequences, Vocabulary};
use bptt::init::set_forget_bias;
use bptt::train::evaluate;
use bptt::{Cell, Init, Input, Metrics, Network};
use ndarray::{Array2, Array3};

/// The largest relative difference of mean losses in f32.
const EQUAL: f64 = 1e-6;

/// One evaluation of `network` with so many threads and shards.
fn measure(
    network: &Network<f32>,
    mut loader: Loader<f32>,
    threads: usize,
    shards: usize,
) -> Metrics {
    let mut engine = engine(network.architecture(), threads, shards);
    evaluate(&mut engine, network, &mut loader, |_| ()).unwrap()
}

/// Whether two evaluations are one, but for the rounding of the loss.
#[track_caller]
fn check(found: Metrics, whole: Metrics, case: &str) {
    let apart = found.mean_loss() / whole.mean_loss() - 1.0;
    assert!(apart.abs() <= EQUAL, "{case}: {apart:e}");
    assert_eq!(
        (found.counted, found.correct),
        (whole.counted, whole.correct),
        "{case}"
    );
}

#[test]
fn of_sequences() {
    let (n, t) = (23, 31);
    let y = Array2::from_shape_fn((n, t), |(i, j)| ((i + j * j) % 4) as u32);
    let mask = Array2::from_shape_fn((n, t), |(i, j)| j <= 5 + i);
    for architecture in architectures_of(3, 17, 4).filter(is_of_text) {
        let id = |i, j, k| (i * 7 + j * 5 + k * 3) % 11;
        let inputs = match architecture.input {
            Input::Features(n_x) => {
                let x = |(i, j, k)| id(i, j, k) as f32 / 5.0 - 1.0;
                OwnedInputs::Dense(Array3::from_shape_fn((n, t, n_x), x))
            }
            Input::Tokens(n_x) | Input::Embedding { tokens: n_x, .. } => {
                OwnedInputs::Tokens(Array2::from_shape_fn((n, t), |(i, j)| {
                    (id(i, j, 0) % n_x) as u32
                }))
            }
        };
        let padding = Padding {
            mask: Some(mask.clone()),
            ..Padding::default()
        };
        let set = Sequences::new(inputs, OwnedTargets::Classes(y.clone()), padding).unwrap();
        let network = Network::<f32>::new(architecture, Init::Glorot, 0).unwrap();
        let whole = measure(
            &network,
            Loader::evaluation_sequences(set.clone()).unwrap(),
            1,
            1,
        );
        assert_eq!(whole.counted, set.counted());
        for (threads, shards) in [(1, 1), (2, 2), (3, 5)] {
            for batch in [1, 4, 64] {
                for seq_len in [None, Some(1), Some(8), Some(31)] {
                    let loader = Loader::sequences(set.clone(), batch, seq_len, 9).unwrap();
                    let found = measure(&network, loader, threads, shards);
                    check(
                        found,
                        whole,
                        &format!("{architecture}: {batch} {seq_len:?} {shards}"),
                    );
                }
            }
        }
    }
}

#[test]
fn of_text() {
    // One piece.
    let text: String = (0..5000u32)
        .map(|i| char::from(b'a' + (i * i % 23) as u8))
        .collect();
    let vocabulary = Vocabulary::of_chars(&text);
    let corpus = Corpus::from_text(&text, &vocabulary).unwrap();
    let n = vocabulary.len();
    for architecture in architectures_of(n, 17, n)
        .filter(is_of_text)
        .filter(|architecture| architecture.input.is_tokens())
    {
        let network = Network::<f32>::new(architecture, Init::Glorot, 0).unwrap();
        let whole = measure(
            &network,
            Loader::text(corpus.clone(), 1, 4999).unwrap(),
            1,
            1,
        );
        assert_eq!(whole.counted, 4999);
        let loaders = [1, 7, 64, 4999]
            .map(|seq_len| Loader::text(corpus.clone(), 1, seq_len).unwrap())
            .into_iter()
            .chain([Loader::evaluation_text(corpus.clone()).unwrap()]);
        for loader in loaders {
            check(
                measure(&network, loader, 2, 3),
                whole,
                &architecture.to_string(),
            );
        }
    }
}

/// A text of many pieces is evaluated side by side, and as if one state went through it: also where the network forgets
/// slowly, or goes another way from a zero state than from any other, as young networks do.
#[test]
fn of_a_long_text() {
    let text: String = (0..12_000u32)
        .map(|i| char::from(b'a' + (i * i % 23 + i / 2000) as u8))
        .collect();
    let corpus = Corpus::from_text(&text, &Vocabulary::of_chars(&text)).unwrap();
    let n = corpus.vocabulary().len();
    for architecture in architectures_of(n, 17, n)
        .filter(is_of_text)
        .filter(|architecture| architecture.input.is_tokens())
    {
        // Nothing bounds the states of relu units, and GRUs become chaotic: rounding alone sends them other ways.
        let most = match architecture.cell {
            Cell::Relu | Cell::Gru => 1.0,
            Cell::Tanh | Cell::Lstm => 2.5,
        };
        for gain in [1.0, most] {
            let mut network = Network::<f64>::new(architecture, Init::Orthogonal, 0).unwrap();
            for i in 0..architecture.recurrences() {
                let mut weights = network.parameters_mut().matrix_mut(Which::WeightHh(i));
                weights.mapv_inplace(|weight| gain * weight);
            }
            if architecture.cell == Cell::Lstm {
                set_forget_bias(network.parameters_mut(), 7.0);
            }
            let mut engine = engine(architecture, 2, 3);
            let mut loss = |mut data| evaluate(&mut engine, &network, &mut data, |_| ()).unwrap();
            let whole = loss(Loader::text(corpus.clone(), 1, 11_999).unwrap());
            let found = loss(Loader::evaluation_text(corpus.clone()).unwrap());
            let apart = found.mean_loss() / whole.mean_loss() - 1.0;
            assert!(apart.abs() <= 1e-5, "{architecture} {gain}: {apart:e}");
            assert_eq!(found.counted, 11_999);
        }
    }
}
