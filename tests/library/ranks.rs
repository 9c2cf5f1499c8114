//! Several ranks are one run: the bits of one process with as many shards, whatever connects them. Here each rank is a
//! thread; `tests/mpi.rs` has processes.

use crate::resume::{Until, outcome};
use crate::support::ranks::on_ranks;
use crate::support::{
    ALGORITHMS, Form, Found, Problem, architectures_of, gradient, is_of_text, loaders, options,
};
use bptt::architecture::Which;
use bptt::data::{Corpus, Loader, OwnedInputs, OwnedTargets, Padding, Sequences, Vocabulary};
use bptt::optim::{Algorithm, Clip, OptimizerOptions};
use bptt::ranks::Reduction;
use bptt::train::{Observer, Report, StopReason, TrainOptions, Trainer};
use bptt::{
    Architecture, Dropout, Engine, Error, Head, Init, Input, Metrics, Network, Parameters, Result,
    Scalar,
};
use ndarray::Array2;

const DROPOUT: Dropout = Dropout {
    inputs: 0.1,
    outputs: 0.2,
    seed: 5,
};

/// How far a sum in another order may be off in `f32`, relative to the norm of the gradient.
const SINGLE: f32 = 1e-6;

/// What one rank finds, or one process.
fn found(mut engine: Engine<f32>, problem: &Problem<f32>) -> (Found<f32>, Metrics) {
    let found = gradient(&mut engine, problem, Some((&DROPOUT, 3)));
    let metrics = engine.evaluate(&problem.network, &problem.batch(), None);
    (found, metrics.unwrap())
}

#[test]
fn the_gradient_of_all_ranks_is_that_of_one_process() {
    // Ranks, shards and sequences: fewer sequences than shards, as many, more; an even number to each, and not.
    let shapes = [
        (2, 4, 1),
        (2, 4, 9),
        (3, 3, 8),
        (3, 7, 10),
        (4, 4, 2),
        (4, 5, 13),
    ];
    // More than a segment of the flat gradient, so that it goes in several.
    for (i, architecture) in architectures_of(7, 130, 5).enumerate() {
        for (form, (size, shards, n)) in
            Form::some(i, 3).zip(shapes.into_iter().cycle().skip(3 * i))
        {
            let problem = Problem::<f32>::random(form, architecture, (n, 5), 1).tamed();
            let new = || Engine::<f32>::new(architecture, options(2, shards)).unwrap();
            let case =
                format!("{architecture}, {form:?}, {size} ranks, {shards} shards, {n} sequences");
            let alone = found(new(), &problem);
            let ordered = on_ranks(size, |ranks| {
                found(new().join(ranks, Reduction::Ordered).unwrap(), &problem)
            });
            for (rank, (found, metrics)) in ordered.iter().enumerate() {
                assert!(found.gradients == alone.0.gradients, "{case}");
                assert_eq!(
                    (found.norm, found.metrics, *metrics),
                    (alone.0.norm, alone.0.metrics, alone.1),
                    "{case}"
                );
                // Of sequences of one length, a rank knows the states of its own alone.
                let share = |rank: usize| rank * shards / size * n / shards;
                let own = if form.lengths {
                    0..n
                } else {
                    share(rank)..share(rank + 1)
                };
                for row in own {
                    assert_eq!(
                        found.state.row(row),
                        alone.0.state.row(row),
                        "row {row}: {case}"
                    );
                }
            }
            let fast = on_ranks(size, |ranks| {
                found(new().join(ranks, Reduction::Fast).unwrap(), &problem).0
            });
            let difference = |a: &Parameters<f32>, b: &Parameters<f32>| {
                let pairs = a.as_slice().iter().zip(b.as_slice());
                pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
            };
            for found in &fast {
                assert!(found.gradients == fast[0].gradients, "ranks differ");
                assert!(
                    difference(&found.gradients, &alone.0.gradients)
                        <= SINGLE * alone.0.norm as f32
                );
                assert_eq!(found.metrics, alone.0.metrics);
            }
        }
    }
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

/// Sequences of 1 to 11 steps, of which not all count.
fn sequences<T: Scalar>(architecture: &Architecture) -> (Loader<T>, Loader<T>) {
    let set = crate::support::sequences(architecture, (23, 11), 2);
    let [train, valid] = loaders(architecture, set, 4);
    (train, valid)
}

/// Two reports and a step or two more.
fn trainer<T: Scalar>(
    architecture: Architecture,
    algorithm: Algorithm,
    of_text: bool,
    shards: usize,
) -> Trainer<T> {
    let (data, valid) = if of_text {
        text()
    } else {
        sequences(&architecture)
    };
    let options = TrainOptions {
        steps: 12,
        lr: 0.02,
        optimizer: OptimizerOptions {
            algorithm,
            weight_decay: 1e-3,
            clip: Clip {
                norm: Some(0.2),
                value: Some(0.05),
            },
            ..OptimizerOptions::default()
        },
        engine: options(2, shards),
        dropout: Dropout {
            inputs: 0.1,
            outputs: 0.3,
            seed: 4,
        },
        report_every: 5,
        ..TrainOptions::default()
    };
    let network = Network::<T>::new(architecture, Init::Orthogonal, 2).unwrap();
    Trainer::new(network, data, options)
        .unwrap()
        .with_validation(valid)
}

/// Seven letters and a full stop.
const TEXT: usize = 7;

fn runs_are_one<T: Scalar>() {
    for (i, architecture) in architectures_of(TEXT, 12, TEXT).enumerate() {
        let algorithm = ALGORITHMS[i % ALGORITHMS.len()];
        for of_text in [false, true] {
            if of_text && !(is_of_text(&architecture) && architecture.input.is_tokens()) {
                continue;
            }
            let (size, shards) = [(2, 4), (3, 3), (4, 6)][i % 3];
            let new = || trainer::<T>(architecture, algorithm, of_text, shards);
            let alone = outcome(new());
            for one in on_ranks(size, |ranks| {
                outcome(new().join(ranks, Reduction::Ordered).unwrap())
            }) {
                assert!(
                    one == alone,
                    "{architecture}, {algorithm:?}, text {of_text}, {size} ranks"
                );
            }
        }
    }
}

#[test]
fn runs_of_several_ranks_are_one_run() {
    runs_are_one::<f32>();
    runs_are_one::<f64>();
}

fn of_text(algorithm: Algorithm, shards: usize) -> Trainer<f32> {
    let architecture = Architecture {
        layers: 2,
        ..Architecture::new(Input::Tokens(TEXT), 12, Head::softmax(TEXT))
    };
    trainer(architecture, algorithm, true, shards)
}

/// From a checkpoint of two ranks to three and to a process alone.
#[test]
fn another_number_of_ranks_goes_on() {
    let new = || of_text(Algorithm::Adam, 6);
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

#[test]
fn all_stop_where_one_does() {
    let steps = on_ranks(3, |ranks| {
        let stops = if ranks.rank() == 1 { 4 } else { u64::MAX };
        let run = of_text(Algorithm::Gd, 3);
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
        let set = set.unwrap().with_dims(7, 4).unwrap();
        let data = Loader::evaluation_sequences(set).unwrap();
        let architecture = Architecture::new(Input::Tokens(7), 12, Head::softmax(4));
        let mut p = Parameters::zeros(architecture);
        p.matrix_mut(Which::WeightIh(0))[[4, 1]] = f32::NAN;
        let options = TrainOptions {
            engine: options(2, 2),
            ..TrainOptions::default()
        };
        let run = Trainer::new(Network::from_parameters(p), data, options).unwrap();
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
        let run = of_text(Algorithm::Gd, 3);
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
    let architecture = architectures_of(2, 3, 4).next().unwrap();
    let errors = on_ranks(3, |ranks| {
        let engine = Engine::<f32>::new(architecture, options(2, 2)).unwrap();
        engine
            .join(ranks, Reduction::Ordered)
            .unwrap_err()
            .to_string()
    });
    assert!(errors[0].contains("shards: 2"), "{}", errors[0]);
}
