//! How fast training steps are here, against what this machine can do: [`Workload`], [`Roof`], [`compare`].
//!
//! A [`Workload`] is one network with random data of one [`Shape`]; its step is a whole training step: forward, loss,
//! BPTT, reduction and a gradient-descent update. The [`Roof`] is a matrix product of 2048^3, one on each core at once,
//! each on one BLAS thread: the most that this library's arithmetic could come to. [`compare`] times the two in turn, so
//! that a machine whose speed drifts slows both, and takes medians.
//!
//! What the program's `bench` and the criterion suite share; the only clock beside the trainer's. Knows nothing of how
//! a step is computed.
//!
//! ```no_run
//! use bptt::EngineOptions;
//! use bptt::internal::measure::{Roof, Shape, Workload, compare};
//!
//! let shape: Shape = "charlm".parse()?;
//! let mut workload = Workload::<f32>::new(shape, EngineOptions::default(), 0)?;
//! let mut roof = Roof::new(workload.engine.threads())?;
//! let speed = compare(&mut workload, &mut roof, std::time::Duration::from_secs(3), |_| ())?;
//! println!("{:.0} % of the roof", 100.0 * speed.fraction);
//! # Ok::<(), bptt::Error>(())
//! ```

mod memory;
mod roof;
mod shape;
mod workload;

pub use memory::{bytes_of, forget_peak_resident, peak_resident};
pub use roof::{ROOF_SIZE, Roof};
pub use shape::Shape;
pub use workload::Workload;

use crate::{Result, Scalar};
use std::time::{Duration, Instant};

/// Rounds of roof and steps that [`compare`] takes at least: below three a median is no protection.
pub const LEAST_ROUNDS: usize = 3;

/// What [`compare`] found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speed {
    /// What was timed.
    pub shape: Shape,
    /// The median of the seconds of a step.
    pub step: f64,
    /// The median of the roof's rounds, in operations per second.
    pub roof: f64,
    /// The speed of the steps as a fraction of the roof: the median over the rounds, the steps of each compared with the
    /// roof just before and just after, so that a machine whose speed wanders does not matter.
    pub fraction: f64,
    /// How many steps were timed.
    pub steps: usize,
    /// In how many rounds.
    pub rounds: usize,
    /// Seconds of a step, on average, that this rank spent in communication; the wait for slower ones is part of it.
    pub communication: f64,
}

impl Speed {
    /// Operations per second.
    pub fn flops(&self) -> f64 {
        self.shape.flops() / self.step
    }

    /// Time steps of all sequences, in a second.
    pub fn tokens_per_second(&self) -> f64 {
        self.shape.tokens() as f64 / self.step
    }
}

/// Times the roof and steps in turn, of all ranks at once, for about `time` (at least [`LEAST_ROUNDS`] rounds); steps get as long as the roof
/// takes in each round. `progress` is told which part of the time is over after each round.
///
/// Take a step or two before, so that no buffer is new.
pub fn compare<T: Scalar>(
    workload: &mut Workload<T>,
    roof: &mut Roof<T>,
    time: Duration,
    mut progress: impl FnMut(f64),
) -> Result<Speed> {
    let mut run_roof = |workload: &Workload<T>| workload.sum(roof.run());
    run_roof(workload);
    workload.step()?;
    let mut communication = Duration::ZERO;
    let begin = Instant::now();
    let (mut roofs, mut steps, mut fractions) = (vec![run_roof(workload)], Vec::new(), Vec::new());
    let (mut round, mut lasted) = (Vec::new(), begin.elapsed());
    while fractions.len() < LEAST_ROUNDS || !workload.any(begin.elapsed() >= time) {
        round.clear();
        let before = roofs[roofs.len() - 1];
        workload.take_waited();
        workload.time(lasted, &mut round)?;
        communication += workload.take_waited();
        let turn = Instant::now();
        let after = run_roof(workload);
        lasted = turn.elapsed();
        roofs.push(after);
        steps.extend_from_slice(&round);
        fractions.push(workload.shape.flops() / median(&mut round) * 2.0 / (before + after));
        progress((begin.elapsed().as_secs_f64() / time.as_secs_f64()).min(1.0));
    }
    Ok(Speed {
        shape: workload.shape,
        communication: communication.as_secs_f64() / steps.len() as f64,
        steps: steps.len(),
        rounds: fractions.len(),
        step: median(&mut steps),
        roof: median(&mut roofs),
        fraction: median(&mut fractions),
    })
}

/// The middle one, or the mean of the two in the middle; panics if there is none.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    (values[(n - 1) / 2] + values[n / 2]) / 2.0
}
