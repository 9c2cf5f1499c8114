//! The element-wise kernels against the loops that one would write without them, on one thread. Elements are elements.
//!
//! Inputs are even in [-4, 4): pre-activations of a network that trains, where tanh neither is linear nor has saturated.

mod support;

use bptt::{Scalar, activation, loss};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ndarray::{Array2, Array3};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::hint::black_box;

/// `[N, T, n_y]` of the logits: as `charlm` has them in one shard of two, for 10 steps.
const LOGITS: [usize; 3] = [32, 10, 64];

fn random<T: Scalar>(count: usize) -> Vec<T> {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    std::iter::repeat_with(|| T::from_f64(rng.random_range(-4.0..4.0)))
        .take(count)
        .collect()
}

/// Softmax of rows of `n` as the formula is: three passes and libm's exponential.
fn softmax_loop<T: Scalar>(u: &mut [T], n: usize) {
    for row in u.chunks_exact_mut(n) {
        let max = row.iter().fold(T::neg_infinity(), |max, &x| max.max(x));
        row.iter_mut().for_each(|x| *x = (*x - max).exp());
        let sum: T = row.iter().copied().sum();
        row.iter_mut().for_each(|x| *x /= sum);
    }
}

/// The mean of `-log softmax(u)[class]`, by [`softmax_loop`] and libm's logarithm.
fn loss_loop<T: Scalar>(u: &[T], classes: &[u32], n: usize) -> T {
    let mut y = u.to_vec();
    softmax_loop(&mut y, n);
    let rows = y.chunks_exact(n).zip(classes);
    let sum: T = rows.map(|(row, &class)| -row[class as usize].ln()).sum();
    sum / T::from_f64(classes.len() as f64)
}

fn kernels<T: Scalar>(criterion: &mut Criterion) {
    let [n, t, n_y] = LOGITS;
    let u = random::<T>(n * t * n_y);
    let mut out = u.clone();
    let length = u.len() as u64;

    // The copy in each is the same, and small beside them.
    let mut group = criterion.benchmark_group(format!("kernels/tanh/{}", T::NAME));
    group.throughput(Throughput::Elements(length));
    group.bench_function(BenchmarkId::new("ours", length), |b| {
        b.iter(|| {
            out.copy_from_slice(black_box(&u));
            activation::tanh_in_place(black_box(&mut out));
        });
    });
    group.bench_function(BenchmarkId::new("libm", length), |b| {
        b.iter(|| {
            out.copy_from_slice(black_box(&u));
            black_box(&mut out).iter_mut().for_each(|x| *x = x.tanh());
        });
    });
    group.finish();

    let mut group = criterion.benchmark_group(format!("kernels/softmax/{}", T::NAME));
    group.throughput(Throughput::Elements(length));
    let id = format!("{}x{n_y}", n * t);
    group.bench_function(BenchmarkId::new("ours", &id), |b| {
        b.iter(|| {
            out.copy_from_slice(black_box(&u));
            activation::softmax_in_place(black_box(&mut out), n_y);
        });
    });
    group.bench_function(BenchmarkId::new("loop", &id), |b| {
        b.iter(|| {
            out.copy_from_slice(black_box(&u));
            softmax_loop(black_box(&mut out), n_y);
        });
    });
    group.finish();

    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let classes = Array2::from_shape_simple_fn((n, t), || rng.random_range(0..n_y as u32));
    let logits = Array3::from_shape_vec((n, t, n_y), u.clone()).unwrap();
    let flat = classes.as_slice().unwrap();
    let (ours, plain) = (
        loss::cross_entropy(logits.view(), &classes).unwrap(),
        loss_loop(&u, flat, n_y).as_f64(),
    );
    assert!((ours - plain).abs() < 1e-4, "{ours} {plain}: the same loss");
    let mut group = criterion.benchmark_group(format!("kernels/loss/{}", T::NAME));
    group.throughput(Throughput::Elements(length));
    group.bench_function(BenchmarkId::new("ours", &id), |b| {
        b.iter(|| loss::cross_entropy(black_box(&logits).view(), &classes).unwrap());
    });
    group.bench_function(BenchmarkId::new("loop", &id), |b| {
        b.iter(|| loss_loop(black_box(&u), flat, n_y));
    });
    group.finish();
}

fn all(criterion: &mut Criterion) {
    kernels::<f32>(criterion);
    kernels::<f64>(criterion);
}

criterion_group! { name = benches; config = support::criterion(); targets = all }
criterion_main!(benches);
