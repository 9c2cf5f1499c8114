//! What a training step costs as one thing grows and the rest stays: threads, shards, T, N, n_h. Elements are tokens
//! (time steps of all sequences): along T and N the rate should stay level, for the cost is linear in both; along n_h it
//! falls as 1/n_h, for the cost of a token is quadratic.

mod support;

use bptt::EngineOptions;
use bptt::measure::{Shape, Workload};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// The shape that everything is varied from: `charlm`.
const CENTRE: [usize; 5] = [64, 100, 64, 256, 64];

/// One line of the group `group` for each size, with the threads and shards it asks for (0: as the machine has them).
fn along(criterion: &mut Criterion, name: &str, lines: &[([usize; 5], usize, usize)]) {
    let mut group = criterion.benchmark_group(format!("scaling/{name}"));
    for &(sizes, threads, shards) in lines {
        let shape = Shape::new(sizes).unwrap();
        let options = EngineOptions {
            threads,
            shards,
            ..EngineOptions::default()
        };
        let mut workload = Workload::<f32>::new(shape, options, false, 0).unwrap();
        let (threads, shards) = (workload.threads(), workload.shards());
        let id = format!("{sizes:?} {threads} threads {shards} shards");
        group.throughput(Throughput::Elements(shape.tokens() as u64));
        group.bench_function(BenchmarkId::from_parameter(id), |b| {
            b.iter(|| workload.step().unwrap());
        });
    }
    group.finish();
}

fn all(criterion: &mut Criterion) {
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
