//! The history of a run as text: a line of JSON for each [`Report`].

use super::{Progress, Report};
use crate::{Error, Result};

/// The first `reports` lines of a history, and how many bytes they take. What follows them may be anything: a run that was
/// killed may have written reports after its last checkpoint, the last of them in part.
///
/// # Errors
/// [`Error::Invalid`] if there are fewer whole lines, or one of them is no report.
pub fn first_reports(text: &[u8], reports: u64) -> Result<(Vec<Report>, u64)> {
    let wrong = |problem| Error::invalid("history", problem);
    let (mut history, mut bytes) = (Vec::new(), 0);
    let lines = text.split_inclusive(|&byte| byte == b'\n');
    let whole = lines.take_while(|line| line.ends_with(b"\n"));
    for line in whole.take(usize::try_from(reports).unwrap_or(usize::MAX)) {
        let number = history.len() + 1;
        let report = serde_json::from_slice(line);
        history.push(report.map_err(|e| wrong(format!("line {number} is no report: {e}")))?);
        bytes += line.len() as u64;
    }
    let lines = history.len() as u64;
    let problem = || format!("there are {lines} whole lines, the checkpoint knows {reports}");
    match lines < reports {
        true => Err(wrong(problem())),
        false => Ok((history, bytes)),
    }
}

/// Whether the last of these reports is that of a checkpoint with this progress.
///
/// # Errors
/// [`Error::Invalid`] if it is another.
pub fn check_last(history: &[Report], progress: &Progress) -> Result<()> {
    let Some(last) = history.last() else {
        return Ok(());
    };
    let (step, tokens, now, read) = (last.step, last.tokens, progress.step, progress.tokens);
    let fits = match progress.has_pending() {
        true => step < now && tokens < read,
        false => (step, tokens, last.lr) == (now, read, progress.lr),
    };
    if fits && last.divergences <= progress.divergences {
        return Ok(());
    }
    let problem = format!(
        "its last report is of step {step}, {tokens} tokens and a rate of {}, and the checkpoint of step {now}, {read} tokens and a \
         rate of {}: one of them was changed, or is of another run",
        last.lr, progress.lr
    );
    Err(Error::invalid("history", problem))
}
