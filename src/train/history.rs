//! The history of a run as text: a line of JSON for each [`Report`].

use super::Report;
use crate::{Error, Result};

/// The first `reports` lines of a history, and how many bytes they take. What follows them may be anything: a run that was
/// killed may have written reports after its last checkpoint, the last of them in part.
///
/// # Errors
/// [`Error::Invalid`] if there are fewer whole lines, or one of them is no report.
pub fn first_reports(text: &[u8], reports: u64) -> Result<(Vec<Report>, u64)> {
    let wrong = |problem: String| Error::Invalid {
        what: "history",
        problem,
    };
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
    if lines < reports {
        return Err(wrong(format!(
            "there are {lines} whole lines, the checkpoint knows {reports}"
        )));
    }
    Ok((history, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"step":1,"epoch":0.1,"tokens":5,"train_loss":1.5,"valid_loss":null,"lr":0.1,"grad_norm":1.0,"divergences":0,"tokens_per_second":9.0}"#;

    #[test]
    fn half_a_line_is_no_report() {
        let text = format!("{LINE}\n{LINE}\n{}", &LINE[..40]);
        let (history, bytes) = first_reports(text.as_bytes(), 2).unwrap();
        assert_eq!((history.len(), bytes), (2, 2 * (LINE.len() as u64 + 1)));
        // Neither is a whole one whose end is missing: the next would be written behind it.
        for cut in [1, 20, LINE.len() + 1] {
            let text = &text[..2 * LINE.len() + 2 - cut];
            let error = first_reports(text.as_bytes(), 2).unwrap_err().to_string();
            assert!(error.contains("1 whole line"), "{error}");
        }
        let (history, bytes) = first_reports(b"\xff not even text", 0).unwrap();
        assert_eq!((history.len(), bytes), (0, 0));
        assert!(first_reports(b"{}\n", 1).is_err());
        assert!(first_reports(b"", u64::MAX).is_err());
    }
}
