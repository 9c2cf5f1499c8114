//! `bptt eval`: how well a saved model predicts.

use super::args::EvalArgs;
use super::dataset::{npz, read_set, say_skipped};
use super::model::engine;
use super::output::{BAR, Output, metric};
use super::processes::cores;
use super::{Done, memory};
use anyhow::{Context, Result, bail};
use bptt::data::{Corpus, Loader, Readers};
use bptt::model::Model;
use bptt::train::{self, Control};
use bptt::{Loss, Scalar};
use indicatif::HumanCount;
use serde_json::json;

pub fn run<T: Scalar>(args: &EvalArgs, mut model: Model<T>, output: Output) -> Result<Done> {
    let name = args.model.display();
    let mut unknown = None;
    let mut data = if let Some(path) = npz(&args.data)? {
        let set = read_set::<T>(path, None, output)?;
        model = model.reading(set.reads_tokens()).answering(set.head());
        let mut data = Loader::evaluation_sequences(set)?;
        data.suit(&model.network.architecture())
            .with_context(|| format!("{} does not fit {name}", path.display()))?;
        data
    } else {
        let Some(vocabulary) = &model.about.vocabulary else {
            bail!("{name} is no model of text: give it one .npz");
        };
        let readers = Readers {
            threads: args.threads.unwrap_or_else(cores),
            ranks: None,
        };
        let (corpus, reading) = Corpus::read_part_with(&args.data, vocabulary, readers)?;
        say_skipped(&reading, output);
        unknown = corpus.unknown_words();
        Loader::evaluation_text(corpus)?
    };
    let mut engine = engine(&model.network, args.threads)?;
    let (rows, arrays, (n, t)) = memory::window(&data);
    let bytes = (arrays + engine.bytes_of(&rows)?) as f64;
    let what = format!("evaluating {n} sequences of {t} steps");
    memory::check(bytes, engine.threads(), &what, "use a smaller model")?;
    let bar = output.bar(data.counted_per_epoch(), BAR);
    let network = &model.network;
    let mut evaluate = |data: &mut Loader<T>| {
        train::evaluate_until(&mut engine, network, data, |tokens| {
            bar.inc(tokens);
            match output.check_interrupted() {
                Ok(()) => Control::Continue,
                Err(_) => Control::Stop,
            }
        })
    };
    let Some(metrics) = evaluate(&mut data)? else {
        return Ok(Done::Interrupted);
    };
    bar.finish_and_clear();
    let mut known = None;
    if unknown.is_some_and(|unknown| unknown > 0) {
        data.leave_out_unknown();
        known = evaluate(&mut data)?;
    }
    let judged = network.architecture().head.loss;
    let loss = metrics.mean_loss();
    let mut fields =
        json!({ "loss": loss, "loss_name": judged.title(), "tokens": metrics.counted });
    let mut said = format!("{:<16}{loss:.6}", "loss");
    if judged == Loss::CrossEntropy {
        let (perplexity, bits) = (loss.exp(), loss / std::f64::consts::LN_2);
        (fields["perplexity"], fields["bits_per_token"]) = (perplexity.into(), bits.into());
        said +=
            &format!(" nats per token\nperplexity      {perplexity:.4}\nbits per token  {bits:.4}");
    } else {
        said += &format!(", {}", judged.title());
    }
    if let Some(guessing) = network.architecture().head.guessing() {
        fields["guessing_loss"] = guessing.into();
        said += &format!("\nguessing loss   {guessing:.6}");
    }
    for (name, value) in metrics.named(judged) {
        fields[name] = value.into();
        let (name, value) = metric(name, value);
        said += &format!("\n{name:<16}{value}");
    }
    if let Some(known) = known.filter(|known| known.counted > 0) {
        fields["known_words_loss"] = known.mean_loss().into();
        said += &format!("\nloss, known     {:.6} nats per token", known.mean_loss());
    }
    if let Some(unknown) = unknown {
        fields["unknown_words"] = unknown.into();
        let part = 100.0 * unknown as f64 / metrics.counted as f64;
        let unknown = HumanCount(unknown as u64);
        said += &format!("\nunknown words   {unknown} ({part:.2} %, all read as <unk>)");
    }
    output.event("eval", &fields)?;
    let tokens = HumanCount(metrics.counted);
    output.text(format_args!("{said}\ntokens          {tokens}"))?;
    Ok(Done::Finished)
}
