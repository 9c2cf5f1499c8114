//! `bptt sample`: a model of text goes on writing.

use super::Done;
use super::args::SampleArgs;
use super::model::with_model;
use super::output::{Output, visible};
use anyhow::{Context, Result, bail};
use bptt::data::{Decoder, TokenKind, Vocabulary};
use bptt::model::Model;
use bptt::sample::{SampleOptions, Sampler};
use bptt::{Network, Scalar, Stream};
use indicatif::HumanCount;
use ndarray::Array2;
use serde_json::json;
use std::io::{self, IsTerminal};

pub fn run(args: &SampleArgs, output: Output) -> Result<Done> {
    with_model!(&args.model, |model| sample(args, &model, output))
}

fn sample<T: Scalar>(args: &SampleArgs, model: &Model<T>, output: Output) -> Result<Done> {
    let Some(vocabulary) = &model.about.vocabulary else {
        bail!(
            "{} is no model of text: nothing to sample",
            args.model.display()
        );
    };
    let options = SampleOptions {
        temperature: args.temperature,
        top_k: args.top_k,
        seed: args.seed,
    };
    // Nothing is written before all of the prompt has been understood.
    vocabulary
        .encode(args.prompt.as_bytes())
        .context("--prompt")?;
    let unknown = vocabulary.unknown_words(&args.prompt);
    if !unknown.is_empty() {
        output.remark(format_args!(
            "--prompt: not among the {} words of the model, read as <unk>: {}",
            HumanCount(vocabulary.len() as u64),
            unknown.join(" ")
        ));
    }
    // Whoever reads a pipe wants the bytes of a model of bytes; eyes and JSON want text.
    let raw =
        vocabulary.kind() == TokenKind::Byte && output.is_human() && !io::stdout().is_terminal();
    let mut text = args.prompt.clone();
    let mut decoder = Decoder::after(vocabulary, &args.prompt);
    if output.is_human() {
        output.piece(visible(&text).as_bytes())?;
        text.clear();
    }
    let (prompt, length) = (args.prompt.as_bytes(), args.length);
    generate(&model.network, vocabulary, prompt, length, options, |id| {
        if raw {
            let mut byte = Vec::new();
            vocabulary.push_decoded(id, &mut byte);
            return output.piece(&byte);
        }
        decoder.push(id, &mut text);
        if !output.is_human() {
            return Ok(());
        }
        let shown = output.piece(visible(&text).as_bytes());
        text.clear();
        shown
    })?;
    decoder.finish(&mut text);
    if output.is_human() {
        text.push('\n');
        output.piece(visible(&text).as_bytes())?;
    }
    output.event("sample", &json!({ "text": text, "tokens": args.length }))?;
    Ok(Done::Finished)
}

/// Hands `length` tokens that go on from the prompt to `write`, as they come.
pub fn generate<T: Scalar>(
    network: &Network<T>,
    vocabulary: &Vocabulary,
    prompt: &[u8],
    length: usize,
    options: SampleOptions,
    mut write: impl FnMut(u32) -> io::Result<()>,
) -> Result<()> {
    let mut sampler = Sampler::new(options)?;
    let mut next = vocabulary.encode(prompt).context("--prompt")?;
    if next.is_empty() {
        // As at the beginning of a line.
        let line_feed = vocabulary.encode(b"\n").unwrap_or_default();
        next = vec![line_feed.first().copied().unwrap_or(0)];
    }
    let mut stream = Stream::new(network, 1)?;
    for _ in 0..length {
        let inputs = Array2::from_shape_vec((1, next.len()), next).expect("one row");
        let probabilities = stream.step(&inputs)?;
        if probabilities.iter().any(|p| p.is_nan()) {
            bail!(
                "the network's outputs are no finite numbers: its weights are too large to go on from"
            );
        }
        let id = sampler.choose(probabilities.as_slice().expect("one row"));
        write(id)?;
        next = vec![id];
    }
    Ok(())
}
