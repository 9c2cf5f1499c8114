//! A training step allocates nothing after the first: counted, on every thread of the process.

use super::{TURN, allocations};
use bptt::optim::{Optimizer, OptimizerOptions};
use bptt::{
    Architecture, Batch, Cell, Dropout, Engine, EngineOptions, GradientOptions, Head, Init, Input,
    Network,
};
use ndarray::{Array2, Array3, s};

const DROPOUT: Dropout = Dropout {
    inputs: 0.1,
    outputs: 0.2,
    seed: 1,
};

/// Every cell, one to three layers, features and tokens.
fn architectures() -> impl Iterator<Item = Architecture> {
    let inputs = [Input::Features(20), Input::Tokens(20)];
    Cell::ALL.into_iter().flat_map(move |cell| {
        (1..=3).flat_map(move |layers| {
            inputs.map(|input| Architecture {
                cell,
                layers,
                ..Architecture::new(input, 45, Head::softmax(19))
            })
        })
    })
}

#[test]
fn a_step_allocates_nothing_after_the_first() {
    let _turn = TURN.lock();
    for architecture in architectures() {
        for (dropout, lengths) in [(None, false), (Some(&DROPOUT), true)] {
            check(architecture, dropout, lengths);
        }
    }
}

fn check(architecture: Architecture, dropout: Option<&Dropout>, lengths: bool) {
    const N: usize = 10;
    const T: usize = 15;
    let mut network = Network::<f32>::new(architecture, Init::Orthogonal, 0).unwrap();
    let mut adam = Optimizer::new(architecture, OptimizerOptions::default()).unwrap();
    let options = EngineOptions {
        threads: 2,
        shards: 3,
        memory: None,
    };
    let mut engine = Engine::new(architecture, options).unwrap();
    let ids = Array2::from_shape_fn((N, T), |(i, t)| ((i * 3 + t * 7) % 19) as u32);
    let x = Array3::from_shape_fn((N, T, 20), |(i, t, j)| ((i + t * j) as f32).sin());
    let length: Vec<usize> = (0..N).map(|i| 1 + i * 4 % T).collect();
    let mut steps = |count: u64, n: usize, t: usize| {
        let (ids, x) = (
            ids.slice(s![..n, ..t]).to_owned(),
            x.slice(s![..n, ..t, ..]).to_owned(),
        );
        let short: Vec<usize> = length[..n].iter().map(|&length| length.min(t)).collect();
        let mut batch = match architecture.input {
            Input::Features(_) => Batch::new(&x, &ids),
            Input::Tokens(_) | Input::Embedding { .. } => Batch::new(&ids, &ids),
        };
        if lengths {
            batch = batch.with_lengths(&short);
        }
        let mut state = Array2::zeros((n, architecture.state()));
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
    let seen = steps(1, N, T);
    assert!(seen > 10, "the first step allocates: the counter counts");
    // Rayon's queue of work from outside its pool takes a block of some 32 entries at a time; a step is three hand-overs.
    for (count, n, t) in [(48, N, T), (48, 7, 9), (48, N, T)] {
        let allowed = 3 * count as usize / 16;
        let seen = steps(count, n, t);
        assert!(
            seen <= allowed,
            "{architecture}, dropout {dropout:?}: {seen} allocations in {count} steps of {n}"
        );
    }
}
