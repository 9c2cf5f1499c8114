//! The weights of a network as one flat buffer: [`Parameters`].
//!
//! ```text
//! [ wx [n_h, n_x] | wh [n_h, n_h] | wy [n_y, n_h] | bh [n_h] | by [n_y] ]
//! ```
//!
//! Gradients and an optimiser's moments are the same type, so that reducing, updating, clipping, saving and sending
//! them is one loop each. Knows its shapes; knows nothing of what is computed with them.

use crate::{Error, Result, Scalar};
use ndarray::{ArrayView1, ArrayView2, ArrayViewMut1, ArrayViewMut2};
use std::ops::Range;

/// The sizes of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Dims {
    /// Inputs a step: features, or the number of distinct tokens.
    pub n_x: usize,
    /// Hidden units.
    pub n_h: usize,
    /// Classes.
    pub n_y: usize,
}

impl Dims {
    /// The sizes, if all are positive and the parameters can be addressed.
    ///
    /// # Errors
    /// [`Error::Option`] naming the size that is zero or too large.
    pub fn new(n_x: usize, n_h: usize, n_y: usize) -> Result<Self> {
        for (name, n) in [("n_x", n_x), ("n_h", n_h), ("n_y", n_y)] {
            if n == 0 || n > 1 << 24 {
                return Err(Error::Option {
                    name,
                    value: n.to_string(),
                    expected: "between 1 and 2^24",
                });
            }
        }
        Ok(Dims { n_x, n_h, n_y })
    }

    /// How many parameters a network of these sizes has.
    pub fn len(self) -> usize {
        self.ranges().by.end
    }

    /// Never true for sizes made by [`Dims::new`].
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Where each parameter lies in the flat buffer.
    fn ranges(self) -> Ranges {
        let Dims { n_x, n_h, n_y } = self;
        let mut end = 0;
        let mut next = |len: usize| {
            end += len;
            end - len..end
        };
        Ranges {
            wx: next(n_h * n_x),
            wh: next(n_h * n_h),
            wy: next(n_y * n_h),
            bh: next(n_h),
            by: next(n_y),
        }
    }

    /// Floating-point operations of one training step on `n` sequences of `t` steps: `6 n t (n_h^2 + n_h n_x + n_h n_y)`,
    /// three products of two operations for each weight.
    pub fn flops(self, n: usize, t: usize) -> f64 {
        6.0 * (n * t) as f64 * (self.n_h * (self.n_h + self.n_x + self.n_y)) as f64
    }
}

struct Ranges {
    wx: Range<usize>,
    wh: Range<usize>,
    wy: Range<usize>,
    bh: Range<usize>,
    by: Range<usize>,
}

/// The five parameters of an Elman network, or anything of the same shape: gradients, moments.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters<T> {
    dims: Dims,
    data: Vec<T>,
}

impl<T: Scalar> Parameters<T> {
    /// All zero.
    pub fn zeros(dims: Dims) -> Self {
        Parameters {
            dims,
            data: vec![T::zero(); dims.len()],
        }
    }

    /// From a flat buffer in the order `wx, wh, wy, bh, by`, each row-major.
    ///
    /// # Errors
    /// [`Error::Shape`] if its length is not [`Dims::len`].
    pub fn from_vec(dims: Dims, data: Vec<T>) -> Result<Self> {
        if data.len() != dims.len() {
            return Err(Error::Shape {
                what: "parameters",
                found: vec![data.len()],
                expected: format!("{} values for {dims:?}", dims.len()),
            });
        }
        Ok(Parameters { dims, data })
    }

    /// The sizes.
    pub fn dims(&self) -> Dims {
        self.dims
    }

    /// All of them, in the order `wx, wh, wy, bh, by`, each row-major.
    pub fn as_slice(&self) -> &[T] {
        &self.data
    }

    /// All of them, to write to.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.data
    }

    /// Input weights `[n_h, n_x]`.
    pub fn wx(&self) -> ArrayView2<'_, T> {
        matrix(&self.data[self.dims.ranges().wx], self.dims.n_x)
    }

    /// Recurrent weights `[n_h, n_h]`.
    pub fn wh(&self) -> ArrayView2<'_, T> {
        matrix(&self.data[self.dims.ranges().wh], self.dims.n_h)
    }

    /// Output weights `[n_y, n_h]`.
    pub fn wy(&self) -> ArrayView2<'_, T> {
        matrix(&self.data[self.dims.ranges().wy], self.dims.n_h)
    }

    /// Hidden bias `[n_h]`.
    pub fn bh(&self) -> ArrayView1<'_, T> {
        (&self.data[self.dims.ranges().bh]).into()
    }

    /// Output bias `[n_y]`.
    pub fn by(&self) -> ArrayView1<'_, T> {
        (&self.data[self.dims.ranges().by]).into()
    }

    /// All five to write to at once.
    pub fn views_mut(&mut self) -> ViewsMut<'_, T> {
        let Dims { n_x, n_h, n_y } = self.dims;
        let (wx, rest) = self.data.split_at_mut(n_h * n_x);
        let (wh, rest) = rest.split_at_mut(n_h * n_h);
        let (wy, rest) = rest.split_at_mut(n_y * n_h);
        let (bh, by) = rest.split_at_mut(n_h);
        ViewsMut {
            wx: matrix_mut(wx, n_x),
            wh: matrix_mut(wh, n_h),
            wy: matrix_mut(wy, n_h),
            bh: bh.into(),
            by: by.into(),
        }
    }

    /// Each parameter by name, as its shape and its slice of the flat buffer.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Vec<usize>, &[T])> {
        let Dims { n_x, n_h, n_y } = self.dims;
        let r = self.dims.ranges();
        [
            ("wx", vec![n_h, n_x], &self.data[r.wx]),
            ("wh", vec![n_h, n_h], &self.data[r.wh]),
            ("wy", vec![n_y, n_h], &self.data[r.wy]),
            ("bh", vec![n_h], &self.data[r.bh]),
            ("by", vec![n_y], &self.data[r.by]),
        ]
        .into_iter()
    }

    /// The same values in another number type, rounded where it is narrower.
    pub fn cast<U: Scalar>(&self) -> Parameters<U> {
        Parameters {
            dims: self.dims,
            data: self.data.iter().map(|x| U::from_f64(x.as_f64())).collect(),
        }
    }

    /// Whether every value is a finite number.
    pub fn all_finite(&self) -> bool {
        self.data.iter().all(|value| value.is_finite())
    }

    /// The Euclidean norm of all values, summed in `f64`, in order.
    pub fn norm(&self) -> f64 {
        self.data
            .iter()
            .map(|x| x.as_f64() * x.as_f64())
            .sum::<f64>()
            .sqrt()
    }
}

/// Mutable views of all five parameters.
pub struct ViewsMut<'a, T> {
    /// Input weights `[n_h, n_x]`.
    pub wx: ArrayViewMut2<'a, T>,
    /// Recurrent weights `[n_h, n_h]`.
    pub wh: ArrayViewMut2<'a, T>,
    /// Output weights `[n_y, n_h]`.
    pub wy: ArrayViewMut2<'a, T>,
    /// Hidden bias `[n_h]`.
    pub bh: ArrayViewMut1<'a, T>,
    /// Output bias `[n_y]`.
    pub by: ArrayViewMut1<'a, T>,
}

fn matrix<T>(data: &[T], columns: usize) -> ArrayView2<'_, T> {
    ArrayView2::from_shape((data.len() / columns, columns), data)
        .expect("a parameter's slice has its size")
}

fn matrix_mut<T>(data: &mut [T], columns: usize) -> ArrayViewMut2<'_, T> {
    ArrayViewMut2::from_shape((data.len() / columns, columns), data)
        .expect("a parameter's slice has its size")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_its_own_slice() {
        let dims = Dims::new(2, 3, 4).unwrap();
        let mut p = Parameters::<f64>::zeros(dims);
        for (i, x) in p.as_mut_slice().iter_mut().enumerate() {
            *x = i as f64;
        }
        assert_eq!(p.wx()[[2, 1]], 5.0);
        assert_eq!(p.wh()[[0, 0]], 6.0);
        assert_eq!(p.wy()[[3, 2]], 26.0);
        assert_eq!((p.bh()[0], p.by()[3]), (27.0, 33.0));
        assert_eq!(
            p.iter().map(|(_, _, slice)| slice.len()).sum::<usize>(),
            dims.len()
        );
        for (name, shape, slice) in p.iter() {
            assert_eq!(shape.iter().product::<usize>(), slice.len(), "{name}");
        }
        let views = p.views_mut();
        assert_eq!((views.wy[[0, 0]], views.by[0]), (15.0, 30.0));
    }

    #[test]
    fn sizes_must_be_positive() {
        let error = Dims::new(3, 0, 2).unwrap_err().to_string();
        assert!(error.contains("n_h: 0"), "{error}");
        assert!(Parameters::from_vec(Dims::new(1, 1, 1).unwrap(), vec![0.0f32; 4]).is_err());
    }
}
