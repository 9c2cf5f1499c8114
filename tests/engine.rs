//! What the engine promises: the reference's numbers at any number of shards, the same bits at any
//! number of threads, states that carry over.

mod support;

use bptt::{Batch, Dims, Engine, EngineOptions, Error, Init, Rnn, Stream};
use ndarray::{Array2, array, s};
use proptest::prelude::*;
use support::{Form, Problem, assert_close, forms, relative};

/// Rounding of sums over up to 40 x 40 steps in f64, and its way through the recurrence.
const TOLERANCE: f64 = 1e-11;

fn engine(dims: Dims, threads: usize, shards: usize) -> Engine<f64> {
    Engine::new(
        dims,
        EngineOptions {
            threads,
            shards,
            ..EngineOptions::default()
        },
    )
    .unwrap()
}

#[test]
fn any_number_of_shards_gives_the_reference() {
    let dims = Dims::new(3, 9, 4).unwrap();
    for form in forms() {
        for n in [1, 2, 5, 7] {
            let problem = Problem::<f64>::random(form, dims, (n, 6), 5);
            let (gradients, _) = problem.reference_gradients();
            let last = problem
                .reference_forward()
                .h
                .slice(s![.., -1, ..])
                .to_owned();
            for shards in [1, 2, 3, 8] {
                let mut engine = engine(dims, 2, shards);
                let mut state = problem.state.clone();
                let found = engine
                    .gradient(&problem.parameters, &problem.batch(), Some(&mut state))
                    .unwrap();
                assert_close(engine.gradients(), &gradients, TOLERANCE);
                let loss = problem.reference_loss(&problem.parameters, &problem.state);
                assert!((found.tally.mean_loss() / loss - 1.0).abs() <= TOLERANCE);
                assert!((found.norm / gradients.norm() - 1.0).abs() <= TOLERANCE);
                assert!(relative(state, last.clone()) <= TOLERANCE, "last state");
            }
        }
    }
}

#[test]
fn threads_never_change_a_bit() {
    let dims = Dims::new(11, 130, 23).unwrap();
    let form = Form {
        tokens: true,
        classes: true,
        masked: true,
    };
    let problem = Problem::<f64>::random(form, dims, (13, 9), 5).single();
    for shards in [1, 3, 8] {
        let train = |threads: usize| {
            let mut engine = Engine::new(
                dims,
                EngineOptions {
                    threads,
                    shards,
                    ..EngineOptions::default()
                },
            )
            .unwrap();
            let mut p = problem.parameters.clone();
            let mut norms = Vec::new();
            for _ in 0..20 {
                norms.push(engine.gradient(&p, &problem.batch(), None).unwrap().norm);
                bptt::optim::gradient_descent_step(&mut p, engine.gradients(), 0.1);
            }
            (p, norms)
        };
        let one = train(1);
        assert_ne!(one.0, problem.parameters);
        for threads in [2, 3, 4, 8] {
            assert!(train(threads) == one, "{threads} threads, {shards} shards");
        }
    }
}

#[test]
fn windows_with_carried_state_equal_the_whole() {
    let dims = Dims::new(3, 9, 4).unwrap();
    for tokens in [true, false] {
        let form = Form {
            tokens,
            classes: true,
            masked: false,
        };
        let problem = Problem::<f64>::random(form, dims, (5, 12), 5);
        let mut engine = engine(dims, 2, 2);
        let mut state = problem.state.clone();
        let whole = engine
            .predict(&problem.parameters, problem.inputs(), Some(&mut state))
            .unwrap();
        let mut carried = problem.state.clone();
        let mut from = 0;
        for length in [1, 4, 7] {
            let steps = s![.., from..from + length];
            let ids = problem.ids.slice(steps).to_owned();
            let x = problem.x.slice(s![.., from..from + length, ..]).to_owned();
            let inputs = if tokens {
                bptt::Inputs::from(&ids)
            } else {
                bptt::Inputs::from(&x)
            };
            let part = engine
                .predict(&problem.parameters, inputs, Some(&mut carried))
                .unwrap();
            assert_eq!(part, whole.slice(s![.., from..from + length, ..]));
            from += length;
        }
        assert_eq!(carried, state);
    }
}

#[test]
fn streaming_equals_the_whole() {
    let rnn = Rnn::<f32>::new(Dims::new(6, 20, 6).unwrap(), Init::Glorot, 3).unwrap();
    let ids = Array2::from_shape_fn((3, 8), |(i, t)| ((i * 5 + t * 3) % 6) as u32);
    let whole = rnn.predict(&ids).unwrap();
    let mut stream = Stream::new(&rnn, 3);
    for t in 0..8 {
        let step = ids.slice(s![.., t..t + 1]).to_owned();
        assert_eq!(stream.step(&step).unwrap(), whole.slice(s![.., t, ..]));
    }
    assert!(
        stream.step(&array![[0u32]]).is_err(),
        "one sequence instead of three"
    );
}

#[test]
fn the_step_of_the_notebook_equals_the_first_of_many() {
    let form = Form {
        tokens: false,
        classes: true,
        masked: false,
    };
    let problem = Problem::<f64>::random(form, Dims::new(3, 9, 5).unwrap(), (2, 3), 5);
    let rnn = Rnn::from_parameters(problem.parameters.clone());
    let step = rnn
        .step(problem.x.slice(s![.., 0, ..]), problem.state.view())
        .unwrap();
    let expected = problem.reference_forward();
    for (fast, slow) in [
        (step.y, expected.y),
        (step.h, expected.h),
        (step.z, expected.z),
    ] {
        assert!(relative(fast, slow.slice(s![.., 0, ..]).iter().copied()) <= TOLERANCE);
    }
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let dims = Dims::new(3, 4, 2).unwrap();
    let mut engine = engine(dims, 1, 1);
    let p = bptt::Parameters::zeros(dims);
    let (ids, classes) = (array![[0u32, 1, 2]], array![[0u32, 1, 1]]);
    let mut refuse = |batch: Batch<'_, f64>, words: &[&str]| {
        let error = engine.gradient(&p, &batch, None).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    };
    refuse(
        Batch::new(&array![[0u32, 3, 2]], &classes),
        &["inputs", "[0, 1]", "3"],
    );
    refuse(
        Batch::new(&ids, &array![[0u32, 1, 2]]),
        &["targets", "[0, 2]", "2"],
    );
    refuse(
        Batch::new(&ids, &array![[0u32, 1]]),
        &["targets", "[1, 2]", "[1, 3]"],
    );
    refuse(
        Batch::new(&ids, &ndarray::Array3::zeros((1, 3, 5))),
        &["targets", "[1, 3, 5]"],
    );
    refuse(
        Batch::new(&ndarray::Array3::zeros((1, 3, 2)), &classes),
        &["inputs", "[1, 3, 2]"],
    );
    refuse(
        Batch::new(&Array2::<u32>::zeros((0, 3)), &classes),
        &["inputs", "[0, 3]"],
    );
    let nothing = array![[false, false, false]];
    refuse(
        Batch::new(&ids, &classes).with_mask(nothing.view()),
        &["no time step counts"],
    );
    refuse(
        Batch::new(&ids, &classes).with_mask(array![[true]].view()),
        &["mask", "[1, 1]"],
    );
    let mut state = Array2::zeros((2, 4));
    let error = engine
        .gradient(&p, &Batch::new(&ids, &classes), Some(&mut state))
        .unwrap_err();
    assert!(
        matches!(error, Error::Shape { what: "state", .. }),
        "{error}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_engine_is_the_reference(
        sizes in prop::array::uniform5(1usize..=40),
        (shards, threads) in (1usize..6, 1usize..4),
        (tokens, classes, masked) in any::<(bool, bool, bool)>(),
        seed in any::<u64>(),
    ) {
        let [n, t, n_x, n_h, n_y] = sizes;
        let t = t.min(12); // the plain loops are slow
        let n_h = n_h.max(2); // dwh of one unit is one number, which may nearly cancel
        let dims = Dims::new(n_x, n_h, n_y).unwrap();
        let form = Form { tokens, classes, masked };
        let mut problem = Problem::<f64>::random(form, dims, (n, t), seed);
        // Weights small enough that 12 steps of recurrence do not blow rounding up.
        let scale = 1.0 / (n_h as f64).sqrt();
        problem.parameters.as_mut_slice().iter_mut().for_each(|w| *w *= scale);
        let mut engine = engine(dims, threads, shards);
        let mut state = problem.state.clone();
        engine.gradient(&problem.parameters, &problem.batch(), Some(&mut state)).unwrap();
        let (expected, _) = problem.reference_gradients();
        assert_close(engine.gradients(), &expected, TOLERANCE);
    }
}
