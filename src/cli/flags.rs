//! The flags of `bptt train` that are settings of a run: one row of [`FLAGS`] is all that the program knows of one.
//!
//! The command line, the defaults, what `--resume` may change, the ranges that a `config.json` is held to, and the name by
//! which an error calls a setting all come from the rows. Values are JSON here, as `config.json` holds them; serde makes the
//! typed [`Settings`](super::settings::Settings) of them.
//!
//! **To add a flag**, add its row here and its field to `Settings` (or to `Config`, if the result does not depend on it),
//! then use the field. A test at the end of `settings.rs` says so if the two do not fit each other.

use super::processes::Machine;
use OnResume::{Free, Longer, Same};
use Preset::{Follows, Is, Null};
use Takes::{Bytes, DataPaths, Nothing, OneOf, Paths, Real, Whole};
use clap::{Arg, ArgAction, ArgMatches, value_parser};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// One flag.
pub struct Flag {
    /// Its name on the command line, without the dashes.
    pub name: &'static str,
    /// Its place in `config.json`, with dots between the names of nested objects.
    pub field: &'static str,
    takes: Takes,
    preset: Preset,
    pub on_resume: OnResume,
    /// The heading of `--help` under which it stands.
    heading: &'static str,
    help: &'static str,
}

/// The value that a flag takes, and its range.
enum Takes {
    /// No value: the flag is there or not.
    Nothing,
    /// The paths of DATA, which come without the flag's name.
    DataPaths,
    /// A path; more than one if the flag is repeated.
    Paths(&'static str),
    /// A whole number from the first bound to the second.
    Whole(&'static str, u64, u64),
    /// A number in this range.
    Real(&'static str, Range),
    /// A number of bytes, such as `1.5G`.
    Bytes(&'static str),
    /// One of these names, with bars between them.
    OneOf(&'static str),
}

/// The value of a flag that is not given.
enum Preset {
    /// This one, as it would be given.
    Is(&'static str),
    /// None; what the program does then, in words.
    Null(&'static str),
    /// It follows from other flags or from the machine; how, in words.
    Follows(fn(&Known) -> Value, &'static str),
}

/// What becomes of a flag that is given when a run goes on.
#[derive(PartialEq, Eq)]
pub enum OnResume {
    /// The result depends on it: it must be what the run has.
    Same,
    /// It bounds the length of the run, which may become longer.
    Longer,
    /// The result does not depend on it (or, of data, on its content alone): it is taken.
    Free,
}

const ANY: u64 = u64::MAX;
/// Which numbers are accepted, and the same in words.
pub type Range = (fn(f64) -> bool, &'static str);
pub const POSITIVE: Range = (|x| x > 0.0 && x.is_finite(), "a finite number above 0");
pub const FROM_ZERO: Range = (|x| x >= 0.0 && x.is_finite(), "a finite number from 0 up");
const FRACTION: Range = (
    |x| (0.0..1.0).contains(&x),
    "a number from 0 to less than 1, such as 0.1",
);

/// A parser of such numbers, for the flags of other commands.
pub fn within(range: Range) -> impl Fn(&str) -> Result<f64, String> + Clone + Send + Sync {
    move |text| {
        let number = text.parse().ok().filter(|&x| range.0(x));
        number.ok_or_else(|| format!("expected {}", range.1))
    }
}

/// Every flag that is a setting, in the order of `--help`.
#[rustfmt::skip]
pub static FLAGS: &[Flag] = &[
    // name, field in config.json, takes, preset, on resume, heading, help
    row("data", "data", DataPaths, Null(""), Free, "",
        "Text files or folders, or one .npz; nothing for the Reber grammar"),

    row("tokens", "tokens", OneOf("char|byte|word"), Is("char"), Same, DATA,
        "What a token of text is"),
    row("min-count", "min_count", Whole("K", 0, ANY), Is("1"), Same, DATA,
        "Words seen less often become <unk>"),
    row("vocab-size", "vocab_size", Whole("K", 1, ANY), Null("all"), Same, DATA,
        "The most words to keep, the frequent ones first; the rest become <unk>"),
    row("valid", "valid", Paths("DATA"), Null(""), Free, DATA,
        "Data to validate with, in place of a part of DATA"),
    row("valid-fraction", "valid_fraction", Real("FRACTION", FRACTION), Null("0.1, of a text no more than a million tokens"), Same, DATA,
        "The part of the data kept for validation: the end of a text, random sequences of a set; 0 for none"),
    row("batch", "batch", Whole("N", 1, ANY), Is("32"), Same, DATA,
        "Sequences per update"),
    row("seq-len", "seq_len", Whole("T", 1, ANY), Null("64; all steps of an .npz"), Same, DATA,
        "Steps per window: gradients flow back so far"),
    row("reset-state", "reset_state", Nothing, Is("false"), Same, DATA,
        "Start every window from a zero state, not only every document, in place of the state after the window before"),

    row("cell", "cell", OneOf("tanh|relu|gru|lstm"), Is("tanh"), Same, MODEL,
        "What the layers are made of"),
    row("hidden", "hidden", Whole("N", 1, 1 << 24), Is("256"), Same, MODEL,
        "Hidden units of each layer"),
    row("layers", "layers", Whole("L", 1, 256), Is("1"), Same, MODEL,
        "Layers, one on the other"),
    row("init", "init", OneOf("orthogonal|glorot|identity"), Is("orthogonal"), Same, MODEL,
        "How weights are drawn"),
    row("dtype", "dtype", OneOf("f32|f64"), Is("f32"), Same, MODEL,
        "The precision of all numbers"),

    row("steps", "steps", Whole("STEPS", 1, ANY), Follows(|known| if known.get("epochs").is_null() { json!(20_000) } else { Value::Null }, "20000, or what --epochs comes to"), Longer, OPTIMISATION,
        "Updates in all"),
    row("epochs", "epochs", Whole("EPOCHS", 1, ANY), Null(""), Longer, OPTIMISATION,
        "Times through the data; with --steps too, whichever ends first"),
    row("optimizer", "optimizer.algorithm", OneOf("gd|momentum|nesterov|rmsprop|adam|adamw"), Is("adam"), Same, OPTIMISATION,
        "How gradients become updates"),
    row("lr", "lr", Real("RATE", POSITIVE), Follows(rate, "0.002 for adam and adamw, 0.001 for rmsprop, 0.5 for gd, 0.05 for the others"), Same, OPTIMISATION,
        "The learning rate"),
    row("schedule", "schedule", OneOf("constant|cosine|halve-on-plateau"), Is("halve-on-plateau"), Same, OPTIMISATION,
        "The course of the learning rate"),
    row("warmup", "warmup", Whole("STEPS", 0, ANY), Follows(|known| json!(if known.is("schedule", "cosine") { 100 } else { 0 }), "0; 100 for cosine"), Same, OPTIMISATION,
        "Updates over which the rate rises to its full size"),
    row("clip-norm", "optimizer.clip.norm", Real("NORM", POSITIVE), Is("1"), Same, OPTIMISATION,
        "The largest Euclidean norm of a gradient; larger ones are scaled down"),
    row("clip-value", "optimizer.clip.value", Real("SIZE", POSITIVE), Null("none"), Same, OPTIMISATION,
        "The largest size of an element of a gradient"),
    row("dropout", "dropout.outputs", Real("P", FRACTION), Is("0"), Same, OPTIMISATION,
        "The probability that an output of a layer is dropped on its way to the layer above or to the classes"),
    row("input-dropout", "dropout.inputs", Real("P", FRACTION), Is("0"), Same, OPTIMISATION,
        "The probability that an input, or a token, is dropped"),
    row("weight-decay", "optimizer.weight_decay", Real("DECAY", FROM_ZERO), Follows(|known| json!(if known.is("optimizer", "adamw") { 0.01 } else { 0.0 }), "0; 0.01 for adamw"), Same, OPTIMISATION,
        "Weight decay"),
    row("patience", "patience", Whole("REPORTS", 0, u32::MAX as u64), Follows(|_| json!(0), "never"), Same, OPTIMISATION,
        "Stop after so many reports without a better validation loss"),
    row("seed", "seed", Whole("SEED", 0, ANY), Is("0"), Same, OPTIMISATION,
        "Seed of every random number"),

    row("threads", "threads", Whole("N", 1, ANY), Follows(|known| json!(known.machine.cores), "all cores"), Free, MACHINE,
        "Threads; no part of the result"),
    row("shards", "shards", Whole("N", 1, 1 << 16), Follows(|known| known.get("threads"), "as many as threads"), Same, MACHINE,
        "Parts a batch is cut into by each process, a part of the result (within rounding)"),
    row("reduction", "reduction", OneOf("ordered|fast"), Is("ordered"), Free, MACHINE,
        "Of several processes (mpirun): add gradients in the order of the shards, for the bits of one process with as many, \
         or as MPI is fastest"),
    row("memory", "memory", Bytes("BYTES"), Null("as it comes"), Same, MACHINE,
        "The most bytes of scratch, such as 500M: long windows are then run in segments, a third slower at most, a part of \
         the result (within rounding)"),

    row("report-every", "report_every", Whole("STEPS", 1, ANY), Null("by the size of the data"), Same, BOOKKEEPING,
        "Updates from report to report (validation, a line of the history)"),
    row("checkpoint-every", "checkpoint_every", Whole("STEPS", 1, ANY), Null("at every report"), Free, BOOKKEEPING,
        "Updates from checkpoint to checkpoint"),
    row("tensorboard", "tensorboard", Nothing, Is("false"), Free, BOOKKEEPING,
        "Write an event file into the run folder too; look at it with: tensorboard --logdir runs"),
];

const DATA: &str = "Data";
const MODEL: &str = "Model";
const OPTIMISATION: &str = "Optimisation";
const MACHINE: &str = "Machine";
pub const BOOKKEEPING: &str = "Bookkeeping";

fn rate(known: &Known) -> Value {
    json!(match known.get("optimizer").as_str() {
        Some("adam" | "adamw") => 0.002,
        Some("rmsprop") => 0.001,
        Some("gd") => 0.5,
        _ => 0.05,
    })
}

/// A row in one call, so that the table is a table.
const fn row(
    name: &'static str,
    field: &'static str,
    takes: Takes,
    preset: Preset,
    on_resume: OnResume,
    heading: &'static str,
    help: &'static str,
) -> Flag {
    Flag {
        name,
        field,
        takes,
        preset,
        on_resume,
        heading,
        help,
    }
}

/// The settings that a command line gives, by the names of their flags.
pub type Given = BTreeMap<&'static str, Value>;

/// What is given, and what follows from it for the rest.
pub struct Known<'a> {
    pub given: &'a Given,
    pub machine: Machine,
}

impl Known<'_> {
    /// The value of a flag, given or not.
    pub fn get(&self, name: &str) -> Value {
        if let Some(value) = self.given.get(name) {
            return value.clone();
        }
        let flag = FLAGS.iter().find(|flag| flag.name == name);
        match flag.map(|flag| (&flag.preset, &flag.takes)) {
            Some((Is(text), takes)) => takes.read(text).unwrap_or_default(),
            Some((Follows(from, _), _)) => from(self),
            Some((Null(_), DataPaths | Paths(_))) => json!([]),
            Some((Null(_), _)) | None => Value::Null,
        }
    }

    fn is(&self, name: &str, value: &str) -> bool {
        self.get(name) == value
    }
}

impl Flag {
    /// The flag as clap knows it.
    pub fn arg(&'static self) -> Arg {
        let default = match self.preset {
            Is(text) | Null(text) | Follows(_, text) => text,
        };
        let help = match (&self.takes, default) {
            (Nothing, _) | (_, "") => self.help.into(),
            _ => format!("{} [default: {default}]", self.help),
        };
        let arg = Arg::new(self.name).help(help);
        let (path, value) = (value_parser!(PathBuf), |text: &str| self.parse(text));
        let arg = match self.takes {
            DataPaths => return arg.value_name("DATA").num_args(0..).value_parser(path),
            Nothing => arg.action(ArgAction::SetTrue),
            Paths(name) => arg
                .value_name(name)
                .value_parser(path)
                .action(ArgAction::Append),
            Whole(name, ..) | Real(name, _) | Bytes(name) | OneOf(name) => {
                let arg = arg.value_name(name).value_parser(value);
                arg.allow_negative_numbers(true)
            }
        };
        arg.long(self.name).help_heading(self.heading)
    }

    /// The value that the command line gives this flag, if it does. A path must be Unicode, as all of `config.json` is; one
    /// that is not is the error.
    pub fn given(&self, matches: &ArgMatches) -> Result<Option<Value>, PathBuf> {
        match self.takes {
            Nothing => Ok(matches.get_flag(self.name).then_some(true.into())),
            DataPaths | Paths(_) => {
                let paths = matches.get_many::<PathBuf>(self.name);
                let text = |path: &PathBuf| Ok(json!(path.to_str().ok_or(path.clone())?));
                paths.map(|paths| paths.map(text).collect()).transpose()
            }
            _ => Ok(matches.get_one(self.name).cloned()),
        }
    }

    /// The names that it takes, if it takes names.
    #[cfg(test)]
    pub fn names(&self) -> Vec<&str> {
        match self.takes {
            OneOf(names) => names.split('|').collect(),
            _ => Vec::new(),
        }
    }

    fn parse(&self, text: &str) -> Result<Value, String> {
        let takes = &self.takes;
        let value = takes.read(text).filter(|value| takes.accepts(value));
        value.ok_or_else(|| format!("expected {}", takes.expected()))
    }

    /// Whether a `config.json` may hold this value; the error says what is expected.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        let may_be_null = !matches!(self.preset, Is(_));
        if self.takes.accepts(value) || (may_be_null && value.is_null()) {
            return Ok(());
        }
        let (field, expected) = (self.field, self.takes.expected());
        Err(format!("`{field}` is {value}, expected {expected}"))
    }
}

impl Takes {
    /// The value that a text stands for, whether it is in range or not.
    fn read(&self, text: &str) -> Option<Value> {
        Some(match self {
            Whole(..) => json!(text.parse::<u64>().ok()?),
            Real(..) => json!(text.parse::<f64>().ok()?),
            Nothing => json!(text.parse::<bool>().ok()?),
            Bytes(_) => json!(bytes(text)?),
            OneOf(_) | DataPaths | Paths(_) => json!(text),
        })
    }

    fn accepts(&self, value: &Value) -> bool {
        let accepted = match self {
            Nothing => value.as_bool().map(|_| true),
            DataPaths | Paths(_) => value
                .as_array()
                .map(|paths| paths.iter().all(Value::is_string)),
            Whole(_, least, most) => value.as_u64().map(|n| (*least..=*most).contains(&n)),
            Real(_, range) => value.as_f64().map(range.0),
            Bytes(_) => value.as_u64().map(|n| n > 0),
            OneOf(names) => value
                .as_str()
                .map(|name| names.split('|').any(|known| known == name)),
        };
        accepted.unwrap_or(false)
    }

    fn expected(&self) -> String {
        match self {
            Nothing => "true or false".into(),
            DataPaths | Paths(_) => "a list of paths".into(),
            Whole(_, least, ANY) => format!("a whole number from {least} up"),
            Whole(_, least, most) => format!("a whole number from {least} to {most}"),
            Real(_, range) => range.1.into(),
            Bytes(_) => "a number of bytes, such as 500M or 2G".into(),
            OneOf(names) => format!("one of {}", names.replace('|', ", ")),
        }
    }
}

/// A number of bytes: `1000000`, `500k`, `1.5G`.
fn bytes(text: &str) -> Option<u64> {
    let number = text.trim_end_matches(['b', 'B', 'i']);
    let units = [
        (['k', 'K'], 1u64 << 10),
        (['m', 'M'], 1 << 20),
        (['g', 'G'], 1 << 30),
    ];
    let unit = units
        .iter()
        .find_map(|(letters, factor)| Some((number.strip_suffix(*letters)?, *factor)));
    let (number, factor) = unit.unwrap_or((number, 1));
    let bytes = number.trim().parse::<f64>().ok()? * factor as f64;
    (bytes >= 1.0 && bytes < (1u64 << 53) as f64).then_some(bytes as u64)
}
