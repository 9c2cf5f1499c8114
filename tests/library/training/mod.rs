//! How a run ends, and what it does on the way there: divergence, plateaus, patience.

mod divergence;
mod schedules;

use crate::support::options as engine_options;
use bptt::data::{Corpus, Loader, OwnedInputs, OwnedTargets, Padding, Sequences, Vocabulary};
use bptt::model::About;
use bptt::optim::{Algorithm, OptimizerOptions};
use bptt::train::{
    Checkpoints, Control, DIVERGENCES, Observer, PLATEAU, Report, Schedule, StepReport, StopReason,
    TrainOptions, Trainer,
};
use bptt::{
    Architecture, Cell, Engine, Error, Head, Init, Input, Inputs, Loss, Network, Parameters,
    Result, Scalar,
};
use ndarray::{Array2, Array3, s};
use std::time::Instant;

fn corpus() -> Corpus {
    let text = "so it goes. ".repeat(60);
    Corpus::from_text(&text, &Vocabulary::of_chars(&text)).unwrap()
}

fn trainer(options: TrainOptions, algorithm: Algorithm) -> Trainer<f32> {
    let corpus = corpus();
    let n = corpus.vocabulary().len();
    let architecture = Architecture::new(Input::Tokens(n), 16, Head::softmax(n));
    let network = Network::<f32>::new(architecture, Init::Orthogonal, 0).unwrap();
    let valid = Loader::evaluation_text(corpus.clone()).unwrap();
    let options = TrainOptions {
        optimizer: OptimizerOptions {
            algorithm,
            ..OptimizerOptions::default()
        },
        engine: engine_options(1, 2),
        ..options
    };
    let loader = Loader::text(corpus, 4, 12).unwrap();
    Trainer::new(network, loader, options)
        .unwrap()
        .with_validation(valid)
}

/// Sees to it that no step, report or message has a number that is none.
#[derive(Default)]
struct Watch {
    diverged: Vec<u64>,
    /// The states that it went back to.
    states: Vec<Array2<f32>>,
    rates: Vec<f64>,
}

impl Observer<f32> for Watch {
    fn step(&mut self, _: &Trainer<f32>, step: &StepReport) -> Result<Control> {
        assert!(step.loss.is_finite());
        Ok(Control::Continue)
    }

    fn report(&mut self, run: &Trainer<f32>, report: &Report, _: bool) -> Result<()> {
        assert!(report.train_loss.is_finite() && report.grad_norm.is_finite());
        assert!(run.network().parameters().all_finite() && run.best().all_finite());
        assert!(run.progress().best_loss.is_none_or(f64::is_finite));
        assert_eq!(report.divergences, self.diverged.len() as u32);
        self.rates.push(report.lr);
        Ok(())
    }

    fn diverged(&mut self, run: &Trainer<f32>, what: &Error) -> Result<()> {
        assert!(matches!(what, Error::Diverged { .. }), "{what}");
        assert!(run.network().parameters().all_finite());
        self.diverged.push(run.progress().step);
        self.states.push(run.checkpoint().state.clone());
        Ok(())
    }
}

#[test]
fn epochs_are_counted_in_windows_and_speed_in_tokens() {
    let windows = Loader::<f32>::text(corpus(), 4, 12)
        .unwrap()
        .windows_per_epoch();
    let options = TrainOptions {
        steps: windows + 4,
        report_every: 3,
        ..TrainOptions::default()
    };
    let mut run = trainer(options, Algorithm::Gd);
    let begin = Instant::now();
    run.run(&mut Watch::default()).unwrap();
    let elapsed = begin.elapsed().as_secs_f64();
    let epochs = |step: u64| step as f64 / windows as f64;
    assert!((run.epoch() - epochs(windows + 4)).abs() < 1e-12);
    let (mut seconds, mut tokens) = (0.0, 0);
    for report in run.history() {
        assert!(
            (report.epoch - epochs(report.step)).abs() < 1e-12,
            "{report:?}"
        );
        seconds += (report.tokens - tokens) as f64 / report.tokens_per_second;
        tokens = report.tokens;
    }
    assert!(
        0.0 < seconds && seconds <= elapsed,
        "{seconds} of {elapsed}"
    );
}

#[test]
fn a_run_keeps_as_many_reports_as_it_is_told() {
    let options = TrainOptions {
        steps: 60,
        report_every: 1,
        lr: 4.0,
        ..TrainOptions::default()
    };
    let run = |most| {
        let mut run = trainer(options, Algorithm::Gd);
        run.keep_reports(most);
        run.run(&mut Watch::default()).unwrap();
        let (best, history) = (run.progress().best_step, run.history());
        (
            best,
            history.iter().map(|report| report.step).collect::<Vec<_>>(),
        )
    };
    let (best, all) = run(usize::MAX);
    assert!(best < 60 && best % 2 == 0, "{best}");
    assert_eq!(all, (1..=60).collect::<Vec<_>>());
    for most in [8, 10, 33, 60] {
        let (same, kept) = run(most);
        assert_eq!(same, best);
        assert!(
            kept.len() <= most && 2 * kept.len() >= most.min(60),
            "{kept:?}"
        );
        assert!(kept.is_sorted() && kept.contains(&best) && kept.ends_with(&[60]));
        assert_eq!(kept[0], 1);
    }
}

/// What is right of the first batch is what the weights before it answer.
#[test]
fn right_answers_are_counted_while_learning() {
    struct Count(Vec<f64>);
    impl Observer<f32> for Count {
        fn step(&mut self, run: &Trainer<f32>, _: &StepReport) -> Result<Control> {
            self.0.push(run.progress().accuracy().unwrap());
            Ok(Control::Continue)
        }
    }
    let options = TrainOptions {
        steps: 60,
        lr: 0.02,
        ..TrainOptions::default()
    };
    let mut run = trainer(options, Algorithm::Adam);
    assert_eq!(run.progress().accuracy(), None);
    let mut engine = Engine::new(run.network().architecture(), engine_options(1, 2)).unwrap();
    let mut loader = Loader::<f32>::text(corpus(), 4, 12).unwrap();
    let first = loader.next().unwrap();
    let expected = engine.evaluate(run.network(), &first.batch, None).unwrap();
    let mut count = Count(Vec::new());
    run.run(&mut count).unwrap();
    assert_eq!(count.0[0], expected.accuracy());
    let last = count.0[count.0.len() - 1];
    assert!(0.3 < last && last < 1.0, "{:?}", count.0);
}

#[test]
fn checkpoints_are_gone_on_from() {
    let folder = tempfile::tempdir().unwrap();
    let mut checkpoints = Checkpoints::new(folder.path(), About::default());
    let options = TrainOptions {
        steps: 5,
        ..TrainOptions::default()
    };
    let mut run = trainer(options, Algorithm::Adam);
    assert!(!checkpoints.restore(&mut run).unwrap());
    run.run(&mut checkpoints).unwrap();
    checkpoints.write(&run).unwrap();
    let mut other = trainer(options, Algorithm::Adam);
    assert!(checkpoints.restore(&mut other).unwrap());
    assert_eq!(other.progress().step, 5);
    assert_eq!(
        other.network().parameters().as_slice(),
        run.network().parameters().as_slice()
    );
}
