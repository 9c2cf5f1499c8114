//! `bptt sample`: a model of text goes on writing.

use super::Done;
use super::args::SampleArgs;
use super::output::{Output, visible};
use anyhow::{Context, Result, bail};
use bptt::data::{Decoder, TokenKind, Vocabulary};
use bptt::model::Model;
use bptt::sample::{SampleOptions, Sampler};
use bptt::{Network, Scalar, Stream};
use indicatif::HumanCount;
use ndarray::Array2;
use serde_json::json;
use std::io::{self, IsTerminal, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The longest prompt that is read from a file, in bytes.
const MOST_PROMPT: u64 = 1 << 24;

pub fn run<T: Scalar>(args: &SampleArgs, model: Model<T>, output: Output) -> Result<Done> {
    let Some(vocabulary) = &model.about.vocabulary else {
        let model = args.model.display();
        bail!("{model} is no model of text: nothing to sample");
    };
    let options = SampleOptions {
        temperature: args.temperature,
        top_k: args.top_k,
        seed: args.seed,
    };
    let (flag, prompt) = match &args.prompt_file {
        None => ("--prompt".into(), args.prompt.as_bytes().to_vec()),
        Some(path) => (
            format!("--prompt-file {}", path.display()),
            read_prompt(path)?,
        ),
    };
    // Nothing is written before all of the prompt has been understood.
    let ids = vocabulary.encode(&prompt).context(flag.clone())?;
    let mut text = String::from_utf8_lossy(&prompt).into_owned();
    let unknown = vocabulary.unknown_words(&text);
    if !unknown.is_empty() {
        output.remark(format_args!(
            "{flag}: not among the {} words of the model, read as <unk>: {}",
            HumanCount(vocabulary.len() as u64),
            unknown.join(" ")
        ));
    }
    // Whoever reads a pipe wants the bytes of a model of bytes; eyes and JSON want text.
    let raw =
        vocabulary.kind() == TokenKind::Byte && output.is_human() && !io::stdout().is_terminal();
    let mut decoder = Decoder::after(vocabulary, &text);
    // Eyes see text as it comes; JSON holds all of it.
    let show = |text: &mut String| match output.is_human() {
        true => output.piece(visible(&std::mem::take(text)).as_bytes()),
        false => Ok(()),
    };
    if raw {
        output.piece(&prompt)?;
        text.clear();
    }
    show(&mut text)?;
    let length = args.length;
    generate(&model.network, vocabulary, ids, length, options, |id| {
        output.check_interrupted()?;
        if raw {
            let mut byte = Vec::new();
            vocabulary.push_decoded(id, &mut byte);
            return output.piece(&byte);
        }
        decoder.push(id, &mut text);
        show(&mut text)
    })?;
    decoder.finish(&mut text);
    if output.is_human() {
        text.push('\n');
    }
    show(&mut text)?;
    output.event("sample", &json!({ "text": text, "tokens": args.length }))?;
    Ok(Done::Finished)
}

/// The content of a file, or of a pipe, as a prompt.
fn read_prompt(path: &Path) -> Result<Vec<u8>> {
    let mut prompt = Vec::new();
    let read = fs_err::File::open(path)
        .and_then(|file| file.take(MOST_PROMPT + 1).read_to_end(&mut prompt));
    if read.context("--prompt-file")? as u64 > MOST_PROMPT {
        let path = path.display();
        bail!("--prompt-file {path}: more than {MOST_PROMPT} bytes, give the end of the text");
    }
    Ok(prompt)
}

/// Hands `length` tokens that go on from the prompt, the `next` ones to read, to `write`, as they come.
pub fn generate<T: Scalar>(
    network: &Network<T>,
    vocabulary: &Vocabulary,
    mut next: Vec<u32>,
    length: usize,
    options: SampleOptions,
    mut write: impl FnMut(u32) -> io::Result<()>,
) -> Result<()> {
    let mut sampler = Sampler::new(options)?;
    if next.is_empty() {
        // As at the beginning of a line.
        let line_feed = vocabulary.encode(b"\n").unwrap_or_default();
        next.push(line_feed.first().copied().unwrap_or(0));
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
        next = vec![sampler.choose(probabilities.as_slice().expect("one row"))];
        write(next[0])?;
    }
    Ok(())
}
