//! What DATA on the command line means: text, one .npz, or the Reber grammar.

use super::memory;
use super::output::{Output, plural};
use super::settings::Settings;
use anyhow::{Context, Result, bail};
use bptt::data::{
    Corpus, Loader, Readers, Reading, Sequences, TokenKind, Vocabulary, WordLimits, best_loss,
    file_fingerprint, reber,
};
use bptt::ranks::Ranks;
use bptt::{At, Head, Input, Scalar};
use indicatif::HumanCount;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::Xxh3;

/// Steps per window of text where none are given.
const SEQ_LEN: usize = 64;

/// Strings of the generated task: about 100,000 letters.
const REBER_STRINGS: usize = 13_000;

/// The part of the data kept for validation where nothing else is said ...
const VALID_FRACTION: f64 = 0.1;

/// ... of a text no more than so many tokens: a second or two of evaluation, and a loss to three digits.
const VALID_TOKENS: usize = 1_000_000;

/// Data to train on.
pub struct Dataset<T> {
    pub train: Loader<T>,
    pub valid: Option<Loader<T>>,
    /// What a network for it reads and answers.
    pub input: Input,
    pub head: Head,
    pub vocabulary: Option<Vocabulary>,
    /// What the best possible predictor would lose on the validation data, where that is known.
    pub best_loss: Option<f64>,
    /// A line about it.
    pub summary: String,
    pub digest: String,
    /// The part of it that was kept for validation, if there is no other data to validate with.
    pub valid_fraction: Option<f64>,
    /// Updates from report to report that suit it.
    pub report_every: u64,
}

/// DATA, if it is one .npz.
pub fn npz(data: &[PathBuf]) -> Result<Option<&Path>> {
    let ending = |path: &PathBuf| path.extension().map(OsStr::to_ascii_lowercase);
    let is_npz = |path: &&PathBuf| ending(path).is_some_and(|ending| ending == "npz");
    let npz = data.iter().find(is_npz);
    if npz.is_some() && data.len() > 1 {
        bail!("an .npz must be the only DATA, found {} paths", data.len());
    }
    Ok(npz.map(PathBuf::as_path))
}

/// The sequences of an `.npz` file: in memory, if there is room for them and no other process reads them as well.
pub fn read_set<T: Scalar>(
    path: &Path,
    ranks: Option<&dyn Ranks>,
    output: Output,
) -> Result<Sequences<T>> {
    let has_room = |bytes| memory::check_reading(path, bytes, "use fewer or shorter sequences");
    if ranks.is_none() && has_room(Sequences::<T>::npz_memory(path, true)?).is_ok() {
        return Ok(Sequences::read_npz(path)?);
    }
    has_room(Sequences::<T>::open_npz_memory(path)?)?;
    let set = Sequences::open_npz(path, ranks)?;
    match (set.stays_in_file(), ranks) {
        (true, None) => output.remark(format_args!(
            "{}: more than fits into memory, so each window is read when it is needed",
            path.display()
        )),
        (false, Some(_)) => output.remark(format_args!(
            "{}: its arrays are compressed or in Fortran order, so every rank reads and keeps all of them; \
             `numpy.savez` of arrays in C order lets each read its part",
            path.display()
        )),
        _ => {}
    }
    Ok(set)
}

/// Says how many files were passed over, and how many hold no text.
pub fn say_skipped(reading: &Reading, output: Output) {
    if reading.other_formats > 0 {
        output.remark(format_args!(
            "read as bytes though they are archives, compressed or no text: {}; of compressed bytes nothing can be learnt, unpack \
             such files first",
            plural(reading.other_formats, "file")
        ));
    }
    let skipped = [
        (reading.skipped, "are not UTF-8 text, or hold runs,"),
        (reading.ignored, "are named by .gitignore or .ignore"),
    ];
    for (count, why) in skipped.into_iter().filter(|(count, _)| *count > 0) {
        output.remark(format_args!(
            "{count} files or folders {why} and were skipped"
        ));
    }
}

/// Says how many words the vocabulary lacks, for a loss is flattered by what is all one word; and that `<unk>` itself is not
/// learnt, if that is so.
fn say_unknown(corpus: &Corpus, valid: &Corpus, output: Output) {
    let unknown = |part: &Corpus| part.unknown_words().unwrap_or(0) as f64;
    let [train, valid] =
        [corpus, valid].map(|part| 100.0 * unknown(part) / part.len().max(1) as f64);
    if train > 0.0 {
        output.remark(format_args!(
            "read as <unk>: {train:.2} % of the words to train on, {valid:.2} % of the words to validate with"
        ));
    } else if valid > 0.0 {
        output.remark(format_args!(
            "{valid:.2} % of the words to validate with are unknown, and <unk>, as which they are read, never occurs in training: \
             --min-count 2 teaches it"
        ));
    }
}

impl<T: Scalar> Dataset<T> {
    /// As the settings say; text in the symbols of a `vocabulary`, if there is one already.
    pub fn read(
        settings: &Settings,
        vocabulary: Option<&Vocabulary>,
        output: Output,
        readers: Readers<'_>,
    ) -> Result<Self> {
        let ranks = readers.ranks;
        if let Some(path) = npz(&settings.data)? {
            return Self::sequences(path, settings, output, ranks);
        }
        let fraction = settings.valid_fraction;
        if settings.data.is_empty() {
            let text = reber(REBER_STRINGS, settings.seed);
            let fraction = fraction.unwrap_or(VALID_FRACTION);
            let (train, valid) = text.split_at(reber_cut(&text, fraction));
            let vocabulary = Vocabulary::of_chars(&text);
            let [corpus, held] = [train, valid].map(|part| Corpus::from_text(part, &vocabulary));
            let name = format!("{REBER_STRINGS} strings of the Reber grammar");
            let mut data = Self::text(settings, (corpus?, held?), &name, ranks)?;
            (data.best_loss, data.valid_fraction) = (best_loss(valid), Some(fraction));
            return Ok(data);
        }
        let limits = WordLimits {
            min_count: settings.min_count,
            vocab_size: settings.vocab_size,
        };
        let (corpus, reading) = match vocabulary {
            Some(vocabulary) => Corpus::read_part_with(&settings.data, vocabulary, readers)?,
            None => Corpus::read_part(&settings.data, settings.tokens, limits, readers)?,
        };
        say_skipped(&reading, output);
        let name = match reading.files {
            1 => settings.data[0].display().to_string(),
            n => format!("{n} files"),
        };
        let most = VALID_TOKENS as f64 / corpus.len().max(1) as f64;
        let part = fraction.unwrap_or(VALID_FRACTION.min(most));
        let part = settings.valid.is_empty().then_some(part);
        let (corpus, valid) = match part {
            Some(part) => corpus.split(part)?,
            None => {
                let held = Corpus::read_part_with(&settings.valid, corpus.vocabulary(), readers)?;
                (corpus, held.0)
            }
        };
        say_unknown(&corpus, &valid, output);
        let mut data = Self::text(settings, (corpus, valid), &name, ranks)?;
        data.valid_fraction = part;
        Ok(data)
    }

    fn text(
        settings: &Settings,
        (corpus, valid): (Corpus, Corpus),
        name: &str,
        ranks: Option<&dyn Ranks>,
    ) -> Result<Self> {
        let vocabulary = corpus.vocabulary().clone();
        let summary = format!(
            "{name}: {} {}s to train on, {} to validate with, {} different",
            HumanCount(corpus.len() as u64),
            kind_name(vocabulary.kind()),
            HumanCount(valid.len() as u64),
            vocabulary.len()
        );
        let mut digest = Xxh3::new();
        digest.update(vocabulary.to_json().as_bytes());
        for part in [&corpus, &valid] {
            digest.update(&part.fingerprint(ranks).to_le_bytes());
            digest.update(&(part.len() as u64).to_le_bytes());
            // Where documents begin; what one document is fingerprinted by has never been more than its tokens.
            for document in part.documents().skip(1) {
                digest.update(&(document.start as u64).to_le_bytes());
            }
        }
        let seq_len = settings.seq_len.unwrap_or(SEQ_LEN);
        let valid_tokens = valid.len();
        let train = Loader::text(corpus, settings.batch, seq_len);
        let train = train.with_context(|| summary.clone())?;
        if valid_tokens > 0 && valid.predictions() == 0 {
            let tokens = plural(valid_tokens, "token");
            bail!(
                "{tokens} to validate with and no two of one file: nothing can be predicted; give more text or \
                 --valid-fraction 0"
            );
        }
        let valid = (valid_tokens > 0).then(|| Loader::evaluation_text(valid));
        Ok(Dataset {
            report_every: report_every(&train, valid_tokens),
            train,
            valid: valid.transpose()?,
            input: Input::Tokens(vocabulary.len()),
            head: Head::softmax(vocabulary.len()),
            vocabulary: Some(vocabulary),
            best_loss: None,
            summary,
            valid_fraction: None,
            digest: format!("{:032x}", digest.digest128()),
        })
    }

    fn sequences(
        path: &Path,
        settings: &Settings,
        output: Output,
        ranks: Option<&dyn Ranks>,
    ) -> Result<Self> {
        let set = read_set::<T>(path, ranks, output)?;
        let mut digest = Xxh3::new();
        digest.update(&file_fingerprint(path, ranks)?.to_le_bytes());
        let (head, kind, (n_x, n_y)) = (set.head(), set.target_kind(), set.dims());
        if settings.loss.is_none() {
            let at = match head.at {
                At::Every => "an answer at every step",
                At::Last => "an answer once a sequence",
            };
            output.remark(format_args!(
                "the targets are {kind}, {at}: they are judged by --loss {}, unless another is given",
                head.loss.name()
            ));
        }
        let fraction = settings.valid_fraction.unwrap_or(VALID_FRACTION);
        let name = path.display();
        let (train, valid) = match &settings.valid[..] {
            [] if fraction == 0.0 => (set, None),
            [] => {
                let (train, valid) = set.split(fraction, settings.seed)?;
                (train, Some(valid))
            }
            [valid] => {
                digest.update(&file_fingerprint(valid, ranks)?.to_le_bytes());
                let held = read_set::<T>(valid, ranks, output)?;
                let valid = valid.display();
                held.check(set.input(), set.head()).with_context(|| {
                    format!(
                        "--valid {valid} does not fit {name} (where the largest ids to train on are not all there are, state \
                         the sizes in it as `n_x` and `n_y`)"
                    )
                })?;
                (set, Some(held))
            }
            many => bail!("--valid: one .npz is expected, found {} paths", many.len()),
        };
        let input = train.input();
        let summary = format!(
            "{name}: {} sequences of {} steps to train on, {} to validate with, {n_x} {}, {n_y} {}",
            HumanCount(train.len() as u64),
            train.steps(),
            valid.as_ref().map_or(0, Sequences::len),
            ["features", "tokens"][usize::from(input.is_tokens())],
            settings.loss.unwrap_or(head.loss).answers(),
        );
        let valid_steps = valid.as_ref().map_or(0, |v| v.len() * v.steps());
        let part = |what| format!("{name}: the part to {what}");
        let train = Loader::sequences(train, settings.batch, settings.seq_len, settings.seed);
        let train = train.with_context(|| part("train on"))?;
        let valid = valid.map(Loader::evaluation_sequences).transpose();
        Ok(Dataset {
            report_every: report_every(&train, valid_steps),
            train,
            valid: valid.with_context(|| part("validate with (--valid-fraction, --valid)"))?,
            input,
            head,
            vocabulary: None,
            best_loss: None,
            summary,
            valid_fraction: settings.valid.is_empty().then_some(fraction),
            digest: format!("{:032x}", digest.digest128()),
        })
    }
}

/// Reports so far apart that validation, at a third of training's cost a token, takes less than a tenth of the time;
/// at least every 200 updates or every epoch apart from that.
fn report_every<T: Scalar>(train: &Loader<T>, valid_tokens: usize) -> u64 {
    let (rows, steps) = train.shape();
    let affordable = (4 * valid_tokens).div_ceil(rows * steps) as u64;
    affordable.max(train.windows_per_epoch().min(200)).max(10)
}

/// Where validation begins in generated text: at the beginning of a string.
fn reber_cut(text: &str, fraction: f64) -> usize {
    let cut = ((1.0 - fraction) * text.len() as f64) as usize;
    text[..cut].rfind('\n').map_or(text.len(), |at| at + 1)
}

pub fn kind_name(kind: TokenKind) -> &'static str {
    match kind {
        TokenKind::Char => "character",
        TokenKind::Byte => "byte",
        TokenKind::Word => "word",
    }
}
