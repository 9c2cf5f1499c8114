//! An evaluation is one number: whatever the batch, the window, the shards and the threads.

use bptt::data::{Corpus, Loader, OwnedInputs, OwnedTargets, Padding, Sequences, Vocabulary};
use bptt::loss::Tally;
use bptt::train::evaluate;
use bptt::{Dims, Engine, EngineOptions, Init, Rnn};
use ndarray::{Array2, Array3};

/// The largest relative difference of mean losses in f32.
const EQUAL: f64 = 1e-6;

/// One evaluation of `rnn` with so many threads and shards.
fn measure(rnn: &Rnn<f32>, mut loader: Loader<f32>, threads: usize, shards: usize) -> Tally {
    let options = EngineOptions {
        threads,
        shards,
        ..EngineOptions::default()
    };
    let mut engine = Engine::new(rnn.dims(), options).unwrap();
    evaluate(&mut engine, rnn.parameters(), &mut loader, |_| ()).unwrap()
}

#[test]
fn of_sequences() {
    let (n, t) = (23, 31);
    let x = Array3::from_shape_fn((n, t, 3), |(i, j, k)| {
        ((i * 7 + j * 5 + k * 3) % 11) as f32 / 5.0 - 1.0
    });
    let y = Array2::from_shape_fn((n, t), |(i, j)| ((i + j * j) % 4) as u32);
    let mask = Array2::from_shape_fn((n, t), |(i, j)| j <= 5 + i);
    let padding = Padding {
        mask: Some(mask),
        ..Padding::default()
    };
    let set = Sequences::new(OwnedInputs::Dense(x), OwnedTargets::Classes(y), padding).unwrap();
    let rnn = Rnn::<f32>::new(Dims::new(3, 17, 4).unwrap(), Init::Glorot, 0).unwrap();
    let measure = |loader, threads, shards| measure(&rnn, loader, threads, shards);
    let whole = measure(Loader::evaluation_sequences(set.clone()).unwrap(), 1, 1);
    assert_eq!(whole.counted, set.counted());
    for (threads, shards) in [(1, 1), (2, 2), (3, 5)] {
        for batch in [1, 4, 64] {
            for seq_len in [None, Some(1), Some(8), Some(31)] {
                let loader = Loader::sequences(set.clone(), batch, seq_len, 9).unwrap();
                let tally = measure(loader, threads, shards);
                let apart = tally.mean_loss() / whole.mean_loss() - 1.0;
                let case = format!("{batch} {seq_len:?} {shards}: {apart:e}");
                assert!(apart.abs() <= EQUAL, "{case}");
                assert_eq!(
                    (tally.counted, tally.correct),
                    (whole.counted, whole.correct),
                    "{case}"
                );
            }
        }
    }
}

#[test]
fn of_text() {
    // Streams of evaluation begin anew every 4096 tokens; this is one, and all of it is predicted from its beginning.
    let text: String = (0..5000u32)
        .map(|i| char::from(b'a' + (i * i % 23) as u8))
        .collect();
    let vocabulary = Vocabulary::of_chars(&text);
    let corpus = Corpus::from_text(&text, &vocabulary).unwrap();
    let dims = Dims::new(vocabulary.len(), 17, vocabulary.len()).unwrap();
    let rnn = Rnn::<f32>::new(dims, Init::Glorot, 0).unwrap();
    let measure = |loader, threads, shards| measure(&rnn, loader, threads, shards);
    let whole = measure(Loader::text(corpus.clone(), 1, 4999).unwrap(), 1, 1);
    assert_eq!(whole.counted, 4999);
    let loaders = [1, 7, 64, 4999]
        .map(|seq_len| Loader::text(corpus.clone(), 1, seq_len).unwrap())
        .into_iter()
        .chain([Loader::evaluation_text(corpus.clone()).unwrap()]);
    for loader in loaders {
        for (threads, shards) in [(1, 1), (2, 3)] {
            let tally = measure(loader.clone(), threads, shards);
            let apart = tally.mean_loss() / whole.mean_loss() - 1.0;
            assert!(apart.abs() <= EQUAL, "{apart:e}");
            assert_eq!(
                (tally.counted, tally.correct),
                (whole.counted, whole.correct)
            );
        }
    }
}
