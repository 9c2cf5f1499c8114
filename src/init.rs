//! How weights begin: [`Init`].
//!
//! | | `wh` | `wx`, `wy` |
//! |---|---|---|
//! | [`Init::Glorot`] | N(0, 2 / (n + m)) | N(0, 2 / (n + m)) (Glorot and Bengio 2010) |
//! | [`Init::Orthogonal`] | a random rotation (Saxe et al. 2014; QR of a Gaussian matrix) | as Glorot |
//! | [`Init::Identity`] | the identity (Le et al. 2015) | as Glorot |
//!
//! for a matrix of `n` by `m`. Biases begin at zero. Everything is drawn in `f64` from ChaCha8 and then rounded, so that
//! one seed gives one network, whatever the number type or the machine.

use crate::{Dims, Error, Parameters, Result, Scalar, blas};
use ndarray::{Array2, Axis};
use ndarray_linalg::QR;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// A way to draw the weights of a new network; the module says what each does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Init {
    /// Every weight N(0, 2/(n+m)): the notebook's.
    Glorot,
    /// `wh` a random orthogonal matrix: gradients neither vanish nor explode at first.
    #[default]
    Orthogonal,
    /// `wh` the identity: the state is kept until inputs change it.
    Identity,
}

/// Draws the parameters of a network.
///
/// # Errors
/// [`Error::Linalg`] if the QR factorisation of [`Init::Orthogonal`] fails.
///
/// ```
/// use bptt::{Dims, Init, init::initialize};
///
/// let p = initialize::<f32>(Dims::new(3, 9, 5)?, Init::Orthogonal, 0)?;
/// let should_be_identity = p.wh().dot(&p.wh().t());
/// assert!((should_be_identity[[0, 0]] - 1.0).abs() < 1e-6 && should_be_identity[[0, 1]].abs() < 1e-6);
/// # Ok::<(), bptt::Error>(())
/// ```
pub fn initialize<T: Scalar>(dims: Dims, init: Init, seed: u64) -> Result<Parameters<T>> {
    let Dims { n_x, n_h, n_y } = dims;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut glorot = |rows: usize, columns: usize| {
        let deviation = (2.0 / (rows + columns) as f64).sqrt();
        Array2::from_shape_fn((rows, columns), |_| deviation * sample(&mut rng))
    };
    let wx = glorot(n_h, n_x);
    let wh = match init {
        Init::Glorot => glorot(n_h, n_h),
        Init::Orthogonal => orthogonal(glorot(n_h, n_h))?,
        Init::Identity => Array2::eye(n_h),
    };
    let wy = glorot(n_y, n_h);

    let mut parameters = Parameters::zeros(dims);
    let views = parameters.views_mut();
    for (mut to, from) in [(views.wx, wx), (views.wh, wh), (views.wy, wy)] {
        to.zip_mut_with(&from, |to, &from| *to = T::from_f64(from));
    }
    Ok(parameters)
}

fn sample(rng: &mut ChaCha8Rng) -> f64 {
    StandardNormal.sample(rng)
}

/// The orthogonal factor of a Gaussian matrix, its columns' signs chosen so that every rotation is as likely as every
/// other (Mezzadri 2007).
fn orthogonal(gaussian: Array2<f64>) -> Result<Array2<f64>, Error> {
    let (mut q, r) = blas::exclusive(|| {
        let _one = blas::OneThread::new();
        gaussian.qr()
    })?;
    for (mut column, &diagonal) in q.axis_iter_mut(Axis(1)).zip(r.diag()) {
        if diagonal < 0.0 {
            column.mapv_inplace(|x| -x);
        }
    }
    Ok(q)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dims() -> Dims {
        Dims::new(40, 60, 50).unwrap()
    }

    #[test]
    fn glorot_has_the_variance_of_the_text_for_every_weight() {
        let p = initialize::<f64>(dims(), Init::Glorot, 7).unwrap();
        for (name, w, expected) in [
            ("wx", p.wx(), 2.0 / 100.0),
            ("wh", p.wh(), 2.0 / 120.0),
            ("wy", p.wy(), 2.0 / 110.0),
        ] {
            let variance = w.mapv(|x| x * x).mean().unwrap();
            // The sample variance of 2,400 or more normals lies within 15 % (more than five deviations).
            assert!(
                (variance / expected - 1.0).abs() < 0.15,
                "{name}: {variance} against {expected}"
            );
            assert!(
                w.mean().unwrap().abs() < 5.0 * (expected / w.len() as f64).sqrt(),
                "{name}"
            );
        }
        assert!(p.bh().iter().chain(p.by()).all(|&b| b == 0.0));
    }

    #[test]
    fn orthogonal_and_identity() {
        let p = initialize::<f64>(dims(), Init::Orthogonal, 7).unwrap();
        let residual = p.wh().dot(&p.wh().t()) - Array2::<f64>::eye(60);
        assert!(residual.iter().all(|x| x.abs() < 1e-13));
        assert!((p.wh()[[0, 0]].abs()) < 0.9, "not the identity");
        assert_eq!(
            initialize::<f64>(dims(), Init::Identity, 7).unwrap().wh(),
            Array2::<f64>::eye(60)
        );
    }

    #[test]
    fn the_seed_decides_and_the_type_only_rounds() {
        let draw = |seed| initialize::<f64>(dims(), Init::Orthogonal, seed).unwrap();
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert_eq!(
            initialize::<f32>(dims(), Init::Orthogonal, 1).unwrap(),
            draw(1).cast::<f32>()
        );
    }
}
