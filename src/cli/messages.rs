//! What a run says before its first step and after its last.

use super::output::{ABSURD, loss_text, metric, plural, visible};
use super::prepare::Run;
use super::run_folder;
use super::sample::generate;
use anyhow::Result;
use bptt::data::{Decoder, TokenKind, Vocabulary};
use bptt::internal::blas::{self, Flavour};
use bptt::sample::SampleOptions;
use bptt::train::{MOST_HALVINGS, StopReason};
use bptt::{Loss, Network, Scalar};
use indicatif::HumanCount;
use serde_json::json;

/// What is trained, on what.
pub fn start<T: Scalar>(run: &Run<T>) -> Result<()> {
    let (output, trainer, config) = (run.watch.output, &run.trainer, &run.config);
    let (engine, network) = (trainer.engine(), trainer.network().architecture());
    let folder = run.watch.checkpoints.folder.to_string_lossy();
    output.event("start", &json!({ "folder": folder, "config": config }))?;
    output.remark(&run.summary);
    let guessing = network.head.guessing();
    output.remark(format_args!(
        "{network}: {} parameters, judged by {}{}, {} on {} of {}{} threads, {}, {}",
        HumanCount(network.len() as u64),
        network.head.loss.title(),
        guessing.map_or(String::new(), |loss| format!(" (guessing: {loss:.4})")),
        T::NAME,
        plural(engine.shards(), "shard"),
        match engine.ranks() {
            1 => String::new(),
            ranks => format!("{ranks} ranks of "),
        },
        engine.threads(),
        config.simd,
        config.blas
    ));
    let (wanted, threads) = (config.threads(), engine.threads());
    if threads < wanted && threads == blas::library().max_workers {
        output.remark(format_args!(
            "--threads {wanted}: this OpenBLAS has buffers for {threads} callers, so {threads} threads are used"
        ));
    } else if threads < wanted && config.settings.shards >= Some(wanted) {
        output.remark(format_args!(
            "--threads {wanted}: {} in a batch, so {} busy: a larger --batch uses more",
            plural(engine.shards(), "sequence"),
            plural(threads, "thread") + if threads == 1 { " is" } else { " are" }
        ));
    }
    if blas::library().flavour == Flavour::Serial {
        output.remark(
            "this OpenBLAS is built without locks: its products take turns, which costs speed (install its pthread \
             build, on Debian libopenblas0-pthread)",
        );
    }
    let step = trainer.progress().step;
    if step > 0 {
        output.remark(format_args!("going on after step {}", HumanCount(step)));
    }
    Ok(())
}

/// What has come of it.
pub fn finish<T: Scalar>(
    run: &Run<T>,
    reason: StopReason,
    seconds: f64,
    tokens_per_second: f64,
) -> Result<()> {
    let (output, trainer, checkpoints) = (run.watch.output, &run.trainer, &run.watch.checkpoints);
    let (progress, last) = (trainer.progress(), trainer.history().last());
    let loss = trainer.network().architecture().head.loss;
    let title = loss.title();
    let fields = json!({
        "stop_reason": reason,
        "loss_name": title,
        "steps": progress.step,
        "epochs": trainer.epoch(),
        "tokens": progress.tokens,
        "train_loss": last.map(|report| report.train_loss),
        "valid_loss": progress.best_loss,
        "best_step": progress.best_step,
        "best_possible_loss": run.best_loss,
        "guessing_loss": trainer.network().architecture().head.guessing(),
        "divergences": progress.divergences,
        "tokens_per_second": tokens_per_second,
        "seconds": seconds,
        "model": checkpoints.model().to_string_lossy(),
    });
    output.event("done", &fields)?;
    let (step, folder) = (HumanCount(progress.step), checkpoints.folder.display());
    match reason {
        StopReason::Finished => {}
        StopReason::NoImprovement => {
            let (patience, steps) = (trainer.options().patience, trainer.options().steps);
            let mut rule = format!(
                "no better validation loss after {MOST_HALVINGS} halvings of the rate (--schedule halve-on-plateau)"
            );
            let mut change = "--schedule constant";
            if patience > 0 && progress.since_best >= patience {
                rule = format!("--patience {patience} reports without a better validation loss");
                change = "--patience 0";
            }
            let all = match progress.step < steps {
                true => format!(" of {}", HumanCount(steps)),
                false => String::new(),
            };
            output.remark(format_args!(
                "stopped at step {step}{all}: {rule}; go on with: bptt train --resume {folder} {change}"
            ));
        }
        StopReason::Interrupted => output.remark(format_args!(
            "interrupted at step {step}; go on with: bptt train --resume {folder}"
        )),
        // That is an error, which is said last.
        StopReason::Diverged => {}
    }
    if !output.is_human() {
        return Ok(());
    }
    if let Some(report) = last {
        output.text(format_args!(
            "{step} steps, {:.1} epochs, {seconds:.0} s, {} tokens/s, training {title} {}",
            trainer.epoch(),
            HumanCount(tokens_per_second as u64),
            loss_text(report.train_loss)
        ))?;
    }
    if let Some(best) = progress.best_loss {
        let mut said = format!("validation loss {}", loss_text(best));
        if loss == Loss::CrossEntropy && best < ABSURD {
            let (perplexity, bits) = (best.exp(), best / std::f64::consts::LN_2);
            said += &format!(" nats per token (perplexity {perplexity:.3}, {bits:.3} bits)");
        }
        let step = HumanCount(progress.best_step);
        output.text(format_args!("{said} at step {step}: {title}"))?;
        let mut reports = trainer.history().iter();
        let report = reports.find(|report| report.step == progress.best_step);
        for (name, &value) in report.iter().flat_map(|report| &report.valid_metrics) {
            let (name, value) = metric(name, value);
            output.text(format_args!("{name:<16}{value}"))?;
        }
    }
    if let Some(loss) = run.best_loss {
        output.text(format_args!("best possible   {loss:.4}"))?;
    }
    if let (Some(vocabulary), Some(_)) = (&checkpoints.about.vocabulary, last) {
        output.text("\nsample:")?;
        let best = Network::from_parameters(trainer.best().clone());
        for line in sample(&best, vocabulary)?.lines() {
            output.text(format_args!("    {}", visible(line)))?;
        }
    }
    let model = checkpoints.model();
    if model.exists() {
        output.text(format_args!("\nmodel  {}", model.display()))?;
    }
    if last.is_some() {
        let plot = checkpoints.folder.join(run_folder::PLOT);
        output.text(format_args!("plot   {}", plot.display()))?;
    }
    Ok(())
}

/// A few lines that the network writes.
fn sample<T: Scalar>(network: &Network<T>, vocabulary: &Vocabulary) -> Result<String> {
    let (mut text, mut decoder) = (String::new(), Decoder::new(vocabulary));
    let options = SampleOptions {
        temperature: 0.7,
        ..SampleOptions::default()
    };
    let is_words = vocabulary.kind() == TokenKind::Word;
    let length = if is_words { 80 } else { 400 };
    generate(network, vocabulary, Vec::new(), length, options, |id| {
        decoder.push(id, &mut text);
        Ok(())
    })?;
    Ok(text)
}
