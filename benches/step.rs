//! Whole training steps at the shapes with names, under their ceiling: OpenBLAS's product of 2048^3 on the same number
//! of threads. Elements are floating-point operations, so "Gelem/s" reads as GFLOP/s and lines compare with the ceiling.
//!
//! `bptt bench` times both in turn and is the one to quote; this suite is for comparing commits (`--save-baseline`).

mod support;

use bptt::internal::measure::{Roof, Shape, Workload};
use bptt::{Cell, EngineOptions, Scalar};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

fn steps<T: Scalar>(criterion: &mut Criterion, threads: usize) {
    let mut group = criterion.benchmark_group(format!("step/{}/{threads} threads", T::NAME));
    let mut roof = Roof::<T>::new(threads).unwrap();
    group.throughput(Throughput::Elements(
        threads as u64 * Roof::<T>::flops() as u64,
    ));
    group.bench_function("ceiling 2048x2048x2048", |b| b.iter(|| roof.run()));
    drop(roof);
    for shape in Shape::all_named() {
        let options = EngineOptions {
            threads,
            shards: threads,
            ..EngineOptions::default()
        };
        for tokens in [false, true] {
            if tokens && shape.name() != Some("charlm") {
                continue;
            }
            let kind = if tokens { " tokens" } else { "" };
            let id = format!("{shape} {:?}{kind}", shape.sizes());
            let shape = shape.of(Cell::Tanh, 1, tokens).unwrap();
            let mut workload = Workload::<T>::new(shape, options, 0).unwrap();
            group.throughput(Throughput::Elements(shape.flops() as u64));
            group.bench_function(BenchmarkId::from_parameter(id), |b| {
                b.iter(|| workload.step().unwrap());
            });
        }
    }
    group.finish();
}

fn all(criterion: &mut Criterion) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for threads in if cores > 1 { vec![1, 2] } else { vec![1] } {
        steps::<f32>(criterion, threads);
        steps::<f64>(criterion, threads);
    }
}

criterion_group! { name = benches; config = support::criterion(); targets = all }
criterion_main!(benches);
