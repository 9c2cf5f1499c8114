//! The gradients, up the ladder: central differences, plain loops, the fast path in f64, then f32.

mod support;

use bptt::{Dims, Engine, EngineOptions, Rnn};
use support::{Problem, assert_close, forms, relative};

/// Every dimension another number, so that no two can be mixed up.
const N_T: (usize, usize) = (4, 6);
fn dims() -> Dims {
    Dims::new(3, 7, 5).unwrap()
}

/// Central differences of step h err by h^2 f'''/6 and by rounding eps/h: about 1e-10 at h = 1e-5.
const STEP: f64 = 1e-5;
const DIFFERENCE_TOLERANCE: f64 = 1e-6;

/// Rounding of a few hundred additions in f64, and of the two tanh that differ by some ulp.
const DOUBLE_TOLERANCE: f64 = 1e-13;

/// The same in f32, where six steps of recurrence carry it on.
const SINGLE_TOLERANCE: f64 = 2e-6;

#[test]
fn the_reference_equals_central_differences() {
    for form in forms() {
        let problem = Problem::<f64>::random(form, dims(), N_T, 1);
        let (analytic, analytic_state) = problem.reference_gradients();

        let mut numeric = analytic.clone();
        for i in 0..numeric.as_slice().len() {
            let loss = |step: f64| {
                let mut p = problem.parameters.clone();
                p.as_mut_slice()[i] += step;
                problem.reference_loss(&p, &problem.state)
            };
            numeric.as_mut_slice()[i] = (loss(STEP) - loss(-STEP)) / (2.0 * STEP);
        }
        assert_close(&analytic, &numeric, DIFFERENCE_TOLERANCE);

        let mut numeric_state = analytic_state.clone();
        for (at, value) in numeric_state.indexed_iter_mut() {
            let loss = |step: f64| {
                let mut state = problem.state.clone();
                state[at] += step;
                problem.reference_loss(&problem.parameters, &state)
            };
            *value = (loss(STEP) - loss(-STEP)) / (2.0 * STEP);
        }
        let error = relative(analytic_state, numeric_state);
        assert!(
            error <= DIFFERENCE_TOLERANCE,
            "initial state: {error:e} ({form:?})"
        );
    }
}

#[test]
fn the_network_equals_central_differences() {
    for form in forms() {
        let problem = Problem::<f64>::random(form, dims(), N_T, 2);
        let rnn = Rnn::from_parameters(problem.parameters.clone());
        let pass = rnn
            .forward(problem.inputs(), Some(problem.state.view()))
            .unwrap();
        let gradients = pass.backward(problem.batch().answers).unwrap();

        // The loss by the fast path too: forward and backward must belong together.
        let loss = |rnn: &Rnn<f64>, state: &ndarray::Array2<f64>| {
            let mut engine = Engine::new(
                dims(),
                EngineOptions {
                    threads: 1,
                    shards: 1,
                    ..EngineOptions::default()
                },
            )
            .unwrap();
            let mut state = state.clone();
            let tally = engine.evaluate(rnn.parameters(), &problem.batch(), Some(&mut state));
            tally.unwrap().mean_loss()
        };
        let mut numeric = gradients.parameters.clone();
        for (i, value) in numeric.as_mut_slice().iter_mut().enumerate() {
            let at = |step: f64| {
                let mut moved = rnn.clone();
                moved.parameters_mut().as_mut_slice()[i] += step;
                loss(&moved, &problem.state)
            };
            *value = (at(STEP) - at(-STEP)) / (2.0 * STEP);
        }
        assert_close(&gradients.parameters, &numeric, DIFFERENCE_TOLERANCE);

        let mut numeric = gradients.initial_state.clone();
        for (i, value) in numeric.indexed_iter_mut() {
            let at = |step: f64| {
                let mut state = problem.state.clone();
                state[i] += step;
                loss(&rnn, &state)
            };
            *value = (at(STEP) - at(-STEP)) / (2.0 * STEP);
        }
        let error = relative(gradients.initial_state, numeric);
        assert!(
            error <= DIFFERENCE_TOLERANCE,
            "initial state: {error:e} ({form:?})"
        );
    }
}

#[test]
fn the_network_equals_the_reference() {
    for (seed, form) in forms().enumerate() {
        for (dims, n_t) in [
            (dims(), N_T),
            (Dims::new(1, 1, 1).unwrap(), (1, 1)),
            (Dims::new(2, 1, 3).unwrap(), (5, 1)),
            (Dims::new(19, 33, 67).unwrap(), (1, 9)),
            (Dims::new(5, 40, 16).unwrap(), (13, 4)),
        ] {
            let problem = Problem::<f64>::random(form, dims, n_t, seed as u64);
            let rnn = Rnn::from_parameters(problem.parameters.clone());
            let pass = rnn
                .forward(problem.inputs(), Some(problem.state.view()))
                .unwrap();
            let expected = problem.reference_forward();
            for (name, fast, slow) in [
                ("h", pass.hidden(), &expected.h),
                ("u", pass.logits(), &expected.u),
                ("y", pass.probabilities(), &expected.y),
            ] {
                let error = relative(fast, slow.iter().copied());
                assert!(
                    error <= DOUBLE_TOLERANCE,
                    "{name}: {error:e} ({form:?}, {dims:?})"
                );
            }
            let fast = pass.backward(problem.batch().answers).unwrap();
            let (slow, slow_state) = problem.reference_gradients();
            assert_close(&fast.parameters, &slow, DOUBLE_TOLERANCE);
            let error = relative(fast.initial_state, slow_state);
            assert!(
                error <= DOUBLE_TOLERANCE,
                "initial state: {error:e} ({form:?})"
            );
        }
    }
}

#[test]
fn single_precision_equals_double() {
    for form in forms() {
        let problem = Problem::<f64>::random(form, dims(), N_T, 3);
        let single = problem.single();
        let rnn = Rnn::from_parameters(single.parameters.clone());
        let pass = rnn
            .forward(single.inputs(), Some(single.state.view()))
            .unwrap();
        let fast = pass.backward(single.batch().answers).unwrap();
        let (slow, slow_state) = problem.reference_gradients();
        assert_close(&fast.parameters, &slow, SINGLE_TOLERANCE);
        let error = relative(fast.initial_state, slow_state);
        assert!(
            error <= SINGLE_TOLERANCE,
            "initial state: {error:e} ({form:?})"
        );
    }
}
