//! Random problems of any shape, and what the plain loops of `bptt::reference` make of them.
#![allow(dead_code)] // each test binary uses its part

pub mod ranks;

use bptt::optim::Algorithm;
use bptt::{Batch, Dims, Inputs, Parameters, Scalar, Targets, batch, reference};
use ndarray::{Array2, Array3};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// Every optimiser.
pub const ALGORITHMS: [Algorithm; 6] = [
    Algorithm::Gd,
    Algorithm::Momentum,
    Algorithm::Nesterov,
    Algorithm::RmsProp,
    Algorithm::Adam,
    Algorithm::AdamW,
];

/// Which of the forms of inputs, targets and mask a problem has.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    pub tokens: bool,
    pub classes: bool,
    pub masked: bool,
}

/// All eight.
pub fn forms() -> impl Iterator<Item = Form> {
    (0..8).map(|i| Form {
        tokens: i & 1 == 1,
        classes: i & 2 == 2,
        masked: i & 4 == 4,
    })
}

/// Arrays of one problem in every form.
#[derive(Clone, Debug)]
pub struct Problem<T> {
    pub form: Form,
    pub parameters: Parameters<T>,
    pub state: Array2<T>,
    pub ids: Array2<u32>,
    pub x: Array3<T>,
    pub classes: Array2<u32>,
    pub distributions: Array3<T>,
    pub mask: Array2<bool>,
}

impl<T: Scalar> Problem<T> {
    /// Random weights of size 0.5, inputs and states of size 1; at least one step counts.
    pub fn random(form: Form, dims: Dims, (n, t): (usize, usize), seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut normal = |deviation: f64| {
            let x: f64 = StandardNormal.sample(&mut rng);
            T::from_f64(deviation * x)
        };
        let weights = (0..dims.len()).map(|_| normal(0.5)).collect();
        let parameters = Parameters::from_vec(dims, weights).unwrap();
        let state = Array2::from_shape_simple_fn((n, dims.n_h), || normal(1.0));
        let dense = Array3::from_shape_simple_fn((n, t, dims.n_x), || normal(1.0));
        let mut id = |limit: usize| rng.random_range(0..limit as u32);
        let ids = Array2::from_shape_simple_fn((n, t), || id(dims.n_x));
        let classes = Array2::from_shape_simple_fn((n, t), || id(dims.n_y));
        let distributions = if form.classes {
            batch::one_hot(classes.view(), dims.n_y).unwrap()
        } else {
            Array3::from_shape_simple_fn((n, t, dims.n_y), || {
                T::from_f64(rng.random_range(0.0..1.0))
            })
        };
        let mut mask = Array2::from_elem((n, t), true);
        if form.masked {
            mask.mapv_inplace(|_| rng.random_bool(0.6));
            mask[[n / 2, t / 2]] = true;
        }
        let x = if form.tokens {
            batch::one_hot(ids.view(), dims.n_x).unwrap()
        } else {
            dense
        };
        Problem {
            form,
            parameters,
            state,
            ids,
            x,
            classes,
            distributions,
            mask,
        }
    }

    pub fn inputs(&self) -> Inputs<'_, T> {
        if self.form.tokens {
            Inputs::from(&self.ids)
        } else {
            Inputs::from(&self.x)
        }
    }

    pub fn batch(&self) -> Batch<'_, T> {
        let targets = if self.form.classes {
            Targets::from(&self.classes)
        } else {
            Targets::from(&self.distributions)
        };
        let batch = Batch::new(self.inputs(), targets);
        if self.form.masked {
            batch.with_mask(self.mask.view())
        } else {
            batch
        }
    }

    pub fn reference_forward(&self) -> reference::Forward<T> {
        reference::forward(&self.parameters, self.x.view(), self.state.view())
    }

    /// The mean loss by plain loops, of these or other parameters and state.
    pub fn reference_loss(&self, p: &Parameters<T>, state: &Array2<T>) -> T {
        let f = reference::forward(p, self.x.view(), state.view());
        reference::loss(f.u.view(), self.distributions.view(), self.mask.view())
    }

    pub fn reference_gradients(&self) -> (Parameters<T>, Array2<T>) {
        reference::backward(
            &self.parameters,
            self.x.view(),
            self.state.view(),
            &self.reference_forward(),
            self.distributions.view(),
            self.mask.view(),
        )
    }

    /// The same problem, rounded to single precision.
    pub fn single(&self) -> Problem<f32> {
        Problem {
            form: self.form,
            parameters: self.parameters.cast(),
            state: self.state.mapv(|x| x.as_f64() as f32),
            ids: self.ids.clone(),
            x: self.x.mapv(|x| x.as_f64() as f32),
            classes: self.classes.clone(),
            distributions: self.distributions.mapv(|x| x.as_f64() as f32),
            mask: self.mask.clone(),
        }
    }
}

/// `|a - b| / (|a| + |b|)` in the Euclidean norm; 0 if both are zero, NaN if anything is.
pub fn relative<T: Scalar, U: Scalar>(
    a: impl IntoIterator<Item = T>,
    b: impl IntoIterator<Item = U>,
) -> f64 {
    let (mut difference, mut size) = (0.0, [0.0; 2]);
    let mut b = b.into_iter();
    for a in a {
        let (a, b) = (a.as_f64(), b.next().expect("as many of both").as_f64());
        difference += (a - b) * (a - b);
        size[0] += a * a;
        size[1] += b * b;
    }
    assert!(b.next().is_none(), "as many of both");
    if difference == 0.0 {
        0.0
    } else {
        difference.sqrt() / (size[0].sqrt() + size[1].sqrt())
    }
}

/// Asserts that two sets of gradients agree, each parameter by itself.
#[track_caller]
pub fn assert_close<T: Scalar, U: Scalar>(a: &Parameters<T>, b: &Parameters<U>, tolerance: f64) {
    for ((name, _, a), (_, _, b)) in a.iter().zip(b.iter()) {
        let error = relative(a.iter().copied(), b.iter().copied());
        assert!(
            error <= tolerance,
            "d{name}: relative error {error:e} over {tolerance:e}"
        );
    }
}
