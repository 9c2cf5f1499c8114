//! `bptt eval`: how well a saved model predicts.

use super::Done;
use super::args::EvalArgs;
use super::dataset::{is_npz, read_set};
use super::format::group;
use super::memory::{self, WindowSize};
use super::model::with_model;
use super::output::Output;
use anyhow::{Context, Result, bail};
use bptt::data::{Corpus, Loader};
use bptt::model::Model;
use bptt::{Engine, EngineOptions, Scalar, train};
use serde_json::json;

pub fn run(args: &EvalArgs, output: Output) -> Result<Done> {
    with_model!(&args.model, |model| eval(args, model, output))
}

fn eval<T: Scalar>(args: &EvalArgs, mut model: Model<T>, output: Output) -> Result<Done> {
    let mut data = if is_npz(&args.data)? {
        let path = &args.data[0];
        let set = read_set::<T>(path, None, output)?;
        model = model.reading(set.reads_tokens());
        let network = model.network.architecture();
        set.check(network.input, network.head.outputs)
            .with_context(|| format!("{} does not fit {}", path.display(), args.model.display()))?;
        Loader::evaluation_sequences(set)?
    } else {
        let Some(vocabulary) = &model.about.vocabulary else {
            bail!(
                "{} is no model of text: give it one .npz",
                args.model.display()
            );
        };
        let (corpus, reading) = Corpus::read_with(&args.data, vocabulary)?;
        if reading.skipped > 0 {
            output.remark(format_args!(
                "{} files are not UTF-8 and were skipped",
                reading.skipped
            ));
        }
        Loader::evaluation_text(corpus)?
    };
    // The result depends on the data alone: shards here are no more than a way to use the cores.
    let options = EngineOptions {
        threads: args.threads.unwrap_or(0),
        shards: 0,
        ..EngineOptions::default()
    };
    let mut engine = Engine::new(model.network.architecture(), options)?;
    let (rows, window) = data.shape();
    memory::check(
        WindowSize::of(&data).bytes(&engine)? as f64,
        engine.threads(),
        &format!("evaluating {rows} sequences of {window} steps"),
        "use a smaller model",
    )?;
    let bar = output.bar(
        data.counted_per_epoch(),
        "{elapsed} {bar:30.cyan/blue} {percent}% {eta} left",
    );
    let network = &model.network;
    let metrics = train::evaluate(&mut engine, network, &mut data, |tokens| bar.inc(tokens))?;
    bar.finish_and_clear();
    let (loss, accuracy) = (metrics.mean_loss(), metrics.accuracy());
    let bits = loss / std::f64::consts::LN_2;
    output.event(
        "eval",
        &json!({
            "loss": loss,
            "perplexity": loss.exp(),
            "bits_per_token": bits,
            "accuracy": accuracy,
            "tokens": metrics.counted,
        }),
    )?;
    output.text(format_args!(
        "loss            {loss:.6} nats per token\nperplexity      {:.4}\nbits per token  {bits:.4}\n\
         accuracy        {:.2} %\ntokens          {}",
        loss.exp(),
        100.0 * accuracy,
        group(metrics.counted)
    ))?;
    Ok(Done::Finished)
}
