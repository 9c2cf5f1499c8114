//! What DATA on the command line means: text, one .npz, or the Reber grammar.

use super::format::{group, plural};
use super::memory;
use super::output::Output;
use super::settings::Settings;
use anyhow::{Context, Result, bail};
use bptt::data::{
    Corpus, Loader, Sequences, TokenKind, Vocabulary, WordLimits, best_loss, file_fingerprint,
    reber,
};
use bptt::ranks::Ranks;
use bptt::{Head, Input, Scalar};
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
    /// The part of it that was kept for validation.
    pub valid_fraction: f64,
    /// Updates from report to report that suit it.
    pub report_every: u64,
}

/// Whether DATA is one .npz.
pub fn is_npz(data: &[PathBuf]) -> Result<bool> {
    let npz = |path: &PathBuf| {
        path.extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("npz"))
    };
    match data {
        [one] => Ok(npz(one)),
        many if many.iter().any(npz) => {
            bail!("an .npz must be the only DATA, found {} paths", many.len())
        }
        _ => Ok(false),
    }
}

/// The sequences of an `.npz` file: in memory, if there is room for them and no other process reads them as well.
pub fn read_set<T: Scalar>(
    path: &Path,
    ranks: Option<&dyn Ranks>,
    output: Output,
) -> Result<Sequences<T>> {
    if ranks.is_none() && memory::check_npz::<T>(path, true).is_ok() {
        return Ok(Sequences::read_npz(path)?);
    }
    memory::check_open_npz::<T>(path)?;
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

impl<T: Scalar> Dataset<T> {
    pub fn read(settings: &Settings, output: Output, ranks: Option<&dyn Ranks>) -> Result<Self> {
        if is_npz(&settings.data)? {
            return Self::sequences(settings, output, ranks);
        }
        let (mut best, mut fraction) = (None, 0.0);
        let (corpus, valid, summary) = if settings.data.is_empty() {
            let text = reber(REBER_STRINGS, settings.seed);
            fraction = settings.valid_fraction.unwrap_or(VALID_FRACTION);
            let cut = reber_cut(&text, fraction);
            best = best_loss(&text[cut..]);
            let whole = Vocabulary::of_chars(&text);
            let corpus = Corpus::from_text(&text[..cut], &whole)?;
            let valid = Corpus::from_text(&text[cut..], &whole)?;
            (
                corpus,
                valid,
                format!("{REBER_STRINGS} strings of the Reber grammar"),
            )
        } else {
            let limits = WordLimits {
                min_count: settings.min_count,
                vocab_size: settings.vocab_size,
            };
            let (corpus, reading) =
                Corpus::read_part(&settings.data, settings.tokens, limits, ranks)?;
            if reading.skipped > 0 {
                output.remark(format_args!(
                    "{} files are not UTF-8 text and were skipped",
                    reading.skipped
                ));
            }
            let summary = match reading.files {
                1 => format!("{}", settings.data[0].display()),
                n => format!("{n} files"),
            };
            if settings.valid.is_empty() {
                let most = VALID_TOKENS as f64 / corpus.len().max(1) as f64;
                fraction = settings.valid_fraction.unwrap_or(VALID_FRACTION.min(most));
                let (corpus, valid) = corpus.split(fraction)?;
                (corpus, valid, summary)
            } else {
                let (valid, _) =
                    Corpus::read_part_with(&settings.valid, corpus.vocabulary(), ranks)?;
                (corpus, valid, summary)
            }
        };
        let mut data = Self::text(settings, corpus, valid, best, &summary, ranks)?;
        data.valid_fraction = fraction;
        Ok(data)
    }

    fn text(
        settings: &Settings,
        corpus: Corpus,
        valid: Corpus,
        best_loss: Option<f64>,
        name: &str,
        ranks: Option<&dyn Ranks>,
    ) -> Result<Self> {
        let vocabulary = corpus.vocabulary().clone();
        let summary = format!(
            "{name}: {} {}s to train on, {} to validate with, {} different",
            group(corpus.len() as u64),
            kind_name(vocabulary.kind()),
            group(valid.len() as u64),
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
        let train =
            Loader::text(corpus, settings.batch, seq_len).with_context(|| summary.clone())?;
        if valid_tokens > 0 && valid.predictions() == 0 {
            let tokens = plural(valid_tokens, "token");
            bail!(
                "{tokens} to validate with and no two of one file: nothing can be predicted; give more text or \
                 --valid-fraction 0"
            );
        }
        let valid = match valid_tokens {
            0 => None,
            _ => Some(Loader::evaluation_text(valid)?),
        };
        let (rows, steps) = train.shape();
        Ok(Dataset {
            report_every: report_every(train.windows_per_epoch(), rows * steps, valid_tokens),
            train,
            valid,
            input: Input::Tokens(vocabulary.len()),
            head: Head::softmax(vocabulary.len()),
            vocabulary: Some(vocabulary),
            best_loss,
            summary,
            valid_fraction: 0.0,
            digest: format!("{:032x}", digest.digest128()),
        })
    }

    fn sequences(settings: &Settings, output: Output, ranks: Option<&dyn Ranks>) -> Result<Self> {
        let path = &settings.data[0];
        let set = read_set::<T>(path, ranks, output)?;
        let mut digest = Xxh3::new();
        digest.update(&file_fingerprint(path, ranks)?.to_le_bytes());
        let (n_x, n_y) = set.dims();
        let fraction = match settings.valid.is_empty() {
            true => settings.valid_fraction.unwrap_or(VALID_FRACTION),
            false => 0.0,
        };
        let (train, valid) = match &settings.valid[..] {
            [] if fraction == 0.0 => (set, None),
            [] => {
                let (train, valid) = set.split(fraction, settings.seed)?;
                (train, Some(valid))
            }
            [valid] => {
                digest.update(&file_fingerprint(valid, ranks)?.to_le_bytes());
                let valid = read_set::<T>(valid, ranks, output)?;
                valid.check(set.input(), n_y)?;
                (set, Some(valid))
            }
            many => bail!("--valid: one .npz is expected, found {} paths", many.len()),
        };
        let input = train.input();
        let summary = format!(
            "{}: {} sequences of {} steps to train on, {} to validate with, {n_x} {}, {n_y} classes",
            path.display(),
            group(train.len() as u64),
            train.steps(),
            valid.as_ref().map_or(0, Sequences::len),
            if input.is_tokens() {
                "tokens"
            } else {
                "features"
            },
        );
        let valid_steps = valid.as_ref().map_or(0, |v| v.len() * v.steps());
        let train = Loader::sequences(train, settings.batch, settings.seq_len, settings.seed)?;
        let (rows, steps) = train.shape();
        Ok(Dataset {
            report_every: report_every(train.windows_per_epoch(), rows * steps, valid_steps),
            train,
            valid: valid.map(Loader::evaluation_sequences).transpose()?,
            input,
            head: Head::softmax(n_y),
            vocabulary: None,
            best_loss: None,
            summary,
            valid_fraction: fraction,
            digest: format!("{:032x}", digest.digest128()),
        })
    }
}

/// Reports so far apart that validation, at a third of training's cost a token, takes less than a tenth of the time;
/// at least every 200 updates or every epoch apart from that.
fn report_every(windows_per_epoch: u64, tokens_per_window: usize, valid_tokens: usize) -> u64 {
    let affordable = (4 * valid_tokens).div_ceil(tokens_per_window) as u64;
    affordable.max(windows_per_epoch.min(200)).max(10)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_as_far_apart_as_validation_costs() {
        assert_eq!(report_every(490, 2048, 111_540), 218);
        assert_eq!(report_every(1000, 2048, 0), 200);
        assert_eq!(report_every(3, 2048, 100), 10);
    }
}
