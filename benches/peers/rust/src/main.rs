//! Crates with recurrent networks, as their users write them: one whole training step of a layer and a decoder, timed.
//! `candle-stream` is a step of time, one sequence carried on and on.
//!
//! ```text
//! peers candle|burn|rust-lstm|candle-stream FOLDER CELL N T n_x n_h n_y     (problem.bin in FOLDER, as compare.py writes it)
//! ```
//!
//! They talk as worker.py does: the loss of the weights as they are, then for each line of standard input, a number of seconds,
//! the median time of a step.

mod with_burn;
mod with_candle;
mod with_rust_lstm;

use std::io::{BufRead, Write};
use std::time::Instant;

/// As in worker.py.
pub const LR: f64 = 1e-3;

/// Sizes, inputs `[N, T, n_x]`, classes `[N, T]`, and weights, gates one under the other in PyTorch's order.
pub struct Problem {
    pub cell: String,
    pub n: usize,
    pub t: usize,
    pub n_x: usize,
    pub n_h: usize,
    pub n_y: usize,
    pub wx: Vec<f32>,
    pub wh: Vec<f32>,
    pub wy: Vec<f32>,
    pub bx: Vec<f32>,
    pub bh: Vec<f32>,
    pub by: Vec<f32>,
    pub inputs: Vec<f32>,
    pub classes: Vec<f32>,
}

impl Problem {
    fn read(words: &[String]) -> Problem {
        let bytes =
            std::fs::read(format!("{}/problem.bin", words[0])).expect("compare.py has written it");
        let mut floats = bytes
            .as_chunks()
            .0
            .iter()
            .map(|&bytes| f32::from_le_bytes(bytes));
        let mut take = |n: usize| floats.by_ref().take(n).collect::<Vec<_>>();
        let sizes: Vec<usize> = words[2..7]
            .iter()
            .map(|word| word.parse().expect("a size"))
            .collect();
        let [n, t, n_x, n_h, n_y] = sizes[..] else {
            unreachable!("five of them")
        };
        let gates = if words[1] == "gru" { 3 } else { 4 };
        Problem {
            wx: take(gates * n_h * n_x),
            wh: take(gates * n_h * n_h),
            wy: take(n_y * n_h),
            bx: take(gates * n_h),
            bh: take(gates * n_h),
            by: take(n_y),
            inputs: take(n * t * n_x),
            classes: take(n * t),
            cell: words[1].clone(),
            n,
            t,
            n_x,
            n_h,
            n_y,
        }
    }
}

/// Says the loss, and times `step`, which returns the loss before it, when its arithmetic is done.
pub fn serve(version: &str, loss: f32, mut step: impl FnMut()) {
    let say = |line: String| {
        println!("{line}");
        std::io::stdout().flush().expect("compare.py reads it");
    };
    say(format!(r#"{{"version": "{version}", "loss": {loss}}}"#));
    step();
    step();
    for line in std::io::stdin().lock().lines() {
        let seconds: f64 = line.expect("text").trim().parse().expect("seconds");
        let (begin, mut times) = (Instant::now(), Vec::new());
        while times.is_empty() || begin.elapsed().as_secs_f64() < seconds {
            let before = Instant::now();
            step();
            times.push(before.elapsed().as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        let n = times.len();
        say(format!(
            r#"{{"step_ms": {}}}"#,
            (times[(n - 1) / 2] + times[n / 2]) / 2.0
        ));
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.len() != 8 {
        eprintln!(
            "usage: peers candle|burn|rust-lstm|candle-stream FOLDER gru|lstm N T n_x n_h n_y"
        );
        std::process::exit(2);
    }
    let problem = Problem::read(&words[1..]);
    match words[0].as_str() {
        "candle" => with_candle::run(&problem).expect("candle's part"),
        "candle-stream" => with_candle::stream(&problem).expect("candle's part"),
        "rust-lstm" => with_rust_lstm::run(&problem),
        _ => with_burn::run(&problem),
    }
}
