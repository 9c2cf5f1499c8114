//! What a run needs is made ready: data, network, trainer and folder ([`Run`]).

use super::dataset::{Dataset, npz};
use super::memory;
use super::plan::Plan;
use super::processes::Processes;
use super::run_folder::{self, RunFolder};
use super::settings::{Config, Settings};
use super::tensorboard::EventFile;
use super::watch::Watch;
use anyhow::{Context, Result, bail};
use bptt::data::{Loader, Readers};
use bptt::init::set_forget_bias;
use bptt::internal::atomic;
use bptt::model::{About, Model};
use bptt::train::{Checkpoint, Checkpoints, Trainer, history};
use bptt::{At, EngineOptions, Network, Scalar};
use std::path::{Path, PathBuf};

/// Reports kept in memory: the last few. The others are in the history.
const REPORTS: usize = 8;

/// A run that can begin, or go on.
pub struct Run<T: Scalar> {
    pub trainer: Trainer<T>,
    pub config: Config,
    pub watch: Watch,
    /// A line about the data.
    pub summary: String,
    /// What the best possible predictor would lose on the validation data, where that is known.
    pub best_loss: Option<f64>,
}

impl<T: Scalar> Run<T> {
    pub fn prepare(mut plan: Plan, processes: &Processes) -> Result<Self> {
        // STEP 1: the data, and what it decides.
        let (mut config, output) = (plan.config, plan.output);
        let readers = Readers {
            threads: config.threads(),
            ranks: processes.ranks.as_deref(),
        };
        let model = first_model::<T>(&config.settings, plan.folder.as_ref(), processes)?;
        let about = model.as_ref().map(|model| &model.about);
        let vocabulary = about.and_then(|about| about.vocabulary.as_ref());
        let mut data = Dataset::<T>::read(&config.settings, vocabulary, output, readers);
        if let Some(missing) = config.settings.missing().filter(|_| plan.resumes) {
            data = data.context(missing);
        }
        let mut data = data?;
        processes.check_same("other data", data.digest.as_bytes())?;
        let model = model.map(|model| model.reading(data.input.is_tokens()).answering(data.head));
        if let Some(model) = &model {
            config.settings.take(model);
        }
        complete(&mut config.settings, &data, plan.resumes)?;
        let about = About {
            vocabulary: data.vocabulary.take(),
            config: serde_json::to_value(&config.settings)?,
            foreign: false,
        };
        let (summary, best_loss) = (std::mem::take(&mut data.summary), data.best_loss);

        // STEP 2: the network and its trainer.
        let network = model.map(|model| model.network);
        let mut trainer = build(&config, network, data, processes)?;

        // STEP 3: the run folder, new or as it was left.
        if plan.folder.is_none() && processes.is_root() {
            plan.interrupt.now_ask_first();
            let name = run_name(&config.settings.data);
            plan.folder = Some(RunFolder::create(plan.out.as_deref(), &name)?);
        }
        let folder = plan.folder;
        let path = folder.as_ref().map(|folder| folder.path.clone());
        let checkpoints = Checkpoints {
            every: config.checkpoint_every,
            ..Checkpoints::new(path.unwrap_or_default(), about)
        };
        if plan.resumes {
            let (settings, folder) = (&config.settings, folder.as_ref());
            restore(&mut trainer, folder, &checkpoints, settings, processes)?;
            trainer.go_on_with(plan.changes);
        }
        plan.interrupt.now_ask_first();
        let steps = (trainer.progress().step, trainer.options().steps);
        let mut watch = Watch::new(checkpoints, plan.interrupt, output, steps);
        if let Some(folder) = folder {
            folder.write_config(&config)?;
            if config.tensorboard {
                watch.events = Some(EventFile::open(&folder.path, trainer.history())?);
            }
            watch.folder = Some(folder);
        }
        trainer.keep_reports(REPORTS);
        Ok(Run {
            trainer,
            config,
            watch,
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
    settings.valid_fraction = data.valid_fraction;
    settings.seq_len.get_or_insert(data.train.shape().1);
    settings.loss.get_or_insert(data.head.loss);
    settings.at.get_or_insert(data.head.at);
    Ok(())
}

/// The model that the run begins with, or that it has come to since, on all processes.
fn first_model<T: Scalar>(
    settings: &Settings,
    folder: Option<&RunFolder>,
    processes: &Processes,
) -> Result<Option<Model<T>>> {
    let Some(from) = &settings.from else {
        return Ok(None);
    };
    let own = folder.map(|folder| folder.path.join(run_folder::MODEL));
    let path = own.filter(|own| own.is_file());
    let path = path.as_ref().unwrap_or(from);
    let bytes = match processes.is_root() {
        true => atomic::read(&super::model::file(path).context("--from")?, u64::MAX)?,
        false => Vec::new(),
    };
    let bytes = processes.broadcast_bytes(bytes);
    let model = Model::from_bytes(path, &bytes).context("--from")?;
    if npz(&settings.data)?.is_none() && model.about.vocabulary.is_none() {
        let path = path.display();
        bail!("--from: {path} is no model of text: give it one .npz");
    }
    Ok(Some(model))
}

/// The trainer of a network, new or given, if this machine has the memory for it.
fn build<T: Scalar>(
    config: &Config,
    given: Option<Network<T>>,
    mut data: Dataset<T>,
    processes: &Processes,
) -> Result<Trainer<T>> {
    let settings = &config.settings;
    let architecture = match &given {
        Some(network) => network.architecture(),
        None => settings.architecture(data.input, data.head)?,
    };
    for loader in [&mut data.train].into_iter().chain(&mut data.valid) {
        match loader.suit(&architecture) {
            Err(error @ bptt::Error::Option { .. }) => return Err(error.into()),
            suits => suits.with_context(|| {
                let head = architecture.head;
                let at = ["every", "last"][usize::from(head.at == At::Last)];
                format!("--loss {} --at {at}", head.loss.name())
            })?,
        }
    }
    // More shards than sequences would stay empty: the result is the same without them.
    let loaders = [Some(&data.train), data.valid.as_ref()];
    let rows = loaders.into_iter().flatten().map(Loader::streams);
    let most_shards = rows.fold(processes.size(), usize::max);
    let engine = EngineOptions {
        threads: config.threads(),
        shards: settings.shards.unwrap_or(1).min(most_shards),
        memory: settings.memory,
    };
    memory::check_weights::<T>(
        &architecture,
        settings.optimizer,
        engine,
        "choose a smaller --hidden or --embedding, fewer --layers or --shards, or of words a smaller --vocab-size",
    )?;
    let windows = loaders.map(|loader| loader.map(memory::window));
    processes.make_room(engine.threads);
    let mut network = match given {
        Some(network) => network,
        None => Network::<T>::new(architecture, settings.init, settings.seed)?,
    };
    if let Some(bias) = settings.forget_bias {
        set_forget_bias(network.parameters_mut(), bias);
    }
    let options = settings.train_options(data.train.windows_per_epoch(), engine);
    let mut trainer = Trainer::new(network, data.train, options)?;
    if let Some(valid) = data.valid {
        trainer = trainer.with_validation(valid);
    }
    if let Some(ranks) = processes.ranks.clone() {
        trainer = trainer.join(ranks, config.reduction)?;
    }
    let cure = "choose a smaller --batch, --seq-len or --hidden, of words a smaller --vocab-size, or --valid-fraction 0";
    memory::check_steps(&trainer, settings.optimizer, windows, cure)?;
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
        Some(_) if path.exists() => {
            // The file as it is, and its tensors.
            let bytes = 2.0 * atomic::metadata(&path)?.len() as f64;
            memory::check_reading(&path, bytes, "see whether it is damaged")?;
            atomic::read(&path, u64::MAX)?
        }
        _ => Vec::new(),
    };
    let file = processes.broadcast_bytes(file);
    // A run that was stopped before its first checkpoint begins again.
    if file.is_empty() {
        return folder.map_or(Ok(()), |folder| folder.begin_again(checkpoints.every));
    }
    let (checkpoint, of) = Checkpoint::<T>::from_bytes(&path, &file)?;
    settings
        .check_same_run(&of.config)
        .with_context(|| format!("{} is a checkpoint of another run", path.display()))?;
    let reports = checkpoint.progress.reports;
    let history = folder.map(|folder| {
        let found = folder.history(reports)?;
        history::check_last(&found.0, &checkpoint.progress)
            .with_context(|| format!("{} does not fit", path.display()))?;
        anyhow::Ok(found)
    });
    let (history, bytes) = processes.broadcast(history.transpose()?)?;
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
