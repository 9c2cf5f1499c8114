//! What a run says before its first step and after its last.

use super::format::{group, plural, si};
use super::output::Output;
use super::progress::Watch;
use super::run_folder::RunFolder;
use super::sample::generate;
use super::settings::Config;
use anyhow::Result;
use bptt::data::{Decoder, TokenKind};
use bptt::sample::SampleOptions;
use bptt::train::{StopReason, Trainer};
use bptt::{Rnn, Scalar};
use serde_json::json;

/// What is trained, on what.
pub fn start<T: Scalar>(
    trainer: &Trainer<T>,
    config: &Config,
    folder: &RunFolder,
    summary: &str,
    output: Output,
) -> Result<()> {
    let (engine, settings, dims) = (trainer.engine(), &config.settings, trainer.rnn().dims());
    output.event(
        "start",
        &json!({ "folder": folder.path().to_string_lossy(), "config": config }),
    )?;
    output.remark(summary);
    output.remark(format_args!(
        "{} hidden units, {} parameters, {} on {} of {}{} threads, {}, {}",
        dims.n_h,
        group(dims.len() as u64),
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
    if engine.threads() < config.threads.min(settings.shards) {
        output.remark(format_args!(
            "--threads {}: this OpenBLAS has buffers for {} callers, so {} threads are used",
            config.threads,
            bptt::blas::library().max_workers,
            engine.threads()
        ));
    }
    if bptt::blas::library().flavour == bptt::blas::Flavour::Serial {
        output.remark(
            "this OpenBLAS is built without locks: its products take turns, which costs speed (install its pthread \
             build, on Debian libopenblas0-pthread)",
        );
    }
    if trainer.progress().step > 0 {
        output.remark(format_args!(
            "going on after step {}",
            group(trainer.progress().step)
        ));
    }
    Ok(())
}

/// What has come of it.
pub fn finish<T: Scalar>(
    trainer: &Trainer<T>,
    watch: &Watch,
    reason: StopReason,
    best_loss: Option<f64>,
    speed: f64,
    seconds: f64,
) -> Result<()> {
    let (output, progress) = (watch.output, trainer.progress());
    let last = trainer.history().last();
    output.event(
        "done",
        &json!({
            "stop_reason": reason,
            "steps": progress.step,
            "epochs": trainer.epoch(),
            "tokens": progress.tokens,
            "train_loss": last.map(|report| report.train_loss),
            "valid_loss": progress.best_loss,
            "best_step": progress.best_step,
            "best_possible_loss": best_loss,
            "divergences": progress.divergences,
            "tokens_per_second": speed,
            "seconds": seconds,
            "model": watch.checkpoints.model().to_string_lossy(),
        }),
    )?;
    match reason {
        StopReason::Finished => {}
        StopReason::NoImprovement => output.remark("stopped: the validation loss falls no more"),
        StopReason::Interrupted => output.remark(format_args!(
            "interrupted at step {}; go on with: bptt train --resume {}",
            group(progress.step),
            watch.folder.path().display()
        )),
        StopReason::Diverged => output.remark(format_args!(
            "error: training diverged {} times and was given up: try a smaller --lr or --clip-norm",
            progress.divergences
        )),
    }
    if output.json {
        return Ok(());
    }
    if let Some(report) = last {
        output.text(format_args!(
            "{} steps, {:.1} epochs, {seconds:.0} s, {} tokens/s, training loss {:.4}",
            group(progress.step),
            trainer.epoch(),
            si(speed),
            report.train_loss
        ))?;
    }
    if let Some(loss) = progress.best_loss {
        output.text(format_args!(
            "validation loss {loss:.4} nats per token (perplexity {:.3}, {:.3} bits) at step {}",
            loss.exp(),
            loss / std::f64::consts::LN_2,
            group(progress.best_step)
        ))?;
    }
    if let Some(loss) = best_loss {
        output.text(format_args!("best possible   {loss:.4}"))?;
    }
    if let (Some(vocabulary), true) = (&watch.checkpoints.about().vocabulary, last.is_some()) {
        output.text("\nsample:")?;
        let rnn = Rnn::from_parameters(trainer.best().clone());
        let (mut text, mut decoder) = (String::new(), Decoder::new(vocabulary));
        let options = SampleOptions {
            temperature: 0.7,
            ..SampleOptions::default()
        };
        let length = match vocabulary.kind() {
            TokenKind::Word => 80,
            TokenKind::Char | TokenKind::Byte => 400,
        };
        generate(&rnn, vocabulary, b"", length, options, |id| {
            decoder.push(id, &mut text);
            Ok(())
        })?;
        for line in text.lines() {
            output.text(format_args!("    {line}"))?;
        }
    }
    output.text(format_args!(
        "\nmodel  {}",
        watch.checkpoints.model().display()
    ))?;
    if last.is_some() {
        output.text(format_args!("plot   {}", watch.folder.plot().display()))?;
    }
    Ok(())
}
