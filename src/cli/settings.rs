//! Every setting of a training run, resolved: `config.json`.
//!
//! [`Settings`] are all that the result depends on, and go into the model file as well; [`Config`] adds what only this
//! machine needs to know. Both are put together from the rows of [`FLAGS`]. A resumed run takes its settings from the folder:
//! what is given again must be the same, or be one that may differ.

use super::args::Dtype;
use super::flags::{FLAGS, Given, Known, OnResume};
use super::processes::Machine;
use super::run_folder::RunFiles;
use anyhow::{Context, Error, Result, bail};
use bptt::data::TokenKind;
use bptt::dropout::Dropout;
use bptt::optim::OptimizerOptions;
use bptt::ranks::Reduction;
use bptt::train::{Schedule, TrainOptions};
use bptt::{Cell, EngineOptions, Init};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The longest `config.json` that is read: thousands of paths fit in.
const LONGEST_CONFIG: u64 = 1 << 24;

/// What the result depends on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Settings {
    pub data: Vec<PathBuf>,
    /// A fingerprint of the content of `data` and `valid`.
    pub digest: String,
    pub tokens: TokenKind,
    pub min_count: u64,
    pub vocab_size: Option<usize>,
    pub valid: Vec<PathBuf>,
    /// Follows from the data where it is not given, as do `seq_len` and `report_every`.
    pub valid_fraction: Option<f64>,
    pub batch: usize,
    pub seq_len: Option<usize>,
    pub reset_state: bool,
    pub cell: Cell,
    pub hidden: usize,
    pub layers: usize,
    pub init: Init,
    pub dtype: Dtype,
    pub steps: Option<u64>,
    pub epochs: Option<u64>,
    pub optimizer: OptimizerOptions,
    pub lr: f64,
    pub schedule: Schedule,
    pub warmup: u64,
    pub dropout: Dropout,
    /// The most bytes of the engine's scratch.
    pub memory: Option<usize>,
    pub patience: u32,
    pub seed: u64,
    /// The shards of all ranks together.
    pub shards: usize,
    pub report_every: Option<u64>,
}

/// Every setting of a run, with what only this machine needs to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Config {
    pub version: String,
    #[serde(flatten)]
    pub settings: Settings,
    /// The threads of each rank.
    pub threads: usize,
    /// In which order several ranks add their gradients.
    pub reduction: Reduction,
    pub checkpoint_every: Option<u64>,
    pub tensorboard: bool,
    /// The OpenBLAS that computed, and the kernels it chose: on others the last bits differ.
    pub blas: String,
    /// The vector instructions of our own kernels, likewise.
    pub simd: String,
}

impl Config {
    /// From the command line and the defaults; `digest`, `valid_fraction`, `seq_len` and `report_every` are filled in when
    /// the data is known.
    pub fn new(given: &Given, machine: Machine) -> Result<Self> {
        let known = Known { given, machine };
        let machine_in_use = bptt::machine();
        let mut config = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "digest": "",
            "blas": machine_in_use.blas,
            "simd": machine_in_use.simd,
            // These have no flags of their own; what has one is put over them.
            "optimizer": OptimizerOptions::default(),
            "dropout": { "seed": known.get("seed") },
        });
        for flag in FLAGS {
            put(&mut config, flag.field, known.get(flag.name));
        }
        let mut config: Config = serde_json::from_value(config)?;
        // A flag gives the shards of each process, the run has those of all.
        let shards = &mut config.settings.shards;
        *shards = shards.saturating_mul(machine.ranks);
        Ok(config)
    }

    /// From the content of a `config.json`, whoever wrote it.
    pub fn parse(text: &[u8]) -> Result<Self> {
        let json: Value = serde_json::from_slice(text)?;
        let machine = Machine { cores: 1, ranks: 1 };
        let ours = serde_json::to_value(Config::new(&Given::new(), machine)?)?;
        check_fields(&json, &ours)?;
        for flag in FLAGS {
            flag.check(at(&json, flag.field)).map_err(Error::msg)?;
        }
        let config: Config = serde_json::from_value(json)?;
        if config.settings.steps.or(config.settings.epochs).is_none() {
            bail!("neither `steps` nor `epochs` is given, expected a length of the run");
        }
        // What has no flag. It is an error of the file, not of the command line.
        let optimizer = config.settings.optimizer.check();
        optimizer.map_err(|error| Error::msg(error.to_string()))?;
        Ok(config)
    }

    /// The settings of the run in `folder`, with what the command line may change.
    pub fn resume(folder: &Path, given: &Given, machine: Machine) -> Result<Self> {
        let path = RunFiles::of(folder).config;
        let text = bptt::internal::atomic::read(&path, LONGEST_CONFIG)?;
        let config = Config::parse(&text)
            .with_context(|| format!("{} is not the configuration of a run", path.display()))?;
        let fresh = Config::new(given, machine)?;
        let (mut json, new) = (
            serde_json::to_value(&config)?,
            serde_json::to_value(&fresh)?,
        );
        for flag in FLAGS.iter().filter(|flag| given.contains_key(flag.name)) {
            let (old, new) = (at(&json, flag.field), at(&new, flag.field));
            match flag.on_resume {
                OnResume::Same if old != new => bail!(
                    "--{} {new} differs from the run in {}, which has {old}: leave it out to go on, or start another run",
                    flag.name,
                    folder.display()
                ),
                OnResume::Longer if new.as_u64() < old.as_u64() => bail!(
                    "--{} {new}: the run already has {old}; more is possible, less is not",
                    flag.name
                ),
                _ => put(&mut json, flag.field, new.clone()),
            }
        }
        let mut config: Config = serde_json::from_value(json)?;
        // A part of the shards for each rank.
        config.settings.shards = config.settings.shards.max(machine.ranks);
        if machine.ranks > 1 {
            config.threads = fresh.threads;
        }
        (config.blas, config.simd) = (fresh.blas, fresh.simd);
        Ok(config)
    }
}

/// The place of a setting in a `config.json`, null where there is none.
fn at<'a>(json: &'a Value, field: &str) -> &'a Value {
    field.split('.').fold(json, |json, name| &json[name])
}

fn put(json: &mut Value, field: &str, value: Value) {
    *field.split('.').fold(json, |json, name| &mut json[name]) = value;
}

/// The values of a JSON object by their names, those of objects in it as `dropout.seed`.
pub fn flatten(json: &Value) -> BTreeMap<String, &Value> {
    let Value::Object(fields) = json else {
        return BTreeMap::from([(String::new(), json)]);
    };
    let mut flat = BTreeMap::new();
    for (name, value) in fields {
        for (inner, value) in flatten(value) {
            let dot = if inner.is_empty() { "" } else { "." };
            flat.insert(format!("{name}{dot}{inner}"), value);
        }
    }
    flat
}

/// Refuses settings that are not those of this version, no more and no fewer.
fn check_fields(theirs: &Value, ours: &Value) -> Result<()> {
    let (theirs, ours) = (flatten(theirs), flatten(ours));
    let unknown = theirs.keys().find(|name| !ours.contains_key(*name));
    let missing = ours.keys().find(|name| !theirs.contains_key(*name));
    let wrong = match (unknown, missing) {
        (Some(name), _) => format!("`{name}` is no setting of a run"),
        (None, Some(name)) => format!("`{name}` is missing"),
        (None, None) => return Ok(()),
    };
    bail!(
        "{wrong}: it was written by another version of bptt than this, {}; go on with that version, or start another run",
        env!("CARGO_PKG_VERSION")
    )
}

impl Settings {
    /// Refuses the settings of a checkpoint that is not of this run: whatever is not to be changed when a run goes on must
    /// be equal.
    pub fn check_same_run(&self, theirs: &Value) -> Result<()> {
        let ours = serde_json::to_value(self)?;
        check_fields(theirs, &ours)?;
        let (ours, theirs) = (flatten(&ours), flatten(theirs));
        let may_differ = |name: &str| {
            let flag = FLAGS.iter().find(|flag| flag.field == name);
            // There are more shards where more ranks went on than there were.
            name == "shards" || flag.is_some_and(|flag| flag.on_resume != OnResume::Same)
        };
        for (name, value) in &ours {
            if theirs[name] != *value && !may_differ(name) {
                bail!(
                    "its `{name}` is {}, that of config.json is {value}",
                    theirs[name]
                );
            }
        }
        Ok(())
    }

    /// How the trainer is to train, on data of so many windows an epoch.
    pub fn train_options(&self, windows_per_epoch: u64) -> TrainOptions {
        let epochs = self.epochs.map(|n| n.saturating_mul(windows_per_epoch));
        let bounds = [self.steps, epochs].into_iter().flatten();
        TrainOptions {
            steps: bounds.min().unwrap_or(0),
            lr: self.lr,
            schedule: self.schedule,
            warmup: self.warmup,
            optimizer: self.optimizer,
            engine: EngineOptions::default(),
            dropout: self.dropout,
            report_every: self.report_every.unwrap_or(1),
            patience: self.patience,
            reset_state: self.reset_state,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::args::{Cli, Command};
    use super::*;
    use clap::{CommandFactory, Parser};

    const MACHINE: Machine = Machine { cores: 3, ranks: 2 };

    fn config(flags: &str) -> Config {
        let words = ["bptt", "train"].into_iter().chain(flags.split(' '));
        match Cli::parse_from(words).command {
            Command::Train(args) => Config::new(&args.settings.given, MACHINE).unwrap(),
            _ => unreachable!(),
        }
    }

    fn json(flags: &str) -> Value {
        serde_json::to_value(config(flags)).unwrap()
    }

    /// Each row has its place in the settings, and each default and name is one that serde takes.
    #[test]
    fn flags_and_settings_fit_each_other() {
        Cli::command().debug_assert();
        let defaults = json("a.txt");
        for flag in FLAGS {
            assert!(
                flatten(&defaults).contains_key(flag.field),
                "{}",
                flag.field
            );
            for name in flag.names() {
                let flags = format!("a.txt --{} {name}", flag.name);
                assert_eq!(at(&json(&flags), flag.field), name);
            }
        }
        let text = defaults.to_string();
        let config = Config::parse(text.as_bytes()).unwrap();
        assert_eq!(serde_json::to_value(config).unwrap(), defaults);
    }

    #[test]
    fn what_is_given_stands_where_it_belongs() {
        let config = json(
            "a.txt b.txt --optimizer adamw --clip-norm 3 --memory 1.5k --shards 4 --reset-state",
        );
        for (field, value) in [
            ("data", json!(["a.txt", "b.txt"])),
            ("lr", json!(0.002)),
            ("optimizer.weight_decay", json!(0.01)),
            ("optimizer.clip.norm", json!(3.0)),
            ("optimizer.clip.value", Value::Null),
            ("memory", json!(1536)),
            ("shards", json!(8)),
            ("threads", json!(3)),
            ("reset_state", json!(true)),
            ("steps", json!(20_000)),
        ] {
            assert_eq!(*at(&config, field), value, "{field}");
        }
        let epochs = json("a.txt --epochs 3 --schedule cosine --seed 5");
        assert_eq!(
            (&epochs["steps"], &epochs["epochs"]),
            (&Value::Null, &json!(3))
        );
        assert_eq!(
            (&epochs["warmup"], &epochs["dropout"]["seed"]),
            (&json!(100), &json!(5))
        );
    }

    #[test]
    fn a_checkpoint_is_of_a_run_with_its_settings() {
        let settings = |flags: &str| config(flags).settings;
        let run = settings("a.txt --epochs 2");
        let of = |flags: &str| serde_json::to_value(settings(flags)).unwrap();
        for same in [
            "a.txt --epochs 2",
            "b.txt --epochs 9 --steps 5",
            "--epochs 2 --shards 1",
        ] {
            run.check_same_run(&of(same)).unwrap();
        }
        let wrong = |theirs: &Value| run.check_same_run(theirs).unwrap_err().to_string();
        for (other, field) in [
            ("--vocab-size 64", "vocab_size"),
            ("--clip-value 1", "optimizer.clip.value"),
        ] {
            let error = wrong(&of(other));
            assert!(error.contains(&format!("`{field}`")), "{error}");
        }
        // A field more or less is another version's.
        let mut theirs = of("a.txt");
        theirs["cells"] = json!("lstm");
        assert!(wrong(&theirs).contains("`cells` is no setting"));
        let mut theirs = of("a.txt");
        theirs["optimizer"].as_object_mut().unwrap().remove("beta2");
        assert!(wrong(&theirs).contains("`optimizer.beta2` is missing"));
        assert!(wrong(&Value::Null).contains("another version"));
    }
}
