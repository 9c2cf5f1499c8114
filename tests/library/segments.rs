//! Time in segments, where memory is short: the same gradients within rounding, whatever the memory.

use crate::support::{
    Form, Problem, answered, architectures, architectures_of, assert_close, assert_near, gradient,
    is_streaming,
};
use bptt::{Architecture, Dropout, Engine, EngineOptions, Error, Head, Input};

/// Rounding of sums in another order, in `f64`.
const TOLERANCE: f64 = 1e-12;

const N: usize = 7;
const T: usize = 9;
const LENGTHS: [usize; N] = [5, 3, 9, 0, 1, 9, 4];

fn engine(
    architecture: Architecture,
    threads: usize,
    shards: usize,
    memory: Option<usize>,
) -> Engine<f64> {
    let options = EngineOptions {
        threads,
        shards,
        memory,
    };
    Engine::new(architecture, options).unwrap()
}

/// All the memory, or the least.
fn bytes(problem: &Problem<f64>, shards: usize, memory: Option<usize>) -> bptt::Result<usize> {
    let engine = engine(problem.architecture(), 1, shards, memory);
    let (n, t) = problem.inputs().sequences();
    match problem.form.lengths {
        true => engine.bytes_of(&problem.lengths),
        false => engine.bytes(n, t),
    }
}

/// Of one step of one sequence, the memory is that of weights: gradients of each shard and their sum, and packed weights both ways.
#[test]
fn copies_of_the_weights_count() {
    let mut architectures = architectures_of(5, 96, 4);
    let architecture = architectures.find(is_streaming).unwrap();
    let weights = architecture.parameters() as usize;
    for shards in [1, 3] {
        let found = engine(architecture, 1, shards, None)
            .bytes(shards, 1)
            .unwrap();
        let copies = (shards + 1) * weights + 2 * 96 * 96;
        let [least, most] = [1.0, 1.15].map(|part| (part * (8 * copies) as f64) as usize);
        assert!(
            (least..most).contains(&found),
            "{found} for {shards} shards, not {least} to {most}"
        );
    }
}

/// Budgets from all of the memory down to the least, in which some need many segments.
fn budgets(problem: &Problem<f64>, shards: usize) -> Vec<usize> {
    let whole = bytes(problem, shards, None).unwrap();
    let Err(Error::Memory { least, .. }) = bytes(problem, shards, Some(1)) else {
        panic!("a byte is no memory");
    };
    assert!(least < whole, "{least} {whole}");
    for budget in [whole, least] {
        assert!(bytes(problem, shards, Some(budget)).unwrap() <= budget);
    }
    vec![whole, whole - 1, (whole + least) / 2, least]
}

fn check(problem: &Problem<f64>, shards: usize, dropout: Option<&Dropout>) {
    let run = |memory, threads| {
        let mut engine = engine(problem.architecture(), threads, shards, memory);
        gradient(&mut engine, problem, dropout.map(|dropout| (dropout, 9)))
    };
    let whole = run(None, 1);
    for memory in budgets(problem, shards) {
        let one = run(Some(memory), 1);
        assert_close(&one.gradients, &whole.gradients, TOLERANCE);
        assert_near("states", one.state.clone(), whole.state.clone(), TOLERANCE);
        assert!((one.metrics.loss / whole.metrics.loss - 1.0).abs() <= TOLERANCE);
        // The same bits at any number of threads.
        assert!(
            run(Some(memory), 3) == one,
            "{}, {memory} bytes",
            problem.architecture()
        );
    }
}

/// Whether time can be taken in segments: not from both ends at once.
fn is_in_segments(a: &Architecture) -> bool {
    !a.bidirectional
}

const DROPOUT: Dropout = Dropout {
    inputs: 0.3,
    outputs: 0.4,
    seed: 5,
};

#[test]
fn segments_of_time_change_no_gradient() {
    for (i, architecture) in architectures().filter(is_in_segments).enumerate() {
        for (dropout, shards) in [(None, 1), (None, 3), (Some(&DROPOUT), 2)] {
            for form in Form::some(i, 2) {
                let problem = Problem::random(form, architecture, (N, T), 11).tamed();
                let lengths = |problem: Problem<f64>| {
                    problem.with_lengths(&answered(&architecture, &LENGTHS))
                };
                check(
                    &if form.lengths {
                        lengths(problem)
                    } else {
                        problem
                    },
                    shards,
                    dropout,
                );
            }
        }
    }
}

/// Products with the decoder go another way there.
#[test]
fn nor_of_many_classes() {
    for (i, architecture) in architectures_of(3, 16, 1 << 14)
        .filter(is_in_segments)
        .enumerate()
    {
        let form = Form::ALL[(i + 3) % 16];
        let problem = Problem::random(form, architecture, (4, 5), 3).tamed();
        check(&problem, 2, [None, Some(&DROPOUT)][i % 2]);
    }
}

/// Of a million words, the outputs of all steps would take eight gigabytes.
#[test]
fn very_many_classes_take_segments_by_themselves() {
    let architecture = Architecture::new(Input::Tokens(1_000_000), 4, Head::softmax(1_000_000));
    let bytes = |memory| engine(architecture, 1, 2, memory).bytes(16, 64).unwrap();
    let (found, whole) = (bytes(None), bytes(Some(usize::MAX)));
    assert!(found < 2 << 30 && whole > 7 << 30, "{found} {whole}");
}

/// Evaluation and prediction take segments as well.
#[test]
fn segments_of_time_change_no_prediction() {
    for (i, architecture) in architectures().filter(is_in_segments).enumerate() {
        let problem = Problem::<f64>::random(Form::ALL[i % 16], architecture, (N, T), 2).tamed();
        let run = |memory| {
            let mut engine = engine(architecture, 2, 2, memory);
            let (network, mut state) = (&problem.network, problem.state.clone());
            let y = engine
                .predict(network, problem.inputs(), Some(&mut state))
                .unwrap();
            let metrics =
                engine.evaluate(network, &problem.batch(), Some(&mut problem.state.clone()));
            (y, state, metrics.unwrap())
        };
        let whole = run(None);
        // Without lengths, which predictions do not know.
        let full = problem.clone().with_lengths(&[T; N]);
        // Rows that end before others take room of their own, which evaluation needs too.
        let least = budgets(&problem, 2)[3];
        for memory in budgets(&full, 2) {
            let (y, state, metrics) = run(Some(memory.max(least)));
            assert_near("predictions", y, whole.0.clone(), TOLERANCE);
            assert_near("states", state, whole.1.clone(), TOLERANCE);
            assert!((metrics.loss / whole.2.loss - 1.0).abs() <= TOLERANCE);
            assert_eq!(metrics.correct, whole.2.correct);
        }
    }
}

#[test]
fn too_little_memory_is_refused_with_what_would_do() {
    for (i, architecture) in architectures().filter(is_in_segments).enumerate() {
        let problem = Problem::<f64>::random(Form::ALL[i % 16], architecture, (N, T), 11);
        let mut small = engine(architecture, 1, 2, Some(1000));
        let error = small
            .gradient(&problem.network, &problem.batch())
            .unwrap_err();
        let Error::Memory { least, budget, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(budget, 1000);
        assert!(error.to_string().contains(&least.to_string()), "{error}");
        let mut enough = engine(architecture, 1, 2, Some(least));
        enough.gradient(&problem.network, &problem.batch()).unwrap();
        let mut less = engine(architecture, 1, 2, Some(least - 1));
        assert!(less.gradient(&problem.network, &problem.batch()).is_err());
    }
}
