//! The machine's own limit: [`Roof`].

use crate::kernels::blas::{self, OneThread};
use crate::kernels::packed::Out;
use crate::kernels::rows::Rows;
use crate::{Result, Scalar};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::time::Instant;

/// Rows and columns of the roof's product. Fixed, so that fractions of different days and machines mean the same; one
/// takes a fifth of a second where a core does 80 GFLOP/s.
pub const ROOF_SIZE: usize = 2048;

/// The machine's own limit: a product of 2048^3 on each of some cores at once.
#[derive(Debug)]
pub struct Roof<T> {
    pool: rayon::ThreadPool,
    a: Vec<T>,
    b: Vec<T>,
    /// One for each thread.
    c: Vec<Vec<T>>,
    _one_thread: OneThread,
}

impl<T: Scalar> Roof<T> {
    /// Random matrices, and a pool of threads.
    pub fn new(threads: usize) -> Result<Self> {
        let pool = blas::pool(threads)?;
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let elements = ROOF_SIZE * ROOF_SIZE;
        let mut element = |_| T::from_f64(rng.random_range(-1.0..1.0));
        let [a, b] = [(); 2].map(|()| (0..elements).map(&mut element).collect());
        Ok(Roof {
            pool,
            a,
            b,
            c: vec![vec![T::zero(); elements]; threads],
            _one_thread: OneThread::new(),
        })
    }

    /// The bytes of its matrices.
    pub fn memory(threads: usize) -> usize {
        (2 + threads) * ROOF_SIZE * ROOF_SIZE * size_of::<T>()
    }

    /// One product on each thread, all at once; returns floating-point operations per second of all together.
    pub fn run(&mut self) -> f64 {
        let (a, b) = (&self.a, &self.b);
        let threads = self.c.len();
        let begin = Instant::now();
        self.pool.scope(|scope| {
            for c in &mut self.c {
                let (a, b) = (Rows::of(a, ROOF_SIZE), Rows::of(b, ROOF_SIZE));
                scope.spawn(move |_| {
                    blas::gemm_tn(a, b, T::zero(), Out::whole(c, ROOF_SIZE), ROOF_SIZE);
                });
            }
        });
        threads as f64 * Self::flops() / begin.elapsed().as_secs_f64()
    }

    /// Floating-point operations of one product.
    pub fn flops() -> f64 {
        2.0 * (ROOF_SIZE as f64).powi(3)
    }
}
