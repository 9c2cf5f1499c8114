//! Streaming inference: one input at a time, as a sensor or a keyboard delivers them, the state carried along.
//!
//! ```text
//! cargo run --release --example stream
//! ```
//!
//! A small LSTM learns a line by heart; then it reads the line character by character, and says at each what it
//! expects next.

use bptt::data::{Corpus, Loader, Vocabulary};
use bptt::train::{TrainOptions, Trainer};
use bptt::{Architecture, Cell, Head, Init, Input, Network, Result, Stream};
use ndarray::Array2;

const LINE: &str = "pack my box with five dozen jugs\n";

fn main() -> Result<()> {
    let (network, vocabulary) = learn()?;
    println!("read  expected next");
    for (read, expected, probability) in follow(&network, &vocabulary, LINE)? {
        println!("{read:<5?} {expected:?} ({:.0} %)", 100.0 * probability);
    }
    Ok(())
}

/// A network of the line.
pub fn learn() -> Result<(Network<f32>, Vocabulary)> {
    let text = LINE.repeat(40);
    let vocabulary = Vocabulary::of_chars(&text);
    let corpus = Corpus::from_text(&text, &vocabulary)?;
    let symbols = vocabulary.len();
    let architecture = Architecture {
        cell: Cell::Lstm,
        ..Architecture::new(Input::Tokens(symbols), 32, Head::softmax(symbols))
    };
    let mut run = Trainer::new(
        Network::new(architecture, Init::Orthogonal, 0)?,
        Loader::text(corpus, 8, 33)?,
        TrainOptions {
            steps: 200,
            lr: 0.01,
            ..TrainOptions::default()
        },
    )?;
    run.run(&mut ())?;
    Ok((run.network().clone(), vocabulary))
}

/// For each character of `text`: it, the one that is likeliest to follow, and how likely that is.
pub fn follow(
    network: &Network<f32>,
    vocabulary: &Vocabulary,
    text: &str,
) -> Result<Vec<(char, char, f32)>> {
    let mut stream = Stream::new(network, 1)?; // one sequence; several run side by side at little more
    let mut guesses = Vec::new();
    for (id, read) in vocabulary
        .encode(text.as_bytes())?
        .into_iter()
        .zip(text.chars())
    {
        // [N, T] = [1, 1]. What a stream has read stays in its state, `stream.state()`.
        let probabilities = stream.step(&Array2::from_elem((1, 1), id))?;
        let (likeliest, &probability) = probabilities
            .iter()
            .enumerate()
            .max_by(|a, b| a.1.total_cmp(b.1))
            .expect("a vocabulary has symbols");
        let mut symbol = Vec::new();
        vocabulary.push_decoded(likeliest as u32, &mut symbol);
        let symbol = String::from_utf8_lossy(&symbol).chars().next();
        guesses.push((read, symbol.expect("a symbol is a character"), probability));
    }
    Ok(guesses)
}
