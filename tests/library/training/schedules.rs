//! Rates follow their schedule; plateaus and patience.

use super::*;

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
