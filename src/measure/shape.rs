//! The sizes of what is timed, with names and as text: [`Shape`].

use crate::architecture::{Architecture, Head, Input};
use crate::cells::Cell;
use crate::{Error, Result};
use std::str::FromStr;

/// How many sequences of how many steps which network reads at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Sequences.
    pub n: usize,
    /// Time steps.
    pub t: usize,
    /// The network.
    pub architecture: Architecture,
}

impl Shape {
    /// The shapes with names, as `(name, [N, T, n_x, n_h, n_y])`: from the notebook's to one that fills the caches many
    /// times over.
    pub const NAMED: [(&'static str, [usize; 5]); 7] = [
        ("notebook", [10, 50, 3, 100, 5]),
        ("small", [64, 100, 32, 128, 32]),
        ("charlm", [64, 100, 64, 256, 64]),
        ("mid", [256, 64, 64, 256, 64]),
        ("large", [128, 100, 128, 512, 128]),
        ("long", [32, 1000, 32, 256, 32]),
        ("big", [1024, 100, 64, 256, 32]),
    ];

    /// `N, T, n_x, n_h, n_y`: one layer of tanh that reads features.
    pub fn new([n, t, n_x, n_h, n_y]: [usize; 5]) -> Result<Self> {
        if n == 0 || t == 0 {
            let found = format!("{n},{t},{n_x},{n_h},{n_y}");
            return Err(Error::option("shape", found, "sizes of at least 1"));
        }
        let architecture = Architecture::new(Input::Features(n_x), n_h, Head::softmax(n_y));
        architecture.check()?;
        Ok(Shape { n, t, architecture })
    }

    /// The same sizes of so many layers of this cell, which read features or tokens.
    pub fn of(mut self, cell: Cell, layers: usize, tokens: bool) -> Result<Self> {
        let architecture = &mut self.architecture;
        (architecture.cell, architecture.layers) = (cell, layers);
        if tokens {
            architecture.input = Input::Tokens(architecture.input.size());
        }
        architecture.check()?;
        Ok(self)
    }

    /// All shapes with names.
    pub fn all_named() -> impl Iterator<Item = Self> {
        let shape = |(_, sizes)| Self::new(sizes).expect("sizes above zero");
        Self::NAMED.into_iter().map(shape)
    }

    /// Its name, if it has one.
    pub fn name(&self) -> Option<&'static str> {
        let mut named = Self::NAMED.into_iter();
        Some(named.find(|(_, sizes)| *sizes == self.sizes())?.0)
    }

    /// `[N, T, n_x, n_h, n_y]`.
    pub fn sizes(&self) -> [usize; 5] {
        let a = self.architecture;
        [self.n, self.t, a.input.size(), a.hidden, a.head.outputs]
    }

    /// Time steps of all sequences.
    pub fn tokens(&self) -> usize {
        self.n * self.t
    }

    /// [`Architecture::flops`] of one training step.
    pub fn flops(&self) -> f64 {
        self.architecture.flops(self.n, self.t)
    }
}

/// As a name, or else as the five numbers with commas.
impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => f.pad(&self.sizes().map(|size| size.to_string()).join(",")),
        }
    }
}

/// From a name or from `N,T,n_x,n_h,n_y`.
impl FromStr for Shape {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some((_, sizes)) = Self::NAMED.iter().find(|(name, _)| *name == text) {
            return Self::new(*sizes);
        }
        let sizes = text.split(',').map(|size| size.trim().parse().ok());
        let sizes: Option<Vec<usize>> = sizes.collect();
        let expected = "notebook, small, charlm, mid, large, long, big, or N,T,n_x,n_h,n_y such as 64,100,64,256,64";
        match sizes.map(<[usize; 5]>::try_from) {
            Some(Ok(sizes)) => Self::new(sizes),
            _ => Err(Error::option("shape", text, expected)),
        }
    }
}
