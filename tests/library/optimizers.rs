//! Optimisers: single updates, by hand and by NumPy.

use bptt::optim::{Algorithm, Clip, Optimizer, OptimizerOptions};
use bptt::{Architecture, Head, Input, Parameters};

fn one_of_each() -> Architecture {
    Architecture::new(Input::Features(1), 1, Head::softmax(1))
}

/// The first weight after each of three updates with gradients 1, -2 and 0.5, from weight 1.
fn path(algorithm: Algorithm, weight_decay: f64) -> Vec<f64> {
    let network = one_of_each();
    let options = OptimizerOptions {
        algorithm,
        weight_decay,
        ..OptimizerOptions::default()
    };
    let mut optimizer = Optimizer::<f64>::new(network, options).unwrap();
    let mut p = Parameters::from_vec(network, vec![1.0; 5]).unwrap();
    [1.0, -2.0, 0.5]
        .map(|g| {
            let g = Parameters::from_vec(network, vec![g; 5]).unwrap();
            optimizer.step(&mut p, &g, 0.0, 0.1);
            p.as_slice()[0]
        })
        .to_vec()
}

/// `tests/fixtures/optimizers.py` wrote these from the equations, with NumPy.
#[test]
fn three_steps_of_each_as_numpy_computes_them() {
    let expected = include!("../fixtures/optimizers.in");
    for (algorithm, decay, expected) in expected {
        for (found, expected) in path(algorithm, decay).iter().zip(expected) {
            assert!(
                (found - expected).abs() < 1e-14,
                "{algorithm:?}: {found} {expected}"
            );
        }
    }
}

#[test]
fn clipping_scales_then_limits() {
    let network = one_of_each();
    let mut p = Parameters::<f64>::zeros(network);
    let g = Parameters::from_vec(network, vec![3.0, -4.0, 0.0, 0.0, 0.0]).unwrap();
    let options = OptimizerOptions {
        algorithm: Algorithm::Gd,
        clip: Clip {
            norm: Some(1.0),
            value: Some(0.7),
        },
        ..OptimizerOptions::default()
    };
    let mut gd = Optimizer::new(network, options).unwrap();
    gd.step(&mut p, &g, g.norm(), 1.0);
    assert_eq!(p.as_slice()[..3], [-3.0 * (1.0 / 5.0), 0.7, 0.0]);
    // The bounds are those of the gradient alone: decay comes on top of it.
    let options = OptimizerOptions {
        weight_decay: 0.5,
        ..options
    };
    let mut gd = Optimizer::new(network, options).unwrap();
    let mut p = Parameters::from_vec(network, vec![4.0; 5]).unwrap();
    gd.step(&mut p, &g, g.norm(), 1.0);
    assert_eq!(
        p.as_slice()[..3],
        [4.0 - (0.6 + 2.0), 4.0 - (-0.7 + 2.0), 4.0 - 2.0]
    );
}

#[test]
fn a_wrong_constant_is_named() {
    let network = one_of_each();
    let options = OptimizerOptions {
        beta2: 1.0,
        ..OptimizerOptions::default()
    };
    let error = Optimizer::<f32>::new(network, options)
        .unwrap_err()
        .to_string();
    assert!(error.contains("beta2: 1"), "{error}");
    assert!(Optimizer::<f32>::resume(OptimizerOptions::default(), 3, vec![]).is_err());
}
