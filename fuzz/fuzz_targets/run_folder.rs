//! A run folder from a stranger: `config.json` and `history.jsonl`.
//!
//! The first byte says which of them the rest is.
#![no_main]
#![allow(dead_code)]

use libfuzzer_sys::fuzz_target;

#[path = "../../src/cli/args.rs"]
mod args;
#[path = "../../src/cli/run_folder.rs"]
mod run_folder;
#[path = "../../src/cli/settings.rs"]
mod settings;

fuzz_target!(|bytes: &[u8]| {
    let Some((&first, text)) = bytes.split_first() else {
        return;
    };
    if first & 1 == 0 {
        if let Ok(config) = settings::Config::parse(text) {
            let settings = &config.settings;
            assert!(settings.steps.or(settings.epochs).is_some());
            let again = serde_json::to_value(settings).unwrap();
            assert!(settings.is_run_of(&again));
            let options = settings.train_options(1);
            assert!(options.schedule.factor(1, 1, options.warmup).is_finite());
            assert!(config.threads > 0 && config.checkpoint_every != Some(0));
        }
    } else if let Ok((history, length)) = run_folder::first_reports(text, u64::from(first / 2)) {
        assert!(history.len() as u64 == u64::from(first / 2) && length <= text.len() as u64);
        let losses = history.iter().map(|report| (report.step as f64, report.train_loss));
        let points: Vec<_> = losses.collect();
        let curve = bptt::train::plot::Curve {
            name: "training",
            points: &points,
        };
        let labels = bptt::train::plot::Labels {
            title: "",
            x: "",
            y: "",
        };
        // Whatever numbers they are, they can be drawn.
        let path = std::path::Path::new("/dev/null");
        let _ = bptt::train::plot::draw(path, labels, &[curve]);
    }
});
