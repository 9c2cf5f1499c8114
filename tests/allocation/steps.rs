//! A training step holds what the engine's formula says, and allocates nothing after the first: counted, on every thread of the
//! process.

use super::{TURN, allocations, most_held};
use crate::support::{Form, Problem, architectures_of, options};
use bptt::optim::{Optimizer, OptimizerOptions};
use bptt::{Architecture, Dropout, Engine, GradientOptions, Init, Network};

const DROPOUT: Dropout = Dropout {
    inputs: 0.1,
    outputs: 0.2,
    seed: 1,
};

#[test]
fn a_step_allocates_nothing_after_the_first() {
    let _turn = TURN.lock();
    for architecture in architectures_of(20, 45, 19) {
        for (dropout, lengths) in [(None, false), (Some(&DROPOUT), true)] {
            check(architecture, dropout, lengths);
        }
    }
}

fn check(architecture: Architecture, dropout: Option<&Dropout>, lengths: bool) {
    let mut network = Network::<f32>::new(architecture, Init::Orthogonal, 0).unwrap();
    let mut adam = Optimizer::new(architecture, OptimizerOptions::default()).unwrap();
    let mut engine = Engine::new(architecture, options(2, 3)).unwrap();
    let form = Form {
        classes: true,
        masked: lengths,
        lengths,
        state: false,
    };
    let [large, small] =
        [(10, 15), (7, 9)].map(|n_t| Problem::<f32>::random(form, architecture, n_t, 1));
    let mut steps = |count: u64, problem: &Problem<f32>| {
        let batch = problem.batch();
        let mut state = problem.state.clone();
        allocations(|| {
            for update in 0..count {
                let options = GradientOptions {
                    state: Some(&mut state),
                    dropout: dropout.map(|dropout| (dropout, update)),
                };
                engine.gradient_with(&network, &batch, options).unwrap();
                engine.update(&mut network, &mut adam, 0.01);
            }
        })
    };
    let seen = steps(1, &large);
    assert!(seen > 10, "the first step allocates: the counter counts");
    steps(1, &small);
    // Rayon's queue of work from outside its pool takes a block of some 32 entries at a time, and a step is three hand-overs; on a
    // busy machine there are a few more. An allocation of a step's own would be seen every time.
    for (count, problem) in [(32, &large), (16, &small)] {
        let allowed = count as usize / 2;
        let seen = steps(count, problem);
        assert!(
            seen <= allowed,
            "{architecture}, dropout {dropout:?}: {seen} allocations in {count} steps"
        );
    }
}

/// Whatever the cell, layers, directions, inputs and head.
#[test]
fn a_step_holds_what_the_formula_says() {
    let _turn = TURN.lock();
    let (n, t) = (12, 30);
    let form = Form {
        classes: true,
        masked: false,
        lengths: false,
        state: false,
    };
    for architecture in architectures_of(60, 48, 60) {
        let problem = Problem::<f32>::random(form, architecture, (n, t), 1);
        let network = Network::<f32>::new(architecture, Init::Orthogonal, 0).unwrap();
        let (engine, held) = most_held(|| {
            let mut engine = Engine::new(architecture, options(2, 2)).unwrap();
            for _ in 0..2 {
                engine.gradient(&network, &problem.batch()).unwrap();
            }
            engine
        });
        let formula = engine.bytes(n, t).unwrap();
        let ratio = held as f64 / formula as f64;
        assert!(
            (0.9..=1.1).contains(&ratio),
            "{architecture}: {held} bytes were held, the formula says {formula}"
        );
    }
}
