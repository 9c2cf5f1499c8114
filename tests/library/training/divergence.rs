//! What a run does whose losses or weights are no numbers any more.

use super::*;

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
