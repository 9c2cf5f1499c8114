//! Time in pieces: windows with carried states, and streams, are the whole.

use crate::support::{Form, Problem, architectures, assert_near, engine, gradient, is_streaming};
use bptt::{Inputs, Stream};
use ndarray::{Array2, Array3, Axis, s};

const N: usize = 5;
const T: usize = 12;

/// Rounding in `f64` of sums over some dozen steps, taken in another order.
const TOLERANCE: f64 = 1e-12;

/// The same bits, for each step is computed alike whatever stands before it.
#[test]
fn with_carried_state_equal_the_whole() {
    for (i, architecture) in architectures().filter(is_streaming).enumerate() {
        let problem = Problem::<f64>::random(Form::ALL[i % 16], architecture, (N, T), 5);
        let mut engine = engine(architecture, 2, 2);
        let mut predict = |problem: &Problem<f64>, state: &mut Array2<f64>| {
            engine
                .predict(&problem.network, problem.inputs(), Some(state))
                .unwrap()
        };
        let mut state = problem.state.clone();
        let whole = predict(&problem, &mut state);
        let (mut carried, mut parts) = (problem.state.clone(), Vec::new());
        let all: Vec<usize> = (0..N).collect();
        for steps in [0..1, 1..5, 5..12] {
            parts.push(predict(&problem.select(&all, steps), &mut carried));
        }
        let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
        assert_eq!(ndarray::concatenate(Axis(1), &views).unwrap(), whole);
        assert_eq!(carried, state);
    }
}

/// Losses add up, and states go on, where training and evaluation go from window to window; sequences that end in one
/// have no steps in the next.
#[test]
fn of_training_add_up_to_the_whole() {
    for (i, architecture) in architectures().filter(is_streaming).enumerate() {
        for form in Form::some(i, 2) {
            let mut problem = Problem::<f64>::random(form, architecture, (N, T), 6).tamed();
            // Something counts in every window.
            problem.lengths[0] = T;
            problem.mask.row_mut(0).fill(true);
            let mut engine = engine(architecture, 2, 3);
            let whole = gradient(&mut engine, &problem, None);
            let (mut state, mut evaluated) = (problem.state.clone(), problem.state.clone());
            let (mut loss, mut counted) = (0.0, 0);
            let all: Vec<usize> = (0..N).collect();
            for steps in [0..4, 4..6, 6..12] {
                let mut part = problem.select(&all, steps);
                part.state = state.clone();
                let found = gradient(&mut engine, &part, None);
                let metrics = engine
                    .evaluate(&part.network, &part.batch(), Some(&mut evaluated))
                    .unwrap();
                assert_eq!(metrics.counted, found.metrics.counted);
                assert_near(
                    "states of evaluation",
                    evaluated.clone(),
                    found.state.clone(),
                    TOLERANCE,
                );
                (loss, counted, state) = (
                    loss + found.metrics.loss,
                    counted + found.metrics.counted,
                    found.state,
                );
            }
            assert!((loss / whole.metrics.loss - 1.0).abs() <= TOLERANCE);
            assert_eq!(counted, whole.metrics.counted);
            assert_near("states", state, whole.state, TOLERANCE);
        }
    }
}

/// Steps one at a time, or some at a time.
#[test]
fn of_a_stream_equal_the_whole() {
    for architecture in architectures().filter(is_streaming) {
        let form = Form::of(0);
        let problem = Problem::<f32>::random(form, architecture, (3, 8), 3);
        let mut engine = engine(architecture, 1, 1);
        let mut last = problem.state.clone();
        let whole = engine
            .predict(&problem.network, problem.inputs(), Some(&mut last))
            .unwrap();
        for pieces in [vec![1; 8], vec![3, 1, 4]] {
            let (mut stream, mut end) = (Stream::new(&problem.network, 3).unwrap(), 0);
            for steps in pieces {
                let piece = problem.select(&[0, 1, 2], end..end + steps);
                end += steps;
                let y = stream.step(piece.inputs()).unwrap();
                assert_eq!(
                    y,
                    whole.slice(s![.., end - 1, ..]),
                    "{architecture}, step {end}"
                );
            }
            assert_eq!(stream.state(), last);
        }
        let mut stream = Stream::new(&problem.network, 3).unwrap();
        assert!(
            stream.step(problem.select(&[0], 0..1).inputs()).is_err(),
            "one sequence instead of three"
        );
        let other = Array3::<f32>::zeros((3, 1, 2));
        assert!(stream.step(Inputs::from(&other)).is_err(), "two features");
    }
}
