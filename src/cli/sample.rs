//! `bptt sample`: a model of text goes on writing.

use super::Done;
use super::args::SampleArgs;
use super::output::Output;
use super::train::with_model;
use anyhow::{Context, Result, bail};
use bptt::data::Vocabulary;
use bptt::model::Model;
use bptt::sample::{SampleOptions, Sampler};
use bptt::{Rnn, Scalar, Stream};
use ndarray::Array2;
use serde_json::json;
use std::io;

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
    let mut text = Vec::new();
    generate(
        &model.rnn,
        vocabulary,
        &args.prompt,
        args.length,
        options,
        |bytes| {
            if output.json {
                text.extend_from_slice(bytes);
                return Ok(());
            }
            output.piece(bytes)
        },
    )?;
    let text = String::from_utf8_lossy(&text);
    output.event("sample", &json!({ "text": text, "tokens": args.length }))?;
    output.text("")?;
    Ok(Done::Finished)
}

/// Hands the prompt and `length` tokens after it to `write`, piece by piece, as they come.
pub fn generate<T: Scalar>(
    rnn: &Rnn<T>,
    vocabulary: &Vocabulary,
    prompt: &str,
    length: usize,
    options: SampleOptions,
    mut write: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<()> {
    let mut sampler = Sampler::new(options)?;
    let given = vocabulary.encode(prompt.as_bytes()).context("--prompt")?;
    let mut piece = Vec::new();
    for &id in &given {
        vocabulary.push_decoded(id, &mut piece);
    }
    write(&piece)?;
    // Without a prompt, as at the beginning of a line.
    let mut next = match given.is_empty() {
        true => vec![
            vocabulary
                .encode(b"\n")
                .ok()
                .and_then(|ids| ids.first().copied())
                .unwrap_or(0),
        ],
        false => given,
    };
    let mut stream = Stream::new(rnn, 1);
    for _ in 0..length {
        let inputs = Array2::from_shape_vec((1, next.len()), next).expect("one row");
        let probabilities = stream.step(&inputs)?;
        let id = sampler.choose(probabilities.as_slice().expect("one row"));
        piece.clear();
        vocabulary.push_decoded(id, &mut piece);
        write(&piece)?;
        next = vec![id];
    }
    Ok(())
}
