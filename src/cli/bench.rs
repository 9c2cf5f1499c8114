//! `bptt bench`: training steps timed in turn with this machine's own roof.

use super::Done;
use super::args::BenchArgs;
use super::memory;
use super::output::Output;
use super::processes::Processes;
use anyhow::Result;
use bptt::internal::measure::{
    Roof, Shape, Speed, Workload, compare, forget_peak_resident, peak_resident,
};
use bptt::internal::{blas, simd};
use bptt::{Engine, EngineOptions, Scalar};
use indicatif::HumanCount;
use serde_json::json;
use std::time::Duration;

/// Characters of a full bar.
const BAR: usize = 16;
/// Batches of a sweep, as parts of N: numerator and denominator.
const BATCHES: [(usize, usize); 5] = [(1, 4), (1, 2), (1, 1), (2, 1), (4, 1)];
/// Shards of a sweep, as multiples of the threads.
const SHARDS: [usize; 3] = [1, 2, 4];
/// A sweep takes the smallest batch that comes so near the fastest: the weights learn more from more updates.
const NEAR: f64 = 0.95;

pub fn run<T: Scalar>(args: &BenchArgs, output: Output, processes: &Processes) -> Result<Done> {
    let threads = args.threads.unwrap_or(processes.cores);
    processes.make_room(threads);
    let bench = Bench {
        args,
        processes,
        threads: threads.min(blas::library().max_workers),
        output,
    };
    let shards = args.shards.unwrap_or(bench.threads) * processes.size();
    let ranks = match processes.size() {
        1 => String::new(),
        n => format!(" on each of {n} ranks"),
    };
    let layers = match args.layers {
        1 => args.cell.name().to_string(),
        layers => format!("{layers} layers of {}", args.cell.name()),
    };
    output.text(format_args!(
        "{}, {}, {}, {} threads{ranks}, {shards} shards, {layers}{}{}\n\n{HEAD}",
        blas::library(),
        simd::name(simd::level()),
        T::NAME,
        bench.threads,
        ["", " in both directions"][usize::from(args.bidirectional)],
        ["", ", token inputs"][usize::from(args.tokens)],
    ))?;
    let named = Shape::all_named().filter(|_| args.shape.is_empty());
    for shape in args.shape.iter().copied().chain(named) {
        let mut shape = shape.of(args.cell, args.layers, args.tokens)?;
        shape.architecture.bidirectional = args.bidirectional;
        let row = bench.measure::<T>("bench", shape, shards)?;
        if args.sweep {
            sweep::<T>(&bench, row)?;
        }
    }
    output.text(format_args!(
        "\nThe roof: a {0}^3 product with one BLAS thread on each of {1} cores at once, timed in turn with the steps.\n\
         MiB: scratch and gradients by the engine's formula, and the most this process held, data included.",
        bptt::internal::measure::ROOF_SIZE,
        bench.threads * processes.size()
    ))?;
    Ok(Done::Finished)
}

/// Tries other batches than `start`'s, then (unless they are given) other numbers of shards, and says which to take.
///
/// What is compared is the fraction of the roof: operations for each token are the same, and a machine that has become
/// slower in between does not count.
fn sweep<T: Scalar>(bench: &Bench<'_>, start: Row) -> Result<()> {
    let at = |n| Shape {
        n,
        ..start.speed.shape
    };
    let mut rows = vec![start];
    for (times, part) in BATCHES {
        let n = (start.speed.shape.n * times / part).max(1);
        if rows.iter().all(|row| row.speed.shape.n != n) {
            rows.push(bench.measure::<T>("sweep", at(n), start.shards)?);
        }
    }
    let mut choice = choose(&rows);
    if bench.args.shards.is_none() {
        for times in SHARDS {
            let shards = times * bench.threads * bench.processes.size();
            if shards <= choice.speed.shape.n && shards != choice.shards {
                let row = bench.measure::<T>("sweep", at(choice.speed.shape.n), shards)?;
                choice = choose(&[choice, row]);
            }
        }
    }
    let (tokens, fraction) = (choice.speed.tokens_per_second(), choice.speed.fraction);
    let (batch, shards) = (choice.speed.shape.n, choice.shards);
    let fields = json!({
        "shape": start.speed.shape.to_string(),
        "batch": batch,
        "shards": shards,
        "roof_fraction": fraction,
        "tokens_per_second": tokens,
    });
    bench.output.event("advice", &fields)?;
    Ok(bench.output.text(format_args!(
        "  take --batch {batch} --shards {shards}: {} tokens/s, {:.0} % of the roof\n",
        HumanCount(tokens as u64),
        100.0 * fraction
    ))?)
}

/// Of the rows that come near the fastest, the one with the smallest batch, and of equal batches with the fewest shards.
fn choose(rows: &[Row]) -> Row {
    let fraction = |row: &Row| row.speed.fraction;
    let fastest = rows.iter().map(fraction).fold(0.0, f64::max);
    let near = rows.iter().filter(|row| fraction(row) >= NEAR * fastest);
    let smallest = near.min_by_key(|row| (row.speed.shape.n, row.shards));
    *smallest.expect("the fastest is near itself")
}

/// What all measurements of a run share.
struct Bench<'a> {
    args: &'a BenchArgs,
    processes: &'a Processes,
    threads: usize,
    output: Output,
}

impl Bench<'_> {
    /// Times one shape and prints its row.
    fn measure<T: Scalar>(&self, event: &str, shape: Shape, shards: usize) -> Result<Row> {
        let options = EngineOptions {
            threads: self.threads,
            shards,
            ..EngineOptions::default()
        };
        let check = |bytes: f64| {
            let what = format!("a step on {shape} and the roof");
            // The engine's threads and the roof's.
            memory::check(bytes, 2 * self.threads, &what, "choose a smaller --shape")
        };
        // The step only when the data is known to fit: sizes may be absurd.
        let data = Workload::<T>::memory(shape) + Roof::<T>::memory(self.threads) as f64;
        check(data)?;
        let step = Engine::<T>::new(shape.architecture, options)?.bytes(shape.n, shape.t)?;
        check(data + step as f64 / self.processes.size() as f64)?;
        // Before the roof's matrices are there: what is held now is what training holds.
        let forgotten = forget_peak_resident();
        let mut workload = Workload::<T>::new(shape, options, 0)?;
        if let Some(ranks) = self.processes.ranks.clone() {
            workload = workload.join(ranks, self.args.reduction)?;
        }
        workload.step()?;
        let resident_bytes = peak_resident().filter(|_| forgotten);
        let bar = self.output.bar(1000, "{msg} {bar:30.cyan/blue} {percent}%");
        bar.set_message(shape.to_string());
        let mut roof = Roof::new(self.threads)?;
        let time = Duration::from_secs_f64(self.args.seconds);
        let speed = compare(&mut workload, &mut roof, time, |part| {
            bar.set_position((1000.0 * part) as u64);
        });
        bar.finish_and_clear();
        let mut speed = speed?;
        // A sweep goes the same way on all ranks.
        let found = Some((speed.step, speed.fraction)).filter(|_| self.processes.is_root());
        (speed.step, speed.fraction) = self.processes.broadcast(found)?;
        let row = Row {
            shards,
            speed,
            memory_bytes: workload.engine.bytes(shape.n, shape.t)?,
            resident_bytes,
        };
        let [n, t, n_x, n_h, n_y] = shape.sizes();
        // The names are a contract.
        let fields = json!({
            "shape": shape.to_string(),
            "n": n,
            "t": t,
            "n_x": n_x,
            "n_h": n_h,
            "n_y": n_y,
            "dtype": T::NAME,
            "cell": self.args.cell,
            "layers": self.args.layers,
            "bidirectional": self.args.bidirectional,
            "tokens": self.args.tokens,
            "threads": self.threads,
            "ranks": self.processes.size(),
            "shards": shards,
            "step_ms": 1e3 * row.speed.step,
            "gflops": row.speed.flops() / 1e9,
            "roof_gflops": row.speed.roof / 1e9,
            "roof_fraction": row.speed.fraction,
            "tokens_per_second": row.speed.tokens_per_second(),
            "steps": row.speed.steps,
            "rounds": row.speed.rounds,
            "communication_ms": 1e3 * row.speed.communication,
            "memory_bytes": row.memory_bytes,
            "resident_bytes": resident_bytes,
        });
        self.output.event(event, &fields)?;
        match event {
            "sweep" => self.output.text(format_args!("{row}   {shards} shards"))?,
            _ => self.output.text(row)?,
        }
        Ok(row)
    }
}

/// A line of the table.
#[derive(Clone, Copy)]
struct Row {
    shards: usize,
    speed: Speed,
    memory_bytes: usize,
    resident_bytes: Option<u64>,
}

const HEAD: &str = "          N, T, n_x, n_h, n_y         step ms  GFLOP/s   roof  of the roof               tokens/s   MiB   held";

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let speed = &self.speed;
        let mebibytes = |bytes: u64| bytes.div_ceil(1 << 20).to_string();
        write!(
            f,
            "{:<10}{:<25}{:>10}{:>9.1}{:>7.1}  {:<BAR$}{:>4.0} %{:>13}{:>6}{:>7}",
            speed.shape.name().unwrap_or_default(),
            speed.shape.sizes().map(|size| size.to_string()).join(", "),
            format!("{:.3}", 1e3 * speed.step),
            speed.flops() / 1e9,
            speed.roof / 1e9,
            "█".repeat((speed.fraction.clamp(0.0, 1.0) * BAR as f64).round() as usize),
            100.0 * speed.fraction,
            HumanCount(speed.tokens_per_second() as u64).to_string(),
            mebibytes(self.memory_bytes as u64),
            self.resident_bytes.map_or("?".into(), mebibytes),
        )
    }
}
