//! The vector instructions that the kernels run on: the widest that the processor has.
//!
//! [`VARIABLE`] in the environment chooses narrower ones, for instance to get the bits of another machine: sums are made in
//! another order on each. (`OPENBLAS_CORETYPE` does the same for OpenBLAS.)

use super::number::Number;
use crate::{Error, Result};
use fearless_simd::{Level, Simd, SimdBase};
use std::ops::Range;
use std::sync::OnceLock;

/// Names the instructions to use: `sse2`, `sse4.2`, `avx2` (with FMA), `avx512` (as of Ice Lake and Zen 4), `neon`, `scalar`.
pub const VARIABLE: &str = "BPTT_SIMD";

/// The widest vector of any instruction set, in elements: AVX-512 holds 16 `f32`.
pub(crate) const MAX_LANES: usize = 16;

/// The instructions to use: the widest, or those that [`VARIABLE`] names. What it names in vain counts as not named;
/// [`chosen`] says so.
pub fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| chosen().unwrap_or_else(|_| Level::new()))
}

/// As [`level`]; an error if the variable names what this machine has not.
pub fn chosen() -> Result<Level> {
    match std::env::var_os(VARIABLE) {
        None => Ok(Level::new()),
        Some(value) => by_name(&value.to_string_lossy()),
    }
}

/// The instruction set of a name, if this machine has it.
pub fn by_name(value: &str) -> Result<Level> {
    let found = levels().into_iter().find(|&level| name(level) == value);
    let expected =
        "vector instructions of this processor: sse2, sse4.2, avx2 or avx512 (neon on ARM)";
    found.ok_or_else(|| Error::option(VARIABLE, format!("{value:?}"), expected))
}

/// The name of an instruction set, as [`VARIABLE`] takes it.
pub fn name(level: Level) -> &'static str {
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Sse2(_) => "sse2",
        #[cfg(target_arch = "x86_64")]
        Level::Sse4_2(_) => "sse4.2",
        #[cfg(target_arch = "x86_64")]
        Level::Avx2(_) => "avx2",
        #[cfg(target_arch = "x86_64")]
        Level::Avx512(_) => "avx512",
        #[cfg(target_arch = "aarch64")]
        Level::Neon(_) => "neon",
        _ => "scalar",
    }
}

/// Every instruction set this machine can run, the widest last.
pub fn levels() -> Vec<Level> {
    let best = Level::new();
    let mut levels = vec![Level::baseline()];
    #[cfg(target_arch = "x86_64")]
    {
        levels.extend(best.as_sse4_2().map(Level::Sse4_2));
        levels.extend(best.as_avx2().map(Level::Avx2));
        levels.extend(best.as_avx512().map(Level::Avx512));
    }
    levels
}

/// One vector from at most as many elements, the rest filled up with `fill`.
#[inline(always)]
pub(crate) fn load<T: Number, S: Simd>(simd: S, slice: &[T], fill: T) -> T::Vector<S> {
    let lanes = T::Vector::<S>::LEN;
    if slice.len() == lanes {
        return T::Vector::<S>::from_slice(simd, slice);
    }
    let mut padded = [fill; MAX_LANES];
    padded[..slice.len()].copy_from_slice(slice);
    T::Vector::<S>::from_slice(simd, &padded[..lanes])
}

/// A vector of the same part of each of some slices, filled up with zeros. (The standard library's `map` of arrays may be compiled as
/// a function of its own: without these vector instructions, and several times slower.)
#[inline(always)]
pub(crate) fn load_all<T: Number, S: Simd, const N: usize>(
    simd: S,
    slices: [&[T]; N],
    part: &Range<usize>,
) -> [T::Vector<S>; N] {
    let mut vectors = [T::Vector::<S>::splat(simd, T::zero()); N];
    for (vector, slice) in vectors.iter_mut().zip(slices) {
        *vector = load::<T, S>(simd, &slice[part.clone()], T::zero());
    }
    vectors
}

/// The first lanes of `vector` into `slice`.
#[inline(always)]
pub(crate) fn store<T: Number, S: Simd>(vector: T::Vector<S>, slice: &mut [T]) {
    if slice.len() == T::Vector::<S>::LEN {
        vector.store_slice(slice);
    } else {
        slice.copy_from_slice(&vector.as_slice()[..slice.len()]);
    }
}

/// Replaces each vector of a slice by what `f` makes of it.
#[inline(always)]
pub(crate) fn map<T: Number, S: Simd>(
    simd: S,
    x: &mut [T],
    f: impl Fn(T::Vector<S>) -> T::Vector<S>,
) {
    for x in x.chunks_mut(T::Vector::<S>::LEN) {
        let v = load::<T, S>(simd, x, T::zero());
        store::<T, S>(f(v), x);
    }
}
