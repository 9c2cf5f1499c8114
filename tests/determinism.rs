//! The same bits for any number of threads, with other work on the machine, and twice in a row: sequences of different
//! lengths, every optimiser, with and without dropout, in both precisions.

mod support;

use bptt::data::{Loader, OwnedInputs, OwnedTargets, Padding, Sequences};
use bptt::dropout::Dropout;
use bptt::optim::{Algorithm, OptimizerOptions};
use bptt::train::{Schedule, StopReason, TrainOptions, Trainer};
use bptt::{Dims, EngineOptions, Init, Parameters, Rnn, Scalar};
use ndarray::{Array2, Array3};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::process::{Child, Command};
use support::ALGORITHMS;

/// Every dimension another number, and none a multiple of a vector.
const DIMS: Dims = Dims {
    n_x: 7,
    n_h: 37,
    n_y: 5,
};
/// As many as the most threads, of one sequence or two.
const SHARDS: usize = 8;
const BATCH: usize = 11;

/// Sequences of 1 to 19 steps, dense or of tokens.
fn sequences<T: Scalar>(tokens: bool) -> Sequences<T> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let (n, t) = (23, 19);
    let lengths: Vec<usize> = (0..n).map(|_| rng.random_range(1..=t)).collect();
    let inputs = if tokens {
        let mut id = || rng.random_range(0..DIMS.n_x as u32);
        OwnedInputs::Tokens(Array2::from_shape_simple_fn((n, t), &mut id))
    } else {
        let mut x = || T::from_f64(rng.random_range(-1.0..1.0));
        OwnedInputs::Dense(Array3::from_shape_simple_fn((n, t, DIMS.n_x), &mut x))
    };
    let mut class = || rng.random_range(0..DIMS.n_y as u32);
    let targets = OwnedTargets::Classes(Array2::from_shape_simple_fn((n, t), &mut class));
    let padding = Padding {
        lengths: Some(lengths),
        mask: None,
    };
    let set = Sequences::new(inputs, targets, padding).unwrap();
    set.with_dims(DIMS.n_x, DIMS.n_y).unwrap()
}

/// The weights after 50 updates, and the losses on the way.
fn train<T: Scalar>(
    algorithm: Algorithm,
    tokens: bool,
    drop: bool,
    threads: usize,
) -> (Parameters<T>, Vec<f64>) {
    let data = Loader::sequences(sequences(tokens), BATCH, Some(8), 3).unwrap();
    let valid = Loader::evaluation_sequences(sequences(tokens)).unwrap();
    let rnn = Rnn::<T>::new(DIMS, Init::Orthogonal, 2).unwrap();
    let engine = EngineOptions {
        threads,
        shards: SHARDS,
        ..EngineOptions::default()
    };
    let optimizer = OptimizerOptions {
        algorithm,
        weight_decay: 1e-3,
        ..OptimizerOptions::default()
    };
    let options = TrainOptions {
        steps: 50,
        lr: 0.01,
        schedule: Schedule::HalveOnPlateau,
        dropout: match drop {
            true => Dropout {
                inputs: 0.1,
                outputs: 0.3,
                seed: 4,
            },
            false => Dropout::default(),
        },
        report_every: 10,
        ..TrainOptions::default()
    };
    let mut run = Trainer::new(rnn, data, Some(valid), engine, optimizer, options).unwrap();
    assert_eq!(run.run(&mut ()).unwrap(), StopReason::Finished);
    let losses = run
        .history()
        .iter()
        .flat_map(|r| [r.train_loss, r.valid_loss.unwrap()]);
    (run.rnn().parameters().clone(), losses.collect())
}

fn check<T: Scalar>(threads: &[usize]) {
    let start = Rnn::<T>::new(DIMS, Init::Orthogonal, 2).unwrap();
    for algorithm in ALGORITHMS {
        for tokens in [false, true] {
            let [without, with] = [false, true].map(|drop| {
                let one = train::<T>(algorithm, tokens, drop, 1);
                assert!(one.0 != *start.parameters(), "{algorithm:?} does nothing");
                for &threads in threads {
                    let many = train::<T>(algorithm, tokens, drop, threads);
                    assert!(
                        many == one,
                        "{algorithm:?}, tokens {tokens}, dropout {drop}, {threads} threads"
                    );
                }
                one
            });
            assert!(with.0 != without.0, "{algorithm:?}: dropout does nothing");
        }
    }
}

#[test]
fn threads_do_not_change_a_bit_in_single_precision() {
    check::<f32>(&[2, 3, 4, 8]);
}

#[test]
fn threads_do_not_change_a_bit_in_double_precision() {
    check::<f64>(&[2, 3, 4, 8]);
}

/// The same a second time in one process, whatever ran in between.
#[test]
fn the_second_run_is_the_first() {
    let first = train::<f32>(Algorithm::Adam, true, true, 3);
    train::<f64>(Algorithm::Gd, false, false, 2);
    assert!(train::<f32>(Algorithm::Adam, true, true, 3) == first);
}

/// Processes that take every core for as long as this lives.
struct Load(Vec<Child>);

impl Load {
    fn new() -> Self {
        let cores = std::thread::available_parallelism().unwrap().get();
        let busy = || {
            Command::new("sh")
                .args(["-c", "while :; do :; done"])
                .spawn()
                .unwrap()
        };
        Load((0..2 * cores).map(|_| busy()).collect())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Threads that are stopped and woken at other moments add the same numbers in the same order.
#[cfg(unix)]
#[test]
fn other_work_on_the_machine_does_not_change_a_bit() {
    let alone = train::<f32>(Algorithm::Adam, false, true, 3);
    let _load = Load::new();
    for _ in 0..5 {
        assert!(train::<f32>(Algorithm::Adam, false, true, 3) == alone);
    }
}
