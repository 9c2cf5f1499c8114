//! Heads: the loss of a network's outputs, one file each.
//!
//! A head turns the outputs of a step into their gradients, in place, and counts ([`Metrics`]).

pub(crate) mod cross_entropy;

/// Sums over the counted steps of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Metrics {
    /// The sum of the steps' losses, in nats.
    pub loss: f64,
    /// How many steps counted.
    pub counted: u64,
    /// How many of them had their target as the likeliest class (the first of equals); with distributions, the class of
    /// the largest weight.
    pub correct: u64,
}

impl Metrics {
    /// The mean loss of a step, in nats; NaN if none counted.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.counted as f64
    }

    /// The share of steps whose target was the likeliest class; NaN if none counted.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.counted as f64
    }

    /// As numbers that go from rank to rank; exact, for nobody counts beyond 2^53.
    pub(crate) fn to_array(self) -> [f64; 3] {
        [self.loss, self.counted as f64, self.correct as f64]
    }

    pub(crate) fn from_array([loss, counted, correct]: [f64; 3]) -> Self {
        Metrics {
            loss,
            counted: counted as u64,
            correct: correct as u64,
        }
    }
}

impl std::ops::Add for Metrics {
    type Output = Metrics;

    fn add(mut self, other: Metrics) -> Metrics {
        self += other;
        self
    }
}

impl std::ops::AddAssign for Metrics {
    fn add_assign(&mut self, other: Metrics) {
        self.loss += other.loss;
        self.counted += other.counted;
        self.correct += other.correct;
    }
}
