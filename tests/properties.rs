//! What holds for any shapes, masks, shards and threads, with shapes that nobody chose.
//!
//! `tests/engine.rs` has two more: the engine is the reference, a doubled batch has the same mean.

mod support;

use bptt::data::Vocabulary;
use bptt::model::{About, Model};
use bptt::{Batch, Dims, Engine, EngineOptions, Inputs, Rnn, Targets};
use ndarray::{Array2, Axis, concatenate, s};
use proptest::prelude::*;
use support::{Form, Problem, assert_close, relative};

/// Rounding in `f64` of sums over up to 1600 steps, taken in another order, and its way through 40 steps of recurrence
/// that does not grow.
const TOLERANCE: f64 = 1e-10;

fn sizes() -> impl Strategy<Value = [usize; 5]> {
    prop::array::uniform5(1usize..=40)
}

fn forms() -> impl Strategy<Value = Form> {
    any::<[bool; 3]>().prop_map(|[tokens, classes, masked]| Form {
        tokens,
        classes,
        masked,
    })
}

/// Weights small enough that the recurrence does not blow rounding up.
fn problem(form: Form, [n, t, n_x, n_h, n_y]: [usize; 5], seed: u64) -> Problem<f64> {
    let dims = Dims::new(n_x, n_h, n_y).unwrap();
    let mut problem = Problem::random(form, dims, (n, t), seed);
    let scale = 1.0 / (n_h as f64).sqrt();
    let weights = problem.parameters.as_mut_slice();
    weights.iter_mut().for_each(|w| *w *= scale);
    problem
}

fn engine(problem: &Problem<f64>, threads: usize, shards: usize) -> Engine<f64> {
    Engine::new(
        problem.parameters.dims(),
        EngineOptions {
            threads,
            shards,
            ..EngineOptions::default()
        },
    )
    .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// All 40 steps, which the property in `tests/engine.rs` leaves out for speed, in smaller networks.
    #[test]
    fn long_sequences_are_the_reference_too(
        (n, t, n_h) in (1usize..5, 1usize..=40, 1usize..=40),
        (form, shards, threads) in (forms(), 1usize..6, 1usize..4),
        seed in any::<u64>(),
    ) {
        let problem = problem(form, [n, t, 3, n_h, 4], seed);
        let mut engine = engine(&problem, threads, shards);
        let mut state = problem.state.clone();
        engine.gradient(&problem.parameters, &problem.batch(), Some(&mut state)).unwrap();
        let (expected, _) = problem.reference_gradients();
        assert_close(engine.gradients(), &expected, TOLERANCE);
    }

    #[test]
    fn the_order_of_sequences_does_not_matter(
        (sizes, form, seed) in (sizes(), forms(), any::<u64>()),
        (shards, threads) in (1usize..6, 1usize..4),
        turn in 1usize..40,
    ) {
        let problem = problem(form, sizes, seed);
        let n = sizes[0];
        // Turned and turned over, so that every sequence may come into another shard.
        let rows: Vec<usize> = (0..n).rev().map(|i| (i + turn) % n).collect();
        let (ids, x) = (problem.ids.select(Axis(0), &rows), problem.x.select(Axis(0), &rows));
        let classes = problem.classes.select(Axis(0), &rows);
        let distributions = problem.distributions.select(Axis(0), &rows);
        let mask = problem.mask.select(Axis(0), &rows);
        let inputs = if form.tokens { Inputs::from(&ids) } else { Inputs::from(&x) };
        let targets = match form.classes {
            true => Targets::from(&classes),
            false => Targets::from(&distributions),
        };
        let turned = Batch::new(inputs, targets).with_mask(mask.view());

        let mut engine = engine(&problem, threads, shards);
        let p = &problem.parameters;
        let mut state = problem.state.clone();
        let found = engine.gradient(p, &problem.batch(), Some(&mut state)).unwrap();
        let gradients = engine.gradients().clone();
        let outputs = engine.predict(p, problem.inputs(), Some(&mut problem.state.clone())).unwrap();
        let mut turned_state = problem.state.select(Axis(0), &rows);
        let mut start = turned_state.clone();
        let turned_found = engine.gradient(p, &turned, Some(&mut turned_state)).unwrap();
        assert_close(engine.gradients(), &gradients, TOLERANCE);
        let (a, b) = (found.tally.mean_loss(), turned_found.tally.mean_loss());
        prop_assert!((a - b).abs() <= TOLERANCE * a.abs(), "{} {}", a, b);
        let turned_outputs = engine.predict(p, inputs, Some(&mut start)).unwrap();
        prop_assert!(relative(turned_outputs, outputs.select(Axis(0), &rows)) <= TOLERANCE);
        prop_assert!(relative(turned_state, state.select(Axis(0), &rows)) <= TOLERANCE);
    }

    #[test]
    fn parts_with_carried_state_are_the_whole(
        (sizes, tokens, seed) in (sizes(), any::<bool>(), any::<u64>()),
        (shards, threads) in (1usize..6, 1usize..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let form = Form { tokens, classes: true, masked: false };
        let problem = problem(form, sizes, seed);
        let t = sizes[1];
        let cut = cut.index(t + 1);
        let mut engine = engine(&problem, threads, shards);
        let p = &problem.parameters;
        let mut whole_state = problem.state.clone();
        let whole = engine.predict(p, problem.inputs(), Some(&mut whole_state)).unwrap();
        let mut state = problem.state.clone();
        let mut parts = Vec::new();
        for steps in [0..cut, cut..t] {
            if steps.is_empty() {
                continue;
            }
            let ids = problem.ids.slice(s![.., steps.clone()]).to_owned();
            let x = problem.x.slice(s![.., steps, ..]).to_owned();
            let inputs = if tokens { Inputs::from(&ids) } else { Inputs::from(&x) };
            parts.push(engine.predict(p, inputs, Some(&mut state)).unwrap());
        }
        let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
        let joined = ndarray::concatenate(Axis(1), &views).unwrap();
        prop_assert!(relative(joined, whole) <= TOLERANCE);
        prop_assert!(relative(state, whole_state) <= TOLERANCE);
    }

    #[test]
    fn saving_what_was_loaded_writes_the_same_bytes(
        (n_x, n_h, n_y) in (1usize..=40, 1usize..=40, 1usize..=40),
        (words, text) in (any::<bool>(), "\\PC{1,40}"),
        (double, seed) in (any::<bool>(), any::<u64>()),
    ) {
        let vocabulary = match words {
            true => Vocabulary::from_json(r#"{"kind":"word","words":["<unk>","<eos>","a\"b"]}"#).unwrap(),
            false => Vocabulary::of_chars(&text),
        };
        // With a vocabulary the sizes are its own.
        let with = seed.is_multiple_of(2);
        let [n_x, n_y] = if with { [vocabulary.len(); 2] } else { [n_x, n_y] };
        let form = Form { tokens: true, classes: true, masked: false };
        let about = About {
            vocabulary: with.then_some(vocabulary),
            tokens: [None, Some(true), Some(false)][(seed % 3) as usize],
            config: serde_json::json!({ "lr": seed as f64 / 3.0, "text": text, "none": null }),
        };
        let parameters = problem(form, [1, 1, n_x, n_h, n_y], seed).parameters;
        let folder = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
        if double {
            let model = Model { rnn: Rnn::from_parameters(parameters), about };
            model.write(&first).unwrap();
            let loaded = Model::<f64>::read(&first).unwrap();
            prop_assert!(loaded == model);
            loaded.write(&second).unwrap();
        } else {
            let model = Model { rnn: Rnn::from_parameters(parameters.cast::<f32>()), about };
            model.write(&first).unwrap();
            Model::<f32>::read(&first).unwrap().write(&second).unwrap();
        }
        prop_assert!(std::fs::read(first).unwrap() == std::fs::read(second).unwrap());
    }

    #[test]
    fn a_repeated_batch_has_the_same_mean(
        (sizes, form, seed) in (sizes(), forms(), any::<u64>()),
        (shards, threads) in (1usize..6, 1usize..4),
    ) {
        let problem = problem(form, sizes, seed);
        let twice = |a: &Array2<u32>| concatenate![Axis(0), *a, *a];
        let (ids, classes) = (twice(&problem.ids), twice(&problem.classes));
        let x = concatenate![Axis(0), problem.x, problem.x];
        let distributions = concatenate![Axis(0), problem.distributions, problem.distributions];
        let mask = concatenate![Axis(0), problem.mask, problem.mask];
        let inputs = if form.tokens { Inputs::from(&ids) } else { Inputs::from(&x) };
        let targets = match form.classes {
            true => Targets::from(&classes),
            false => Targets::from(&distributions),
        };
        let mut engine = engine(&problem, threads, shards);
        let p = &problem.parameters;
        let once = engine.gradient(p, &problem.batch(), None).unwrap();
        let gradients = engine.gradients().clone();
        let doubled = Batch::new(inputs, targets).with_mask(mask.view());
        let found = engine.gradient(p, &doubled, None).unwrap();
        assert_close(engine.gradients(), &gradients, TOLERANCE);
        let (a, b) = (once.tally.mean_loss(), found.tally.mean_loss());
        prop_assert!((a - b).abs() <= TOLERANCE * a.abs(), "{} {}", a, b);
    }
}
