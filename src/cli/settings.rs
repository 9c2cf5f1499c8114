//! Every setting of a training run: a flag of `bptt train`, and a field of `config.json`.
//!
//! **To add a flag**, add a field: to [`Settings`] if the result depends on it (they go into the model file as well), else to
//! [`Config`]. Its comment is the help, its attribute says range and default, and its name is that of `config.json` and, with
//! dashes, that of the flag. A resumed run takes its settings from its folder: [`LONGER`], [`CHANGEABLE`] and [`FREE`] may be
//! given anew.

use super::values::{
    Dtype, FINITE, FRACTION, FROM_ZERO, MOST_WHOLE, POSITIVE, PROBABILITY, bytes, file, named,
    positive, whole, within,
};
use anyhow::{Result, bail};
use bptt::data::TokenKind;
use bptt::model::Model;
use bptt::optim::{Algorithm, Clip, OptimizerOptions};
use bptt::ranks::Reduction;
use bptt::train::{Schedule, TrainOptions, ZERO_STATE};
use bptt::{Architecture, At, Cell, Dropout, EngineOptions, Head, Init, Input, Loss, Scalar};
use clap::Args;
use clap::builder::{ArgPredicate, OsStringValueParser, TypedValueParser};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

const DATA: &str = "Data";
const MODEL: &str = "Model";
const OPTIMISATION: &str = "Optimisation";
const MACHINE: &str = "Machine";
pub const BOOKKEEPING: &str = "Bookkeeping";

/// What the result depends on.
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// Text files or folders (- for standard input), or one .npz; nothing for the Reber grammar
    #[arg(value_name = "DATA", value_parser = OsStringValueParser::new().map(file))]
    pub data: Vec<PathBuf>,
    // A fingerprint of the content of `data` and `valid`.
    #[arg(skip)]
    pub digest: String,

    /// What a token of text is
    #[arg(long, help_heading = DATA, value_name = "char|byte|word", value_parser = named::<TokenKind>, default_value = "char")]
    pub tokens: TokenKind,
    /// Words seen less often become <unk>
    #[arg(long, help_heading = DATA, value_name = "K", value_parser = whole::<u64>(0, MOST_WHOLE), default_value_t = 1)]
    pub min_count: u64,
    /// The most words to keep, the frequent ones first; the rest become <unk> [default: all]
    #[arg(long, help_heading = DATA, value_name = "K", value_parser = positive::<usize>())]
    pub vocab_size: Option<usize>,
    /// Data to validate with, in place of a part of DATA
    #[arg(long, help_heading = DATA, value_name = "DATA", value_parser = OsStringValueParser::new().map(file), conflicts_with = "valid_fraction")]
    pub valid: Vec<PathBuf>,
    /// The part of the data kept for validation: the end of a text, random sequences of a set; 0 for none [default: 0.1, of a
    /// text no more than a million tokens]
    #[arg(long, help_heading = DATA, value_name = "FRACTION", value_parser = within(FRACTION))]
    pub valid_fraction: Option<f64>,
    /// Sequences per update
    #[arg(long, help_heading = DATA, value_name = "N", value_parser = positive::<usize>(), default_value_t = 32)]
    pub batch: usize,
    /// Steps per window: gradients flow back so far [default: 64; all steps of an .npz]
    #[arg(long, help_heading = DATA, value_name = "T", value_parser = positive::<usize>())]
    pub seq_len: Option<usize>,
    /// Start every window from a zero state, not only every document, in place of the state after the window before
    #[arg(long, help_heading = DATA)]
    pub reset_state: bool,
    /// Of a text: the probability that a sequence starts a window from a zero state, as documents do: a network that never sees
    /// one in training may not read from one
    #[arg(long, help_heading = DATA, value_name = "P", value_parser = within(PROBABILITY), default_value_t = ZERO_STATE)]
    pub zero_state: f64,

    /// Begin with the weights of this model (a run folder or a .safetensors file) in place of new ones, to go on with other DATA or
    /// to tune it: network, tokens and vocabulary are the model's
    #[arg(long, visible_alias = "init-from", help_heading = MODEL, value_name = "MODEL")]
    pub from: Option<PathBuf>,
    /// What the layers are made of
    #[arg(long, help_heading = MODEL, value_name = "tanh|relu|gru|lstm", value_parser = named::<Cell>, default_value = "tanh")]
    pub cell: Cell,
    /// Hidden units of each layer
    #[arg(long, help_heading = MODEL, value_name = "N", value_parser = whole::<usize>(1, 1 << 24), default_value_t = 256)]
    pub hidden: usize,
    /// Layers, one on the other
    #[arg(long, help_heading = MODEL, value_name = "L", value_parser = whole::<usize>(1, 256), default_value_t = 1)]
    pub layers: usize,
    /// Read sequences from both ends: forwards, and with other weights backwards
    #[arg(long, help_heading = MODEL)]
    pub bidirectional: bool,
    /// Give each token a row of so many numbers, which are trained and read in place of the token [default: none]
    #[arg(long, help_heading = MODEL, value_name = "SIZE", value_parser = whole::<usize>(1, 1 << 24))]
    pub embedding: Option<usize>,
    /// Let the rows of the embedding be the decoder's weights too: fewer numbers to learn
    #[arg(long, help_heading = MODEL)]
    pub tie: bool,
    /// How answers are judged [default: by the targets: classes and distributions by their cross-entropy, labels of 0 and 1
    /// each by its own (binary), other numbers by their squared error (mse)]
    #[arg(long, help_heading = MODEL, value_name = "cross-entropy|binary|mse|huber", value_parser = named::<Loss>)]
    pub loss: Option<Loss>,
    /// The steps that are answered: every one, or the last of each sequence [default: by the targets]
    #[arg(long, help_heading = MODEL, value_name = "every|last", value_parser = named::<At>)]
    pub at: Option<At>,
    /// How weights are drawn
    #[arg(long, help_heading = MODEL, value_name = "orthogonal|glorot|identity|pytorch", value_parser = named::<Init>, default_value = "orthogonal")]
    pub init: Init,
    /// The bias of an LSTM's forget gates at first: the more, the longer states are kept [default: 1; drawn by --init pytorch]
    #[arg(long, help_heading = MODEL, value_name = "BIAS", value_parser = within(FINITE))]
    pub forget_bias: Option<f64>,
    /// The precision of all numbers
    #[arg(long, help_heading = MODEL, value_name = "f32|f64", value_parser = named::<Dtype>, default_value = "f32")]
    pub dtype: Dtype,

    /// Updates in all, unless --schedule or --patience ends the run before [default: 20000, or what --epochs comes to]
    #[arg(long, help_heading = OPTIMISATION, value_name = "STEPS", value_parser = positive::<u64>(), hide_default_value = true,
          default_value = "20000", default_value_if("epochs", ArgPredicate::IsPresent, None))]
    pub steps: Option<u64>,
    /// Times through the data; with --steps too, whichever ends first
    #[arg(long, help_heading = OPTIMISATION, value_name = "EPOCHS", value_parser = positive::<u64>())]
    pub epochs: Option<u64>,
    /// How gradients become updates
    #[arg(long, help_heading = OPTIMISATION, value_name = "gd|momentum|nesterov|rmsprop|adam|adamw",
          value_parser = named::<Algorithm>, default_value = "adam")]
    pub optimizer: Algorithm,
    /// The learning rate [default: 0.002 for adam and adamw, 0.001 for rmsprop, 0.5 for gd, 0.05 for the others]
    #[arg(long, help_heading = OPTIMISATION, value_name = "RATE", value_parser = within(POSITIVE), hide_default_value = true,
          default_value = "0.002", default_value_ifs([("optimizer", "rmsprop", "0.001"), ("optimizer", "gd", "0.5"),
          ("optimizer", "momentum", "0.05"), ("optimizer", "nesterov", "0.05")]))]
    pub lr: f64,
    /// The course of the learning rate; halve-on-plateau halves it after 3 reports without a better validation loss, and after 9
    /// halvings ends the run
    #[arg(long, help_heading = OPTIMISATION, value_name = "constant|cosine|halve-on-plateau",
          value_parser = named::<Schedule>, default_value = "halve-on-plateau")]
    pub schedule: Schedule,
    /// Updates over which the rate rises to its full size [default: 0; 100 for cosine]
    #[arg(long, help_heading = OPTIMISATION, value_name = "STEPS", value_parser = whole::<u64>(0, MOST_WHOLE),
          hide_default_value = true, default_value_t = 0, default_value_if("schedule", "cosine", "100"))]
    pub warmup: u64,
    /// The largest Euclidean norm of a gradient; larger ones are scaled down
    #[arg(long, help_heading = OPTIMISATION, value_name = "NORM", value_parser = within(POSITIVE), default_value_t = 1.0)]
    pub clip_norm: f64,
    /// The largest size of an element of a gradient [default: none]
    #[arg(long, help_heading = OPTIMISATION, value_name = "SIZE", value_parser = within(POSITIVE))]
    pub clip_value: Option<f64>,
    /// The probability that an output of a layer is dropped on its way to the layer above or to the classes
    #[arg(long, help_heading = OPTIMISATION, value_name = "P", value_parser = within(FRACTION), default_value_t = 0.0)]
    pub dropout: f64,
    /// The probability that an input, or a token, is dropped
    #[arg(long, help_heading = OPTIMISATION, value_name = "P", value_parser = within(FRACTION), default_value_t = 0.0)]
    pub input_dropout: f64,
    /// Weight decay [default: 0; 0.01 for adamw]
    #[arg(long, help_heading = OPTIMISATION, value_name = "DECAY", value_parser = within(FROM_ZERO), hide_default_value = true,
          default_value_t = 0.0, default_value_if("optimizer", "adamw", "0.01"))]
    pub weight_decay: f64,
    /// Stop after so many reports without a better validation loss [default: never; but see --schedule]
    #[arg(long, help_heading = OPTIMISATION, value_name = "REPORTS", value_parser = whole::<u32>(0, u32::MAX.into()),
          hide_default_value = true, default_value_t = 0)]
    pub patience: u32,
    /// Seed of every random number
    #[arg(long, help_heading = OPTIMISATION, value_name = "SEED", value_parser = whole::<u64>(0, u64::MAX), default_value_t = 0)]
    pub seed: u64,

    /// Parts a batch is cut into by each process, a part of the result (within rounding) [default: as many as threads]
    // In a run, the shards of all processes together.
    #[arg(long, help_heading = MACHINE, value_name = "N", value_parser = whole::<usize>(1, 1 << 16))]
    pub shards: Option<usize>,
    /// The most bytes of scratch, such as 500M: long windows are then run in segments, a third slower at most, a part of the
    /// result (within rounding) [default: as it comes]
    #[arg(long, help_heading = MACHINE, value_name = "BYTES", value_parser = bytes)]
    pub memory: Option<usize>,
    /// Updates from report to report (validation, a line of the history) [default: by the size of the data]
    #[arg(long, help_heading = BOOKKEEPING, value_name = "STEPS", value_parser = positive::<u64>())]
    pub report_every: Option<u64>,
}

/// Every setting of a run, with what the result does not depend on.
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
pub struct Config {
    #[arg(skip)]
    pub version: String,
    #[command(flatten)]
    #[serde(flatten)]
    pub settings: Settings,

    /// Threads; no part of the result [default: all cores]
    #[arg(long, help_heading = MACHINE, value_name = "N", value_parser = positive::<usize>())]
    pub threads: Option<usize>,
    /// Of several processes (mpirun): add gradients in the order of the shards, for the bits of one process with as many, or
    /// as MPI is fastest
    #[arg(long, help_heading = MACHINE, value_name = "ordered|fast", value_parser = named::<Reduction>, default_value = "ordered")]
    pub reduction: Reduction,
    /// Updates from checkpoint to checkpoint [default: at every report]
    #[arg(long, help_heading = BOOKKEEPING, value_name = "STEPS", value_parser = positive::<u64>())]
    pub checkpoint_every: Option<u64>,
    /// Write an event file into the run folder too; look at it with: tensorboard --logdir runs
    #[arg(long, help_heading = BOOKKEEPING)]
    pub tensorboard: bool,
    // The OpenBLAS that computed and the vector instructions of our own kernels: with another of them the last bits differ.
    #[arg(skip)]
    pub blas: String,
    #[arg(skip)]
    pub simd: String,
}

/// Settings that bound the length of a run, which may become longer.
pub const LONGER: [&str; 2] = ["steps", "epochs"];

/// Settings that may be others from now on where a run goes on: the history says from which step.
pub const CHANGEABLE: [&str; 5] = ["lr", "schedule", "warmup", "patience", "report_every"];

/// Settings on which the result does not depend (of data, on its content alone).
const FREE: [&str; 6] = [
    "data",
    "valid",
    "threads",
    "reduction",
    "checkpoint_every",
    "tensorboard",
];

/// Whether a run that goes on may be given another value of this setting than it had.
pub fn is_open(name: &str) -> bool {
    LONGER.contains(&name) || CHANGEABLE.contains(&name) || FREE.contains(&name)
}

/// Whether a setting, in the words of the library or of `config.json`, is a flag of `bptt train`.
pub fn is_flag(setting: &str) -> bool {
    let settings = command();
    let mut flags = settings.get_arguments().filter(|arg| !arg.is_positional());
    flags.any(|flag| flag.get_id() == setting)
}

/// The settings of a run as clap knows them.
pub fn command() -> clap::Command {
    Config::augment_args(clap::Command::new("settings"))
}

impl Config {
    /// Fills in what follows from this machine, where each of `ranks` processes may use so many cores.
    pub fn complete(mut self, cores: usize, ranks: usize) -> Self {
        let threads = *self.threads.get_or_insert(cores);
        let shards = self.settings.shards.unwrap_or(threads);
        self.settings.shards = Some(shards.saturating_mul(ranks));
        let machine = bptt::machine();
        self.version = env!("CARGO_PKG_VERSION").into();
        (self.blas, self.simd) = (machine.blas, machine.simd.into());
        self
    }

    pub fn threads(&self) -> usize {
        self.threads.unwrap_or(1)
    }
}

impl Settings {
    /// Takes the network and the tokens of the model that the run begins with.
    pub fn take<T: Scalar>(&mut self, model: &Model<T>) {
        let network = model.network.architecture();
        (self.cell, self.hidden, self.layers) = (network.cell, network.hidden, network.layers);
        (self.bidirectional, self.tie) = (network.bidirectional, network.head.tied);
        (self.loss, self.at) = (Some(network.head.loss), Some(network.head.at));
        self.embedding = match network.input {
            Input::Embedding { size, .. } => Some(size),
            _ => None,
        };
        if let Some(vocabulary) = &model.about.vocabulary {
            self.tokens = vocabulary.kind();
        }
    }

    /// The network for data with this input and this head, where nothing else is said.
    pub fn architecture(&self, input: Input, head: Head) -> Result<Architecture> {
        let input = match (self.embedding, input) {
            (None, input) => input,
            (Some(size), Input::Tokens(tokens)) => Input::Embedding { tokens, size },
            (Some(_), _) => {
                bail!("--embedding: the inputs are numbers, and rows are learnt for tokens")
            }
        };
        let head = Head {
            loss: self.loss.unwrap_or(head.loss),
            at: self.at.unwrap_or(head.at),
            tied: self.tie,
            ..head
        };
        if self.tie && input.size() != head.outputs {
            bail!(
                "--tie: the embedding has a row for each of {} tokens, the decoder one for each of {} {}: as many are needed",
                input.size(),
                head.outputs,
                head.loss.answers()
            );
        }
        let architecture = Architecture {
            cell: self.cell,
            layers: self.layers,
            bidirectional: self.bidirectional,
            ..Architecture::new(input, self.hidden, head)
        };
        architecture.check()?;
        Ok(architecture)
    }

    /// How the trainer is to train, on data of so many windows an epoch.
    pub fn train_options(&self, windows_per_epoch: u64, engine: EngineOptions) -> TrainOptions {
        let epochs = self.epochs.map(|n| n.saturating_mul(windows_per_epoch));
        let bounds = [self.steps, epochs].into_iter().flatten();
        TrainOptions {
            steps: bounds.min().unwrap_or(0),
            lr: self.lr,
            schedule: self.schedule,
            warmup: self.warmup,
            optimizer: OptimizerOptions {
                algorithm: self.optimizer,
                weight_decay: self.weight_decay,
                clip: Clip {
                    norm: Some(self.clip_norm),
                    value: self.clip_value,
                },
                ..OptimizerOptions::default()
            },
            engine,
            dropout: Dropout {
                inputs: self.input_dropout,
                outputs: self.dropout,
                seed: self.seed,
            },
            report_every: self.report_every.unwrap_or(1),
            patience: self.patience,
            reset_state: self.reset_state,
            zero_state: self.zero_state,
            seed: self.seed,
        }
    }
}
