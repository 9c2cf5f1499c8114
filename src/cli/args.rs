//! The command line: what can be said, and what `--help` teaches about it.

use super::flags::{BOOKKEEPING, FLAGS, FROM_ZERO, Flag, Given, POSITIVE, within};
use bptt::Cell;
use bptt::internal::measure::Shape;
use bptt::ranks::Reduction;
use clap::builder::RangedU64ValueParser;
use clap::{ArgMatches, Args, FromArgMatches, Parser, Subcommand, ValueEnum};
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

/// What `bptt train` is asked for: the settings of [`FLAGS`], and where.
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
    #[command(flatten)]
    pub settings: SettingsArgs,
    /// The run folder, which must not hold a run yet [default: a new one, runs/NAME after DATA]
    #[arg(short, long, value_name = "DIR", help_heading = BOOKKEEPING, display_order = 0, conflicts_with = "resume")]
    pub out: Option<PathBuf>,
    /// Go on with the run in this folder, with its settings; --steps and --epochs may be raised
    #[arg(long, value_name = "DIR", help_heading = BOOKKEEPING, display_order = 0)]
    pub resume: Option<PathBuf>,
}

/// The settings of a run that were given.
pub struct SettingsArgs {
    pub given: Given,
    /// The first path of the data that is not Unicode, if there is one: no `config.json` could hold it.
    pub not_unicode: Option<PathBuf>,
}

impl Args for SettingsArgs {
    fn augment_args(command: clap::Command) -> clap::Command {
        let command = command.args(FLAGS.iter().map(Flag::arg));
        command.mut_arg("valid", |arg| arg.conflicts_with("valid-fraction"))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingsArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let (mut given, mut not_unicode) = (Given::new(), None);
        for flag in FLAGS {
            match flag.given(matches) {
                Ok(value) => given.extend(value.map(|value| (flag.name, value))),
                Err(path) => not_unicode = Some(path),
            }
        }
        Ok(SettingsArgs { given, not_unicode })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
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
    #[arg(long, value_parser = within(FROM_ZERO), allow_negative_numbers = true, default_value_t = 1.0)]
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
    #[arg(long, value_parser = within(POSITIVE), allow_negative_numbers = true, default_value_t = 3.0)]
    pub seconds: f64,
    /// What the layers are made of
    #[arg(long, value_parser = named::<Cell>, default_value = "tanh", value_name = "tanh|relu|gru|lstm")]
    pub cell: Cell,
    /// Layers, one on the other
    #[arg(long, value_parser = RangedU64ValueParser::<usize>::new().range(1..=256), default_value_t = 1, value_name = "L")]
    pub layers: usize,
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
