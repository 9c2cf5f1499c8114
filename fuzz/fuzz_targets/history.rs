//! A `history.jsonl` from a stranger.
//!
//! The first byte says how many reports a checkpoint knows of.
#![no_main]

use bptt::train::history::first_reports;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((&reports, text)) = bytes.split_first() else {
        return;
    };
    if let Ok((history, length)) = first_reports(text, reports.into()) {
        assert_eq!(history.len(), usize::from(reports));
        assert!(length <= text.len() as u64);
        // What was read is what a run would have written: it can be written and read again.
        let mut again = Vec::new();
        for report in &history {
            serde_json::to_writer(&mut again, report).unwrap();
            again.push(b'\n');
        }
        assert_eq!(
            first_reports(&again, reports.into()).unwrap().0.len(),
            history.len()
        );
    }
});
