//! What the library runs on: [`machine`].

use crate::kernels::{blas, simd};

/// The OpenBLAS and the vector instructions in use. On others, the last bits of results differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Version, build and kernels of OpenBLAS, such as `OpenBLAS 0.3.21 (pthread, Zen kernels)`.
    pub blas: String,
    /// The vector instructions of our own kernels, such as `avx2`. `BPTT_SIMD` in the environment chooses narrower ones.
    pub simd: &'static str,
}

/// Asks what the library runs on.
///
/// ```
/// let machine = bptt::machine();
/// println!("{}, {}", machine.simd, machine.blas);
/// # assert!(machine.blas.contains("OpenBLAS") && !machine.simd.is_empty());
/// ```
pub fn machine() -> Machine {
    Machine {
        blas: blas::library().to_string(),
        simd: simd::name(simd::level()),
    }
}
