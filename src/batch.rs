//! What a network is trained on: [`Batch`], borrowed from the caller's arrays, batch-first.
//!
//! | | shape | |
//! |---|---|---|
//! | [`Inputs::Dense`] | `[N, T, n_x]` | any real features |
//! | [`Inputs::Tokens`] | `[N, T]` | token ids below `n_x`: one-hot rows without the rows |
//! | [`Targets::Classes`] | `[N, T]` | class ids below `n_y` |
//! | [`Targets::Distributions`] | `[N, T, n_y]` | a weight for each class |
//! | mask | `[N, T]` | `true` where a step counts in the loss |
//! | lengths | `[N]` | the steps of each sequence, where not all have `T`: what follows is never computed |
//!
//! Knows shapes and ranges; nothing is copied here.

use crate::{Dims, Error, Result, Scalar};
use ndarray::{Array2, Array3, ArrayView2, ArrayView3};
use rand::{Rng, RngExt};

/// The inputs of a batch.
#[derive(Clone, Copy, Debug)]
pub enum Inputs<'a, T> {
    /// Features `[N, T, n_x]`.
    Dense(ArrayView3<'a, T>),
    /// Token ids `[N, T]`, each below `n_x`.
    Tokens(ArrayView2<'a, u32>),
}

/// The targets of a batch.
#[derive(Clone, Copy, Debug)]
pub enum Targets<'a, T> {
    /// Class ids `[N, T]`, each below `n_y`.
    Classes(ArrayView2<'a, u32>),
    /// Weights `[N, T, n_y]`: the loss of a step is `-sum_k target_k log y_k`.
    Distributions(ArrayView3<'a, T>),
}

impl<'a, T> From<&'a Array3<T>> for Inputs<'a, T> {
    fn from(x: &'a Array3<T>) -> Self {
        Inputs::Dense(x.view())
    }
}

impl<'a, T> From<&'a Array2<u32>> for Inputs<'a, T> {
    fn from(ids: &'a Array2<u32>) -> Self {
        Inputs::Tokens(ids.view())
    }
}

impl<'a, T> From<&'a Array3<T>> for Targets<'a, T> {
    fn from(x: &'a Array3<T>) -> Self {
        Targets::Distributions(x.view())
    }
}

impl<'a, T> From<&'a Array2<u32>> for Targets<'a, T> {
    fn from(ids: &'a Array2<u32>) -> Self {
        Targets::Classes(ids.view())
    }
}

impl<T: Scalar> Inputs<'_, T> {
    /// `(N, T)`.
    pub fn sequences(&self) -> (usize, usize) {
        match self {
            Inputs::Dense(x) => (x.dim().0, x.dim().1),
            Inputs::Tokens(ids) => ids.dim(),
        }
    }

    /// The same, borrowed for a shorter time.
    pub(crate) fn reborrow(&self) -> Inputs<'_, T> {
        match self {
            Inputs::Dense(x) => Inputs::Dense(x.view()),
            Inputs::Tokens(ids) => Inputs::Tokens(ids.view()),
        }
    }

    /// Whether a network of these sizes can read them.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Id`].
    pub fn check(&self, dims: Dims) -> Result<()> {
        let (n, t) = self.sequences();
        let misfit = |shape: &[usize]| {
            Err(Error::Shape {
                what: "inputs",
                found: shape.to_vec(),
                expected: format!("[N, T, {}] with N and T at least 1", dims.n_x),
            })
        };
        match self {
            Inputs::Dense(x) if n == 0 || t == 0 || x.dim().2 != dims.n_x => misfit(x.shape()),
            Inputs::Tokens(ids) if n == 0 || t == 0 => misfit(ids.shape()),
            Inputs::Dense(_) => Ok(()),
            Inputs::Tokens(ids) => check_ids("inputs", ids, dims.n_x),
        }
    }
}

impl<T: Scalar> Targets<'_, T> {
    /// The same, borrowed for a shorter time.
    pub(crate) fn reborrow(&self) -> Targets<'_, T> {
        match self {
            Targets::Classes(ids) => Targets::Classes(ids.view()),
            Targets::Distributions(y) => Targets::Distributions(y.view()),
        }
    }

    /// Whether they are the targets of `n` sequences of `t` steps for a network of these sizes.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Id`].
    pub fn check(&self, dims: Dims, (n, t): (usize, usize)) -> Result<()> {
        match self {
            Targets::Classes(ids) if ids.dim() != (n, t) => Err(Error::Shape {
                what: "targets",
                found: ids.shape().to_vec(),
                expected: format!("[{n}, {t}] as the inputs"),
            }),
            Targets::Classes(ids) => check_ids("targets", ids, dims.n_y),
            Targets::Distributions(y) if y.dim() != (n, t, dims.n_y) => Err(Error::Shape {
                what: "targets",
                found: y.shape().to_vec(),
                expected: format!("[{n}, {t}, {}] as the inputs and the network", dims.n_y),
            }),
            Targets::Distributions(_) => Ok(()),
        }
    }
}

fn check_ids(what: &'static str, ids: &ArrayView2<'_, u32>, limit: usize) -> Result<()> {
    match ids.indexed_iter().find(|&(_, &id)| id as usize >= limit) {
        Some(((row, step), &id)) => Err(Error::Id {
            what,
            row,
            step,
            id,
            limit,
        }),
        None => Ok(()),
    }
}

/// What a network should answer, and where that counts.
#[derive(Clone, Copy, Debug)]
pub struct Answers<'a, T> {
    /// The targets.
    pub targets: Targets<'a, T>,
    /// `[N, T]`, `true` where a step counts in the loss; all of them where there is none.
    pub mask: Option<ArrayView2<'a, bool>>,
}

/// Every step counts.
impl<'a, T, A: Into<Targets<'a, T>>> From<A> for Answers<'a, T> {
    fn from(targets: A) -> Self {
        Answers {
            targets: targets.into(),
            mask: None,
        }
    }
}

impl<T: Scalar> Answers<'_, T> {
    /// How many of `n` sequences' `t` steps count.
    pub fn counted(&self, (n, t): (usize, usize)) -> u64 {
        match self.mask {
            Some(mask) => mask.iter().filter(|&&counts| counts).count() as u64,
            None => (n * t) as u64,
        }
    }

    /// Whether they are those of `n` sequences of `t` steps for a network of these sizes.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Id`]; [`Error::NothingCounts`] if the mask is false everywhere.
    pub fn check(&self, dims: Dims, (n, t): (usize, usize)) -> Result<()> {
        self.targets.check(dims, (n, t))?;
        match self.mask {
            Some(mask) if mask.dim() != (n, t) => Err(Error::Shape {
                what: "mask",
                found: mask.shape().to_vec(),
                expected: format!("[{n}, {t}] as the inputs"),
            }),
            _ if self.counted((n, t)) == 0 => Err(Error::NothingCounts),
            _ => Ok(()),
        }
    }
}

/// Sequences with their targets, and which of their steps count.
///
/// ```
/// use bptt::{Batch, Dims};
/// use ndarray::array;
///
/// let (inputs, targets) = (array![[0u32, 1, 2]], array![[1u32, 2, 0]]);
/// let batch = Batch::<f32>::new(&inputs, &targets);
/// assert_eq!(batch.counted(), 3);
/// let last_step_only = array![[false, false, true]];
/// assert_eq!(batch.with_mask(last_step_only.view()).counted(), 1);
/// assert!(batch.check(Dims::new(2, 8, 3)?).is_err()); // token 2 of an alphabet of two
/// # Ok::<(), bptt::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a, T> {
    /// What the network reads.
    pub inputs: Inputs<'a, T>,
    /// What it should answer.
    pub answers: Answers<'a, T>,
    /// The steps of each sequence, `[N]`, from 0 to `T`; all `T`, where there are none. A sequence's state is that after
    /// its own last step.
    pub lengths: Option<&'a [usize]>,
}

impl<'a, T: Scalar> Batch<'a, T> {
    /// All steps count.
    pub fn new(inputs: impl Into<Inputs<'a, T>>, targets: impl Into<Targets<'a, T>>) -> Self {
        Batch {
            inputs: inputs.into(),
            answers: targets.into().into(),
            lengths: None,
        }
    }

    /// Sequence `n` has the first `lengths[n]` of the `T` steps; time is spent on these alone.
    ///
    /// ```
    /// use bptt::Batch;
    /// use ndarray::array;
    ///
    /// let (inputs, targets) = (array![[0u32, 1, 2], [2, 9, 9]], array![[1u32, 2, 0], [0, 9, 9]]);
    /// assert_eq!(Batch::<f32>::new(&inputs, &targets).with_lengths(&[3, 1]).counted(), 4);
    /// ```
    pub fn with_lengths(mut self, lengths: &'a [usize]) -> Self {
        self.lengths = Some(lengths);
        self
    }

    /// Only the steps where `mask [N, T]` is true count.
    pub fn with_mask(mut self, mask: ArrayView2<'a, bool>) -> Self {
        self.answers.mask = Some(mask);
        self
    }

    /// How many steps count.
    pub fn counted(&self) -> u64 {
        match (self.lengths, self.answers.mask) {
            (None, _) => self.answers.counted(self.inputs.sequences()),
            (Some(lengths), None) => lengths.iter().map(|&length| length as u64).sum(),
            (Some(lengths), Some(mask)) => (mask.rows().into_iter().zip(lengths))
                .map(|(row, &length)| {
                    row.iter().take(length).filter(|&&counts| counts).count() as u64
                })
                .sum(),
        }
    }

    /// The mask of the steps that count, lengths and mask together; `None` where all do.
    pub fn counts(&self) -> Option<Array2<bool>> {
        let (n, t) = self.inputs.sequences();
        let mut mask = match self.answers.mask {
            Some(mask) => mask.to_owned(),
            None if self.lengths.is_none() => return None,
            None => Array2::from_elem((n, t), true),
        };
        for (mut row, &length) in mask
            .rows_mut()
            .into_iter()
            .zip(self.lengths.unwrap_or_default())
        {
            row.iter_mut()
                .skip(length)
                .for_each(|counts| *counts = false);
        }
        Some(mask)
    }

    /// Whether inputs, targets, mask and lengths fit each other and a network of these sizes.
    ///
    /// Ids beyond the lengths are looked at as well: give them 0.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Id`] of the first that does not; [`Error::NothingCounts`].
    pub fn check(&self, dims: Dims) -> Result<()> {
        self.inputs.check(dims)?;
        let (n, t) = self.inputs.sequences();
        self.answers.check(dims, (n, t))?;
        if let Some(lengths) = self.lengths {
            let longest = lengths.iter().copied().max().unwrap_or(0);
            if lengths.len() != n || longest > t {
                return Err(Error::Shape {
                    what: "lengths",
                    found: vec![lengths.len(), longest],
                    expected: format!("[{n}] numbers of at most {t}, as the inputs"),
                });
            }
            if self.counted() == 0 {
                return Err(Error::NothingCounts);
            }
        }
        Ok(())
    }
}

/// Class ids `[N, T]` as distributions `[N, T, n_y]`: 1 at the class, 0 elsewhere.
///
/// # Errors
/// [`Error::Id`] for an id that is not below `n_y`.
pub fn one_hot<T: Scalar>(classes: ArrayView2<'_, u32>, n_y: usize) -> Result<Array3<T>> {
    check_ids("targets", &classes, n_y)?;
    let (n, t) = classes.dim();
    let mut y = Array3::zeros((n, t, n_y));
    for ((row, step), &class) in classes.indexed_iter() {
        y[[row, step, class as usize]] = T::one();
    }
    Ok(y)
}

/// One-hot distributions `[N, T, n_y]` of classes drawn evenly from `rng`.
///
/// # Panics
/// If `n_y` is zero.
///
/// ```
/// use bptt::batch::generate_one_hot_targets;
/// use rand::SeedableRng;
///
/// let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(123);
/// let y = generate_one_hot_targets::<f64>(7, 2, 5, &mut rng);
/// assert_eq!((y.dim(), y.sum()), ((7, 2, 5), 14.0));
/// ```
pub fn generate_one_hot_targets<T: Scalar>(
    n: usize,
    t: usize,
    n_y: usize,
    rng: &mut impl Rng,
) -> Array3<T> {
    let limit = u32::try_from(n_y).expect("the number of classes fits into 32 bits");
    let classes = Array2::from_shape_fn((n, t), |_| rng.random_range(0..limit));
    one_hot(classes.view(), n_y).expect("drawn below n_y")
}
