//! One update of the weights from one gradient: [`Optimizer`].
//!
//! With gradient `g`, learning rate `a`, and all operations element by element:
//!
//! | algorithm | update | source |
//! |---|---|---|
//! | gd | `w -= a g` | |
//! | momentum | `v = m v + g; w -= a v` | Polyak 1964, as PyTorch's SGD |
//! | nesterov | `v = m v + g; w -= a (g + m v)` | Sutskever et al. 2013, as PyTorch's SGD |
//! | rmsprop | `s = b2 s + (1 - b2) g²; w -= a g / (sqrt(s) + eps)` | Hinton 2012 |
//! | adam | `m = b1 m + (1 - b1) g; s = b2 s + (1 - b2) g²; w -= a m' / (sqrt(s') + eps)` | Kingma & Ba 2015 |
//! | adamw | the same, and `w -= a decay w` before it | Loshchilov & Hutter 2019 |
//!
//! where `m' = m / (1 - b1^t)` and `s' = s / (1 - b2^t)` at update `t`. For all but adamw, weight decay is `g += decay w`.
//! Knows nothing of losses, batches or schedules.

use crate::kernels::simd;
use crate::{Architecture, Error, Parameters, Result, Scalar};
use fearless_simd::dispatch;
use rayon::prelude::*;

/// Elements of the flat buffer that one thread reduces and updates at a time. Part of the result (the gradient's norm is
/// summed slice by slice), so a constant; 32 KiB of `f32`, half a first-level cache.
pub(crate) const SLICE: usize = 8192;

/// Slices that one thread takes at least: fewer are done before another thread has woken.
pub(crate) const LEAST_SLICES: usize = 2;

/// How gradients become updates; the module has the equations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// Gradient descent.
    #[serde(alias = "sgd")]
    Gd,
    /// Gradient descent with momentum.
    Momentum,
    /// The same with Nesterov's look ahead.
    Nesterov,
    /// Divided by a running root mean square.
    RmsProp,
    /// Momentum and root mean square, both corrected for their start at zero.
    Adam,
    /// Adam with decoupled weight decay.
    AdamW,
}

impl Algorithm {
    /// How many values beside each weight it keeps from update to update.
    pub fn moments(self) -> usize {
        match self {
            Algorithm::Gd => 0,
            Algorithm::Momentum | Algorithm::Nesterov | Algorithm::RmsProp => 1,
            Algorithm::Adam | Algorithm::AdamW => 2,
        }
    }
}

/// An algorithm and its constants.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct OptimizerOptions {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// `m` of momentum and Nesterov, `b1` of Adam.
    pub momentum: f64,
    /// `b2` of RMSprop and Adam.
    pub beta2: f64,
    /// `eps`, which keeps the division from exploding.
    pub epsilon: f64,
    /// Weight decay, for weights and biases alike.
    pub weight_decay: f64,
    /// Bounds on the gradient, before anything else is done with it; none, unless they are given.
    pub clip: Clip,
}

impl Default for OptimizerOptions {
    fn default() -> Self {
        OptimizerOptions {
            algorithm: Algorithm::Adam,
            momentum: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
            clip: Clip::default(),
        }
    }
}

impl OptimizerOptions {
    /// Whether every constant is in its range.
    ///
    /// # Errors
    /// [`Error::Option`] naming the one that is not.
    pub fn check(&self) -> Result<()> {
        let wrong = |name, value: f64, expected| Err(Error::option(name, value, expected));
        if !(0.0..1.0).contains(&self.momentum) {
            return wrong("momentum", self.momentum, "at least 0 and less than 1");
        }
        if !(0.0..1.0).contains(&self.beta2) {
            return wrong("beta2", self.beta2, "at least 0 and less than 1");
        }
        if !(self.epsilon > 0.0 && self.epsilon.is_finite()) {
            return wrong("epsilon", self.epsilon, "a positive number");
        }
        if !(self.weight_decay >= 0.0 && self.weight_decay.is_finite()) {
            return wrong("weight_decay", self.weight_decay, "a number from 0 up");
        }
        let Clip { norm, value } = self.clip;
        for (name, bound) in [("clip_norm", norm), ("clip_value", value)] {
            if let Some(bound) = bound.filter(|&bound| !(bound > 0.0 && bound.is_finite())) {
                return wrong(name, bound, "a finite number above 0");
            }
        }
        Ok(())
    }
}

/// Bounds on a gradient before it is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Clip {
    /// The whole gradient is scaled down to this Euclidean norm (Pascanu et al. 2013).
    pub norm: Option<f64>,
    /// After that, each element is limited to this size.
    pub value: Option<f64>,
}

/// An algorithm with what it remembers.
///
/// [`crate::Engine::update`] makes an update of the gradient it has found; [`Optimizer::step`] is for gradients from
/// elsewhere.
///
/// ```
/// use bptt::optim::{Optimizer, OptimizerOptions};
/// use bptt::{Architecture, Head, Input, Parameters};
///
/// let architecture = Architecture::new(Input::Features(1), 1, Head::softmax(1));
/// let mut p = Parameters::from_vec(architecture, vec![1.0; 5])?;
/// let g = Parameters::from_vec(architecture, vec![3.0, -4.0, 0.0, 0.0, 0.0])?;
/// let mut adam = Optimizer::<f64>::new(architecture, OptimizerOptions::default())?;
/// adam.step(&mut p, &g, g.norm(), 0.1);
/// assert!((p.as_slice()[0] - 0.9).abs() < 1e-8); // Adam's first step is the learning rate
/// # Ok::<(), bptt::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Optimizer<T> {
    options: OptimizerOptions,
    /// Updates so far.
    steps: u64,
    /// As many as [`Algorithm::moments`] says: velocity or mean first, then mean square.
    moments: Vec<Parameters<T>>,
}

impl<T: Scalar> Optimizer<T> {
    /// One that has seen nothing yet.
    ///
    /// # Errors
    /// As [`OptimizerOptions::check`].
    pub fn new(architecture: Architecture, options: OptimizerOptions) -> Result<Self> {
        let moments = vec![Parameters::zeros(architecture); options.algorithm.moments()];
        Self::resume(options, 0, moments)
    }

    /// One that goes on after `steps` updates with the moments it had.
    ///
    /// # Errors
    /// As [`OptimizerOptions::check`]; [`Error::Shape`] for another number of moments than the algorithm's.
    pub fn resume(
        options: OptimizerOptions,
        steps: u64,
        moments: Vec<Parameters<T>>,
    ) -> Result<Self> {
        options.check()?;
        let expected = options.algorithm.moments();
        if moments.len() != expected {
            let expected = format!("{expected} for {:?}", options.algorithm);
            let found = [moments.len()];
            return Err(Error::shape("optimizer moments", &found, expected));
        }
        Ok(Optimizer {
            options,
            steps,
            moments,
        })
    }

    /// The algorithm and its constants.
    pub fn options(&self) -> OptimizerOptions {
        self.options
    }

    /// Updates so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// What it remembers, in the order of [`Optimizer`].
    pub fn moments(&self) -> &[Parameters<T>] {
        &self.moments
    }

    /// Updates `p` by `g`, whose Euclidean norm is `norm`, at learning rate `lr`, on the threads of the rayon pool it is called
    /// in; the bits do not depend on them.
    ///
    /// # Panics
    /// If they are of different networks.
    pub fn step(&mut self, p: &mut Parameters<T>, g: &Parameters<T>, norm: f64, lr: f64) {
        for other in self.moments.iter().chain([g]) {
            let (ours, theirs) = (p.architecture(), other.architecture());
            assert_eq!(ours, theirs, "gradients and moments of the same network");
        }
        self.steps += 1;
        let rule = Rule::new(&self.options, self.steps, norm, lr);
        let slices = slices_of(p).zip(g.as_slice().par_chunks(SLICE));
        let slices = slices.with_min_len(LEAST_SLICES);
        // The operations stay those that are written: the bits do not depend on the vectors' width.
        let level = simd::level();
        match &mut self.moments[..] {
            [] => slices.for_each(|(w, g)| dispatch!(level, _simd => rule.descend(w, g))),
            [m] => slices
                .zip(slices_of(m))
                .for_each(|((w, g), m)| dispatch!(level, _simd => rule.with_one_moment(w, g, m))),
            [m, s, ..] => slices
                .zip(slices_of(m))
                .zip(slices_of(s))
                .for_each(|(((w, g), m), s)| dispatch!(level, _simd => rule.adam(w, g, m, s))),
        }
    }
}

/// What one thread updates at a time.
fn slices_of<T: Scalar>(p: &mut Parameters<T>) -> impl IndexedParallelIterator<Item = &mut [T]> {
    p.as_mut_slice().par_chunks_mut(SLICE)
}

/// The constants of one update, in the precision of the weights.
struct Rule<T> {
    algorithm: Algorithm,
    lr: T,
    /// What the gradient is multiplied with to clip its norm.
    scale: T,
    limit: T,
    /// Decay that joins the gradient, and decay that does not.
    coupled: T,
    decoupled: T,
    momentum: T,
    beta2: T,
    epsilon: T,
    /// `1 / (1 - b1^t)` and `1 / (1 - b2^t)`.
    corrections: [T; 2],
}

impl<T: Scalar> Rule<T> {
    fn new(options: &OptimizerOptions, steps: u64, norm: f64, lr: f64) -> Self {
        let scale = match options.clip.norm {
            Some(limit) if norm > limit => limit / norm,
            _ => 1.0,
        };
        let decoupled = options.algorithm == Algorithm::AdamW;
        let decay = options.weight_decay;
        let exponent = i32::try_from(steps).unwrap_or(i32::MAX);
        let correction = |beta: f64| T::from_f64(1.0 / (1.0 - beta.powi(exponent)));
        Rule {
            algorithm: options.algorithm,
            lr: T::from_f64(lr),
            scale: T::from_f64(scale),
            limit: T::from_f64(options.clip.value.unwrap_or(f64::INFINITY)),
            coupled: T::from_f64(if decoupled { 0.0 } else { decay }),
            decoupled: T::from_f64(if decoupled { lr * decay } else { 0.0 }),
            momentum: T::from_f64(options.momentum),
            beta2: T::from_f64(options.beta2),
            epsilon: T::from_f64(options.epsilon),
            corrections: [correction(options.momentum), correction(options.beta2)],
        }
    }

    /// The gradient within its bounds, and the decay that joins it.
    #[inline(always)]
    fn bounded(&self, g: T, w: T) -> T {
        num_traits::clamp(g * self.scale, -self.limit, self.limit) + self.coupled * w
    }

    #[inline(always)]
    fn descend(&self, w: &mut [T], g: &[T]) {
        for (w, &g) in w.iter_mut().zip(g) {
            *w -= self.lr * self.bounded(g, *w);
        }
    }

    #[inline(always)]
    fn with_one_moment(&self, w: &mut [T], g: &[T], m: &mut [T]) {
        let pairs = w.iter_mut().zip(m).zip(g);
        // A loop for each, of which the compiler makes vectors; with one for all it does not.
        match self.algorithm {
            Algorithm::RmsProp => pairs.for_each(|((w, s), &g)| {
                let g = self.bounded(g, *w);
                *s = self.beta2 * *s + (T::one() - self.beta2) * g * g;
                *w -= self.lr * g / (s.sqrt() + self.epsilon);
            }),
            Algorithm::Nesterov => pairs.for_each(|((w, v), &g)| {
                let g = self.bounded(g, *w);
                *v = self.momentum * *v + g;
                *w -= self.lr * (g + self.momentum * *v);
            }),
            _ => pairs.for_each(|((w, v), &g)| {
                *v = self.momentum * *v + self.bounded(g, *w);
                *w -= self.lr * *v;
            }),
        }
    }

    #[inline(always)]
    fn adam(&self, w: &mut [T], g: &[T], m: &mut [T], s: &mut [T]) {
        for (((w, &g), m), s) in w.iter_mut().zip(g).zip(m).zip(s) {
            let g = self.bounded(g, *w);
            *m = self.momentum * *m + (T::one() - self.momentum) * g;
            *s = self.beta2 * *s + (T::one() - self.beta2) * g * g;
            let [m, s] = [*m * self.corrections[0], *s * self.corrections[1]];
            *w -= self.decoupled * *w;
            *w -= self.lr * m / (s.sqrt() + self.epsilon);
        }
    }
}
