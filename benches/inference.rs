//! Prediction: a stream fed one time step after another, and whole batches. Elements are tokens.
//!
//! `inference/cells` is one sequence, a step at a time, beside the time that reading the network's weights takes: no step can take
//! less. (benches/peers/stream.py puts others beside it.)

mod support;

use bptt::internal::measure::Shape;
use bptt::{Cell, Engine, EngineOptions, Init, Network, Scalar, Stream};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ndarray::{Array2, Array3};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// `n` sequences side by side, one step of each at a time; token inputs, as sampling does it.
fn streams<T: Scalar>(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group(format!("inference/stream/{}", T::NAME));
    for (n, name) in [(1, "notebook"), (1, "charlm"), (16, "charlm"), (1, "large")] {
        let shape: Shape = name.parse().unwrap();
        let [_, _, n_x, n_h, n_y] = shape.sizes();
        let architecture = shape.of(Cell::Tanh, 1, true).unwrap().architecture;
        let network = Network::<T>::new(architecture, Init::Orthogonal, 0).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let ids: Vec<Array2<u32>> = (0..64)
            .map(|_| Array2::from_shape_simple_fn((n, 1), || rng.random_range(0..n_x as u32)))
            .collect();
        let mut stream = Stream::new(&network, n).expect("one direction");
        let mut ids = ids.iter().cycle();
        let id = format!("{name} {:?}", [n, 1, n_x, n_h, n_y]);
        group.throughput(Throughput::Elements(n as u64));
        group.bench_function(BenchmarkId::from_parameter(id), |b| {
            b.iter(|| stream.step(ids.next().unwrap()).unwrap()[[0, 0]]);
        });
    }
    group.finish();
}

/// One sequence of features, one step at a time, and its weights read from the cache they are in.
fn cells(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("inference/cells");
    let shape: Shape = "1,1,128,128,10".parse().unwrap();
    for cell in Cell::ALL {
        let name = format!("{cell:?}").to_lowercase();
        let architecture = shape.of(cell, 1, false).unwrap().architecture;
        let network = Network::<f32>::new(architecture, Init::Orthogonal, 0).unwrap();
        let x = Array3::from_shape_fn((1, 1, 128), |(.., i)| (i as f32).sin());
        let mut stream = Stream::new(&network, 1).expect("one direction");
        group.bench_function(BenchmarkId::new("step", &name), |b| {
            b.iter(|| stream.step(&x).unwrap()[[0, 0]]);
        });
        // Two equal halves are compared: the C library does that with the widest loads there are.
        let weights = vec![1u8; architecture.len() * size_of::<f32>()];
        let (half, other) = weights.split_at(weights.len() / 2);
        group.bench_function(BenchmarkId::new("weights", &name), |b| {
            b.iter(|| std::hint::black_box(half) == std::hint::black_box(other));
        });
    }
    group.finish();
}

/// Probabilities of a whole batch on all cores; dense inputs even in [-1, 1), as states are.
fn batches<T: Scalar>(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group(format!("inference/batch/{}", T::NAME));
    for name in ["notebook", "charlm", "mid"] {
        let shape: Shape = name.parse().unwrap();
        let network = Network::<T>::new(shape.architecture, Init::Orthogonal, 0).unwrap();
        let mut engine = Engine::new(shape.architecture, EngineOptions::default()).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let x = Array3::from_shape_simple_fn(
            (shape.n, shape.t, shape.architecture.input.size()),
            || T::from_f64(rng.random_range(-1.0..1.0)),
        );
        group.throughput(Throughput::Elements(shape.tokens() as u64));
        let id = format!("{name} {:?}", shape.sizes());
        group.bench_function(BenchmarkId::from_parameter(id), |b| {
            b.iter(|| engine.predict(&network, &x, None).unwrap());
        });
    }
    group.finish();
}

fn all(criterion: &mut Criterion) {
    streams::<f32>(criterion);
    streams::<f64>(criterion);
    cells(criterion);
    batches::<f32>(criterion);
    batches::<f64>(criterion);
}

criterion_group! { name = benches; config = support::criterion(); targets = all }
criterion_main!(benches);
