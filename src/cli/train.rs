//! `bptt train`.

use super::args::{Dtype, TrainArgs};
use super::dataset::Dataset;
use super::interrupt::Interrupt;
use super::memory::{self, WindowSize};
use super::messages;
use super::output::Output;
use super::processes::Processes;
use super::progress::{Traces, Watch};
use super::run_folder::{RunFolder, check_free};
use super::settings::Config;
use super::{Done, is_broken_pipe};
use anyhow::{Result, bail};
use bptt::model::About;
use bptt::train::tensorboard::TensorBoard;
use bptt::train::{Checkpoint, Checkpoints, StopReason, Trainer};
use bptt::{Dims, EngineOptions, Rnn, Scalar};
use std::time::Instant;

pub fn run(args: &TrainArgs, output: Output, processes: &Processes) -> Result<Done> {
    processes.warn(output);
    let interrupt = Interrupt::listen()?;
    // The lock before anything is read; a new folder only when the data turns out to be good.
    let (folder, config) = match &args.resume {
        _ if !processes.leads() => (None, None),
        Some(path) => (
            Some(RunFolder::resume(path)?),
            Some(Config::resume(path, args, processes.machine())?),
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
            (None, Some(Config::new(args, processes.machine())))
        }
    };
    let mut config = processes.share(config)?;
    if !processes.leads() {
        // Its machine may have other cores.
        config.threads = args.threads.unwrap_or(processes.cores);
    }
    match config.settings.dtype {
        Dtype::F32 => train::<f32>(args, folder, config, interrupt, output, processes),
        Dtype::F64 => train::<f64>(args, folder, config, interrupt, output, processes),
    }
}

/// The run of `folder`, or a new one.
fn train<T: Scalar>(
    args: &TrainArgs,
    folder: Option<RunFolder>,
    mut config: Config,
    interrupt: Interrupt,
    output: Output,
    processes: &Processes,
) -> Result<Done> {
    // STEP 1: the data, and what it decides.
    let data = Dataset::<T>::read(&config.settings, output, processes)?;
    let settings = &mut config.settings;
    processes.agree("other data", data.digest.as_bytes())?;
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
        shards: settings.shards.min(most_rows.max(processes.size())),
        memory: settings.memory,
    };
    let weights = memory::of_weights::<T>(dims, settings.optimizer.algorithm, engine.shards);
    memory::check(
        weights,
        engine.threads.min(engine.shards),
        &format!("training {dims:?}"),
        "choose a smaller --hidden, fewer --shards, or of words a smaller --vocab-size",
    )?;
    processes.make_room(config.threads);
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
    if let Some(ranks) = processes.ranks() {
        trainer = trainer.join(ranks, config.reduction)?;
    }

    // The moments are not yet touched.
    let moments = dims.len() * settings.optimizer.algorithm.moments() * size_of::<T>();
    memory::check(
        (largest.bytes(trainer.engine())? + moments) as f64,
        trainer.engine().threads(),
        &format!("a step on {rows} sequences of {window} steps"),
        "choose a smaller --batch, --seq-len or --hidden, or of words a smaller --vocab-size",
    )?;
    if let (Some(largest), Some((rows, window))) = (valid_largest, valid_shape) {
        memory::check(
            (largest.bytes(trainer.engine())? + moments) as f64,
            trainer.engine().threads(),
            &format!("validating {rows} sequences of {window} steps"),
            "choose a smaller --hidden, of words a smaller --vocab-size, or --valid-fraction 0",
        )?;
    }

    // STEP 3: the run folder, new or as it was left.
    let mut folder = match folder {
        None if processes.leads() => {
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
        restore(
            &mut trainer,
            folder.as_mut(),
            &checkpoints,
            &config,
            processes,
        )?;
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
    messages::start(&trainer, &config, &folder, &data.summary, output)?;

    // STEP 4: train.
    let bar = output.bar(
        steps,
        "{elapsed} {wide_bar:.cyan/blue} {human_pos}/{human_len} {msg} {eta} left",
    );
    bar.set_position(trainer.progress().step);
    bar.reset_eta();
    let started = Instant::now();
    let before = trainer.progress().tokens;
    let mut watch = Watch::new(folder, checkpoints, events, output, bar, interrupt, traces);
    let reason = match trainer.run(&mut watch) {
        Ok(reason) => reason,
        Err(error) => {
            let error = error.into();
            // A file that could not be written may be one of a folder that went away meanwhile.
            watch.folder.check_ours()?;
            // Whoever read the output has gone: what was reached is kept.
            if is_broken_pipe(&error) && processes.size() == 1 {
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
    messages::finish(&trainer, &watch, reason, data.best_loss, speed, seconds)?;
    Ok(done(reason))
}

/// A rank of a run that another writes down: it stops where that one does, and takes part in what that one saves.
fn follow<T: Scalar>(
    mut trainer: Trainer<T>,
    checkpoints: Checkpoints,
    interrupt: Interrupt,
) -> Result<Done> {
    let mut observers = (checkpoints, interrupt);
    let reason = trainer.run(&mut observers)?;
    observers.0.write(&trainer)?;
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
    processes: &Processes,
) -> Result<()> {
    let path = checkpoints.last();
    let file = match folder {
        Some(_) if path.exists() => bptt::file::read(&path, u64::MAX)?,
        _ => Vec::new(),
    };
    let file = processes.share_bytes(file);
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
    let (history, bytes) = processes.share(history.transpose()?)?;
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
