//! Two layers of LSTM on a text, and one of tanh beside them: what an [`Architecture`] says beside the sizes.
//!
//! ```text
//! cargo run --release --example lstm_text
//! ```
//!
//! Both learn the same rhyme, in windows whose states are carried on; each then goes on from the same beginning.

use bptt::data::{Corpus, Loader, Vocabulary};
use bptt::train::{TrainOptions, Trainer};
use bptt::{Architecture, Cell, Head, Init, Input, Network, Result, Stream};
use ndarray::Array2;

pub const RHYME: &str = "\
this is the house that jack built.
this is the malt that lay in the house that jack built.
this is the rat that ate the malt that lay in the house that jack built.
this is the cat that killed the rat that ate the malt that lay in the house that jack built.
";

fn main() -> Result<()> {
    let vocabulary = Vocabulary::of_chars(RHYME);
    let symbols = vocabulary.len();
    let shallow = Architecture::new(Input::Tokens(symbols), 48, Head::softmax(symbols));
    let deep = Architecture {
        cell: Cell::Lstm,
        layers: 2,
        ..shallow
    };
    for architecture in [shallow, deep] {
        let (network, loss) = learn(architecture, &vocabulary)?;
        println!("{architecture}: {} parameters", architecture.len());
        println!("    loss {loss:.3} nats a character after 400 updates");
        println!(
            "    {:?}",
            go_on(&network, &vocabulary, "this is the cat", 50)?
        );
    }
    Ok(())
}

/// A network of the rhyme, and the loss of its last updates.
pub fn learn(architecture: Architecture, vocabulary: &Vocabulary) -> Result<(Network, f64)> {
    let corpus = Corpus::from_text(&RHYME.repeat(20), vocabulary)?;
    let network = Network::new(architecture, Init::Orthogonal, 0)?;
    let options = TrainOptions {
        steps: 400,
        lr: 0.005,
        ..TrainOptions::default()
    };
    let mut run = Trainer::new(network, Loader::text(corpus, 8, 40)?, options)?;
    run.run(&mut ())?;
    let loss = run
        .history()
        .last()
        .map_or(f64::NAN, |report| report.train_loss);
    Ok((run.network().clone(), loss))
}

/// The likeliest continuation of `text`, a character at a time.
pub fn go_on(
    network: &Network,
    vocabulary: &Vocabulary,
    text: &str,
    count: usize,
) -> Result<String> {
    let mut stream = Stream::new(network, 1)?;
    let mut ids = vocabulary.encode(text.as_bytes())?;
    let mut written = text.as_bytes().to_vec();
    for _ in 0..count {
        // The whole beginning at once, then one character after another: [N, T] = [1, T].
        let next = Array2::from_shape_vec((1, ids.len()), ids).expect("one row");
        let y = stream.step(&next)?;
        let likeliest = y.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        let id = likeliest.map_or(0, |(id, _)| id as u32);
        vocabulary.push_decoded(id, &mut written);
        ids = vec![id];
    }
    Ok(String::from_utf8_lossy(&written).into_owned())
}
