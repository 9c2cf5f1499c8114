//! The command line: what can be said, and what `--help` teaches about it.

use bptt::Init;
use bptt::data::TokenKind;
use bptt::measure::Shape;
use bptt::optim::Algorithm;
use bptt::ranks::Reduction;
use bptt::train::Schedule;
use clap::builder::RangedU64ValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

#[derive(Parser)]
#[command(
    version,
    about = "Trains recurrent networks on CPUs at the speed of the machine's matrix multiply",
    after_help = "Start with:  bptt train some.txt    then:  bptt sample runs/some\n\
                  Exit status: 0 done, 1 the work failed, 2 the command line was wrong, 130 interrupted."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,

    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Args, Clone, Copy)]
pub struct OutputArgs {
    /// What standard output holds: text to read, or one JSON object a line and nothing else.
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "human",
        value_name = "FORM"
    )]
    pub log: Log,

    /// No progress and no remarks on standard error; results and errors only.
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Log {
    Human,
    Json,
}

#[derive(Subcommand)]
pub enum Command {
    /// Train a network; writes a run folder.
    Train(Box<TrainArgs>),
    /// Loss, perplexity, bits and accuracy of a saved model.
    Eval(EvalArgs),
    /// Generate from a model of text.
    Sample(SampleArgs),
    /// Probabilities at every step of every sequence.
    Predict(PredictArgs),
    /// Throughput here, against this machine's own limit.
    Bench(BenchArgs),
    /// What is in a model file.
    Inspect(InspectArgs),
}

/// A number of at least 1.
fn positive() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..)
}

/// A finite number above 0.
fn positive_real(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if x > 0.0 && x.is_finite() => Ok(x),
        Ok(_) => Err("expected a finite number above 0".into()),
        Err(_) => Err("expected a number such as 0.002".into()),
    }
}

/// A finite number from 0 up.
fn real_from_zero(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if x >= 0.0 && x.is_finite() => Ok(x),
        _ => Err("expected a finite number from 0 up".into()),
    }
}

/// At least 0 and less than 1.
fn fraction(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if (0.0..1.0).contains(&x) => Ok(x),
        _ => Err("expected a number from 0 to less than 1, such as 0.1".into()),
    }
}

/// A number of bytes: `1000000`, `500k`, `1.5G`.
fn bytes(text: &str) -> Result<usize, String> {
    let expected = || "expected a number of bytes, such as 500M or 2G".to_string();
    let unit = text.trim_end_matches(['b', 'B', 'i']);
    let (number, factor) = match unit.chars().last().map(|c| c.to_ascii_lowercase()) {
        Some('k') => (&unit[..unit.len() - 1], 1u64 << 10),
        Some('m') => (&unit[..unit.len() - 1], 1 << 20),
        Some('g') => (&unit[..unit.len() - 1], 1 << 30),
        _ => (unit, 1),
    };
    let bytes = number.trim().parse::<f64>().map_err(|_| expected())? * factor as f64;
    if bytes >= 1.0 && bytes < (1u64 << 53) as f64 {
        Ok(bytes as usize)
    } else {
        Err(expected())
    }
}

/// The precision of all numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    F32,
    F64,
}

/// Names on the command line are the names in `config.json`.
fn named<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(text.into()).map_err(|e| {
        let known = e.to_string();
        let known = known.split_once("expected ").map_or("", |(_, rest)| rest);
        format!("expected {known}")
    })
}

// Defaults stand in the help texts and in `settings.rs`: a resumed run has to know what was given.
#[derive(Args)]
#[command(after_help = "\
DATA is text (files, or folders read recursively; each file is a document and starts from a zero state), or one .npz
with `inputs` (float [N, T, n_x] or ids [N, T]), `targets` (classes [N, T] or distributions [N, T, n_y]) and perhaps
`lengths` [N], where each sequence ends, and `mask` [N, T], which steps count in the loss. Without DATA a network learns
the Reber grammar, whose best possible loss is known.

  bptt train book.txt                          a character model with good defaults
  bptt train src --tokens byte --hidden 512    any folder of text
  bptt train set.npz --optimizer gd --lr 0.1   sequences of numbers
  bptt train --resume runs/book                goes on where a run stopped
  mpirun -n 4 bptt train book.txt              four processes, on one machine or many (a build with --features mpi)")]
pub struct TrainArgs {
    /// Text files or folders, or one .npz; nothing for the Reber grammar.
    #[arg(value_name = "DATA")]
    pub data: Vec<PathBuf>,

    /// What a token of text is [default: char]
    #[arg(long, value_parser = named::<TokenKind>, value_name = "char|byte|word", help_heading = "Data")]
    pub tokens: Option<TokenKind>,
    /// Words seen less often become <unk> [default: 1]
    #[arg(long, value_name = "K", help_heading = "Data")]
    pub min_count: Option<u64>,
    /// The most words to keep, the frequent ones first; the rest become <unk> [default: all]
    #[arg(long, value_parser = positive(), value_name = "K", help_heading = "Data")]
    pub vocab_size: Option<usize>,
    /// Data to validate with, in place of a part of DATA
    #[arg(
        long,
        value_name = "DATA",
        help_heading = "Data",
        conflicts_with = "valid_fraction"
    )]
    pub valid: Vec<PathBuf>,
    /// The part of the data kept for validation: the end of a text, random sequences of a set; 0 for none [default: 0.1, of a text no more than a million tokens]
    #[arg(long, value_parser = fraction, allow_negative_numbers = true, value_name = "FRACTION", help_heading = "Data")]
    pub valid_fraction: Option<f64>,
    /// Sequences per update [default: 32]
    #[arg(long, value_parser = positive(), value_name = "N", help_heading = "Data")]
    pub batch: Option<usize>,
    /// Steps per window: gradients flow back so far [default: 64; all steps of an .npz]
    #[arg(long, value_parser = positive(), value_name = "T", help_heading = "Data")]
    pub seq_len: Option<usize>,
    /// Start every window from a zero state, not only every document, in place of the state after the window before
    #[arg(long, help_heading = "Data")]
    pub reset_state: bool,

    /// Hidden units [default: 256]
    #[arg(long, value_parser = positive(), value_name = "N", help_heading = "Model")]
    pub hidden: Option<usize>,
    /// How weights are drawn [default: orthogonal]
    #[arg(long, value_parser = named::<Init>, value_name = "orthogonal|glorot|identity", help_heading = "Model")]
    pub init: Option<Init>,
    /// The precision of all numbers [default: f32]
    #[arg(
        long,
        value_enum,
        help_heading = "Model",
        hide_possible_values = true,
        value_name = "f32|f64"
    )]
    pub dtype: Option<Dtype>,

    /// Updates in all [default: 20000, or what --epochs comes to]
    #[arg(long, value_parser = RangedU64ValueParser::<u64>::new().range(1..), value_name = "STEPS", help_heading = "Optimisation")]
    pub steps: Option<u64>,
    /// Times through the data; with --steps too, whichever ends first
    #[arg(long, value_parser = RangedU64ValueParser::<u64>::new().range(1..), value_name = "EPOCHS", help_heading = "Optimisation")]
    pub epochs: Option<u64>,
    /// How gradients become updates [default: adam]
    #[arg(
        long,
        value_parser = named::<Algorithm>,
        value_name = "gd|momentum|nesterov|rmsprop|adam|adamw",
        help_heading = "Optimisation"
    )]
    pub optimizer: Option<Algorithm>,
    /// The learning rate [default: 0.002 for adam and adamw, 0.001 for rmsprop, 0.5 for gd, 0.05 for the others]
    #[arg(long, value_parser = positive_real, allow_negative_numbers = true, value_name = "RATE", help_heading = "Optimisation")]
    pub lr: Option<f64>,
    /// The course of the learning rate [default: halve-on-plateau]
    #[arg(
        long,
        value_parser = named::<Schedule>,
        value_name = "constant|cosine|halve-on-plateau",
        help_heading = "Optimisation"
    )]
    pub schedule: Option<Schedule>,
    /// Updates over which the rate rises to its full size [default: 0; 100 for cosine]
    #[arg(long, value_name = "STEPS", help_heading = "Optimisation")]
    pub warmup: Option<u64>,
    /// The largest Euclidean norm of a gradient; larger ones are scaled down [default: 1]
    #[arg(long, value_parser = positive_real, allow_negative_numbers = true, value_name = "NORM", help_heading = "Optimisation")]
    pub clip_norm: Option<f64>,
    /// The largest size of an element of a gradient [default: none]
    #[arg(long, value_parser = positive_real, allow_negative_numbers = true, value_name = "SIZE", help_heading = "Optimisation")]
    pub clip_value: Option<f64>,
    /// The probability that an output of the hidden layer is dropped on its way to the classes [default: 0]
    #[arg(long, value_parser = fraction, allow_negative_numbers = true, value_name = "P", help_heading = "Optimisation")]
    pub dropout: Option<f64>,
    /// The probability that an input, or a token, is dropped [default: 0]
    #[arg(long, value_parser = fraction, allow_negative_numbers = true, value_name = "P", help_heading = "Optimisation")]
    pub input_dropout: Option<f64>,
    /// Weight decay [default: 0; 0.01 for adamw]
    #[arg(long, value_parser = real_from_zero, allow_negative_numbers = true, value_name = "DECAY", help_heading = "Optimisation")]
    pub weight_decay: Option<f64>,
    /// Stop after so many reports without a better validation loss [default: never]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..), value_name = "REPORTS", help_heading = "Optimisation")]
    pub patience: Option<u32>,
    /// Seed of every random number [default: 0]
    #[arg(long, value_name = "SEED", help_heading = "Optimisation")]
    pub seed: Option<u64>,

    /// Threads; no part of the result [default: all cores]
    #[arg(long, value_parser = positive(), value_name = "N", help_heading = "Machine")]
    pub threads: Option<usize>,
    /// Parts a batch is cut into by each process, a part of the result (within rounding) [default: as many as threads]
    #[arg(long, value_parser = RangedU64ValueParser::<usize>::new().range(1..=65_536), value_name = "N", help_heading = "Machine")]
    pub shards: Option<usize>,
    /// Of several processes (mpirun): add gradients in the order of the shards, for the bits of one process with as many,
    /// or as MPI is fastest [default: ordered]
    #[arg(long, value_parser = named::<Reduction>, value_name = "ordered|fast", help_heading = "Machine")]
    pub reduction: Option<Reduction>,
    /// The most bytes of scratch, such as 500M: long windows are then run in segments, a third slower at most, a part of the
    /// result (within rounding) [default: as it comes]
    #[arg(long, value_parser = bytes, value_name = "BYTES", help_heading = "Machine")]
    pub memory: Option<usize>,

    /// The run folder, which must not hold a run yet [default: a new one, runs/NAME after DATA]
    #[arg(
        short,
        long,
        value_name = "DIR",
        help_heading = "Bookkeeping",
        conflicts_with = "resume"
    )]
    pub out: Option<PathBuf>,
    /// Go on with the run in this folder, with its settings; --steps and --epochs may be raised
    #[arg(long, value_name = "DIR", help_heading = "Bookkeeping")]
    pub resume: Option<PathBuf>,
    /// Updates from report to report (validation, a line of the history) [default: by the size of the data]
    #[arg(long, value_parser = RangedU64ValueParser::<u64>::new().range(1..), value_name = "STEPS", help_heading = "Bookkeeping")]
    pub report_every: Option<u64>,
    /// Updates from checkpoint to checkpoint [default: at every report]
    #[arg(long, value_parser = RangedU64ValueParser::<u64>::new().range(1..), value_name = "STEPS", help_heading = "Bookkeeping")]
    pub checkpoint_every: Option<u64>,
    /// Write an event file into the run folder too; look at it with: tensorboard --logdir runs
    #[arg(long, help_heading = "Bookkeeping")]
    pub tensorboard: bool,
}

#[derive(Args)]
pub struct EvalArgs {
    /// A .safetensors file or a run folder
    pub model: PathBuf,
    /// Text in the tokens of the model, each file a document that starts from a zero state; or one .npz
    #[arg(required = true)]
    pub data: Vec<PathBuf>,
    /// Threads; no part of the result [default: all cores]
    #[arg(long, value_parser = positive(), value_name = "N")]
    pub threads: Option<usize>,
}

#[derive(Args)]
pub struct SampleArgs {
    /// A .safetensors file or a run folder
    pub model: PathBuf,
    /// Text to go on from; it is printed first
    #[arg(long, default_value = "", hide_default_value = true)]
    pub prompt: String,
    /// Tokens to generate
    #[arg(long, default_value_t = 500, value_name = "TOKENS")]
    pub length: usize,
    /// 1 as the network says, less to play safe, 0 for always the likeliest
    #[arg(long, value_parser = real_from_zero, allow_negative_numbers = true, default_value_t = 1.0)]
    pub temperature: f64,
    /// Choose from so many of the likeliest tokens only [default: all]
    #[arg(long, value_parser = positive(), value_name = "K")]
    pub top_k: Option<usize>,
    /// The same seed gives the same text
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

#[derive(Args)]
pub struct PredictArgs {
    /// A .safetensors file or a run folder
    pub model: PathBuf,
    /// An .npz with `inputs`: float [N, T, n_x] or token ids [N, T]
    #[arg(value_name = "IN.npz")]
    pub input: PathBuf,
    /// Where `probabilities` [N, T, n_y] go [default: IN-probabilities.npz, beside IN.npz]
    #[arg(short, long, value_name = "OUT.npz")]
    pub out: Option<PathBuf>,
    /// Threads; no part of the result [default: all cores]
    #[arg(long, value_parser = positive(), value_name = "N")]
    pub threads: Option<usize>,
}

#[derive(Args)]
#[command(after_help = "\
Times whole training steps (forward, loss, backpropagation, reduction, gradient-descent update) on random data, in turn
with the roof: a 2048^3 product with one BLAS thread on each of THREADS cores at once. Medians; what else runs on the
machine slows both alike.

  bptt bench                                        seven shapes, half a minute
  bptt bench --shape charlm                         one of them
  bptt bench --shape 32,64,90,256,90 --tokens --sweep   a shape of your own: which --batch and --shards suit it?")]
pub struct BenchArgs {
    /// notebook, small, charlm, mid, large, long, big, or N,T,n_x,n_h,n_y; again for more [default: those seven]
    #[arg(long, value_name = "SHAPE")]
    pub shape: Vec<Shape>,
    /// The precision of all numbers
    #[arg(
        long,
        value_enum,
        default_value = "f32",
        hide_possible_values = true,
        value_name = "f32|f64"
    )]
    pub dtype: Dtype,
    /// Threads [default: all cores]
    #[arg(long, value_parser = positive(), value_name = "N")]
    pub threads: Option<usize>,
    /// Parts a batch is cut into [default: as many as threads]
    #[arg(long, value_parser = RangedU64ValueParser::<usize>::new().range(1..=65_536), value_name = "N")]
    pub shards: Option<usize>,
    /// Of several processes (mpirun): how they add their gradients
    #[arg(long, value_parser = named::<Reduction>, default_value = "ordered", value_name = "ordered|fast")]
    pub reduction: Reduction,
    /// Time for each shape; at least three rounds are taken
    #[arg(long, value_parser = positive_real, allow_negative_numbers = true, default_value_t = 3.0)]
    pub seconds: f64,
    /// Token ids as inputs, in place of features
    #[arg(long)]
    pub tokens: bool,
    /// Also other batches (a quarter of N to four times N), then other numbers of shards, and which of them to take
    #[arg(long)]
    pub sweep: bool,
}

#[derive(Args)]
pub struct InspectArgs {
    /// A .safetensors file or a run folder
    pub model: PathBuf,
}
