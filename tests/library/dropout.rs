//! What is dropped, and what it may depend on. `gradients` has the gradient with dropout, `segments` the segments.

use crate::support::{Form, Problem, architectures, engine, gradient, relative};
use bptt::architecture::Which;
use bptt::{Architecture, Batch, Dropout, GradientOptions, Head, Input, Loss, Network, Parameters};
use ndarray::{Array2, Array3};

/// How near the mean of 2000 masks comes to what it is the mean of: about one over the root of their number. If what is kept
/// were not made larger, a third would be missing.
const MEAN: f64 = 0.04;

/// Of a central difference: its error is about the square of this, or rounding divided by it.
const STEP: f64 = 1e-5;

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

/// What the masks of an update make of ones: of the inputs, of the lower and of the upper layer's outputs, in time step `t` of
/// sequence `n` of two, each a shard of its own.
///
/// Nothing goes from step to step, and only that step counts; so the gradient of a unit's input weights is the gradient of its
/// bias times what it reads.
fn masks(update: u64, n: usize, t: usize) -> [Vec<f64>; 3] {
    let architecture = Architecture {
        layers: 2,
        ..Architecture::new(Input::Features(WIDTH), WIDTH, Head::new(1, Loss::Mse))
    };
    let mut weights = Parameters::zeros(architecture);
    for which in [Which::WeightIh(1), Which::Decoder] {
        weights.get_mut(which).fill(1e-3);
    }
    for which in [Which::Bias(0), Which::Bias(1)] {
        weights.get_mut(which).fill(0.5);
    }
    let (x, y) = (Array3::ones((2, 3, WIDTH)), Array3::ones((2, 3, 1)));
    let mask = Array2::from_shape_fn((2, 3), |at| at == (n, t));
    let dropout = Dropout {
        inputs: 0.3,
        outputs: 0.3,
        seed: 5,
    };
    let mut engine = engine::<f64>(architecture, 1, 2);
    let batch = Batch::new(&x, &y).with_mask(mask.view());
    let options = GradientOptions {
        state: None,
        dropout: Some((&dropout, update)),
    };
    let network = Network::from_parameters(weights);
    engine.gradient_with(&network, &batch, options).unwrap();
    let gradients = engine.gradients();
    let read = |weights, bias| {
        let d_bias = gradients.get(bias);
        // A unit that is dropped itself has no gradient.
        let unit = d_bias.iter().position(|&d| d != 0.0).unwrap();
        let d_weights = gradients.matrix(weights);
        let read = d_weights.row(unit).mapv(|d| d / d_bias[unit]);
        let largest = read.iter().copied().fold(0.0, f64::max);
        let even = |&x: &f64| x == 0.0 || (x / largest - 1.0).abs() < 1e-12;
        assert!(read.iter().all(even), "{weights:?}");
        read.to_vec()
    };
    let lower = 0.5f64.tanh();
    let below = read(Which::WeightIh(1), Which::Bias(1));
    [
        read(Which::WeightIh(0), Which::Bias(0)),
        below.into_iter().map(|x| x / lower).collect(),
        read(Which::Decoder, Which::DecoderBias),
    ]
}

/// Features and units of [`masks`].
const WIDTH: usize = 200;

#[test]
fn drops_as_often_as_it_says_and_keeps_the_mean() {
    let (updates, mut all) = (250, [vec![], vec![]]);
    for update in 0..updates {
        let [inputs, below, _] = masks(update, 0, 0);
        all[0].extend(inputs);
        all[1].extend(below);
    }
    for values in all {
        let count = values.len() as f64;
        let dropped = values.iter().filter(|&&x| x == 0.0).count() as f64;
        // Four standard deviations.
        let apart = (dropped - 0.3 * count).abs();
        assert!(apart < 4.0 * (0.21 * count).sqrt(), "{dropped} of {count}");
        assert!((values.iter().sum::<f64>() / count - 1.0).abs() < 0.02);
    }
}

#[test]
fn each_layer_step_shard_and_update_has_its_own() {
    let cases = [(1, 0, 0), (1, 0, 1), (1, 0, 2), (1, 1, 0), (2, 0, 0)];
    let kept = |values: Vec<f64>| values.iter().map(|&x| x != 0.0).collect::<Vec<_>>();
    let all: Vec<_> = cases
        .into_iter()
        .flat_map(|(update, n, t)| masks(update, n, t).map(kept))
        .collect();
    for (i, one) in all.iter().enumerate() {
        assert!(all[..i].iter().all(|other| other != one), "mask {i}");
    }
}

/// With the layers alone: what the gradients of weights, inputs and first states say of a small step is what it comes to, and
/// nothing is dropped of what leaves the highest layer.
#[test]
fn of_the_layers_alone_has_its_gradients() {
    for architecture in architectures() {
        let problem = problem(architecture);
        let lengths = Some(&problem.lengths[..]);
        let dropout = Dropout {
            inputs: 0.3,
            outputs: 0.5,
            seed: 1,
        };
        let mut engine = engine(architecture, 2, 2);
        let (n, t) = problem.inputs().sequences();
        let mut hidden = Array3::zeros((n, t, architecture.outputs_of_layer()));
        // Half the sum of the squares of all hidden and last states.
        let mut half_squares = |engine: &mut bptt::Engine<f64>, problem: &Problem<f64>| {
            let mut state = problem.state.clone();
            let options = GradientOptions {
                state: Some(&mut state),
                dropout: Some((&dropout, 1)),
            };
            engine
                .forward_into(
                    &problem.network,
                    problem.inputs(),
                    lengths,
                    options,
                    hidden.view_mut(),
                )
                .unwrap();
            let squares = hidden.iter().chain(&state).map(|h| h * h).sum::<f64>();
            (squares / 2.0, hidden.clone(), state)
        };
        let (_, found, last) = half_squares(&mut engine, &problem);
        if architecture.cell != bptt::Cell::Relu {
            let alive = problem.lengths.iter().sum::<usize>() * architecture.outputs_of_layer();
            assert_eq!(found.iter().filter(|&&h| h != 0.0).count(), alive);
        }
        let gradients = engine.backward(found.view(), Some(last.view())).unwrap();
        let mut said = 0.0;
        let mut moved = [problem.clone(), problem.clone()];
        let wave = |i: usize| (0.7 * i as f64).sin();
        let step = |problem: &mut Problem<f64>, sign: f64| {
            let weights = problem.network.parameters_mut().as_mut_slice();
            let state = problem.state.iter_mut();
            for (i, x) in weights
                .iter_mut()
                .chain(state)
                .chain(&mut problem.x)
                .enumerate()
            {
                *x += sign * STEP * wave(i);
            }
        };
        step(&mut moved[0], 1.0);
        step(&mut moved[1], -1.0);
        let d_x = gradients
            .inputs
            .unwrap_or_else(|| Array3::zeros(problem.x.dim()));
        let all = engine
            .gradients()
            .as_slice()
            .iter()
            .chain(&gradients.state)
            .chain(&d_x);
        for (i, d) in all.enumerate() {
            said += d * wave(i);
        }
        let [up, down] = moved.map(|problem| half_squares(&mut engine, &problem).0);
        let came = (up - down) / (2.0 * STEP);
        assert!(
            (said - came).abs() < 1e-6 * came.abs().max(1.0),
            "{architecture}: {said} {came}"
        );
    }
}
