//! A custom observer: sees every step and every report of a run, and may end it.
//!
//! ```text
//! cargo run --release --example observer [FOLDER]
//! ```
//!
//! This one collects the losses and ends the run as soon as a report's is low enough. Beside it, in a pair that is an
//! observer too, the library's own saves the run.

use bptt::data::{Corpus, Loader, Vocabulary};
use bptt::model::About;
use bptt::train::{
    Checkpoints, Control, Observer, Report, StepReport, StopReason, TrainOptions, Trainer,
};
use bptt::{Architecture, Error, Head, Init, Input, Network, Result, Scalar};
use std::path::{Path, PathBuf};

fn main() -> Result<()> {
    let folder = std::env::args_os()
        .nth(1)
        .map_or_else(|| std::env::temp_dir().join("bptt-observer"), PathBuf::from);
    let (mine, reason) = train(&folder)?;
    for (step, loss) in &mine.reports {
        println!("step {step:>5}  loss {loss:.3}");
    }
    println!(
        "{reason:?} after {} steps; saved in {}",
        mine.losses.len(),
        folder.display()
    );
    Ok(())
}

/// Ends a run at a loss that is good enough.
#[derive(Debug)]
pub struct GoodEnough {
    pub wanted: f64,
    /// The loss of every step.
    pub losses: Vec<f64>,
    /// Step and mean loss of every report.
    pub reports: Vec<(u64, f64)>,
}

impl<T: Scalar> Observer<T> for GoodEnough {
    /// After every update, and after the report if there was one.
    fn step(&mut self, _: &Trainer<T>, step: &StepReport) -> Result<Control> {
        self.losses.push(step.loss);
        Ok(match self.reports.last() {
            Some(&(_, loss)) if loss <= self.wanted => Control::Stop,
            _ => Control::Continue,
        })
    }

    /// Now and then. All of the run can be looked at: its weights, its history, its engine.
    fn report(&mut self, run: &Trainer<T>, report: &Report, _best: bool) -> Result<()> {
        assert!(run.network().parameters().norm().is_finite());
        self.reports.push((report.step, report.train_loss));
        Ok(())
    }

    /// A step was not finite: the trainer has dropped it and gone back.
    fn diverged(&mut self, _: &Trainer<T>, what: &Error) -> Result<()> {
        eprintln!("{what}");
        Ok(())
    }
}

/// Trains a character model of a rhyme, saved in `folder`.
pub fn train(folder: &Path) -> Result<(GoodEnough, StopReason)> {
    let text = "one for sorrow, two for joy, three for a girl, four for a boy;\n".repeat(20);
    let vocabulary = Vocabulary::of_chars(&text);
    let corpus = Corpus::from_text(&text, &vocabulary)?;
    let symbols = vocabulary.len();
    let architecture = Architecture::new(Input::Tokens(symbols), 32, Head::softmax(symbols));
    let mut run = Trainer::new(
        Network::<f32>::new(architecture, Init::Orthogonal, 0)?,
        Loader::text(corpus, 8, 32)?,
        TrainOptions {
            steps: 2000,
            lr: 0.01,
            report_every: 20,
            ..TrainOptions::default()
        },
    )?;
    let mine = GoodEnough {
        wanted: 0.2,
        losses: Vec::new(),
        reports: Vec::new(),
    };
    std::fs::create_dir_all(folder)?;
    let about = About {
        vocabulary: Some(vocabulary),
        ..About::default()
    };
    let saved = Checkpoints::new(folder, about); // `saved.restore(&mut run)?` would go on from it
    let mut observers = (mine, saved);
    let reason = run.run(&mut observers)?;
    Ok((observers.0, reason))
}
