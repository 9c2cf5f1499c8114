//! Random problems for every architecture, and what the plain loops of `bptt::reference` make of them.
#![allow(dead_code)] // each test binary uses its part

pub mod ranks;

use bptt::data::{Loader, OwnedInputs, OwnedTargets, Padding, Sequences};
use bptt::optim::Algorithm;
use bptt::{
    Architecture, At, Batch, Cell, Dropout, Engine, EngineOptions, GradientOptions, Head, Input,
    Inputs, Loss, Metrics, Network, Parameters, Scalar, Targets, one_hot, reference,
};
use ndarray::{Array2, Array3, Axis};
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

/// Every kind of network, small: every dimension another number, so that no two can be mixed up.
pub fn architectures() -> impl Iterator<Item = Architecture> {
    architectures_of(4, 5, 6)
}

/// Every kind of network of these sizes: each cell, one to three layers, features and tokens, read forwards and answered at every
/// step by classes; and for each cell, on one number of layers or another, every other kind of input, head and direction. A new
/// cell is among them without further ado.
pub fn architectures_of(
    n_x: usize,
    hidden: usize,
    n_y: usize,
) -> impl Iterator<Item = Architecture> {
    let (features, tokens) = (Input::Features(n_x), Input::Tokens(n_x));
    let embedding = Input::Embedding {
        tokens: n_x,
        size: 7,
    };
    let tied = Input::Embedding {
        tokens: n_y,
        size: hidden,
    };
    let tied_head = Head {
        tied: true,
        ..Head::softmax(n_y)
    };
    let head = |loss| Head::new(n_y, loss);
    let kinds = [
        (features, false, Head::softmax(n_y)),
        (tokens, false, Head::softmax(n_y)),
        (embedding, false, Head::softmax(n_y)),
        (features, true, head(Loss::Mse)),
        (tokens, true, Head::softmax(n_y).at_last()),
        (tied, false, tied_head),
        (features, false, head(Loss::Huber).at_last()),
        (features, true, head(Loss::Binary).at_last()),
        (embedding, true, head(Loss::Binary)),
        (tokens, false, head(Loss::Huber)),
        (embedding, false, head(Loss::Mse).at_last()),
    ];
    (Cell::ALL.into_iter().zip(0..)).flat_map(move |(cell, c)| {
        (1..=3).flat_map(move |layers| {
            let kinds = kinds.into_iter().enumerate();
            let some = kinds.filter(move |(k, _)| *k < 2 || (k + c + layers) % 3 == 0);
            some.map(move |(_, (input, bidirectional, head))| Architecture {
                cell,
                layers,
                bidirectional,
                ..Architecture::new(input, hidden, head)
            })
        })
    })
}

/// Whether a network can be taken in parts of time: it reads forwards, and answers at every step.
pub fn is_streaming(a: &Architecture) -> bool {
    !a.bidirectional && a.head.at == At::Every
}

/// Whether a network learns classes at every step, as those of texts do.
pub fn is_of_text(a: &Architecture) -> bool {
    is_streaming(a) && a.head.loss == Loss::CrossEntropy
}

/// A set of `n` sequences of 1 to `t` steps, of which not all count, with targets as the network's loss takes them.
pub fn sequences<T: Scalar>(a: &Architecture, (n, t): (usize, usize), seed: u64) -> Sequences<T> {
    let form = Form {
        classes: true,
        masked: true,
        lengths: true,
        state: false,
    };
    Problem::<T>::random(form, *a, (n, t), seed).set()
}

/// A set to train on, 9 at a time and in windows of so many steps, where the network can be taken in windows; and the same to
/// validate with.
pub fn loaders<T: Scalar>(a: &Architecture, set: Sequences<T>, steps: usize) -> [Loader<T>; 2] {
    let steps = (!a.needs_whole_sequences()).then_some(steps);
    let train = Loader::sequences(set.clone(), 9, steps, 3).unwrap();
    [train, Loader::evaluation_sequences(set).unwrap()]
}

/// Lengths as they are given, and no sequence empty where the last step is to be answered.
pub fn answered(a: &Architecture, lengths: &[usize]) -> Vec<usize> {
    let least = usize::from(a.head.at == At::Last);
    lengths.iter().map(|&length| length.max(least)).collect()
}

/// What a problem has beside inputs and targets, and which targets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Form {
    pub classes: bool,
    pub masked: bool,
    pub lengths: bool,
    pub state: bool,
}

impl Form {
    /// All 16, in an order in which neighbours differ in much.
    pub const ALL: [Form; 16] = {
        let mut all = [Form::of(0); 16];
        let mut i = 0;
        while i < 16 {
            all[i] = Form::of(i * 7);
            i += 1;
        }
        all
    };

    pub const fn of(bits: usize) -> Form {
        Form {
            classes: bits & 1 != 0,
            masked: bits & 2 != 0,
            lengths: bits & 4 != 0,
            state: bits & 8 != 0,
        }
    }

    /// `count` of them for the `i`th of many cases, so that a few cases together have all.
    pub fn some(i: usize, count: usize) -> impl Iterator<Item = Form> {
        (0..count).map(move |k| Form::ALL[(i * count + k) % 16])
    }
}

/// One problem, with its arrays in every form.
#[derive(Clone, Debug)]
pub struct Problem<T: Scalar> {
    pub form: Form,
    pub network: Network<T>,
    /// Zero, where the form has none.
    pub state: Array2<T>,
    pub ids: Array2<u32>,
    /// For tokens, the one-hot rows of `ids`.
    pub x: Array3<T>,
    pub classes: Array2<u32>,
    /// For classes, their one-hot rows.
    pub values: Array3<T>,
    pub mask: Array2<bool>,
    /// All `T`, where the form has none.
    pub lengths: Vec<usize>,
}

impl<T: Scalar> Problem<T> {
    /// Random weights of size 0.5, inputs and states of size 1; at least one step counts.
    pub fn random(
        form: Form,
        architecture: Architecture,
        (n, t): (usize, usize),
        seed: u64,
    ) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut normal = |deviation: f64| {
            let x: f64 = StandardNormal.sample(&mut rng);
            T::from_f64(deviation * x)
        };
        let weights = (0..architecture.len()).map(|_| normal(0.5)).collect();
        let parameters = Parameters::from_vec(architecture, weights).unwrap();
        let (n_x, n_y) = (architecture.input.size(), architecture.head.outputs);
        let deviation = if form.state { 1.0 } else { 0.0 };
        let state = Array2::from_shape_simple_fn((n, architecture.state()), || normal(deviation));
        let dense = Array3::from_shape_simple_fn((n, t, n_x), || normal(1.0));
        let mut id = |limit: usize| rng.random_range(0..limit as u32);
        let ids = Array2::from_shape_simple_fn((n, t), || id(n_x));
        let answers = match architecture.head.at {
            At::Every => t,
            At::Last => 1,
        };
        let classes = Array2::from_shape_simple_fn((n, answers), || id(n_y));
        let values = match (architecture.head.loss, form.classes) {
            (Loss::CrossEntropy, true) => one_hot(classes.view(), n_y).unwrap(),
            (Loss::CrossEntropy | Loss::Binary, _) => {
                Array3::from_shape_simple_fn((n, answers, n_y), || {
                    let p: f64 = rng.random_range(0.0..1.0);
                    T::from_f64(if form.classes { p.round() } else { p })
                })
            }
            (Loss::Mse | Loss::Huber, _) => Array3::from_shape_simple_fn((n, answers, n_y), || {
                T::from_f64(rng.random_range(-2.0..2.0))
            }),
        };
        let mut mask = Array2::from_elem((n, answers), true);
        if form.masked {
            mask.mapv_inplace(|_| rng.random_bool(0.6));
            mask[[n / 2, answers / 2]] = true;
        }
        let mut lengths = vec![t; n];
        if form.lengths {
            let least = usize::from(architecture.head.at == At::Last);
            lengths.fill_with(|| rng.random_range(least..=t));
            lengths[n / 2] = rng.random_range(t / 2 + 1..=t);
        }
        let x = match architecture.input.is_tokens() {
            true => one_hot(ids.view(), n_x).unwrap(),
            false => dense,
        };
        Problem {
            form,
            network: Network::from_parameters(parameters),
            state,
            ids,
            x,
            classes,
            values,
            mask,
            lengths,
        }
    }

    /// Weights so small that long or wide recurrences do not blow rounding up.
    pub fn tamed(mut self) -> Self {
        let scale = T::from_f64(1.0 / (self.architecture().hidden as f64).sqrt());
        let weights = self.network.parameters_mut().as_mut_slice();
        weights.iter_mut().for_each(|w| *w *= scale);
        self
    }

    /// The same problem with sequences of these lengths.
    pub fn with_lengths(mut self, lengths: &[usize]) -> Self {
        self.form.lengths = true;
        self.lengths = lengths.to_vec();
        self
    }

    pub fn architecture(&self) -> Architecture {
        self.network.architecture()
    }

    pub fn inputs(&self) -> Inputs<'_, T> {
        match self.architecture().input.is_tokens() {
            true => Inputs::from(&self.ids),
            false => Inputs::from(&self.x),
        }
    }

    /// The same as a set, in which no sequence is empty.
    pub fn set(&self) -> Sequences<T> {
        let architecture = self.architecture();
        let inputs = match architecture.input.is_tokens() {
            true => OwnedInputs::Tokens(self.ids.clone()),
            false => OwnedInputs::Dense(self.x.clone()),
        };
        let targets = match architecture.head.loss {
            Loss::CrossEntropy => OwnedTargets::Classes(self.classes.clone()),
            _ => OwnedTargets::Values(self.values.clone()),
        };
        let padding = Padding {
            lengths: Some(self.lengths.iter().map(|&length| length.max(1)).collect()),
            mask: self.form.masked.then(|| self.mask.clone()),
        };
        let set = Sequences::new(inputs, targets, padding).unwrap();
        set.with_dims(architecture.input.size(), architecture.head.outputs)
            .unwrap()
    }

    pub fn batch(&self) -> Batch<'_, T> {
        let of_classes = self.architecture().head.loss == Loss::CrossEntropy;
        let targets = match of_classes && self.form.classes {
            true => Targets::from(&self.classes),
            false => Targets::from(&self.values),
        };
        let mut batch = Batch::new(self.inputs(), targets);
        if self.form.masked {
            batch = batch.with_mask(self.mask.view());
        }
        if self.form.lengths {
            batch = batch.with_lengths(&self.lengths);
        }
        batch
    }

    /// Some of the sequences, in this order; `steps` of them.
    pub fn select(&self, rows: &[usize], steps: std::ops::Range<usize>) -> Self {
        let cut = |array: &Array3<T>, steps: std::ops::Range<usize>| {
            let array = array.select(Axis(0), rows);
            array.slice(ndarray::s![.., steps, ..]).to_owned()
        };
        fn cut2<A: Clone>(
            array: &Array2<A>,
            rows: &[usize],
            steps: std::ops::Range<usize>,
        ) -> Array2<A> {
            let array = array.select(Axis(0), rows);
            array.slice(ndarray::s![.., steps]).to_owned()
        }
        let answers = match self.architecture().head.at {
            At::Every => steps.clone(),
            At::Last => 0..1,
        };
        let length = |&row: &usize| self.lengths[row].clamp(steps.start, steps.end) - steps.start;
        Problem {
            form: self.form,
            network: self.network.clone(),
            state: self.state.select(Axis(0), rows),
            ids: cut2(&self.ids, rows, steps.clone()),
            x: cut(&self.x, steps.clone()),
            classes: cut2(&self.classes, rows, answers.clone()),
            values: cut(&self.values, answers.clone()),
            mask: cut2(&self.mask, rows, answers),
            lengths: rows.iter().map(length).collect(),
        }
    }

    /// The same problem, rounded to single precision.
    pub fn single(&self) -> Problem<f32> {
        let round = |x: &T| x.as_f64() as f32;
        Problem {
            form: self.form,
            network: Network::from_parameters(self.network.parameters().cast()),
            state: self.state.map(round),
            ids: self.ids.clone(),
            x: self.x.map(round),
            classes: self.classes.clone(),
            values: self.values.map(round),
            mask: self.mask.clone(),
            lengths: self.lengths.clone(),
        }
    }

    /// For the plain loops.
    pub fn plain(&self) -> reference::Problem<'_, T> {
        reference::Problem {
            x: self.x.view(),
            state: self.state.view(),
            targets: self.values.view(),
            mask: self.mask.view(),
            lengths: &self.lengths,
        }
    }

    /// What the plain loops find.
    pub fn expected(&self) -> Expected<T> {
        let (parameters, plain) = (self.network.parameters(), self.plain());
        let forward = reference::forward(parameters, &plain);
        Expected {
            gradients: reference::backward(parameters, &plain).0,
            loss: reference::loss(&forward, &plain).as_f64(),
            state: forward.state,
            y: forward.y,
        }
    }
}

/// What the plain loops find of a problem.
pub struct Expected<T> {
    pub gradients: Parameters<T>,
    pub loss: f64,
    pub state: Array2<T>,
    pub y: Array3<T>,
}

/// What an engine finds of a problem.
#[derive(Clone, Debug, PartialEq)]
pub struct Found<T> {
    pub gradients: Parameters<T>,
    pub metrics: Metrics,
    pub norm: f64,
    /// After each sequence's last step.
    pub state: Array2<T>,
}

pub fn options(threads: usize, shards: usize) -> EngineOptions {
    EngineOptions {
        threads,
        shards,
        memory: None,
    }
}

pub fn engine<T: Scalar>(architecture: Architecture, threads: usize, shards: usize) -> Engine<T> {
    Engine::new(architecture, options(threads, shards)).unwrap()
}

/// One gradient; `dropout` with the number of the update.
#[track_caller]
pub fn gradient<T: Scalar>(
    engine: &mut Engine<T>,
    problem: &Problem<T>,
    dropout: Option<(&Dropout, u64)>,
) -> Found<T> {
    let mut state = problem.state.clone();
    let options = GradientOptions {
        state: Some(&mut state),
        dropout,
    };
    let found = engine
        .gradient_with(&problem.network, &problem.batch(), options)
        .unwrap();
    Found {
        gradients: engine.gradients().clone(),
        metrics: found.metrics,
        norm: found.norm,
        state,
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

/// Asserts that two arrays agree.
#[track_caller]
pub fn assert_near<T: Scalar, U: Scalar>(
    what: &str,
    a: impl IntoIterator<Item = T>,
    b: impl IntoIterator<Item = U>,
    tolerance: f64,
) {
    let error = relative(a, b);
    assert!(
        error <= tolerance,
        "{what}: relative error {error:e} over {tolerance:e}"
    );
}

/// Asserts that two sets of gradients agree, each tensor by itself.
#[track_caller]
pub fn assert_close<T: Scalar, U: Scalar>(a: &Parameters<T>, b: &Parameters<U>, tolerance: f64) {
    assert_eq!(a.architecture(), b.architecture());
    for ((tensor, a), (_, b)) in a.iter().zip(b.iter()) {
        let (a, b) = (a.iter().copied(), b.iter().copied());
        assert_near(&format!("{:?}", tensor.which), a, b, tolerance);
    }
}

/// Central differences of step h err by h^2 f'''/6 and by rounding eps/h: about 1e-10 at this one.
pub const STEP: f64 = 1e-5;

/// What central differences may be off, relative to the norm of a tensor, which may be some thousand times smaller than
/// the loss.
pub const DIFFERENCE: f64 = 1e-6;

/// The derivatives of `f` at `x`, by central differences.
pub fn differences(x: &[f64], mut f: impl FnMut(&[f64]) -> f64) -> Vec<f64> {
    let mut moved = x.to_vec();
    (0..x.len())
        .map(|i| {
            let mut at = |step: f64| {
                moved[i] = x[i] + step;
                f(&moved)
            };
            let difference = at(STEP) - at(-STEP);
            moved[i] = x[i];
            difference / (2.0 * STEP)
        })
        .collect()
}
