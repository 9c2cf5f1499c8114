//! `bptt train`.

use super::args::{Dtype, TrainArgs};
use super::dataset::{Dataset, group};
use super::interrupt::Interrupt;
use super::memory::{self, WindowSize};
use super::output::Output;
use super::run_folder::{RunFolder, check_free};
use super::sample::generate;
use super::settings::Config;
use super::world::World;
use super::{Done, is_broken_pipe};
use anyhow::{Result, bail};
use bptt::data::{Decoder, TokenKind};
use bptt::model::About;
use bptt::sample::SampleOptions;
use bptt::train::plot::{self, Curve, Labels, Trace};
use bptt::train::tensorboard::TensorBoard;
use bptt::train::{
    Checkpoint, Checkpoints, Control, Observer, Report, StepReport, StopReason, Trainer,
};
use bptt::{Dims, EngineOptions, Error, Rnn, Scalar};
use indicatif::ProgressBar;
use serde_json::json;
use std::time::{Duration, Instant};

pub fn run(args: &TrainArgs, output: Output, world: &World) -> Result<Done> {
    world.warn_of_strangers(output);
    let interrupt = Interrupt::listen()?;
    // The lock before anything is read; a new folder only when the data turns out to be good.
    let (folder, config) = match &args.resume {
        _ if !world.leads() => (None, None),
        Some(path) => (
            Some(RunFolder::resume(path)?),
            Some(Config::resume(path, args, world)?),
        ),
        None => {
            args.out.as_deref().map_or(Ok(()), check_free)?;
            let paths = args.data.iter().chain(&args.valid);
            if let Some(path) = paths.into_iter().find(|path| path.to_str().is_none()) {
                bail!(
                    "{path:?}: its name is not UTF-8, so config.json could not say what the run was trained on: rename it, or \
                     give a link to it"
                );
            }
            (None, Some(Config::new(args, world)))
        }
    };
    let mut config = world.share(config)?;
    let output = if world.leads() {
        output
    } else {
        // Its machine may have other cores.
        config.threads = args.threads.unwrap_or(world.cores);
        Output::silent()
    };
    match config.settings.dtype {
        Dtype::F32 => train::<f32>(args, folder, config, interrupt, output, world),
        Dtype::F64 => train::<f64>(args, folder, config, interrupt, output, world),
    }
}

/// The run of `folder`, or a new one.
fn train<T: Scalar>(
    args: &TrainArgs,
    folder: Option<RunFolder>,
    mut config: Config,
    interrupt: Interrupt,
    output: Output,
    world: &World,
) -> Result<Done> {
    // STEP 1: the data, and what it decides.
    let data = Dataset::<T>::read(&config.settings, output)?;
    let settings = &mut config.settings;
    world.agree("other data", data.digest.as_bytes())?;
    if args.resume.is_some() && settings.digest != data.digest {
        bail!(
            "the data is not what the run was started with ({:?}, fingerprint {} instead of {}): give the same DATA, or \
             start another run",
            settings.data,
            data.digest,
            settings.digest
        );
    }
    settings.digest.clone_from(&data.digest);
    if settings.report_every == 0 {
        settings.report_every = data.report_every;
    }
    let epochs = settings
        .epochs
        .map(|n| n.saturating_mul(data.train.windows_per_epoch()));
    let steps = [settings.steps, epochs].into_iter().flatten().min();
    let steps = steps.expect("a run has a length");
    settings.valid_fraction = Some(data.valid_fraction);
    settings.seq_len.get_or_insert(data.train.shape().1);
    let about = About {
        vocabulary: data.vocabulary,
        tokens: Some(data.tokens),
        config: serde_json::to_value(&*settings)?,
    };

    // STEP 2: the network and its trainer.
    let dims = Dims::new(data.n_x, settings.hidden, data.n_y)?;
    // More shards than sequences would stay empty: the result is the same without them.
    let (rows, window) = data.train.shape();
    let valid_shape = data.valid.as_ref().map(|valid| valid.shape());
    let most_rows = valid_shape.map_or(rows, |valid| rows.max(valid.0));
    let largest = WindowSize::of(&data.train, data.tokens);
    let valid_largest = data
        .valid
        .as_ref()
        .map(|valid| WindowSize::of(valid, data.tokens));
    let engine = EngineOptions {
        threads: config.threads,
        shards: settings.shards.min(most_rows.max(world.size())),
        memory: settings.memory,
    };
    let weights = memory::of_weights::<T>(dims, settings.optimizer.algorithm, engine.shards);
    memory::check(
        weights,
        &format!("training {dims:?}"),
        "choose a smaller --hidden, fewer --shards, or of words a smaller --vocab-size",
    )?;
    world.make_room(config.threads);
    let rnn = Rnn::<T>::new(dims, settings.init, settings.seed)?;
    let options = settings.train_options(steps);
    let mut trainer = Trainer::new(
        rnn,
        data.train,
        data.valid,
        engine,
        settings.optimizer,
        options,
    )?;
    if let Some(ranks) = world.ranks() {
        trainer = trainer.join(ranks, config.reduction)?;
    }

    // The moments are not yet touched.
    let moments = dims.len() * settings.optimizer.algorithm.moments() * size_of::<T>();
    memory::check(
        (largest.bytes(trainer.engine())? + moments) as f64,
        &format!("a step on {rows} sequences of {window} steps"),
        "choose a smaller --batch, --seq-len or --hidden, or of words a smaller --vocab-size",
    )?;
    if let (Some(largest), Some((rows, window))) = (valid_largest, valid_shape) {
        memory::check(
            (largest.bytes(trainer.engine())? + moments) as f64,
            &format!("validating {rows} sequences of {window} steps"),
            "choose a smaller --hidden, of words a smaller --vocab-size, or --valid-fraction 0",
        )?;
    }

    // STEP 3: the run folder, new or as it was left.
    let mut folder = match folder {
        None if world.leads() => {
            interrupt.now_ask_first();
            Some(RunFolder::create(args.out.as_deref(), &run_name(args))?)
        }
        folder => folder,
    };
    let place = folder.as_ref().map(|folder| folder.path().to_path_buf());
    let mut checkpoints = Checkpoints::new(place.unwrap_or_default(), about);
    if let Some(steps) = config.checkpoint_every {
        checkpoints = checkpoints.every(steps);
    }
    if args.resume.is_some() {
        restore(&mut trainer, folder.as_mut(), &checkpoints, &config, world)?;
    }
    interrupt.now_ask_first();
    let Some(folder) = folder else {
        return follow(trainer, checkpoints, interrupt);
    };
    folder.write_config(&config)?;
    let events = match config.tensorboard {
        true => Some(TensorBoard::open(folder.path(), trainer.history())?),
        false => None,
    };
    let mut traces = Traces::default();
    trainer
        .history()
        .iter()
        .for_each(|report| traces.push(report));
    // The file has them all; what is to be drawn is in the traces.
    trainer.keep_reports(1);
    announce(&trainer, &config, &folder, &data.summary, output)?;

    // STEP 4: train.
    let bar = output.bar(
        steps,
        "{elapsed} {wide_bar:.cyan/blue} {human_pos}/{human_len} {msg} {eta} left",
    );
    bar.set_position(trainer.progress().step);
    bar.reset_eta();
    let started = Instant::now();
    let before = trainer.progress().tokens;
    let mut watch = Watch {
        folder,
        checkpoints,
        events,
        output,
        bar,
        interrupt,
        traces,
        drawn: None,
        shown: Instant::now(),
        tokens: 0,
        loss: f64::NAN,
    };
    let reason = match trainer.run(&mut watch) {
        Ok(reason) => reason,
        Err(error) => {
            let error = error.into();
            // Whoever read the output has gone: what was reached is kept.
            if is_broken_pipe(&error) && world.size() == 1 {
                watch.checkpoint(&trainer)?;
            }
            return Err(error);
        }
    };
    let seconds = started.elapsed().as_secs_f64();
    watch.bar.finish_and_clear();

    // STEP 5: the checkpoint, then what a reader wants to see. The last report of a run that ends between two is no
    // part of it.
    watch.checkpoint(&trainer)?;
    if trainer.progress().has_pending() {
        let (report, best) = trainer.report()?;
        watch.save_report(&trainer, &report, best)?;
        watch.show_report(&report)?;
    }
    if !trainer.history().is_empty() {
        watch.traces.draw(&watch.folder)?;
    }
    let speed = (trainer.progress().tokens - before) as f64 / seconds;
    finish(&trainer, &watch, reason, data.best_loss, speed, seconds)?;
    Ok(done(reason))
}

/// A rank of a run that another writes down: it stops where that one does, and takes part in what that one saves.
fn follow<T: Scalar>(
    mut trainer: Trainer<T>,
    checkpoints: Checkpoints,
    interrupt: Interrupt,
) -> Result<Done> {
    struct Follower(Checkpoints, Interrupt);

    impl<T: Scalar> Observer<T> for Follower {
        fn step(&mut self, run: &Trainer<T>, step: &StepReport) -> bptt::Result<Control> {
            self.0.step(run, step)?;
            Ok(self.1.control())
        }

        fn report(&mut self, run: &Trainer<T>, report: &Report, best: bool) -> bptt::Result<()> {
            self.0.report(run, report, best)
        }
    }

    let mut follower = Follower(checkpoints, interrupt);
    let reason = trainer.run(&mut follower)?;
    follower.0.write(&trainer)?;
    if trainer.progress().has_pending() {
        trainer.report()?;
    }
    Ok(done(reason))
}

fn done(reason: StopReason) -> Done {
    match reason {
        StopReason::Finished | StopReason::NoImprovement => Done::Finished,
        StopReason::Interrupted => Done::Interrupted,
        StopReason::Diverged => Done::Failed,
    }
}

/// Brings the trainer to where the run in `folder` was left, and the folder's other files to the same moment. Who has no
/// folder gets all of it from the process that has.
///
/// Nothing is changed there before all of it is known to fit.
fn restore<T: Scalar>(
    trainer: &mut Trainer<T>,
    folder: Option<&mut RunFolder>,
    checkpoints: &Checkpoints,
    config: &Config,
    world: &World,
) -> Result<()> {
    let path = checkpoints.last();
    let file = match folder {
        Some(_) if path.exists() => bptt::file::read(&path, u64::MAX)?,
        _ => Vec::new(),
    };
    let file = world.share_bytes(file);
    // A run that was stopped before its first checkpoint begins again.
    if file.is_empty() {
        return folder.map_or(Ok(()), |folder| folder.cut_history(0));
    }
    let (checkpoint, of) = Checkpoint::<T>::from_bytes(&path, &file)?;
    if !config.settings.is_run_of(&of.config) {
        bail!(
            "{} is a checkpoint of another run: its settings are not those of config.json",
            path.display()
        );
    }
    let reports = checkpoint.progress.reports;
    let history = folder.as_ref().map(|folder| folder.history(reports));
    let (history, bytes) = world.share(history.transpose()?)?;
    trainer.restore(checkpoint, history)?;
    let Some(folder) = folder else {
        return Ok(());
    };
    folder.cut_history(bytes)?;
    if trainer.progress().reports > 0 {
        checkpoints.write_model(trainer.best())?;
    }
    Ok(())
}

/// What a run folder is called after: its data.
fn run_name(args: &TrainArgs) -> String {
    let stem = |path: &std::path::PathBuf| {
        let path = fs_err::canonicalize(path).ok()?;
        Some(path.file_stem()?.to_string_lossy().into_owned())
    };
    match args.data.first() {
        None => "reber".into(),
        Some(path) => stem(path).unwrap_or_else(|| "run".into()),
    }
}

fn announce<T: Scalar>(
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
        "{} hidden units, {} parameters, {} on {} of {}{} threads, {}",
        dims.n_h,
        group(dims.len() as u64),
        T::NAME,
        plural(engine.shards(), "shard"),
        match engine.ranks() {
            1 => String::new(),
            ranks => format!("{ranks} ranks of "),
        },
        engine.threads(),
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

pub fn plural(n: usize, word: &str) -> String {
    format!("{n} {word}{}", if n == 1 { "" } else { "s" })
}

/// Shows and saves a run as it goes.
struct Watch {
    folder: RunFolder,
    checkpoints: Checkpoints,
    events: Option<TensorBoard>,
    output: Output,
    bar: ProgressBar,
    interrupt: Interrupt,
    traces: Traces,
    /// When the plot was last drawn.
    drawn: Option<Instant>,
    /// When the bar was last brought up to date, and what has come since.
    shown: Instant,
    tokens: u64,
    loss: f64,
}

/// From one plot to the next at least: drawing it takes longer than many a small step.
const DRAWING: Duration = Duration::from_secs(5);

/// From one look of the bar to the next.
const LOOK: Duration = Duration::from_millis(200);

/// How much of the smoothed loss is the newest step's.
const NEWEST: f64 = 0.02;

impl Watch {
    fn checkpoint<T: Scalar>(&mut self, run: &Trainer<T>) -> Result<()> {
        self.folder.check_ours()?;
        // The history first: a checkpoint never knows of lines that are not on the disk.
        self.folder.sync_history()?;
        if !self.checkpoints.write(run)? {
            self.bar.suspend(|| {
                self.output
                    .remark("no checkpoint: the weights are no longer finite numbers");
            });
        }
        Ok(())
    }

    /// What a reader of the folder wants to see.
    fn save_report<T: Scalar>(
        &mut self,
        run: &Trainer<T>,
        report: &Report,
        best: bool,
    ) -> Result<()> {
        self.folder.check_ours()?;
        self.folder.append(report)?;
        if let Some(events) = &mut self.events {
            events.write(report)?;
        }
        if best {
            self.checkpoints.write_model(run.best())?;
        }
        self.traces.push(report);
        if self.drawn.is_none_or(|drawn| drawn.elapsed() >= DRAWING) {
            self.traces.draw(&self.folder)?;
            self.drawn = Some(Instant::now());
        }
        Ok(())
    }

    fn show_report(&self, report: &Report) -> Result<()> {
        self.output.event("report", report)?;
        if self.output.plain_progress() {
            let valid = report
                .valid_loss
                .map_or(String::new(), |loss| format!("  valid {loss:.4}"));
            self.output.remark(format_args!(
                "step {:>7}  epoch {:.2}  train {:.4}{valid}  lr {:.2e}  {} tokens/s",
                group(report.step),
                report.epoch,
                report.train_loss,
                report.lr,
                si(report.tokens_per_second)
            ));
        }
        Ok(())
    }
}

impl<T: Scalar> Observer<T> for Watch {
    fn step(&mut self, run: &Trainer<T>, step: &StepReport) -> bptt::Result<Control> {
        self.tokens += step.tokens;
        self.loss = if self.loss.is_nan() {
            step.loss
        } else {
            self.loss + NEWEST * (step.loss - self.loss)
        };
        let since = self.shown.elapsed();
        if since >= LOOK {
            let valid = run.history().last().and_then(|report| report.valid_loss);
            let valid = valid.map_or(String::new(), |loss| format!(" valid {loss:.3}"));
            let speed = self.tokens as f64 / since.as_secs_f64();
            self.bar.set_position(step.step);
            self.bar.set_message(format!(
                "epoch {:.1} loss {:.3}{valid} {} tokens/s",
                step.epoch,
                self.loss,
                si(speed)
            ));
            (self.shown, self.tokens) = (Instant::now(), 0);
        }
        if self.checkpoints.after(step.step) {
            self.checkpoint(run).map_err(into_library)?;
        }
        Ok(self.interrupt.control())
    }

    fn report(&mut self, run: &Trainer<T>, report: &Report, best: bool) -> bptt::Result<()> {
        self.save_report(run, report, best).map_err(into_library)?;
        if self.checkpoints.at_reports() {
            self.checkpoint(run).map_err(into_library)?;
        }
        // Last, so that what is shown is saved.
        self.show_report(report).map_err(into_library)
    }

    fn diverged(&mut self, run: &Trainer<T>, what: &Error) -> bptt::Result<()> {
        let progress = run.progress();
        let text = format!(
            "{what}; back at step {}, from now on with {} of the learning rate",
            group(progress.step),
            progress.lr_factor
        );
        self.bar.suspend(|| self.output.remark(text));
        Ok(())
    }
}

/// Observers return the library's error.
fn into_library(error: anyhow::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(error) => match error.downcast::<std::io::Error>() {
            Ok(error) => error.into(),
            Err(error) => std::io::Error::other(format!("{error:#}")).into(),
        },
    }
}

/// The losses of all reports, as far as a picture can show them.
#[derive(Default)]
struct Traces {
    train: Trace,
    valid: Trace,
}

impl Traces {
    fn push(&mut self, report: &Report) {
        let step = report.step as f64;
        self.train.push(step, report.train_loss);
        if let Some(loss) = report.valid_loss {
            self.valid.push(step, loss);
        }
    }

    fn draw(&self, folder: &RunFolder) -> Result<()> {
        let (train, valid) = (self.train.points(), self.valid.points());
        let mut curves = vec![Curve {
            name: "training",
            points: &train,
        }];
        if !valid.is_empty() {
            curves.push(Curve {
                name: "validation",
                points: &valid,
            });
        }
        let name = folder.path().file_name().unwrap_or_default();
        let labels = Labels {
            title: &name.to_string_lossy(),
            x: "updates",
            y: "loss (nats per token)",
        };
        Ok(plot::draw(&folder.plot(), labels, &curves)?)
    }
}

fn finish<T: Scalar>(
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

/// `812345` as `812k`.
pub fn si(x: f64) -> String {
    match x {
        x if x >= 1e7 => format!("{:.0}M", x / 1e6),
        x if x >= 1e6 => format!("{:.1}M", x / 1e6),
        x if x >= 1e4 => format!("{:.0}k", x / 1e3),
        x if x >= 1e3 => format!("{:.1}k", x / 1e3),
        x => format!("{x:.0}"),
    }
}

/// Reads the model that `bptt train` or PyTorch left, and runs `$work` in its precision.
macro_rules! with_model {
    ($path:expr, |$model:ident| $work:expr) => {{
        let path = $crate::cli::run_folder::model_path($path);
        $crate::cli::memory::check_model(&path)?;
        if bptt::model::precision(&path)? == "f64" {
            let $model = bptt::model::Model::<f64>::read(&path)?;
            $work
        } else {
            let $model = bptt::model::Model::<f32>::read(&path)?;
            $work
        }
    }};
}
pub(super) use with_model;
