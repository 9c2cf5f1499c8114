//! What a run needs is made ready: data, network, trainer and folder ([`Prepared`]).

use super::dataset::Dataset;
use super::interrupt::Interrupt;
use super::journal::Journal;
use super::memory::{self, WindowSize};
use super::output::Output;
use super::plan::Plan;
use super::plot::LossPlot;
use super::processes::Processes;
use super::run_folder::RunFolder;
use super::settings::{Config, Settings};
use anyhow::{Context, Result, bail};
use bptt::data::Loader;
use bptt::model::About;
use bptt::train::tensorboard::TensorBoard;
use bptt::train::{Checkpoint, Checkpoints, TrainOptions, Trainer};
use bptt::{Architecture, EngineOptions, Network, Scalar};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// A run that can begin, or go on.
pub struct Prepared<T: Scalar> {
    pub trainer: Trainer<T>,
    pub config: Config,
    /// On the process that writes the run down, and so are its events and its plot.
    pub journal: Option<Journal>,
    pub events: Option<TensorBoard>,
    pub checkpoints: Checkpoints,
    pub plot: Option<LossPlot>,
    pub interrupt: Interrupt,
    pub output: Output,
    /// A line about the data.
    pub summary: String,
    /// What the best possible predictor would lose on the validation data, where that is known.
    pub best_loss: Option<f64>,
}

impl<T: Scalar> Prepared<T> {
    pub fn new(plan: Plan, processes: &Processes) -> Result<Self> {
        let Plan {
            mut config,
            resumes,
            folder,
            out,
            interrupt,
            output,
        } = plan;
        // STEP 1: the data, and what it decides.
        let ranks = processes.several();
        let mut data = Dataset::<T>::read(&config.settings, output, ranks.as_deref())?;
        processes.agree("other data", data.digest.as_bytes())?;
        complete(&mut config.settings, &data, resumes)?;
        let about = About {
            vocabulary: data.vocabulary.take(),
            config: serde_json::to_value(&config.settings)?,
            foreign: false,
        };
        let (summary, best_loss) = (std::mem::take(&mut data.summary), data.best_loss);

        // STEP 2: the network and its trainer.
        let mut trainer = build(&config, data, processes)?;

        // STEP 3: the run folder, new or as it was left.
        let folder = match folder {
            None if processes.leads() => {
                interrupt.now_ask_first();
                let name = run_name(&config.settings.data);
                Some(RunFolder::create(out.as_deref(), &name)?)
            }
            folder => folder,
        };
        let path = folder.as_ref().map(|folder| folder.path.clone());
        let mut checkpoints = Checkpoints::new(path.unwrap_or_default(), about);
        if let Some(steps) = config.checkpoint_every {
            checkpoints = checkpoints.every(steps);
        }
        if resumes {
            let settings = &config.settings;
            restore(
                &mut trainer,
                folder.as_ref(),
                &checkpoints,
                settings,
                processes,
            )?;
        }
        interrupt.now_ask_first();
        let (mut journal, mut events, mut plot) = (None, None, None);
        if let Some(folder) = folder.map(Rc::new) {
            folder.write_config(&config)?;
            if config.tensorboard {
                events = Some(TensorBoard::open(&folder.path, trainer.history())?);
            }
            plot = Some(LossPlot::new(folder.clone(), trainer.history()));
            let checkpoint_every = config.checkpoint_every;
            journal = Some(Journal {
                folder,
                checkpoint_every,
            });
        }
        // The others are in the history's file and in the plot.
        trainer.keep_reports(1);
        Ok(Prepared {
            trainer,
            config,
            journal,
            events,
            checkpoints,
            plot,
            interrupt,
            output,
            summary,
            best_loss,
        })
    }
}

/// Fills in what follows from the data, which must be that of the run if it has begun before.
fn complete<T: Scalar>(settings: &mut Settings, data: &Dataset<T>, resumes: bool) -> Result<()> {
    if resumes && settings.digest != data.digest {
        bail!(
            "the data is not what the run was started with ({:?}, fingerprint {} instead of {}): give the same DATA, or \
             start another run",
            settings.data,
            data.digest,
            settings.digest
        );
    }
    settings.digest.clone_from(&data.digest);
    settings.report_every.get_or_insert(data.report_every);
    settings.valid_fraction = Some(data.valid_fraction);
    settings.seq_len.get_or_insert(data.train.shape().1);
    Ok(())
}

/// The trainer of a new network, if this machine has the memory for it.
fn build<T: Scalar>(
    config: &Config,
    data: Dataset<T>,
    processes: &Processes,
) -> Result<Trainer<T>> {
    let settings = &config.settings;
    let algorithm = settings.optimizer.algorithm;
    let architecture = Architecture {
        cell: settings.cell,
        layers: settings.layers,
        ..Architecture::new(data.input, settings.hidden, data.head)
    };
    architecture.check()?;
    // More shards than sequences would stay empty: the result is the same without them.
    let loaders = || {
        [Some(&data.train), data.valid.as_ref()]
            .into_iter()
            .flatten()
    };
    let most_rows = loaders().map(|loader| loader.shape().0).max();
    let most_shards = most_rows.unwrap_or(1).max(processes.size());
    let engine = EngineOptions {
        threads: config.threads,
        shards: settings.shards.min(most_shards),
        memory: settings.memory,
    };
    memory::check(
        memory::of_weights::<T>(&architecture, algorithm, engine.shards),
        engine.threads.min(engine.shards),
        &format!("training {architecture}"),
        "choose a smaller --hidden, fewer --layers or --shards, or of words a smaller --vocab-size",
    )?;
    let window = |loader: &Loader<T>| (WindowSize::of(loader), loader.shape());
    let windows = loaders().map(window).collect::<Vec<_>>();
    processes.make_room(config.threads);
    let network = Network::<T>::new(architecture, settings.init, settings.seed)?;
    let options = TrainOptions {
        engine,
        ..settings.train_options(data.train.windows_per_epoch())
    };
    let mut trainer = Trainer::new(network, data.train, options)?;
    if let Some(valid) = data.valid {
        trainer = trainer.with_validation(valid);
    }
    if let Some(ranks) = processes.ranks() {
        trainer = trainer.join(ranks, config.reduction)?;
    }
    // The optimiser's moments are not yet touched, so they come on top of what is taken already.
    let moments = architecture.len() * algorithm.moments() * size_of::<T>();
    let cures = [
        (
            "a step on",
            "choose a smaller --batch, --seq-len or --hidden, or of words a smaller --vocab-size",
        ),
        (
            "validating",
            "choose a smaller --hidden, of words a smaller --vocab-size, or --valid-fraction 0",
        ),
    ];
    for ((largest, (rows, steps)), (what, cure)) in windows.iter().zip(cures) {
        memory::check(
            (largest.bytes(trainer.engine())? + moments) as f64,
            trainer.engine().threads(),
            &format!("{what} {rows} sequences of {steps} steps"),
            cure,
        )?;
    }
    Ok(trainer)
}

/// Brings the trainer to where the run in `folder` was left, and the folder's other files to the same moment. A process
/// without a folder gets all of it from the one that has it.
///
/// Nothing is changed in the folder before all of it is known to fit.
fn restore<T: Scalar>(
    trainer: &mut Trainer<T>,
    folder: Option<&RunFolder>,
    checkpoints: &Checkpoints,
    settings: &Settings,
    processes: &Processes,
) -> Result<()> {
    let path = checkpoints.last();
    let file = match folder {
        Some(_) if path.exists() => bptt::internal::atomic::read(&path, u64::MAX)?,
        _ => Vec::new(),
    };
    let file = processes.share_bytes(file);
    // A run that was stopped before its first checkpoint begins again.
    if file.is_empty() {
        return folder.map_or(Ok(()), |folder| folder.cut_history(0));
    }
    let (checkpoint, of) = Checkpoint::<T>::from_bytes(&path, &file)?;
    settings
        .check_same_run(&of.config)
        .with_context(|| format!("{} is a checkpoint of another run", path.display()))?;
    let reports = checkpoint.progress.reports;
    let history = folder.map(|folder| folder.history(reports));
    let (history, bytes) = processes.share(history.transpose()?)?;
    trainer.restore(checkpoint, history)?;
    if let Some(folder) = folder {
        folder.cut_history(bytes)?;
        if trainer.progress().reports > 0 {
            checkpoints.write_model(trainer.best())?;
        }
    }
    Ok(())
}

/// What a run folder is called after: its data.
fn run_name(data: &[PathBuf]) -> String {
    let stem = |path: &Path| {
        let path = fs_err::canonicalize(path).ok()?;
        Some(path.file_stem()?.to_string_lossy().into_owned())
    };
    match data.first() {
        None => "reber".into(),
        Some(path) => stem(path).unwrap_or_else(|| "run".into()),
    }
}
