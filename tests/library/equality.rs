//! The engine computes what the plain loops compute, whatever the architecture, the batch, the shards and the threads.

use crate::support::{
    Expected, Form, Problem, architectures, architectures_of, assert_close, assert_near, engine,
    gradient,
};
use bptt::{Architecture, At, Batch, Cell, Engine, Head, Input, Loss, Parameters, reference};
use ndarray::{Array2, Array3, s};
use proptest::prelude::*;

/// Rounding of sums of some hundred products in `f64`, through a few layers and a dozen steps of recurrence.
const DOUBLE: f64 = 1e-12;

/// The same of some thousand products or steps.
const MANY: f64 = 1e-11;

/// The same as [`DOUBLE`] in `f32`, against `f64`.
const SINGLE: f64 = 5e-6;

/// All that an engine finds of a problem, held against the plain loops.
#[track_caller]
fn check(
    engine: &mut Engine<f64>,
    problem: &Problem<f64>,
    expected: &Expected<f64>,
    tolerance: f64,
) {
    // Of one class the loss is zero.
    let near = |what, a: f64, b: f64| {
        assert!(
            a == b || (a / b - 1.0).abs() <= tolerance,
            "{what}: {a}, expected {b}"
        )
    };
    let found = gradient(engine, problem, None);
    assert_close(&found.gradients, &expected.gradients, tolerance);
    near("loss", found.metrics.mean_loss(), expected.loss);
    near("norm", found.norm, expected.gradients.norm());
    assert_near("states", found.state, expected.state.clone(), tolerance);

    let (network, batch) = (&problem.network, problem.batch());
    if !problem.form.state {
        assert_eq!(
            engine.gradient(network, &batch).unwrap().metrics,
            found.metrics
        );
        assert!(
            *engine.gradients() == found.gradients,
            "from no state and from zero"
        );
    }
    let mut state = problem.state.clone();
    let metrics = engine.evaluate(network, &batch, Some(&mut state)).unwrap();
    near("evaluation", metrics.mean_loss(), expected.loss);
    assert_eq!(metrics.counted, batch.counted());
    if problem.architecture().head.loss == Loss::CrossEntropy {
        let right = right_answers(&batch, &problem.values, &expected.y);
        assert_eq!(metrics.correct, right);
    }
    assert_near(
        "states of evaluation",
        state,
        expected.state.clone(),
        tolerance,
    );

    let (lengths, state) = (Some(&problem.lengths[..]), &mut problem.state.clone());
    let y = engine
        .predict_with(network, problem.inputs(), lengths, Some(state))
        .unwrap();
    assert_near("answers", y, expected.y.clone(), tolerance);
    layers_alone(engine, problem, expected, tolerance);
}

/// The layers without the head, given any gradient of their outputs.
fn layers_alone(
    engine: &mut Engine<f64>,
    problem: &Problem<f64>,
    expected: &Expected<f64>,
    tolerance: f64,
) {
    let (p, plain) = (problem.network.parameters(), problem.plain());
    let forward = reference::forward(p, &plain);
    let hidden = forward.h.last().unwrap();
    let d_hidden = hidden.mapv(|h| (5.0 * h).cos());
    let d_state = expected.state.mapv(|h| (3.0 * h).sin());
    let mut gradients = Parameters::zeros(problem.architecture());
    let (d_x, d_first) = reference::layers_backward(p, &plain, &d_hidden, &d_state, &mut gradients);

    let (lengths, state) = (Some(&problem.lengths[..]), &mut problem.state.clone());
    let found = engine
        .forward(&problem.network, problem.inputs(), lengths, Some(state))
        .unwrap();
    assert_near("hidden", found, hidden.clone(), tolerance);
    assert_near("states", state.clone(), expected.state.clone(), tolerance);
    let found = engine
        .backward(d_hidden.view(), Some(d_state.view()))
        .unwrap();
    assert_close(engine.gradients(), &gradients, tolerance);
    assert_near("initial state", found.state, d_first, tolerance);
    assert_eq!(
        found.inputs.is_none(),
        problem.architecture().input.is_tokens()
    );
    if let Some(inputs) = found.inputs {
        assert_near("inputs", inputs, d_x, tolerance);
    }
}

/// The counted steps whose likeliest class is the one with the largest weight.
fn right_answers(batch: &Batch<'_, f64>, targets: &Array3<f64>, y: &Array3<f64>) -> u64 {
    let (n, t, _) = y.dim();
    let counts = batch.counts().unwrap_or(Array2::from_elem((n, t), true));
    let best = |a: &Array3<f64>, (i, step)| {
        let row = a.slice(s![i, step, ..]);
        let greater = |best, j| if row[j] > row[best] { j } else { best };
        (0..row.len()).fold(0, greater)
    };
    let right =
        |&(at, &counts): &((usize, usize), &bool)| counts && best(targets, at) == best(y, at);
    counts.indexed_iter().filter(right).count() as u64
}

#[test]
fn for_any_number_of_shards() {
    for (i, architecture) in architectures().enumerate() {
        for (form, n) in Form::some(i, 8).zip([1, 2, 5, 7].into_iter().cycle()) {
            let problem = Problem::<f64>::random(form, architecture, (n, 6), 5).tamed();
            let expected = problem.expected();
            for shards in [1, 2, 3, 8] {
                check(
                    &mut engine(architecture, 2, shards),
                    &problem,
                    &expected,
                    DOUBLE,
                );
            }
        }
    }
}

/// One of everything; more of everything than fits into a vector; batches of more rows than the kernels take at a time.
#[test]
fn for_sizes_at_the_edges() {
    for (i, [n, t, n_x, n_h, n_y]) in [
        [1, 1, 1, 1, 1],
        [5, 1, 2, 1, 3],
        [1, 9, 19, 33, 67],
        [13, 4, 5, 40, 16],
        [260, 8, 3, 4, 2],
    ]
    .into_iter()
    .enumerate()
    {
        for (j, architecture) in architectures_of(n_x, n_h, n_y).enumerate() {
            // Half of them where the plain loops take their time; their order alternates features and tokens.
            if n * t * n_h > 300 && (i + j / 2) % 2 == 0 {
                continue;
            }
            let form = Form::ALL[(5 * i + j) % 16];
            let problem = Problem::random(form, architecture, (n, t), 7).tamed();
            check(
                &mut engine(architecture, 1, 1),
                &problem,
                &problem.expected(),
                MANY,
            );
        }
    }
}

/// So many that products with the decoder go another way.
#[test]
fn for_many_classes() {
    for (i, architecture) in architectures_of(3, 16, 1 << 14).enumerate() {
        // The plain loops are slow here.
        if i % 5 == 0 {
            let problem = Problem::random(Form::ALL[i % 16], architecture, (3, 3), 3);
            check(
                &mut engine(architecture, 2, 2),
                &problem,
                &problem.expected(),
                MANY,
            );
        }
    }
}

#[test]
fn in_single_precision() {
    for (i, architecture) in architectures().enumerate() {
        for form in Form::some(i, 4) {
            let problem = Problem::<f64>::random(form, architecture, (4, 6), 3).tamed();
            let (single, expected) = (problem.single(), problem.expected());
            let found = gradient(&mut engine(architecture, 2, 2), &single, None);
            assert_close(&found.gradients, &expected.gradients, SINGLE);
            assert_near("states", found.state, expected.state, SINGLE);
            let error = found.metrics.mean_loss() / expected.loss - 1.0;
            assert!(error.abs() <= SINGLE, "loss: {error:e}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn for_sizes_that_nobody_chose(
        [n, t, n_x, n_h, n_y] in prop::array::uniform5(1usize..=20),
        (shards, threads, layers) in (1usize..6, 1usize..4, 1usize..=3),
        (cell, form) in (prop::sample::select(&Cell::ALL[..]), prop::sample::select(&Form::ALL[..])),
        (loss, size) in (prop::sample::select(&Loss::ALL[..]), 1usize..=9),
        (kind, bidirectional, last, seed) in (0usize..3, any::<bool>(), any::<bool>(), any::<u64>()),
    ) {
        let embedding = Input::Embedding { tokens: n_x, size };
        let input = [Input::Tokens(n_x), Input::Features(n_x), embedding][kind];
        let at = if last { At::Last } else { At::Every };
        let head = Head { at, ..Head::new(n_y, loss) };
        let one = Architecture::new(input, n_h, head);
        let architecture = Architecture { cell, layers, bidirectional, ..one };
        let problem = Problem::random(form, architecture, (n, t), seed).tamed();
        let expected = problem.expected();
        // Sums of a few terms may nearly cancel, which nothing can be held against.
        let norms = expected.gradients.iter().map(|(_, g)| g.iter().map(|g| g * g).sum::<f64>().sqrt());
        prop_assume!(norms.into_iter().all(|norm| norm == 0.0 || norm > 1e-4 * expected.gradients.norm()));
        prop_assume!(expected.loss == 0.0 || expected.loss > 1e-3);
        check(&mut engine(architecture, threads, shards), &problem, &expected, MANY);
    }
}
