//! How a run ends, and what it does on the way there: divergence, plateaus, patience.

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
fn a_run_that_cannot_be_saved_gives_up_with_good_weights() {
    // No halving of this rate is enough.
    let options = TrainOptions {
        steps: 100,
        lr: 1e300,
        report_every: 10,
        ..TrainOptions::default()
    };
    let mut run = trainer(options, Algorithm::Gd);
    let before = run.network().clone();
    let mut watch = Watch::default();
    assert_eq!(run.run(&mut watch).unwrap(), StopReason::Diverged);
    assert_eq!(run.progress().divergences, DIVERGENCES);
    assert_eq!(
        watch.diverged.len() as u32,
        DIVERGENCES - 1,
        "the last ends the run"
    );
    assert_eq!(*run.network(), before, "no step was good");
    assert!(run.best().all_finite());
}

#[test]
fn a_run_goes_on_from_its_last_report_at_half_the_rate() {
    for report_every in [1, 5] {
        // Some updates later the weights are so large that products with them overflow.
        let options = TrainOptions {
            steps: 40,
            lr: 1e38,
            schedule: Schedule::Constant,
            report_every,
            ..TrainOptions::default()
        };
        let mut run = trainer(options, Algorithm::Gd);
        let mut watch = Watch::default();
        let reason = run.run(&mut watch).unwrap();
        let divergences = run.progress().divergences;
        assert!(
            divergences > 0 && reason == StopReason::Finished,
            "{reason:?} after {divergences}"
        );
        assert!(
            watch.diverged.iter().all(|step| step % report_every == 0),
            "{:?}",
            watch.diverged
        );
        assert_eq!(run.progress().lr_factor(), 0.5f64.powi(divergences as i32));
        assert_eq!(run.progress().step, 40);
        assert!(run.network().parameters().all_finite());
    }
}

#[test]
fn however_often_a_run_goes_back_to_a_step_it_begins_with_its_states() {
    let options = |lr, steps| TrainOptions {
        steps,
        lr,
        schedule: Schedule::Constant,
        report_every: 5,
        ..TrainOptions::default()
    };
    let mut good = trainer(options(0.5, 5), Algorithm::Gd);
    good.run(&mut Watch::default()).unwrap();
    let at = good.checkpoint().clone();
    assert!(at.state.iter().any(|&x| x != 0.0));
    let mut run = trainer(options(1e300, 10), Algorithm::Gd);
    run.restore(at.clone(), good.history().to_vec()).unwrap();
    let mut watch = Watch::default();
    assert_eq!(run.run(&mut watch).unwrap(), StopReason::Diverged);
    assert!(watch.states.len() > 2 && watch.states.iter().all(|state| *state == at.state));
}

/// A run on sequences of one number each, sequence by sequence; number `odd` of the first epoch has other inputs, or targets, to
/// train on or to validate with.
fn run_into<T: Scalar>(
    odd: usize,
    validates: bool,
    [input, target]: [Option<f64>; 2],
    (cell, loss): (Cell, Loss),
    options: TrainOptions,
) -> Trainer<T> {
    let n = 12;
    let usual = [
        Array3::from_shape_fn((n, 3, 1), |(i, t, _)| (i + t) as f64 / 10.0),
        Array3::from_shape_fn((n, 3, 1), |(i, t, _)| (i * t) as f64 / 50.0),
    ];
    let set = |arrays: &[Array3<f64>; 2]| {
        let [inputs, targets] = arrays.each_ref().map(|array| array.mapv(T::from_f64));
        let (inputs, targets) = (OwnedInputs::Dense(inputs), OwnedTargets::Values(targets));
        Sequences::<T>::new(inputs, targets, Padding::default()).unwrap()
    };
    let train = |arrays| Loader::sequences(set(arrays), 1, None, 0).unwrap();
    // Which sequence comes when, seen by its first input.
    let mut order = train(&usual);
    let mut rows = (0..n).map(|_| {
        let Inputs::Dense(inputs) = order.next().unwrap().batch.inputs else {
            unreachable!("numbers")
        };
        (10.0 * inputs[[0, 0, 0]].as_f64()).round() as usize
    });
    let row = rows.nth(odd).unwrap();
    let mut with_odd = usual.clone();
    for (array, value) in with_odd.iter_mut().zip([input, target]) {
        if let Some(value) = value {
            array.slice_mut(s![row, .., ..]).fill(value);
        }
    }
    let architecture = Architecture {
        cell,
        ..Architecture::new(Input::Features(1), 8, Head::new(1, loss))
    };
    let network = Network::new(architecture, Init::Orthogonal, 0).unwrap();
    let options = TrainOptions {
        engine: engine_options(1, 1),
        ..options
    };
    let [to_train, valid] = match validates {
        true => [&usual, &with_odd],
        false => [&with_odd, &usual],
    };
    let run = Trainer::new(network, train(to_train), options).unwrap();
    run.with_validation(Loader::evaluation_sequences(set(valid)).unwrap())
}

/// Going back once does not help, for the same sequence comes again: then the run starts anew from its best weights, and what
/// the optimiser remembers is forgotten.
#[test]
fn a_run_that_diverges_twice_goes_back_to_its_best_weights() {
    #[derive(Default)]
    struct Back {
        best: Option<Parameters<f64>>,
        times: usize,
    }
    impl Observer<f64> for Back {
        fn report(&mut self, run: &Trainer<f64>, _: &Report, best: bool) -> Result<()> {
            if best {
                self.best = Some(run.network().parameters().clone());
            }
            Ok(())
        }

        fn diverged(&mut self, run: &Trainer<f64>, _: &Error) -> Result<()> {
            self.times += 1;
            let known = self.best.as_ref().expect("a report before");
            assert_eq!(run.best(), known);
            let now = run.checkpoint();
            let is_zero = |moment: &Parameters<f64>| moment.as_slice().iter().all(|&x| x == 0.0);
            assert_eq!(now.moments.len(), 2);
            if self.times == 1 {
                assert!(!now.moments.iter().any(is_zero) && now.progress.optimizer_steps == 6);
            } else {
                assert_eq!(now.parameters, *known);
                assert!(now.moments.iter().all(is_zero) && now.progress.optimizer_steps == 0);
            }
            Ok(())
        }
    }
    let options = TrainOptions {
        steps: 24,
        lr: 0.01,
        report_every: 2,
        ..TrainOptions::default()
    };
    // Its square is more than the largest number.
    let target = [None, Some(1e200)];
    let mut run = run_into(7, false, target, (Cell::Tanh, Loss::Mse), options);
    let mut back = Back::default();
    assert_eq!(run.run(&mut back).unwrap(), StopReason::Diverged);
    assert_eq!(back.times as u32, DIVERGENCES - 1);
}

#[test]
fn a_validation_loss_that_is_no_number_is_never_the_best() {
    let options = TrainOptions {
        steps: 6,
        report_every: 2,
        ..TrainOptions::default()
    };
    let target = [None, Some(1e200)];
    let mut run = run_into::<f64>(0, true, target, (Cell::Tanh, Loss::Mse), options);
    assert_eq!(run.run(&mut ()).unwrap(), StopReason::Finished);
    let losses = run
        .history()
        .iter()
        .map(|report| report.valid_loss.unwrap());
    assert!(losses.clone().count() == 3 && losses.clone().all(|loss| !loss.is_finite()));
    assert_eq!(
        (run.progress().best_loss, run.progress().best_step),
        (None, 0)
    );
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

#[test]
fn rates_that_are_none_are_refused() {
    for lr in [0.0, -1.0, f64::INFINITY, f64::NAN] {
        let options = TrainOptions {
            lr,
            ..TrainOptions::default()
        };
        let error = options.check().unwrap_err().to_string();
        assert!(error.contains("lr"), "{error}");
    }
}

/// Moments that have overflowed would freeze the weights of a run that goes on: no checkpoint has them.
#[test]
fn what_has_overflowed_is_not_saved() {
    struct Save(Checkpoints, Vec<bool>);
    impl Observer<f32> for Save {
        fn step(&mut self, run: &Trainer<f32>, _: &StepReport) -> Result<Control> {
            self.1.push(self.0.write(run)?);
            Ok(Control::Continue)
        }
    }
    let options = TrainOptions {
        steps: 6,
        // No bound on the gradient.
        optimizer: OptimizerOptions::default(),
        report_every: 100,
        ..TrainOptions::default()
    };
    let folder = tempfile::tempdir().unwrap();
    // The square of the gradient is no number of single precision; the loss, which is linear where it is large, is one.
    let input = [Some(1e25), None];
    let mut run = run_into(3, false, input, (Cell::Relu, Loss::Binary), options);
    let mut save = Save(
        Checkpoints::new(folder.path(), About::default()),
        Vec::new(),
    );
    run.run(&mut save).unwrap();
    assert_eq!(save.1[..5], [true, true, true, false, false]);
}

#[test]
fn a_plateau_halves_the_rate_from_the_best_weights() {
    // So large a rate that the loss goes up and down.
    let options = TrainOptions {
        steps: 4000,
        lr: 20.0,
        schedule: Schedule::HalveOnPlateau,
        report_every: 10,
        ..TrainOptions::default()
    };
    let mut run = trainer(options, Algorithm::Gd);
    let mut watch = Watch::default();
    run.run(&mut watch).unwrap();
    let halvings = (20.0 / watch.rates.last().unwrap()).log2();
    assert!(
        halvings >= 2.0 && halvings == halvings.round(),
        "{:?}",
        watch.rates
    );
    // Rates only fall, by halves, and never before so many reports without a better loss.
    for pair in watch.rates.windows(2) {
        assert!(pair[1] == pair[0] || pair[1] == pair[0] / 2.0, "{pair:?}");
    }
    let first = watch.rates.iter().take_while(|&&lr| lr == 20.0).count();
    assert!(first as u32 > PLATEAU, "{first}");
    let losses: Vec<f64> = run
        .history()
        .iter()
        .filter_map(|report| report.valid_loss)
        .collect();
    let least = losses.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!(run.progress().best_loss, Some(least));
    assert!(least < 0.5 * losses[0], "{losses:?}");
}

#[test]
fn patience_ends_a_run_that_learns_nothing_more() {
    let options = TrainOptions {
        steps: 100_000,
        lr: 1e-12,
        schedule: Schedule::Constant,
        report_every: 2,
        patience: 4,
        ..TrainOptions::default()
    };
    let mut run = trainer(options, Algorithm::Adam);
    assert_eq!(run.run(&mut ()).unwrap(), StopReason::NoImprovement);
    assert_eq!(run.progress().since_best, 4);
    assert_eq!(run.progress().step, 2 * run.history().len() as u64);
    // The same at once when it is asked to go on.
    assert_eq!(run.run(&mut ()).unwrap(), StopReason::NoImprovement);
}

/// The rates of the reports of a run, a report a step.
fn rates(schedule: Schedule, warmup: u64, lr: f64, steps: u64) -> Vec<f64> {
    let options = TrainOptions {
        steps,
        lr,
        schedule,
        warmup,
        report_every: 1,
        ..TrainOptions::default()
    };
    let mut run = trainer(options, Algorithm::Gd);
    run.run(&mut ()).unwrap();
    run.history().iter().map(|report| report.lr).collect()
}

#[test]
fn rates_follow_their_schedule() {
    let near = |found: Vec<f64>, expected: &[f64]| {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found / expected - 1.0).abs() < 1e-14, "{found} {expected}");
        }
    };
    near(rates(Schedule::Constant, 0, 0.4, 3), &[0.4, 0.4, 0.4]);
    near(
        rates(Schedule::Constant, 3, 0.4, 6),
        &[0.1, 0.2, 0.3, 0.4, 0.4, 0.4],
    );
    // 0.2 (1 + cos(20 degrees k)) once it is warm.
    let cosine = [
        0.1,
        0.2,
        0.3,
        0.4,
        0.3879385241571817,
        0.3532088886237956,
        0.3,
        0.234_729_635_533_386_07,
        0.165_270_364_466_613_93,
        0.1,
        0.0467911113762044,
        0.012061475842818324,
    ];
    near(rates(Schedule::Cosine, 3, 0.4, 12), &cosine);
    // No rate so small changes a loss: the first report is the best, and every third after it halves.
    let halves = [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125];
    near(
        rates(Schedule::HalveOnPlateau, 0, 1e-30, 11),
        &halves.map(|half| 1e-30 * half),
    );
}

/// Before, within and after the steps of a run, whatever the numbers.
#[test]
fn a_cosine_warms_up_then_falls_to_zero() {
    let at = |step| Schedule::Cosine.factor(step, 104, 4);
    assert_eq!([at(1), at(4), at(5)], [0.2, 0.8, 1.0]);
    assert!((at(55) - 0.5).abs() < 1e-12);
    assert!((5..104).all(|step| at(step + 1) < at(step)));
    assert!(at(104) > 0.0 && at(200) == 0.0);
    assert_eq!(Schedule::Constant.factor(104, 104, 0), 1.0);
    assert!(Schedule::Constant.factor(1, 1, u64::MAX) > 0.0);
}
