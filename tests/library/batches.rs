//! What a batch is made of: sequences, each with its own length, in any order, any number of times.

use crate::support::{
    Form, Found, Problem, answered, architectures, assert_close, assert_near, engine, gradient,
    relative,
};
use bptt::{Architecture, At, Engine, Error, Network, Parameters};
use ndarray::{Array2, s};

/// Rounding in `f64` of sums over some hundred steps, taken in another order.
const TOLERANCE: f64 = 1e-12;

const N: usize = 7;
const T: usize = 9;

/// One is empty, one whole, none in order.
const LENGTHS: [usize; N] = [5, 3, 9, 0, 1, 9, 4];

fn problem(form: Form, architecture: Architecture) -> Problem<f64> {
    let mut problem = Problem::random(form, architecture, (N, T), 11).tamed();
    // The sequence of length 3 counts at its beginning, whatever the mask is elsewhere.
    problem.mask[[1, 0]] = true;
    problem
}

/// Every sequence by itself, cut to its length: the sum of the gradients of summed losses, divided at the end; the summed
/// loss, the counted steps, and the states.
fn one_by_one(problem: &Problem<f64>) -> (Parameters<f64>, f64, u64, Array2<f64>) {
    let architecture = problem.architecture();
    let mut sum = Parameters::zeros(architecture);
    let (mut loss, mut counted) = (0.0, 0);
    let mut last = problem.state.clone();
    let mut engine = engine(architecture, 1, 1);
    for (i, &length) in problem
        .lengths
        .iter()
        .enumerate()
        .filter(|&(_, &length)| length > 0)
    {
        let mut alone = problem.select(&[i], 0..length);
        alone.form.lengths = false;
        if alone.batch().counted() == 0 {
            let inputs = alone.inputs();
            let mut state = alone.state.clone();
            engine
                .predict(&alone.network, inputs, Some(&mut state))
                .unwrap();
            last.row_mut(i).assign(&state.row(0));
            continue;
        }
        let found = gradient(&mut engine, &alone, None);
        let weight = found.metrics.counted as f64;
        for (sum, g) in sum
            .as_mut_slice()
            .iter_mut()
            .zip(found.gradients.as_slice())
        {
            *sum += weight * g;
        }
        (loss, counted) = (loss + found.metrics.loss, counted + found.metrics.counted);
        last.row_mut(i).assign(&found.state.row(0));
    }
    let scale = 1.0 / counted as f64;
    sum.as_mut_slice().iter_mut().for_each(|g| *g *= scale);
    (sum, loss, counted, last)
}

#[test]
fn sequences_of_different_lengths_are_each_alone_added_up() {
    for (i, architecture) in architectures().enumerate() {
        for form in Form::some(i, 4) {
            let problem =
                problem(form, architecture).with_lengths(&answered(&architecture, &LENGTHS));
            let (gradients, loss, counted, last) = one_by_one(&problem);
            for shards in [1, 2, 3, 8] {
                let found = gradient(&mut engine(architecture, 2, shards), &problem, None);
                assert_close(&found.gradients, &gradients, TOLERANCE);
                assert!((found.metrics.loss / loss - 1.0).abs() <= TOLERANCE);
                assert_eq!(found.metrics.counted, counted);
                // In the caller's order; whoever has no steps keeps its state.
                assert_near("states", found.state.clone(), last.clone(), TOLERANCE);
                if problem.lengths[3] == 0 {
                    assert_eq!(found.state.row(3), problem.state.row(3));
                }
            }
        }
    }
}

#[test]
fn what_lies_beyond_a_length_is_never_read() {
    for (i, architecture) in architectures().enumerate() {
        for form in Form::some(i, 2) {
            let problem =
                problem(form, architecture).with_lengths(&answered(&architecture, &LENGTHS));
            let mut dirty = problem.clone();
            for (i, &length) in problem.lengths.iter().enumerate() {
                dirty.x.slice_mut(s![i, length.., ..]).fill(f64::NAN);
                dirty.ids.slice_mut(s![i, length..]).fill(1);
                if architecture.head.at == At::Last {
                    continue;
                }
                dirty.values.slice_mut(s![i, length.., ..]).fill(f64::NAN);
                dirty.classes.slice_mut(s![i, length..]).fill(1);
                dirty.mask.slice_mut(s![i, length..]).fill(true);
            }
            let mut engine = engine(architecture, 2, 2);
            let clean = gradient(&mut engine, &problem, None);
            assert!(
                gradient(&mut engine, &dirty, None) == clean,
                "{architecture}, {form:?}"
            );
            let mut evaluate =
                |p: &Problem<f64>| engine.evaluate(&p.network, &p.batch(), None).unwrap();
            assert_eq!(evaluate(&dirty), evaluate(&problem));
        }
    }
}

/// What a step that does not count should be is never read either.
#[test]
fn targets_that_do_not_count_are_never_read() {
    for (i, architecture) in architectures().enumerate() {
        let form = Form {
            masked: true,
            classes: false,
            ..Form::ALL[i % 16]
        };
        let problem = problem(form, architecture);
        let mut dirty = problem.clone();
        for ((i, step), _) in problem.mask.indexed_iter().filter(|&(_, &counts)| !counts) {
            dirty.values.slice_mut(s![i, step, ..]).fill(f64::NAN);
        }
        let mut engine = engine(architecture, 1, 2);
        let clean = gradient(&mut engine, &problem, None);
        assert!(
            gradient(&mut engine, &dirty, None) == clean,
            "{architecture}, {form:?}"
        );
    }
}

/// The same mean; and another order, in which a sequence may be another shard's, is the same sum.
#[test]
fn each_sequence_twice_and_in_another_order() {
    for (i, architecture) in architectures().enumerate() {
        for form in Form::some(i, 4) {
            let problem = problem(form, architecture);
            let mut engine = engine(architecture, 2, 3);
            let once = gradient(&mut engine, &problem, None);
            for rows in [
                (0..N).chain(0..N).collect::<Vec<_>>(),
                (0..N).rev().map(|i| (i + 3) % N).collect(),
            ] {
                let other = problem.select(&rows, 0..T);
                let found = gradient(&mut engine, &other, None);
                assert_close(&found.gradients, &once.gradients, TOLERANCE);
                let apart = found.metrics.mean_loss() / once.metrics.mean_loss() - 1.0;
                assert!(apart.abs() <= TOLERANCE, "loss: {apart:e}");
                for (k, &row) in rows.iter().enumerate() {
                    assert_near(
                        "states",
                        found.state.row(k).to_owned(),
                        once.state.row(row).to_owned(),
                        TOLERANCE,
                    );
                }
                let outputs = outputs(&mut engine, &problem);
                let others = self::outputs(&mut engine, &other);
                assert!(relative(others, outputs.select(ndarray::Axis(0), &rows)) <= TOLERANCE);
            }
        }
    }
}

fn outputs(engine: &mut Engine<f64>, problem: &Problem<f64>) -> ndarray::Array3<f64> {
    let state = &mut problem.state.clone();
    engine
        .predict(&problem.network, problem.inputs(), Some(state))
        .unwrap()
}

/// What an engine did before leaves nothing behind: larger and smaller batches, in any order.
#[test]
fn an_engine_remembers_nothing_of_other_batches() {
    for (i, architecture) in architectures().enumerate() {
        let mut engine = engine(architecture, 2, 3);
        let problems: Vec<_> = Form::some(i, 4)
            .zip([(7, 9), (2, 3), (12, 5), (1, 1)])
            .map(|(form, n_t)| Problem::<f64>::random(form, architecture, n_t, 4))
            .collect();
        let first: Vec<Found<f64>> = problems
            .iter()
            .map(|problem| gradient(&mut self::engine(architecture, 2, 3), problem, None))
            .collect();
        for k in [0, 1, 2, 3, 1, 0, 3, 2] {
            assert!(
                gradient(&mut engine, &problems[k], None) == first[k],
                "{architecture}, {k}"
            );
            // A batch that is refused changes nothing.
            let mut none = problems[k].clone();
            none.form.masked = true;
            none.mask.fill(false);
            let error = engine.gradient(&none.network, &none.batch());
            assert!(matches!(error, Err(Error::NothingCounts)));
            assert!(*engine.gradients() == first[k].gradients);
        }
    }
}

/// A weight that is not a finite number gives a loss or a gradient that is none, and no panic.
#[test]
fn what_is_not_a_number_shows_in_loss_and_norm() {
    for (i, architecture) in architectures().enumerate() {
        let problem = Problem::<f64>::random(Form::ALL[i % 16], architecture, (5, 4), 2);
        for value in [f64::NAN, f64::INFINITY] {
            let mut weights = problem.network.parameters().clone();
            let tensor = architecture.tensor(bptt::architecture::Which::DecoderBias);
            weights.as_mut_slice()[tensor.begin] = value;
            let network = Network::from_parameters(weights);
            let mut engine = engine::<f64>(architecture, 1, 2);
            let found = engine.gradient(&network, &problem.batch()).unwrap();
            assert!(
                !found.mean_loss().is_finite() || !found.norm.is_finite(),
                "{architecture}: {found:?}"
            );
        }
    }
}
