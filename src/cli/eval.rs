//! `bptt eval`: how well a saved model predicts.

use super::args::EvalArgs;
use super::dataset::{npz, read_set, say_skipped};
use super::model::{engine, with_model};
use super::output::{BAR, Output};
use super::{Done, memory};
use anyhow::{Context, Result, bail};
use bptt::data::{Corpus, Loader};
use bptt::model::Model;
use bptt::{Scalar, train};
use indicatif::HumanCount;
use serde_json::json;

pub fn run(args: &EvalArgs, output: Output) -> Result<Done> {
    with_model!(&args.model, |model| eval(args, model, output))
}

fn eval<T: Scalar>(args: &EvalArgs, mut model: Model<T>, output: Output) -> Result<Done> {
    let name = args.model.display();
    let mut data = if let Some(path) = npz(&args.data)? {
        let set = read_set::<T>(path, None, output)?;
        model = model.reading(set.reads_tokens()).answering(set.head());
        let network = model.network.architecture();
        set.check(network.input, network.head)
            .with_context(|| format!("{} does not fit {name}", path.display()))?;
        Loader::evaluation_sequences(set)?
    } else {
        let Some(vocabulary) = &model.about.vocabulary else {
            bail!("{name} is no model of text: give it one .npz");
        };
        let (corpus, reading) = Corpus::read_with(&args.data, vocabulary)?;
        say_skipped(&reading, output);
        Loader::evaluation_text(corpus)?
    };
    let mut engine = engine(&model.network, args.threads)?;
    let (rows, window) = data.shape();
    let (largest, arrays) = memory::largest_window(&data);
    memory::check(
        memory::of_window(&largest, arrays, &engine)?,
        engine.threads(),
        &format!("evaluating {rows} sequences of {window} steps"),
        "use a smaller model",
    )?;
    let bar = output.bar(data.counted_per_epoch(), BAR);
    let seen = |tokens| bar.inc(tokens);
    let metrics = train::evaluate(&mut engine, &model.network, &mut data, seen)?;
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
        HumanCount(metrics.counted)
    ))?;
    Ok(Done::Finished)
}
