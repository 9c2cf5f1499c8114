//! The examples do what they say. Each is part of this test, so that it is the one that is compiled and run.
#![allow(dead_code)] // their `main`

#[path = "../../examples/observer.rs"]
mod observer;
#[path = "../../examples/stream.rs"]
mod stream;
#[path = "../../examples/train_arrays.rs"]
mod train_arrays;
#[path = "../../examples/variable_lengths.rs"]
mod variable_lengths;

use bptt::model::Model;
use bptt::train::StopReason;

/// The rounding of `f64` sums over a few thousand steps.
const ROUNDING: f64 = 1e-13;

#[test]
fn train_arrays_learns_with_either_loop() {
    let (inputs, targets) = train_arrays::task();
    // Always the likelier class would be right about half of the time.
    let own = train_arrays::own_loop(&inputs, &targets).unwrap();
    assert!(own > 0.95, "{own}");
    let trainer = train_arrays::with_trainer(inputs, targets).unwrap();
    assert!(trainer > 0.9, "{trainer}");
}

#[test]
fn stream_expects_what_comes_next() {
    let (rnn, vocabulary) = stream::learn().unwrap();
    let text = "pack my box with five dozen jugs\n";
    let guesses = stream::follow(&rnn, &vocabulary, text).unwrap();
    let read: String = guesses.iter().map(|guess| guess.0).collect();
    let expected: String = guesses.iter().map(|guess| guess.1).collect();
    assert_eq!(read, text);
    // From a zero state it has to find its place first.
    assert_eq!(expected[3..text.len() - 1], text[4..]);
}

#[test]
fn observer_ends_the_run_and_saves_it() {
    let folder = tempfile::tempdir().unwrap();
    let (mine, reason) = observer::train(folder.path()).unwrap();
    assert_eq!(reason, StopReason::Interrupted);
    let (step, loss) = *mine.reports.last().unwrap();
    assert!(loss <= mine.wanted && step == mine.losses.len() as u64 && step < 2000);
    let model = Model::<f32>::read(&folder.path().join("model.safetensors")).unwrap();
    assert!(model.about.vocabulary.is_some());
    assert!(folder.path().join("last.safetensors").exists());
}

#[test]
fn variable_lengths_are_the_sum_of_their_parts_and_learn_from_the_last_step() {
    let strings = variable_lengths::Strings::draw(60, 2);
    let apart = variable_lengths::apart(&strings).unwrap();
    assert!(apart <= ROUNDING, "{apart:e}");
    let right = variable_lengths::learn(&variable_lengths::Strings::draw(400, 0)).unwrap();
    assert!(right > 0.95, "{right}");
}
