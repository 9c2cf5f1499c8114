//! The first rung of the ladder: the plain loops, held against central differences. What the engine computes is held
//! against the plain loops then; but for dropout, which they do not have.

use crate::support::{
    DIFFERENCE, Form, Problem, answered, architectures, assert_close, assert_near, differences,
    engine, gradient,
};
use bptt::{Dropout, Network, Parameters, reference};

/// Sequences and steps, unlike any other dimension.
const N_T: (usize, usize) = (2, 3);

fn loss(p: &Parameters<f64>, problem: &Problem<f64>) -> f64 {
    let plain = problem.plain();
    reference::loss(&reference::forward(p, &plain), &plain)
}

/// Of all parameters, and of the initial states.
#[test]
fn of_the_reference_are_central_differences() {
    for (i, architecture) in architectures().enumerate() {
        for form in Form::some(i, 2) {
            let problem = Problem::<f64>::random(form, architecture, N_T, 1);
            let p = problem.network.parameters();
            let (gradients, of_state) = reference::backward(p, &problem.plain());

            let numeric = differences(p.as_slice(), |weights| {
                loss(
                    &Parameters::from_vec(architecture, weights.to_vec()).unwrap(),
                    &problem,
                )
            });
            let numeric = Parameters::from_vec(architecture, numeric).unwrap();
            assert_close(&gradients, &numeric, DIFFERENCE);

            let mut moved = problem.clone();
            let numeric = differences(problem.state.as_slice().unwrap(), |state| {
                moved.state.as_slice_mut().unwrap().copy_from_slice(state);
                loss(p, &moved)
            });
            assert_near("initial state", of_state, numeric, DIFFERENCE);
        }
    }
}

/// The loss of update 4, as a function of the weights, is what its gradient is the gradient of.
#[test]
fn with_dropout_are_those_of_the_loss_with_dropout() {
    let dropout = Dropout {
        inputs: 0.3,
        outputs: 0.4,
        seed: 1,
    };
    for (i, architecture) in architectures().enumerate() {
        let form = Form::ALL[i % 16];
        let mut problem = Problem::<f64>::random(form, architecture, (7, 4), 3)
            .with_lengths(&answered(&architecture, &[3, 4, 0, 4, 1, 2, 4]));
        let mut engine = engine(architecture, 2, 3);
        let gradients = gradient(&mut engine, &problem, Some((&dropout, 4))).gradients;
        let weights = problem.network.parameters().as_slice().to_vec();
        let numeric = differences(&weights, |weights| {
            let weights = Parameters::from_vec(architecture, weights.to_vec()).unwrap();
            problem.network = Network::from_parameters(weights);
            gradient(&mut engine, &problem, Some((&dropout, 4)))
                .metrics
                .mean_loss()
        });
        let numeric = Parameters::from_vec(architecture, numeric).unwrap();
        assert_close(&gradients, &numeric, DIFFERENCE);
    }
}
