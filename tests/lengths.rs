//! Sequences of different lengths, dropout, and time in segments: what may never change a gradient, and what may.

mod support;

use bptt::dropout::Dropout;
use bptt::{Batch, Dims, Engine, EngineOptions, Error, Parameters};
use ndarray::{Array2, Axis, s};
use proptest::prelude::*;
use support::{Form, Problem, assert_close, forms, relative};

/// Rounding of sums in another order, in f64.
const TOLERANCE: f64 = 1e-12;

const N: usize = 7;
const T: usize = 9;

fn problem(form: Form) -> Problem<f64> {
    let mut problem = Problem::random(form, Dims::new(3, 8, 4).unwrap(), (N, T), 11);
    // The sequence of length 3 counts at its beginning, whatever the mask is elsewhere.
    problem.mask[[1, 0]] = true;
    problem
}

/// One is empty, one whole, none in order.
const LENGTHS: [usize; N] = [5, 3, 9, 0, 1, 9, 4];

fn engine(threads: usize, shards: usize, memory: Option<usize>) -> Engine<f64> {
    let options = EngineOptions {
        threads,
        shards,
        memory,
    };
    Engine::new(Dims::new(3, 8, 4).unwrap(), options).unwrap()
}

/// Every sequence by itself, cut to its length: the sum of the gradients of summed losses, divided at the end.
fn one_by_one(problem: &Problem<f64>) -> (Parameters<f64>, f64, Array2<f64>) {
    let mut sum = Parameters::zeros(problem.parameters.dims());
    let (mut loss, mut counted) = (0.0, 0);
    let mut last = problem.state.clone();
    let mut engine = engine(1, 1, None);
    for (i, length) in LENGTHS.into_iter().enumerate().filter(|&(_, l)| l > 0) {
        let mut alone = problem.clone();
        alone.ids = problem.ids.slice(s![i..=i, ..length]).to_owned();
        alone.x = problem.x.slice(s![i..=i, ..length, ..]).to_owned();
        alone.classes = problem.classes.slice(s![i..=i, ..length]).to_owned();
        alone.distributions = problem
            .distributions
            .slice(s![i..=i, ..length, ..])
            .to_owned();
        alone.mask = problem.mask.slice(s![i..=i, ..length]).to_owned();
        let mut state = problem.state.slice(s![i..=i, ..]).to_owned();
        match engine.gradient(&problem.parameters, &alone.batch(), Some(&mut state)) {
            Ok(found) => {
                let weight = found.tally.counted as f64;
                let gradients = engine.gradients().as_slice();
                for (sum, g) in sum.as_mut_slice().iter_mut().zip(gradients) {
                    *sum += weight * g;
                }
                loss += found.tally.loss;
                counted += found.tally.counted;
            }
            Err(Error::NothingCounts) => {
                let inputs = alone.inputs();
                engine
                    .predict(&problem.parameters, inputs, Some(&mut state))
                    .unwrap();
            }
            Err(error) => panic!("{error}"),
        }
        last.row_mut(i).assign(&state.row(0));
    }
    let scale = 1.0 / counted as f64;
    sum.as_mut_slice().iter_mut().for_each(|g| *g *= scale);
    (sum, loss * scale, last)
}

#[test]
fn sequences_of_different_lengths_are_each_alone_added_up() {
    for form in forms() {
        let problem = problem(form);
        let (gradients, loss, last) = one_by_one(&problem);
        for shards in [1, 2, 3, 8] {
            let mut engine = engine(2, shards, None);
            let (batch, p) = (problem.batch().with_lengths(&LENGTHS), &problem.parameters);
            let mut state = problem.state.clone();
            let found = engine.gradient(p, &batch, Some(&mut state)).unwrap();
            assert_close(engine.gradients(), &gradients, TOLERANCE);
            assert!((found.tally.mean_loss() / loss - 1.0).abs() <= TOLERANCE);
            // In the caller's order; whoever has no steps keeps its state.
            assert!(
                relative(state.clone(), last.clone()) <= TOLERANCE,
                "{form:?} {shards}"
            );
            assert_eq!(state.row(3), problem.state.row(3));
            let mut state = problem.state.clone();
            let tally = engine.evaluate(p, &batch, Some(&mut state)).unwrap();
            assert!((tally.mean_loss() / loss - 1.0).abs() <= TOLERANCE);
            assert_eq!(tally.counted, found.tally.counted);
            assert!(
                relative(state.clone(), last.clone()) <= TOLERANCE,
                "{form:?} {shards}"
            );
        }
    }
}

#[test]
fn what_lies_beyond_a_length_is_never_read() {
    let form = Form {
        tokens: false,
        classes: false,
        masked: false,
    };
    let problem = problem(form);
    let mut dirty = problem.clone();
    for (i, length) in LENGTHS.into_iter().enumerate() {
        dirty.x.slice_mut(s![i, length.., ..]).fill(f64::NAN);
        dirty
            .distributions
            .slice_mut(s![i, length.., ..])
            .fill(f64::NAN);
    }
    let run = |problem: &Problem<f64>| {
        let mut engine = engine(2, 2, None);
        let batch = problem.batch().with_lengths(&LENGTHS);
        engine.gradient(&problem.parameters, &batch, None).unwrap();
        engine.gradients().clone()
    };
    assert!(run(&dirty) == run(&problem));
}

#[test]
fn lengths_that_do_not_fit_are_refused_by_name() {
    let problem = problem(Form {
        tokens: true,
        classes: true,
        masked: false,
    });
    let mut engine = engine(1, 2, None);
    for lengths in [&[1; N - 1][..], &[T + 1; N]] {
        let batch = problem.batch().with_lengths(lengths);
        let error = engine
            .gradient(&problem.parameters, &batch, None)
            .unwrap_err();
        assert!(error.to_string().contains("lengths"), "{error}");
    }
    let batch = problem.batch().with_lengths(&[0; N]);
    let error = engine.gradient(&problem.parameters, &batch, None);
    assert!(matches!(error, Err(Error::NothingCounts)));
}

/// Budgets from all of the memory down to the least, in which some need many segments.
fn budgets(shards: usize, tokens: bool, lengths: Option<&[usize]>) -> Vec<usize> {
    let bytes = |memory| {
        let engine = engine(1, shards, memory);
        match lengths {
            Some(lengths) => engine.bytes_of(lengths, tokens),
            None => engine.bytes(N, T, tokens),
        }
    };
    let whole = bytes(None).unwrap();
    let Err(Error::Memory { least, .. }) = bytes(Some(1)) else {
        panic!("a byte is no memory");
    };
    assert!(least < whole);
    vec![whole, whole - 1, (whole + least) / 2, least]
}

#[test]
fn segments_of_time_change_no_gradient() {
    let dropouts = [0.0, 0.3].map(|p| Dropout {
        inputs: p,
        outputs: p,
        seed: 5,
    });
    for form in forms() {
        let problem = problem(form);
        for (dropout, shards) in [(dropouts[0], 1), (dropouts[0], 3), (dropouts[1], 2)] {
            for lengths in [None, Some(&LENGTHS[..])] {
                let batch = Batch {
                    lengths,
                    ..problem.batch()
                };
                let run = |memory, threads| {
                    let mut engine = engine(threads, shards, memory);
                    let mut state = problem.state.clone();
                    let p = &problem.parameters;
                    engine
                        .gradient_with_dropout(p, &batch, Some(&mut state), &dropout, 9)
                        .unwrap();
                    (engine.gradients().clone(), state)
                };
                let (whole, last) = run(None, 1);
                for memory in budgets(shards, form.tokens, lengths) {
                    let one = run(Some(memory), 1);
                    assert_close(&one.0, &whole, TOLERANCE);
                    assert!(relative(one.1.clone(), last.clone()) <= TOLERANCE);
                    // The same bits at any number of threads.
                    assert!(run(Some(memory), 3) == one, "{form:?} {memory}");
                }
            }
        }
    }
}

/// So many that products with `wy` go another way.
#[test]
fn many_classes_are_the_reference_too() {
    let (n, t) = (4, 5);
    let dims = Dims::new(3, 16, 1 << 14).unwrap();
    let lengths = [3, 5, 0, 4];
    for (tokens, classes) in [(true, true), (false, false)] {
        let form = Form {
            tokens,
            classes,
            masked: false,
        };
        let problem = Problem::<f64>::random(form, dims, (n, t), 3);
        for lengths in [None, Some(&lengths[..])] {
            let batch = Batch {
                lengths,
                ..problem.batch()
            };
            let counts = batch.counts().unwrap_or(Array2::from_elem((n, t), true));
            let run = |memory, dropout: Dropout| {
                let options = EngineOptions {
                    threads: 2,
                    shards: 2,
                    memory,
                };
                let mut engine = Engine::new(dims, options).unwrap();
                let mut state = problem.state.clone();
                let p = &problem.parameters;
                engine
                    .gradient_with_dropout(p, &batch, Some(&mut state), &dropout, 1)
                    .unwrap();
                (
                    engine.gradients().clone(),
                    match lengths {
                        Some(lengths) => engine.bytes_of(lengths, tokens).unwrap(),
                        None => engine.bytes(n, t, tokens).unwrap(),
                    },
                )
            };
            let (gradients, bytes) = run(None, Dropout::default());
            let (segments, _) = run(Some(bytes - 100), Dropout::default());
            assert_close(&segments, &gradients, TOLERANCE);
            let dropout = Dropout {
                inputs: 0.2,
                outputs: 0.4,
                seed: 1,
            };
            let dropped = run(None, dropout).0;
            assert_close(&run(Some(bytes - 100), dropout).0, &dropped, TOLERANCE);
            let mut expected = problem.clone();
            expected.mask = counts;
            assert_close(&gradients, &expected.reference_gradients().0, 1e-11);
        }
    }
}

#[test]
fn too_little_memory_is_refused_with_what_would_do() {
    let problem = problem(Form {
        tokens: true,
        classes: true,
        masked: false,
    });
    let mut small = engine(1, 2, Some(1000));
    let error = small
        .gradient(&problem.parameters, &problem.batch(), None)
        .unwrap_err();
    let Error::Memory { least, budget, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(budget, 1000);
    assert!(error.to_string().contains(&least.to_string()), "{error}");
    let mut enough = engine(1, 2, Some(least));
    enough
        .gradient(&problem.parameters, &problem.batch(), None)
        .unwrap();
}

/// The loss of update 4, as a function of the weights, is what its gradient is the gradient of.
#[test]
fn the_gradient_with_dropout_is_that_of_the_loss_with_dropout() {
    let dropout = Dropout {
        inputs: 0.3,
        outputs: 0.4,
        seed: 1,
    };
    for form in forms() {
        let problem = problem(form);
        let mut engine = engine(2, 3, None);
        let batch = problem.batch().with_lengths(&LENGTHS);
        let mut loss = |p: &Parameters<f64>| {
            let found = engine
                .gradient_with_dropout(p, &batch, None, &dropout, 4)
                .unwrap();
            (found.tally.mean_loss(), engine.gradients().clone())
        };
        let (_, gradients) = loss(&problem.parameters);
        let mut numeric = Parameters::zeros(gradients.dims());
        let step = 1e-5;
        for i in 0..gradients.as_slice().len() {
            let mut at = |offset: f64| {
                let mut p = problem.parameters.clone();
                p.as_mut_slice()[i] += offset;
                loss(&p).0
            };
            numeric.as_mut_slice()[i] = (at(step) - at(-step)) / (2.0 * step);
        }
        assert_close(&gradients, &numeric, 1e-6);
    }
}

#[test]
fn dropout_depends_on_seed_update_and_shards_and_on_nothing_else() {
    let problem = problem(Form {
        tokens: false,
        classes: true,
        masked: false,
    });
    let run = |threads, seed, update, inputs, outputs| {
        let dropout = Dropout {
            inputs,
            outputs,
            seed,
        };
        let mut engine = engine(threads, 3, None);
        let (p, batch) = (&problem.parameters, problem.batch());
        engine
            .gradient_with_dropout(p, &batch, None, &dropout, update)
            .unwrap();
        engine.gradients().clone()
    };
    let one = run(1, 1, 1, 0.5, 0.5);
    assert!(run(3, 1, 1, 0.5, 0.5) == one);
    assert!(run(1, 2, 1, 0.5, 0.5) != one, "another seed");
    assert!(run(1, 1, 2, 0.5, 0.5) != one, "another update");
    assert!(run(1, 1, 1, 0.5, 0.0) != one, "no dropout of outputs");
    let mut plain = engine(1, 3, None);
    plain
        .gradient(&problem.parameters, &problem.batch(), None)
        .unwrap();
    assert!(run(1, 1, 1, 0.0, 0.0) == *plain.gradients());
}

/// What is kept is made larger, so that the expected input of a layer stays what it was: over many updates the mean of
/// `dwy` is near the one without dropout of a network whose states do not depend on what is dropped.
#[test]
fn dropout_keeps_the_mean() {
    let mut problem = problem(Form {
        tokens: false,
        classes: true,
        masked: false,
    });
    // No output weights: the loss's gradient does not depend on the states, so dwy is linear in them.
    let dims = problem.parameters.dims();
    let from = (dims.n_x + dims.n_h) * dims.n_h;
    problem.parameters.as_mut_slice()[from..from + dims.n_y * dims.n_h].fill(0.0);
    let mut engine = engine(2, 2, None);
    let (p, batch) = (&problem.parameters, problem.batch());
    engine.gradient(p, &batch, None).unwrap();
    let plain = engine.gradients().wy().to_owned();
    let dropout = Dropout {
        inputs: 0.0,
        outputs: 0.5,
        seed: 3,
    };
    let (updates, mut mean) = (2000, Array2::zeros(plain.dim()));
    for update in 0..updates {
        engine
            .gradient_with_dropout(p, &batch, None, &dropout, update)
            .unwrap();
        mean.scaled_add(1.0 / updates as f64, &engine.gradients().wy());
    }
    let error = relative(mean, plain);
    assert!(error < 0.02, "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn any_lengths_are_the_reference_with_a_mask(
        sizes in prop::array::uniform5(1usize..=20),
        (shards, threads) in (1usize..6, 1usize..4),
        (tokens, classes, masked) in any::<(bool, bool, bool)>(),
        (seed, picks) in (any::<u64>(), prop::collection::vec(0usize..=20, 20)),
    ) {
        let [n, t, n_x, n_h, n_y] = sizes;
        let form = Form { tokens, classes, masked };
        let dims = Dims::new(n_x, n_h, n_y).unwrap();
        let mut problem = Problem::<f64>::random(form, dims, (n, t), seed);
        let scale = 1.0 / (n_h as f64).sqrt();
        problem.parameters.as_mut_slice().iter_mut().for_each(|w| *w *= scale);
        let lengths: Vec<usize> = picks[..n].iter().map(|&pick| pick % (t + 1)).collect();
        let batch = problem.batch().with_lengths(&lengths);
        prop_assume!(batch.counted() > 0);
        let options = EngineOptions { threads, shards, ..EngineOptions::default() };
        let mut engine = Engine::new(dims, options).unwrap();
        engine.gradient(&problem.parameters, &batch, None).unwrap();
        let mut expected = problem.clone();
        expected.mask = batch.counts().unwrap();
        expected.state.fill(0.0);
        prop_assert_eq!(expected.mask.len_of(Axis(0)), n);
        assert_close(engine.gradients(), &expected.reference_gradients().0, 1e-11);
    }
}
