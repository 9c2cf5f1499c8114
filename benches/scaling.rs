//! What a training step costs as one thing grows and the rest stays: threads, shards, T, N, n_h. Elements are tokens
//! (time steps of all sequences): along T and N the rate should stay level, for the cost is linear in both; along n_h it
//! falls as 1/n_h, for the cost of a token is quadratic, and along the layers as their weights grow. Sequences of different lengths should cost what their own steps
//! cost, and time in segments a third more.

mod support;

use bptt::internal::measure::{Shape, Workload};
use bptt::{Architecture, Batch, Cell, Engine, EngineOptions, Head, Init, Input, Network};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ndarray::Array2;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The shape that everything is varied from: `charlm`.
const CENTRE: [usize; 5] = [64, 100, 64, 256, 64];

/// One line of the group `name` for each size, with the threads and shards it asks for (0: as the machine has them).
fn along(criterion: &mut Criterion, name: &str, lines: &[([usize; 5], usize, usize)]) {
    let mut group = criterion.benchmark_group(format!("scaling/{name}"));
    for &(sizes, threads, shards) in lines {
        let shape = Shape::new(sizes).unwrap();
        let options = EngineOptions {
            threads,
            shards,
            ..EngineOptions::default()
        };
        let mut workload = Workload::<f32>::new(shape, options, 0).unwrap();
        let (threads, shards) = (workload.engine.threads(), workload.engine.shards());
        let id = format!("{sizes:?} {threads} threads {shards} shards");
        group.throughput(Throughput::Elements(shape.tokens() as u64));
        group.bench_function(BenchmarkId::from_parameter(id), |b| {
            b.iter(|| workload.step().unwrap());
        });
    }
    group.finish();
}

/// Training steps of token sequences: whole, of lengths drawn evenly from 1 to T, and in segments of time.
fn lengths_and_segments(criterion: &mut Criterion) {
    let [n, t, n_x, n_h, n_y] = CENTRE;
    let architecture = Architecture::new(Input::Tokens(n_x), n_h, Head::softmax(n_y));
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut ids =
        |limit| Array2::from_shape_simple_fn((n, t), || rng.random_range(0..limit as u32));
    let (inputs, targets) = (ids(n_x), ids(n_y));
    let network = Network::<f32>::new(architecture, Init::Orthogonal, 0).unwrap();
    let whole = vec![t; n];
    let drawn: Vec<usize> = (0..n).map(|_| rng.random_range(1..=t)).collect();
    let whole_batch = Engine::<f32>::new(architecture, EngineOptions::default()).unwrap();
    let bytes = whole_batch.bytes(n, t).unwrap();
    let mut group = criterion.benchmark_group("scaling/lengths and segments");
    for (name, lengths, memory) in [
        ("whole", &whole, None),
        ("drawn lengths", &drawn, None),
        ("a third of the memory", &whole, Some(bytes / 3)),
    ] {
        let options = EngineOptions {
            memory,
            ..EngineOptions::default()
        };
        let mut engine = Engine::new(architecture, options).unwrap();
        let batch = Batch::new(&inputs, &targets).with_lengths(lengths);
        group.throughput(Throughput::Elements(batch.counted()));
        group.bench_function(name, |b| {
            b.iter(|| engine.gradient(&network, &batch).unwrap());
        });
    }
    group.finish();
}

/// Training steps of one layer and more, of either cell.
fn layers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scaling/layers");
    let shape = Shape::new(CENTRE).unwrap();
    for cell in Cell::ALL {
        for layers in [1, 2, 4] {
            let shape = shape.of(cell, layers, false).unwrap();
            let workload = Workload::<f32>::new(shape, EngineOptions::default(), 0);
            let mut workload = workload.unwrap();
            group.throughput(Throughput::Elements(shape.tokens() as u64));
            group.bench_function(BenchmarkId::new(cell.name(), layers), |b| {
                b.iter(|| workload.step().unwrap());
            });
        }
    }
    group.finish();
}

fn all(criterion: &mut Criterion) {
    lengths_and_segments(criterion);
    layers(criterion);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let [n, t, n_x, n_h, n_y] = CENTRE;
    // As many shards as the most threads, so that every line computes the same bits.
    let counts: Vec<usize> = (0..).map(|i| 1 << i).take_while(|&i| i <= cores).collect();
    let lines: Vec<_> = counts.iter().map(|&i| (CENTRE, i, cores)).collect();
    along(criterion, "threads", &lines);
    let lines = [1, 2, 4, 8, 16].map(|shards| (CENTRE, 0, shards));
    along(criterion, "shards", &lines);
    let lines = [25, 50, 100, 200, 400].map(|t| ([n, t, n_x, n_h, n_y], 0, 0));
    along(criterion, "T", &lines);
    let lines = [16, 32, 64, 128, 256].map(|n| ([n, t, n_x, n_h, n_y], 0, 0));
    along(criterion, "N", &lines);
    let lines = [64, 128, 256, 512].map(|n_h| ([n, t, n_x, n_h, n_y], 0, 0));
    along(criterion, "n_h", &lines);
}

criterion_group! { name = benches; config = support::criterion(); targets = all }
criterion_main!(benches);
