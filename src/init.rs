//! How weights begin: [`Init`].
//!
//! | | recurrent weights | the other weights |
//! |---|---|---|
//! | [`Init::Glorot`] | N(0, 2 / (n + m)) | N(0, 2 / (n + m)) (Glorot and Bengio 2010) |
//! | [`Init::Orthogonal`] | a random rotation (Saxe et al. 2014; QR of a Gaussian matrix) | as Glorot |
//! | [`Init::Identity`] | the identity (Le et al. 2015) | as Glorot |
//! | [`Init::Pytorch`] | U(-a, a), `a = 1 / sqrt(n_h)` | the same, of the decoder `a = 1 / sqrt(D n_h)`; embeddings N(0, 1) |
//!
//! for a matrix of `n` by `m`, each gate by itself. The rows of an embedding are N(0, 1 / size), of length 1 as one-hot rows are.
//! Biases begin at zero, but for the LSTM's forget gate: 1, so that it keeps its state at first (Jozefowicz et al. 2015;
//! [`set_forget_bias`] for another number). PyTorch's are drawn like its weights, two for each sum where it has two. Everything
//! is drawn in `f64` from ChaCha8 and then rounded, so that one seed gives one network, whatever the number type or the machine.

use crate::architecture::{Architecture, Which};
use crate::cells::Cell;
use crate::kernels::blas;
use crate::{Error, Parameters, Result, Scalar};
use ndarray::{Array2, Axis};
use ndarray_linalg::QR;
use rand::{RngExt, SeedableRng};
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
    /// What PyTorch's modules begin with: everything uniform, the forget gate's bias like the others.
    Pytorch,
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
    let n_h = architecture.hidden;
    if init == Init::Pytorch {
        draw_as_pytorch(&mut parameters, &mut rng);
        return Ok(parameters);
    }
    let tensors = architecture.tensors();
    for tensor in tensors.filter(|tensor| !tensor.which.is_bias()) {
        let (which, rows, columns) = (tensor.which, tensor.rows, tensor.columns);
        // A gate is a layer of its own: its width counts, not that of all gates.
        let others = match which {
            Which::WeightIh(_) | Which::WeightHh(_) => (architecture.cell.gates() - 1) * n_h,
            _ => 0,
        };
        let variance = match which {
            Which::Encoder => 1.0 / columns as f64,
            _ => 2.0 / (rows + columns - others) as f64,
        };
        let deviation = variance.sqrt();
        let mut drawn = match (which, init) {
            (Which::WeightHh(_), Init::Identity) => {
                Array2::from_shape_fn((rows, columns), |(i, j)| f64::from(i % n_h == j))
            }
            _ => Array2::from_shape_fn((rows, columns), |_| deviation * sample(&mut rng)),
        };
        if let (Which::WeightHh(_), Init::Orthogonal) = (which, init) {
            for mut gate in drawn.axis_chunks_iter_mut(Axis(0), n_h) {
                let rotation = orthogonal(gate.to_owned())?;
                gate.assign(&rotation);
            }
        }
        let mut to = parameters.matrix_mut(which);
        to.zip_mut_with(&drawn, |to, &from| *to = T::from_f64(from));
    }
    if architecture.cell == Cell::Lstm {
        set_forget_bias(&mut parameters, 1.0);
    }
    Ok(parameters)
}

/// Sets every bias of the LSTM's forget gates: at 1 or more, its state is kept at first; at 0 it is half forgotten at each step.
///
/// # Panics
/// If the network is none of LSTM cells.
pub fn set_forget_bias<T: Scalar>(parameters: &mut Parameters<T>, bias: f64) {
    let architecture = parameters.architecture();
    let (n_h, cell) = (architecture.hidden, architecture.cell);
    assert_eq!(cell, Cell::Lstm, "only the LSTM has a forget gate");
    for recurrence in 0..architecture.recurrences() {
        parameters.get_mut(Which::Bias(recurrence))[n_h..2 * n_h].fill(T::from_f64(bias));
    }
}

fn draw_as_pytorch<T: Scalar>(parameters: &mut Parameters<T>, rng: &mut ChaCha8Rng) {
    let architecture = parameters.architecture();
    let (form, n_h) = (architecture.cell.form(), architecture.hidden);
    // The sum of PyTorch's two, where both are added to one sum; the GRU has columns for one of them alone.
    let summed = (form.gates - usize::from(form.columns != form.gates)) * n_h;
    for tensor in architecture.tensors() {
        let fan_in = match tensor.which {
            Which::Decoder | Which::DecoderBias => architecture.outputs_of_layer(),
            _ => n_h,
        };
        let bound = 1.0 / (fan_in as f64).sqrt();
        for (i, to) in parameters.get_mut(tensor.which).iter_mut().enumerate() {
            let mut uniform = || rng.random_range(-bound..bound);
            *to = T::from_f64(match tensor.which {
                Which::Encoder => sample(rng),
                Which::Bias(_) if i < summed => uniform() + uniform(),
                _ => uniform(),
            });
        }
    }
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
