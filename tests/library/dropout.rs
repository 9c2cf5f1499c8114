//! What is dropped, and what it may depend on. `gradients` has the gradient with dropout, `segments` the segments.

use crate::support::{Form, Problem, architectures, engine, gradient, relative};
use bptt::architecture::Which;
use bptt::{Architecture, Dropout, Parameters};
use ndarray::Array2;

/// How near the mean of 2000 masks comes to what it is the mean of: about one over the root of their number. If what is kept
/// were not made larger, a third would be missing.
const MEAN: f64 = 0.04;

fn problem(architecture: Architecture) -> Problem<f64> {
    Problem::random(Form::of(1), architecture, (7, 5), 11).tamed()
}

#[test]
fn depends_on_seed_update_and_shards_and_on_nothing_else() {
    for architecture in architectures() {
        let problem = problem(architecture);
        let run = |threads, seed, update, inputs, outputs| {
            let dropout = Dropout {
                inputs,
                outputs,
                seed,
            };
            gradient(
                &mut engine(architecture, threads, 3),
                &problem,
                Some((&dropout, update)),
            )
            .gradients
        };
        let one = run(1, 1, 1, 0.5, 0.5);
        assert!(run(3, 1, 1, 0.5, 0.5) == one);
        assert!(run(1, 2, 1, 0.5, 0.5) != one, "another seed");
        assert!(run(1, 1, 2, 0.5, 0.5) != one, "another update");
        assert!(run(1, 1, 1, 0.5, 0.0) != one, "no dropout of outputs");
        assert!(run(1, 1, 1, 0.0, 0.5) != one, "no dropout of inputs");
        let plain = gradient(&mut engine(architecture, 1, 3), &problem, None).gradients;
        assert!(run(1, 1, 1, 0.0, 0.0) == plain);
        // Another number of shards, other masks: not within rounding, as it is without dropout.
        let dropout = Dropout {
            inputs: 0.5,
            outputs: 0.5,
            seed: 1,
        };
        let other = gradient(
            &mut engine(architecture, 1, 2),
            &problem,
            Some((&dropout, 1)),
        )
        .gradients;
        assert!(
            relative(
                other.as_slice().iter().copied(),
                one.as_slice().iter().copied()
            ) > 1e-3
        );
    }
}

/// Evaluation and prediction never drop, whatever was dropped before.
#[test]
fn ends_with_training() {
    for architecture in architectures() {
        let problem = problem(architecture);
        let mut engine = engine(architecture, 2, 2);
        let look = |engine: &mut bptt::Engine<f64>| {
            let metrics = engine
                .evaluate(&problem.network, &problem.batch(), None)
                .unwrap();
            (
                metrics,
                engine
                    .predict(&problem.network, problem.inputs(), None)
                    .unwrap(),
            )
        };
        let before = look(&mut engine);
        let dropout = Dropout {
            inputs: 0.5,
            outputs: 0.5,
            seed: 1,
        };
        gradient(&mut engine, &problem, Some((&dropout, 1)));
        assert!(look(&mut engine) == before);
    }
}

#[test]
fn probabilities_are_from_0_to_less_than_1() {
    let architecture = architectures().next().unwrap();
    let problem = problem(architecture);
    let mut engine = engine::<f64>(architecture, 1, 1);
    for p in [-0.1, 1.0, f64::NAN] {
        for (inputs, outputs) in [(p, 0.5), (0.5, p)] {
            let dropout = Dropout {
                inputs,
                outputs,
                seed: 0,
            };
            let options = bptt::GradientOptions {
                state: None,
                dropout: Some((&dropout, 1)),
            };
            let error = engine.gradient_with(&problem.network, &problem.batch(), options);
            assert!(error.unwrap_err().to_string().contains("dropout"));
        }
    }
}

/// What is kept is made larger, so that the expected input of a layer stays what it was. Of a network whose loss's gradient
/// does not depend on the states, for its decoder is zero, the decoder's gradient is linear in what leaves the last layer:
/// its mean over many updates is near that without dropout.
#[test]
fn of_outputs_keeps_the_mean() {
    // Dropout between layers would go through the cell above, which is not linear.
    for architecture in architectures().filter(|architecture| architecture.layers == 1) {
        let mut problem = problem(architecture);
        problem
            .network
            .parameters_mut()
            .get_mut(Which::Decoder)
            .fill(0.0);
        let decoder = |p: &Parameters<f64>| p.matrix(Which::Decoder).to_owned();
        let mut engine = engine(architecture, 2, 2);
        let plain = decoder(&gradient(&mut engine, &problem, None).gradients);
        let dropout = Dropout {
            inputs: 0.0,
            outputs: 0.5,
            seed: 3,
        };
        let (updates, mut mean) = (2000, Array2::zeros(plain.dim()));
        for update in 0..updates {
            let found = gradient(&mut engine, &problem, Some((&dropout, update)));
            mean.scaled_add(1.0 / updates as f64, &decoder(&found.gradients));
        }
        let error = relative(mean, plain);
        assert!(error < MEAN, "{architecture}: {error}");
    }
}
