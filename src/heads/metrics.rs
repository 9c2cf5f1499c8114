//! What is counted while outputs are judged: [`Metrics`].

use super::Loss;

/// The target counts as near if it is among so many likeliest classes.
const NEAR: u64 = 5;

/// Sums over the counted steps of a batch; of a network that answers once a sequence, over its sequences. (Plain data, as it
/// goes from rank to rank.)
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Metrics {
    /// The sum of the steps' losses; cross-entropies in nats.
    pub loss: f64,
    /// How many steps counted.
    pub counted: u64,
    /// How many of them had their target as the likeliest class (the first of equals); with distributions, the class of
    /// the largest weight.
    pub correct: u64,
    /// How many of them had it among the five likeliest.
    pub(super) near: u64,
    /// How many outputs there were: steps times outputs of a step.
    pub(super) outputs: u64,
    pub(super) true_positives: u64,
    pub(super) false_positives: u64,
    pub(super) false_negatives: u64,
    /// The sum of squared errors.
    pub(super) squared: f64,
    /// The sum of absolute errors.
    pub(super) absolute: f64,
    /// The mean of the numbers that were asked for, and the sum of their squared distances from it.
    pub(super) mean: f64,
    pub(super) spread: f64,
}

impl Metrics {
    /// The mean loss of a step; NaN if none counted.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.counted as f64
    }

    /// The share of steps whose target was the likeliest class; NaN if none counted.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.counted as f64
    }

    /// The share of steps whose target was among the five likeliest classes; counted in evaluation only.
    pub fn top5_accuracy(&self) -> f64 {
        self.near as f64 / self.counted as f64
    }

    /// The share of labels that were said rightly to be there or not, at a probability of one half.
    pub fn label_accuracy(&self) -> f64 {
        let (right, of) = self.right(Loss::Binary);
        right as f64 / of as f64
    }

    /// Of labels, `2 TP / (2 TP + FP + FN)` over all steps and labels together (micro-averaged); NaN where no label is there nor was
    /// said to be.
    pub fn f1(&self) -> f64 {
        let hits = 2 * self.true_positives;
        hits as f64 / (hits + self.false_positives + self.false_negatives) as f64
    }

    /// Of classes and labels, how many answers were right, and of how many; nothing of numbers, for them there is no right.
    pub(crate) fn right(&self, loss: Loss) -> (u64, u64) {
        match loss {
            Loss::CrossEntropy => (self.correct, self.counted),
            Loss::Binary => {
                let wrong = self.false_positives + self.false_negatives;
                (self.outputs - wrong, self.outputs)
            }
            Loss::Mse | Loss::Huber => (0, 0),
        }
    }

    /// The root of the mean squared error of a number.
    pub fn rmse(&self) -> f64 {
        (self.squared / self.outputs as f64).sqrt()
    }

    /// The mean absolute error of a number.
    pub fn mae(&self) -> f64 {
        self.absolute / self.outputs as f64
    }

    /// The coefficient of determination, `1 - sum e^2 / sum (target - mean)^2`: 1 is perfect, 0 as good as the mean of the
    /// targets. Of several numbers a step, over all of them together: give them one scale.
    pub fn r2(&self) -> f64 {
        1.0 - self.squared / self.spread
    }

    /// What is said of a loss beside its mean, under the names of reports.
    pub fn named(&self, loss: Loss) -> Vec<(&'static str, f64)> {
        let (accuracy, top5) = (self.accuracy(), self.top5_accuracy());
        match loss {
            Loss::CrossEntropy if self.outputs <= NEAR * self.counted => {
                vec![("accuracy", accuracy)]
            }
            Loss::CrossEntropy => vec![("accuracy", accuracy), ("top5_accuracy", top5)],
            Loss::Binary => vec![("label_accuracy", self.label_accuracy()), ("f1", self.f1())],
            Loss::Mse | Loss::Huber => {
                let (rmse, mae, r2) = (self.rmse(), self.mae(), self.r2());
                vec![("rmse", rmse), ("mae", mae), ("r2", r2)]
            }
        }
    }

    /// Counts a class whose place among the likeliest is `rank`, from 0.
    #[inline(always)]
    pub(super) fn count_class(&mut self, rank: u64) {
        self.correct += u64::from(rank == 0);
        self.near += u64::from(rank < NEAR);
    }

    /// Counts a label.
    #[inline(always)]
    pub(super) fn count_label(&mut self, said: bool, there: bool) {
        self.true_positives += u64::from(said && there);
        self.false_positives += u64::from(said && !there);
        self.false_negatives += u64::from(!said && there);
    }

    /// Counts a number and its error. (Mean and spread: Welford 1962.)
    #[inline(always)]
    pub(super) fn count_number(&mut self, target: f64, error: f64) {
        self.outputs += 1;
        self.squared += error * error;
        self.absolute += error.abs();
        let from_mean = target - self.mean;
        self.mean += from_mean / self.outputs as f64;
        self.spread += from_mean * (target - self.mean);
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
        // Two means and spreads become one (Chan et al. 1979).
        let [n, m] = [self.outputs, other.outputs].map(|n| n as f64);
        if m > 0.0 {
            let apart = other.mean - self.mean;
            self.mean += apart * m / (n + m);
            self.spread += other.spread + apart * apart * n * m / (n + m);
        }
        self.loss += other.loss;
        self.counted += other.counted;
        self.correct += other.correct;
        self.near += other.near;
        self.outputs += other.outputs;
        self.true_positives += other.true_positives;
        self.false_positives += other.false_positives;
        self.false_negatives += other.false_negatives;
        self.squared += other.squared;
        self.absolute += other.absolute;
    }
}
