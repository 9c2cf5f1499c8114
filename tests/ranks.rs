//! Several ranks are one run: the bits of one process with as many shards, whatever connects them. Here each rank is a
//! thread; `tests/mpi.rs` has processes.

mod support;

use bptt::data::{Corpus, Loader, OwnedInputs, OwnedTargets, Padding, Sequences, Vocabulary};
use bptt::dropout::Dropout;
use bptt::optim::{Algorithm, Clip, OptimizerOptions};
use bptt::ranks::Reduction;
use bptt::train::{
    Checkpoint, Control, Observer, Report, StepReport, StopReason, TrainOptions, Trainer,
};
use bptt::{Dims, Engine, EngineOptions, Error, Init, Parameters, Result, Rnn, Scalar};
use ndarray::{Array2, Array3};
use support::ranks::on_ranks;
use support::{ALGORITHMS, Problem, forms};

fn engine_options(shards: usize) -> EngineOptions {
    EngineOptions {
        threads: 2,
        shards,
        memory: None,
    }
}

/// More than a segment of the flat gradient, so that it goes in two.
const DIMS: Dims = Dims {
    n_x: 7,
    n_h: 260,
    n_y: 5,
};

#[test]
fn the_gradient_of_all_ranks_is_that_of_one_process() {
    let dropout = Dropout {
        inputs: 0.1,
        outputs: 0.2,
        seed: 5,
    };
    // Fewer sequences than shards, as many, more; an even number to each, and not.
    let shapes = [
        (2, 4, 1),
        (2, 4, 9),
        (3, 3, 8),
        (3, 7, 10),
        (4, 4, 2),
        (4, 5, 13),
    ];
    for ((size, shards, n), form) in shapes.into_iter().zip(forms()) {
        let problem = Problem::<f32>::random(form, DIMS, (n, 6), 1);
        let lengths: Vec<_> = (0..n)
            .map(|i| if i == n / 2 { 6 } else { i * 5 % 7 })
            .collect();
        for batch in [problem.batch(), problem.batch().with_lengths(&lengths)] {
            let gradient = |mut engine: Engine<f32>| {
                let (mut state, p) = (problem.state.clone(), &problem.parameters);
                let found = engine
                    .gradient_with_dropout(p, &batch, Some(&mut state), &dropout, 3)
                    .unwrap();
                let tally = engine.evaluate(p, &batch, None).unwrap();
                (found, tally, engine.gradients().clone(), state)
            };
            let new = || Engine::<f32>::new(DIMS, engine_options(shards)).unwrap();
            let alone = gradient(new());
            let ordered = on_ranks(size, |ranks| {
                gradient(new().join(ranks, Reduction::Ordered).unwrap())
            });
            for (rank, found) in ordered.iter().enumerate() {
                assert_eq!(
                    found.0, alone.0,
                    "{size} ranks, {shards} shards, {n} sequences"
                );
                assert_eq!(found.1, alone.1);
                assert!(found.2 == alone.2);
                // Of sequences of one length, a rank knows the states of its own alone.
                let own =
                    rank * shards / size * n / shards..(rank + 1) * shards / size * n / shards;
                for row in if batch.lengths.is_some() { 0..n } else { own } {
                    assert_eq!(found.3.row(row), alone.3.row(row), "row {row}");
                }
            }
            let fast = on_ranks(size, |ranks| {
                gradient(new().join(ranks, Reduction::Fast).unwrap())
            });
            let difference = |a: &Parameters<f32>, b: &Parameters<f32>| {
                let pairs = a.as_slice().iter().zip(b.as_slice());
                pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
            };
            for found in &fast {
                assert!(found.2 == fast[0].2, "ranks differ");
                assert!(difference(&found.2, &alone.2) <= 1e-6 * alone.0.norm as f32);
                assert_eq!(found.0.tally, alone.0.tally);
            }
        }
    }
}

const SMALL: Dims = Dims {
    n_x: 7,
    n_h: 12,
    n_y: 7,
};

/// Sequences of 1 to 11 steps.
fn sequences<T: Scalar>() -> Sequences<T> {
    let (n, t) = (23, 11);
    let mask = Array2::from_shape_fn((n, t), |(i, step)| step <= i * 5 % t);
    let x = Array3::from_shape_fn((n, t, SMALL.n_x), |(i, step, j)| {
        T::from_f64((i + 3 * step + 7 * j) as f64).sin()
    });
    let classes = Array2::from_shape_fn((n, t), |(i, step)| ((i * step) % SMALL.n_y) as u32);
    Sequences::new(
        OwnedInputs::Dense(x),
        OwnedTargets::Classes(classes),
        Padding {
            mask: Some(mask),
            ..Padding::default()
        },
    )
    .unwrap()
}

/// Documents that end within windows, so that rows go from rank to rank; two of them in one window of equal parts.
fn text<T: Scalar>() -> (Loader<T>, Loader<T>) {
    let text = "abacabadabacabaeabacabadabacabaf.".repeat(20);
    let vocabulary = Vocabulary::of_chars(&text);
    let documents = [&text[..100], &text[100..117], &text[3..8], &text[..300]];
    let corpus = Corpus::from_texts(&documents, &vocabulary).unwrap();
    let valid = Corpus::from_texts(&[&text[..151], &text[7..20]], &vocabulary).unwrap();
    (
        Loader::text(corpus, 9, 8).unwrap(),
        Loader::evaluation_text(valid).unwrap(),
    )
}

/// Two reports and a step or two more.
fn trainer<T: Scalar>(algorithm: Algorithm, of_text: bool, shards: usize) -> Trainer<T> {
    let (data, valid) = match of_text {
        true => text(),
        false => (
            Loader::sequences(sequences(), 9, Some(4), 3).unwrap(),
            Loader::evaluation_sequences(sequences()).unwrap(),
        ),
    };
    let options = TrainOptions {
        steps: 12,
        lr: 0.02,
        clip: Clip {
            norm: Some(0.2),
            value: Some(0.05),
        },
        dropout: Dropout {
            inputs: 0.1,
            outputs: 0.3,
            seed: 4,
        },
        report_every: 5,
        ..TrainOptions::default()
    };
    let optimizer = OptimizerOptions {
        algorithm,
        weight_decay: 1e-3,
        ..OptimizerOptions::default()
    };
    let rnn = Rnn::<T>::new(SMALL, Init::Orthogonal, 2).unwrap();
    Trainer::new(
        rnn,
        data,
        Some(valid),
        engine_options(shards),
        optimizer,
        options,
    )
    .unwrap()
}

fn outcome<T: Scalar>(mut run: Trainer<T>) -> (Checkpoint<T>, Vec<f64>) {
    assert_eq!(run.run(&mut ()).unwrap(), StopReason::Finished);
    let history = run.history().iter();
    let losses = history.flat_map(|r| [r.train_loss, r.valid_loss.unwrap(), r.grad_norm]);
    (run.checkpoint(), losses.collect())
}

fn runs_are_one<T: Scalar>() {
    for (i, algorithm) in ALGORITHMS.into_iter().enumerate() {
        for of_text in [false, true] {
            let (size, shards) = [(2, 4), (3, 3), (4, 6)][i % 3];
            let new = || trainer::<T>(algorithm, of_text, shards);
            let alone = outcome(new());
            for one in on_ranks(size, |ranks| {
                outcome(new().join(ranks, Reduction::Ordered).unwrap())
            }) {
                assert!(one == alone, "{algorithm:?}, text {of_text}, {size} ranks");
            }
        }
    }
}

#[test]
fn runs_of_several_ranks_are_one_run() {
    runs_are_one::<f32>();
    runs_are_one::<f64>();
}

/// From a checkpoint of two ranks to three and to a process alone.
#[test]
fn another_number_of_ranks_goes_on() {
    let new = || trainer::<f32>(Algorithm::Adam, true, 6);
    let whole = outcome(new());
    let stopped = on_ranks(2, |ranks| {
        let mut run = new().join(ranks, Reduction::Ordered).unwrap();
        assert_eq!(run.run(&mut Until(7)).unwrap(), StopReason::Interrupted);
        (run.checkpoint(), run.history().to_vec())
    });
    assert!(stopped[0].0 == stopped[1].0);
    let go_on = |mut run: Trainer<f32>| {
        let (checkpoint, history) = stopped[0].clone();
        run.restore(checkpoint, history).unwrap();
        outcome(run)
    };
    assert!(go_on(new()) == whole);
    for one in on_ranks(3, |ranks| {
        go_on(new().join(ranks, Reduction::Ordered).unwrap())
    }) {
        assert!(one == whole);
    }
}

/// Stops after so many steps.
struct Until(u64);

impl<T: Scalar> Observer<T> for Until {
    fn step(&mut self, _: &Trainer<T>, step: &StepReport) -> Result<Control> {
        Ok(match step.step >= self.0 {
            true => Control::Stop,
            false => Control::Continue,
        })
    }
}

#[test]
fn all_stop_where_one_does() {
    let steps = on_ranks(3, |ranks| {
        let stops = if ranks.rank() == 1 { 4 } else { u64::MAX };
        let run = trainer::<f32>(Algorithm::Gd, false, 3);
        let mut run = run.join(ranks, Reduction::Ordered).unwrap();
        assert_eq!(run.run(&mut Until(stops)).unwrap(), StopReason::Interrupted);
        run.progress().step
    });
    assert_eq!(steps, [4, 4, 4]);
}

/// Counts what was dropped.
#[derive(Default)]
struct Dropped {
    diverged: u32,
}

impl Observer<f32> for Dropped {
    fn report(&mut self, run: &Trainer<f32>, report: &Report, _: bool) -> Result<()> {
        assert_eq!(
            report.communication_seconds.is_some(),
            run.engine().ranks() > 1
        );
        Ok(())
    }

    fn diverged(&mut self, _: &Trainer<f32>, _: &Error) -> Result<()> {
        self.diverged += 1;
        Ok(())
    }
}

/// A weight that only the sequences of one rank meet is not a number: the step is dropped on all ranks.
#[test]
fn what_is_not_finite_on_one_rank_is_not_finite_for_all() {
    let outcomes = on_ranks(2, |ranks| {
        let ids =
            Array2::from_shape_fn((4, 5), |(row, step)| if row == 3 { step as u32 } else { 0 });
        let classes = Array2::zeros((4, 5));
        let set = Sequences::new(
            OwnedInputs::Tokens(ids),
            OwnedTargets::Classes(classes),
            Padding::default(),
        );
        let set = set.unwrap().with_dims(SMALL.n_x, SMALL.n_y).unwrap();
        let data = Loader::evaluation_sequences(set).unwrap();
        let mut p = Parameters::zeros(SMALL);
        p.views_mut().wx[[1, 4]] = f32::NAN;
        let rnn = Rnn::from_parameters(p);
        let (optimizer, options) = (OptimizerOptions::default(), TrainOptions::default());
        let run = Trainer::new(rnn, data, None, engine_options(2), optimizer, options).unwrap();
        let mut run = run.join(ranks, Reduction::Ordered).unwrap();
        let mut dropped = Dropped::default();
        let reason = run.run(&mut dropped).unwrap();
        (reason, dropped.diverged, run.progress().clone())
    });
    assert_eq!(outcomes[0].0, StopReason::Diverged);
    assert!(outcomes[0].1 > 0);
    assert_eq!(outcomes[0], outcomes[1]);
}

/// Ranks that begin from other weights are told so at the first report.
#[test]
fn ranks_that_drift_apart_are_noticed() {
    let errors = on_ranks(3, |ranks| {
        let run = trainer::<f32>(Algorithm::Gd, true, 3);
        let mut checkpoint = run.checkpoint();
        if ranks.rank() == 2 {
            checkpoint.parameters.as_mut_slice()[3] += 1e-3;
        }
        let mut run = run.join(ranks, Reduction::Ordered).unwrap();
        run.restore(checkpoint, Vec::new()).unwrap();
        run.run(&mut ()).unwrap_err().to_string()
    });
    for error in errors {
        assert!(error.contains("rank 2 has other weights"), "{error}");
    }
}

#[test]
fn there_is_a_shard_for_each_rank() {
    let errors = on_ranks(3, |ranks| {
        let engine = Engine::<f32>::new(SMALL, engine_options(2)).unwrap();
        engine
            .join(ranks, Reduction::Ordered)
            .unwrap_err()
            .to_string()
    });
    assert!(errors[0].contains("shards: 2"), "{}", errors[0]);
}
