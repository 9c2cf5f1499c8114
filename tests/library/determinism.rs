//! The same bits for any number of threads, with other work on the machine, and twice in a row.

use crate::support::{
    ALGORITHMS, Form, Problem, architectures, architectures_of, gradient, loaders, options,
    sequences,
};
use bptt::optim::{Algorithm, Clip, Optimizer, OptimizerOptions};
use bptt::train::{Schedule, StopReason, TrainOptions, Trainer};
use bptt::{Architecture, Dropout, Engine, Init, Network, Parameters, Scalar};
use std::process::{Child, Command};

const DROPOUT: Dropout = Dropout {
    inputs: 0.1,
    outputs: 0.3,
    seed: 4,
};

fn optimizer(algorithm: Algorithm) -> OptimizerOptions {
    OptimizerOptions {
        algorithm,
        weight_decay: 1e-3,
        clip: Clip {
            norm: Some(1.0),
            value: Some(0.1),
        },
        ..OptimizerOptions::default()
    }
}

/// The weights after ten updates, and each loss and norm on the way.
fn updates<T: Scalar>(
    problem: &Problem<T>,
    algorithm: Algorithm,
    (threads, shards): (usize, usize),
    dropout: Option<&Dropout>,
) -> (Parameters<T>, Vec<f64>) {
    let architecture = problem.architecture();
    let mut problem = problem.clone();
    let mut engine = Engine::new(architecture, options(threads, shards)).unwrap();
    let mut optimizer = Optimizer::new(architecture, optimizer(algorithm)).unwrap();
    let mut seen = Vec::new();
    for update in 0..10 {
        let found = gradient(
            &mut engine,
            &problem,
            dropout.map(|dropout| (dropout, update)),
        );
        seen.extend([found.metrics.loss, found.norm]);
        engine.update(&mut problem.network, &mut optimizer, 0.01);
    }
    (problem.network.parameters().clone(), seen)
}

/// Of networks whose parameters are several slices of the reduction, none of whose sizes is a multiple of a vector; with
/// lengths, with dropout and without, in both precisions.
#[test]
fn threads_do_not_change_a_bit_of_ten_updates() {
    fn check<T: Scalar>(problem: &Problem<T>, algorithm: Algorithm, shards: usize) {
        let [without, with] = [None, Some(&DROPOUT)].map(|dropout| {
            let one = updates(problem, algorithm, (1, shards), dropout);
            assert!(
                one.0 != *problem.network.parameters(),
                "{algorithm:?} does nothing"
            );
            for threads in [2, 7] {
                let many = updates(problem, algorithm, (threads, shards), dropout);
                let architecture = problem.architecture();
                assert!(
                    many == one,
                    "{architecture}, {algorithm:?}, {dropout:?}, {threads} threads, {shards} shards"
                );
            }
            one
        });
        assert!(with != without, "dropout does nothing");
    }
    for (i, architecture) in architectures_of(11, 53, 23).enumerate() {
        for (j, algorithm) in ALGORITHMS.into_iter().enumerate() {
            // Two optimisers with each architecture, in one precision with some and in the other with others.
            if (i + j) % 3 != 0 {
                continue;
            }
            let form = Form {
                lengths: true,
                ..Form::ALL[(i + 3 * j) % 16]
            };
            let problem = Problem::<f64>::random(form, architecture, (9, 4), 5).tamed();
            match (i / 2 + j) % 2 {
                0 => check(&problem, algorithm, 8),
                _ => check(&problem.single(), algorithm, 7),
            }
        }
    }
}

/// The weights after a run of 30 updates, and the losses on the way.
fn train<T: Scalar>(
    architecture: Architecture,
    algorithm: Algorithm,
    threads: usize,
) -> (Parameters<T>, Vec<f64>) {
    let [data, valid] = loaders(&architecture, sequences(&architecture, (23, 19), 1), 8);
    let network = Network::<T>::new(architecture, Init::Orthogonal, 2).unwrap();
    let options = TrainOptions {
        steps: 30,
        lr: 0.01,
        schedule: Schedule::HalveOnPlateau,
        engine: options(threads, 8),
        optimizer: optimizer(algorithm),
        dropout: DROPOUT,
        report_every: 10,
        ..TrainOptions::default()
    };
    let mut run = Trainer::new(network, data, options)
        .unwrap()
        .with_validation(valid);
    assert_eq!(run.run(&mut ()).unwrap(), StopReason::Finished);
    let losses = run
        .history()
        .iter()
        .flat_map(|r| [r.train_loss, r.valid_loss.unwrap()]);
    (run.network().parameters().clone(), losses.collect())
}

#[test]
fn threads_do_not_change_a_bit_of_a_run() {
    fn check<T: Scalar>(architecture: Architecture, algorithm: Algorithm) {
        let one = train::<T>(architecture, algorithm, 1);
        for threads in [2, 3] {
            let many = train::<T>(architecture, algorithm, threads);
            assert!(
                many == one,
                "{architecture}, {algorithm:?}, {threads} threads"
            );
        }
    }
    for (i, architecture) in architectures_of(7, 37, 5).enumerate() {
        let algorithm = ALGORITHMS[i % ALGORITHMS.len()];
        match i / 2 % 2 {
            0 => check::<f32>(architecture, algorithm),
            _ => check::<f64>(architecture, algorithm),
        }
    }
}

/// The same a second time in one process, whatever ran in between.
#[test]
fn the_second_run_is_the_first() {
    for architecture in architectures() {
        let first = train::<f32>(architecture, Algorithm::Adam, 3);
        train::<f64>(architecture, Algorithm::Gd, 2);
        assert!(train::<f32>(architecture, Algorithm::Adam, 3) == first);
    }
}

/// Processes that take every core for as long as this lives.
struct Load(Vec<Child>);

impl Load {
    fn new() -> Self {
        let cores = std::thread::available_parallelism().unwrap().get();
        let busy = || {
            let mut shell = Command::new("sh");
            shell.args(["-c", "while :; do :; done"]).spawn().unwrap()
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
    let architecture = architectures_of(7, 37, 5).last().unwrap();
    let alone = train::<f32>(architecture, Algorithm::Adam, 3);
    let _load = Load::new();
    for _ in 0..5 {
        assert!(train::<f32>(architecture, Algorithm::Adam, 3) == alone);
    }
}
