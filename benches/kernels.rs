//! The element-wise kernels against the loops that one would write without them, and the products of a layer under their
//! ceiling, on one thread. Elements are elements, of products floating-point operations.
//!
//! Inputs are even in [-4, 4): pre-activations of a network that trains, where tanh neither is linear nor has saturated.

mod support;

use bptt::internal::kernels::{LossStep, Out, Packed, Rows, Source, Start};
use bptt::internal::measure::Roof;
use bptt::internal::simd::level;
use bptt::{Answers, Loss, Scalar};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ndarray::Array2;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::hint::black_box;

/// Rows and classes of the logits: as `charlm` has them in one shard of two, for 10 steps.
const LOGITS: [usize; 2] = [320, 64];

/// `[n, k, m]` of the product with the recurrent weights in one step of one shard of two: of `charlm` and of `large`.
const PRODUCTS: [[usize; 3]; 2] = [[32, 256, 256], [64, 512, 512]];

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

/// The sum of `-log softmax(u)[class]`, and its gradient in place, by [`softmax_loop`] and libm's logarithm.
fn loss_loop<T: Scalar>(u: &mut [T], classes: &Array2<u32>, n: usize) -> f64 {
    softmax_loop(u, n);
    let mut sum = T::zero();
    for (row, &class) in u.chunks_exact_mut(n).zip(classes) {
        sum -= row[class as usize].ln();
        row[class as usize] -= T::one();
    }
    sum.as_f64()
}

/// One group: `ours` and `plain` on copies of `u`. The copy in each is the same, and small beside them.
fn compare<T: Scalar>(
    criterion: &mut Criterion,
    name: &str,
    u: &[T],
    ours: impl Fn(&mut [T]),
    (plain_name, plain): (&str, impl Fn(&mut [T])),
) {
    let mut out = u.to_vec();
    let mut group = criterion.benchmark_group(format!("kernels/{name}/{}", T::NAME));
    group.throughput(Throughput::Elements(u.len() as u64));
    group.bench_function("ours", |b| {
        b.iter(|| {
            out.copy_from_slice(black_box(u));
            ours(black_box(&mut out));
        });
    });
    group.bench_function(plain_name, |b| {
        b.iter(|| {
            out.copy_from_slice(black_box(u));
            plain(black_box(&mut out));
        });
    });
    group.finish();
}

fn element_wise<T: Scalar>(criterion: &mut Criterion) {
    let [rows, n_y] = LOGITS;
    let u = random::<T>(rows * n_y);
    let libm = |x: &mut [T]| x.iter_mut().for_each(|x| *x = x.tanh());
    let length = u.len();
    let name = format!("tanh {length}");
    let ours = |x: &mut [T]| T::tanh_in_place(level(), x);
    compare(criterion, &name, &u, ours, ("libm", libm));

    let name = format!("softmax {rows}x{n_y}");
    let ours = |u: &mut [T]| T::softmax(level(), u, n_y);
    let plain = |u: &mut [T]| softmax_loop(u, n_y);
    compare(criterion, &name, &u, ours, ("loop", plain));

    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let classes = Array2::from_shape_simple_fn((rows, 1), || rng.random_range(0..n_y as u32));
    let index: Vec<usize> = (0..rows).collect();
    let step = LossStep {
        answers: &Answers::from(&classes),
        rows: &index,
        step: 0,
        n_y,
        scale: T::one(),
        ranks: false,
    };
    let ours = |u: &mut [T]| T::judge(level(), Loss::CrossEntropy, u, step).loss;
    let plain = |u: &mut [T]| loss_loop(u, &classes, n_y);
    let losses = [ours(&mut u.clone()), plain(&mut u.clone())];
    let apart = (losses[0] - losses[1]).abs() / losses[1];
    assert!(apart < 1e-4, "{losses:?}: the same loss");
    let name = format!("loss {rows}x{n_y}");
    let ours = |u: &mut [T]| _ = black_box(ours(u));
    let plain = |u: &mut [T]| _ = black_box(plain(u));
    compare(criterion, &name, &u, ours, ("loop", plain));
}

/// The product of a time step with packed weights, under OpenBLAS's of 2048^3.
fn products<T: Scalar>(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group(format!("kernels/product/{}", T::NAME));
    let mut roof = Roof::<T>::new(1).unwrap();
    group.throughput(Throughput::Elements(Roof::<T>::flops() as u64));
    group.bench_function("ceiling 2048x2048x2048", |b| b.iter(|| roof.run()));
    for [n, k, m] in PRODUCTS {
        let matrix = |rows, columns| {
            let elements = random::<T>(rows * columns);
            Array2::from_shape_vec((rows, columns), elements).unwrap()
        };
        let (rows, mut weights) = (random::<T>(n * k), Packed::default());
        weights.pack(level(), matrix(k, m).view());
        let mut out = vec![T::zero(); n * m];
        group.throughput(Throughput::Elements(2 * (n * k * m) as u64));
        let id = BenchmarkId::new("packed", format!("{n}x{k}x{m}"));
        group.bench_function(id, |b| {
            b.iter(|| {
                let source = Source {
                    rows: Rows::of(black_box(&rows), k),
                    weights: &weights,
                };
                let out = Out::whole(black_box(&mut out), m);
                T::multiply(level(), Start::Zero, &[source], out);
            });
        });
    }
    group.finish();
}

fn all(criterion: &mut Criterion) {
    element_wise::<f32>(criterion);
    element_wise::<f64>(criterion);
    products::<f32>(criterion);
    products::<f64>(criterion);
}

criterion_group! { name = benches; config = support::criterion(); targets = all }
criterion_main!(benches);
