//! Every setting of a training run, resolved: `config.json`.
//!
//! [`Settings`] are all that the result depends on, and go into the model file as well; [`Config`] adds what only this
//! machine needs to know. A resumed run takes its settings from the folder: what is given again must be the same, or be
//! one that may differ.

use super::args::{Dtype, TrainArgs};
use super::processes::Machine;
use anyhow::{Context, Result, bail};
use bptt::Init;
use bptt::data::TokenKind;
use bptt::dropout::Dropout;
use bptt::optim::{Algorithm, Clip, OptimizerOptions};
use bptt::ranks::Reduction;
use bptt::simd;
use bptt::train::{Schedule, TrainOptions};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Updates of a run that nobody gave a length.
const STEPS: u64 = 20_000;

/// The longest `config.json` that is read: thousands of paths fit in.
const LONGEST_CONFIG: u64 = 1 << 24;

/// What the result depends on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    pub data: Vec<PathBuf>,
    /// A fingerprint of the data's content.
    pub digest: String,
    pub tokens: TokenKind,
    pub min_count: u64,
    pub vocab_size: Option<usize>,
    pub valid: Vec<PathBuf>,
    /// Found from the data where it is not given.
    pub valid_fraction: Option<f64>,
    pub batch: usize,
    /// Found from the data where it is not given.
    pub seq_len: Option<usize>,
    pub reset_state: bool,
    pub hidden: usize,
    pub init: Init,
    pub dtype: Dtype,
    pub steps: Option<u64>,
    pub epochs: Option<u64>,
    pub optimizer: OptimizerOptions,
    pub lr: f64,
    pub schedule: Schedule,
    pub warmup: u64,
    pub clip: Clip,
    pub dropout: Dropout,
    /// Of the engine's scratch, in bytes.
    pub memory: Option<usize>,
    pub patience: u32,
    pub seed: u64,
    /// Of all ranks together.
    pub shards: usize,
    /// Found from the data where it is not given.
    pub report_every: u64,
}

/// All there is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    pub version: String,
    #[serde(flatten)]
    pub settings: Settings,
    /// Of each rank.
    pub threads: usize,
    /// In which order several ranks add their gradients.
    #[serde(default)]
    pub reduction: Reduction,
    pub checkpoint_every: Option<u64>,
    #[serde(default)]
    pub tensorboard: bool,
    /// The OpenBLAS that computed, and the kernels it chose: on others the last bits differ.
    pub blas: String,
    /// The vector instructions of our own kernels, likewise.
    #[serde(default)]
    pub simd: String,
}

impl Config {
    /// From the command line and the defaults; `digest`, `valid_fraction`, `seq_len` and `report_every` are filled in when
    /// the data is known.
    pub fn new(args: &TrainArgs, machine: Machine) -> Self {
        let threads = args.threads.unwrap_or(machine.cores);
        let algorithm = args.optimizer.unwrap_or(Algorithm::Adam);
        let schedule = args.schedule.unwrap_or(Schedule::HalveOnPlateau);
        let (lr, decay) = match algorithm {
            Algorithm::Adam => (2e-3, 0.0),
            Algorithm::AdamW => (2e-3, 0.01),
            Algorithm::RmsProp => (1e-3, 0.0),
            Algorithm::Gd => (0.5, 0.0),
            Algorithm::Momentum | Algorithm::Nesterov => (0.05, 0.0),
        };
        let settings = Settings {
            data: args.data.clone(),
            digest: String::new(),
            tokens: args.tokens.unwrap_or(TokenKind::Char),
            min_count: args.min_count.unwrap_or(1),
            vocab_size: args.vocab_size,
            valid: args.valid.clone(),
            valid_fraction: args.valid_fraction,
            batch: args.batch.unwrap_or(32),
            seq_len: args.seq_len,
            reset_state: args.reset_state,
            hidden: args.hidden.unwrap_or(256),
            init: args.init.unwrap_or_default(),
            dtype: args.dtype.unwrap_or(Dtype::F32),
            steps: match (args.steps, args.epochs) {
                (None, None) => Some(STEPS),
                (steps, _) => steps,
            },
            epochs: args.epochs,
            optimizer: OptimizerOptions {
                algorithm,
                weight_decay: args.weight_decay.unwrap_or(decay),
                ..OptimizerOptions::default()
            },
            lr: args.lr.unwrap_or(lr),
            schedule,
            warmup: args.warmup.unwrap_or(match schedule {
                Schedule::Cosine => 100,
                _ => 0,
            }),
            clip: Clip {
                norm: Some(args.clip_norm.unwrap_or(1.0)),
                value: args.clip_value,
            },
            dropout: Dropout {
                inputs: args.input_dropout.unwrap_or(0.0),
                outputs: args.dropout.unwrap_or(0.0),
                seed: args.seed.unwrap_or(0),
            },
            memory: args.memory,
            patience: args.patience.unwrap_or(0),
            seed: args.seed.unwrap_or(0),
            shards: args.shards.unwrap_or(threads).saturating_mul(machine.ranks),
            report_every: args.report_every.unwrap_or(0),
        };
        Config {
            version: env!("CARGO_PKG_VERSION").into(),
            settings,
            threads,
            reduction: args.reduction.unwrap_or_default(),
            checkpoint_every: args.checkpoint_every,
            tensorboard: args.tensorboard,
            blas: bptt::blas::library().to_string(),
            simd: simd::name(simd::level()).into(),
        }
    }

    /// From the content of a `config.json`, whoever wrote it.
    pub fn parse(text: &[u8]) -> Result<Self> {
        let config: Config = serde_json::from_slice(text)?;
        config.settings.check()?;
        in_range("threads", config.threads as u64, u64::MAX)?;
        in_range(
            "checkpoint_every",
            config.checkpoint_every.unwrap_or(1),
            u64::MAX,
        )?;
        Ok(config)
    }

    /// The settings of the run in `folder`, with what the command line may change.
    pub fn resume(folder: &Path, args: &TrainArgs, machine: Machine) -> Result<Self> {
        let path = folder.join("config.json");
        let text = bptt::file::read(&path, LONGEST_CONFIG)?;
        let mut config = Config::parse(&text)
            .with_context(|| format!("{} is not the configuration of a run", path.display()))?;
        let given = Config::new(args, machine);
        let (old, new) = (&mut config.settings, given.settings);

        // What is part of the result must be what it was.
        macro_rules! same {
            ($($flag:literal, $given:expr, $($field:ident).+;)*) => {$(
                if $given && old.$($field).+ != new.$($field).+ {
                    bail!(
                        "{} {:?} differs from the run in {}, which has {:?}: leave it out to go on, or start another run",
                        $flag, new.$($field).+, folder.display(), old.$($field).+
                    );
                }
            )*};
        }
        same! {
            "--tokens", args.tokens.is_some(), tokens;
            "--min-count", args.min_count.is_some(), min_count;
            "--vocab-size", args.vocab_size.is_some(), vocab_size;
            "--valid", !args.valid.is_empty(), valid;
            "--valid-fraction", args.valid_fraction.is_some(), valid_fraction;
            "--batch", args.batch.is_some(), batch;
            "--seq-len", args.seq_len.is_some(), seq_len;
            "--reset-state", args.reset_state, reset_state;
            "--hidden", args.hidden.is_some(), hidden;
            "--init", args.init.is_some(), init;
            "--dtype", args.dtype.is_some(), dtype;
            "--optimizer", args.optimizer.is_some(), optimizer.algorithm;
            "--weight-decay", args.weight_decay.is_some(), optimizer.weight_decay;
            "--lr", args.lr.is_some(), lr;
            "--schedule", args.schedule.is_some(), schedule;
            "--warmup", args.warmup.is_some(), warmup;
            "--clip-norm", args.clip_norm.is_some(), clip.norm;
            "--clip-value", args.clip_value.is_some(), clip.value;
            "--dropout", args.dropout.is_some(), dropout.outputs;
            "--input-dropout", args.input_dropout.is_some(), dropout.inputs;
            "--memory", args.memory.is_some(), memory;
            "--patience", args.patience.is_some(), patience;
            "--seed", args.seed.is_some(), seed;
            "--shards", args.shards.is_some(), shards;
            "--report-every", args.report_every.is_some(), report_every;
        }
        // The data may lie elsewhere now; its fingerprint is compared when it is read.
        if !args.data.is_empty() {
            old.data = new.data;
        }
        // A run may become longer.
        let bound = |flag: &str, old: &mut Option<u64>, given: Option<u64>| {
            if let (Some(before), Some(now)) = (*old, given)
                && now < before
            {
                bail!("{flag} {now}: the run already has {before}; more is possible, less is not");
            }
            if given.is_some() {
                *old = given;
            }
            Ok(())
        };
        bound("--steps", &mut old.steps, args.steps)?;
        bound("--epochs", &mut old.epochs, args.epochs)?;
        // A part of it for each.
        old.shards = old.shards.max(machine.ranks);
        if args.threads.is_some() || machine.ranks > 1 {
            config.threads = given.threads;
        }
        if args.reduction.is_some() {
            config.reduction = given.reduction;
        }
        if args.checkpoint_every.is_some() {
            config.checkpoint_every = given.checkpoint_every;
        }
        config.tensorboard |= given.tensorboard;
        (config.blas, config.simd) = (given.blas, given.simd);
        Ok(config)
    }
}

fn in_range(name: &str, value: u64, most: u64) -> Result<()> {
    if !(1..=most).contains(&value) {
        bail!("`{name}` is {value}, expected 1 to {most}");
    }
    Ok(())
}

impl Settings {
    /// What the command line would not have let pass.
    fn check(&self) -> Result<()> {
        let sizes = [
            ("batch", Some(self.batch as u64), u64::MAX),
            ("seq_len", self.seq_len.map(|n| n as u64), u64::MAX),
            ("vocab_size", self.vocab_size.map(|n| n as u64), u64::MAX),
            ("hidden", Some(self.hidden as u64), 1 << 24),
            ("shards", Some(self.shards as u64), 1 << 16),
            ("steps", self.steps, u64::MAX),
            ("epochs", self.epochs, u64::MAX),
            ("report_every", Some(self.report_every), u64::MAX),
        ];
        for (name, value, most) in sizes {
            in_range(name, value.unwrap_or(1), most)?;
        }
        if self.steps.or(self.epochs).is_none() {
            bail!("neither `steps` nor `epochs` is given, expected a length of the run");
        }
        if let Some(fraction) = self.valid_fraction.filter(|x| !(0.0..1.0).contains(x)) {
            bail!("`valid_fraction` is {fraction}, expected 0 to less than 1");
        }
        // An error of the file, not of the command line.
        let options = self.train_options(1).check().and(self.optimizer.check());
        options.map_err(|error| anyhow::anyhow!("{error}"))
    }

    /// Whether a checkpoint that names `other` as its settings is of this run: of a run that differs in what may be
    /// changed at most.
    pub fn is_run_of(&self, other: &serde_json::Value) -> bool {
        // There are more shards where more ranks went on than there were.
        const MAY_DIFFER: [&str; 6] =
            ["data", "valid", "steps", "epochs", "report_every", "shards"];
        let (Ok(serde_json::Value::Object(ours)), Some(other)) =
            (serde_json::to_value(self), other.as_object())
        else {
            return false;
        };
        // What only one of them has, another version has brought or left out; one left `seq_len` null where it was not given.
        let same = |name: &str, value| {
            other
                .get(name)
                .is_none_or(|other| other == value || (name == "seq_len" && other.is_null()))
        };
        ours.iter()
            .filter(|(name, _)| !MAY_DIFFER.contains(&name.as_str()))
            .all(|(name, value)| same(name, value))
    }

    /// How the trainer is to train, for a run of `steps` updates.
    pub fn train_options(&self, steps: u64) -> TrainOptions {
        TrainOptions {
            steps,
            lr: self.lr,
            schedule: self.schedule,
            warmup: self.warmup,
            clip: self.clip,
            dropout: self.dropout,
            report_every: self.report_every,
            patience: self.patience,
            reset_state: self.reset_state,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::args::{Cli, Command};
    use super::*;
    use clap::Parser;

    #[test]
    fn a_checkpoint_is_of_a_run_with_its_settings() {
        let Command::Train(args) = Cli::parse_from(["bptt", "train", "a.txt"]).command else {
            unreachable!()
        };
        let mut settings = Config::new(&args, Machine { cores: 1, ranks: 1 }).settings;
        let of = serde_json::to_value(&settings).unwrap();
        // Once, the default was left null.
        settings.seq_len = Some(64);
        settings.steps = Some(1 << 40);
        assert!(settings.is_run_of(&of));
        assert!(settings.is_run_of(&serde_json::to_value(&settings).unwrap()));
        settings.vocab_size = Some(64);
        assert!(!settings.is_run_of(&of));
        settings.vocab_size = None;
        let of = serde_json::to_value(&settings).unwrap();
        settings.seq_len = Some(32);
        assert!(!settings.is_run_of(&of));
    }
}
