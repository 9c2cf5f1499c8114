//! How weights begin: [`Init`].
//!
//! | | recurrent weights | the other weights |
//! |---|---|---|
//! | [`Init::Glorot`] | N(0, 2 / (n + m)) | N(0, 2 / (n + m)) (Glorot and Bengio 2010) |
//! | [`Init::Orthogonal`] | a random rotation (Saxe et al. 2014; QR of a Gaussian matrix) | as Glorot |
//! | [`Init::Identity`] | the identity (Le et al. 2015) | as Glorot |
//!
//! for a matrix of `n` by `m`. Biases begin at zero. Everything is drawn in `f64` from ChaCha8 and then rounded, so that
//! one seed gives one network, whatever the number type or the machine.

use crate::architecture::{Architecture, Tensor, Which};
use crate::kernels::blas;
use crate::{Error, Parameters, Result, Scalar};
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
    /// Recurrent weights a random orthogonal matrix: gradients neither vanish nor explode at first.
    #[default]
    Orthogonal,
    /// Recurrent weights the identity: the state is kept until inputs change it.
    Identity,
}

/// Draws the parameters of a network, matrix by matrix in the order of [`Architecture::tensors`].
///
/// # Errors
/// As [`Architecture::check`]; [`Error::Linalg`] if the QR factorisation of [`Init::Orthogonal`] fails.
///
/// ```
/// use bptt::architecture::Which;
/// use bptt::{Architecture, Head, Init, Input, init::initialize};
///
/// let p = initialize::<f32>(Architecture::new(Input::Features(3), 9, Head::softmax(5)), Init::Orthogonal, 0)?;
/// let w = p.matrix(Which::WeightHh(0));
/// let should_be_identity = w.dot(&w.t());
/// assert!((should_be_identity[[0, 0]] - 1.0).abs() < 1e-6 && should_be_identity[[0, 1]].abs() < 1e-6);
/// # Ok::<(), bptt::Error>(())
/// ```
pub fn initialize<T: Scalar>(
    architecture: Architecture,
    init: Init,
    seed: u64,
) -> Result<Parameters<T>> {
    architecture.check()?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut parameters = Parameters::zeros(architecture);
    let matrices = architecture
        .tensors()
        .filter(|tensor| !tensor.which.is_bias());
    for Tensor {
        which,
        rows,
        columns,
        ..
    } in matrices
    {
        let mut glorot = || {
            let deviation = (2.0 / (rows + columns) as f64).sqrt();
            Array2::from_shape_fn((rows, columns), |_| deviation * sample(&mut rng))
        };
        let drawn = match (which, init) {
            (Which::WeightHh(_), Init::Orthogonal) => orthogonal(glorot())?,
            (Which::WeightHh(_), Init::Identity) => Array2::eye(rows),
            _ => glorot(),
        };
        let mut to = parameters.matrix_mut(which);
        to.zip_mut_with(&drawn, |to, &from| *to = T::from_f64(from));
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
    use crate::{Head, Input};

    fn network() -> Architecture {
        Architecture {
            layers: 2,
            ..Architecture::new(Input::Features(40), 60, Head::softmax(50))
        }
    }

    #[test]
    fn glorot_has_the_variance_of_the_text_for_every_weight() {
        let p = initialize::<f64>(network(), Init::Glorot, 7).unwrap();
        for (which, expected) in [
            (Which::WeightIh(0), 2.0 / 100.0),
            (Which::WeightHh(0), 2.0 / 120.0),
            (Which::WeightIh(1), 2.0 / 120.0),
            (Which::WeightHh(1), 2.0 / 120.0),
            (Which::Decoder, 2.0 / 110.0),
        ] {
            let (name, w) = (which, p.matrix(which));
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
        let biases = p.iter().filter(|(tensor, _)| tensor.which.is_bias());
        assert!(biases.flat_map(|(_, values)| values).all(|&b| b == 0.0));
    }

    #[test]
    fn orthogonal_and_identity() {
        let p = initialize::<f64>(network(), Init::Orthogonal, 7).unwrap();
        for layer in 0..2 {
            let w = p.matrix(Which::WeightHh(layer));
            let residual = w.dot(&w.t()) - Array2::<f64>::eye(60);
            assert!(residual.iter().all(|x| x.abs() < 1e-13));
            assert!(w[[0, 0]].abs() < 0.9, "not the identity");
        }
        assert_eq!(
            initialize::<f64>(network(), Init::Identity, 7)
                .unwrap()
                .matrix(Which::WeightHh(1)),
            Array2::<f64>::eye(60)
        );
    }

    #[test]
    fn the_seed_decides_and_the_type_only_rounds() {
        let draw = |seed| initialize::<f64>(network(), Init::Orthogonal, seed).unwrap();
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert_eq!(
            initialize::<f32>(network(), Init::Orthogonal, 1).unwrap(),
            draw(1).cast::<f32>()
        );
    }
}
