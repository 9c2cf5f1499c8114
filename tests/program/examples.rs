//! The examples do what they say. Each is part of this test, so that it is the one that is compiled and run.
#![allow(dead_code)] // their `main`

#[path = "../../examples/adding.rs"]
mod adding;
#[path = "../../examples/classifier.rs"]
mod classifier;
#[path = "../../examples/forecaster.rs"]
mod forecaster;
#[path = "../../examples/lstm_text.rs"]
mod lstm_text;
#[path = "../../examples/music.rs"]
mod music;
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
use bptt::{Architecture, Cell, Head, Input};

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

#[test]
fn two_layers_of_lstm_learn_a_rhyme() {
    let vocabulary = bptt::data::Vocabulary::of_chars(lstm_text::RHYME);
    let symbols = vocabulary.len();
    let architecture = Architecture {
        cell: Cell::Lstm,
        layers: 2,
        ..Architecture::new(Input::Tokens(symbols), 48, Head::softmax(symbols))
    };
    let (network, loss) = lstm_text::learn(architecture, &vocabulary).unwrap();
    assert!(loss < 0.5, "{loss}");
    let text = lstm_text::go_on(&network, &vocabulary, "this is the cat", 30).unwrap();
    assert!(text.starts_with("this is the cat that"), "{text}");
}

#[test]
fn classifier_tells_gestures_from_both_ends() {
    let [train, test] = [1, 2].map(|seed| classifier::gestures(150, seed).unwrap());
    let right = classifier::learn(&train, &test, 15, 0).unwrap();
    assert!(right > 0.9, "{right}"); // by chance: a third
}

#[test]
fn forecaster_follows_the_system() {
    let error = forecaster::learn(Cell::Gru, 32, 600, |_, _| ()).unwrap();
    assert!(error < 0.3, "{error}"); // the mean alone: 1
}

#[test]
fn adding_remembers_two_numbers() {
    let error = adding::learn(Cell::Lstm, 24, 20, 800, |_, _| ()).unwrap();
    assert!(error < 0.04, "{error}"); // the mean alone: 0.167
}

#[test]
fn music_expects_the_next_chord() {
    let [train, valid, test] = [1, 2, 3].map(|seed| music::cadences(24, seed).unwrap());
    let (loss, f1) = music::learn(train, valid, test, 64, 80).unwrap();
    // A chord of four notes that only the mean is known of costs some 13 nats a step.
    assert!(loss < 8.0 && f1 > 0.5, "{loss} {f1}");
}
