//! The command line: what can be said, and what `--help` teaches about it.

use super::settings::{self, BOOKKEEPING, Config, is_open};
use super::values::{Dtype, FROM_ZERO, MOST_WHOLE, SECONDS, file, named, positive, whole, within};
use bptt::Cell;
use bptt::export::Format;
use bptt::internal::measure::Shape;
use bptt::ranks::Reduction;
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::parser::ValueSource;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
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

/// The command line as clap knows it.
pub fn command() -> clap::Command {
    Cli::command().mut_subcommands(|command| {
        command.mut_args(|arg| match arg.get_action().takes_values() {
            true => arg.allow_negative_numbers(true),
            false => arg,
        })
    })
}

/// What the command line says.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let matches = command().try_get_matches_from(words)?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    if let (Command::Train(args), Some((_, train))) = (&mut cli.command, matches.subcommand()) {
        let given =
            |id: &&clap::Id| train.value_source(id.as_str()) == Some(ValueSource::CommandLine);
        let settings = settings::command();
        let ids = settings.get_arguments().map(clap::Arg::get_id);
        args.given = ids.filter(given).map(ToString::to_string).collect();
    }
    Ok(cli)
}

/// A flag of a command.
#[derive(Clone, Debug)]
pub struct Flag {
    /// Without `--`.
    pub name: String,
    /// What its value is; nothing, where it takes none.
    pub value: String,
    /// What it is for, and its default.
    pub help: String,
    /// Whether a run that goes on may be given another value than it had.
    pub is_open: bool,
}

/// The flags of a command.
pub fn flags(name: &str) -> Vec<Flag> {
    let mut command = command();
    // Flags of every command become those of each.
    command.build();
    let arguments = command
        .find_subcommand(name)
        .map(clap::Command::get_arguments);
    let flags = arguments.into_iter().flatten().filter_map(|arg| {
        let takes_values = arg.get_action().takes_values();
        let names = arg.get_value_names().filter(|_| takes_values);
        let shown = takes_values && !arg.is_hide_default_value_set();
        let mut help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        for default in arg.get_default_values().iter().filter(|_| shown) {
            help += &format!(" [default: {}]", default.to_string_lossy());
        }
        Some(Flag {
            name: arg.get_long()?.to_string(),
            value: names.unwrap_or_default().join(" "),
            help,
            is_open: is_open(arg.get_id().as_str()),
        })
    });
    flags.collect()
}

#[derive(Args, Clone, Copy)]
pub struct OutputArgs {
    /// What standard output holds: text to read, or one JSON object a line and nothing else.
    #[arg(long, global = true, value_enum, default_value_t = Log::Human, value_name = "FORM")]
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
    /// Loss and metrics of a saved model: perplexity, accuracy, F1, R2, whatever its answers are judged by.
    Eval(EvalArgs),
    /// Generate from a model of text.
    Sample(SampleArgs),
    /// Probabilities or numbers at every step of every sequence, or once for each.
    Predict(PredictArgs),
    /// Write a model in the format of another program: ONNX, NumPy, C, RTNeural.
    Export(ExportArgs),
    /// Throughput here, against this machine's own limit.
    Bench(BenchArgs),
    /// What is in a model file.
    Inspect(InspectArgs),
}

/// What `bptt train` is asked for: the settings of a run, and where.
#[derive(Args)]
#[command(after_help = "\
DATA is text (files, or folders read recursively; each file is a document and starts from a zero
state), or one .npz with `inputs` (float [N, T, n_x] or ids [N, T]), `targets` and perhaps `lengths`
[N], where each sequence ends, and `mask` [N, T], which steps count in the loss. Targets are classes
[N, T] or numbers [N, T, n_y]: distributions over classes, labels of 0 and 1, or values; or for one
answer a sequence [N] and [N, n_y]. Without DATA a network learns the Reber grammar, whose best
possible loss is known.

  bptt train book.txt                          a character model with good defaults
  bptt train src --tokens byte --hidden 512    any folder of text
  bptt train set.npz --optimizer gd --lr 0.1   sequences of numbers
  bptt train set.npz --cell lstm --bidirectional --layers 2      classes, labels or values
  bptt train book.txt --tokens word --embedding 256 --tie        a model of words
  bptt train --resume runs/book                goes on where a run stopped
  mpirun -n 4 bptt train book.txt              four processes (a build with --features mpi)")]
pub struct TrainArgs {
    #[command(flatten)]
    pub config: Config,
    /// The names of the settings that were given.
    #[arg(skip)]
    pub given: Vec<String>,
    /// The run folder, which must not hold a run yet [default: a new one, runs/NAME after DATA]
    #[arg(short, long, value_name = "DIR", help_heading = BOOKKEEPING, display_order = 0, conflicts_with = "resume")]
    pub out: Option<PathBuf>,
    /// Go on with the run in this folder, with its settings; --steps and --epochs may be raised, and --lr, --schedule, --warmup,
    /// --patience and --report-every be others from now on
    #[arg(long, value_name = "DIR", help_heading = BOOKKEEPING, display_order = 0)]
    pub resume: Option<PathBuf>,
}

#[derive(Args)]
pub struct EvalArgs {
    /// A .safetensors file or a run folder
    pub model: PathBuf,
    /// Text in the tokens of the model (- for standard input), each file a document that starts from a zero state; or one .npz
    #[arg(required = true, value_parser = OsStringValueParser::new().map(file))]
    pub data: Vec<PathBuf>,
    /// Threads; no part of the result [default: all cores]
    #[arg(long, value_parser = positive::<usize>(), value_name = "N")]
    pub threads: Option<usize>,
}

#[derive(Args)]
pub struct SampleArgs {
    /// A .safetensors file or a run folder
    pub model: PathBuf,
    /// Text to go on from; it is printed first
    #[arg(long, default_value = "", hide_default_value = true)]
    pub prompt: OsString,
    /// A file whose content is the text to go on from (- for standard input)
    #[arg(long, value_name = "FILE", value_parser = OsStringValueParser::new().map(file), conflicts_with = "prompt")]
    pub prompt_file: Option<PathBuf>,
    /// Tokens to generate
    #[arg(long, value_parser = whole::<usize>(0, MOST_WHOLE), default_value_t = 500, value_name = "TOKENS")]
    pub length: usize,
    /// 1 as the network says, less to play safe, 0 for always the likeliest
    #[arg(long, value_parser = within(FROM_ZERO), default_value_t = 1.0)]
    pub temperature: f64,
    /// Choose from so many of the likeliest tokens only [default: all]
    #[arg(long, value_parser = positive::<usize>(), value_name = "K")]
    pub top_k: Option<usize>,
    /// The same seed gives the same text
    #[arg(long, value_parser = whole::<u64>(0, u64::MAX), default_value_t = 0)]
    pub seed: u64,
}

#[derive(Args)]
pub struct PredictArgs {
    /// A .safetensors file or a run folder
    pub model: PathBuf,
    /// An .npz with `inputs`: float [N, T, n_x] or token ids [N, T]; and perhaps `lengths` [N]
    #[arg(value_name = "IN.npz")]
    pub input: PathBuf,
    /// Where `probabilities` of classes or labels, or `values`, go: [N, T, n_y], or [N, n_y] of a network that answers once a
    /// sequence [default: IN-probabilities.npz or IN-values.npz, beside IN.npz]
    #[arg(short, long, value_name = "OUT.npz")]
    pub out: Option<PathBuf>,
    /// Threads; no part of the result [default: all cores]
    #[arg(long, value_parser = positive::<usize>(), value_name = "N")]
    pub threads: Option<usize>,
}

#[derive(Args)]
#[command(after_help = "\
An ONNX graph (opset 17) has the inputs `inputs` (float [N, T, n_x], or int64 ids [N, T]), `lengths` (int32 [N])
and the states from which layers start, `h0` and of an LSTM `c0` ([layers x directions, N, hidden]: zeros at the
start of a sequence). Outputs are `probabilities` and `logits`, or `values`; and the last states `hn`, `cn`, to be
given as the first ones of the next piece of a stream. The vocabulary is in its metadata.

  bptt export runs/book --to onnx                     runs/book/model.onnx
  bptt export runs/sensor --to c -o sensor.h          a C99 header: sensor_reset(), sensor_step()
  bptt export model.safetensors --to npz -o w.npz     numpy.load('w.npz')['rnn.weight_hh_l0']")]
pub struct ExportArgs {
    /// A .safetensors file or a run folder
    pub model: PathBuf,
    /// The format [default: what the name of --out ends in: .onnx, .npz, .h or .json]
    #[arg(long, value_parser = named::<Format>, value_name = "onnx|npz|c|rtneural", required_unless_present = "out")]
    pub to: Option<Format>,
    /// The file to write [default: beside the model, with another ending]
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// An ONNX graph without `lengths`, for engines that refuse them: sequences are then all of T steps
    #[arg(long)]
    pub no_lengths: bool,
}

#[derive(Args)]
#[command(after_help = "\
Times whole training steps (forward, loss, backpropagation, reduction, gradient-descent update) on
random data, in turn with the roof: a 2048^3 product with one BLAS thread on each of THREADS cores
at once. Medians; what else runs on the machine slows both alike.

  bptt bench                                            seven shapes, half a minute
  bptt bench --shape charlm                             one of them
  bptt bench --shape 32,64,90,256,90 --tokens --sweep   which --batch and --shards suit it?")]
pub struct BenchArgs {
    /// notebook, small, charlm, mid, large, long, big, or N,T,n_x,n_h,n_y; again for more [default: those seven]
    #[arg(long, value_name = "SHAPE")]
    pub shape: Vec<Shape>,
    /// The precision of all numbers
    #[arg(long, value_parser = named::<Dtype>, default_value = "f32", value_name = "f32|f64")]
    pub dtype: Dtype,
    /// Threads [default: all cores]
    #[arg(long, value_parser = positive::<usize>(), value_name = "N")]
    pub threads: Option<usize>,
    /// Parts a batch is cut into [default: as many as threads]
    #[arg(long, value_parser = whole::<usize>(1, 1 << 16), value_name = "N")]
    pub shards: Option<usize>,
    /// Of several processes (mpirun): how they add their gradients
    #[arg(long, value_parser = named::<Reduction>, default_value = "ordered", value_name = "ordered|fast")]
    pub reduction: Reduction,
    /// Time for each shape; at least three rounds are taken
    #[arg(long, value_parser = within(SECONDS), default_value_t = 3.0)]
    pub seconds: f64,
    /// What the layers are made of
    #[arg(long, value_parser = named::<Cell>, default_value = "tanh", value_name = "tanh|relu|gru|lstm")]
    pub cell: Cell,
    /// Layers, one on the other
    #[arg(long, value_parser = whole::<usize>(1, 256), default_value_t = 1, value_name = "L")]
    pub layers: usize,
    /// Layers that read from both ends
    #[arg(long)]
    pub bidirectional: bool,
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
